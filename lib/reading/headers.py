"""DICOM headers: the series of each slice, its position, and its scaling to HU."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, MediaStorageDirectoryStorage

from lib.errors import ScanError

# The only fields that are read; names, ids and dates stay in the file.
HEADER_FIELDS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "ImageType",
    "BurnedInAnnotation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "EchoTime",
    "RepetitionTime",
    "ComplexImageComponent",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)

# CT, MR and PET image storage; enhanced and legacy converted enhanced: standard PS3.4, B.5.
_SINGLE_FRAME = {f"1.2.840.10008.5.1.4.1.1.{code}" for code in ("2", "4", "128")}
_MULTI_FRAME = {f"1.2.840.10008.5.1.4.1.1.{code}" for code in ("2.1", "2.2", "4.1", "4.4", "130", "128.1")}

# Secondary captures: screenshots and scanned paper, of one or several frames.
_CAPTURE = {f"1.2.840.10008.5.1.4.1.1.7{code}" for code in ("", ".1", ".2", ".3", ".4")}

# Current defined terms of Modality (PS3.3, C.7.3.1.1.1); any other text is not shown.
_MODALITY_TERMS = (
    "AR AU BI BMD CR CT CTPROTOCOL DG DMS DOC DX ECG ES FID GM HC IO IVOCT IVUS KER KO LS M3D MG MR NM "
    "OAM OCT OP OPM OPT OPTBSV OT PA PLAN POS PR PT PX REG RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT "
    "SC SEG SM SMR SR STAIN TG US VA XA XAPROTOCOL XC"
)

# Types of images computed from several slices, which do not show the tissue at their position.
_PROJECTIONS = {"MIP", "MINIP", "MIN_IP", "MAX_IP", "PROJECTION IMAGE"}

# Types of MR images that do not show the magnitude of the signal.
_NOT_MAGNITUDE = {
    *("P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "ADC", "SUB", "SUBTRACT", "SUBTRACTION"),
    *("T1 MAP", "T2 MAP", "T2_STAR MAP"),
}

# Anonymisers may blank the SOP class; the modality then decides whether a file is a slice.
_SLICE_MODALITIES = {"CT", "MR", "PT"}

_FURTHEST_MM = 1e5  # a hundred metres from the scanner's origin

# For length and perpendicularity of direction cosines, which headers round to three decimals at worst.
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class SliceHeader:
    """Position and scaling of one slice (a file, or a frame of one). Coordinates are LPS in mm."""

    file: int  # index into the files of the source
    frame: int  # index of the frame in the file; 0 in single-frame files
    columns: int
    rows: int
    pixel_mm_xy: tuple[float, float]  # distance of columns, distance of rows
    position_mm: tuple[float, float, float]  # centre of the first pixel
    row_direction: tuple[float, float, float]  # in which column numbers increase, unit vector
    column_direction: tuple[float, float, float]  # in which row numbers increase, unit vector
    slope: float | None
    intercept: float | None

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice, towards the left, the back or the head, whichever is nearest."""
        normal = np.cross(self.row_direction, self.column_direction)
        return normal * np.sign(normal[np.abs(normal).argmax()])


@dataclass(frozen=True, kw_only=True)
class DicomObject:
    """One DICOM file: its series and kind, and its slices or why they cannot be read."""

    kind: str  # slice, localizer, capture or other
    series_uid: str
    series_number: int | None
    modality: str
    slices: tuple[SliceHeader, ...] = ()
    problem: ScanError | None = None
    burned_in: bool = False  # whether the header says that text is burned into the pixels
    directory: bool = False  # whether it is a DICOMDIR, a table of contents of other files
    magnitude: bool = (
        True  # not a phase, real or imaginary image of MR, nor a map computed from several images
    )
    echo_ms: float | None = None
    repetition_ms: float | None = None


