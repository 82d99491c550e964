"""The share of each voxel inside a closed surface, exact along x, sub-sampled along y and z."""

from dataclasses import dataclass

import numpy as np

from lib.phantom.mesh import Mesh

# sub-lines are shifted by this fraction of their distance, so that they miss vertices with round coordinates
_OFF_LATTICE = 1.0e-4


@dataclass(frozen=True, kw_only=True)
class VoxelGrid:
    """An axis-aligned grid: centre of voxel (0, 0, 0), voxel size and number of voxels, in LPS mm."""

    origin_xyz_mm: tuple[float, float, float]
    spacing_xyz_mm: tuple[float, float, float]
    size_xyz: tuple[int, int, int]

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of an array on this grid."""
        return self.size_xyz[::-1]

    def centers_mm(self, axis: int) -> np.ndarray:
        """Return the voxel centres along one axis (0 = x, 1 = y, 2 = z), mm."""
        return self.origin_xyz_mm[axis] + self.spacing_xyz_mm[axis] * np.arange(self.size_xyz[axis])

    @property
    def bottom_mm(self) -> float:
        """The lower (distal) face of the lowest slice, LPS z in mm."""
        return self.origin_xyz_mm[2] - 0.5 * self.spacing_xyz_mm[2]

    def crop_around(
        self, low_xyz_mm: np.ndarray, high_xyz_mm: np.ndarray
    ) -> tuple["VoxelGrid", tuple[slice, ...]]:
        """Return the part of this grid that holds a box, and its slices zyx into arrays of this grid."""
        origin, spacing, size = (
            np.array(v) for v in (self.origin_xyz_mm, self.spacing_xyz_mm, self.size_xyz)
        )
        first = np.clip(np.floor((low_xyz_mm - origin) / spacing).astype(int), 0, size - 1)
        last = np.clip(np.ceil((high_xyz_mm - origin) / spacing).astype(int), first, size - 1)
        part = VoxelGrid(
            origin_xyz_mm=tuple(float(v) for v in origin + first * spacing),
            spacing_xyz_mm=self.spacing_xyz_mm,
            size_xyz=tuple(int(v) for v in last - first + 1),
        )
        return part, tuple(slice(a, b + 1) for a, b in zip(first[::-1], last[::-1], strict=True))


def coverage(mesh: Mesh, grid: VoxelGrid, supersampling: int) -> np.ndarray:
    """Return the share of each voxel inside a closed surface, float32 zyx in [0, 1].

    `supersampling` squared lines run through each voxel along x; their length between two crossings of the surface is
    exact. Crossings are signed, so overlapping parts of a mesh count once, and inverted parts (where an offset
    surface folds) count as outside.
    """
    filled = np.zeros(grid.shape_zyx, np.float32)
    low, high = mesh.vertices_xyz_mm.min(axis=0), mesh.vertices_xyz_mm.max(axis=0)
    box, where = grid.crop_around(low, high)
    filled[where] = _coverage_in_box(mesh, box, supersampling)
    return filled


def _coverage_in_box(mesh: Mesh, grid: VoxelGrid, supersampling: int) -> np.ndarray:
    """Return the share of each voxel inside, for a grid that ends at the mesh's bounds or cuts it."""
    segments, plane = _cut_by_planes(mesh, *_sub_positions(grid, 2, supersampling))
    x_mm, row, pair, sign = _cut_by_lines(segments, *_sub_positions(grid, 1, supersampling))
    n_x, n_y, n_z = grid.size_xyz
    left_mm = grid.origin_xyz_mm[0] - 0.5 * grid.spacing_xyz_mm[0]
    u = np.clip((x_mm - left_mm) / grid.spacing_xyz_mm[0], 0, n_x)
    column = np.floor(u).astype(np.int64)
    first = ((plane[pair] // supersampling) * n_y + row // supersampling) * (n_x + 2) + column
    share = u - column
    weight = sign / supersampling**2
    steps = np.bincount(
        np.concatenate([first, first + 1]),
        np.concatenate([weight * (1 - share), weight * share]),
        minlength=n_z * n_y * (n_x + 2),
    )
    filled = np.cumsum(steps.reshape(n_z, n_y, n_x + 2), axis=2)[:, :, :n_x]
    return np.clip(filled, 0, 1).astype(np.float32)


def _sub_positions(grid: VoxelGrid, axis: int, supersampling: int) -> tuple[float, float, int]:
    """Return first position, step (mm) and number of the sub-lines or sub-planes along an axis."""
    step = grid.spacing_xyz_mm[axis] / supersampling
    edge = grid.origin_xyz_mm[axis] - 0.5 * grid.spacing_xyz_mm[axis]
    return edge + (0.5 + _OFF_LATTICE) * step, step, grid.size_xyz[axis] * supersampling


def _cut_by_planes(mesh: Mesh, first: float, step: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a mesh by planes z = first + k * step: oriented segments (n, 2 ends, xy) and the plane of each."""
    corners_z = mesh.vertices_xyz_mm[:, 2][mesh.faces]
    triangle, plane = _spanned(corners_z.min(axis=1), corners_z.max(axis=1), first, step, count)
    z = first + step * plane
    above = corners_z[triangle] > z[:, None]
    lone_above = above.sum(axis=1) == 1
    # the corner that is alone on its side of the plane; the segment runs between the two edges that meet there
    lone = np.argmax(above == lone_above[:, None], axis=1)
    faces = mesh.faces[triangle]
    rows = np.arange(len(triangle))
    a, b, c = (faces[rows, (lone + k) % 3] for k in range(3))
    out, back = (_edge_at(mesh.vertices_xyz_mm, a, other, z) for other in (b, c))
    swap = lone_above[:, None]
    return np.stack([np.where(swap, out, back), np.where(swap, back, out)], axis=1), plane


def _edge_at(vertices: np.ndarray, a: np.ndarray, b: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return xy where the edges a-b cross height z; both triangles at an edge get the same bits."""
    low, high = vertices[np.minimum(a, b)], vertices[np.maximum(a, b)]
    share = (z - low[:, 2]) / (high[:, 2] - low[:, 2])
    return low[:, :2] + share[:, None] * (high[:, :2] - low[:, :2])


def _cut_by_lines(
    segments: np.ndarray, first: float, step: float, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut segments by lines y = first + k * step: x (mm), line, segment and sign (+1 enters) of each cut."""
    y = segments[:, :, 1]
    segment, line = _spanned(y.min(axis=1), y.max(axis=1), first, step, count)
    start, end = segments[segment, 0], segments[segment, 1]
    rise = end[:, 1] - start[:, 1]
    share = (first + step * line - start[:, 1]) / rise
    x = start[:, 0] + share * (end[:, 0] - start[:, 0])
    return x, line, segment, -np.sign(rise)


def _spanned(
    low: np.ndarray, high: np.ndarray, first: float, step: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (item, k) for all k with low <= first + k * step < high and 0 <= k < count."""
    begin = np.clip(np.ceil((low - first) / step) - 1, 0, count).astype(np.int64)
    end = np.clip(np.ceil((high - first) / step) + 1, 0, count).astype(np.int64)
    number = np.maximum(end - begin, 0)
    item = np.repeat(np.arange(len(low)), number)
    k = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + begin[item]
    # the range above is one too wide; the exact comparison is the same for all segments that share a corner
    position = first + step * k
    inside = (low[item] <= position) & (position < high[item])
    return item[inside], k[inside]
