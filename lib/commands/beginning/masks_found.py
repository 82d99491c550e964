"""Label maps beside scans: which belongs to which, which values it holds, and on which side its bone lies."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.commands.beginning.found import MASK_WORDS, Found, FoundScan, number_of
from lib.commands.beginning.image_files_found import read_image_header, stem_of, words_in_name
from lib.errors import ScanError
from lib.reading.image_files import read_values

NOT_CHOSEN = "another series of the same examination: empty this cell to use it"
# words of names that say what a file is, and not whose
_GENERAL_WORDS = MASK_WORDS | frozenset(
    [
        *(
            "dicom",
            "dcm",
            "ima",
            "series",
            "scan",
            "scans",
            "image",
            "images",
            "img",
            "imgs",
            "volume",
            "vol",
        ),
        *("ct", "mr", "mri", "nifti", "nii", "raw", "imagestr", "imagests", "data", "source", "anat"),
    ]
)
_BONE_WORDS = frozenset(
    [
        "femur",
        "femora",
        "femurs",
        "hip",
        "hips",
        "bone",
        "bones",
        "spine",
        "vertebrae",
        "left",
        "right",
        "final",
    ]
)
_CHANNEL = "0000"  # of nnU-Net
_LEFT_FEMUR = frozenset(["femur", "left"])
_WIDE_MM = 250.0  # a narrower image need not show both sides
_AWAY_MM = 20.0  # from the middle of the image
_ALIKE = 1.5  # the larger of two bones of a pair has at most so many times the voxels of the other
_TOTALSEGMENTATOR_FEMURS = {"left": 75, "right": 76}
_SEGMENT = re.compile(rb"^(Segment\d+)_(Name|LabelValue):=(.*?)\r?$", re.MULTILINE)
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class LabelPlace:
    """One value of a label map: number of voxels, and the LPS coordinate x of their middle, mm."""

    voxels: int
    x_mm: float


def match_masks(found: Found, root: Path) -> None:
    """Give each scan the label map that belongs to it; label maps of no scan stay in `found.masks`."""
    sizes = {mask: _size_of(mask) for mask in found.masks}
    for key_of in (_strict_key, _loose_key):
        _match_by_name(found, root, sizes, key_of)
    _match_by_folder(found, root, sizes)
    found.masks = [mask for mask in found.masks if mask not in {scan.mask for scan in found.scans}]


def keep_one_of_each_examination(found: Found) -> None:
    """Exclude all series of an examination but one: that with a mask, else that with most slices."""
    together = defaultdict(list)
    for scan in found.scans:
        together[scan.person, scan.examination].append(scan)
    count = 0
    for each in together.values():
        best = max(each, key=lambda scan: (scan.mask is not None, scan.slices))
        for scan in each:
            if scan is not best:
                scan.exclude, count = NOT_CHOSEN, count + 1
    if count:
        found.notes.append(
            f"{count} further series of the same examinations are in the table with a reason in `exclude`: of each "
            "examination the series with a mask, or else with most slices, is used. Check this choice"
        )


def read_label_values(found: Found, tell: Callable[[int], object]) -> dict[Path, dict[int, LabelPlace]]:
    """Return the values of each scan's label map; one that cannot be used is taken from its scan, and told."""
    values: dict[Path, dict[int, LabelPlace]] = {}
    refused: Counter[str] = Counter()
    for number, scan in enumerate((scan for scan in found.scans if scan.mask), start=1):
        tell(number)
        try:
            values[scan.mask] = _label_places(scan.mask)
        except ScanError as error:
            refused[error.code] += 1
            scan.mask = None
            continue
        if not values[scan.mask]:
            refused["empty"] += 1
            scan.mask = None
        elif not found.names:
            found.names.update(_segment_names(scan.mask))
    for code, count in refused.items():
        found.notes.append(
            f"{number_of(count, 'files')} named like masks cannot be used ({code}); docs/masks.md says how to save "
            "label maps"
        )
    return values


