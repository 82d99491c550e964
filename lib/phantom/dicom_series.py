"""A synthetic scan as a folder of DICOM files as from a Siemens scanner, or with a deliberate defect.

Every attribute that could identify a person holds a canary text, so that tests can search results for it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from lib.atomic import whole_folder
from lib.phantom.people import PhantomPerson
from lib.phantom.voxelize import VoxelGrid
from lib.seeding import derive_seed

CANARY = "CANARY"
_INTERCEPT = -1024
_IMPLEMENTATION_UID = "2.25.270341160518811"


@dataclass(frozen=True, kw_only=True)
class SliceImage:
    """An image to be written: pixels (y, x) int16 HU, position of its first pixel, and attributes that differ."""

    hu_yx: np.ndarray
    position_xyz_mm: tuple[float, float, float]
    spacing_yx_mm: tuple[float, float]
    thickness_mm: float
    series: str = "main"
    kernel: str = "B30s"
    orientation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI")


def write_series(
    hu_zyx: np.ndarray, grid: VoxelGrid, person: PhantomPerson, folder: Path, rng: np.random.Generator
) -> None:
    """Write a scan (int16 HU zyx) with the defect of `person` atomically into `folder`.

    File names are in shuffled order; instance numbers are ascending, descending or shuffled.
    """
    images = series_images(hu_zyx, grid, person.defect, rng)
    numbers = _instance_numbers(len(images), rng)
    names = rng.permutation(len(images))
    with whole_folder(folder) as temporary:
        for k, image in enumerate(images):
            dataset = _dataset(image, person, k, int(numbers[k]))
            path = temporary / f"IM{names[k]:05d}.dcm"
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        if person.defect == "truncated_file":
            _cut_in_half(temporary / f"IM{names[len(images) // 2]:05d}.dcm")


def series_images(
    hu_zyx: np.ndarray, grid: VoxelGrid, defect: str, rng: np.random.Generator
) -> list[SliceImage]:
    """Return the images of a scan, lowest slice first, with those that the defect adds and without those it drops."""
    images = [_slice_image(hu_zyx[k], grid, k) for k in range(len(hu_zyx))]
    middle = len(images) // 2
    if defect == "missing_slice":
        del images[middle]
    elif defect == "duplicated_slice":
        other = np.clip(hu_zyx[middle] + rng.normal(0, 15, hu_zyx[middle].shape), -1024, 3071).astype(
            np.int16
        )
        images.append(_slice_image(other, grid, middle))
    elif defect == "localizer":
        images.append(_localizer(hu_zyx, grid))
    elif defect == "second_series":
        images.extend(_second_series(hu_zyx, grid))
    return images


def _slice_image(hu_yx: np.ndarray, grid: VoxelGrid, k: int) -> SliceImage:
    x, y, z = grid.origin_xyz_mm
    dx, dy, dz = grid.spacing_xyz_mm
    return SliceImage(
        hu_yx=hu_yx, position_xyz_mm=(x, y, z + k * dz), spacing_yx_mm=(dy, dx), thickness_mm=dz
    )


def _localizer(hu_zyx: np.ndarray, grid: VoxelGrid) -> SliceImage:
    """Return the scout view from the front, head up; rows run downward (-z)."""
    x, y, z = grid.origin_xyz_mm
    dx, dy, dz = grid.spacing_xyz_mm
    seen = hu_zyx[::-1].mean(axis=1, dtype=np.float32)
    return SliceImage(
        hu_yx=np.rint(seen).astype(np.int16),
        position_xyz_mm=(x, y + 0.5 * dy * grid.size_xyz[1], z + dz * (grid.size_xyz[2] - 1)),
        spacing_yx_mm=(dz, dx),
        thickness_mm=dy * grid.size_xyz[1],
        series="localizer",
        kernel="T20s",
        orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
        image_type=("ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"),
    )


def _second_series(hu_zyx: np.ndarray, grid: VoxelGrid) -> list[SliceImage]:
    """Return another reconstruction of the same scan: averages of pairs of slices, labelled with a sharp kernel."""
    x, y, z = grid.origin_xyz_mm
    dx, dy, dz = grid.spacing_xyz_mm
    pairs = [(k, hu_zyx[k : k + 2].mean(axis=0)) for k in range(0, len(hu_zyx) - 1, 2)]
    return [
        SliceImage(
            hu_yx=np.rint(mean).astype(np.int16),
            position_xyz_mm=(x, y, z + (k + 0.5) * dz),
            spacing_yx_mm=(dy, dx),
            thickness_mm=2 * dz,
            series="second",
            kernel="B60s",
        )
        for k, mean in pairs
    ]


def _instance_numbers(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ascending, descending or shuffled instance numbers, on which no reading code can rely."""
    rising = np.arange(1, count + 1)
    return (rising, rising[::-1], rng.permutation(rising))[rng.integers(3)]


