"""Geometry of a proximal femur in 3-D: head, neck axis, isthmus, shaft axis, and the planes between its regions.

Positions are x, y, z in mm from the centre of voxel (0, 0, 0) of the array; x points to the patient's left, y to the
back, z to the head. Lengths along the neck's axis are counted from the head's centre.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from lib.anatomy.femur.landmarks import (
    HeadSphere,
    find_head,
    find_lesser_trochanter,
    lesser_trochanter_tip,
)
from lib.anatomy.femur.neck_sections import STEP_MM, NeckAxis, Sections, cut_sections
from lib.density_settings import DensityConfig

SHAFT_AXIS_ASSUMED, TROCHANTER_CUT = "shaft_axis_assumed", "trochanter_cut"

# The search for the neck's axis begins with this direction in the frontal plane, down and lateral.
_START_DEGREES = 46.0
_ROUNDS = 8
_SETTLED_DEGREES = 0.1
# After the last round the axis may still change by this much.
_STILL_DEGREES = 1.0
# No neck deviates from the first direction by more than this, varus, valgus and anteversion together.
_FURTHEST_DEGREES = 60.0
# The isthmus is searched between these places, in head radii from the head's centre.
_ISTHMUS_RADII = (0.75, 2.2)
# The end of the neck is searched up to here, in head radii.
_END_RADII = 3.2
# A parabola through the areas within so many sections of the smallest one gives the isthmus between sections.
_PARABOLA_SECTIONS = 3

# The shaft's axis is fitted to slices from this far below the tip of the lesser trochanter.
_SHAFT_BELOW_TIP_MM = 10.0
_FEWEST_SHAFT_MM = 25.0
# Ragged slices at the end of a mask, smaller than this share of the median area, take no part in the fit.
_WHOLE_SLICE_SHARE = 0.5
_MARCH_MM = 0.25

NO_NECK = "the sections at a right angle to the neck's axis leave the bone"
NECK_ASTRAY = "the axis that was found deviates from every neck's direction"
NOT_SETTLED = "the search for the neck's axis does not settle"
NO_ISTHMUS = "no narrowest section lies between head and trochanter"
NO_NECK_END = "the bone does not widen beyond the isthmus as a neck does at the trochanter"
NECK_CUT = "the mask ends within the neck"
CORTEX_CUT = "the neck's axis leaves the mask at the end of the scan"
SHAFT_TOO_SHORT = (
    "less than {} mm of shaft are in view below the lesser trochanter, so the shaft's axis is not known"
)
NO_CONDYLES = "anteversion refers to the femoral condyles, which are not in view"
CUT_ABOVE_PLANE = "the mask ends above the plane {:g} mm below the tip of the lesser trochanter"

Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class FemurGeometry:
    """Landmarks, axes and planes of a proximal femur; what is None has its reason in `undefined`, by its name.

    Attributes:
        side: `left` or `right`.
        head_center_xyz_mm: centre of the head's sphere.
        head_radius_mm: its radius.
        neck_axis_xyz: unit vector from the head's centre to the centre of the isthmus, to lateral and down.
        isthmus_mm: place of the narrowest section along the neck's axis.
        isthmus_xyz_mm: its centroid.
        isthmus_mm2: its area.
        neck_begins_mm: place of the plane between head and neck.
        neck_ends_mm: place of the plane between neck and trochanter.
        neck_axis_length_mm: from the head's centre along the neck's axis to the lateral surface.
        lesser_trochanter_xyz_mm: its tip.
        shaft_axis_xyz: unit vector of the shaft's axis, upwards; the scan's z with the flag `shaft_axis_assumed`.
        shaft_xyz_mm: a point on the shaft's axis; None without a reason if the axis is assumed.
        shaft_mm: length of shaft in view below the level at which the fit begins.
        neck_shaft_degrees: angle between neck and shaft.
        anteversion_degrees: always None, because hip scans do not show the condyles.
        distal_xyz_mm: a point of the plane that ends the trochanteric region, at a right angle to the shaft's axis;
            None also if the mask does not reach the plane.
        flags: `shaft_axis_assumed`, `trochanter_cut`.
        undefined: name of an attribute -> why it is None.
    """

    side: str
    head_center_xyz_mm: Point | None = None
    head_radius_mm: float | None = None
    neck_axis_xyz: Point | None = None
    isthmus_mm: float | None = None
    isthmus_xyz_mm: Point | None = None
    isthmus_mm2: float | None = None
    neck_begins_mm: float | None = None
    neck_ends_mm: float | None = None
    neck_axis_length_mm: float | None = None
    lesser_trochanter_xyz_mm: Point | None = None
    shaft_axis_xyz: Point = (0.0, 0.0, 1.0)
    shaft_xyz_mm: Point | None = None
    shaft_mm: float | None = None
    neck_shaft_degrees: float | None = None
    anteversion_degrees: None = None
    distal_xyz_mm: Point | None = None
    flags: tuple[str, ...] = ()
    undefined: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, to_lps_mm: Callable[[Point], Point]) -> dict:
        """Return the geometry as a JSON object, places and directions in LPS.

        Args:
            to_lps_mm: the transform of a position of this geometry into the patient's frame, LPS mm. It is rigid.
        """
        record = {}
        for name, value in vars(self).items():
            if name.endswith("_xyz_mm") and value is not None:
                value = [float(f"{number:.6g}") for number in to_lps_mm(value)]
            elif name.endswith("_xyz") and value is not None:
                value = [float(f"{number:.6g}") for number in _turned(value, to_lps_mm)]
            elif isinstance(value, float):
                value = float(f"{value:.6g}")
            record[name] = value
        return record | {"flags": list(self.flags), "undefined": dict(self.undefined)}


def find_geometry(
    mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str, config: DensityConfig
) -> FemurGeometry:
    """Find head, neck axis, shaft axis and the planes between the regions of a femur.

    - The head is the sphere of `find_head`, centre C and radius R.
    - The neck's axis begins with 46 degrees down and lateral in the frontal plane. Sections at a right angle to it
      lie 1 mm apart, from 0.75 R to 2.2 R away from C; of each, only the piece next to the axis and within 30 mm of
      it counts. The smallest is the isthmus; the axis from C through its centroid is the next one, until the change
      is below 0.1 degrees. The bounds are needed: the direction that has the smallest minimal section runs off the
      bone.
    - Head and neck part where a cylinder with the area A of the isthmus leaves the sphere, at sqrt(R^2 - A / pi).
    - Neck and trochanter part at the first section beyond the isthmus that is `neck_area_factor` times as large.
    - The shaft's axis is the total least squares line through the centroids of the slices from 10 mm below the tip of
      the lesser trochanter, if at least 25 mm are in view; else the scan's z is taken, with a flag.
    - The trochanteric region ends at a right angle to that axis, `below_trochanter_mm` below the tip.

    docs/regions.md says how well axis and isthmus repeat between grids and between turned femurs.

    Args:
        mask_zyx: femur mask, index 0 of z the most distal slice, index 0 of x and y right and front (LPS).
        spacing_mm_zyx: voxel size.
        side: `left` or `right` of the patient; right femurs are mirrored.
        config: the settings.
    """
    bone_zyx, box_xyz_mm = _box_of(np.asarray(mask_zyx) > 0, spacing_mm_zyx)
    if side == "right":
        bone_zyx = bone_zyx[:, :, ::-1]
    width_mm = (bone_zyx.shape[2] - 1) * spacing_mm_zyx[2]
    grid = _Grid(bone_zyx=bone_zyx, spacing_mm_zyx=spacing_mm_zyx)
    head = find_head(bone_zyx, spacing_mm_zyx, "left")
    found = FemurGeometry(side=side, undefined={"anteversion_degrees": NO_CONDYLES})
    found = _with_shaft(found, grid, config)
    found = _with_neck(found, grid, head, config)
    return _placed(found, box_xyz_mm, width_mm if side == "right" else None)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """The box around a left femur, or around a mirrored right one."""

    bone_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]

    @property
    def lowest_mm(self) -> float:
        """Height of the lowest slice with bone."""
        return int(np.flatnonzero(self.bone_zyx.any(axis=(1, 2)))[0]) * self.spacing_mm_zyx[0]


def _box_of(
    bone_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask around its bone, with a slice above if the array has one, and the place of its first voxel."""
    box, start_xyz_mm = [], []
    for axis, step_mm in enumerate(spacing_mm_zyx):
        places = np.flatnonzero(bone_zyx.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, 0)
        box.append(slice(first, last + 2 if axis == 0 else last + 1))
        start_xyz_mm.insert(0, first * step_mm)
    return bone_zyx[tuple(box)], np.array(start_xyz_mm)


