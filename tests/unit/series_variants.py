"""One scan written in many ways: all that a reader must take, and all that it must refuse.

Every good variant holds the voxels of `base_scan` at the places that its `Source` expects. Every bad one has one
defect. Missing slices at an end of a stack are not among them: nothing tells such a series from a shorter scan.
"""

import gzip
import itertools
import os
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid
from tiny_series import SECONDARY_CAPTURE, SERIES_UID, set_pixels, tiny_series, write_series

from lib.phantom.people import PhantomConfig, find_person
from lib.phantom.scan import simulate_scan

AIR_HU = -1024
OTHER_SERIES_UID = "1.2.3.9"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
POSITION_TOLERANCE_MM = 0.01

SYNTAXES = {
    "implicit": "ImplicitVRLittleEndian",
    "big_endian": "ExplicitVRBigEndian",
    "deflated": "DeflatedExplicitVRLittleEndian",
    "rle": "RLELossless",
    "jpeg_process_14": "JPEGLosslessProcess14",
    "jpeg_sv1": "JPEGLosslessProcess14_1",
    "jpeg_ls": "JPEGLSLossless",
    "jpeg_2000": "JPEG2000Lossless",
}
# PatientPosition and the patient directions of columns, rows and slices that it goes with
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
# Every way to lay three index axes along the patient's axes.
AXIS_ORDERS = tuple(
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "SI"))
    for letters in itertools.product(*axes)
)

# Fields of the NIfTI-1 header (nifti1.h): offset in bytes and struct code.
NIFTI_FIELDS = {
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "b"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "srow_x": (280, "4f"),
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a variant has written: the path a cohort table would name, and the volume that must come out."""

    path: Path
    expected: sitk.Image
    series_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to write the base scan, with the reason codes (`codes`) that a reader must give.

    `write` puts the variant into an empty folder. `codes` are all warnings of a good variant; of a bad one the
    refusals that name its defect, beside which others may follow from it.
    """

    name: str
    write: Callable[[Path], Source]
    codes: frozenset[str] = frozenset()
    limits: Mapping[str, Any] = field(default_factory=dict)


GOOD: dict[str, Variant] = {}
BAD: dict[str, Variant] = {}

Defect = Callable[[list[Dataset]], None]
Writer = Callable[[Path], Source]


def _good(*codes: str, **limits: Any) -> Callable[[Writer], Writer]:
    """Register a good variant under the name of its function; `codes`: warnings that it brings."""

    def register(write: Writer) -> Writer:
        _add(GOOD, write.__name__, write, codes, limits)
        return write

    return register


def _bad(*codes: str, **limits: Any) -> Callable[[Writer], Writer]:
    """Register a bad variant under the name of its function; `codes`: its refusals."""

    def register(write: Writer) -> Writer:
        _add(BAD, write.__name__, write, codes, limits)
        return write

    return register


def _defect(*codes: str, **limits: Any) -> Callable[[Defect], Defect]:
    """Register a bad variant that is the base series with its datasets spoilt by a function."""

    def register(spoil: Defect) -> Defect:
        _add(BAD, spoil.__name__, partial(_write_spoilt, spoil), codes, limits)
        return spoil

    return register


def _add(
    variants: dict[str, Variant], name: str, write: Writer, codes: Sequence[str], limits: Mapping[str, Any]
) -> None:
    variants[name] = Variant(name=name, write=write, codes=frozenset(codes), limits=limits)


def _write_spoilt(spoil: Defect, folder: Path) -> Source:
    datasets = base_series()
    spoil(datasets)
    return Source(path=write_series(datasets, folder), expected=base_scan())


# ---- the scan and how to compare with it


@lru_cache(maxsize=1)
def _phantom() -> sitk.Image:
    config = PhantomConfig(people=1, matrix=64, slice_mm=3.0, supersampling=1)
    made = simulate_scan(config, find_person(config, "P001"))
    image = sitk.GetImageFromArray(made.hu_zyx)
    image.SetSpacing(made.grid.spacing_xyz_mm)
    image.SetOrigin(made.grid.origin_xyz_mm)
    return image


def base_scan() -> sitk.Image:
    """Return a hip phantom of 64 x 64 x 34 voxels, int16 HU on patient axes."""
    return sitk.Image(_phantom())


def base_series(image: sitk.Image | None = None, axes: str = "LPS") -> list[Dataset]:
    """Return the CT slices of `image` (the base scan) as a scanner writes them, slice after slice along `axes`."""
    image = base_scan() if image is None else image
    datasets = tiny_series(image, axes)
    study, frame = (generate_uid(entropy_srcs=[what]) for what in ("study", "frame of reference"))
    for dataset in datasets:
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = study, frame
        dataset.PatientPosition, dataset.AcquisitionNumber = "HFS", 1
        for what in ("Study", "Series", "Acquisition", "Content"):
            setattr(dataset, f"{what}Date", "20010101")
            setattr(dataset, f"{what}Time", "101010")
        dataset.SliceThickness = round(image.GetSpacing()[2], 6)
        dataset.SliceLocation = float(dataset.ImagePositionPatient[2])
        dataset.ImageOrientationPatient = [round(float(c), 10) for c in dataset.ImageOrientationPatient]
    return datasets


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """How a volume differs from what was expected."""

    position_mm: float  # largest distance from an expected voxel to the nearest one of the volume
    differing: int  # expected voxels whose HU is another, or that lie outside
    invented: int  # voxels of the volume beyond the number expected

    @property
    def fits(self) -> bool:
        """Whether every voxel has its HU at its place."""
        return self.position_mm <= POSITION_TOLERANCE_MM and not self.differing and not self.invented


def misfit(image: sitk.Image, expected: sitk.Image) -> Misfit:
    """Compare HU at the physical points of all voxels of `expected`; values below -1024 count as -1024."""
    return misfit_at(image, voxel_places_mm(expected), sitk.GetArrayFromImage(expected).ravel())


def misfit_at(image: sitk.Image, places_mm: np.ndarray, hu: np.ndarray) -> Misfit:
    """Compare `image` with `hu` (n) that belong to places (n, 3), LPS in mm."""
    steps = _steps_mm(image)
    indices = (places_mm - np.array(image.GetOrigin())) @ np.linalg.inv(steps).T
    nearest = np.rint(indices)
    aside_mm = np.linalg.norm((indices - nearest) @ steps.T, axis=1)
    found = nearest.astype(int)
    inside = ((found >= 0) & (found < image.GetSize())).all(axis=1)
    x, y, z = found[inside].T
    values = np.maximum(np.rint(sitk.GetArrayViewFromImage(image)[z, y, x]), AIR_HU)
    differing = np.count_nonzero(values != np.maximum(hu[inside], AIR_HU)) + np.count_nonzero(~inside)
    return Misfit(
        position_mm=float(aside_mm.max()),
        differing=int(differing),
        invented=max(int(np.prod(image.GetSize())) - len(hu), 0),
    )


def voxel_places_mm(image: sitk.Image) -> np.ndarray:
    """Return the places of all voxels (n, 3), LPS in mm, x counting fastest."""
    z, y, x = np.indices(image.GetSize()[::-1])
    return np.stack([x, y, z], axis=-1).reshape(-1, 3) @ _steps_mm(image).T + np.array(image.GetOrigin())


def _steps_mm(image: sitk.Image) -> np.ndarray:
    """Return the 3 x 3 matrix whose columns are the steps of the index axes in mm."""
    return np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())


