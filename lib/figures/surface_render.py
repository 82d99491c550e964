"""Shaded rendering of bone that shows where a prediction and its reference differ (Zhao 2020, Fig. 5).

A ray caster in numpy. The union of both masks is smoothed and resampled to a grid with the step of one pixel of the
picture. Views turn about the body's long axis, so that each ray stays within one row of that grid: it skips empty
space by the distance to the nearest bone voxel and stops where the smoothed mask crosses one half.
Arrays are (z, y, x) in the patient's LPS axes: z grows to the head, y to the back, x to the patient's left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.figures.palette import ADDED, BONE, MISSED, structure_color

# (towards the viewer, to the viewer's right, up): the light is above the viewer's left shoulder
_LIGHT = np.array([0.80, -0.34, 0.50]) / np.linalg.norm([0.80, -0.34, 0.50])
_AMBIENT = 0.58
# margin around the solid as a share of the picture
_MARGIN = 0.04
# Depth below the surface, in native voxels, at which the masks are sampled. At this depth missed and added bone cover
# about the same share of the surface as of the union's border voxels; deeper, smoothing removes single voxels.
_INSET = 0.1
# the smoothed mask rises by about this much in one pixel; rays that pass within a pixel of the surface fade out
_SOFT_EDGE = 0.25


@dataclass(frozen=True)
class Solid:
    """A pair of masks prepared for rendering: fields (row, y, x) on a grid of cubic voxels, row 0 at the top.

    Attributes:
        surface: smoothed union of the masks, 0 to 1; the surface lies at one half.
        clearance: distance in voxels, along any axis, from each voxel to the nearest bone.
        reference: interpolated reference mask, 0 to 1, or None if there is no reference.
        predicted: interpolated predicted mask, 0 to 1.
        structures: interpolated predicted mask of each structure; empty if there is one only.
        inset: depth below the surface, in voxels, at which both masks are sampled.
        size_px: width and height of every view.
    """

    surface: np.ndarray
    clearance: np.ndarray
    reference: np.ndarray | None
    predicted: np.ndarray
    inset: float
    size_px: int
    structures: tuple[np.ndarray, ...] = ()


def render_solid(
    reference_zyx: np.ndarray | None,
    predicted_zyx: np.ndarray,
    spacing_mm_zyx: Sequence[float],
    azimuth_degrees: float,
    size_px: int,
) -> np.ndarray:
    """Return one view of a pair of masks as RGBA, uint8 (size_px, size_px, 4); the background is transparent.

    Args:
        reference_zyx: reference mask (z, y, x), or None to draw the prediction in the colour of bone.
        predicted_zyx: predicted mask, of the same shape.
        spacing_mm_zyx: voxel size in mm.
        azimuth_degrees: position of the viewer: 0 in front (patient's left at the viewer's right), 90 at the
            patient's left side, 180 behind. The head is up.
        size_px: width and height of the picture.

    Raises:
        ValueError: the masks differ in shape.
    """
    return turntable(reference_zyx, predicted_zyx, spacing_mm_zyx, [azimuth_degrees], size_px)[0]


def turntable(
    reference_zyx: np.ndarray | None,
    predicted_zyx: np.ndarray,
    spacing_mm_zyx: Sequence[float],
    angles: Sequence[float],
    size_px: int,
    structures: int = 1,
) -> list[np.ndarray]:
    """Return a view from each of `angles` at one scale; the masks are prepared only once (see `render_solid`).

    With several `structures` (their number), masks are label maps: each structure has its colour, and bone that only
    the reference has that of missed bone.
    """
    solid = prepare_solid(reference_zyx, predicted_zyx, spacing_mm_zyx, size_px, structures)
    if solid is None:
        return [np.zeros((size_px, size_px, 4), np.uint8) for _ in angles]
    return [view_solid(solid, angle) for angle in angles]


def prepare_solid(
    reference_zyx: np.ndarray | None,
    predicted_zyx: np.ndarray,
    spacing_mm_zyx: Sequence[float],
    size_px: int,
    structures: int = 1,
) -> Solid | None:
    """Return the masks on a grid of one voxel per pixel, ready for any view; None if both are empty."""
    if reference_zyx is not None and reference_zyx.shape != predicted_zyx.shape:
        raise ValueError(
            f"The reference has shape {reference_zyx.shape}, the prediction {predicted_zyx.shape}; "
            "both must lie on one grid."
        )
    masks = [mask > 0 for mask in (reference_zyx, predicted_zyx) if mask is not None]
    union = np.logical_or.reduce(masks)
    if not union.any():
        return None
    spacing = np.asarray(spacing_mm_zyx, float)
    step_mm, positions = _pixel_grid(union, spacing, size_px)
    sigma = np.maximum(0.9 * spacing, 0.7 * step_mm) / spacing
    window, positions = _window(positions, union.shape, sigma)
    surface = _interpolate(ndimage.gaussian_filter(_cut(union, window), sigma, truncate=3), positions)
    # smoothing would remove parts thinner than its kernel
    surface /= surface.max()
    fields = [_interpolate(_cut(mask, window), positions) for mask in masks]
    labels = range(1, structures + 1) if structures > 1 else ()
    # 255 is the limit of uint8; steps of 255 voxels are long enough
    free = ndimage.distance_transform_cdt(surface < 0.5, metric="chessboard")
    return Solid(
        surface=surface,
        clearance=np.minimum(free, 255, out=free).astype(np.uint8),
        reference=fields[0] if len(fields) == 2 else None,
        predicted=fields[-1],
        inset=_INSET * float(spacing[1:].min()) / step_mm,
        size_px=size_px,
        structures=tuple(_interpolate(_cut(predicted_zyx == label, window), positions) for label in labels),
    )


def view_solid(solid: Solid, azimuth_degrees: float) -> np.ndarray:
    """Return one view of a prepared solid as RGBA, uint8 (size_px, size_px, 4)."""
    angle = np.deg2rad(azimuth_degrees)
    across = np.array([np.sin(angle), np.cos(angle)], np.float32)
    away = np.array([np.cos(angle), -np.sin(angle)], np.float32)
    rows, points, values = _cast_rays(solid, across, away)
    picture = np.zeros((solid.size_px, solid.size_px, 4), np.float32)
    seen = np.flatnonzero(values > 0.5 - _SOFT_EDGE)
    normals = _normals(solid.surface, rows[seen], points[:, seen])
    inside = points[:, seen] - solid.inset * normals[1:]
    inside_rows = np.clip(
        np.rint(rows[seen] - solid.inset * normals[0]).astype(int), 0, len(solid.surface) - 1
    )
    toward = np.stack([-away @ normals[1:], across @ normals[1:], -normals[0]])
    light = _AMBIENT + (1 - _AMBIENT) * np.clip(_LIGHT @ toward, 0, 1)
    flat = picture.reshape(-1, 4)
    pixels = _pixels_of_rays(solid)[seen]
    flat[pixels, :3] = _colors(solid, inside_rows, inside) * light[:, None]
    flat[pixels, 3] = 255 * np.clip(1 + (values[seen] - 0.5) / _SOFT_EDGE, 0, 1)
    return np.rint(picture).astype(np.uint8)


def _pixel_grid(
    union: np.ndarray, spacing: np.ndarray, size_px: int
) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return mm per pixel and, in native voxels, the positions (z, y, x) of the grid's rows, columns and depths."""
    z = np.flatnonzero(union.any(axis=(1, 2)))[[0, -1]] + [-0.5, 0.5]
    y, x = (axis * step for axis, step in zip(np.nonzero(union.any(axis=0)), spacing[1:], strict=True))
    middle = np.array([y.min() + y.max(), x.min() + x.max()]) / 2
    radius = np.hypot(y - middle[0], x - middle[1]).max() + spacing[1:].max() / 2
    height = np.ptp(z) * spacing[0]
    step_mm = max(height, 2 * radius) / (size_px * (1 - 2 * _MARGIN))
    half = int(np.ceil(radius / step_mm)) + 3
    flat = np.arange(-half, half + 1) * step_mm
    tall = (size_px - 1) / 2 - np.arange(size_px)
    return step_mm, (
        z.mean() + tall * step_mm / spacing[0],
        (middle[0] + flat) / spacing[1],
        (middle[1] + flat) / spacing[2],
    )