def _with_shaft(found: FemurGeometry, grid: _Grid, config: DensityConfig) -> FemurGeometry:
    """Return the geometry with the lesser trochanter, the shaft's axis and the distal plane."""
    trochanter = find_lesser_trochanter(grid.bone_zyx, grid.spacing_mm_zyx, "left")
    if trochanter.height_mm is None:
        names = ("lesser_trochanter_xyz_mm", "shaft_mm", "distal_xyz_mm")
        return replace(
            found,
            flags=(SHAFT_AXIS_ASSUMED, TROCHANTER_CUT),
            undefined={**found.undefined, **dict.fromkeys(names, trochanter.missing)},
        )
    tip_mm = lesser_trochanter_tip(grid.bone_zyx, grid.spacing_mm_zyx, "left", trochanter.height_mm)
    flags, undefined = [], dict(found.undefined)
    shaft_mm = max(0.0, tip_mm[2] - _SHAFT_BELOW_TIP_MM - grid.lowest_mm + 0.5 * grid.spacing_mm_zyx[0])
    axis, point_mm = np.array([0.0, 0.0, 1.0]), None
    if shaft_mm >= _FEWEST_SHAFT_MM:
        axis, point_mm = _shaft_line(grid, tip_mm[2] - _SHAFT_BELOW_TIP_MM)
    else:
        flags.append(SHAFT_AXIS_ASSUMED)
    distal_mm = tip_mm - config.below_trochanter_mm * axis
    if _is_cut(grid, distal_mm, axis):
        flags.append(TROCHANTER_CUT)
        undefined["distal_xyz_mm"] = CUT_ABOVE_PLANE.format(config.below_trochanter_mm)
    return replace(
        found,
        lesser_trochanter_xyz_mm=tip_mm,
        shaft_axis_xyz=_as_point(axis),
        shaft_xyz_mm=None if point_mm is None else _as_point(point_mm),
        shaft_mm=shaft_mm,
        distal_xyz_mm=None if TROCHANTER_CUT in flags else _as_point(distal_mm),
        flags=tuple(flags),
        undefined=undefined,
    )


