"""Landmarks of a femur's mask: the lesser trochanter, the lower border of the head, and the levels between them.

Hip scans end at different heights of the shaft, so volumes are comparable only above a plane that every femur has.
The lesser trochanter is the lowest landmark of the proximal femur, and the coverage of a hip scan is usually given as
a length below it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.anatomy.protocol import Regions
from lib.catalog.anatomies import LEVELS

# In the axial plane the trochanter points this far backwards from the medial direction. At 15 degrees it is found
# less often in femurs turned inwards; at 45 the crest between the trochanters is sometimes mistaken for it.
_BEHIND_MEDIAL_DEGREES = 30.0

# The reach of a slice is the mean of its outermost 30 mm2, so that single voxels at the edge matter little.
_TIP_MM2 = 30.0
_SMOOTHING_MM = 2.0

# The contour must recede this far above and below the trochanter.
_MIN_PROMINENCE_MM = 1.5

# The apex is the top of a parabola fitted to this much of the profile on either side.
_APEX_MM = 6.5

# The trochanter's tip lies this far below the level at which the head is most medial: 41 to 64 mm in people of the
# shape model.
_BELOW_HEAD_MM = (33.0, 85.0)

# That level lies at most this far below the femur's top: the head's radius plus the trochanter's height above the
# head.
_HEAD_BELOW_TOP_MM = 60.0

# The head reaches this much further medially than the trochanter: 14 to 36 mm, and still 6 mm in femurs turned by
# 15 degrees. A mask without a head does not.
_HEAD_BEYOND_MM = 5.0

# The shaft begins this far below the trochanter's tip, where the medial contour leaves the line of the shaft: 20 mm
# (SD 1.8 mm) in 120 people of the shape model. The distance is fixed because many scans end above that point.
_BASE_BELOW_TIP_MM = 20.0

# The sphere of the head: limits of its radius (19 to 28 mm in people of the shape model), the first radius of the
# search, and the largest distance of points that take part in the next round.
_HEAD_RADIUS_MM = (15.0, 33.0)
_HEAD_RADIUS_START_MM = 23.0
_OFF_SPHERE_MM = 8.0
_HEAD_ROUNDS = 3

# Largest median distance of those points from the last sphere: 0.4 to 0.8 mm for heads, 2.2 mm for cylinders.
_HEAD_ROUGHNESS_MM = 1.5


EMPTY = "the mask is empty"
IN_PIECES = "the mask has slices without bone between slices with bone"
CUT_ABOVE = "the mask reaches the upper end of the scan, so the femur's top is not in view"
NOT_SEEN = "no lesser trochanter stands out: the mask may end above it or just below its tip"
NO_FEMUR = "the mask does not have the shape of a proximal femur of this side"
NO_HEAD = "the mask has no round femoral head on this side"
ENDS_IN_HEAD = "the mask ends above the lower border of the femoral head"
ENDS_ABOVE_SHAFT = "the mask ends above the base of the lesser trochanter"
NO_SLICE = "no slice lies between the landmarks of this level"


@dataclass(frozen=True, kw_only=True)
class LesserTrochanter:
    """The level of the tip of the lesser trochanter.

    Attributes:
        height_mm: above the lower face of the array's first slice, mm along z; None if it cannot be determined.
        missing: why it cannot be determined; empty if it can.
    """

    height_mm: float | None = None
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class HeadSphere:
    """The sphere of the femoral head.

    Attributes:
        center_xyz_mm: its centre from the centre of the array's voxel (0, 0, 0), mm; None if there is no head.
        radius_mm: its radius; None if there is no head.
        missing: why there is none; empty if there is one.
    """

    center_xyz_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None
    missing: str = ""


def femur_levels(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str) -> Regions:
    """Assign the slices of a femur to head, neck, trochanter and shaft.

    The borders are landmarks of the medial contour, as on a radiograph from the front:

    - head: down to the lower border of the femoral head, the lowest point of a sphere fitted to it;
    - neck: down to the upper base of the lesser trochanter, where the medial contour lies furthest inside the
      straight line from the head's lower border to the trochanter's tip;
    - trochanter: down to the lower base of the lesser trochanter, 20 mm below its tip;
    - shaft: all slices below.

    Levels are ranges of axial slices and do not follow the neck: the upper part of the greater trochanter lies beside
    head and neck and belongs to their slices. The highest level extends to the upper end of the array, the lowest one
    in view to the lower end, so the length of the shaft depends on the scan. The trochanter is found only if at least
    6 mm below its tip are in view.

    In 200 people of the shape model (drawn as for `find_lesser_trochanter`) the head's border lay within 2.3 mm of
    the lowest point of the head's true sphere. Head, neck and trochanter were 47, 15 and 35 mm high (SD 4, 5 and 4
    mm).

    Args:
        mask_zyx: Femur mask, index 0 of z the most distal slice, index 0 of x and y right and front (LPS).
        spacing_mm_zyx: Voxel size.
        side: `left` or `right` of the patient.

    Returns:
        The slices of each level, and the reasons for missing levels.
    """
    bone_zyx = np.asarray(mask_zyx) > 0
    occupied = np.flatnonzero(bone_zyx.any(axis=(1, 2)))
    reason = _not_searched(occupied, len(bone_zyx))
    if reason:
        return Regions(parts={}, missing=dict.fromkeys(LEVELS, reason))
    first, step_mm = int(occupied[0]), spacing_mm_zyx[0]
    tip = find_lesser_trochanter(bone_zyx, spacing_mm_zyx, side)
    tip_place = np.nan if tip.height_mm is None else tip.height_mm / step_mm - 0.5 - first
    medial_mm = _reach(bone_zyx[occupied], spacing_mm_zyx, side, 0.0)
    outline_mm = _outline(bone_zyx[occupied], spacing_mm_zyx, side)
    head_place, no_head = _head_border(outline_mm, _head_level(medial_mm, step_mm), step_mm)
    borders = (
        head_place,
        _upper_base(medial_mm, tip_place, head_place),
        tip_place - _BASE_BELOW_TIP_MM / step_mm,
    )
    found = _slices_between(borders, np.arange(len(bone_zyx)) - first)
    reasons = {
        "head": no_head,
        "neck": no_head or tip.missing or NO_SLICE,
        "trochanter": no_head or tip.missing or NO_SLICE,
        "shaft": tip.missing or ENDS_ABOVE_SHAFT,
    }
    return Regions(parts=found, missing={level: reasons[level] for level in LEVELS if level not in found})


def find_lesser_trochanter(
    mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str
) -> LesserTrochanter:
    """Find the level at which the lesser trochanter stands out most behind and towards the midline.

    The reach of each slice in that direction falls from the head to the neck's base, rises to the trochanter and
    falls to the shaft; the search finds that rise. The tip is defined relative to the scan's axis: in a femur tilted
    by 10 degrees it moves 1.5 mm up or down the bone.

    On masks of 400 people drawn from the shape model of 26 real hips (3 mm slices, turned by up to 10 degrees about
    each axis, a rough surface, cut 85 to 122 mm below the head's top) the level was found in 94 %, 0.8 mm too low on
    average with an SD of 1.5 mm and at most 5 mm from the point of the surface that lies furthest from the shaft's
    axis. It was never found if less than 6 mm of bone were left below the tip.

    Args:
        mask_zyx: Femur mask, index 0 of z the most distal slice, index 0 of x and y right and front (LPS).
        spacing_mm_zyx: Voxel size.
        side: `left` or `right` of the patient.

    Returns:
        The level, or the reason why it cannot be determined. It is never estimated from the size of the femur.
    """
    bone_zyx = np.asarray(mask_zyx) > 0
    slices = np.flatnonzero(bone_zyx.any(axis=(1, 2)))
    reason = _not_searched(slices, len(bone_zyx))
    if reason:
        return LesserTrochanter(missing=reason)
    first, stop = int(slices[0]), int(slices[-1]) + 1
    reach_mm, medial_mm = (
        _reach(bone_zyx[first:stop], spacing_mm_zyx, side, degrees)
        for degrees in (_BEHIND_MEDIAL_DEGREES, 0.0)
    )
    step_mm = spacing_mm_zyx[0]
    head = _head_level(medial_mm, step_mm)
    tip = _lowest_rise(reach_mm, head, step_mm)
    if tip is None:
        return LesserTrochanter(missing=NOT_SEEN)
    if medial_mm[head] < medial_mm[tip] + _HEAD_BEYOND_MM:
        return LesserTrochanter(missing=NO_FEMUR)
    return LesserTrochanter(height_mm=(first + 0.5 + _apex(reach_mm, tip, step_mm)) * step_mm)


def find_head(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str) -> HeadSphere:
    """Fit a sphere to the medial half of the femoral head, as for the head's border in `femur_levels`.

    The points of the fit are the centres of the outermost voxels of each slice, which lie half a pixel below the
    surface of the bone; the radius is corrected for that.

    Arguments are those of `femur_levels`.
    """
    bone_zyx = np.asarray(mask_zyx) > 0
    occupied = np.flatnonzero(bone_zyx.any(axis=(1, 2)))
    reason = _not_searched(occupied, len(bone_zyx))
    if reason:
        return HeadSphere(missing=reason)
    step_mm = spacing_mm_zyx[0]
    medial_mm = _reach(bone_zyx[occupied], spacing_mm_zyx, side, 0.0)
    outline_mm = _outline(bone_zyx[occupied], spacing_mm_zyx, side)
    sphere = _head_sphere(outline_mm, _head_level(medial_mm, step_mm), step_mm)
    if sphere is None:
        return HeadSphere(missing=NO_HEAD)
    up_mm, back_mm, medial, radius_mm = (float(value) for value in sphere)
    if up_mm < radius_mm:
        return HeadSphere(missing=ENDS_IN_HEAD)
    center_mm = (-medial if side == "left" else medial, back_mm, up_mm + int(occupied[0]) * step_mm)
    half_pixel_mm = 0.25 * sum(spacing_mm_zyx[1:])
    return HeadSphere(center_xyz_mm=center_mm, radius_mm=radius_mm + half_pixel_mm)


def lesser_trochanter_tip(
    mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str, height_mm: float
) -> tuple[float, float, float]:
    """Return the tip of the lesser trochanter, x, y, z mm from the centre of the array's voxel (0, 0, 0).

    It is the mean of the outermost 30 mm2 of its slice, behind and towards the midline, at the height (mm above the
    lower face of the first slice) that `find_lesser_trochanter` returns.
    """
    step_mm, *pixel_mm_yx = spacing_mm_zyx
    places_yx = np.argwhere(np.asarray(mask_zyx)[int(height_mm / step_mm)] > 0) * pixel_mm_yx
    behind = np.radians(_BEHIND_MEDIAL_DEGREES)
    medial_mm = (-1 if side == "left" else 1) * places_yx[:, 1]
    along_mm = np.cos(behind) * medial_mm + np.sin(behind) * places_yx[:, 0]
    outermost = np.argsort(along_mm)[-max(1, round(_TIP_MM2 / (pixel_mm_yx[0] * pixel_mm_yx[1]))) :]
    y_mm, x_mm = places_yx[outermost].mean(axis=0)
    return float(x_mm), float(y_mm), height_mm - 0.5 * step_mm


def _not_searched(slices: np.ndarray, count: int) -> str:
    """Return why the mask's occupied `slices` (of `count`) do not allow a search, or an empty text."""
    if not slices.size:
        return EMPTY
    if slices[-1] == count - 1:
        return CUT_ABOVE
    return IN_PIECES if slices[-1] - slices[0] + 1 > slices.size else ""


def _reach(
    bone_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str, behind_medial_degrees: float
) -> np.ndarray:
    """Return how far each slice (all contain bone) reaches in a direction behind the medial one, mm, (z,)."""
    _, step_y_mm, step_x_mm = spacing_mm_zyx
    _, size_y, size_x = bone_zyx.shape
    behind = np.radians(behind_medial_degrees)
    # the patient's left is at high x, so the midline is at low x of a left femur
    medial_mm = (-1 if side == "left" else 1) * step_x_mm * np.arange(size_x)
    along_mm = np.cos(behind) * medial_mm + np.sin(behind) * step_y_mm * np.arange(size_y)[:, None]
    tip_voxels = max(1, round(_TIP_MM2 / (step_y_mm * step_x_mm)))
    reaches = (np.sort(along_mm[bone_yx])[-tip_voxels:].mean() for bone_yx in bone_zyx)
    return np.fromiter(reaches, float, len(bone_zyx))


def _head_level(medial_mm: np.ndarray, step_mm: float) -> int:
    """Return the slice near the top that reaches furthest medially."""
    lowest = max(0, len(medial_mm) - round(_HEAD_BELOW_TOP_MM / step_mm))
    return lowest + int(medial_mm[lowest:].argmax())


def _lowest_rise(reach_mm: np.ndarray, head: int, step_mm: float) -> int | None:
    """Return the slice of the most prominent rise at a trochanter's distance below the head; None: no rise."""
    smooth_mm = ndimage.gaussian_filter1d(reach_mm, _SMOOTHING_MM / step_mm, mode="nearest")
    below_head_mm = (head - np.arange(len(smooth_mm))) * step_mm
    near = np.flatnonzero((below_head_mm > _BELOW_HEAD_MM[0]) & (below_head_mm < _BELOW_HEAD_MM[1]))
    prominence_mm = {int(place): _prominence(smooth_mm, place) for place in near}
    rises = [place for place, height_mm in prominence_mm.items() if height_mm >= _MIN_PROMINENCE_MM]
    return max(rises, key=prominence_mm.get, default=None)


def _prominence(profile: np.ndarray, place: int) -> float:
    """Return the prominence of a profile at an index: its fall on both sides before it rises higher; 0: no peak.

    This replaces scipy.signal.peak_prominences, whose import takes longer than the rest of a measuring job.
    """
    higher = np.flatnonzero(profile > profile[place])
    start, stop = higher[higher < place].max(initial=-1) + 1, higher[higher > place].min(initial=len(profile))
    falls = profile[place] - np.array([profile[start : place + 1].min(), profile[place:stop].min()])
    return float(falls.min())


def _apex(reach_mm: np.ndarray, peak: int, step_mm: float) -> float:
    """Return the (fractional) slice of the profile's maximum, at most one slice away from `peak`."""
    half = max(1, int(_APEX_MM / step_mm))
    near = np.arange(max(0, peak - half), min(len(reach_mm), peak + half + 1))
    curvature, slope, _ = np.polyfit(near - peak, reach_mm[near], 2)
    return peak + (float(np.clip(-0.5 * slope / curvature, -1, 1)) if curvature < 0 else 0.0)


def _slices_between(borders: tuple[float, float, float], places: np.ndarray) -> dict[str, slice]:
    """Return the slices of each level that has any, from the borders between levels, from above; NaN: no border.

    `places` are the slices' positions; 0 is the lowest slice with bone. A border below it moves to the end of the
    array.
    """
    in_view = [-np.inf if border < 0 else border for border in borders]
    found = {}
    for level, upper, lower in zip(LEVELS, (np.inf, *in_view), (*in_view, -np.inf), strict=True):
        inside = np.flatnonzero((places >= lower) & (places < upper))
        if inside.size:
            found[level] = slice(int(inside[0]), int(inside[-1]) + 1)
    return found


def _upper_base(medial_mm: np.ndarray, tip: float, head: float) -> float:
    """Return where a profile lies furthest inside the line from `tip` to `head`; NaN if one of them is NaN."""
    if np.isnan(tip + head):
        return np.nan
    between = np.linspace(tip, head, 65)
    profile_mm = np.interp(between, np.arange(len(medial_mm)), medial_mm)
    line_mm = np.linspace(profile_mm[0], profile_mm[-1], len(between))
    return float(between[(line_mm - profile_mm).argmax()])


def _head_border(outline_mm: np.ndarray, level: int, step_mm: float) -> tuple[float, str]:
    """Return the position of the lowest point of the head's sphere, in slices, or NaN and the reason."""
    sphere = _head_sphere(outline_mm, level, step_mm)
    if sphere is None:
        return np.nan, NO_HEAD
    place = float(sphere[0] - sphere[3]) / step_mm
    return (place, "") if place >= 0 else (np.nan, ENDS_IN_HEAD)


def _head_sphere(outline_mm: np.ndarray, level: int, step_mm: float) -> np.ndarray | None:
    """Return the head's sphere: its centre (up, back, medial) and radius, mm, (4,); None: there is no head.

    The search starts with a sphere that touches the most medial point of slice `level`.
    """
    # imported here: only the levels of a femur need it, and the import takes a fifth of the screening of a scan
    from scipy import optimize

    of_level = outline_mm[np.isclose(outline_mm[:, 0], level * step_mm)]
    most_medial_mm = of_level[of_level[:, 2].argmax()]
    sphere = np.append(most_medial_mm - [0, 0, _HEAD_RADIUS_START_MM], _HEAD_RADIUS_START_MM)
    for _ in range(_HEAD_ROUNDS):
        cap_mm = _medial_cap(outline_mm, sphere)
        if not len(cap_mm):
            return None
        sphere = optimize.least_squares(_off_sphere, sphere, loss="soft_l1", args=(cap_mm,)).x
    return sphere if _is_head(sphere, _medial_cap(outline_mm, sphere)) else None


def _outline(bone_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float], side: str) -> np.ndarray:
    """Return the voxels at the edge of each slice as points (n, 3), mm (up, back, medial)."""
    edge_zyx = bone_zyx & ~ndimage.binary_erosion(bone_zyx, ndimage.generate_binary_structure(2, 1)[None])
    return np.argwhere(edge_zyx) * [1, 1, -1 if side == "left" else 1] * np.asarray(spacing_mm_zyx)


def _medial_cap(outline_mm: np.ndarray, sphere: np.ndarray) -> np.ndarray:
    """Return the points near a sphere's medial half: the neck always joins the lateral half."""
    near = np.abs(_off_sphere(sphere, outline_mm)) < _OFF_SPHERE_MM
    return outline_mm[near & (outline_mm[:, 2] > sphere[2])]


def _is_head(sphere: np.ndarray, cap_mm: np.ndarray) -> bool:
    """Return whether a sphere has a head's size and its points lie close to it, over more than a few slices."""
    smallest_mm, largest_mm = _HEAD_RADIUS_MM
    if not (len(cap_mm) and smallest_mm < sphere[3] < largest_mm):
        return False
    rough_mm = np.median(np.abs(_off_sphere(sphere, cap_mm)))
    return bool(rough_mm < _HEAD_ROUGHNESS_MM and np.ptp(cap_mm[:, 0]) > smallest_mm)


def _off_sphere(sphere: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the signed distances of points (n, 3) from a sphere (centre and radius), positive outside."""
    return np.linalg.norm(points - sphere[:3], axis=1) - sphere[3]
