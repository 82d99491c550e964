"""Acquisition of a scan: the few header fields that explain intensities; none identifies a person.

Three texts of a header are kept: manufacturer, model and kernel. They are free text and may contain anything, so
`_safe_text` filters them.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

_MAX_TEXT = 64  # characters; DICOM's short and long strings are no longer

# raised by pydicom for an element whose bytes do not fit its type
_UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError),
    BytesLengthException,
    struct.error,
)

# Macros of the functional groups of an enhanced file in which the standard (PS3.3, C.7.6.16, C.8.13.5, C.8.15.3) puts
# the fields that a single-frame header has at its top; legacy converted files keep them as unassigned attributes.
_MACROS = (
    "CTXRayDetailsSequence",
    "CTExposureSequence",
    "CTReconstructionSequence",
    "CTTableDynamicsSequence",
    "CTAcquisitionDetailsSequence",
    "PixelMeasuresSequence",
    "ContrastBolusUsageSequence",
    "MRTimingAndRelatedParametersSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)

# Elements that identify a person, place or time, besides all person names and dates (recognised by type).
_IDENTIFYING_TYPES = {"PN", "DA", "DT"}
_IDENTIFYING = {
    *("PatientID", "OtherPatientIDs", "IssuerOfPatientID", "MilitaryRank"),
    *("PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation", "RegionOfResidence"),
    *("Occupation", "PatientComments", "AdditionalPatientHistory", "ImageComments", "StudyComments"),
    *("MedicalRecordLocator", "AdmissionID", "AccessionNumber", "StudyID", "RequestedProcedureID"),
    *("ScheduledProcedureStepID", "PerformedProcedureStepID", "FillerOrderNumberImagingServiceRequest"),
    *("PlacerOrderNumberImagingServiceRequest", "PersonAddress", "PersonTelephoneNumbers"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "RequestingService"),
    *("StationName", "DeviceSerialNumber", "ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers"),
    *("CurrentPatientLocation", "PatientInstitutionResidence", "ClinicalTrialSubjectID"),
    *("ClinicalTrialSubjectReadingID", "ClinicalTrialSiteID", "ClinicalTrialSiteName"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID"),
}
_DEEPEST = 8  # nested sequences; deeper ones are not read
_WORD = re.compile(r"[^\W_]{3,}")

# Words in manufacturers' names. Names of hospitals contain them too ("University Medical Center" scans with "GE
# MEDICAL SYSTEMS"), so they identify neither.
_MAKERS_WORDS = {
    *("siemens", "healthineers", "philips", "toshiba", "canon", "hitachi", "fujifilm", "shimadzu", "neusoft"),
    *("samsung", "general", "electric", "united", "imaging", "medical", "systems", "system", "healthcare"),
    *("health", "care", "corporation", "company", "technologies", "technology", "international", "inc"),
}

# Terms of ScanningSequence and SequenceVariant (PS3.3, C.8.3.1), and of EchoPulseSequence (C.8.13.4) in the former
_MR_TERMS = frozenset(("SE", "IR", "GR", "EP", "RM", "SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"))
_ECHOES = {"SPIN": "SE", "GRADIENT": "GR", "BOTH": "SE/GR"}
_FAT_OPTIONS = frozenset(("FS", "SFS", "FAT_SAT", "FATSAT", "FAT SAT", "SPIR", "SPAIR", "WE"))

_SAYS_NO_CONTRAST = {
    "no",
    "none",
    "n",
    "without",
    "native",
    "nativ",
    "0",
    "keine",
    "unenhanced",
    "non-contrast",
}


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Scanner and protocol of a series; None if the header does not state it. Contrast is yes, no or unknown."""

    manufacturer: str | None = None
    model: str | None = None
    kvp: float | None = None
    mas: float | None = None
    kernel: str | None = None
    slice_thickness_mm: float | None = None
    slice_increment_mm: float | None = None
    pitch: float | None = None
    table_height_mm: float | None = None
    field_of_view_mm: float | None = None
    contrast: str = "unknown"

    def to_json(self) -> dict[str, str | float | None]:
        """Return the fields as a JSON object without NaN."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class MrAcquisition:
    """Scanner and sequence of an MR series; None if the header does not state it.

    `sequence` and `variant` are terms of the standard, several joined by "/"; `fat_suppressed` and `contrast` are
    yes, no or unknown.
    """

    manufacturer: str | None = None
    model: str | None = None
    field_tesla: float | None = None
    sequence: str | None = None
    variant: str | None = None
    tr_ms: float | None = None
    te_ms: float | None = None
    flip_degrees: float | None = None
    fat_suppressed: str = "unknown"
    contrast: str = "unknown"
    slice_thickness_mm: float | None = None
    slice_increment_mm: float | None = None

    def to_json(self) -> dict[str, str | float | None]:
        """Return the fields as a JSON object without NaN."""
        return asdict(self)


EMPTY = {"CT": Acquisition(), "MR": MrAcquisition()}


def read_mr_acquisition(dataset: Dataset, slice_increment_mm: float | None) -> MrAcquisition:
    """Return what the header of one slice states of an MR acquisition; as `read_acquisition`."""
    identifying = frozenset(_identifying_words(dataset, _DEEPEST)) - _MAKERS_WORDS
    return MrAcquisition(
        manufacturer=_safe_text(dataset, "Manufacturer", identifying),
        model=_safe_text(dataset, "ManufacturerModelName", identifying),
        field_tesla=_positive(dataset, "MagneticFieldStrength"),
        sequence=_terms(dataset, "ScanningSequence") or _enhanced_sequence(dataset),
        variant=_terms(dataset, "SequenceVariant"),
        tr_ms=_positive(dataset, "RepetitionTime"),
        te_ms=_positive(dataset, "EchoTime") or _positive(dataset, "EffectiveEchoTime"),
        flip_degrees=_positive(dataset, "FlipAngle"),
        fat_suppressed=_fat_suppressed(dataset),
        contrast=_contrast(dataset),
        slice_thickness_mm=_positive(dataset, "SliceThickness"),
        slice_increment_mm=slice_increment_mm,
    )


def _terms(dataset: Dataset, keyword: str) -> str | None:
    """Return the terms of the standard that an element holds, joined by "/"; any other text is not kept."""
    found = [str(part).strip().upper() for part in _parts(_value(dataset, keyword)) if part]
    return "/".join(part for part in found if part in _MR_TERMS) or None


def _enhanced_sequence(dataset: Dataset) -> str | None:
    """Return the sequence that an enhanced header states in words of its own, as the older terms."""
    echo = str(_value(dataset, "EchoPulseSequence") or "").strip().upper()
    return _ECHOES.get(echo)


def _fat_suppressed(dataset: Dataset) -> str:
    """Return whether fat was suppressed, by the scan options or, in enhanced headers, by what was suppressed."""
    selected = str(_value(dataset, "SpectrallySelectedSuppression") or "").strip().upper()
    if selected:
        return "yes" if "FAT" in selected else "no"
    options = [str(part).strip().upper() for part in _parts(_value(dataset, "ScanOptions")) if part]
    if not options:
        return "unknown"
    return "yes" if any(part in _FAT_OPTIONS for part in options) else "no"


def read_acquisition(dataset: Dataset, slice_increment_mm: float | None) -> Acquisition:
    """Return the acquisition that the header of one slice states.

    A 0 where only positive numbers make sense (anonymisers write it) counts as not stated, and so does an element
    that cannot be read.

    Args:
        dataset: The whole header of a slice: single-frame, or enhanced, of which the first frame is taken where
            frames differ.
        slice_increment_mm: Distance of the slices, measured from their positions, mm.
    """
    identifying = frozenset(_identifying_words(dataset, _DEEPEST)) - _MAKERS_WORDS
    return Acquisition(
        manufacturer=_safe_text(dataset, "Manufacturer", identifying),
        model=_safe_text(dataset, "ManufacturerModelName", identifying),
        kvp=_positive(dataset, "KVP"),
        mas=_exposure_mas(dataset),
        kernel=_safe_text(dataset, "ConvolutionKernel", identifying),
        slice_thickness_mm=_positive(dataset, "SliceThickness"),
        slice_increment_mm=slice_increment_mm,
        pitch=_positive(dataset, "SpiralPitchFactor"),
        table_height_mm=_number(dataset, "TableHeight"),
        field_of_view_mm=_positive(dataset, "ReconstructionDiameter")
        or _positive(dataset, "ReconstructionFieldOfView"),
        contrast=_contrast(dataset),
    )


def _value(dataset: Dataset, keyword: str) -> object:
    """Return a value from the header's top or, of an enhanced file, from a macro of its functional groups."""
    for place in _places(dataset):
        value = _read(place, keyword)
        if value not in (None, ""):
            return value
    return None


