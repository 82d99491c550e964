"""Spoilt scans that a reader must refuse, in the registry BAD.

Every variant has one defect. Missing slices at an end of a stack are not among them, because such a series cannot be
distinguished from a shorter scan.
"""

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from series_variants import (
    OTHER_SERIES_UID,
    SYNTAXES,
    Source,
    Variant,
    Writer,
    add_variant,
    base_hu_zyx,
    base_scan,
    base_series,
    change_syntax,
    enhanced,
    nifti_content,
    register,
    rescale,
    stored_values,
    write_base,
    write_enhanced,
    write_nifti,
    write_slices,
    write_zip,
)
from tiny_series import set_pixels, write_series

BAD: dict[str, Variant] = {}

Defect = Callable[[list[Dataset]], None]


def bad(*codes: str, **limits: Any) -> Callable[[Writer], Writer]:
    """Register a bad variant under the name of its function; `codes`: its refusals."""
    return register(BAD, *codes, **limits)


def defect(*codes: str, **limits: Any) -> Callable[[Defect], Defect]:
    """Register a bad variant that is the base series with its datasets spoilt by a function."""

    def add(spoil: Defect) -> Defect:
        add_variant(BAD, spoil.__name__, partial(_write_spoilt, spoil), *codes, **limits)
        return spoil

    return add


def _write_spoilt(spoil: Defect, folder: Path) -> Source:
    datasets = base_series()
    spoil(datasets)
    return write_slices(folder, datasets)


@defect("missing_slices")
def slice_missing(datasets: list[Dataset]) -> None:
    del datasets[17]


@defect("missing_slices")
def slices_missing_in_two_places(datasets: list[Dataset]) -> None:
    del datasets[20:22], datasets[9]


@defect("missing_slices")
def every_second_slice_of_the_lower_half_missing(datasets: list[Dataset]) -> None:
    del datasets[1:13:2]


@defect("duplicate_positions")
def slice_twice(datasets: list[Dataset]) -> None:
    datasets.append(_copy(datasets[17]))


@defect("duplicate_positions")
def slice_twice_with_other_noise(datasets: list[Dataset]) -> None:
    again = _copy(datasets[17])
    set_pixels(again, stored_values(again) + np.random.default_rng(0).integers(0, 9, (64, 64)))
    datasets.append(again)


@defect("several_volumes")
def two_passes(datasets: list[Dataset]) -> None:
    again = [_copy(dataset) for dataset in datasets]
    for dataset in again:
        set_pixels(dataset, stored_values(dataset) + 3)
        dataset.AcquisitionNumber, dataset.InstanceNumber = 2, dataset.InstanceNumber + len(datasets)
    datasets += again


@defect("duplicate_positions")
def all_slices_at_one_position(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        dataset.ImagePositionPatient = datasets[0].ImagePositionPatient


def _copy(dataset: Dataset) -> Dataset:
    again = dataset.copy()
    again.file_meta = dataset.file_meta.copy()
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return again


def _tilt(datasets: list[Dataset], degrees: float) -> None:
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] += round(3.0 * k * np.tan(np.radians(degrees)), 6)
        dataset.GantryDetectorTilt = f"{degrees:g}"


@defect("gantry_tilt")
def tilted_by_12_degrees(datasets: list[Dataset]) -> None:
    """The slices are tilted, but the table moves along the patient, so that the voxels form a sheared volume."""
    _tilt(datasets, 12.0)


@defect("gantry_tilt")
def tilted_by_1_degree(datasets: list[Dataset]) -> None:
    _tilt(datasets, 1.0)


@defect("uneven_slices")
def step_changes(datasets: list[Dataset]) -> None:
    for k, dataset in enumerate(datasets[20:], start=1):
        dataset.ImagePositionPatient[2] += 1.2 * k


@defect("uneven_slices")
def one_slice_too_high(datasets: list[Dataset]) -> None:
    datasets[17].ImagePositionPatient[2] += 0.4


@defect("uneven_slices")
def steps_grow(datasets: list[Dataset]) -> None:
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[2] += round(0.02 * k * k, 6)


@defect("shifted_slices")
def one_slice_sideways(datasets: list[Dataset]) -> None:
    datasets[17].ImagePositionPatient[0] += 2.0


@defect("shifted_slices")
def table_moved_sideways(datasets: list[Dataset]) -> None:
    for dataset in datasets[17:]:
        dataset.ImagePositionPatient[0] += 4.0


@defect("mixed_orientation")
def one_slice_turned(datasets: list[Dataset]) -> None:
    cos, sin = (round(float(f(np.radians(3.0))), 10) for f in (np.cos, np.sin))
    datasets[17].ImageOrientationPatient = [cos, sin, 0, -sin, cos, 0]


@defect("mixed_orientation")
def one_slice_mirrored(datasets: list[Dataset]) -> None:
    datasets[17].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


@defect("mixed_size")
def mixed_matrix(datasets: list[Dataset]) -> None:
    for dataset in datasets[17:]:
        set_pixels(dataset, stored_values(dataset)[:-4, :-4])


