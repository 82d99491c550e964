"""Ways to write a scan that a reader must accept, in the registry GOOD.

Every variant has the voxels of the base scan at the places that its `Source` expects.
"""

import itertools
import os
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from series_variants import (
    AIR_HU,
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
    nifti_content,
    on_grid,
    register,
    rescale,
    steps_mm,
    stored_values,
    write_base,
    write_enhanced,
    write_nifti,
    write_slices,
    write_zip,
)
from tiny_series import SECONDARY_CAPTURE, SERIES_UID, set_pixels, write_series

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"

# PatientPosition, and the matching patient directions of columns, rows and slices
POSITIONS = {
    "feet_first": ("FFS", "LPI"),
    "prone": ("HFP", "RAS"),
    "feet_first_prone": ("FFP", "RAI"),
    "decubitus_right": ("HFDR", "PRS"),
    "decubitus_left": ("HFDL", "ALS"),
    "reversed_rows": ("HFS", "LAI"),
    "sagittal": ("HFS", "PIL"),
    "coronal": ("HFS", "LIP"),
}
# All assignments of three index axes to the patient's axes.
AXIS_ORDERS = tuple(
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "SI"))
    for letters in itertools.product(*axes)
)

GOOD: dict[str, Variant] = {}


def good(*codes: str, **limits: Any) -> Callable[[Writer], Writer]:
    """Register a good variant under the name of its function; `codes`: the expected warnings."""
    return register(GOOD, *codes, **limits)


@good()
def plain(folder: Path) -> Source:
    return write_base(folder)


@good()
def shuffled(folder: Path) -> Source:
    datasets = base_series()
    random.Random(0).shuffle(datasets)
    for number, dataset in enumerate(datasets):
        dataset.InstanceNumber = number + 1
    return write_slices(folder, datasets)


@good()
def instance_number_reversed(folder: Path) -> Source:
    datasets = base_series()
    for k, dataset in enumerate(datasets):
        dataset.InstanceNumber = len(datasets) - k
    return write_slices(folder, datasets)


@good()
def instance_number_equal(folder: Path) -> Source:
    return write_slices(folder, _with(InstanceNumber=1))


@good()
def instance_number_absent(folder: Path) -> Source:
    return write_slices(folder, _without("InstanceNumber"))


@good()
def slice_location_absent(folder: Path) -> Source:
    return write_slices(folder, _without("SliceLocation", "SliceThickness"))


@good()
def slice_location_wrong(folder: Path) -> Source:
    datasets = _with(SpacingBetweenSlices="1.0", SliceThickness="9.0")
    for k, dataset in enumerate(datasets):
        dataset.SliceLocation = -7.0 * k
    return write_slices(folder, datasets)


@good()
def spacing_between_slices_negative(folder: Path) -> Source:
    return write_slices(folder, _with(SpacingBetweenSlices="-3.0"))


@good()
def uids_blanked(folder: Path) -> Source:
    return write_slices(folder, _with(SOPClassUID="", SeriesInstanceUID=""))


@good()
def series_uid_removed(folder: Path) -> Source:
    datasets = base_series()
    for dataset in datasets:
        del dataset.SeriesInstanceUID
    return write_slices(folder, datasets)


@good()
def pixel_sizes_a_rounding_apart(folder: Path) -> Source:
    datasets = base_series()
    for dataset in datasets[1::2]:
        dataset.PixelSpacing = [f"{edge_mm + 6e-6:.7f}" for edge_mm in dataset.PixelSpacing]
    return write_slices(folder, datasets)


def _with(**fields: Any) -> list[Dataset]:
    datasets = base_series()
    for dataset, (keyword, value) in itertools.product(datasets, fields.items()):
        setattr(dataset, keyword, value)
    return datasets


def _without(*keywords: str) -> list[Dataset]:
    datasets = base_series()
    for dataset, keyword in itertools.product(datasets, keywords):
        delattr(dataset, keyword)
    return datasets


def _in_syntax(syntax: str, folder: Path) -> Source:
    source = write_base(folder)
    change_syntax(folder, syntax)
    return source


