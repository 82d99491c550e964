"""A synthetic scan as a folder of DICOM files, or with a deliberate defect."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from lib.atomic import whole_folder
from lib.phantom.people import HIP, SPINE, PhantomPerson, derive_uid
from lib.phantom.series.identity import add_identity

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
_BODY_PARTS = {HIP: "HIP", SPINE: "LSPINE"}
_IMPLEMENTATION_UID = "2.25.270341160518811"


@dataclass(frozen=True, kw_only=True)
class SliceImage:
    """An image to be written: stored pixels (row, column), place of the first one, and what the modality adds.

    `attributes` are DICOM keywords with their values, among them Modality. `location_mm` is the place along the slice
    axis.
    """

    stored: np.ndarray
    position_xyz_mm: tuple[float, float, float]
    location_mm: float
    spacing_yx_mm: tuple[float, float]
    thickness_mm: float
    series: str
    orientation: tuple[float, ...]
    image_type: tuple[str, ...]
    attributes: Mapping[str, object]


def write_series(
    images: Sequence[SliceImage], person: PhantomPerson, folder: Path, rng: np.random.Generator
) -> None:
    """Write images atomically into `folder`.

    File names are in shuffled order; instance numbers are ascending, descending or shuffled. With the defect
    truncated_file, one file of the wanted series is cut in half.
    """
    numbers = _instance_numbers(len(images), rng)
    names = rng.permutation(len(images))
    with whole_folder(folder) as temporary:
        for k, image in enumerate(images):
            dataset = _dataset(image, person, k, int(numbers[k]))
            path = temporary / f"IM{names[k]:05d}.dcm"
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        if person.defect == "truncated_file":
            wanted = [name for name, image in zip(names, images, strict=True) if image.series == "main"]
            _cut_in_half(temporary / f"IM{wanted[len(wanted) // 2]:05d}.dcm")


def decimal(value: float) -> str:
    """Return a DICOM decimal string (at most 16 characters)."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _instance_numbers(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ascending, descending or shuffled instance numbers, on which no reading code can rely."""
    rising = np.arange(1, count + 1)
    return (rising, rising[::-1], rng.permutation(rising))[rng.integers(3)]


def _dataset(image: SliceImage, person: PhantomPerson, index: int, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = _CLASSES[image.attributes["Modality"]]
    dataset.SOPInstanceUID = derive_uid(person, "image", index)
    add_identity(dataset, person, image.series)
    _add_geometry(dataset, image, number, _BODY_PARTS[person.anatomy])
    for keyword, value in image.attributes.items():
        setattr(dataset, keyword, value)
    _add_pixels(dataset, image.stored)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "OSTEOFLOW"
    return dataset


def _add_geometry(dataset: Dataset, image: SliceImage, number: int, body_part: str) -> None:
    dataset.InstanceNumber = number
    dataset.AcquisitionNumber = 1
    dataset.ImageType = list(image.image_type)
    dataset.PatientPosition = "HFS"
    dataset.ImageOrientationPatient = list(image.orientation)
    dataset.ImagePositionPatient = [decimal(value) for value in image.position_xyz_mm]
    dataset.SliceLocation = decimal(image.location_mm)
    dataset.PixelSpacing = [decimal(value) for value in image.spacing_yx_mm]
    dataset.SliceThickness = decimal(image.thickness_mm)
    dataset.PositionReferenceIndicator = ""
    dataset.BodyPartExamined = body_part


def _add_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype("<u2").tobytes()


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
