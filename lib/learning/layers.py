"""Layers that give torch's results faster, or in the layout and precision of their input.

Each computes the same as the torch layer that it replaces, except for rounding.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from lib.learning.winograd import WinogradConvolution

MOST_NATIVE = 20480  # n * channels * z * y up to which torch does not give one float32 window to oneDNN
LEAST_WINOGRAD = 1.5e9  # multiplications for one window above which Winograd's convolution is faster
FEW_MAPS = 16  # fewer than fill a vector of the processor: torch's normalisations are slow there
ROW = 64  # values in a row when summing over voxels, a multiple of a vector's length


class Convolution(nn.Conv3d):
    """A size-preserving 3-D convolution that stays in oneDNN and in the channels-last layout on a CPU.

    For one float32 window of few maps and slices torch uses its own kernel, in the plain layout and several times
    slower (`use_mkldnn` in ATen's Convolution.cpp). An intensity, whose one channel is contiguous in both layouts,
    may also be treated as plain, and all later layers would inherit that.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps (N, maps, z, y, x) for (N, channels, z, y, x)."""
        reach = [(edge - 1) * step + 1 for edge, step in zip(self.kernel_size, self.dilation, strict=True)]
        if _is_unsafe_in_bf16(x, x.shape[2:], reach):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(torch.bfloat16)
        if self.weight.stride(1) != 1:  # the plain layout was asked for
            return super().forward(x)
        if self._is_worth_winograd(x):
            x = x.contiguous(memory_format=torch.channels_last_3d)
            return WinogradConvolution.apply(x, self.weight, self.bias)
        if _is_left_to_torch(x, self.kernel_size):
            return _LoneConvolution.apply(x, self.weight, self.bias, self.padding, self.dilation)
        features = super().forward(x)
        return features.contiguous(memory_format=torch.channels_last_3d) if x.shape[1] == 1 else features

    def _is_worth_winograd(self, x: Tensor) -> bool:
        """Tell whether halving the multiplications saves more than the transforms cost."""
        dense = self.kernel_size == (3, 3, 3) and self.dilation == (1, 1, 1)
        if not (dense and min(self.weight.shape[:2]) >= FEW_MAPS and _is_float32_of_cpu(x)):
            return False
        return x[0].numel() * self.weight[:, 0].numel() >= LEAST_WINOGRAD


class TransposedConvolution(nn.ConvTranspose3d):
    """A 3-D convolution that doubles the size, transposed; it stays in oneDNN on a CPU as `Convolution` does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps (N, maps, 2 z, 2 y, 2 x) for (N, channels, z, y, x)."""
        if _is_unsafe_in_bf16(x, [2 * size for size in x.shape[2:]], self.kernel_size):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(torch.bfloat16)
        if self.weight.stride(1) != 1 or not _is_left_to_torch(x, self.kernel_size):
            return super().forward(x)
        # halves along z that overlap by a slice make a batch of two; the slices cut off belong to the other half
        half, padding = x.shape[2] // 2, self.padding[0]
        padded = functional.pad(x, (0, 0, 0, 0, 1, 1))
        halves = torch.cat([padded[:, :, : half + 2], padded[:, :, half:]])
        risen = functional.conv_transpose3d(
            halves.contiguous(memory_format=torch.channels_last_3d), self.weight, self.bias, self.stride,
            (0, *self.padding[1:]), (0, *self.output_padding[1:]),
        )  # fmt: skip
        own = risen[:, :, 2 + padding : 2 + padding + x.shape[2]]
        return _voxels_first(own).flatten(0, 1).unsqueeze(0).movedim(-1, 1)


class GroupNorm(nn.GroupNorm):
    """Group normalisation in the precision of its input; autocast would run it in float32.

    On CUDA it leaves the channels-last layout, so that each convolution after it converts back.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised feature maps (N, C, ...)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


class InstanceNorm(nn.GroupNorm):
    """Instance normalisation, one group to each map, in the layout of its input.

    Torch's instance and group normalisation leave the channels-last layout, or take twice as long as a whole bf16
    update on a CPU. Batch normalisation of single samples avoids both, but is slow for few maps.
    """

    def __init__(self, maps: int) -> None:
        super().__init__(maps, maps)

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised feature maps (N, C, ...)."""
        if x.is_cuda and len(x) > 1:  # there, one kernel for all samples gains more than keeping the layout
            return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        few = x.shape[1] < FEW_MAPS and _is_channels_last(x) and not torch.compiler.is_compiling()
        if few and not x.is_cuda:
            return _FewMapsNorm.apply(x, self.weight, self.bias, self.eps)
        samples = [
            # not functional.batch_norm, which refuses a single voxel
            torch.batch_norm(sample, self.weight, self.bias, None, None, True, 0.0, self.eps, True)
            for sample in x.split(1)
        ]
        return samples[0] if len(samples) == 1 else torch.cat(samples)


class _LoneConvolution(torch.autograd.Function):
    """A size-preserving convolution of one window, by oneDNN in the forward and the backward pass.

    In the backward pass torch uses oneDNN for such maps only if the batch has two windows or more. The window is
    therefore cut into halves along z that overlap by the reach of the kernel: a batch of two with the same sums.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, padding: list[int], dilation: list[int]
    ) -> Tensor:
        """Return (1, maps, z, y, x), channels last, for x (1, channels, z, y, x) with z even."""
        # the strides of channels last, for a single channel too
        x = _voxels_first(x).contiguous().movedim(-1, 1)
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.dilation = padding, dilation
        features = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, (1, 1, 1), dilation, 1)
        return features.contiguous(memory_format=torch.channels_last_3d)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        reach, half = ctx.padding[0], x.shape[2] // 2
        padded = functional.pad(x, (0, 0, 0, 0, reach, reach))
        halves = torch.cat([padded[:, :, : half + 2 * reach], padded[:, :, half:]])
        upstream = _voxels_first(gradient).contiguous().unflatten(1, (2, half)).squeeze(0).movedim(-1, 1)
        of_halves, of_weight, of_bias = torch.ops.aten.convolution_backward(
            upstream, halves, weight, [len(weight)], (1, 1, 1), (0, *ctx.padding[1:]), ctx.dilation,
            False, (0, 0, 0), 1, (ctx.needs_input_grad[0], True, True),
        )  # fmt: skip
        of_x = None
        if of_halves is not None:
            whole = torch.zeros_like(padded, memory_format=torch.channels_last_3d)
            whole[:, :, : half + 2 * reach] += of_halves[:1]
            whole[:, :, half:] += of_halves[1:]
            of_x = whole[:, :, reach : reach + x.shape[2]]
        return of_x, of_weight, of_bias, None, None


