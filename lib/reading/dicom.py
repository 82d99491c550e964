"""Reading a scan of any supported format as int16 (HU, or the signal of MR) on patient axes, with all findings.

A source is a folder (with subfolders), a zip archive of one, a single- or multi-frame DICOM file, or a NIfTI, NRRD or
MetaImage file. Bad data never raises an exception here: it becomes a reason for refusal.
"""

import logging
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lib.catalog.modalities import MODALITIES
from lib.catalog.reasons import Reason, is_rejected
from lib.errors import ScanError
from lib.imaging.grid import axis_letters, to_patient_axes
from lib.imaging.hounsfield import check_hu, hu_image
from lib.imaging.stored import fit_int16, signal_image
from lib.reading.acquisition import EMPTY, Acquisition, MrAcquisition, read_acquisition, read_mr_acquisition
from lib.reading.geometry import Geometry, Stack, check_obliquity, geometry_of, stack_slices
from lib.reading.headers import HEADER_FIELDS, DicomObject, SliceHeader, read_object
from lib.reading.image_files import read_image_file
from lib.reading.pixels import decode_slice
from lib.reading.regridding import straighten
from lib.reading.series import choose_series
from lib.reading.sources import SourceFile, is_dicom, is_dicom_source, open_source, require_readable_size
from lib.reading.verdicts import raise_rejected, reason_of
from lib.screening_settings import ScreeningConfig

