"""What the choices after a prediction did to a mask: of its largest component, and of the threshold.

The mask before the choice of the largest component (`raw`) holds the mask itself, so its surface differs only near
the dropped voxels. Marching cubes looks at eight voxels at a time: triangles further away are the same, and only the
distances of the others, and distances to them, are computed again.
"""

import numpy as np
from scipy.spatial import cKDTree

from lib.stats.overlap import (
    Distances,
    Spacing,
    Surface,
    SurfacePair,
    count_overlap,
    find_surface,
    surface_distances,
)

# measures of the raw mask, each with that of the mask
RAW_MEASURES = {
    "dsc_raw": "dsc",
    "precision_raw": "precision",
    "recall_raw": "sensitivity",
    "hd95_raw_mm": "hd95_mm",
}


def measure_raw(
    masks_zyx: tuple[np.ndarray, np.ndarray, np.ndarray],
    overlap: dict,
    pair: SurfacePair,
    spacing_mm_zyx: Spacing,
) -> dict:
    """Return the keys of RAW_MEASURES and `undefined`: agreement before the largest component was chosen.

    Args:
        masks_zyx: the reference, the mask, and the mask before the choice, which holds it (z, y, x).
        overlap: agreement of the reference and the mask (`lib.stats.overlap.measure_overlap`).
        pair: their surfaces.
        spacing_mm_zyx: spacing of the grid in mm.
    """
    reference_zyx, mask_zyx, raw_zyx = (np.asarray(mask) != 0 for mask in masks_zyx)
    dropped_zyx = raw_zyx & ~mask_zyx
    values, why = overlap, overlap["undefined"]
    if dropped_zyx.any():
        values, why = count_overlap(reference_zyx, raw_zyx)
        hd95_mm = raw_hd95_mm(raw_zyx, dropped_zyx, pair, spacing_mm_zyx)
        values["hd95_mm"] = hd95_mm
        why |= {"hd95_mm": overlap["undefined"]["hd95_mm"]} if hd95_mm is None else {}
    return {raw: values[name] for raw, name in RAW_MEASURES.items()} | {
        "undefined": {raw: why[name] for raw, name in RAW_MEASURES.items() if name in why}
    }


def measure_half(reference_zyx: np.ndarray, half_zyx: np.ndarray) -> dict:
    """Return `dsc_half` of the mask (z, y, x) that a threshold of one half makes, and `undefined`."""
    values, why = count_overlap(reference_zyx, half_zyx)
    return {"dsc_half": values["dsc"], "undefined": {"dsc_half": why["dsc"]} if "dsc" in why else {}}


def raw_hd95_mm(
    raw_zyx: np.ndarray, dropped_zyx: np.ndarray, pair: SurfacePair, spacing_mm_zyx: Spacing
) -> float | None:
    """Return HD95 in mm of the reference and the raw mask; None if the reference has no surface.

    Args:
        raw_zyx: raw mask (z, y, x), bool.
        dropped_zyx: voxels of the raw mask that the mask lacks, at least one.
        pair: surfaces of the reference and the mask.
        spacing_mm_zyx: spacing of the grid in mm.
    """
    if pair.distances is None:  # the reference is empty or fills the crop
        return None
    (reference, kept), (to_kept, from_kept) = pair.surfaces, pair.distances
    raw, cells_zyx = find_surface(raw_zyx, spacing_mm_zyx), _cells_near(dropped_zyx)
    new, gone = (_lie_in(surface, cells_zyx, spacing_mm_zyx) for surface in (raw, kept))
    from_new, same = surface_distances(raw.part(new), reference), ~gone[~kept.cut]
    from_raw = Distances(
        distance_mm=np.concatenate([from_new.distance_mm, from_kept.distance_mm[same]]),
        area_mm2=np.concatenate([from_new.area_mm2, from_kept.area_mm2[same]]),
    )
    distance_mm = to_kept.distance_mm.copy()
    moved = np.concatenate([raw.corners_mm_zyx[new], kept.corners_mm_zyx[gone]])
    points = reference.part(~reference.cut)
    again = _may_be_nearer(points.center_mm_zyx, moved, distance_mm)
    distance_mm[again] = surface_distances(points.part(again), raw).distance_mm
    to_raw = Distances(distance_mm=distance_mm, area_mm2=to_kept.area_mm2)
    return max(to_raw.quantile_mm(0.95), from_raw.quantile_mm(0.95))


def _cells_near(voxels_zyx: np.ndarray) -> np.ndarray:
    """Return the cells between voxels that hold one of `voxels_zyx`, and those beside them.

    Cell (i, j, k) lies between the voxels i - 1 and i, j - 1 and j, k - 1 and k, so there is one more along each
    axis. The cells beside are taken too, because a triangle on the border of two cells may be counted to either.
    """
    near = np.pad(voxels_zyx, [(0, 1)] * 3)
    for axis in range(3):
        before, after = np.moveaxis(near.copy(), axis, 0), np.moveaxis(near, axis, 0)
        after[:-1] |= before[1:]
        after[1:] |= before[:-1]
        after[2:] |= before[:-2]
    return near


def _lie_in(surface: Surface, cells_zyx: np.ndarray, spacing_mm_zyx: Spacing) -> np.ndarray:
    """Return which triangles of a surface lie in the cells."""
    index = np.floor(surface.center_mm_zyx / np.asarray(spacing_mm_zyx, float)).astype(int) + 1
    return cells_zyx[tuple(index.T)]


def _may_be_nearer(points_mm: np.ndarray, corners_mm: np.ndarray, known_mm: np.ndarray) -> np.ndarray:
    """Return which points may lie within `known_mm` of one of the triangles: a bound by the triangles' centres."""
    center = corners_mm.mean(axis=1)
    reach = np.linalg.norm(corners_mm - center[:, None], axis=2).max()
    furthest = known_mm.max() + reach
    away, _ = cKDTree(center).query(points_mm, distance_upper_bound=furthest * (1 + 1e-9))
    return away - reach <= known_mm
