"""One scan that is written in many ways, and the comparison with the volume that a reader returns.

`good_variants` holds all variants that a reader must accept, `bad_variants` all that it must refuse, in registries
GOOD and BAD. This module has their common parts: the base scan, the ways to write it, and `misfit`.
"""

import gzip
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid
from tiny_series import set_pixels, tiny_series, write_series

from lib.phantom.people import PhantomConfig, find_person
from lib.phantom.scan import simulate_scan

AIR_HU = -1024
OTHER_SERIES_UID = "1.2.3.9"
POSITION_TOLERANCE_MM = 0.01

# Transfer syntaxes: the name in variants, and gdcm's name.
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
    """The result of writing a variant: the path for a cohort table, and the volume that a reader must return."""

    path: Path
    expected: sitk.Image
    series_uid: str = ""


Writer = Callable[[Path], Source]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to write the base scan, with the reason codes (`codes`) that a reader must give.

    `write` writes the variant into an empty folder. `codes` are all warnings of a good variant, and the refusals that
    name the defect of a bad one; further refusals may follow from it.
    """

    name: str
    write: Writer
    codes: frozenset[str] = frozenset()
    limits: Mapping[str, Any] = field(default_factory=dict)


def add_variant(variants: dict[str, Variant], name: str, write: Writer, *codes: str, **limits: Any) -> None:
    """Add a variant to a registry; `limits`: fields of ScreeningConfig to read it with."""
    variants[name] = Variant(name=name, write=write, codes=frozenset(codes), limits=limits)


def register(variants: dict[str, Variant], *codes: str, **limits: Any) -> Callable[[Writer], Writer]:
    """Return a decorator that adds a writer to a registry under the name of its function."""

    def add(write: Writer) -> Writer:
        add_variant(variants, write.__name__, write, *codes, **limits)
        return write

    return add


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
    """Return the CT slices of `image` (the base scan) as a scanner writes them, with index axes along `axes`."""
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
    """Differences of a volume from the expected one."""

    position_mm: float  # largest distance from an expected voxel to the nearest one of the volume
    differing: int  # expected voxels with another HU, or outside the volume
    invented: int  # voxels of the volume beyond the number expected

    @property
    def fits(self) -> bool:
        """Whether every voxel has the correct HU at the correct place."""
        return self.position_mm <= POSITION_TOLERANCE_MM and not self.differing and not self.invented


def misfit(image: sitk.Image, expected: sitk.Image) -> Misfit:
    """Compare HU at the physical points of all voxels of `expected`; values below -1024 count as -1024."""
    return misfit_at(image, voxel_places_mm(expected), sitk.GetArrayFromImage(expected).ravel())


def misfit_at(image: sitk.Image, places_mm: np.ndarray, hu: np.ndarray) -> Misfit:
    """Compare `image` with `hu` (n) that belong to places (n, 3), LPS in mm."""
    steps = steps_mm(image)
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
    """Return the places of all voxels (n, 3), LPS in mm, x fastest."""
    z, y, x = np.indices(image.GetSize()[::-1])
    return np.stack([x, y, z], axis=-1).reshape(-1, 3) @ steps_mm(image).T + np.array(image.GetOrigin())


def steps_mm(image: sitk.Image) -> np.ndarray:
    """Return the 3 x 3 matrix whose columns are the steps of the index axes in mm."""
    return np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())


def write_base(folder: Path) -> Source:
    """Write the base series as it is."""
    return write_slices(folder, base_series())


def write_slices(folder: Path, datasets: list[Dataset], names: list[str] | None = None) -> Source:
    """Write slices from which a reader must return the base scan."""
    return Source(path=write_series(datasets, folder, names), expected=base_scan())


def stored_values(dataset: Dataset) -> np.ndarray:
    """Return the stored values (rows, columns) of 16 bits, int32, read as unsigned."""
    return np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns).astype(np.int32)


def rescale(
    dataset: Dataset, slope: float, intercept: float, *, signed: bool = False, bits: int = 16
) -> None:
    """Store other values for the same HU in a slice of the base series."""
    values = np.rint((stored_values(dataset) - 1024 - intercept) / slope).astype(np.int32)
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    set_pixels(dataset, values)


def change_syntax(folder: Path, syntax: str) -> Path:
    """Convert all files of `folder` to a transfer syntax, given by gdcm's name; return the folder."""
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


def write_zip(compression: int, place: str, folder: Path) -> Source:
    """Write the base series into an archive, its members in the folder `place` ("" or ending with "/")."""
    write_base(folder / "series")
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted((folder / "series").iterdir()):
            archive.write(file, f"{place}{file.name}")
    return Source(path=path, expected=base_scan())


def enhanced(datasets: Sequence[Dataset], sop_class: str) -> Dataset:
    """Return one multi-frame dataset of slices: shared pixel size and scaling, and the place of each frame."""
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


def write_enhanced(folder: Path, datasets: Sequence[Dataset], code: str) -> Source:
    """Write slices as one multi-frame file; `code`: the end of its SOP class, as 2.1 of Enhanced CT."""
    whole = enhanced(datasets, f"1.2.840.10008.5.1.4.1.1.{code}")
    return Source(path=write_series([whole], folder) / "000.dcm", expected=base_scan())


def nifti_content(values_zyx: np.ndarray | None = None, **fields: Any) -> bytearray:
    """Return the base scan (or other values on its grid) as a NIfTI-1 file with fields of the header changed."""
    image = base_scan() if values_zyx is None else on_grid(values_zyx, base_scan())
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


def write_nifti(
    folder: Path, content: bytes, name: str = "scan.nii", expected: sitk.Image | None = None
) -> Source:
    """Write the content of a NIfTI file, compressed where `name` ends with .gz."""
    path = folder / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    return Source(path=path, expected=expected or base_scan())


def base_hu_zyx() -> np.ndarray:
    """Return the HU of the base scan, int32."""
    return sitk.GetArrayFromImage(base_scan()).astype(np.int32)


def on_grid(values_zyx: np.ndarray, image: sitk.Image) -> sitk.Image:
    """Return values as a volume on the grid of `image`."""
    made = sitk.GetImageFromArray(values_zyx)
    made.CopyInformation(image)
    return made
