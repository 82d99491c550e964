"""Head, neck, trochanter and shaft of a femur by planes of the bone, and not by axial slices."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from lib.anatomy.femur.axes import FemurGeometry
from lib.anatomy.femur.neck_sections import REACH_MM, STEP_MM, NeckAxis, Sections, cut_sections
from lib.catalog.bone_parts import REGIONS

# The head reaches this far from its centre, in radii; bone beyond it belongs to the neck or to the trochanter.
_HEAD_RADII = 1.1


def divide(
    mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], geometry: FemurGeometry
) -> np.ndarray:
    """Divide a femur into head, neck, trochanter and shaft.

    With s, the place along the neck's axis from the head's centre:

    - head: s below `neck_begins_mm` and within 1.1 radii of the centre, and what lies medial of the centre;
    - neck: s up to `neck_ends_mm`, only the piece of bone next to the axis;
    - trochanter: s beyond, down to the distal plane. The tip of the greater trochanter belongs to it although it may
      lie medial of the plane between neck and trochanter: there it is another piece than the neck;
    - shaft: below the distal plane, through `distal_xyz_mm` at a right angle to the shaft's axis. If the plane is not
      known, the trochanter includes all bone below; `find_undefined` tells so.

    Args:
        mask_zyx: the mask for which `geometry` was found.
        spacing_mm_zyx: its voxel size.
        geometry: the planes.

    Returns:
        uint8 (z, y, x): 0 outside of the mask, and within it the values of `REGIONS`. The regions tile the mask; all
        is 0 if the planes of the neck are not known.
    """
    bone_zyx = np.asarray(mask_zyx) > 0
    labels_zyx = np.zeros(bone_zyx.shape, np.uint8)
    if geometry.neck_ends_mm is None:
        return labels_zyx
    box = ndimage.find_objects(bone_zyx.astype(np.uint8))[0]
    voxels_zyx = np.argwhere(bone_zyx[box])
    start_mm = np.array([part.start for part in box]) * spacing_mm_zyx
    points_mm = (voxels_zyx * spacing_mm_zyx + start_mm)[:, ::-1]
    labels_zyx[box][tuple(voxels_zyx.T)] = _labels_of(points_mm, bone_zyx, spacing_mm_zyx, geometry)
    _join_pieces(labels_zyx[box], "neck", "trochanter")
    _join_pieces(labels_zyx[box], "trochanter", "neck")
    return labels_zyx


def find_undefined(geometry: FemurGeometry) -> Mapping[str, str]:
    """Return the regions that cannot be measured, each with the reason; of a shaft it is not known where it ends."""
    for name in ("head_center_xyz_mm", "neck_axis_xyz", "neck_ends_mm"):
        if name in geometry.undefined:
            return dict.fromkeys(REGIONS, geometry.undefined[name])
    if geometry.distal_xyz_mm is None:
        return dict.fromkeys(("trochanter", "shaft"), geometry.undefined["distal_xyz_mm"])
    return {}


def _labels_of(
    points_mm: np.ndarray,
    bone_zyx: np.ndarray,
    spacing_mm_zyx: tuple[float, float, float],
    geometry: FemurGeometry,
) -> np.ndarray:
    """Return the label of each point of the mask, (n,)."""
    center_mm = np.array(geometry.head_center_xyz_mm)
    axis = NeckAxis.through(center_mm, np.array(geometry.neck_axis_xyz))
    along_mm, across_mm = axis.places(points_mm)
    in_head = np.linalg.norm(points_mm - center_mm, axis=1) <= _HEAD_RADII * geometry.head_radius_mm
    in_head = (in_head & (along_mm < geometry.neck_begins_mm)) | (along_mm < 0)
    in_neck = ~in_head & (along_mm <= geometry.neck_ends_mm)
    sections = cut_sections(bone_zyx, spacing_mm_zyx, axis, (0.0, geometry.neck_ends_mm + STEP_MM))
    in_neck[in_neck] = _is_next_to_axis(sections, along_mm[in_neck], across_mm[in_neck])
    labels = np.full(len(points_mm), REGIONS["trochanter"], np.uint8)
    if geometry.distal_xyz_mm is not None:
        above_mm = (points_mm - geometry.distal_xyz_mm) @ np.array(geometry.shaft_axis_xyz)
        labels[above_mm < 0] = REGIONS["shaft"]
    labels[in_neck] = REGIONS["neck"]
    labels[in_head] = REGIONS["head"]
    return labels


def _join_pieces(labels_zyx: np.ndarray, region: str, other: str) -> None:
    """Give another region all pieces of a region but the largest: specks where the planes pass close to a surface."""
    pieces_zyx, count = ndimage.label(labels_zyx == REGIONS[region])
    if count > 1:
        largest = 1 + np.bincount(pieces_zyx.ravel())[1:].argmax()
        labels_zyx[(pieces_zyx > 0) & (pieces_zyx != largest)] = REGIONS[other]


def _is_next_to_axis(sections: Sections, along_mm: np.ndarray, across_mm: np.ndarray) -> np.ndarray:
    """Return for voxels of the mask whether they belong to the pieces next to the axis, (n,).

    A voxel whose nearest point of a section is not bone, at the mask's edge, belongs to the piece that is nearest.
    """
    count, reach = len(sections.along_mm), (len(sections.across_mm) - 1) // 2
    place = np.clip(np.rint((along_mm - sections.along_mm[0]) / STEP_MM).astype(int), 0, count - 1)
    first, second = (np.rint(across_mm / STEP_MM).astype(int) + reach).T
    found = np.zeros(len(along_mm), bool)
    near = np.hypot(*across_mm.T) <= REACH_MM
    # the pieces of one section never join those of another here: sections lie far apart
    nearest = ndimage.distance_transform_edt(
        ~sections.bone, sampling=(1e3, 1, 1), return_distances=False, return_indices=True
    )
    on_axis = sections.on_axis[tuple(nearest)]
    found[near] = on_axis[place[near], first[near], second[near]]
    return found
