"""The DICOM series below a folder, from their headers. No pixels are read; identities stay in memory."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from lib.ages import printed_age
from lib.catalog.vendors import vendor_of
from lib.commands.beginning.found import Found, FoundScan, most_common
from lib.errors import ScanError
from lib.reading.dicom import DAMAGED, quiet_pydicom
from lib.reading.headers import HEADER_FIELDS, DicomObject, SliceHeader, read_object
from lib.reading.series import may_be_scan
from lib.reading.sources import SourceFile, is_dicom, open_source
from lib.screening_settings import ScreeningConfig

IDENTITY_FIELDS = (
    *("StudyInstanceUID", "PatientID", "PatientSex", "PatientAge", "PatientBirthDate", "StudyDate"),
    *("Manufacturer", "InstitutionName", "BodyPartExamined", "Laterality", "ImageLaterality"),
)
ARCHIVE_GB = 4.0  # as `screening.max_gb`
DAMAGED_FILES = "damaged files"
IMPLAUSIBLE = "series with too few slices, or not of one direction or of the magnitude"
# what de-identification writes in place of an id
_NO_ID = frozenset(
    ["", "0", "anon", "anonymous", "anonymized", "anonymised", "none", "unknown", "removed", "id"]
)
_MOST_OF_ONE = 10  # an id of more examinations than this, and of most of all, is a blank
_DAYS_OF_A_YEAR = 365.2425
_SIDES = {"L": "left", "R": "right"}
_LEFT_OUT = {
    "localizer": "localizers",
    "capture": "screenshots",
    "other": "series of other objects (reports, segmentations, projections)",
}


@dataclass(frozen=True)
class _Header:
    """One file: where it lies, what it holds, and the fields of `IDENTITY_FIELDS`."""

    file: Path
    one: DicomObject
    identity: Mapping[str, str]


def find_dicom(files: Sequence[Path], modality: str, tell: Callable[[int], object]) -> Found:
    """Return the series in these files and archives.

    Args:
        files: paths of files that may be DICOM or a zip archive.
        modality: CT or MR; empty: the one that most series have.
        tell: called with the number of headers that were read so far.
    """
    found, series = Found(), defaultdict(list)
    with quiet_pydicom():
        for number, header in enumerate(_headers(files, found.left_out), start=1):
            series[header.one.series_uid, header.one.kind].append(header)
            tell(number)
    grouped = [(kind, each) for (_, kind), whole in series.items() for each in _separate_copies(whole)]
    found.seen = len(grouped)
    found.folders = len({_place(header.file) for each in series.values() for header in each})
    found.left_out.update(_LEFT_OUT[kind] for kind, _ in grouped if kind != "slice")
    slices = [each for kind, each in grouped if kind == "slice"]
    chosen = modality or most_common(_modality(each) for each in slices if _is_plausible(each))
    scans = []
    for each in slices:
        if _modality(each) != (chosen or _modality(each)):
            found.left_out[f"{_modality(each)} series"] += 1
        elif not _is_plausible(each):
            found.left_out[IMPLAUSIBLE] += 1
        else:
            scans.append(_scan(each))
    others = sorted({_modality(each) for each in slices if _is_plausible(each)} - {chosen})
    if others:
        found.notes.append(
            f"a study reads one modality, here {chosen}. For the {' and '.join(others)} series begin another study, "
            f"in a folder of its own, with --modality {others[0]}"
        )
    _mark_shared_paths(scans)
    _separate_people(scans, found)
    found.scans = scans
    return found


def _separate_copies(series: Sequence[_Header]) -> list[list[_Header]]:
    """Return the files of a series, by folder if they are copies, or different scans whose UIDs were blanked.

    Folders of one series hold slices of one grid at different places.
    """
    folders = defaultdict(list)
    for header in series:
        folders[_place(header.file)].append(header)
    slices = [[one for header in each for one in header.one.slices] for each in folders.values()]
    places = [{one.position_mm for one in each} for each in slices]
    grids = {_grid(each[0]) for each in slices if each}
    is_one = len(grids) < 2 and sum(map(len, places)) == len(set().union(*places))
    return [list(series)] if is_one else list(folders.values())


def _grid(one: SliceHeader) -> tuple:
    """Return what all slices of a series share: pixels, directions, and the place across the slices, in 0.1 mm."""
    position = np.array(one.position_mm)
    across = position - (position @ one.normal) * one.normal
    numbers = (*one.pixel_mm_xy, *one.row_direction, *one.column_direction, *across)
    return (one.rows, one.columns, *(round(number, 1) + 0.0 for number in numbers))


def _headers(files: Iterable[Path], left_out: Counter[str]) -> Iterator[_Header]:
    """Yield the headers of all files that are DICOM; count those that are damaged."""
    for path in files:
        try:
            with _sources(path) as sources:
                for source in sources:
                    try:
                        header = _header(path, source)
                    except DAMAGED:
                        left_out[DAMAGED_FILES] += 1
                        continue
                    if header:
                        yield header
        except (*DAMAGED, ScanError):
            left_out["unreadable archives" if _is_archive(path) else DAMAGED_FILES] += 1


def _sources(path: Path) -> object:
    """Return a context of the files that a path stands for: those of an archive, or itself."""
    if _is_archive(path):
        return open_source(path, ARCHIVE_GB)
    named = path.suffix.lower() in (".dcm", ".dicom", ".ima")
    return nullcontext([SourceFile(partial(open, path, "rb"), named)])


def _header(path: Path, source: SourceFile) -> _Header | None:
    """Return the header of a file; None if it is not DICOM, or a DICOMDIR."""
    if not is_dicom(source):
        if source.named_dicom:
            raise ValueError("not DICOM")
        return None
    with source.open() as file:
        fields = [*HEADER_FIELDS, *IDENTITY_FIELDS]
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=fields)
    one = read_object(dataset, 0)
    if one.directory:
        return None
    return _Header(path, one, {name: _text(dataset, name) for name in IDENTITY_FIELDS})


def _text(dataset: Dataset, name: str) -> str:
    """Return the text of a field; empty if it is not stated, or damaged."""
    try:
        return str(dataset.get(name) or "").strip()
    except DAMAGED:
        return ""


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _place(file: Path) -> Path:
    return file if _is_archive(file) else file.parent


def _modality(series: Sequence[_Header]) -> str:
    return series[0].one.modality


def _is_plausible(series: Sequence[_Header]) -> bool:
    """Return whether a series can be a scan, as the reader has it."""
    modality = _modality(series)
    config = ScreeningConfig(modality=modality if modality in ("CT", "MR") else "CT")
    readable = [header.one for header in series if header.one.slices]
    return modality in ("CT", "MR") and bool(readable) and may_be_scan(readable, config)


def _scan(series: Sequence[_Header]) -> FoundScan:
    files = sorted({header.file for header in series})
    slices = [one for header in series for one in header.one.slices]
    identity = series[0].identity
    low_mm, high_mm = _extent_x_mm(slices)
    return FoundScan(
        path=_path_of(files),
        person=identity["PatientID"],
        examination=identity["StudyInstanceUID"] or str(_place(files[0])),
        institution=" ".join(identity["InstitutionName"].casefold().split()),
        series_uid=series[0].one.series_uid,
        modality=_modality(series),
        slices=len(slices),
        size=_size(slices),
        middle_x_mm=(low_mm + high_mm) / 2,
        width_mm=high_mm - low_mm,
        sex=_sex(identity),
        age=_age(identity),
        vendor=vendor_of(identity["Manufacturer"]),
        body_part=identity["BodyPartExamined"].upper(),
        side=_side(identity),
    )


def _path_of(files: Sequence[Path]) -> Path:
    """Return the path for the table: the file of a single one, else the folder of all."""
    if len(files) == 1:
        return files[0]
    return Path(os.path.commonpath([file.parent for file in files]))


def _size(slices: Sequence[SliceHeader]) -> tuple[int, ...]:
    return tuple(sorted((slices[0].columns, slices[0].rows, len(slices))))


def _extent_x_mm(slices: Iterable[SliceHeader]) -> tuple[float, float]:
    """Return the lowest and highest LPS coordinate x of the corners of all slices, mm."""
    corners = []
    for one in slices:
        across = np.array(one.row_direction) * one.pixel_mm_xy[0] * (one.columns - 1)
        down = np.array(one.column_direction) * one.pixel_mm_xy[1] * (one.rows - 1)
        corners += [(np.array(one.position_mm) + i * across + j * down)[0] for i in (0, 1) for j in (0, 1)]
    return float(min(corners)), float(max(corners))


def _sex(identity: Mapping[str, str]) -> str:
    sex = identity["PatientSex"].upper()
    return sex if sex in ("M", "F") else ""


def _age(identity: Mapping[str, str]) -> str:
    """Return the age in years as it may be printed, stated or from birth to examination; empty if unknown."""
    stated = identity["PatientAge"].upper()
    try:
        if len(stated) == 4 and stated[-1] in "YMWD":
            return printed_age(int(stated[:3]) // {"Y": 1, "M": 12, "W": 52, "D": 365}[stated[-1]])
        born, seen = (_day(identity, name) for name in ("PatientBirthDate", "StudyDate"))
        return printed_age((seen - born).days // _DAYS_OF_A_YEAR)
    except (ValueError, TypeError):
        return ""


def _day(identity: Mapping[str, str], name: str) -> date:
    text = identity[name]
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _side(identity: Mapping[str, str]) -> str:
    stated = (identity[name].upper() for name in ("ImageLaterality", "Laterality"))
    return next((_SIDES[side] for side in stated if side in _SIDES), "")


def _mark_shared_paths(scans: Sequence[FoundScan]) -> None:
    """Mark each scan at or below whose path there is another one: the table needs the series then."""
    counts = Counter(scan.path for scan in scans)
    shared = {path for path, count in counts.items() if count > 1}
    shared |= {parent for path in counts for parent in path.parents if parent in counts}
    for scan in scans:
        scan.shares_path = scan.path in shared


def _separate_people(scans: Sequence[FoundScan], found: Found) -> None:
    """Replace ids that stand for nobody by the examination."""
    examinations = Counter(person for person, _ in {(scan.person, scan.examination) for scan in scans})
    total = sum(examinations.values())
    blank = {
        person
        for person, count in examinations.items()
        if person.lower() in _NO_ID or (count > _MOST_OF_ONE and 2 * count > total)
    }
    count = 0
    for scan in scans:
        if scan.person in blank:
            scan.person, count = f"\0{scan.examination}", count + 1
    if count:
        found.notes.append(
            f"{count} series without a PatientID of their own: each examination counts as a person. Give people with "
            "several examinations one `subject`, or scores will be too good (leakage)"
        )