def _window(
    positions: Sequence[np.ndarray], shape: Sequence[int], sigma: np.ndarray
) -> tuple[tuple[tuple[int, int], ...], list[np.ndarray]]:
    """Return the range (from, to) of voxels that the grid needs on each axis, and the positions relative to it."""
    bounds = []
    for position, length, width in zip(positions, shape, sigma, strict=True):
        reach = int(np.ceil(3 * width)) + 1
        start, stop = int(np.floor(position.min())) - reach, int(np.ceil(position.max())) + reach + 1
        bounds.append((max(start, -reach), min(stop, length + reach)))
    return tuple(bounds), [position - start for position, (start, _) in zip(positions, bounds, strict=True)]


def _cut(mask: np.ndarray, window: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the mask in a window as float32 0 and 1; outside the array it is 0."""
    inside = tuple(slice(max(0, start), stop) for start, stop in window)
    around = [
        (max(0, -start), max(0, stop - length))
        for (start, stop), length in zip(window, mask.shape, strict=True)
    ]
    return np.pad(mask[inside], around).astype(np.float32)


def _interpolate(field: np.ndarray, positions: Sequence[np.ndarray]) -> np.ndarray:
    """Return a field, linearly interpolated on the grid of `positions` (in voxels, by axis); 0 outside.

    The grid is as deep as it is wide, and bones may be flat: only the part of it next to filled voxels is computed.
    """
    result = np.zeros([len(position) for position in positions], np.float32)
    spans = [_span(field, axis, position) for axis, position in enumerate(positions)]
    for axis, (position, span) in enumerate(zip(positions, spans, strict=True)):
        low = np.floor(position[span]).astype(int)
        share = (position[span] - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        ends = []
        for index, weight in ((low, 1 - share), (low + 1, share)):
            known = ((index >= 0) & (index < field.shape[axis])).reshape(share.shape)
            ends.append(np.take(field, np.clip(index, 0, field.shape[axis] - 1), axis=axis))
            ends[-1] *= weight * known
        field = np.add(*ends, out=ends[0])
    result[tuple(spans)] = field
    return result


def _span(field: np.ndarray, axis: int, position: np.ndarray) -> slice:
    """Return the range of ascending or descending positions (voxels) on an axis that have a filled neighbour."""
    filled = np.flatnonzero(field.any(axis=tuple({0, 1, 2} - {axis})))
    if not len(filled):
        return slice(0, 0)
    near = np.flatnonzero((position > filled[0] - 1) & (position < filled[-1] + 1))
    return slice(near[0], near[-1] + 1) if len(near) else slice(0, 0)


def _sample(field: np.ndarray, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a field (row, y, x), bilinearly interpolated at integer rows and points (2, n) of (y, x) in voxels."""
    _, height, width = field.shape
    y, x = np.clip(points, 0, np.array([[height - 1.001], [width - 1.001]], points.dtype))
    low_y, low_x = y.astype(np.intp), x.astype(np.intp)
    part_y, part_x = y - low_y.astype(y.dtype), x - low_x.astype(x.dtype)
    first = (rows * height + low_y) * width + low_x
    flat = field.reshape(-1)
    near = flat[first] * (1 - part_x) + flat[first + 1] * part_x
    far = flat[first + width] * (1 - part_x) + flat[first + width + 1] * part_x
    return near * (1 - part_y) + far * part_y


def _cast_rays(
    solid: Solid, across: np.ndarray, away: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow every ray to its first crossing of the surface, or to its closest point.

    Returns the row of each ray, its point (2, n) in (y, x) voxels and the value of the smoothed union there.
    """
    side = solid.surface.shape[1]
    middle = (side - 1) / 2
    rows = np.repeat(np.arange(solid.size_px), side)
    offsets = np.tile(np.arange(side, dtype=np.float32) - np.float32(middle), solid.size_px)
    start = middle + across[:, None] * offsets
    depth = np.full(len(rows), -middle, np.float32)
    best, best_depth = np.zeros(len(rows), np.float32), depth.copy()
    occupied = (solid.surface > 0.5 - _SOFT_EDGE).any(axis=(1, 2))
    active = np.flatnonzero(occupied[rows])
    while len(active):
        points = start[:, active] + away[:, None] * depth[active]
        values = _sample(solid.surface, rows[active], points)
        better = active[values > best[active]]
        best[better], best_depth[better] = values[values > best[active]], depth[better]
        nearest = np.clip(np.rint(points), 0, side - 1).astype(np.intp)
        free = solid.clearance[rows[active], nearest[0], nearest[1]]
        # the point may lie half a voxel from its voxel's centre, and bone may begin half a voxel before its voxel
        depth[active] += np.maximum(free - 1.5, 0.5)
        active = active[(values < 0.5) & (depth[active] <= middle)]
    hit = np.flatnonzero(best >= 0.5)
    best_depth[hit] = _refine(solid.surface, rows[hit], start[:, hit], away, best_depth[hit])
    return rows, start + away[:, None] * best_depth, np.minimum(best, 0.5)


def _refine(
    surface: np.ndarray, rows: np.ndarray, start: np.ndarray, away: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """Return the depths at which the surface is crossed, by bisection of the last step of half a voxel."""
    low, high = depth - 0.5, depth.copy()
    for _ in range(4):
        middle = (low + high) / 2
        within = _sample(surface, rows, start + away[:, None] * middle) >= 0.5
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return (low + high) / 2


def _normals(surface: np.ndarray, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return outward unit normals (3, n) in (row, y, x), opposite to the gradient of the smoothed union."""
    last = len(surface) - 1
    gradient = np.stack(
        [
            _sample(surface, np.minimum(rows + 1, last), points)
            - _sample(surface, np.maximum(rows - 1, 0), points),
            *(
                _sample(surface, rows, points + step) - _sample(surface, rows, points - step)
                for step in np.eye(2, dtype=np.float32)[:, :, None]
            ),
        ]
    )
    return -gradient / np.maximum(np.linalg.norm(gradient, axis=0), 1e-6)


def _colors(solid: Solid, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return RGB (n, 3), 0 to 255: the colours of agreed, missed and added bone, mixed by share at each point.

    Of several structures, those of the structures and of missed bone.
    """
    if solid.reference is None and not solid.structures:
        return np.tile(np.array(BONE, np.float32), (len(rows), 1))
    predicted = _sample(solid.predicted, rows, points)
    reference = predicted if solid.reference is None else _sample(solid.reference, rows, points)
    if solid.structures:
        kinds = [*(_sample(field, rows, points) for field in solid.structures), reference - predicted]
        colors = [*(structure_color(position) for position in range(len(solid.structures))), MISSED]
    else:
        kinds = [np.minimum(reference, predicted), reference - predicted, predicted - reference]
        colors = [BONE, MISSED, ADDED]
    shares = np.stack(kinds).clip(min=1e-6)
    # squared, to make the border between colours narrower than the voxel over which masks are interpolated
    shares = shares**2 / (shares**2).sum(axis=0)
    return shares.T @ np.array(colors, np.float32)


def _pixels_of_rays(solid: Solid) -> np.ndarray:
    """Return the index of each ray in the flattened picture, and a position at the edge for rays outside it."""
    side, size = solid.surface.shape[1], solid.size_px
    columns = np.arange(side) + round((size - side) / 2)
    return (np.arange(size)[:, None] * size + np.clip(columns, 0, size - 1)).ravel()