for _name, _syntax in SYNTAXES.items():
    add_variant(GOOD, f"syntax_{_name}", partial(_in_syntax, _syntax))


def _rescaled(slope: float, intercept: float, *, signed: bool = False, bits: int = 16) -> list[Dataset]:
    """Return the base series with other stored values for the same HU."""
    datasets = base_series()
    for dataset in datasets:
        rescale(dataset, slope, intercept, signed=signed, bits=bits)
    return datasets


@good()
def twelve_bits(folder: Path) -> Source:
    return write_slices(folder, _rescaled(1, -1024, bits=12))


@good()
def signed(folder: Path) -> Source:
    return write_slices(folder, _rescaled(1, 0, signed=True))


@good()
def signed_twelve_bits(folder: Path) -> Source:
    return write_slices(folder, _rescaled(1, 0, signed=True, bits=12))


@good()
def fine_slope(folder: Path) -> Source:
    return write_slices(folder, _rescaled(0.25, -1100))


@good()
def rescale_of_each_slice(folder: Path) -> Source:
    datasets = base_series()
    for k, dataset in enumerate(datasets):
        rescale(dataset, 0.5 if k % 2 else 1, -1100 - k)
    return write_slices(folder, datasets)


@good()
def overlay_in_unused_bits(folder: Path) -> Source:
    datasets = _rescaled(1, -1024, bits=12)
    for dataset in datasets:
        pixels = stored_values(dataset)
        pixels[20:30, 20:30] |= 0x1000
        set_pixels(dataset, pixels)
    return write_slices(folder, datasets)


def _padded(image: sitk.Image, edge: int = 5) -> sitk.Image:
    """Return `image` with a frame of air of `edge` pixels around every slice."""
    hu_zyx = sitk.GetArrayFromImage(image)
    inside = np.zeros(hu_zyx.shape, bool)
    inside[:, edge:-edge, edge:-edge] = True
    return on_grid(np.where(inside, hu_zyx, AIR_HU), image)


def _padding(declared: Mapping[str, int], folder: Path) -> Source:
    """Write padding from -2000 to -1990 HU around every slice."""
    datasets = _rescaled(1, 0, signed=True)
    for dataset in datasets:
        pixels = stored_values(dataset).astype(np.uint16).view(np.int16).astype(np.int32)
        framed = np.full_like(pixels, -2000) + np.arange(pixels.shape[1]) % 11
        framed[5:-5, 5:-5] = pixels[5:-5, 5:-5]
        set_pixels(dataset, framed)
        for keyword, value in declared.items():
            dataset[keyword] = pydicom.DataElement(keyword, "SS", value)
    return Source(path=write_series(datasets, folder), expected=_padded(base_scan()))


@good()
def padding_undeclared(folder: Path) -> Source:
    return _padding({}, folder)