def read_object(dataset: Dataset, file: int) -> DicomObject:
    """Return the content of the header `dataset` of file number `file`.

    Raises:
        ValueError: the header ends before the element that names the series.
    """
    directory = _is_directory(dataset)
    # elements are ordered by tag: with a later element the UID was removed, without one the header is truncated
    if not directory and max(dataset.keys(), default=0) < Tag("SeriesInstanceUID"):
        raise ValueError("the header ends before SeriesInstanceUID")
    kind = _kind(dataset)
    slices: tuple[SliceHeader, ...] = ()
    problem = None
    if kind == "slice":
        try:
            slices = tuple(_slices(dataset, file))
        except ScanError as error:
            problem = error
    return DicomObject(
        kind=kind,
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        series_number=_series_number(dataset),
        modality=_modality(dataset),
        slices=slices,
        problem=problem,
        burned_in=str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES",
        directory=directory,
        magnitude=_is_magnitude(dataset),
        echo_ms=_stated_ms(dataset, "EchoTime"),
        repetition_ms=_stated_ms(dataset, "RepetitionTime"),
    )


def _is_directory(dataset: Dataset) -> bool:
    """Return whether the file is a DICOMDIR, a table of contents of other files."""
    return dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def _is_magnitude(dataset: Dataset) -> bool:
    """Return whether an MR image shows the magnitude of the signal."""
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or ())
    places = [dataset, *_group_items([*(dataset.get("SharedFunctionalGroupsSequence") or ()), *frames])]
    components = {str(place.get("ComplexImageComponent") or "MAGNITUDE").strip().upper() for place in places}
    kinds = {str(kind).strip().upper() for kind in _listed(dataset.get("ImageType"))}
    return components == {"MAGNITUDE"} and not kinds & _NOT_MAGNITUDE


def _stated_ms(dataset: Dataset, field: str) -> float | None:
    """Return a time of the header's top; None if it is not stated or cannot be read."""
    try:
        return _optional_number([dataset], field)
    except ScanError:
        return None


def _series_number(dataset: Dataset) -> int | None:
    try:
        return int(dataset.get("SeriesNumber"))
    except (TypeError, ValueError):
        return None


def _modality(dataset: Dataset) -> str:
    """Return the modality if it is a term of the standard, so that no free text is shown."""
    modality = str(dataset.get("Modality") or "")
    return modality if modality in _MODALITY_TERMS.split() else "unknown"


def _kind(dataset: Dataset) -> str:
    sop_class = UID(str(dataset.get("SOPClassUID") or ""))
    image_type = [str(value).upper() for value in _listed(dataset.get("ImageType"))]
    if sop_class in _CAPTURE or "SCREEN SAVE" in image_type:
        return "capture"
    modality_tells = not sop_class and dataset.get("Modality") in _SLICE_MODALITIES
    if not (sop_class in _SINGLE_FRAME | _MULTI_FRAME or modality_tells):
        return "other"
    if _PROJECTIONS & set(image_type):
        return "other"
    return "localizer" if "LOCALIZER" in image_type else "slice"


def _listed(value: object) -> Sequence:
    if value is None or isinstance(value, str):
        return [value or ""]
    return list(value) if isinstance(value, Sequence) or hasattr(value, "__iter__") else [value]


def _slices(dataset: Dataset, file: int) -> list[SliceHeader]:
    if (dataset.get("SamplesPerPixel") or 1) != 1:
        raise ScanError("incomplete_header", "a slice in colour")
    if (dataset.get("PhotometricInterpretation") or "MONOCHROME2") not in ("MONOCHROME1", "MONOCHROME2"):
        raise ScanError("incomplete_header", "a slice that is not greyscale")
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        return _frames(dataset, file)
    if (dataset.get("NumberOfFrames") or 1) > 1:
        raise ScanError("unsupported_frames", f"{dataset.NumberOfFrames} frames without individual positions")
    return [_slice(dataset, [dataset], file, 0)]


