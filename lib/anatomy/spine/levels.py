"""The levels of a lumbar spine: what was found of each, and whether its name and its values can be trusted.

A level is never guessed. Each doubt is a flag of `lib.catalog.level_flags`, which also says what it costs.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lib.anatomy.protocol import JudgedLabels
from lib.anatomy.spine.body_shape import Body, body_of, contact_mm2, measure_heights
from lib.anatomy.spine.surroundings import (
    Place,
    brightest_vessel_hu,
    has_metal_near,
    has_ribs_beside,
)
from lib.catalog.anatomies import SACRUM, VERTEBRAE
from lib.catalog.level_flags import WHOLE_SCAN, classes_withheld, density_withheld, is_usable
from lib.imaging.eroded import erode
from lib.imaging.grid import array_zyx, spacing_zyx

NOT_FOUND = "level_missing"
_MIN_PIECE_MM3 = 500.0
_MISSING_SHARE, _DOUBLED_SHARE = 0.25, 0.25
_MERGED_SHARE = 0.15
_GAP = (0.6, 1.5)
_SACRUM_AWAY, _EXTRA_AWAY = 2.0, 1.2  # distances from the lowest body to the sacrum, in those of neighbours
# From the middle of L1 to the sacrum, along the bodies, in distances of neighbours: 4.5 to 4.7 in 155 synthetic
# spines of five bodies, 5.6 with six.
_EXTRA_PATH = 5.1
# The sacrum is as wide as 1.8 bodies or more (2.1 on average, in the same spines), a body taken for it 1.1.
_SACRUM_WIDE = 1.5
_CORE_MM = 8.0  # a ball of this radius lies within a body
_LOW = 0.8  # heights
_DENSE_HU, _DENSE_SHARE, _SD_RATIO = 400.0, 0.10, 2.5
_CONTRAST_HU = 90.0
_KVP = 120.0
_AORTA_LEVELS = ("L3", "L2", "L4", "L1", "L5")


@dataclass
class _Level:
    """One vertebral body of a scan; `flags` grow as it is judged."""

    name: str
    number: int
    body: Body
    box: tuple[slice, slice, slice]
    mask_zyx: np.ndarray
    heights_mm: Mapping[str, float] = field(default_factory=dict)
    hu: np.ndarray | None = None  # of the eroded body
    eroded_mm3: float = 0.0
    depth_mm: float | None = None
    flags: set[str] = field(default_factory=set)

    @property
    def height_mm(self) -> float:
        return float(np.mean(list(self.heights_mm.values())))


def find_levels(judged: JudgedLabels) -> dict[str, dict]:
    """Return what was found of each structure of a spine, and with the key `scan` what concerns all of them.

    Of each structure: `found`, `voxels_mm3`, `components` (pieces of at least 500 mm3), `centroid_mm_xyz` (LPS),
    `height_mm` (`anterior`, `middle`, `posterior`), `hu_mean` and `hu_sd` of the eroded body with its `eroded_mm3`
    and `eroded_by_mm`, `flags`, `usable` (it counts in means), and `undefined` with the reasons of empty values; its
    entry `density` is the flag for which the level gets none. Of the scan: `flags` and `class_withheld`.
    """
    full_zyx, spacing = array_zyx(judged.full), spacing_zyx(judged.full)
    place = Place(hu_zyx=sitk.GetArrayViewFromImage(judged.image), spacing_mm_zyx=spacing)
    levels = _levels(full_zyx, spacing, judged.structures)
    sacrum = _sacrum(full_zyx, spacing, judged.structures, levels)
    _measure(levels, full_zyx, place, judged)
    components = _count_pieces(judged)
    for level in levels:
        level.flags |= _own_flags(level, levels, components, judged)
    _compare_neighbours(levels, full_zyx, spacing)
    for level in levels:
        if has_metal_near(place, level.mask_zyx, level.box, judged.metal_hu):
            level.flags.add("hardware")
    of_scan = _flags_of_order(levels, sacrum) | _flags_of_scan(levels, sacrum, place, judged)
    found = {level.name: level for level in levels}
    told = {
        name: _told(found.get(name), components[name], of_scan, judged.full) for name in judged.structures
    }
    if SACRUM in told and sacrum is not None:
        told[SACRUM] |= {"found": True, "voxels_mm3": sacrum.volume_mm3, "flags": [], "undefined": {}}
        told[SACRUM]["centroid_mm_xyz"] = _in_patient(judged.full, sacrum.centroid_mm)
    return told | {WHOLE_SCAN: {"flags": sorted(of_scan), "class_withheld": classes_withheld(of_scan)}}


def _levels(full_zyx: np.ndarray, spacing: Sequence[float], structures: Sequence[str]) -> list[_Level]:
    """Return the bodies that have a voxel, in the order of their names from head to feet."""
    boxes = ndimage.find_objects(full_zyx, max_label=len(structures))
    levels = []
    for number, (name, box) in enumerate(zip(structures, boxes, strict=True), start=1):
        if name not in VERTEBRAE or box is None:
            continue
        mask_zyx = full_zyx[box] == number
        body = body_of(mask_zyx, spacing, [part.start for part in box])
        levels.append(_Level(name=name, number=number, body=body, box=box, mask_zyx=mask_zyx))
    return sorted(levels, key=lambda level: VERTEBRAE.index(level.name))


def _sacrum(
    full_zyx: np.ndarray, spacing: Sequence[float], structures: Sequence[str], levels: Sequence[_Level]
) -> Body | None:
    """Return the sacrum if it was found: no less than a quarter of a vertebral body, and wider than one."""
    if SACRUM not in structures:
        return None
    body = body_of(full_zyx == structures.index(SACRUM) + 1, spacing)
    usual_mm3 = np.median([level.body.volume_mm3 for level in levels]) if levels else 0.0
    if body.volume_mm3 < max(_MISSING_SHARE * usual_mm3, _MIN_PIECE_MM3):
        return None
    usual_mm = np.median([_width_mm(level.body) for level in levels]) if levels else 0.0
    return body if _width_mm(body) > _SACRUM_WIDE * usual_mm else None


def _width_mm(body: Body) -> float:
    """Return the width of a bone, left to right, without single voxels at its sides."""
    return float(np.ptp(np.quantile(body.points_mm[:, 0], [0.01, 0.99])))


def _measure(levels: list[_Level], full_zyx: np.ndarray, place: Place, judged: JudgedLabels) -> None:
    """Measure heights along the column, and the intensities of the eroded bodies."""
    centers = [level.body.centroid_mm for level in levels]
    for index, level in enumerate(levels):
        above, below = centers[max(index - 1, 0)], centers[min(index + 1, len(levels) - 1)]
        up = above - below if index or len(levels) > 1 else np.array([0.0, 0.0, 1.0])
        up = up if up[2] > 0 else np.array([0.0, 0.0, 1.0])
        if len(level.body.points_mm) > 1:
            level.heights_mm = measure_heights(level.body, up)
        eroded = erode(level.mask_zyx, place.spacing_mm_zyx, judged.erode_mm)
        if eroded.mask_zyx is not None:
            level.hu = place.hu_zyx[level.box][eroded.mask_zyx].astype(float)
            level.eroded_mm3 = eroded.volume_mm3(float(np.prod(place.spacing_mm_zyx)))
            level.depth_mm = eroded.depth_mm


def _count_pieces(judged: JudgedLabels) -> dict[str, list[float]]:
    """Return the volumes (mm3) of the pieces of each structure, the largest first, before the largest was chosen."""
    voxel_mm3 = float(np.prod(spacing_zyx(judged.labels)))
    pieces = {}
    for name, raw_zyx in zip(judged.structures, judged.raw_zyx, strict=True):
        labelled_zyx, _ = ndimage.label(raw_zyx)
        sizes = np.sort(np.bincount(labelled_zyx.ravel())[1:])[::-1] * voxel_mm3
        pieces[name] = [float(mm3) for mm3 in sizes if mm3 >= _MIN_PIECE_MM3]
    return pieces


def _own_flags(
    level: _Level, levels: list[_Level], pieces: Mapping[str, list[float]], judged: JudgedLabels
) -> set[str]:
    """Return the flags of a level by its volume, its pieces, the ends of the scan, and what is dense in it."""
    usual_mm3 = float(np.median([one.body.volume_mm3 for one in levels]))
    own = pieces[level.name]
    labels_zyx = sitk.GetArrayViewFromImage(judged.labels)
    raised = {
        NOT_FOUND: level.body.volume_mm3 < _MISSING_SHARE * usual_mm3,
        "level_doubled": len(own) > 1 and own[1] > _DOUBLED_SHARE * own[0],
        "level_cut_by_scan": bool((labels_zyx[[0, -1]] == level.number).any()),
        "sclerosis_or_cement": level.hu is not None and np.mean(level.hu > _DENSE_HU) > _DENSE_SHARE,
    }
    return {flag for flag, is_raised in raised.items() if is_raised}


def _compare_neighbours(levels: list[_Level], full_zyx: np.ndarray, spacing: Sequence[float]) -> None:
    """Flag levels that touch their neighbours, that are lower than both, or more uneven inside."""
    for upper, lower in itertools.pairwise(levels):
        if upper.heights_mm and lower.heights_mm:
            _flag_contact(upper, lower, full_zyx, spacing)
    for index, level in enumerate(levels):
        beside = [one for one in levels[max(index - 1, 0) : index + 2] if one is not level]
        whole = [one for one in beside if one.heights_mm and "level_cut_by_scan" not in one.flags]
        if level.heights_mm and "level_cut_by_scan" not in level.flags and _is_low(level, whole):
            level.flags.add("fracture_suspected")
        spread = [one.hu.std() for one in beside if one.hu is not None]
        if level.hu is not None and spread and level.hu.std() > _SD_RATIO * max(spread):
            level.flags.add("sclerosis_or_cement")


def _flag_contact(upper: _Level, lower: _Level, full_zyx: np.ndarray, spacing: Sequence[float]) -> None:
    box = tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(upper.box, lower.box, strict=True)
    )
    touching_mm2 = contact_mm2(full_zyx[box], upper.number, lower.number, spacing)
    endplate_mm2 = min(one.body.volume_mm3 / max(one.height_mm, 1.0) for one in (upper, lower))
    if touching_mm2 > _MERGED_SHARE * endplate_mm2:
        upper.flags.add("levels_merged")
        lower.flags.add("levels_merged")


def _is_low(level: _Level, beside: list[_Level]) -> bool:
    """Return whether a body is wedged, hollow or flat, as after a fracture."""
    heights = level.heights_mm
    if min(heights["anterior"], heights["middle"]) < _LOW * heights["posterior"]:
        return True
    return len(beside) > 1 and all(level.height_mm < _LOW * one.height_mm for one in beside)


def _flags_of_order(levels: list[_Level], sacrum: Body | None) -> set[str]:
    """Return the flags of a scan by the places of its levels."""
    bodies = [level.body for level in levels] + ([sacrum] if sacrum else [])
    heights = [body.centroid_mm[2] for body in bodies]
    flags = set()
    if any(lower >= upper for upper, lower in itertools.pairwise(heights)):
        flags.add("levels_out_of_order")
    steps = _steps_mm(levels)
    if len(steps) > 1:
        usual = float(np.median(steps))
        if any(not _GAP[0] * usual <= one <= _GAP[1] * usual for one in steps):
            flags.add("level_gap")
    return flags


def _distances_mm(levels: list[_Level]) -> list[float]:
    """Return the distances of each level that was found and the next one below it."""
    centers = [level.body.centroid_mm for level in levels]
    return [float(np.linalg.norm(lower - upper)) for upper, lower in itertools.pairwise(centers)]


def _steps_mm(levels: list[_Level]) -> list[float]:
    """Return the same distances for each step from name to name: from L2 to L4 there are two."""
    steps = np.diff([VERTEBRAE.index(level.name) for level in levels])
    return [mm / float(count) for mm, count in zip(_distances_mm(levels), steps, strict=True)]


def _flags_of_scan(levels: list[_Level], sacrum: Body | None, place: Place, judged: JudgedLabels) -> set[str]:
    """Return the flags of a scan by what lies above and below its levels, and by how it was made."""
    flags = set()
    steps = _steps_mm(levels)
    usual = float(np.median(steps)) if steps else None
    if sacrum is None or usual is None:
        flags.add("level_uncertain")
    else:
        away = _distance_to(sacrum, levels[-1].body.centroid_mm)
        if away > _SACRUM_AWAY * usual:
            flags.add("level_uncertain")
        elif away > _EXTRA_AWAY * usual or (
            levels[0].name == VERTEBRAE[0] and sum(_distances_mm(levels)) + away > _EXTRA_PATH * usual
        ):
            flags.add("transitional")
    first = next((level for level in levels if level.name == "L1"), None)
    if first is not None and has_ribs_beside(place, first.body.centroid_mm) is False:
        flags.add("transitional")
    if judged.contrast == "yes" or (judged.contrast != "no" and _is_enhanced(levels, place)):
        flags.add("contrast")
    if judged.kvp is not None and judged.kvp != _KVP:
        flags.add("kvp_off")
    return flags


def _distance_to(body: Body, point_mm: np.ndarray) -> float:
    return float(np.linalg.norm(body.points_mm - point_mm, axis=1).min())


def _is_enhanced(levels: list[_Level], place: Place) -> bool:
    """Return whether a vessel in front of L3, or of the nearest level to it, is as bright as with contrast medium."""
    found = {level.name: level.body for level in levels}
    body = next((found[name] for name in _AORTA_LEVELS if name in found), None)
    if body is None:
        return False
    middle = body.centroid_mm
    near = np.abs(body.points_mm[:, 2] - middle[2]) <= 5.0
    front = float(np.quantile(body.points_mm[near, 1], 0.01)) if near.any() else middle[1]
    brightest = brightest_vessel_hu(place, (middle[0], front, middle[2]))
    return brightest is not None and brightest > _CONTRAST_HU


def _told(level: _Level | None, pieces: list[float], of_scan: set[str], full: sitk.Image) -> dict:
    """Return the record of a structure; `level` is None if no voxel of it was found."""
    flags = {NOT_FOUND} if level is None else level.flags
    withheld = density_withheld(flags | of_scan)
    measured = level is not None and level.hu is not None
    undefined = {"density": withheld} if withheld else {}
    if not measured:
        why = NOT_FOUND if level is None else "less than 0.5 cm³ is left of the eroded body"
        undefined |= {"hu_mean": why, "hu_sd": why}
    return {
        "found": level is not None and NOT_FOUND not in flags,
        "voxels_mm3": 0.0 if level is None else level.body.volume_mm3,
        "components": len(pieces),
        "centroid_mm_xyz": None if level is None else _in_patient(full, level.body.centroid_mm),
        "height_mm": dict(level.heights_mm) if level is not None and level.heights_mm else None,
        "hu_mean": float(level.hu.mean()) if measured else None,
        "hu_sd": float(level.hu.std()) if measured else None,
        "eroded_mm3": 0.0 if level is None else level.eroded_mm3,
        "eroded_by_mm": None if level is None else level.depth_mm,
        "flags": sorted(flags),
        "usable": is_usable(flags | of_scan),
        "undefined": undefined,
    }


def _in_patient(image: sitk.Image, position_mm: np.ndarray) -> list[float]:
    """Return a position along the image's axes as a point of the patient (LPS mm)."""
    index = position_mm / np.array(image.GetSpacing())
    return [round(float(mm), 3) for mm in image.TransformContinuousIndexToPhysicalPoint(index.tolist())]
