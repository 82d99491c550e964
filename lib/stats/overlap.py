"""How well two masks agree: overlap, surface distances and volumes of one scan.

Conventions: the reference comes first; arrays are (z, y, x) with index 0 of z at the distal end; millimetres come
from the true spacing. A value that is not defined is None, with the reason in `undefined`; it is never 0.

Surfaces are the faces between voxels, each at its centre and weighted by its area; other programs take the centres of
voxels at the edge, or corners between voxels, and may count them alike. On shifted masks all find the same Hausdorff
distance; in general it differs by at most a voxel's longest side or the longest diagonal of its faces. Where two
surfaces cross, the nearest centre is up to half that diagonal away (1.6 mm at 3 mm slices and 0.8 mm pixels), so
`nsd` is strict at a smaller tolerance. The flat ends where the scan cuts the bone are no surface here and are one
elsewhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from lib.errors import ConfigError, ScanError

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
    """Boundary of a mask as voxel faces: centres (n, 3) in mm (z, y, x), areas (n,) in mm2 and two marks (n,).

    `facing`: which way the face looks: -1, -2, -3 down z, y, x and 1, 2, 3 up. `cut`: the face lies on the border of
    the array, where the bone does not end but the scan does.
    """

    center_mm_zyx: np.ndarray
    area_mm2: np.ndarray
    facing: np.ndarray
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

    Surface metrics leave out the flat ends where the scan cuts the bone (`surface_distances`).

    Returns:
        `dsc`, `sensitivity`, `precision`; `specificity` over the `specificity_voxels` of the array outside the
        reference, so it depends on the crop's size;
        `hd_reference_to_predicted_mm`, `hd_predicted_to_reference_mm`: largest distance from a face of the one
        surface to the other surface, `hd_mm`: the larger of the two; `hd95_...`: the same of the distance within
        which 95 % of a surface's area lies;
        `assd_mm`: mean distance over the area of both surfaces; `nsd`: share of that area within the tolerance
        (Nikolov 2021, arXiv:1809.04430);
        `reference_mm3`, `predicted_mm3`, `volume_error_mm3` = predicted - reference, `re_percent` = 100 times that
        over the reference;
        `by_slice`: errors along z; `undefined`: metric -> reason why it is None.

    Raises:
        ScanError: `mask_off_grid`, the shapes differ.
    """
    reference, predicted = _same_shape(reference_zyx, predicted_zyx)
    values, undefined = _count_metrics(reference, predicted)
    surfaces, missing = _surface_metrics(reference, predicted, spacing_mm_zyx, config)
    volumes, no_volume = _volume_metrics(reference, predicted, spacing_mm_zyx)
    return {
        **values,
        **surfaces,
        **volumes,
        "specificity_voxels": int(np.count_nonzero(~reference)),
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


def measure_levels(
    reference_zyx: np.ndarray,
    predicted_zyx: np.ndarray,
    slices: Mapping[str, slice],
    missing: Mapping[str, str],
) -> dict:
    """Compare two masks within parts of the scan.

    Args:
        reference_zyx: Reference (z, y, x).
        predicted_zyx: Prediction on the same grid.
        slices: level -> its slices along z.
        missing: level -> why it has no slices.

    Returns:
        `dsc_{level}` of each level, None where it has no slices or both masks are empty there, and `undefined`.

    Raises:
        ScanError: `mask_off_grid`, the shapes differ.
    """
    reference, predicted = _same_shape(reference_zyx, predicted_zyx)
    undefined = {f"dsc_{level}": reason for level, reason in missing.items()}
    values = dict.fromkeys(undefined)
    for level, inside in slices.items():
        counts, reasons = _count_metrics(reference[inside], predicted[inside])
        values[f"dsc_{level}"] = counts["dsc"]
        undefined |= {f"dsc_{level}": reasons["dsc"]} if "dsc" in reasons else {}
    return {**values, "undefined": undefined}


def find_surface(mask_zyx: np.ndarray, spacing_mm_zyx: Spacing) -> Surface:
    """Return all faces between the inside of a mask (z, y, x) and what is not inside it.

    Faces carry their true area, so that 3 mm slices do not give flat ends the weight which a count of surface
    voxels would give them. The area of a slanted surface is that of its staircase.
    """
    inside = np.pad(np.asarray(mask_zyx, bool), 1).astype(np.int8)
    parts = [_faces_along(inside, axis, spacing_mm_zyx) for axis in range(3)]
    names = [field.name for field in fields(Surface)]
    return Surface(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def surface_distances(source: Surface, target: Surface) -> Distances:
    """Distances from each face centre of `source` that is no cut to the nearest one of `target` that is none.

    With one exception: a face may also be matched to a cut that looks the same way. A prediction that ends one slice
    above the scan's end is then wrong by that slice, not by the radius of the shaft, while its walls and its upper
    end cannot hide in the other mask's cut. Both surfaces need a face that is no cut.
    """
    real = ~source.cut
    center_mm, facing = source.center_mm_zyx[real], source.facing[real]
    distance_mm = cKDTree(target.center_mm_zyx[~target.cut]).query(center_mm)[0]
    for direction in np.unique(target.facing[target.cut]):
        alike = facing == direction
        border = cKDTree(target.center_mm_zyx[target.cut & (target.facing == direction)])
        distance_mm[alike] = np.minimum(distance_mm[alike], border.query(center_mm[alike])[0])
    return Distances(distance_mm=distance_mm, area_mm2=source.area_mm2[real])


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
    for mask, reason in ((reference, NO_REFERENCE), (predicted, NO_PREDICTION)):
        if not mask.any():
            return dict.fromkeys(SURFACE_METRICS), dict.fromkeys(SURFACE_METRICS, reason)
    surfaces = [find_surface(mask, spacing_mm_zyx) for mask in (reference, predicted)]
    if any(surface.cut.all() for surface in surfaces):
        return dict.fromkeys(SURFACE_METRICS), dict.fromkeys(SURFACE_METRICS, NO_SURFACE)
    ways = [surface_distances(*surfaces), surface_distances(*surfaces[::-1])]
    distance = np.concatenate([way.distance_mm for way in ways])
    area = np.concatenate([way.area_mm2 for way in ways])
    largest = [float(way.distance_mm.max()) for way in ways]
    most = [weighted_quantile(way.distance_mm, way.area_mm2, 0.95) for way in ways]
    values = (
        *(max(largest), *largest),
        *(max(most), *most),
        float(np.average(distance, weights=area)),
        float(area[distance <= config.nsd_tolerance_mm + 1e-9].sum() / area.sum()),
    )
    return dict(zip(SURFACE_METRICS, values, strict=True)), {}


def _faces_along(inside: np.ndarray, axis: int, spacing_mm_zyx: Spacing) -> Surface:
    """Return the faces across `axis` of a padded mask (int8)."""
    # an element of the difference is the face between voxels i and i + 1 of the padded array: its position along
    # `axis` is i - 0.5 voxels of the unpadded one; the first and the last lie on the array's border
    step = np.diff(inside, axis=axis)
    index = np.argwhere(step)
    cut = (index[:, axis] == 0) | (index[:, axis] == step.shape[axis] - 1)
    # from outside to inside the step is 1 and the face looks down
    facing = -step[tuple(index.T)] * (axis + 1)
    position = index - 1.0
    position[:, axis] += 0.5
    spacing = np.asarray(spacing_mm_zyx, float)
    area = float(np.prod(np.delete(spacing, axis)))
    return Surface(
        center_mm_zyx=position * spacing, area_mm2=np.full(len(index), area), facing=facing, cut=cut
    )


def _volume_metrics(reference: np.ndarray, predicted: np.ndarray, spacing: Spacing) -> tuple[dict, dict]:
    truth, estimate = _volume_mm3(reference, spacing), _volume_mm3(predicted, spacing)
    error = estimate - truth
    values, undefined = _ratios({"re_percent": (100 * error, truth, NO_REFERENCE)})
    return {"reference_mm3": truth, "predicted_mm3": estimate, "volume_error_mm3": error, **values}, undefined


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