@good()
def padding_with_range(folder: Path) -> Source:
    return _padding({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, folder)


@good()
def padding_sign_extended(folder: Path) -> Source:
    """Padding of -2000 in unsigned 12 of 16 bits, as scanners write it outside the circular field of view."""
    datasets = _rescaled(1, -1024, bits=12)
    for dataset in datasets:
        pixels = stored_values(dataset)
        framed = np.full_like(pixels, 65536 - 2000)
        framed[5:-5, 5:-5] = pixels[5:-5, 5:-5]
        set_pixels(dataset, framed)
    return Source(path=write_series(datasets, folder), expected=_padded(base_scan()))


@good()
def enhanced_ct(folder: Path) -> Source:
    return write_enhanced(folder, base_series(), "2.1")


@good()
def enhanced_ct_legacy_converted(folder: Path) -> Source:
    return write_enhanced(folder, base_series(), "2.2")


@good()
def enhanced_ct_frames_out_of_order(folder: Path) -> Source:
    datasets = base_series()
    random.Random(1).shuffle(datasets)
    return write_enhanced(folder, datasets, "2.1")


@good()
def enhanced_ct_in_a_folder_compressed(folder: Path) -> Source:
    write_enhanced(folder, base_series(), "2.1")
    whole = pydicom.dcmread(folder / "000.dcm")
    whole.compress(pydicom.uid.RLELossless, encoding_plugin="pydicom")
    whole.save_as(folder / "000.dcm")
    return Source(path=folder, expected=base_scan())


def _magnetic() -> tuple[list[Dataset], sitk.Image]:
    """Return slices of an MR without rescale, and the volume: stored values as they are."""
    datasets = _without("RescaleSlope", "RescaleIntercept", "KVP", "ConvolutionKernel")
    for dataset in datasets:
        dataset.Modality = "MR"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MR_IMAGE_STORAGE
        dataset.ScanningSequence, dataset.EchoTime, dataset.RepetitionTime = "SE", "12", "550"
    return datasets, base_scan() + 1024


@good(modality="MR")
def magnetic(folder: Path) -> Source:
    datasets, expected = _magnetic()
    return Source(path=write_series(datasets, folder), expected=expected)


@good(modality="MR")
def enhanced_mr(folder: Path) -> Source:
    datasets, expected = _magnetic()
    return Source(path=write_enhanced(folder, datasets, "4.1").path, expected=expected)


@good(modality="MR")
def enhanced_mr_legacy_converted(folder: Path) -> Source:
    datasets, expected = _magnetic()
    return Source(path=write_enhanced(folder, datasets[::-1], "4.4").path, expected=expected)


@good()
def nested_folders(folder: Path) -> Source:
    datasets = base_series()
    for k in range(3):
        write_series(datasets[k::3], folder / f"disc {k}" / "DICOM" / "a" / "b")
    return Source(path=folder, expected=base_scan())


@good("foreign_files")
def foreign_files(folder: Path) -> Source:
    source = write_base(folder)
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    (folder / "read me.txt").write_text("not a slice")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 100)
    (folder / "empty").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return source


@good("foreign_files")
def foreign_files_by_the_thousand(folder: Path) -> Source:
    source = write_base(folder / "a" / "series")
    for k in range(3000):
        (folder / "a" / f"note-{k:04d}.txt").write_bytes(b"not a slice")
    return Source(path=folder, expected=source.expected)


@good("other_objects_ignored")
def media_with_dicomdir(folder: Path) -> Source:
    media = FileSet()
    for dataset in _with(StudyID="1"):
        media.add(dataset)
    media.write(folder)
    return Source(path=folder, expected=base_scan())


add_variant(GOOD, "zip_stored", partial(write_zip, zipfile.ZIP_STORED, ""))
add_variant(GOOD, "zip_deflated", partial(write_zip, zipfile.ZIP_DEFLATED, "série/"))
add_variant(GOOD, "zip_nested_folders", partial(write_zip, zipfile.ZIP_DEFLATED, "export/a/b/c/"))


@good()
def without_preamble(folder: Path) -> Source:
    source = write_base(folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[132:])
    return source


@good()
def names_without_extension(folder: Path) -> Source:
    datasets = base_series()
    return write_slices(folder, datasets, [f"IM{k:05d}" for k in range(len(datasets))])


@good()
def names_in_other_scripts(folder: Path) -> Source:
    datasets = base_series()
    return write_slices(
        folder / "Hüfte 左股骨", datasets, [f"Schnitt é {k} ф.DCM" for k in range(len(datasets))]
    )


@good()
def names_that_are_not_utf8(folder: Path) -> Source:
    source = write_base(folder)
    for file in sorted(folder.iterdir()):
        os.rename(os.fsencode(file), os.fsencode(folder) + b"/H\xfcfte-" + os.fsencode(file.name))
    return source


@good()
def symlinked_files(folder: Path) -> Source:
    source = write_base(folder / "store")
    (folder / "scan").mkdir()
    for file in source.path.iterdir():
        (folder / "scan" / file.name).symlink_to(file)
    return Source(path=folder / "scan", expected=source.expected)


@good()
def symlinked_folder(folder: Path) -> Source:
    source = write_base(folder / "store")
    (folder / "scan").symlink_to(source.path, target_is_directory=True)
    return Source(path=folder / "scan", expected=source.expected)