# Exceptions of pydicom, its decoders and the zip reader on damaged data. Their text is not reported, because it may
# quote the header.
DAMAGED = (
    BytesLengthException,
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    UserWarning,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

# pydicom's warnings if an image has more pixels than its header states: one of the two is damaged.
_MORE_PIXELS = (
    "The decoded RLE segment contains non-conformant padding",
    "The pixel data is .* bytes long, which indicates it contains",
    "The number of bytes of pixel data is sufficient to contain",
    ".* frames have been found in the encapsulated pixel data",
)

_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A usable scan: `image` is int16 on patient axes, in HU for CT; `findings` are only warnings.

    `value_scale` times the values of an MR are those of its source.
    """

    image: sitk.Image
    geometry: Geometry
    acquisition: Acquisition | MrAcquisition
    findings: tuple[Reason, ...] = ()
    value_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The content of a source: the scan, if it can be assembled, its acquisition, and all findings."""

    scan: Scan | None = None
    acquisition: Acquisition | MrAcquisition | None = None
    findings: tuple[Reason, ...] = ()


@dataclass(kw_only=True)
class _Pixels:
    """The decoded slices of a stack, and the numbers (from 1) of slices with findings."""

    volume: np.ndarray | None
    undecodable: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    kept_padding: list[int] = field(default_factory=list)
    acquisition: Acquisition | MrAcquisition | None = None

    def take(self) -> np.ndarray:
        """Return the volume and release it, to save memory: a scan of a thousand slices is 0.5 GB."""
        volume, self.volume = self.volume, None
        return volume


def read_scan(path: str | Path, series_uid: str = "", config: ScreeningConfig | None = None) -> Scan:
    """Read the scan at `path` (see the module's text) as int16 on patient axes.

    Args:
        path: Folder, zip archive or file.
        series_uid: SeriesInstanceUID of the requested series; needed only if several could be the scan.
        config: Limits of geometry; the defaults of `ScreeningConfig` if not given.

    Raises:
        ScanError: the scan cannot be used; `code` is that of the first refusal, the text names all.
    """
    survey = survey_scan(path, series_uid, config or ScreeningConfig())
    raise_rejected(survey.findings)
    return replace(survey.scan, findings=survey.findings)


def survey_scan(path: str | Path, series_uid: str, config: ScreeningConfig) -> Survey:
    """Read the scan at `path` as far as possible and return it with all findings; never raises on bad data."""
    path = Path(path)
    try:
        if not is_dicom_source(path):
            return _survey_image_file(path, config)
        with quiet_pydicom():
            return _survey_dicom(path, series_uid.strip(), config)
    except ScanError as error:
        return Survey(findings=(reason_of(error),))


def _survey_image_file(path: Path, config: ScreeningConfig) -> Survey:
    image, axes = read_image_file(path, config.max_gb)
    value_scale = 1.0
    if config.modality == "CT":
        image, findings = hu_image(image)
        findings += check_hu(sitk.GetArrayViewFromImage(image))
    else:
        image, value_scale, findings = signal_image(image)
    geometry = geometry_of(image, stored_axes=axes, source=_format(path), slices_read=image.GetDepth())
    findings += check_obliquity(geometry)
    scan = Scan(image=image, geometry=geometry, acquisition=EMPTY[config.modality], value_scale=value_scale)
    return Survey(scan=scan, acquisition=scan.acquisition, findings=tuple(findings))


def _format(path: Path) -> str:
    name = path.name.lower()
    formats = {(".nii", ".nii.gz"): "nifti", (".nrrd", ".nhdr"): "nrrd", (".mha", ".mhd"): "metaimage"}
    return next((kind for suffixes, kind in formats.items() if name.endswith(suffixes)), "image")


def _survey_dicom(path: Path, series_uid: str, config: ScreeningConfig) -> Survey:
    with open_source(path, config.max_gb) as files:
        objects, findings = _read_headers(files, config.max_gb)
        chosen, more = choose_series(objects, series_uid, config)
        findings += more
        if not chosen:
            return Survey(findings=tuple(findings))
        slices = [one for each in chosen for one in each.slices]
        findings += _check_series(chosen, slices, config)
        if not slices:
            return Survey(findings=tuple(findings))
        _require_size(slices, config)
        stack, more = stack_slices(slices, config)
        findings += more
        pixels = _read_pixels(files, stack, config.modality, assemble=not is_rejected(more))
    findings += _check_pixels(pixels, len(stack.slices))
    scan = _put_together(stack, pixels, config)
    if scan:
        findings += check_obliquity(scan.geometry)
        if config.modality == "CT" and not any(reason.code == "wrong_modality" for reason in findings):
            findings += check_hu(sitk.GetArrayViewFromImage(scan.image))
    return Survey(scan=scan, acquisition=pixels.acquisition, findings=tuple(findings))


def _require_size(slices: Sequence[SliceHeader], config: ScreeningConfig) -> None:
    """Refuse a scan that would not fit into memory, before memory is allocated."""
    size_gb = 2e-9 * len(slices) * max(one.rows * one.columns for one in slices)
    if size_gb > config.max_gb:
        raise ScanError(
            "too_large",
            f"{len(slices)} slices of up to {size_gb / len(slices):.3g} GB; at most {config.max_gb:g} GB is allowed",
        )


def _put_together(stack: Stack, pixels: _Pixels, config: ScreeningConfig) -> Scan | None:
    """Return the scan, or None if slices are missing or do not form a volume. Takes the volume out of `pixels`."""
    if pixels.volume is None or pixels.undecodable or stack.step_mm == 0.0:
        return None
    volume, value_scale = fit_int16(pixels.take())
    outside = MODALITIES[config.modality].outside
    stored = straighten(volume, stack, config.max_gb, outside) if stack.corrected else stack.image(volume)
    del volume  # a thousand slices are 0.5 GB
    image = to_patient_axes(stored)
    geometry = geometry_of(
        image, stored_axes=axis_letters(stored), source="dicom", slices_read=len(stack.slices)
    )
    return Scan(image=image, geometry=geometry, acquisition=pixels.acquisition, value_scale=value_scale)


def _read_headers(files: Sequence[SourceFile], max_gb: float) -> tuple[list[DicomObject], list[Reason]]:
    """Return the headers of the DICOM files, with findings on unreadable and other files."""
    objects, foreign, damaged = [], 0, 0
    for index, source in enumerate(files):
        try:
            if is_dicom(source):
                require_readable_size(source, max_gb)
                objects.append(_read_header(source, index))
            elif source.named_dicom:
                damaged += 1
            else:
                foreign += 1
        except DAMAGED:
            damaged += 1
    findings = []
    if damaged:
        findings.append(
            Reason("unreadable_file", f"{damaged} of {len(files)} files are damaged or truncated")
        )
    if foreign and (objects or damaged):
        findings.append(Reason("foreign_files", f"{foreign} of {len(files)} files are not DICOM"))
    if not objects and not damaged:
        findings.append(Reason("no_dicom_found", f"none of {len(files)} files is DICOM"))
    return objects, findings


def _read_header(source: SourceFile, index: int) -> DicomObject:
    with source.open() as file:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(HEADER_FIELDS))
        return read_object(header, index)