# ---- good: order and numbers of the header


def _series(folder: Path, datasets: list[Dataset], names: list[str] | None = None) -> Source:
    return Source(path=write_series(datasets, folder, names), expected=base_scan())


@_good()
def plain(folder: Path) -> Source:
    return _series(folder, base_series())


@_good()
def shuffled(folder: Path) -> Source:
    datasets = base_series()
    random.Random(0).shuffle(datasets)
    for number, dataset in enumerate(datasets):
        dataset.InstanceNumber = number + 1
    return _series(folder, datasets)


@_good()
def instance_number_reversed(folder: Path) -> Source:
    datasets = base_series()
    for k, dataset in enumerate(datasets):
        dataset.InstanceNumber = len(datasets) - k
    return _series(folder, datasets)


@_good()
def instance_number_equal(folder: Path) -> Source:
    return _series(folder, _with(InstanceNumber=1))


@_good()
def instance_number_absent(folder: Path) -> Source:
    return _series(folder, _without("InstanceNumber"))


@_good()
def slice_location_absent(folder: Path) -> Source:
    return _series(folder, _without("SliceLocation", "SliceThickness"))


@_good()
def slice_location_wrong(folder: Path) -> Source:
    datasets = _with(SpacingBetweenSlices="1.0", SliceThickness="9.0")
    for k, dataset in enumerate(datasets):
        dataset.SliceLocation = -7.0 * k
    return _series(folder, datasets)


@_good()
def spacing_between_slices_negative(folder: Path) -> Source:
    return _series(folder, _with(SpacingBetweenSlices="-3.0"))


@_good()
def uids_blanked(folder: Path) -> Source:
    return _series(folder, _with(SOPClassUID="", SeriesInstanceUID=""))


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


# ---- good: how values are stored


def change_syntax(folder: Path, syntax: str) -> Path:
    """Store all files of `folder` again in a transfer syntax, named as gdcm names it; return the folder."""
    for file in sorted(folder.iterdir()):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        if not reader.Read():
            raise ValueError(f"gdcm cannot read {file}")
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        writer.SetFileName(str(file))
        writer.SetFile(reader.GetFile())
        if not change.Change():
            raise ValueError(f"gdcm cannot write {syntax}")
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise ValueError(f"gdcm cannot write {file}")
    return folder