@good()
def one_of_several_series(folder: Path) -> Source:
    write_base(folder)
    other = base_series(base_scan()[:, :, ::2] + 100)
    for dataset in other:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = OTHER_SERIES_UID, 7
    write_series(other, folder / "other")
    return Source(path=folder, expected=base_scan(), series_uid=SERIES_UID)


@good("localizer_ignored")
def localizer_beside(folder: Path) -> Source:
    localizer = base_series(axes="LIP")[30]
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series([localizer], folder / "scout")
    return Source(path=write_base(folder / "scan").path.parent, expected=base_scan())


@good("secondary_capture")
def capture_beside(folder: Path) -> Source:
    capture = base_series()[0]
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    write_series([capture], folder / "capture")
    return Source(path=write_base(folder / "scan").path.parent, expected=base_scan())


def _lying(position: str, axes: str, folder: Path) -> Source:
    datasets = base_series(axes=axes)
    for dataset in datasets:
        dataset.PatientPosition = position
    return write_slices(folder, datasets)


for _name, (_position, _axes) in POSITIONS.items():
    add_variant(GOOD, _name, partial(_lying, _position, _axes))


def _turned(image: sitk.Image, *turns: tuple[str, float]) -> sitk.Image:
    """Return `image` turned about its middle, about the named patient axes by degrees, one after the other."""
    rotation = np.eye(3)
    for axis, degrees in turns:
        x, y = [k for k in range(3) if k != "xyz".index(axis)]
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        step = np.eye(3)
        step[x, x], step[x, y], step[y, x], step[y, y] = cos, -sin, sin, cos
        rotation = step @ rotation
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()]))
    made = sitk.Image(image)
    made.SetDirection((rotation @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    made.SetOrigin((middle + rotation @ (np.array(image.GetOrigin()) - middle)).tolist())
    return made


def _oblique(turns: Sequence[tuple[str, float]], axes: str, folder: Path) -> Source:
    expected = _turned(base_scan(), *turns)
    return Source(path=write_series(base_series(expected, axes), folder), expected=expected)


for _name, _turns, _axes, _codes in (
    ("oblique_5_degrees", [("x", 5.0)], "LPS", ()),
    ("oblique_20_degrees", [("y", 20.0)], "LPS", ("oblique_orientation",)),
    ("oblique_30_degrees", [("z", 30.0)], "RAS", ("oblique_orientation",)),
    ("oblique_about_three_axes", [("x", 12.0), ("y", -9.0), ("z", 17.0)], "LPI", ("oblique_orientation",)),
    ("oblique_coronal", [("x", 15.0), ("z", -8.0)], "LIP", ("oblique_orientation",)),
):
    add_variant(GOOD, _name, partial(_oblique, _turns, _axes), *_codes)


def _spaced(spacing_mm: Sequence[float]) -> sitk.Image:
    image = base_scan()
    image.SetSpacing(spacing_mm)
    return image


@good()
def anisotropic_pixels(folder: Path) -> Source:
    expected = _spaced((6.4, 4.8, 3.0))
    return Source(path=write_series(base_series(expected), folder), expected=expected)


@good()
def positions_rounded_to_2_decimals(folder: Path) -> Source:
    """Positions rounded to 2 decimals, as some archives store them: a step of 2.9967 mm becomes 2.99 and 3.00."""
    expected = _spaced((6.4, 6.4, 2.9967))
    datasets = base_series(expected)
    for dataset in datasets:
        dataset.ImagePositionPatient = [round(float(mm), 2) for mm in dataset.ImagePositionPatient]
    return Source(path=write_series(datasets, folder), expected=expected)


@good()
def jitter_below_tolerance(folder: Path) -> Source:
    datasets = base_series()
    for dataset, shift_mm in zip(datasets, itertools.cycle((0.0, 0.004, -0.004)), strict=False):
        dataset.ImagePositionPatient[2] = round(float(dataset.ImagePositionPatient[2]) + shift_mm, 6)
    return write_slices(folder, datasets)


def _image_file(name: str, axes: str, folder: Path) -> Source:
    sitk.WriteImage(sitk.DICOMOrient(base_scan(), axes), str(folder / name))
    return Source(path=folder / name, expected=base_scan())


nifti_in_axis_order = partial(_image_file, "scan.nii.gz")

for _axes in ("RAS", "LPS", "PIR", "SLA"):
    add_variant(GOOD, f"nifti_{_axes.lower()}", partial(nifti_in_axis_order, _axes))
for _name, _file in (
    ("nifti_uncompressed", "scan.nii"),
    ("nrrd_lps", "scan.nrrd"),
    ("nrrd_detached", "scan.nhdr"),
    ("metaimage", "scan.mha"),
    ("metaimage_detached", "scan.mhd"),
):
    add_variant(GOOD, _name, partial(_image_file, _file, "RAS"))


@good()
def nifti_beside_another(folder: Path) -> Source:
    """An uncompressed file of the same name lies beside it; ITK 5 reads the voxels from that file."""
    write_nifti(folder, nifti_content(base_hu_zyx().astype(np.int16) + 100), "scan.nii")
    return write_nifti(folder, nifti_content(), "scan.nii.gz")


@good()
def nifti_sform_only(folder: Path) -> Source:
    return write_nifti(folder, nifti_content(qform_code=0), "scan.nii.gz")


@good()
def nifti_qform_only(folder: Path) -> Source:
    return write_nifti(folder, nifti_content(sform_code=0), "scan.nii.gz")


@good()
def nifti_scaled_integers(folder: Path) -> Source:
    stored = (2 * (base_hu_zyx() + 100)).astype(np.int16)
    return write_nifti(folder, nifti_content(stored, scl_slope=0.5, scl_inter=-100.0))


@good()
def nifti_unsigned_with_intercept(folder: Path) -> Source:
    stored = (base_hu_zyx() + 1024).astype(np.uint16)
    return write_nifti(folder, nifti_content(stored, scl_slope=1.0, scl_inter=-1024.0))


@good()
def nifti_slope_of_zero(folder: Path) -> Source:
    """A scl_slope of 0 means that nothing is scaled (nifti1.h), whatever scl_inter says."""
    return write_nifti(folder, nifti_content(scl_slope=0.0, scl_inter=7.0))


@good()
def nifti_float64(folder: Path) -> Source:
    return write_nifti(folder, nifti_content(base_hu_zyx().astype(np.float64)), "scan.nii.gz")


@good("missing_values")
def nifti_with_border_of_nan(folder: Path) -> Source:
    values, inside = base_hu_zyx().astype(np.float32), np.zeros(base_hu_zyx().shape, bool)
    inside[:, 5:-5, 5:-5] = True
    content = nifti_content(np.where(inside, values, np.nan).astype(np.float32))
    return write_nifti(folder, content, "scan.nii.gz", _padded(base_scan()))


@good()
def nifti_four_dimensional_with_one_volume(folder: Path) -> Source:
    x, y, z = base_scan().GetSize()
    return write_nifti(folder, nifti_content(dim=(4, x, y, z, 1, 1, 1, 1)))


@good()
def nrrd_in_right_anterior_superior(folder: Path) -> Source:
    """A NRRD with RAS coordinates, as 3D Slicer and others may write it; raw, in the same file."""
    stored = sitk.DICOMOrient(base_scan(), "RAS")
    mm = np.array([-1.0, -1.0, 1.0])
    vectors = " ".join("({},{},{})".format(*column) for column in (mm[:, None] * steps_mm(stored)).T.tolist())
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\n"
        f"sizes: {' '.join(str(count) for count in stored.GetSize())}\n"
        f"space directions: {vectors}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        f"space origin: ({','.join(str(p) for p in mm * stored.GetOrigin())})\n\n"
    )
    path = folder / "scan.nrrd"
    path.write_bytes(header.encode("ascii") + sitk.GetArrayFromImage(stored).astype("<i2").tobytes())
    return Source(path=path, expected=base_scan())