class _FewMapsNorm(torch.autograd.Function):
    """Instance normalisation of a few channels-last maps: sums over rows that hold several voxels each.

    With m and v the mean and variance of a map over its n voxels, r = 1 / sqrt(v + eps) and d = x - m, the output
    is y = w r d + b. For the gradient g of y, that of x is w r (g - sum(g) / n - d r^2 sum(g d) / n)
    (Ioffe and Szegedy 2015, for one sample). Sums are taken in float32, whatever the precision of x.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """Return normalised maps (N, C, ...) in the layout and precision of x."""
        rows, maps, voxels = _in_rows(x), x.shape[1], x[0, 0].numel()
        mean = _sum_per_map(rows.float(), maps) / voxels
        centred = rows - _over_rows(mean, rows)
        inverse = (_sum_per_map(centred.square(), maps) / voxels + eps).rsqrt()
        normalised = torch.empty_like(x)
        shift, scale = (_over_rows(values, rows) for values in (bias.expand_as(mean), weight * inverse))
        torch.addcmul(shift, centred, scale, out=_in_rows(normalised))
        ctx.save_for_backward(centred, inverse, weight)
        return normalised

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weight and bias."""
        centred, inverse, weight = ctx.saved_tensors
        memory = torch.channels_last_3d if gradient.ndim == 5 else torch.channels_last
        gradient = gradient.contiguous(memory_format=memory)
        upstream, maps, voxels = _in_rows(gradient).float(), gradient.shape[1], gradient[0, 0].numel()
        total, along = _sum_per_map(upstream, maps), _sum_per_map(upstream * centred, maps)
        scale = weight * inverse
        constant, slope = -scale * total / voxels, -scale * inverse.square() * along / voxels
        of_x = torch.empty_like(gradient)
        rest = torch.addcmul(_over_rows(constant, centred), centred, _over_rows(slope, centred))
        torch.addcmul(rest, upstream, _over_rows(scale, centred), out=_in_rows(of_x))
        return of_x, (along * inverse).sum(0), total.sum(0), None


def _is_unsafe_in_bf16(x: Tensor, sizes: Sequence[int], reach: Sequence[int]) -> bool:
    """Tell whether oneDNN would compute wrong gradients of a 3-D kernel's weights in bf16 on a CPU.

    Where the maps are smaller than the kernel, some of its weights never meet a voxel along that axis. oneDNN 3.12
    (in PyTorch 2.13, on processors with AVX-512 bf16) leaves their gradients as they were in memory: other bits in
    each run, at times not finite. A kernel of 3 on 2 slices is such a case, one of 5 on 3 or 4. In float32 they are
    right; such maps are the smallest of a network, so that it costs little.

    Args:
        x: what enters the layer.
        sizes: z, y, x of the maps that the kernel covers.
        reach: voxels from one end of the kernel to the other, by axis.
    """
    in_bf16 = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    smaller = any(size < edge for size, edge in zip(sizes, reach, strict=True))
    return x.device.type == "cpu" and in_bf16 and smaller


def _is_left_to_torch(x: Tensor, kernel_size: tuple[int, ...]) -> bool:
    """Tell whether torch would not give x to oneDNN, although it would give it halves of x."""
    small = math.prod(x.shape[1:4]) <= MOST_NATIVE and max(kernel_size) <= 3
    return len(x) == 1 and x.shape[2] % 2 == 0 and small and _is_float32_of_cpu(x)


def _is_float32_of_cpu(x: Tensor) -> bool:
    """Tell whether oneDNN would compute with x in float32, layer by layer; torch.compile makes its own choice."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return in_float32 and torch.backends.mkldnn.is_available()


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last_3d if x.ndim == 5 else torch.channels_last)


def _voxels_first(x: Tensor) -> Tensor:
    """Return maps (N, C, ...) as (N, ..., C)."""
    return x.movedim(1, -1)


def _in_rows(x: Tensor) -> Tensor:
    """Return channels-last maps (N, C, ...) as a view (N, rows, width): each row the maps of several voxels."""
    voxels, maps = x[0, 0].numel(), x.shape[1]
    together = math.gcd(voxels, ROW // maps)
    return _voxels_first(x).reshape(len(x), voxels // together, together * maps)


def _sum_per_map(rows: Tensor, maps: int) -> Tensor:
    """Return the sum of each map, (N, maps), from rows (N, rows, width)."""
    return rows.sum(1).unflatten(1, (-1, maps)).sum(1)


def _over_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Return a value for each sample and map (N, maps) in a shape that broadcasts over `rows` (N, rows, width)."""
    return values.repeat(1, rows.shape[2] // values.shape[1])[:, None]
