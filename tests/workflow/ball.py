"""A cohort of two balls in MR contrast: an anatomy of its own, in coronal slices, for tests of the whole workflow."""

import csv
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SIZE_XYZ, SPACING_MM_XYZ = (28, 12, 26), (4.0, 6.0, 4.0)
RADII_MM = {"big": 18.0, "small": 13.0}
VALUES = {"big": 3, "small": 7}  # in the reference files
BAD = "B5"  # a phase image
PEOPLE = 4

OVERLAY = {
    "study": "ball",
    "anatomy": "generic",
    "structures": {name: [value] for name, value in VALUES.items()},
    "groups": {"all": {}},
    "screening": {"modality": "MR", "min_slices": 6, "min_length_mm": 40.0},
    "resample": {"method": "none"},
    "crop": {"method": "centre", "size": [24, 24]},
    "model_frame": {"slice_axis": "acquired"},
    "intensity": {"scale": "percentile", "low": 0.5, "high": 99.5},
    "folds": {"folds": 2, "test_fraction": 0.0, "age_bands": 1},
    "grid": {
        "dimensions": [2, 3],
        "initial_maps": [8],
        "levels": [2],
        "bottleneck_dilation": [1],
        "normalisation": "batch",
    },
    "train": {
        "epochs": 18,
        "batch_size": 2,
        "samples_per_scan": 4,
        "window_slices": 8,
        "loss": "dice_cross_entropy",
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "validate_every": 9,
        "validate_step": 4,
        "augment": {"mirror_axes": ["z"], "rotation_degrees": 5.0},
    },
    "mask": {"method": "argmax"},
}


def ball_volumes_mm3(person: int) -> dict[str, float]:
    """Return the true volume of each ball of a person."""
    return {name: 4 / 3 * np.pi * radius**3 for name, radius in _radii_mm(person).items()}


def make_balls(folder: Path) -> Path:
    """Write series, references and the cohort table; return the table."""
    rows = []
    for person in range(1, PEOPLE + 1):
        scan = f"B{person}"
        image, labels = _volumes(person)
        _write_series(image, folder / scan, number=1)
        # derived images in the same folder
        _write_series(image, folder / scan, number=2, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
        sitk.WriteImage(sitk.DICOMOrient(labels, "RAS"), folder / f"{scan}.nii.gz")
        row = {"scan": scan, "image": scan, "mask": f"{scan}.nii.gz"}
        rows.append(row | {"sex": "MF"[person % 2], "age": 30 + person})
    _write_series(_volumes(9)[0], folder / BAD, number=1, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    rows.append({"scan": BAD, "image": BAD})
    with open(folder / "cohort.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["scan", "image", "mask", "sex", "age"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cohort.csv"


def make_axial(folder: Path, person: int) -> None:
    """Let the cohort table name another image of a person: one file with axial slices, without a reference."""
    scan, name = f"B{person}", f"B{person}-axial.nii.gz"
    array_zyx = sitk.GetArrayFromImage(_volumes(person)[0])
    image = sitk.GetImageFromArray(array_zyx.swapaxes(0, 1))
    image.SetSpacing([SPACING_MM_XYZ[axis] for axis in (0, 2, 1)])
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), folder / name)
    table = folder / "cohort.csv"
    table.write_text(table.read_text().replace(f"{scan},{scan},{scan}.nii.gz", f"{scan},{name},"))


def _radii_mm(person: int) -> dict[str, float]:
    return {name: radius + 0.7 * (person % 3) for name, radius in RADII_MM.items()}


def _volumes(person: int) -> tuple[sitk.Image, sitk.Image]:
    """Return image (int16, an arbitrary scale) and label map of a person, on patient axes."""
    rng = np.random.default_rng(person)
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(SIZE_XYZ, SPACING_MM_XYZ, strict=True)]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    body = (x / 52) ** 2 + (y / 33) ** 2 + (z / 50) ** 2 < 1
    signal, labels = np.where(body, 260.0, 8.0), np.zeros(body.shape, np.uint8)
    shift = rng.uniform(-3, 3, 3)
    for name, side, value in (("big", -1, 900.0), ("small", 1, 560.0)):
        center = np.array([20.0 * side, 0.0, 9.0 * side]) + shift
        radius = _radii_mm(person)[name]
        inside = sum((axis - c) ** 2 for axis, c in zip((x, y, z), center, strict=True)) < radius**2
        signal[inside], labels[inside] = value, VALUES[name]
    labels[:2, :2, :2] = 9  # a value that no structure claims
    signal = np.abs(signal + rng.normal(0, 12, signal.shape)) * rng.uniform(0.5, 2.0)
    made = [sitk.GetImageFromArray(array) for array in (np.rint(signal).astype(np.int16), labels)]
    for each in made:
        each.SetSpacing(SPACING_MM_XYZ)
        each.SetOrigin((-50.0, -30.0, 100.0 * person))
    return made[0], made[1]


def _write_series(image: sitk.Image, folder: Path, number: int, **elements: object) -> None:
    """Write the coronal slices of an image: columns to the left, rows to the feet, slices to the back."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = sitk.DICOMOrient(image, "LIP")
    direction = np.array(stored.GetDirection()).reshape(3, 3)
    uid = generate_uid()
    for k, pixels in enumerate(sitk.GetArrayFromImage(stored)):
        dataset = _header(uid, number)
        dataset.ImagePositionPatient = [round(p, 6) for p in stored.TransformIndexToPhysicalPoint((0, 0, k))]
        dataset.ImageOrientationPatient = [*direction[:, 0], *direction[:, 1]]
        dataset.PixelSpacing = [stored.GetSpacing()[1], stored.GetSpacing()[0]]
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = pixels.astype("<u2").tobytes()
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / f"{number}-{k:03d}.dcm", enforce_file_format=True)


def _header(uid: str, number: int) -> Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MR_IMAGE_STORAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.SeriesNumber = uid, number
    dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M", "ND"]
    dataset.Manufacturer, dataset.MagneticFieldStrength = "TinyScan", 3
    dataset.ScanningSequence, dataset.SequenceVariant = "GR", "SP"
    dataset.EchoTime, dataset.RepetitionTime, dataset.FlipAngle = 4.92, 37, 25
    dataset.SliceThickness = SPACING_MM_XYZ[1]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    return dataset