def _shaft_line(grid: _Grid, below_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return direction (upwards) and a point of the line through the centroids of the slices below a height."""
    step_mm, *pixel_mm_yx = grid.spacing_mm_zyx
    part_zyx = grid.bone_zyx[: int(below_mm / step_mm) + 1]
    areas = part_zyx.sum(axis=(1, 2))
    slices = np.flatnonzero(areas >= _WHOLE_SLICE_SHARE * np.median(areas[areas > 0]))
    y_mm, x_mm = (
        part_zyx[slices].sum(axis=other) @ np.arange(part_zyx.shape[3 - other]) / areas[slices] * pixel_mm
        for other, pixel_mm in zip((2, 1), pixel_mm_yx, strict=True)
    )
    points_mm = np.stack([x_mm, y_mm, slices * step_mm], axis=1)
    middle_mm = points_mm.mean(axis=0)
    direction = np.linalg.svd(points_mm - middle_mm)[2][0]
    return direction * np.sign(direction[2]), middle_mm


def _is_cut(grid: _Grid, plane_xyz_mm: np.ndarray, axis: np.ndarray) -> bool:
    """Return whether some bone of the lowest slice lies above a plane at a right angle to the shaft's axis."""
    lowest = round(grid.lowest_mm / grid.spacing_mm_zyx[0])
    y_mm, x_mm = (np.argwhere(grid.bone_zyx[lowest]) * grid.spacing_mm_zyx[1:]).T
    face_mm = grid.lowest_mm - 0.5 * grid.spacing_mm_zyx[0]
    above_mm = (np.stack([x_mm, y_mm, np.full_like(x_mm, face_mm)], axis=1) - plane_xyz_mm) @ axis
    return bool(above_mm.max() > 0)


def _with_neck(found: FemurGeometry, grid: _Grid, head: HeadSphere, config: DensityConfig) -> FemurGeometry:
    """Return the geometry with head, neck and isthmus."""
    neck = ("neck_axis_xyz", "isthmus_mm", "isthmus_xyz_mm", "isthmus_mm2", "neck_begins_mm", "neck_ends_mm")
    neck += ("neck_axis_length_mm", "neck_shaft_degrees")
    if head.missing:
        return _without(found, ("head_center_xyz_mm", "head_radius_mm", *neck), head.missing)
    found = replace(found, head_center_xyz_mm=head.center_xyz_mm, head_radius_mm=head.radius_mm)
    share_zyx = grid.bone_zyx.astype(np.float32)
    axis, reason = _search_axis(share_zyx, grid.spacing_mm_zyx, head)
    if axis is None:
        return _without(found, neck, reason)
    radius_mm = head.radius_mm
    sections = cut_sections(
        share_zyx, grid.spacing_mm_zyx, axis, (_ISTHMUS_RADII[0] * radius_mm, _END_RADII * radius_mm)
    )
    isthmus = _isthmus(sections, _ISTHMUS_RADII[1] * radius_mm)
    reason = _no_isthmus(isthmus, radius_mm)
    if not reason and _touches_end(sections, grid, isthmus.along_mm):
        reason = NECK_CUT
    if reason:
        return _without(found, neck, reason)
    found = replace(
        found,
        neck_axis_xyz=_as_point(axis.along),
        isthmus_mm=isthmus.along_mm,
        isthmus_xyz_mm=_as_point(axis.point(isthmus.along_mm, isthmus.across_mm)),
        isthmus_mm2=isthmus.area_mm2,
        neck_begins_mm=float(np.sqrt(radius_mm**2 - isthmus.area_mm2 / np.pi)),
    )
    return _with_ends(found, grid, sections, config)


def _with_ends(found: FemurGeometry, grid: _Grid, sections: Sections, config: DensityConfig) -> FemurGeometry:
    """Return the geometry with what lies beyond the isthmus: the neck's end, the axis' length, its angle."""
    wanted_mm2 = config.neck_area_factor * found.isthmus_mm2
    ends_mm = _first_above(sections, found.isthmus_mm, wanted_mm2)
    if ends_mm is None:
        found = _without(found, ("neck_ends_mm",), NO_NECK_END)
    elif _touches_end(sections, grid, ends_mm):
        found = _without(found, ("neck_ends_mm",), NECK_CUT)
    else:
        found = replace(found, neck_ends_mm=ends_mm)
    length_mm = _length_in_bone(grid, sections.axis, found.isthmus_mm)
    if length_mm is None:
        found = _without(found, ("neck_axis_length_mm",), CORTEX_CUT)
    else:
        found = replace(found, neck_axis_length_mm=length_mm)
    if SHAFT_AXIS_ASSUMED in found.flags:
        reason = found.undefined.get("shaft_mm", SHAFT_TOO_SHORT.format(int(_FEWEST_SHAFT_MM)))
        return _without(found, ("neck_shaft_degrees", "shaft_xyz_mm"), reason)
    cosine = float(np.dot(found.neck_axis_xyz, found.shaft_axis_xyz))
    return replace(found, neck_shaft_degrees=float(np.degrees(np.arccos(cosine))))


@dataclass(frozen=True, kw_only=True)
class _Isthmus:
    """The narrowest section: its place along and across the axis, its area, and whether it is the last one."""

    along_mm: float
    across_mm: np.ndarray
    area_mm2: float
    is_last: bool


def _search_axis(
    share_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], head: HeadSphere
) -> tuple[NeckAxis | None, str]:
    """Return the axis of the neck, or None and the reason."""
    center_mm, radius_mm = np.array(head.center_xyz_mm), head.radius_mm
    between_mm = tuple(radii * radius_mm for radii in _ISTHMUS_RADII)
    start = np.radians(_START_DEGREES)
    first = axis = NeckAxis.through(center_mm, np.array([np.cos(start), 0.0, -np.sin(start)]))
    change = np.inf
    for _ in range(_ROUNDS):
        sections = cut_sections(share_zyx, spacing_mm_zyx, axis, between_mm)
        if not sections.areas_mm2.min() > 0:
            return None, NO_NECK
        isthmus = _isthmus(sections, between_mm[1])
        new = NeckAxis.through(center_mm, axis.point(isthmus.along_mm, isthmus.across_mm) - center_mm)
        change, axis = _degrees_between(axis.along, new.along), new
        if change < _SETTLED_DEGREES:
            break
    if change > _STILL_DEGREES:
        return None, NOT_SETTLED
    astray = _degrees_between(first.along, axis.along) > _FURTHEST_DEGREES
    return (None, NECK_ASTRAY) if astray else (axis, "")


