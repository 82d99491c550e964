"""3-D convolutions with half the multiplications along z: Winograd's F(4, 3).

Four neighbouring outputs of a filter of three are values of one product of polynomials. Evaluated at the points
0, 1, -1, 2, -2 and infinity they cost six multiplications where the definition needs twelve (Winograd 1980; Lavin and
Gray 2016). Here a multiplication is a 2-D convolution (*) over y and x of whole slices, which oneDNN does well:

    four outputs = OUTPUT [(FILTER three slices of the kernel) * (INPUT six slices of the input)]

The gradients follow by transposition. Rounding errors are two to three times those of the definition.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

TILE = 4  # output slices that are computed together
POINT_ONE = 1  # what is added at the point 1 is added to each of the four outputs
CHUNK_BYTES = 128e6  # of input slices at all points, held at a time
INPUT = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ]
)
FILTER = torch.tensor(
    [
        [1 / 4, 0.0, 0.0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0.0, 0.0, 1.0],
    ]
)
OUTPUT = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ]
)
POINTS = len(INPUT)


class WinogradConvolution(torch.autograd.Function):
    """A convolution of 3 x 3 x 3 voxels that keeps the size, of channels-last float32 maps on a CPU."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (N, maps, z, y, x) for x (N, channels, z, y, x) and weight (maps, channels, 3, 3, 3)."""
        ctx.save_for_backward(x, weight)
        kernels, size_yx = _at_points(weight), x.shape[3:]
        shape = (len(x), len(weight), *x.shape[2:])
        features = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last_3d)
        for sample, outputs in zip(_slices(x), _slices(features), strict=True):
            for tiles in _chunks(sample):
                transformed = _transform(sample, tiles)
                products = outputs.new_empty((POINTS, len(tiles), outputs.shape[1]))
                for point, kernel in enumerate(kernels):
                    shift = bias if point == POINT_ONE else None
                    maps = functional.conv2d(_maps(transformed[point], size_yx), kernel, shift, padding=1)
                    _maps(products[point], size_yx).copy_(maps)
                for place, tile in enumerate(tiles):
                    into = outputs[tile.first : tile.end]
                    torch.mm(OUTPUT[: len(into)], products[:, place], out=into)
        return features

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        kernels, size_yx = _at_points(weight), x.shape[3:]
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_kernels, of_bias = torch.zeros_like(kernels), weight.new_zeros(len(weight))
        upstream = gradient.contiguous(memory_format=torch.channels_last_3d)
        into = [None] * len(x) if of_x is None else _slices(of_x)
        for sample, of_outputs, of_sample in zip(_slices(x), _slices(upstream), into, strict=True):
            for tiles in _chunks(sample):
                transformed = _transform(sample, tiles)
                spread = of_outputs.new_empty((POINTS, len(tiles), of_outputs.shape[1]))
                for place, tile in enumerate(tiles):
                    of_tile = of_outputs[tile.first : tile.end]
                    torch.mm(OUTPUT[: len(of_tile)].T, of_tile, out=spread[:, place])
                for point, kernel in enumerate(kernels):
                    maps = _maps(transformed[point], size_yx)
                    of_maps, of_kernel, added = torch.ops.aten.convolution_backward(
                        _maps(spread[point], size_yx), maps, kernel, [len(weight)], (1, 1), (1, 1), (1, 1),
                        False, (0, 0), 1, (of_x is not None, True, point == POINT_ONE),
                    )  # fmt: skip
                    of_kernels[point] += of_kernel
                    if point == POINT_ONE:
                        of_bias += added
                    if of_x is not None:
                        maps.copy_(of_maps)  # in place of what is no longer needed
                if of_sample is not None:
                    _transform_back(transformed, tiles, of_sample)
        of_weight = torch.einsum("pk,pocyx->ockyx", FILTER, of_kernels)
        return of_x, of_weight, of_bias


class _Tile(NamedTuple):
    """Slices of one tile: outputs `first` to `end`, from inputs `low` to `high`.

    `row` is where the inputs begin among the tile's six; `fresh` the first of them that no earlier tile has.
    """

    first: int
    end: int
    low: int
    high: int
    row: int
    fresh: int


def _chunks(sample: Tensor) -> Iterator[list[_Tile]]:
    """Yield the tiles of a sample (z, values of a slice) in groups that are computed together."""
    slices, values = sample.shape
    tiles = []
    for first in range(0, slices, TILE):
        low, high = max(first - 1, 0), min(first + TILE + 1, slices)
        fresh = min(first + 1, slices) if first else 0
        tiles.append(_Tile(first, min(first + TILE, slices), low, high, low - (first - 1), fresh))
    together = max(1, int(CHUNK_BYTES / (POINTS * values * sample.element_size())))
    for begin in range(0, len(tiles), together):
        yield tiles[begin : begin + together]


def _at_points(weight: Tensor) -> Tensor:
    """Return 2-D kernels (points, maps, channels, y, x), each channels last, of a 3-D one."""
    kernels = torch.einsum("pk,ockyx->poyxc", FILTER, weight).contiguous()
    return kernels.movedim(-1, 2)


def _slices(x: Tensor) -> Tensor:
    """Return channels-last maps (N, C, z, y, x) as a view (N, z, values of a slice)."""
    return x.movedim(1, -1).flatten(2)


def _maps(slices: Tensor, size_yx: torch.Size) -> Tensor:
    """Return slices (n, values) as a view of channels-last maps (n, C, y, x)."""
    return slices.view(len(slices), *size_yx, -1).movedim(-1, 1)


def _transform(sample: Tensor, tiles: list[_Tile]) -> Tensor:
    """Return the input slices of tiles at the points, (points, tiles, values); beyond the sample lies 0."""
    transformed = sample.new_empty((POINTS, len(tiles), sample.shape[1]))
    for place, tile in enumerate(tiles):
        rows = INPUT[:, tile.row : tile.row + tile.high - tile.low]
        torch.mm(rows, sample[tile.low : tile.high], out=transformed[:, place])
    return transformed


def _transform_back(of_transformed: Tensor, tiles: list[_Tile], of_sample: Tensor) -> None:
    """Write or add the gradient at the points to that of a sample's slices; tiles must come in order."""
    for place, tile in enumerate(tiles):
        rows = INPUT[:, tile.row : tile.row + tile.high - tile.low].T
        shared = tile.fresh - tile.low
        of_sample[tile.low : tile.fresh].addmm_(rows[:shared], of_transformed[:, place])
        torch.mm(rows[shared:], of_transformed[:, place], out=of_sample[tile.fresh : tile.high])
