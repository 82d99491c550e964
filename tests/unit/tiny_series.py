"""Series of a few 9x8 pixel slices for tests: a volume with known voxels, stored in any orientation."""

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STRUCTURED_REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
SERIES_UID = "1.2.3.4.5"
IDENTITY = ("Doe^Jane", "PID-4711", "19510203", "General Hospital", "left hip of Jane", SERIES_UID)


def tiny_scan(slices: int = 12, step_mm: float = 6.0) -> sitk.Image:
    """Return a volume on patient axes with air, bone, and soft tissue in which every voxel differs."""
    hu_zyx = (np.arange(slices * 8 * 9) % 180).astype(np.int16).reshape(slices, 8, 9) - 60
    hu_zyx[:, 4:, :3] = -1000
    hu_zyx[:, :2, 3:] = 800
    image = sitk.GetImageFromArray(hu_zyx)
    image.SetSpacing((0.75, 0.8, step_mm))
    image.SetOrigin((-31.5, 12.25, -700.5))
    return image


def tiny_series(image: sitk.Image, axes: str = "LPS") -> list[Dataset]:
    """Return the CT slices of `image` stored with column, row and slice axes along `axes`, slope 1, HU + 1024."""
    stored = sitk.DICOMOrient(image, axes)
    direction = np.array(stored.GetDirection()).reshape(3, 3)
    datasets = []
    for k, pixels in enumerate(sitk.GetArrayFromImage(stored)):
        dataset = _slice(pixels.astype(np.int32) + 1024, k)
        dataset.ImagePositionPatient = [round(p, 6) for p in stored.TransformIndexToPhysicalPoint((0, 0, k))]
        dataset.ImageOrientationPatient = [*direction[:, 0], *direction[:, 1]]
        dataset.PixelSpacing = [stored.GetSpacing()[1], stored.GetSpacing()[0]]
        datasets.append(dataset)
    return datasets


def set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Store `pixels` (rows, columns) in 16 bits, signed or unsigned according to the header."""
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.astype("<i2" if dataset.PixelRepresentation else "<u2").tobytes()


def write_series(datasets: list[Dataset], folder: Path, names: list[str] | None = None) -> Path:
    """Write one file a dataset into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, dataset in enumerate(datasets):
        dataset.save_as(folder / (names[k] if names else f"{k:03d}.dcm"), enforce_file_format=True)
    return folder


def _slice(pixels: np.ndarray, number: int) -> Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CT_IMAGE_STORAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = IDENTITY[:3]
    dataset.InstitutionName, dataset.SeriesDescription, dataset.SeriesInstanceUID = IDENTITY[3:]
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.InstanceNumber = 3, number + 1
    dataset.Manufacturer, dataset.ConvolutionKernel, dataset.KVP = "TinyScan", "B30s", "120"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    set_pixels(dataset, pixels)
    return dataset
