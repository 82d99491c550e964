"""Agreement of two masks: overlap, surface distances and volumes of one scan.

Conventions: the reference comes first; arrays are (z, y, x) with index 0 of z at the distal end; millimetres follow
from the voxel spacing. An undefined value is None, never 0, with the reason in `undefined`.

A mask's surface is its mesh by marching cubes (Lewiner 2003, scikit-image) halfway between voxel centres. Each
triangle is a surface element with its area, as in Nikolov 2021 (J Med Internet Res 23:e26151), and its distance is
that of its centre from the nearest point of the other mesh. Nikolov's program (surface-distance) gives its elements
the same areas but places them at corners between voxels, so that surfaces which share a corner have the distance 0;
other programs use the centres or faces of voxels. For two spheres that differ by a third of a millimetre on 3 mm
slices, the mesh gives 0.8 to 0.9 of the true mean distance, corners give 0.2 to 0.3 (tests/unit/test_overlap.py). No
program resolves a voxel: distances below its longest side depend on the grid. The largest distance (HD) is also one
of triangle centres: at a bump of one voxel they lie a third of a voxel below its tip, while corners would count the
edges that the mesh cuts off by half a voxel. The flat ends where the scan cuts the bone do not count as surface
here, but do in other programs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from lib.errors import ScanError
from lib.measure_settings import OverlapConfig

Spacing = tuple[float, float, float]

NO_REFERENCE = "the reference mask is empty"
NO_PREDICTION = "the predicted mask is empty"
NO_BACKGROUND = "the reference fills the whole crop"
NO_SURFACE = "a mask has no surface inside the volume"

SURFACE_METRICS = (
    *("hd_mm", "hd_reference_to_predicted_mm", "hd_predicted_to_reference_mm"),
    *("hd95_mm", "hd95_reference_to_predicted_mm", "hd95_predicted_to_reference_mm"),
    *("assd_mm", "nsd"),
)

# number of triangles with which a point is compared; for two hips of 40,000 triangles, 8 instead of 64 make the mean
# distance 0.00001 mm too large and no distance more than 0.1 mm too large
_NEAREST = 8
_ROUNDING_MM = 1e-9


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Surface of a mask as triangles: corners (n, 3, 3), centres (n, 3) in mm (z, y, x), areas (n,) in mm2, marks.

    `facing` is the axis nearest to a triangle's outward normal: -1, -2, -3 for down z, y, x and 1, 2, 3 for up.
    `cut` marks triangles on the border of the array, where the scan ends but not the bone.
    """

    corners_mm_zyx: np.ndarray
    center_mm_zyx: np.ndarray
    area_mm2: np.ndarray
    facing: np.ndarray
    cut: np.ndarray

    def part(self, chosen: np.ndarray) -> "Surface":
        """Return the triangles that `chosen` (n, bool) marks."""
        return Surface(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Distances (n,) in mm from the triangles of one surface to another surface; areas (n,) of these in mm2."""

    distance_mm: np.ndarray
    area_mm2: np.ndarray

    def quantile_mm(self, share: float) -> float:
        """Return the distance within which `share` of the area lies."""
        return weighted_quantile(self.distance_mm, self.area_mm2, share)


@dataclass(frozen=True, kw_only=True)
class SurfacePair:
    """The surfaces of two masks.

    Attributes:
        surfaces: of the reference and of the prediction.
        distances: from the first to the second and back (`surface_distances`); None: one of them has no surface.
    """

    surfaces: tuple[Surface, Surface]
    distances: tuple[Distances, Distances] | None


def measure_overlap(
    reference_zyx: np.ndarray,
    predicted_zyx: np.ndarray,
    spacing_mm_zyx: Spacing,
    config: OverlapConfig,
    pair: SurfacePair | None = None,
) -> dict:
    """Compare two masks of shape (z, y, x) on the grid of the crop.

    Surface metrics leave out the flat ends where the scan cuts the bone (`surface_distances`); `pair` are the masks'
    surfaces where they are known.

    Returns:
        `true_positive_voxels`, `false_positive_voxels`, `false_negative_voxels`, `true_negative_voxels`;
        `dsc`, `sensitivity`, `precision`; `specificity` over the `specificity_voxels` of the array outside the
        reference, so it depends on the crop's size;
        `hd_reference_to_predicted_mm`, `hd_predicted_to_reference_mm`: largest distance from a triangle of the one
        surface to the other surface, `hd_mm`: the larger of the two; `hd95_...`: the same of the distance within
        which 95 % of a surface's area lies;
        `assd_mm`: mean distance over the area of both surfaces; `nsd`: share of that area within the tolerance
        `nsd_tolerance_mm` (Nikolov 2021), 0 where only one mask has a surface;
        `reference_mm3`, `predicted_mm3`, `volume_error_mm3` = predicted - reference, `re_percent` = 100 times that
        over the reference;
        `spacing_x_mm`, `spacing_y_mm`, `spacing_z_mm` of the grid;
        `by_slice`: errors along z; `undefined`: metric -> reason why it is None.

    Raises:
        ScanError: `mask_off_grid`, the shapes differ.
    """
    reference, predicted = _same_shape(reference_zyx, predicted_zyx)
    counts = _count_voxels(reference, predicted)
    values, undefined = _count_metrics(counts)
    pair = pair or find_surfaces(reference, predicted, spacing_mm_zyx)
    surfaces, missing = _surface_metrics(reference, predicted, pair, config)
    volumes, no_volume = _volume_metrics(reference, predicted, spacing_mm_zyx)
    return {
        **{f"{name}_voxels": count for name, count in counts.items()},
        **values,
        **surfaces,
        **volumes,
        "specificity_voxels": counts["true_negative"] + counts["false_positive"],
        "nsd_tolerance_mm": config.nsd_tolerance_mm,
        **{f"spacing_{axis}_mm": float(step) for axis, step in zip("zyx", spacing_mm_zyx, strict=True)},
        "by_slice": _errors_by_slice(reference, predicted, spacing_mm_zyx),
        "undefined": {**undefined, **missing, **no_volume},
    }


def measure_native(reference_zyx: np.ndarray, predicted_zyx: np.ndarray, spacing_mm_zyx: Spacing) -> dict:
    """Compare two masks on the reference's own grid, so that a coarse network grid does not inflate the overlap.

    Returns `dsc_native`, `reference_native_mm3` and `undefined`. Raises ScanError when the shapes differ.
    """
    counts, undefined = count_overlap(reference_zyx, predicted_zyx)
    return {
        "dsc_native": counts["dsc"],
        "reference_native_mm3": _volume_mm3(reference_zyx, spacing_mm_zyx),
        "undefined": {"dsc_native": undefined["dsc"]} if "dsc" in undefined else {},
    }


def count_overlap(reference_zyx: np.ndarray, predicted_zyx: np.ndarray) -> tuple[dict, dict]:
    """Return `dsc`, `sensitivity`, `specificity` and `precision` of two masks (z, y, x), and why any is None.

    Raises:
        ScanError: `mask_off_grid`, the shapes differ.
    """
    return _count_metrics(_count_voxels(*_same_shape(reference_zyx, predicted_zyx)))


def measure_by_region(
    reference_zyx: np.ndarray,
    predicted_zyx: np.ndarray,
    parts: Mapping[str, slice | np.ndarray],
    missing: Mapping[str, str],
) -> dict:
    """Compare two masks within parts of the scan.

    Args:
        reference_zyx: Reference (z, y, x).
        predicted_zyx: Prediction on the same grid.
        parts: region -> its slices along z, or its voxels, bool (z, y, x).
        missing: region -> why it is not in `parts`.

    Returns:
        `dsc_{region}` of each region, None where it is missing or both masks are empty there, and `undefined`.

    Raises:
        ScanError: `mask_off_grid`, the shapes differ.
    """
    reference, predicted = _same_shape(reference_zyx, predicted_zyx)
    undefined = {f"dsc_{region}": reason for region, reason in missing.items()}
    values = dict.fromkeys(undefined)
    for region, inside in parts.items():
        counts, reasons = _count_metrics(_count_voxels(reference[inside], predicted[inside]))
        values[f"dsc_{region}"] = counts["dsc"]
        undefined |= {f"dsc_{region}": reasons["dsc"]} if "dsc" in reasons else {}
    return {**values, "undefined": undefined}


def find_surface(mask_zyx: np.ndarray, spacing_mm_zyx: Spacing) -> Surface:
    """Return the surface of a mask (z, y, x) with marks where the array cuts it; no triangles for an empty mask.

    Beyond a border of the array the bone is assumed to continue unchanged, so that it has walls but no end there. Of
    walls across the border only the inner half counts, with half the area and its own centre.
    """
    inside, first, borders = _box_of(np.asarray(mask_zyx, bool))
    mesh = _triangles(inside)
    ends = [_closed_end(inside, *border) for border in borders]
    counts = [len(mesh), *map(len, ends)]
    corners = np.concatenate([mesh, *ends])
    center, share = corners.mean(axis=1), np.ones(len(corners))
    for axis, index in borders:
        last = inside.shape[axis] - 1
        across = np.flatnonzero(
            center[: len(mesh), axis] < 1 if index == 0 else center[: len(mesh), axis] > last - 1
        )
        share[across] /= 2
        center[across, axis] = 0.75 if index == 0 else last - 0.75
    spacing = np.asarray(spacing_mm_zyx, float)
    corners, center = (corners + first) * spacing, (center + first) * spacing
    # in (z, y, x) order the corners from marching_cubes run clockwise as seen from outside
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 1] - corners[:, 0])
    axis = np.abs(normal).argmax(axis=1)
    upwards = np.take_along_axis(normal, axis[:, None], axis=1)[:, 0] > 0
    facing = np.where(upwards, 1, -1) * (axis + 1)
    # of an end, keep only triangles that face out of the array; its rim belongs to the walls, which continue
    outwards = np.repeat([0, *(axis + 1 if index else -axis - 1 for axis, index in borders)], counts)
    kept = (outwards == 0) | (facing == outwards)
    return Surface(
        corners_mm_zyx=corners[kept],
        center_mm_zyx=center[kept],
        area_mm2=(share * np.linalg.norm(normal, axis=1) / 2)[kept],
        facing=facing[kept],
        cut=outwards[kept] != 0,
    )


def find_surfaces(
    reference_zyx: np.ndarray, predicted_zyx: np.ndarray, spacing_mm_zyx: Spacing
) -> SurfacePair:
    """Return the surfaces of two masks (z, y, x) on one grid, and the distances between them."""
    surfaces = find_surface(reference_zyx, spacing_mm_zyx), find_surface(predicted_zyx, spacing_mm_zyx)
    if any(surface.cut.all() for surface in surfaces):
        return SurfacePair(surfaces=surfaces, distances=None)
    distances = surface_distances(*surfaces), surface_distances(*surfaces[::-1])
    return SurfacePair(surfaces=surfaces, distances=distances)


def surface_distances(source: Surface, target: Surface) -> Distances:
    """Return the distances from the triangle centres of `source` to the triangles of `target`, both without cuts.

    Exception: a triangle may also be matched to a cut that faces the same way. A prediction that ends one slice above
    the scan's end then has the error of that slice, not of the radius of the shaft; its walls and its upper end are
    not matched to the cut. Both surfaces need at least one triangle that is not a cut.
    """
    real = ~source.cut
    center_mm, facing = source.center_mm_zyx[real], source.facing[real]
    distance_mm = distance_to_triangles(center_mm, target.corners_mm_zyx[~target.cut])
    for direction in np.unique(target.facing[target.cut]):
        alike = facing == direction
        border = target.corners_mm_zyx[target.cut & (target.facing == direction)]
        distance_mm[alike] = np.minimum(distance_mm[alike], distance_to_triangles(center_mm[alike], border))
    return Distances(distance_mm=distance_mm, area_mm2=source.area_mm2[real])


def distance_to_triangles(points_mm: np.ndarray, corners_mm: np.ndarray) -> np.ndarray:
    """Return the distance (n,) in mm of each point (n, 3) from the nearest of the triangles (m, 3, 3).

    Each point is compared with the `_NEAREST` triangles with the nearest centres, except those that cannot be nearer
    than the nearest one found so far.
    """
    center = corners_mm.mean(axis=1)
    reach = np.linalg.norm(corners_mm - center[:, None], axis=2).max(axis=1)
    nearest = range(1, 1 + min(_NEAREST, len(center)))
    distance, order = cKDTree(center).query(points_mm, k=nearest)
    if order.size < len(center):  # few points need few of the triangles
        used, places = np.unique(order, return_inverse=True)
        corners_mm, reach, order = corners_mm[used], reach[used], places.reshape(order.shape)
    frame, flat = _in_own_plane(corners_mm)
    found = np.full(len(points_mm), np.inf)
    for away, near in zip(distance.T, order.T, strict=True):
        nearer = np.flatnonzero(np.maximum(away - reach[near], 0) < found)
        near = near[nearer]
        x, y, height = np.einsum("pij,pj->ip", frame[near], points_mm[nearer] - corners_mm[near, 0])
        squared = _squared_in_plane(x, y, flat[near].transpose(1, 2, 0)) + height**2
        found[nearer] = np.minimum(found[nearer], np.sqrt(np.where(squared < _ROUNDING_MM**2, 0, squared)))
    return found


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the smallest of `values` (n,) at or below which at least `share` of the `weights` (n,) lies."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    index = np.searchsorted(reached, share * reached[-1] * (1 - 1e-12))
    return float(values[order][min(index, len(values) - 1)])


def _same_shape(reference_zyx: np.ndarray, predicted_zyx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reference, predicted = np.asarray(reference_zyx) != 0, np.asarray(predicted_zyx) != 0
    if reference.shape != predicted.shape:
        raise ScanError(
            "mask_off_grid",
            f"reference and prediction must have one shape (z, y, x), got {reference.shape} and {predicted.shape}",
        )
    return reference, predicted


def _count_voxels(reference: np.ndarray, predicted: np.ndarray) -> dict[str, int]:
    both = int(np.count_nonzero(reference & predicted))
    in_reference, in_predicted = int(np.count_nonzero(reference)), int(np.count_nonzero(predicted))
    return {
        "true_positive": both,
        "false_positive": in_predicted - both,
        "false_negative": in_reference - both,
        "true_negative": reference.size - in_reference - in_predicted + both,
    }


def _count_metrics(counts: Mapping[str, int]) -> tuple[dict, dict]:
    """Return the measures of overlap from counts of voxels, and the reasons for undefined ones."""
    both, added, missed = (counts[name] for name in ("true_positive", "false_positive", "false_negative"))
    neither = counts["true_negative"]
    return _ratios(
        {
            "dsc": (2 * both, 2 * both + added + missed, f"{NO_REFERENCE} and {NO_PREDICTION}"),
            "sensitivity": (both, both + missed, NO_REFERENCE),
            "specificity": (neither, neither + added, NO_BACKGROUND),
            "precision": (both, both + added, NO_PREDICTION),
        }
    )


def _ratios(fractions: dict[str, tuple[float, float, str]]) -> tuple[dict, dict]:
    """Return the quotients of (numerator, denominator, reason), and the reasons where the denominator is 0."""
    values = {name: top / bottom if bottom else None for name, (top, bottom, _) in fractions.items()}
    return values, {name: fractions[name][2] for name, value in values.items() if value is None}


def _surface_metrics(
    reference: np.ndarray, predicted: np.ndarray, pair: SurfacePair, config: OverlapConfig
) -> tuple[dict, dict]:
    if pair.distances is None:
        empty = ((reference, NO_REFERENCE), (predicted, NO_PREDICTION))
        reason = next((why for mask, why in empty if not mask.any()), NO_SURFACE)
        undefined = dict.fromkeys(SURFACE_METRICS, reason)
        # without the other surface no part lies within the tolerance: the failure counts as 0 and stays in the mean
        zero = {} if all(surface.cut.all() for surface in pair.surfaces) else {"nsd": 0.0}
        return dict.fromkeys(SURFACE_METRICS) | zero, {k: v for k, v in undefined.items() if k not in zero}
    ways = pair.distances
    distance = np.concatenate([way.distance_mm for way in ways])
    area = np.concatenate([way.area_mm2 for way in ways])
    largest = [float(way.distance_mm.max()) for way in ways]
    most = [way.quantile_mm(0.95) for way in ways]
    values = (
        *(max(largest), *largest),
        *(max(most), *most),
        float(np.average(distance, weights=area)),
        float(area[distance <= config.nsd_tolerance_mm + _ROUNDING_MM].sum() / area.sum()),
    )
    return dict(zip(SURFACE_METRICS, values, strict=True)), {}


def _box_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Return the voxels of a mask's bounding box with a margin of one voxel, its first index, and borders it touches.

    The margin repeats the mask where the box lies on a border of the array and is empty elsewhere. A border is given
    by its axis and its index (0 or -1).
    """
    box = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(box[0]):
        return np.zeros((2, 2, 2), bool), np.zeros(3), []
    inside = np.pad(mask[tuple(slice(rows[0], rows[-1] + 1) for rows in box)], 1)
    borders = []
    for axis, rows in enumerate(box):
        layers = np.moveaxis(inside, axis, 0)
        if rows[0] == 0:
            layers[0] = layers[1]
            borders.append((axis, 0))
        if rows[-1] == mask.shape[axis] - 1:
            layers[-1] = layers[-2]
            borders.append((axis, -1))
    return inside, np.array([rows[0] - 1.0 for rows in box]), borders


def _triangles(inside: np.ndarray) -> np.ndarray:
    """Return the mesh (n, 3, 3) between voxels inside and outside, in voxels."""
    from skimage.measure import marching_cubes  # imported here because reading tables does not need it

    if inside.all() or not inside.any():
        return np.zeros((0, 3, 3))
    vertices, faces, *_ = marching_cubes(inside.astype(np.float32), 0.5)
    return vertices.astype(float)[faces]


def _in_own_plane(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return axes (m, 3, 3) of triangles, the last one normal to them, and their corners (m, 3, 2) in these axes."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(first, second)
    frame = np.stack([first, np.cross(across, first), across], axis=1)
    frame /= np.linalg.norm(frame, axis=2, keepdims=True)
    return frame, np.einsum("mij,mcj->mci", frame[:, :2], corners - corners[:, :1])


def _squared_in_plane(x: np.ndarray, y: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Return squared distances (n,) of points from triangles in the same plane (corner, x or y, n), 0 within."""
    squared, within = np.full(len(x), np.inf), np.ones(len(x), bool)
    for start, end in zip(flat, np.roll(flat, -1, axis=0), strict=True):
        along_x, along_y = end - start
        from_x, from_y = x - start[0], y - start[1]
        share = np.clip((from_x * along_x + from_y * along_y) / (along_x**2 + along_y**2), 0, 1)
        squared = np.minimum(squared, (from_x - share * along_x) ** 2 + (from_y - share * along_y) ** 2)
        within &= along_x * from_y >= along_y * from_x
    return np.where(within, 0.0, squared)


def _closed_end(inside: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return the triangles that close the bone where a border of the array cuts it, in voxels of `inside`."""
    layer = np.take(inside, [index], axis=axis)
    ends = [np.zeros_like(layer), layer] if index == 0 else [layer, np.zeros_like(layer)]
    corners = _triangles(np.concatenate(ends, axis=axis))
    corners[:, :, axis] += 0 if index == 0 else inside.shape[axis] - 2
    return corners


def _volume_metrics(reference: np.ndarray, predicted: np.ndarray, spacing: Spacing) -> tuple[dict, dict]:
    truth, estimate = _volume_mm3(reference, spacing), _volume_mm3(predicted, spacing)
    error = estimate - truth
    values, undefined = _ratios({"re_percent": (100 * error, truth, NO_REFERENCE)})
    return {"reference_mm3": truth, "predicted_mm3": estimate, "volume_error_mm3": error, **values}, undefined


def _volume_mm3(mask: np.ndarray, spacing_mm_zyx: Spacing) -> float:
    return float(np.count_nonzero(mask) * np.prod(spacing_mm_zyx))


def _errors_by_slice(reference: np.ndarray, predicted: np.ndarray, spacing_mm_zyx: Spacing) -> dict:
    """Return missed and added volume of each slice with bone, and its distance from the scan's distal end."""
    in_reference = np.count_nonzero(reference, axis=(1, 2))
    missed = np.count_nonzero(reference & ~predicted, axis=(1, 2))
    added = np.count_nonzero(predicted & ~reference, axis=(1, 2))
    slices = np.flatnonzero(in_reference + added)
    voxel_mm3 = float(np.prod(spacing_mm_zyx))
    return {
        "distance_mm": [round(float(index * spacing_mm_zyx[0]), 3) for index in slices],
        "reference_mm3": [round(float(in_reference[index] * voxel_mm3), 3) for index in slices],
        "missed_mm3": [round(float(missed[index] * voxel_mm3), 3) for index in slices],
        "added_mm3": [round(float(added[index] * voxel_mm3), 3) for index in slices],
    }