def _isthmus(sections: Sections, last_mm: float) -> _Isthmus:
    """Return the narrowest section up to a place along the axis, between sections by a parabola through the areas."""
    areas_mm2, count = sections.areas_mm2, int(np.searchsorted(sections.along_mm, last_mm + 1e-6))
    smallest = int(areas_mm2[:count].argmin())
    near = np.arange(
        max(0, smallest - _PARABOLA_SECTIONS), min(len(areas_mm2), smallest + _PARABOLA_SECTIONS + 1)
    )
    curvature, slope, _ = np.polyfit(near - smallest, areas_mm2[near], 2)
    shift = float(np.clip(-0.5 * slope / curvature, -1.5, 1.5)) if curvature > 0 else 0.0
    along_mm = float(
        np.clip(
            sections.along_mm[smallest] + shift * STEP_MM, sections.along_mm[0], sections.along_mm[count - 1]
        )
    )
    centres_mm = sections.centres_mm
    across_mm = np.array([np.interp(along_mm, sections.along_mm, centres_mm[:, k]) for k in (0, 1)])
    area_mm2 = float(np.interp(along_mm, sections.along_mm, areas_mm2))
    return _Isthmus(along_mm=along_mm, across_mm=across_mm, area_mm2=area_mm2, is_last=smallest >= count - 1)


