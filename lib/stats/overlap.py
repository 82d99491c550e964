"""How well two masks agree: overlap, surface distances and volumes of one scan.

Conventions: the reference comes first; arrays are (z, y, x) with index 0 of z at the distal end; millimetres come
from the true spacing. A value that is not defined is None, with the reason in `undefined`; it is never 0.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from lib.errors import ConfigError, ScanError

Spacing = tuple[float, float, float]

NO_REFERENCE = "the reference mask is empty"
NO_PREDICTION = "the predicted mask is empty"
NO_BACKGROUND = "the reference fills the whole crop"
NO_SURFACE = "a mask has no surface inside the volume"


@dataclass(frozen=True, kw_only=True)
class OverlapConfig:
    """How masks are compared. `nsd_tolerance_mm`: distance up to which two surfaces count as equal, mm."""

    nsd_tolerance_mm: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if not (math.isfinite(self.nsd_tolerance_mm) and self.nsd_tolerance_mm >= 0):
            raise ConfigError(
                f"measure.nsd_tolerance_mm must be a number >= 0, got {self.nsd_tolerance_mm!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Boundary of a mask as voxel faces: centres (n, 3) in mm (z, y, x), areas (n,) in mm2 and two marks.

    `along_z`: the face looks up or down. `cut`: the face lies on the border of the array, where the bone does not
    end but the scan does.
    """

    center_mm_zyx: np.ndarray
    area_mm2: np.ndarray
    along_z: np.ndarray
    cut: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Distances (n,) in mm from the faces of one surface to another surface, with the areas (n,) in mm2."""

    distance_mm: np.ndarray
    area_mm2: np.ndarray


def measure_overlap(
    reference_zyx: np.ndarray, predicted_zyx: np.ndarray, spacing_mm_zyx: Spacing, config: OverlapConfig
) -> dict:
    """Compare two masks of shape (z, y, x) on one grid, that of the crop.

    Returns `dsc`, `sensitivity`, `specificity` (over the voxels of the crop, so it depends on the crop's size),
    `precision`, `hd95_mm`, `assd_mm`, `nsd`, `reference_mm3`, `predicted_mm3`, `re_percent` =
    100 (predicted - reference) / reference, `by_slice` (errors along z) and `undefined` (metric -> reason).
    Raises ScanError when the shapes differ.
    """
    reference, predicted = _same_shape(reference_zyx, predicted_zyx)
    values, undefined = _count_metrics(reference, predicted)
    surfaces, missing = _surface_metrics(reference, predicted, spacing_mm_zyx, config)
    volumes, no_volume = _volume_metrics(reference, predicted, spacing_mm_zyx)
    return {
        **values,
        **surfaces,
        **volumes,
        "by_slice": _errors_by_slice(reference, predicted, spacing_mm_zyx),
        "undefined": {**undefined, **missing, **no_volume},
    }


def measure_native(reference_zyx: np.ndarray, predicted_zyx: np.ndarray, spacing_mm_zyx: Spacing) -> dict:
    """Compare two masks on the reference's own grid, so that a coarse network grid cannot flatter itself.

    Returns `dsc_native`, `reference_native_mm3` and `undefined`. Raises ScanError when the shapes differ.
    """
    reference, predicted = _same_shape(reference_zyx, predicted_zyx)
    counts, undefined = _count_metrics(reference, predicted)
    return {
        "dsc_native": counts["dsc"],
        "reference_native_mm3": _volume_mm3(reference, spacing_mm_zyx),
        "undefined": {"dsc_native": undefined["dsc"]} if "dsc" in undefined else {},
    }


def find_surface(mask_zyx: np.ndarray, spacing_mm_zyx: Spacing) -> Surface:
    """Return all faces between the inside of a mask (z, y, x) and what is not inside it.

    Faces carry their true area, so that 3 mm slices do not give flat ends the weight which a count of surface
    voxels would give them. The area of a slanted surface is that of its staircase.
    """
    inside = np.pad(np.asarray(mask_zyx, bool), 1)
    parts = [_faces_along(inside, axis, spacing_mm_zyx) for axis in range(3)]
    return Surface(
        center_mm_zyx=np.concatenate([centers for centers, _, _ in parts]),
        area_mm2=np.concatenate([areas for _, areas, _ in parts]),
        along_z=np.concatenate([np.full(len(parts[axis][1]), axis == 0) for axis in range(3)]),
        cut=np.concatenate([cut for _, _, cut in parts]),
    )


def surface_distances(source: Surface, target: Surface) -> Distances:
    """Distances from each face centre of `source`, cuts left out, to the nearest one of `target`.

    The target's cuts are left out too, with one exception: a face of the source that looks up or down may be
    matched to a cut. A prediction that ends one slice above the scan's end is then wrong by that slice, not by
    the radius of the shaft, while its walls cannot hide in the other mask's cut. Both surfaces need a face that is
    no cut.
    """
    flat = source.along_z & ~source.cut
    wall = ~source.along_z & ~source.cut
    real_end_or_cut = ~target.cut | target.along_z
    to_flat = cKDTree(target.center_mm_zyx[real_end_or_cut]).query(source.center_mm_zyx[flat])[0]
    to_wall = cKDTree(target.center_mm_zyx[~target.cut]).query(source.center_mm_zyx[wall])[0]
    return Distances(
        distance_mm=np.concatenate([to_flat, to_wall]),
        area_mm2=np.concatenate([source.area_mm2[flat], source.area_mm2[wall]]),
    )


def weighted_quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Smallest of `values` (n,) at or below which at least `share` of the `weights` (n,) lies."""
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


def _count_metrics(reference: np.ndarray, predicted: np.ndarray) -> tuple[dict, dict]:
    both = int(np.count_nonzero(reference & predicted))
    in_reference, in_predicted = int(np.count_nonzero(reference)), int(np.count_nonzero(predicted))
    background = reference.size - in_reference
    true_negative = background - (in_predicted - both)
    return _ratios(
        {
            "dsc": (2 * both, in_reference + in_predicted, f"{NO_REFERENCE} and {NO_PREDICTION}"),
            "sensitivity": (both, in_reference, NO_REFERENCE),
            "specificity": (true_negative, background, NO_BACKGROUND),
            "precision": (both, in_predicted, NO_PREDICTION),
        }
    )


def _ratios(fractions: dict[str, tuple[float, float, str]]) -> tuple[dict, dict]:
    """Divide each (numerator, denominator, reason if the denominator is 0) into values and reasons."""
    values = {name: top / bottom if bottom else None for name, (top, bottom, _) in fractions.items()}
    return values, {name: fractions[name][2] for name, value in values.items() if value is None}


def _surface_metrics(
    reference: np.ndarray, predicted: np.ndarray, spacing_mm_zyx: Spacing, config: OverlapConfig
) -> tuple[dict, dict]:
    names = ("hd95_mm", "assd_mm", "nsd")
    for mask, reason in ((reference, NO_REFERENCE), (predicted, NO_PREDICTION)):
        if not mask.any():
            return dict.fromkeys(names), dict.fromkeys(names, reason)
    surfaces = [find_surface(mask, spacing_mm_zyx) for mask in (reference, predicted)]
    if any(surface.cut.all() for surface in surfaces):
        return dict.fromkeys(names), dict.fromkeys(names, NO_SURFACE)
    ways = [surface_distances(*surfaces), surface_distances(*surfaces[::-1])]
    distance = np.concatenate([way.distance_mm for way in ways])
    area = np.concatenate([way.area_mm2 for way in ways])
    values = (
        max(weighted_quantile(way.distance_mm, way.area_mm2, 0.95) for way in ways),
        float(np.average(distance, weights=area)),
        float(area[distance <= config.nsd_tolerance_mm + 1e-9].sum() / area.sum()),
    )
    return dict(zip(names, values, strict=True)), {}


def _faces_along(
    inside: np.ndarray, axis: int, spacing_mm_zyx: Spacing
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (n, 3) in mm, areas (n,) and border marks (n,) of the faces across `axis` of a padded mask."""
    # an element of the difference is the face between voxels i and i + 1 of the padded array: its position along
    # `axis` is i - 0.5 voxels of the unpadded one; the first and the last lie on the array's border
    step = np.diff(inside, axis=axis)
    index = np.argwhere(step)
    cut = (index[:, axis] == 0) | (index[:, axis] == step.shape[axis] - 1)
    position = index - 1.0
    position[:, axis] += 0.5
    spacing = np.asarray(spacing_mm_zyx, float)
    area = float(np.prod(np.delete(spacing, axis)))
    return position * spacing, np.full(len(index), area), cut


def _volume_metrics(reference: np.ndarray, predicted: np.ndarray, spacing: Spacing) -> tuple[dict, dict]:
    truth, estimate = _volume_mm3(reference, spacing), _volume_mm3(predicted, spacing)
    values, undefined = _ratios({"re_percent": (100 * (estimate - truth), truth, NO_REFERENCE)})
    return {"reference_mm3": truth, "predicted_mm3": estimate, **values}, undefined


def _volume_mm3(mask: np.ndarray, spacing_mm_zyx: Spacing) -> float:
    return float(np.count_nonzero(mask) * np.prod(spacing_mm_zyx))


def _errors_by_slice(reference: np.ndarray, predicted: np.ndarray, spacing_mm_zyx: Spacing) -> dict:
    """Missed and added volume of each slice that holds bone, against its distance from the scan's distal end."""
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