def _in_syntax(syntax: str, folder: Path) -> Source:
    source = plain(folder)
    change_syntax(folder, syntax)
    return source


for _name, _syntax in SYNTAXES.items():
    _add(GOOD, f"syntax_{_name}", partial(_in_syntax, _syntax), (), {})


def _stored(dataset: Dataset) -> np.ndarray:
    return np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns).astype(np.int32)


def _rescaled(slope: float, intercept: float, *, signed: bool = False, bits: int = 16) -> list[Dataset]:
    """Return the base series with other stored values for the same HU."""
    datasets = base_series()
    for dataset in datasets:
        _rescale(dataset, slope, intercept, signed=signed, bits=bits)
    return datasets


def _rescale(
    dataset: Dataset, slope: float, intercept: float, *, signed: bool = False, bits: int = 16
) -> None:
    values = np.rint((_stored(dataset) - 1024 - intercept) / slope).astype(np.int32)
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    set_pixels(dataset, values)


@_good()
def twelve_bits(folder: Path) -> Source:
    return _series(folder, _rescaled(1, -1024, bits=12))


@_good()
def signed(folder: Path) -> Source:
    return _series(folder, _rescaled(1, 0, signed=True))


@_good()
def signed_twelve_bits(folder: Path) -> Source:
    return _series(folder, _rescaled(1, 0, signed=True, bits=12))


@_good()
def fine_slope(folder: Path) -> Source:
    return _series(folder, _rescaled(0.25, -1100))


@_good()
def rescale_of_each_slice(folder: Path) -> Source:
    datasets = base_series()
    for k, dataset in enumerate(datasets):
        _rescale(dataset, 0.5 if k % 2 else 1, -1100 - k)
    return _series(folder, datasets)


@_good()
def overlay_in_unused_bits(folder: Path) -> Source:
    datasets = _rescaled(1, -1024, bits=12)
    for dataset in datasets:
        pixels = _stored(dataset)
        pixels[20:30, 20:30] |= 0x1000
        set_pixels(dataset, pixels)
    return _series(folder, datasets)


def _padded(image: sitk.Image, edge: int = 5) -> sitk.Image:
    """Return `image` with air in a frame of `edge` pixels round every slice."""
    hu_zyx = sitk.GetArrayFromImage(image)
    inside = np.zeros(hu_zyx.shape, bool)
    inside[:, edge:-edge, edge:-edge] = True
    return _on_grid(np.where(inside, hu_zyx, AIR_HU), image)


