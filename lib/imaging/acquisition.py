"""How a scan was made: the few header fields that explain intensities, and none that names a person."""

import math
from dataclasses import asdict, dataclass

from pydicom.dataset import Dataset

_MAX_TEXT = 64  # characters; DICOM's short and long strings are no longer

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
    """Scanner and protocol of a series; None where the header does not say. Contrast is yes, no or unknown."""

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


def read_acquisition(dataset: Dataset, slice_increment_mm: float | None) -> Acquisition:
    """Return the acquisition that the header of one slice states.

    Args:
        dataset: Header of a slice (single frame or enhanced; of the latter the shared groups are searched too).
        slice_increment_mm: Distance of the slices, measured from their positions, mm.
    """
    return Acquisition(
        manufacturer=_text(dataset, "Manufacturer"),
        model=_text(dataset, "ManufacturerModelName"),
        kvp=_number(dataset, "KVP"),
        mas=_exposure_mas(dataset),
        kernel=_text(dataset, "ConvolutionKernel"),
        slice_thickness_mm=_number(dataset, "SliceThickness"),
        slice_increment_mm=slice_increment_mm,
        pitch=_number(dataset, "SpiralPitchFactor"),
        table_height_mm=_number(dataset, "TableHeight"),
        field_of_view_mm=_number(dataset, "ReconstructionDiameter"),
        contrast=_contrast(dataset),
    )


def _value(dataset: Dataset, keyword: str) -> object:
    """Return a value from the header's top or, of an enhanced file, from the groups shared by all frames."""
    if keyword in dataset:
        return dataset.get(keyword)
    for shared in dataset.get("SharedFunctionalGroupsSequence") or ():
        for element in shared:
            if element.VR == "SQ" and element.value and keyword in element.value[0]:
                return element.value[0].get(keyword)
    return None


def _number(dataset: Dataset, keyword: str) -> float | None:
    value = _value(dataset, keyword)
    try:
        number = float(value) if value is not None else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = _value(dataset, keyword)
    if value is None:
        return None
    parts = [value] if isinstance(value, str) else list(value)
    text = "/".join(str(part) for part in parts)
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_MAX_TEXT] or None


def _exposure_mas(dataset: Dataset) -> float | None:
    """Return the exposure in mAs: as stated, from microampere seconds, or as tube current times time."""
    exposure_mas = _number(dataset, "Exposure")
    if exposure_mas:
        return exposure_mas
    exposure_uas = _number(dataset, "ExposureInuAs")
    if exposure_uas:
        return exposure_uas / 1000.0
    current_ma, time_ms = _number(dataset, "XRayTubeCurrent"), _number(dataset, "ExposureTime")
    return current_ma * time_ms / 1000.0 if current_ma and time_ms else None


def _contrast(dataset: Dataset) -> str:
    """Return whether contrast medium was given. The agent's name is free text and goes no further."""
    agent = _value(dataset, "ContrastBolusAgent")
    if agent is None or not str(agent).strip():
        return "unknown"
    return "no" if str(agent).strip().lower() in _SAYS_NO_CONTRAST else "yes"