def _dataset(image: SliceImage, person: PhantomPerson, index: int, number: int) -> Dataset:
    dataset = Dataset()
    is_mr = person.defect == "wrong_modality"
    dataset.SOPClassUID = MRImageStorage if is_mr else CTImageStorage
    dataset.SOPInstanceUID = _uid(person, "image", index)
    dataset.Modality = "MR" if is_mr else "CT"
    _add_identity(dataset, person, image.series)
    _add_geometry(dataset, image, person, number)
    if is_mr:
        dataset.ScanningSequence, dataset.EchoTime, dataset.RepetitionTime = "SE", "12", "550"
    else:
        _add_acquisition(dataset, image)
    _add_pixels(dataset, image.hu_yx)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "OSTEOFLOW"
    return dataset


def _add_identity(dataset: Dataset, person: PhantomPerson, series: str) -> None:
    """Fill every attribute that could name a person, a place or a day with a canary."""
    dataset.PatientName = f"{CANARY}^{person.subject}"
    dataset.PatientID = f"{CANARY}-ID-{person.subject}"
    dataset.PatientBirthDate = "19010203"
    dataset.PatientSex = person.sex
    dataset.PatientAge = f"{person.age:03d}Y"
    dataset.PatientAddress = f"{CANARY} Street 1"
    dataset.PatientComments = f"{CANARY} comment"
    dataset.InstitutionName = f"{CANARY} Hospital"
    dataset.InstitutionAddress = f"{CANARY} Square 2"
    dataset.InstitutionalDepartmentName = f"{CANARY} Department"
    dataset.ReferringPhysicianName = f"{CANARY}^Referrer"
    dataset.PerformingPhysicianName = f"{CANARY}^Performer"
    dataset.OperatorsName = f"{CANARY}^Operator"
    dataset.StationName = f"{CANARY}STATION"
    dataset.DeviceSerialNumber = f"{CANARY}-SERIAL"
    dataset.AccessionNumber = f"{CANARY}ACC"
    dataset.StudyID = f"{CANARY}STUDY"
    dataset.ProtocolName = f"{CANARY} protocol"
    dataset.StudyDescription = f"{CANARY} study"
    dataset.SeriesDescription = f"{CANARY} series {series}"
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, name, "19990102")
    for name in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, name, "030405.000000")
    dataset.StudyInstanceUID = _uid(person, "study")
    dataset.SeriesInstanceUID = _uid(person, "series", series)
    dataset.FrameOfReferenceUID = _uid(person, "frame")
    dataset.SeriesNumber = {"localizer": 1, "main": 2, "second": 3}[series]


def _add_geometry(dataset: Dataset, image: SliceImage, person: PhantomPerson, number: int) -> None:
    dataset.InstanceNumber = number
    dataset.AcquisitionNumber = 1
    dataset.ImageType = list(image.image_type)
    dataset.PatientPosition = "HFS"
    dataset.ImageOrientationPatient = list(image.orientation)
    dataset.ImagePositionPatient = [_decimal(value) for value in image.position_xyz_mm]
    dataset.SliceLocation = _decimal(image.position_xyz_mm[2])
    dataset.PixelSpacing = [_decimal(value) for value in image.spacing_yx_mm]
    dataset.SliceThickness = _decimal(image.thickness_mm)
    dataset.PositionReferenceIndicator = ""
    dataset.BodyPartExamined = "HIP"


def _add_acquisition(dataset: Dataset, image: SliceImage) -> None:
    """Add the attributes that a Siemens Sensation 64 writes for an examination with a density phantom."""
    dataset.Manufacturer = "SIEMENS"
    dataset.ManufacturerModelName = "Sensation 64"
    dataset.KVP = "120"
    dataset.XRayTubeCurrent = 190
    dataset.Exposure = 150
    dataset.ExposureTime = 500
    dataset.SpiralPitchFactor = 0.9
    dataset.ConvolutionKernel = image.kernel
    dataset.GantryDetectorTilt = "0"
    dataset.TableHeight = "155"
    dataset.RotationDirection = "CW"
    dataset.DataCollectionDiameter = "500"
    dataset.ReconstructionDiameter = _decimal(image.spacing_yx_mm[1] * image.hu_yx.shape[1])


def _add_pixels(dataset: Dataset, hu_yx: np.ndarray) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu_yx.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = str(_INTERCEPT)
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "50", "400"
    dataset.PixelData = (hu_yx.astype(np.int32) - _INTERCEPT).astype("<u2").tobytes()


def _uid(person: PhantomPerson, *purpose: str | int) -> str:
    # UIDs of the form 2.25 and an integer need no registration
    return f"2.25.{derive_seed(person.scan_seed, 'uid', *purpose)}"


def _decimal(value: float) -> str:
    """Return a DICOM decimal string (at most 16 characters)."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