def _on_grid(values_zyx: np.ndarray, image: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(values_zyx)
    made.CopyInformation(image)
    return made


def _padding(declared: Mapping[str, int], folder: Path) -> Source:
    """Write padding from -2000 to -1990 HU round every slice."""
    datasets = _rescaled(1, 0, signed=True)
    for dataset in datasets:
        pixels = _stored(dataset).astype(np.uint16).view(np.int16).astype(np.int32)
        framed = np.full_like(pixels, -2000) + np.arange(pixels.shape[1]) % 11
        framed[5:-5, 5:-5] = pixels[5:-5, 5:-5]
        set_pixels(dataset, framed)
        for keyword, value in declared.items():
            dataset[keyword] = pydicom.DataElement(keyword, "SS", value)
    return Source(path=write_series(datasets, folder), expected=_padded(base_scan()))


@_good()
def padding_undeclared(folder: Path) -> Source:
    return _padding({}, folder)


@_good()
def padding_with_range(folder: Path) -> Source:
    return _padding({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, folder)


@_good()
def padding_sign_extended(folder: Path) -> Source:
    """Padding of -2000 in unsigned 12 of 16 bits, as scanners write it round the circle of the scan."""
    datasets = _rescaled(1, -1024, bits=12)
    for dataset in datasets:
        pixels = _stored(dataset)
        framed = np.full_like(pixels, 65536 - 2000)
        framed[5:-5, 5:-5] = pixels[5:-5, 5:-5]
        set_pixels(dataset, framed)
    return Source(path=write_series(datasets, folder), expected=_padded(base_scan()))


# ---- good: several frames in a file, and MR


def enhanced(datasets: Sequence[Dataset], sop_class: str) -> Dataset:
    """Return one multi-frame dataset of slices: shared pixel size and scaling, place of each frame."""
    whole = datasets[0].copy()
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = sop_class
    whole.NumberOfFrames = len(datasets)
    whole.PixelData = b"".join(dataset.PixelData for dataset in datasets)
    shared = _group("PixelMeasuresSequence", whole, "PixelSpacing", "SliceThickness")
    if "RescaleSlope" in whole:
        shared.update(_group("PixelValueTransformationSequence", whole, "RescaleSlope", "RescaleIntercept"))
    whole.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for dataset in datasets:
        frame = _group("PlanePositionSequence", dataset, "ImagePositionPatient")
        frame.update(_group("PlaneOrientationSequence", dataset, "ImageOrientationPatient"))
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = Items(frames)
    of_groups = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    for keyword in {*of_groups, "SliceLocation", "RescaleSlope", "RescaleIntercept"} & set(whole.dir()):
        delattr(whole, keyword)
    return whole


def _group(sequence: str, dataset: Dataset, *keywords: str) -> Dataset:
    item, group = Dataset(), Dataset()
    for keyword in set(keywords) & set(dataset.dir()):
        item[keyword] = dataset[keyword]
    setattr(group, sequence, Items([item]))
    return group


def _enhanced(folder: Path, datasets: Sequence[Dataset], code: str) -> Source:
    whole = enhanced(datasets, f"1.2.840.10008.5.1.4.1.1.{code}")
    return Source(path=write_series([whole], folder) / "000.dcm", expected=base_scan())


@_good()
def enhanced_ct(folder: Path) -> Source:
    return _enhanced(folder, base_series(), "2.1")


@_good()
def enhanced_ct_legacy_converted(folder: Path) -> Source:
    return _enhanced(folder, base_series(), "2.2")


@_good()
def enhanced_ct_frames_out_of_order(folder: Path) -> Source:
    datasets = base_series()
    random.Random(1).shuffle(datasets)
    return _enhanced(folder, datasets, "2.1")


@_good()
def enhanced_ct_in_a_folder_compressed(folder: Path) -> Source:
    _enhanced(folder, base_series(), "2.1")
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


@_good(modality="MR")
def magnetic(folder: Path) -> Source:
    datasets, expected = _magnetic()
    return Source(path=write_series(datasets, folder), expected=expected)


@_good(modality="MR")
def enhanced_mr(folder: Path) -> Source:
    datasets, expected = _magnetic()
    return Source(path=_enhanced(folder, datasets, "4.1").path, expected=expected)


@_good(modality="MR")
def enhanced_mr_legacy_converted(folder: Path) -> Source:
    datasets, expected = _magnetic()
    return Source(path=_enhanced(folder, datasets[::-1], "4.4").path, expected=expected)


# ---- good: where the files are


@_good()
def nested_folders(folder: Path) -> Source:
    datasets = base_series()
    for k in range(3):
        write_series(datasets[k::3], folder / f"disc {k}" / "DICOM" / "a" / "b")
    return Source(path=folder, expected=base_scan())


@_good("foreign_files")
def foreign_files(folder: Path) -> Source:
    source = plain(folder)
    (folder / "report.pdf").write_bytes(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    (folder / "read me.txt").write_text("not a slice")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 100)
    (folder / "empty").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return source


@_good("foreign_files")
def foreign_files_by_the_thousand(folder: Path) -> Source:
    source = plain(folder / "a" / "series")
    for k in range(3000):
        (folder / "a" / f"note-{k:04d}.txt").write_bytes(b"not a slice")
    return Source(path=folder, expected=source.expected)


@_good("other_objects_ignored")
def media_with_dicomdir(folder: Path) -> Source:
    media = FileSet()
    for dataset in _with(StudyID="1"):
        media.add(dataset)
    media.write(folder)
    return Source(path=folder, expected=base_scan())


def _zipped(compression: int, place: str, folder: Path) -> Source:
    plain(folder / "series")
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted((folder / "series").iterdir()):
            archive.write(file, f"{place}{file.name}")
    return Source(path=path, expected=base_scan())


_add(GOOD, "zip_stored", partial(_zipped, zipfile.ZIP_STORED, ""), (), {})
_add(GOOD, "zip_deflated", partial(_zipped, zipfile.ZIP_DEFLATED, "série/"), (), {})
_add(GOOD, "zip_nested_folders", partial(_zipped, zipfile.ZIP_DEFLATED, "export/a/b/c/"), (), {})


@_good()
def without_preamble(folder: Path) -> Source:
    source = plain(folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[132:])
    return source


@_good()
def names_without_extension(folder: Path) -> Source:
    datasets = base_series()
    return _series(folder, datasets, [f"IM{k:05d}" for k in range(len(datasets))])


@_good()
def names_in_other_scripts(folder: Path) -> Source:
    datasets = base_series()
    return _series(folder / "Hüfte 左股骨", datasets, [f"Schnitt é {k} ф.DCM" for k in range(len(datasets))])


@_good()
def names_that_are_not_utf8(folder: Path) -> Source:
    source = plain(folder)
    for file in sorted(folder.iterdir()):
        os.rename(os.fsencode(file), os.fsencode(folder) + b"/H\xfcfte-" + os.fsencode(file.name))
    return source


@_good()
def symlinked_files(folder: Path) -> Source:
    source = plain(folder / "store")
    (folder / "scan").mkdir()
    for file in source.path.iterdir():
        (folder / "scan" / file.name).symlink_to(file)
    return Source(path=folder / "scan", expected=source.expected)


@_good()
def symlinked_folder(folder: Path) -> Source:
    source = plain(folder / "store")
    (folder / "scan").symlink_to(source.path, target_is_directory=True)
    return Source(path=folder / "scan", expected=source.expected)


@_good()
def one_of_several_series(folder: Path) -> Source:
    plain(folder)
    other = base_series(base_scan()[:, :, ::2] + 100)
    for dataset in other:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = OTHER_SERIES_UID, 7
    write_series(other, folder / "other")
    return Source(path=folder, expected=base_scan(), series_uid=SERIES_UID)


@_good("localizer_ignored")
def localizer_beside(folder: Path) -> Source:
    localizer = base_series(axes="LIP")[30]
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_series([localizer], folder / "scout")
    return Source(path=plain(folder / "scan").path.parent, expected=base_scan())


@_good("secondary_capture")
def capture_beside(folder: Path) -> Source:
    capture = base_series()[0]
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    write_series([capture], folder / "capture")
    return Source(path=plain(folder / "scan").path.parent, expected=base_scan())


# ---- good: how the patient lies


def _lying(position: str, axes: str, folder: Path) -> Source:
    datasets = base_series(axes=axes)
    for dataset in datasets:
        dataset.PatientPosition = position
    return _series(folder, datasets)


for _name, (_position, _axes) in POSITIONS.items():
    _add(GOOD, _name, partial(_lying, _position, _axes), (), {})


def turned(image: sitk.Image, *turns: tuple[str, float]) -> sitk.Image:
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
    expected = turned(base_scan(), *turns)
    return Source(path=write_series(base_series(expected, axes), folder), expected=expected)


for _name, _turns, _axes, _codes in (
    ("oblique_5_degrees", [("x", 5.0)], "LPS", ()),
    ("oblique_20_degrees", [("y", 20.0)], "LPS", ("oblique_orientation",)),
    ("oblique_30_degrees", [("z", 30.0)], "RAS", ("oblique_orientation",)),
    ("oblique_about_three_axes", [("x", 12.0), ("y", -9.0), ("z", 17.0)], "LPI", ("oblique_orientation",)),
    ("oblique_coronal", [("x", 15.0), ("z", -8.0)], "LIP", ("oblique_orientation",)),
):
    _add(GOOD, _name, partial(_oblique, _turns, _axes), _codes, {})


# ---- good: numbers of the grid


def _spaced(spacing_mm: Sequence[float]) -> sitk.Image:
    image = base_scan()
    image.SetSpacing(spacing_mm)
    return image


@_good()
def anisotropic_pixels(folder: Path) -> Source:
    expected = _spaced((6.4, 4.8, 3.0))
    return Source(path=write_series(base_series(expected), folder), expected=expected)


@_good()
def positions_rounded_to_2_decimals(folder: Path) -> Source:
    """Positions rounded to 2 decimals, as some archives store them: a step of 2.9967 mm becomes 2.99 and 3.00."""
    expected = _spaced((6.4, 6.4, 2.9967))
    datasets = base_series(expected)
    for dataset in datasets:
        dataset.ImagePositionPatient = [round(float(mm), 2) for mm in dataset.ImagePositionPatient]
    return Source(path=write_series(datasets, folder), expected=expected)


@_good()
def jitter_below_tolerance(folder: Path) -> Source:
    datasets = base_series()
    for dataset, shift_mm in zip(datasets, itertools.cycle((0.0, 0.004, -0.004)), strict=False):
        dataset.ImagePositionPatient[2] = round(float(dataset.ImagePositionPatient[2]) + shift_mm, 6)
    return _series(folder, datasets)


# ---- good: image files


def _image_file(name: str, axes: str, folder: Path) -> Source:
    sitk.WriteImage(sitk.DICOMOrient(base_scan(), axes), str(folder / name))
    return Source(path=folder / name, expected=base_scan())


nifti_in_axis_order = partial(_image_file, "scan.nii.gz")

for _axes in ("RAS", "LPS", "PIR", "SLA"):
    _add(GOOD, f"nifti_{_axes.lower()}", partial(nifti_in_axis_order, _axes), (), {})
for _name, _file in (
    ("nifti_uncompressed", "scan.nii"),
    ("nrrd_lps", "scan.nrrd"),
    ("nrrd_detached", "scan.nhdr"),
    ("metaimage", "scan.mha"),
    ("metaimage_detached", "scan.mhd"),
):
    _add(GOOD, _name, partial(_image_file, _file, "RAS"), (), {})


def nifti_content(values_zyx: np.ndarray | None = None, **fields: Any) -> bytearray:
    """Return the base scan (or other values on its grid) as a NIfTI-1 file with fields of the header changed."""
    image = base_scan() if values_zyx is None else _on_grid(values_zyx, base_scan())
    content = bytearray(_nifti_bytes(image))
    for name, value in fields.items():
        offset, code = NIFTI_FIELDS[name]
        struct.pack_into(f"<{code}", content, offset, *(value if isinstance(value, Sequence) else [value]))
    return content


def _nifti_bytes(image: sitk.Image) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nii"
        sitk.WriteImage(image, str(path))
        return path.read_bytes()


def _nifti_file(
    folder: Path, content: bytes, name: str = "scan.nii", expected: sitk.Image | None = None
) -> Source:
    path = folder / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    return Source(path=path, expected=expected or base_scan())


def _values() -> np.ndarray:
    return sitk.GetArrayFromImage(base_scan()).astype(np.int32)


@_good()
def nifti_beside_another(folder: Path) -> Source:
    """An uncompressed file of the same name lies beside it: ITK 5 takes the voxels from that one."""
    _nifti_file(folder, nifti_content(_values().astype(np.int16) + 100), "scan.nii")
    return _nifti_file(folder, nifti_content(), "scan.nii.gz")


@_good()
def nifti_sform_only(folder: Path) -> Source:
    return _nifti_file(folder, nifti_content(qform_code=0), "scan.nii.gz")


@_good()
def nifti_qform_only(folder: Path) -> Source:
    return _nifti_file(folder, nifti_content(sform_code=0), "scan.nii.gz")


@_good()
def nifti_scaled_integers(folder: Path) -> Source:
    stored = (2 * (_values() + 100)).astype(np.int16)
    return _nifti_file(folder, nifti_content(stored, scl_slope=0.5, scl_inter=-100.0))


@_good()
def nifti_unsigned_with_intercept(folder: Path) -> Source:
    stored = (_values() + 1024).astype(np.uint16)
    return _nifti_file(folder, nifti_content(stored, scl_slope=1.0, scl_inter=-1024.0))


@_good()
def nifti_slope_of_zero(folder: Path) -> Source:
    """A scl_slope of 0 means that nothing is scaled (nifti1.h), whatever scl_inter says."""
    return _nifti_file(folder, nifti_content(scl_slope=0.0, scl_inter=7.0))


@_good()
def nifti_float64(folder: Path) -> Source:
    return _nifti_file(folder, nifti_content(_values().astype(np.float64)), "scan.nii.gz")


@_good("missing_values")
def nifti_with_border_of_nan(folder: Path) -> Source:
    values, inside = _values().astype(np.float32), np.zeros(_values().shape, bool)
    inside[:, 5:-5, 5:-5] = True
    content = nifti_content(np.where(inside, values, np.nan).astype(np.float32))
    return _nifti_file(folder, content, "scan.nii.gz", _padded(base_scan()))


@_good()
def nifti_four_dimensional_with_one_volume(folder: Path) -> Source:
    x, y, z = base_scan().GetSize()
    return _nifti_file(folder, nifti_content(dim=(4, x, y, z, 1, 1, 1, 1)))


@_good()
def nrrd_in_right_anterior_superior(folder: Path) -> Source:
    """A NRRD whose header counts in RAS, as 3D Slicer and others may write it; raw, in the same file."""
    stored = sitk.DICOMOrient(base_scan(), "RAS")
    mm = np.array([-1.0, -1.0, 1.0])
    vectors = " ".join(
        "({},{},{})".format(*column) for column in (mm[:, None] * _steps_mm(stored)).T.tolist()
    )
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\n"
        f"sizes: {' '.join(str(count) for count in stored.GetSize())}\n"
        f"space directions: {vectors}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        f"space origin: ({','.join(str(p) for p in mm * stored.GetOrigin())})\n\n"
    )
    path = folder / "scan.nrrd"
    path.write_bytes(header.encode("ascii") + sitk.GetArrayFromImage(stored).astype("<i2").tobytes())
    return Source(path=path, expected=base_scan())


# ---- bad: places of the slices


@_defect("missing_slices")
def slice_missing(datasets: list[Dataset]) -> None:
    del datasets[17]


@_defect("missing_slices")
def slices_missing_in_two_places(datasets: list[Dataset]) -> None:
    del datasets[20:22], datasets[9]


@_defect("missing_slices")
def every_second_slice_of_the_lower_half_missing(datasets: list[Dataset]) -> None:
    del datasets[1:13:2]


@_defect("duplicate_positions")
def slice_twice(datasets: list[Dataset]) -> None:
    datasets.append(_copy(datasets[17]))


@_defect("duplicate_positions")
def slice_twice_with_other_noise(datasets: list[Dataset]) -> None:
    again = _copy(datasets[17])
    set_pixels(again, _stored(again) + np.random.default_rng(0).integers(0, 9, (64, 64)))
    datasets.append(again)


@_defect("duplicate_positions")
def two_passes(datasets: list[Dataset]) -> None:
    again = [_copy(dataset) for dataset in datasets]
    for dataset in again:
        set_pixels(dataset, _stored(dataset) + 3)
        dataset.AcquisitionNumber, dataset.InstanceNumber = 2, dataset.InstanceNumber + len(datasets)
    datasets += again


@_defect("duplicate_positions")
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


@_defect("gantry_tilt")
def tilted_by_12_degrees(datasets: list[Dataset]) -> None:
    """The slices are stacked askew, and the table's way is along the patient: voxels of the base lie elsewhere."""
    _tilt(datasets, 12.0)


@_defect("gantry_tilt")
def tilted_by_1_degree(datasets: list[Dataset]) -> None:
    _tilt(datasets, 1.0)


@_defect("uneven_slices")
def step_changes(datasets: list[Dataset]) -> None:
    for k, dataset in enumerate(datasets[20:], start=1):
        dataset.ImagePositionPatient[2] += 1.2 * k


@_defect("uneven_slices")
def one_slice_too_high(datasets: list[Dataset]) -> None:
    datasets[17].ImagePositionPatient[2] += 0.4


@_defect("uneven_slices")
def steps_grow(datasets: list[Dataset]) -> None:
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[2] += round(0.02 * k * k, 6)


@_defect("shifted_slices")
def one_slice_sideways(datasets: list[Dataset]) -> None:
    datasets[17].ImagePositionPatient[0] += 2.0


@_defect("shifted_slices")
def table_moved_sideways(datasets: list[Dataset]) -> None:
    for dataset in datasets[17:]:
        dataset.ImagePositionPatient[0] += 4.0


@_defect("mixed_orientation")
def one_slice_turned(datasets: list[Dataset]) -> None:
    cos, sin = (round(float(f(np.radians(3.0))), 10) for f in (np.cos, np.sin))
    datasets[17].ImageOrientationPatient = [cos, sin, 0, -sin, cos, 0]


@_defect("mixed_orientation")
def one_slice_mirrored(datasets: list[Dataset]) -> None:
    datasets[17].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


# ---- bad: sizes and places that headers state wrong


@_defect("mixed_size")
def mixed_matrix(datasets: list[Dataset]) -> None:
    for dataset in datasets[17:]:
        set_pixels(dataset, _stored(dataset)[:-4, :-4])


@_defect("mixed_size")
def mixed_pixel_size(datasets: list[Dataset]) -> None:
    for dataset in datasets[17:]:
        dataset.PixelSpacing = [6.0, 6.0]


@_defect("mixed_size")
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
    _add(BAD, _name, partial(_write_spoilt, _spoil), ("incomplete_header",), {})


@_defect("incomplete_header")
def position_of_one_slice_absent(datasets: list[Dataset]) -> None:
    del datasets[17].ImagePositionPatient


# ---- bad: pixels


def _spoil_bytes(folder: Path, spoil: Callable[[bytearray], bytes]) -> Source:
    source = Source(path=folder, expected=base_scan())
    middle = sorted(folder.iterdir())[17]
    middle.write_bytes(spoil(bytearray(middle.read_bytes())))
    return source


@_bad("undecodable_pixels")
def slice_cut_off(folder: Path) -> Source:
    plain(folder)
    return _spoil_bytes(folder, lambda content: content[:-3000])


def _flipped(syntax: str, folder: Path) -> Source:
    """Flip every bit of 64 bytes in the middle of a compressed slice."""
    plain(folder)
    change_syntax(folder, syntax)

    def flip(content: bytearray) -> bytes:
        middle = len(content) - (len(content) - 1500) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        return bytes(content)

    return _spoil_bytes(folder, flip)


# Lossless JPEG, JPEG 2000 and deflated data carry no checksum and decode into another picture: no reader can tell.
for _name in ("jpeg_ls", "rle"):
    _add(BAD, f"bits_flipped_{_name}", partial(_flipped, SYNTAXES[_name]), ("undecodable_pixels",), {})


@_bad("undecodable_pixels")
def bit_flipped_in_zip(folder: Path) -> Source:
    """One bit of the pixels of one slice: the archive's checksum knows."""
    source = _zipped(zipfile.ZIP_STORED, "", folder)
    content = bytearray(source.path.read_bytes())
    content[len(content) // 2] ^= 4
    source.path.write_bytes(content)
    return source


@_defect("undecodable_pixels")
def pixels_absent(datasets: list[Dataset]) -> None:
    del datasets[17].PixelData


@_defect("undecodable_pixels")
def rows_more_than_pixels(datasets: list[Dataset]) -> None:
    _set_all("Rows", 96, datasets)


@_defect("no_rescale")
def rescale_absent(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        del dataset.RescaleSlope, dataset.RescaleIntercept


@_defect("no_rescale")
def rescale_of_one_slice_absent(datasets: list[Dataset]) -> None:
    del datasets[17].RescaleIntercept


@_defect("implausible_hu")
def intercept_wrong(datasets: list[Dataset]) -> None:
    _set_all("RescaleIntercept", "0", datasets)


@_defect("implausible_hu")
def slope_of_zero(datasets: list[Dataset]) -> None:
    _set_all("RescaleSlope", "0", datasets)


@_defect("implausible_hu")
def sign_lost(datasets: list[Dataset]) -> None:
    """Signed HU declared unsigned: air becomes brighter than metal."""
    for dataset in datasets:
        _rescale(dataset, 1, 0, signed=True)
        dataset.PixelRepresentation = 0


@_defect("implausible_hu")
def windowed(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        set_pixels(dataset, np.clip(_stored(dataset) - 1024 + 160, 0, 400))
        dataset.RescaleIntercept = "0"


@_defect("implausible_hu")
def inverted(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        set_pixels(dataset, 4095 - _stored(dataset))
        dataset.PhotometricInterpretation = "MONOCHROME1"


@_defect("incomplete_header")
def colour(datasets: list[Dataset]) -> None:
    for dataset in datasets:
        grey = np.clip(_stored(dataset) // 8, 0, 255).astype(np.uint8)
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = np.repeat(grey[..., None], 3, axis=-1).tobytes()


@_defect("incomplete_header")
def palette(datasets: list[Dataset]) -> None:
    """Stored values that mean colours of a table, not intensities."""
    for dataset in datasets:
        dataset.PhotometricInterpretation = "PALETTE COLOR"


# ---- bad: other series than the wanted one


@_defect("not_ct")
def of_another_modality(datasets: list[Dataset]) -> None:
    _set_all("Modality", "MR", datasets)


@_defect("too_few_slices")
def too_few(datasets: list[Dataset]) -> None:
    del datasets[6:]


@_defect("several_series")
def two_series(datasets: list[Dataset]) -> None:
    other = base_series(base_scan() + 50)
    _set_all("SeriesInstanceUID", OTHER_SERIES_UID, other)
    datasets += other


@_defect("localizer_only")
def localizers_only(datasets: list[Dataset]) -> None:
    _set_all("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], datasets)


@_bad("unsupported_frames")
def frames_without_places(folder: Path) -> Source:
    whole = enhanced(base_series(), "1.2.840.10008.5.1.4.1.1.2.1")
    for frame in whole.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    return Source(path=write_series([whole], folder) / "000.dcm", expected=base_scan())


@_bad("missing_slices")
def frame_missing(folder: Path) -> Source:
    datasets = base_series()
    del datasets[17]
    return _enhanced(folder, datasets, "2.1")


@_bad("unreadable_file")
def file_cut_off_in_its_header(folder: Path) -> Source:
    plain(folder)
    return _spoil_bytes(folder, lambda content: content[:400])


@_bad("unreadable_file")
def zip_cut_off(folder: Path) -> Source:
    source = _zipped(zipfile.ZIP_DEFLATED, "", folder)
    source.path.write_bytes(source.path.read_bytes()[:-2000])
    return source


# ---- bad: image files


def _bad_nifti(fields: Mapping[str, Any], folder: Path) -> Source:
    return _nifti_file(folder, nifti_content(**fields))


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
    _add(BAD, _name, partial(_bad_nifti, _fields), (_code,), {})


@_bad("implausible_hu")
def nifti_with_infinities(folder: Path) -> Source:
    values = _values().astype(np.float32)
    values[3, 4, 5:9] = np.inf
    return _nifti_file(folder, nifti_content(values))


@_bad("unreadable_file")
def nifti_cut_off(folder: Path) -> Source:
    return _nifti_file(folder, nifti_content()[:-5000])


@_bad("unreadable_file")
def nifti_gz_cut_off(folder: Path) -> Source:
    source = _nifti_file(folder, nifti_content(), "scan.nii.gz")
    source.path.write_bytes(source.path.read_bytes()[:-5000])
    return source


@_bad("unreadable_file")
def nifti_gz_bit_flipped(folder: Path) -> Source:
    source = _nifti_file(folder, nifti_content(), "scan.nii.gz")
    content = bytearray(source.path.read_bytes())
    content[len(content) // 2] ^= 1
    source.path.write_bytes(content)
    return source


def _cut_image_file(name: str, folder: Path) -> Source:
    sitk.WriteImage(base_scan(), str(folder / name))
    (folder / name).write_bytes((folder / name).read_bytes()[:-5000])
    return Source(path=folder / name, expected=base_scan())


for _name, _file in (("nrrd_cut_off", "scan.nrrd"), ("metaimage_cut_off", "scan.mha")):
    _add(BAD, _name, partial(_cut_image_file, _file), ("unreadable_file",), {})