def tell_sides(found: Found, values: Mapping[Path, Mapping[int, LabelPlace]]) -> str:
    """Set side and value of the proximal femur of each scan with a mask, where the label map tells them.

    Returns:
        A note on masks of several values that do not tell; empty if there are none.
    """
    unknown = 0
    for scan in found.scans:
        if not scan.mask:
            continue
        side, label = _femur_of(scan, values[scan.mask], found.names)
        scan.side, scan.mask_label = side or scan.side, label
        unknown += not label and len(values[scan.mask]) > 1
    if not unknown:
        return ""
    return f"{number_of(unknown, 'masks')} of several values do not tell which is the femur: fill in `mask_label`"


def _femur_of(scan: FoundScan, values: Mapping[int, LabelPlace], names: Mapping[int, str]) -> tuple[str, str]:
    """Return side and value of the femur of a label map; empty where they are not clear."""
    if set(words_in_name(stem_of(scan.mask))) >= _LEFT_FEMUR:
        return "left", ""
    named = [value for value, name in names.items() if set(words_in_name(name)) >= _LEFT_FEMUR]
    if len(values) > 1 and named[:1] and named[0] in values:
        return "left", str(named[0])
    for side, value in _TOTALSEGMENTATOR_FEMURS.items():
        if value in values and len(values) > 1:
            return side, str(value)
    if scan.middle_x_mm is None or scan.width_mm < _WIDE_MM:
        return "", ""
    sides = {value: _side_of(place.x_mm - scan.middle_x_mm) for value, place in values.items()}
    if len(values) == 1:
        return next(iter(sides.values())), ""
    pairs = [
        left
        for left in values
        for right in values
        if (sides[left], sides[right]) == ("left", "right") and _are_alike(values[left], values[right])
    ]
    return ("left", str(pairs[0])) if len(pairs) == 1 else ("", "")


def _side_of(x_mm: float) -> str:
    """Return the side of a place, by its distance to the patient's left of the middle, mm; empty: not clear."""
    if abs(x_mm) < _AWAY_MM:
        return ""
    return "left" if x_mm > 0 else "right"


def _are_alike(one: LabelPlace, other: LabelPlace) -> bool:
    return max(one.voxels, other.voxels) <= _ALIKE * min(one.voxels, other.voxels)


def _match_by_name(
    found: Found,
    root: Path,
    sizes: Mapping[Path, tuple[int, ...]],
    key_of: Callable[[Path, Path], tuple[str, ...]],
) -> None:
    """Match scans and masks that alone have a key."""
    by_key: dict[tuple[str, ...], tuple[list, list]] = defaultdict(lambda: ([], []))
    taken = {scan.mask for scan in found.scans}
    for scan in found.scans:
        if not scan.mask:
            by_key[key_of(scan.path, root)][0].append(scan)
    for mask in found.masks:
        if mask not in taken:
            by_key[key_of(mask, root)][1].append(mask)
    for key, (scans, masks) in by_key.items():
        # a single pair of one name belongs together even if slices of the scan are missing: screening tells
        alone = key_of is _strict_key and len(scans) == 1
        fitting = scans if alone else [scan for scan in scans if masks and _fits(scan, masks[0], sizes)]
        if key and len(masks) == 1 and len(fitting) == 1:
            fitting[0].mask = masks[0]