def _check_series(
    chosen: Sequence[DicomObject], slices: Sequence[SliceHeader], config: ScreeningConfig
) -> list[Reason]:
    """Check each header by itself; slice positions are checked by `stack_slices`."""
    findings = [
        Reason(one.problem.code, f"a file with {one.problem}") for one in _first_of_each_problem(chosen)
    ]
    modalities = sorted({one.modality for one in chosen})
    if modalities != [config.modality]:
        findings.append(
            Reason("wrong_modality", f"modality {', '.join(modalities)} instead of {config.modality}")
        )
    if len(slices) < config.min_slices:
        findings.append(
            Reason("too_few_slices", f"{len(slices)} slices; at least {config.min_slices} are needed")
        )
    burned_in = sum(one.burned_in for one in chosen)
    if burned_in:
        findings.append(
            Reason("burned_in_annotation", f"{burned_in} of {len(chosen)} headers declare burned-in text")
        )
    if config.modality == "MR" and not all(one.magnitude for one in chosen):
        others = sum(not one.magnitude for one in chosen)
        findings.append(
            Reason(
                "not_magnitude",
                f"{others} of {len(chosen)} files are phase, real or imaginary images, or maps",
            )
        )
    without = sum(one.slope is None or one.intercept is None for one in slices)
    if without and config.modality == "CT" == modalities[0]:
        findings.append(Reason("no_rescale", f"{without} of {len(slices)} slices without slope or intercept"))
    return findings


def _first_of_each_problem(chosen: Sequence[DicomObject]) -> list[DicomObject]:
    return list({str(one.problem): one for one in chosen if one.problem}.values())


def _read_pixels(files: Sequence[SourceFile], stack: Stack, modality: str, *, assemble: bool) -> _Pixels:
    """Decode every slice of `stack`; put them into one volume (slice, row, column) if `assemble`."""
    first, kind = stack.slices[0], np.int16 if modality == "CT" else np.float32
    volume = np.empty((len(stack.slices), first.rows, first.columns), kind) if assemble else None
    pixels = _Pixels(volume=volume)
    dataset, dataset_file = None, -1
    for number, header in enumerate(stack.slices, start=1):
        try:
            if header.file != dataset_file:
                dataset, dataset_file = _read_dataset(files[header.file]), header.file
            decoded = decode_slice(dataset, header, MODALITIES[modality])
        except DAMAGED:
            pixels.undecodable.append(number)
            continue
        if volume is not None:
            volume[number - 1] = decoded.values
        if decoded.blank:
            pixels.blank.append(number)
        if decoded.kept_padding:
            pixels.kept_padding.append(number)
        if pixels.acquisition is None:
            step_mm = round(stack.step_mm, 6) if assemble else None
            pixels.acquisition = _acquisition(dataset, step_mm, modality)
    return pixels


def _acquisition(dataset: Dataset, step_mm: float | None, modality: str) -> Acquisition | MrAcquisition:
    """Return the acquisition of a slice; a damaged header may not state it."""
    read = read_acquisition if modality == "CT" else read_mr_acquisition
    try:
        return read(dataset, step_mm)
    except DAMAGED:
        return replace(EMPTY[modality], slice_increment_mm=step_mm)


def _read_dataset(source: SourceFile) -> Dataset:
    with source.open() as file:
        dataset = pydicom.dcmread(file, force=True)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        # a file without preamble: pydicom has detected the encoding
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _check_pixels(pixels: _Pixels, count: int) -> list[Reason]:
    findings = []
    for code, numbers, words in (
        ("undecodable_pixels", pixels.undecodable, "cannot be decoded"),
        ("blank_slices", pixels.blank, "are blank"),
        ("padding_in_tissue_range", pixels.kept_padding, "declare a padding value in the range of tissue"),
    ):
        if numbers:
            more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
            listed = ", ".join(str(number) for number in numbers[:_LISTED])
            findings.append(Reason(code, f"{len(numbers)} of {count} slices {words} (slices {listed}{more})"))
    return findings


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Suppress pydicom's warnings: they quote headers, which may identify a person."""
    logger = pydicom.config.logger
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for message in _MORE_PIXELS:
                warnings.filterwarnings("error", message=message)
            yield
    finally:
        logger.setLevel(level)