def _frames(dataset: Dataset, file: int) -> list[SliceHeader]:
    """Return the slices of an enhanced file; fields that a frame lacks are taken from the shared groups."""
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    if (dataset.get("NumberOfFrames") or len(frames)) != len(frames):
        found = f"{dataset.NumberOfFrames} frames, of which {len(frames)} have a position"
        raise ScanError("unsupported_frames", found)
    try:
        return [
            _slice(dataset, _group_items([frame, *shared]), file, index) for index, frame in enumerate(frames)
        ]
    except ScanError as error:
        raise ScanError("unsupported_frames", f"{len(frames)} frames; {error}") from None


def _group_items(groups: Sequence[Dataset]) -> list[Dataset]:
    return [
        element.value[0] for group in groups for element in group if element.VR == "SQ" and len(element.value)
    ]


def _slice(dataset: Dataset, places: Sequence[Dataset], file: int, frame: int) -> SliceHeader:
    """Return the slice; its position and scaling come from the first of `places` that has the field."""
    row_mm, column_mm = _numbers(places, "PixelSpacing", 2)
    orientation = _numbers(places, "ImageOrientationPatient", 6)
    columns, rows = (int(_numbers([dataset], field, 1)[0]) for field in ("Columns", "Rows"))
    if min(row_mm, column_mm, columns, rows) <= 0:
        raise ScanError("incomplete_header", "a size or pixel size that is not positive")
    position_mm = _numbers(places, "ImagePositionPatient", 3)
    if max(map(abs, position_mm)) > _FURTHEST_MM:
        raise ScanError("incomplete_header", "a position beyond the reach of a scanner")
    if dataset.get("Modality") == "CT" and not _scales_to_hu(places):
        raise ScanError("no_rescale", "stored values that are not rescaled to HU (RescaleType)")
    slope = _optional_number(places, "RescaleSlope")
    if dataset.get("Modality") == "CT" and slope is not None and slope <= 0:
        raise ScanError("no_rescale", "a RescaleSlope that is not positive")
    row_direction, column_direction = _directions(orientation)
    return SliceHeader(
        file=file,
        frame=frame,
        columns=columns,
        rows=rows,
        pixel_mm_xy=(column_mm, row_mm),
        position_mm=position_mm,
        row_direction=row_direction,
        column_direction=column_direction,
        slope=slope,
        intercept=_optional_number(places, "RescaleIntercept"),
    )


def _scales_to_hu(places: Sequence[Dataset]) -> bool:
    """Return whether RescaleType is HU or unspecified (absent, US)."""
    stated = next((place.get("RescaleType") for place in places if "RescaleType" in place), None)
    return str(stated or "HU").strip().upper() in ("HU", "US")


def _directions(orientation: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(row @ column)) > _UNIT_TOLERANCE:
        raise ScanError(
            "incomplete_header", "directions of rows and columns that are not perpendicular units"
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    return tuple(row.tolist()), tuple((column / np.linalg.norm(column)).tolist())


def _numbers(places: Sequence[Dataset], field: str, count: int) -> tuple[float, ...]:
    for place in places:
        if _states(place, field):
            try:
                numbers = tuple(float(value) for value in _listed(place.get(field)))
            except (TypeError, ValueError):
                numbers = ()
            if len(numbers) == count and all(math.isfinite(number) for number in numbers):
                return numbers
            raise ScanError("incomplete_header", f"a {field} that is not {count} number(s)")
    raise ScanError("incomplete_header", f"no {field}")


def _optional_number(places: Sequence[Dataset], field: str) -> float | None:
    return _numbers(places, field, 1)[0] if any(_states(place, field) for place in places) else None


def _states(place: Dataset, field: str) -> bool:
    """Return whether a header states a field; an empty one, as anonymisers leave it, does not count."""
    try:
        return field in place and not place[field].is_empty
    except (TypeError, ValueError):
        return True  # a damaged value