@defect("mixed_size")
def mixed_pixel_size(datasets: list[Dataset]) -> None:
    for dataset in datasets[17:]:
        dataset.PixelSpacing = [6.0, 6.0]


@defect("mixed_size")
def pixel_spacing_of_one_slice(datasets: list[Dataset]) -> None:
    datasets[17].PixelSpacing = [6.408, 6.5]


def _set_all(keyword: str, value: Any, datasets: list[Dataset]) -> None:
    for dataset in datasets:
        setattr(dataset, keyword, value)


def _drop_all(keyword: str, datasets: list[Dataset]) -> None:
    for dataset in datasets:
        delattr(dataset, keyword)


for _name, _spoil in {
    "pixel_spacing_zero": partial(_set_all, "PixelSpacing", [0, 0]),
    "pixel_spacing_negative": partial(_set_all, "PixelSpacing", [-6.408, 6.408]),
    "pixel_spacing_empty": partial(_set_all, "PixelSpacing", None),
    "pixel_spacing_absent": partial(_drop_all, "PixelSpacing"),
    "orientation_absent": partial(_drop_all, "ImageOrientationPatient"),
    "position_absent": partial(_drop_all, "ImagePositionPatient"),
    "cosines_not_units": partial(_set_all, "ImageOrientationPatient", [1.1, 0, 0, 0, 1, 0]),
    "cosines_not_perpendicular": partial(_set_all, "ImageOrientationPatient", [1, 0, 0, 0.1736, 0.9848, 0]),
    "cosines_zero": partial(_set_all, "ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
}.items():
    add_variant(BAD, _name, partial(_write_spoilt, _spoil), "incomplete_header")


@defect("incomplete_header")
def position_of_one_slice_absent(datasets: list[Dataset]) -> None:
    del datasets[17].ImagePositionPatient


def _spoil_bytes(folder: Path, spoil: Callable[[bytearray], bytes]) -> Source:
    source = Source(path=folder, expected=base_scan())
    middle = sorted(folder.iterdir())[17]
    middle.write_bytes(spoil(bytearray(middle.read_bytes())))
    return source


@bad("undecodable_pixels")
def slice_cut_off(folder: Path) -> Source:
    write_base(folder)
    return _spoil_bytes(folder, lambda content: content[:-3000])


def _flipped(syntax: str, folder: Path) -> Source:
    """Flip every bit of 64 bytes in the middle of a compressed slice."""
    write_base(folder)
    change_syntax(folder, syntax)

    def flip(content: bytearray) -> bytes:
        middle = len(content) - (len(content) - 1500) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        return bytes(content)

    return _spoil_bytes(folder, flip)


# Not lossless JPEG, JPEG 2000 and deflated data: without a checksum they decode into another picture unnoticed.
for _name in ("jpeg_ls", "rle"):
    add_variant(BAD, f"bits_flipped_{_name}", partial(_flipped, SYNTAXES[_name]), "undecodable_pixels")


@bad("undecodable_pixels")
def bit_flipped_in_zip(folder: Path) -> Source:
    """One flipped bit in the pixels of one slice, which the archive's checksum detects."""
    source = write_zip(zipfile.ZIP_STORED, "", folder)
    with zipfile.ZipFile(source.path) as archive:
        member = max(archive.infolist(), key=lambda one: one.file_size)
    content = bytearray(source.path.read_bytes())
    # the pixels are at the end of the member, after its local header
    content[member.header_offset + member.file_size - 100] ^= 4
    source.path.write_bytes(content)
    return source


@defect("undecodable_pixels")
def pixels_absent(datasets: list[Dataset]) -> None:
    del datasets[17].PixelData


@defect("undecodable_pixels")
def rows_more_than_pixels(datasets: list[Dataset]) -> None:
    _set_all("Rows", 96, datasets)


@defect("no_rescale")
def rescale_absent(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        del dataset.RescaleSlope, dataset.RescaleIntercept


@defect("no_rescale")
def rescale_of_one_slice_absent(datasets: list[Dataset]) -> None:
    del datasets[17].RescaleIntercept


@defect("implausible_hu")
def intercept_wrong(datasets: list[Dataset]) -> None:
    _set_all("RescaleIntercept", "0", datasets)


@defect("no_rescale")
def slope_of_zero(datasets: list[Dataset]) -> None:
    _set_all("RescaleSlope", "0", datasets)


@defect("no_rescale")
def slope_negative(datasets: list[Dataset]) -> None:
    _set_all("RescaleSlope", "-1", datasets)


@defect("implausible_hu")
def sign_lost(datasets: list[Dataset]) -> None:
    """Signed HU declared unsigned: air becomes brighter than metal."""
    for dataset in datasets:
        rescale(dataset, 1, 0, signed=True)
        dataset.PixelRepresentation = 0


@defect("implausible_hu")
def windowed(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        set_pixels(dataset, np.clip(stored_values(dataset) - 1024 + 160, 0, 400))
        dataset.RescaleIntercept = "0"


@defect("implausible_hu")
def inverted(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        set_pixels(dataset, 4095 - stored_values(dataset))
        dataset.PhotometricInterpretation = "MONOCHROME1"


@defect("incomplete_header")
def colour(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        grey = np.clip(stored_values(dataset) // 8, 0, 255).astype(np.uint8)
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = np.repeat(grey[..., None], 3, axis=-1).tobytes()


@defect("incomplete_header")
def palette(datasets: list[Dataset]) -> None:
    """Stored values that are indices of a colour table, not intensities."""
    for dataset in datasets:
        dataset.PhotometricInterpretation = "PALETTE COLOR"


@defect("wrong_modality")
def of_another_modality(datasets: list[Dataset]) -> None:
    _set_all("Modality", "MR", datasets)


@defect("too_few_slices")
def too_few(datasets: list[Dataset]) -> None:
    del datasets[6:]


@defect("several_series")
def two_series(datasets: list[Dataset]) -> None:
    other = base_series(base_scan() + 50)
    _set_all("SeriesInstanceUID", OTHER_SERIES_UID, other)
    datasets += other


@defect("localizer_only")
def localizers_only(datasets: list[Dataset]) -> None:
    _set_all("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], datasets)


@bad("unsupported_frames")
def frames_without_places(folder: Path) -> Source:
    whole = enhanced(base_series(), "1.2.840.10008.5.1.4.1.1.2.1")
    for frame in whole.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    return Source(path=write_series([whole], folder) / "000.dcm", expected=base_scan())


@bad("missing_slices")
def frame_missing(folder: Path) -> Source:
    datasets = base_series()
    del datasets[17]
    return write_enhanced(folder, datasets, "2.1")


@bad("unreadable_file")
def file_cut_off_in_its_header(folder: Path) -> Source:
    write_base(folder)
    return _spoil_bytes(folder, lambda content: content[:400])


@bad("unreadable_file")
def zip_cut_off(folder: Path) -> Source:
    source = write_zip(zipfile.ZIP_DEFLATED, "", folder)
    source.path.write_bytes(source.path.read_bytes()[:-2000])
    return source


def _bad_nifti(fields: Mapping[str, Any], folder: Path) -> Source:
    return write_nifti(folder, nifti_content(**fields))


for _name, _code, _fields in (
    ("nifti_without_orientation", "no_orientation", {"qform_code": 0, "sform_code": 0}),
    ("nifti_forms_contradict", "contradictory_orientation", {"srow_x": (6.408, 0, 0, 0)}),
    ("nifti_sheared", "contradictory_orientation", {"qform_code": 0, "srow_x": (-6.408, 1.5, 0, 201.852)}),
    (
        "nifti_sheared_by_1_degree",
        "contradictory_orientation",
        {"qform_code": 0, "srow_x": (-6.408, 0.12, 0, 201.852)},
    ),
    ("nifti_edges_contradict", "contradictory_orientation", {"pixdim": (1, 5, 5, 3, 0, 0, 0, 0)}),
    ("nifti_with_two_volumes", "not_a_volume", {"dim": (4, 64, 64, 17, 2, 1, 1, 1)}),
    ("nifti_of_one_picture", "not_a_volume", {"dim": (2, 64, 64, 1, 1, 1, 1, 1)}),
    ("nifti_larger_than_its_file", "unreadable_file", {"dim": (3, 64, 64, 99, 1, 1, 1, 1)}),
    ("nifti_scaled_twice", "implausible_hu", {"scl_slope": 1.0, "scl_inter": 1024.0}),
):
    add_variant(BAD, _name, partial(_bad_nifti, _fields), _code)


@bad("infinite_values")
def nifti_with_infinities(folder: Path) -> Source:
    values = base_hu_zyx().astype(np.float32)
    values[3, 4, 5:9] = np.inf
    return write_nifti(folder, nifti_content(values))


@bad("unreadable_file")
def nifti_cut_off(folder: Path) -> Source:
    return write_nifti(folder, nifti_content()[:-5000])


@bad("unreadable_file")
def nifti_gz_cut_off(folder: Path) -> Source:
    source = write_nifti(folder, nifti_content(), "scan.nii.gz")
    source.path.write_bytes(source.path.read_bytes()[:-5000])
    return source


@bad("unreadable_file")
def nifti_gz_bit_flipped(folder: Path) -> Source:
    source = write_nifti(folder, nifti_content(), "scan.nii.gz")
    content = bytearray(source.path.read_bytes())
    content[len(content) // 2] ^= 1
    source.path.write_bytes(content)
    return source


def _cut_image_file(name: str, folder: Path) -> Source:
    sitk.WriteImage(base_scan(), str(folder / name))
    (folder / name).write_bytes((folder / name).read_bytes()[:-5000])
    return Source(path=folder / name, expected=base_scan())


for _name, _file in (("nrrd_cut_off", "scan.nrrd"), ("metaimage_cut_off", "scan.mha")):
    add_variant(BAD, _name, partial(_cut_image_file, _file), "unreadable_file")