def _no_isthmus(isthmus: _Isthmus, radius_mm: float) -> str:
    """Return why a narrowest section is not an isthmus, or an empty text."""
    if not isthmus.area_mm2 > 0:
        return NO_NECK
    return NO_ISTHMUS if isthmus.is_last or isthmus.area_mm2 >= np.pi * radius_mm**2 else ""


def _first_above(sections: Sections, after_mm: float, wanted_mm2: float) -> float | None:
    """Return the first place after another one at which the area exceeds a value; None: it never does."""
    areas_mm2, along_mm = sections.areas_mm2, sections.along_mm
    above = np.flatnonzero((along_mm > after_mm) & (areas_mm2 > wanted_mm2))
    if not above.size or above[0] == 0:
        return None
    last = above[0]
    share = (wanted_mm2 - areas_mm2[last - 1]) / (areas_mm2[last] - areas_mm2[last - 1])
    return float(max(after_mm, along_mm[last - 1] + np.clip(share, 0.0, 1.0) * STEP_MM))


def _touches_end(sections: Sections, grid: _Grid, up_to_mm: float) -> bool:
    """Return whether a section up to a place reaches the lowest slice with bone."""
    chosen = sections.on_axis & (sections.along_mm <= up_to_mm + STEP_MM)[:, None, None]
    heights_mm = sections.points_xyz_mm(chosen)[:, 2]
    return bool(heights_mm.min(initial=np.inf) < grid.lowest_mm + 0.5 * grid.spacing_mm_zyx[0])


def _length_in_bone(grid: _Grid, axis: NeckAxis, from_mm: float) -> float | None:
    """Return the length of the axis from its start to where it leaves the bone; None: at the end of the scan."""
    longest_mm = float(np.linalg.norm(np.array(grid.bone_zyx.shape) * grid.spacing_mm_zyx))
    along_mm = np.arange(from_mm, longest_mm, _MARCH_MM)
    points_mm = axis.start_xyz_mm + along_mm[:, None] * axis.along
    voxels_zyx = np.rint(points_mm[:, ::-1] / grid.spacing_mm_zyx).astype(int)
    inside = ((voxels_zyx >= 0) & (voxels_zyx < grid.bone_zyx.shape)).all(axis=1)
    bone = np.zeros(len(along_mm), bool)
    bone[inside] = grid.bone_zyx[tuple(voxels_zyx[inside].T)]
    leaves = int(np.argmin(bone))
    below = points_mm[leaves, 2] < grid.lowest_mm - 0.5 * grid.spacing_mm_zyx[0]
    return None if below or bone.all() else float(along_mm[leaves] - 0.5 * _MARCH_MM)


def _without(found: FemurGeometry, names: tuple[str, ...], reason: str) -> FemurGeometry:
    """Return the geometry with a reason for attributes that are None."""
    return replace(found, undefined={**found.undefined, **dict.fromkeys(names, reason)})


def _placed(found: FemurGeometry, start_xyz_mm: np.ndarray, width_mm: float | None) -> FemurGeometry:
    """Return the geometry in the frame of the array: moved to its box, and mirrored if the box has a width."""
    changed = {}
    for name, value in vars(found).items():
        if value is None or not name.endswith(("_xyz_mm", "_xyz")):
            continue
        x, y, z = value
        is_place = name.endswith("_mm")
        if width_mm is not None:
            x = (width_mm if is_place else 0.0) - x
        changed[name] = _as_point(np.array([x, y, z]) + (start_xyz_mm if is_place else 0.0))
    return replace(found, **changed)


def _turned(direction: Point, to_lps_mm: Callable[[Point], Point]) -> np.ndarray:
    return np.subtract(to_lps_mm(direction), to_lps_mm((0.0, 0.0, 0.0)))


def _degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    """Return the angle between unit vectors; exact also for small angles."""
    return float(np.degrees(2 * np.arcsin(min(1.0, 0.5 * float(np.linalg.norm(a - b))))))


def _as_point(values: np.ndarray) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