def _places(dataset: Dataset) -> Iterator[Dataset]:
    """Return the header, then the macros that hold for all frames, then those of the first frame."""
    yield dataset
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in _items(dataset, groups)[:1]:
            for macro in _MACROS:
                yield from _items(group, macro)[:1]


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(_read(dataset, keyword) or ())
    except TypeError:  # not a valid sequence
        return []


def _read(dataset: Dataset, keyword: str) -> object:
    try:
        return dataset.get(keyword)
    except _UNREADABLE:
        return None


def _parts(value: object) -> list:
    """Return the values of an element that may hold several."""
    return list(value) if isinstance(value, MultiValue | list) else [value]


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Return a finite number; if there are several values, they must agree (width and height of a square)."""
    numbers = set()
    for part in _parts(_value(dataset, keyword)):
        try:
            numbers.add(float(part))
        except (TypeError, ValueError, OverflowError):
            return None
    if len(numbers) != 1:
        return None
    number = numbers.pop()
    return number if math.isfinite(number) else None


def _positive(dataset: Dataset, keyword: str) -> float | None:
    number = _number(dataset, keyword)
    return number if number is not None and number > 0 else None


def _exposure_mas(dataset: Dataset) -> float | None:
    """Return the exposure in mAs: as stated, from microampere seconds, or as tube current times time."""
    exposure_mas = _positive(dataset, "Exposure") or _positive(dataset, "ExposureInmAs")
    if exposure_mas:
        return exposure_mas
    exposure_uas = _positive(dataset, "ExposureInuAs")
    if exposure_uas:
        return exposure_uas / 1000.0
    current_ma = _positive(dataset, "XRayTubeCurrent") or _positive(dataset, "XRayTubeCurrentInmA")
    time_ms = _positive(dataset, "ExposureTime") or _positive(dataset, "ExposureTimeInms")
    return current_ma * time_ms / 1000.0 if current_ma and time_ms else None


def _safe_text(dataset: Dataset, keyword: str, identifying: frozenset[str]) -> str | None:
    """Return a text of the header if it describes only the scanner, else None.

    At most _MAX_TEXT letters, digits and a few other characters are kept. The whole text is dropped if one of its
    words of three or more letters or digits also occurs, ignoring case, in an identifying element: names, ids, dates,
    addresses, institution, department, station, serial number, comments on the person (`_IDENTIFYING`). Descriptions
    of study, series, protocol and procedure are not compared: they commonly repeat the kernel and the scanner ("Hip
    2.0 B30s"), and names in them also occur in the elements for names.
    """
    parts = [part for part in _parts(_value(dataset, keyword)) if isinstance(part, str)]
    letters = "".join(
        letter if letter.isalnum() or letter in " ._+-/()" else " " for letter in "/".join(parts)
    )
    # some programs read a table cell that begins with a sign as a formula
    text = " ".join(letters.split()).lstrip(" ._+-/()")[:_MAX_TEXT].strip()
    return text if text and identifying.isdisjoint(_words(letters)) else None


def _identifying_words(dataset: Dataset, depth: int) -> Iterator[str]:
    """Return the words of all identifying elements, including sequences but not the individual frames."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating a dataset itself reads every element
        if not dictionary_has_tag(tag):
            continue
        keyword, kind = dictionary_keyword(tag), dictionary_VR(tag)
        if kind == "SQ" and depth and keyword != "PerFrameFunctionalGroupsSequence":
            for item in _items(dataset, keyword):
                yield from _identifying_words(item, depth - 1)
        elif kind in _IDENTIFYING_TYPES or keyword in _IDENTIFYING:
            for part in _parts(_read(dataset, keyword)):
                yield from _words(str(part))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _contrast(dataset: Dataset) -> str:
    """Return whether contrast medium was given. The agent's name is free text and is not kept."""
    administered = str(_value(dataset, "ContrastBolusAgentAdministered") or "").strip().lower()
    if administered in ("yes", "no"):
        return administered
    if _items(dataset, "ContrastBolusAgentSequence"):
        return "yes"
    agent = str(_value(dataset, "ContrastBolusAgent") or "").strip().lower()
    if not agent:
        return "unknown"
    return "no" if agent in _SAYS_NO_CONTRAST else "yes"