def _match_by_folder(found: Found, root: Path, sizes: Mapping[Path, tuple[int, ...]]) -> None:
    """Match a scan and a mask that are the only ones of the smallest folder that holds both."""
    taken = {scan.mask for scan in found.scans}
    scans, masks = defaultdict(list), defaultdict(list)
    for scan in found.scans:
        for folder in _folders(scan.path, root, itself=scan.path.is_dir()):
            scans[folder].append(scan)
    for mask in found.masks:
        for folder in _folders(mask, root):
            masks[folder].append(mask)
    for folder in sorted(masks, key=lambda folder: len(folder.parts), reverse=True):
        free = [mask for mask in masks[folder] if mask not in taken]
        if len(free) > 1:  # a file for each bone, as TotalSegmentator writes
            free = [mask for mask in free if set(words_in_name(stem_of(mask))) >= _LEFT_FEMUR]
        if len(free) != 1 or not scans[folder]:
            continue
        fitting = [scan for scan in scans[folder] if _fits(scan, free[0], sizes)]
        if len(fitting) == 1 and not fitting[0].mask:
            fitting[0].mask = free[0]
            taken.add(free[0])


def _folders(path: Path, root: Path, *, itself: bool = False) -> list[Path]:
    """Return the folders from a path up to `root`."""
    above = [path, *path.parents] if itself else list(path.parents)
    return [folder for folder in above if folder == root or root in folder.parents]


def _fits(scan: FoundScan, mask: Path, sizes: Mapping[Path, tuple[int, ...]]) -> bool:
    """Return whether a mask may be on a scan's grid, or a part of it."""
    size = sizes[mask]
    return not size or not scan.size or all(a <= b for a, b in zip(size, scan.size, strict=True))


def _size_of(path: Path) -> tuple[int, ...]:
    header = read_image_header(path)
    return tuple(sorted(header.GetSize()[:3])) if header and header.GetDimension() >= 3 else ()


def _strict_key(path: Path, root: Path) -> tuple[str, ...]:
    return _key(path, root, _GENERAL_WORDS)


def _loose_key(path: Path, root: Path) -> tuple[str, ...]:
    return _key(path, root, _GENERAL_WORDS | _BONE_WORDS)


def _key(path: Path, root: Path, without: Iterable[str]) -> tuple[str, ...]:
    """Return the words that tell whose a path is: of its last part below `root` that has such words."""
    names = [
        stem_of(path).removesuffix(".zip"),
        *(folder.name for folder in path.parents if root in folder.parents),
    ]
    for name in names:
        words = [word for word in words_in_name(name) if word not in without]
        if words[-1:] == [_CHANNEL]:
            words = words[:-1]
        if words:
            return tuple(words)
    return ()


def _label_places(path: Path) -> dict[int, LabelPlace]:
    """Return the values above 0 of a label map.

    Raises:
        ScanError: it is no label map.
    """
    image = read_values(path)
    values_zyx = sitk.GetArrayViewFromImage(image)
    if values_zyx.min() < 0 or values_zyx.max() > np.iinfo(np.uint16).max:
        raise ScanError("mask_not_labels", "values that are not those of labels")
    most = int(values_zyx.max()) + 1
    voxels, indices = np.zeros(most), np.zeros(most)
    for values_yx in values_zyx:
        rows, places = np.nonzero(values_yx)
        held = values_yx[rows, places].astype(np.uint16)
        voxels += np.bincount(held, minlength=most)
        indices += np.bincount(held, places, most)
    start_mm, step_mm = image.GetOrigin()[0], image.GetSpacing()[0]
    return {
        int(value): LabelPlace(int(voxels[value]), start_mm + step_mm * indices[value] / voxels[value])
        for value in np.flatnonzero(voxels)
        if value
    }


def _segment_names(path: Path) -> dict[int, str]:
    """Return the names of the segments that 3D Slicer writes into an NRRD, by value."""
    if path.suffix.lower() != ".nrrd":
        return {}
    with open(path, "rb") as file:
        entries = _SEGMENT.findall(file.read(_HEADER_BYTES).split(b"\n\n")[0])
    segments: dict[bytes, dict[bytes, str]] = defaultdict(dict)
    for segment, field, text in entries:
        segments[segment][field] = text.decode("utf-8", "replace").strip()
    return {
        int(entry[b"LabelValue"]): entry.get(b"Name", "")
        for entry in segments.values()
        if entry.get(b"LabelValue", "").isdigit()
    }
