"""Folders of scans as people have them: synthetic DICOM series, and image files with label maps."""

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from lib.phantom.people import PhantomConfig, find_person
from lib.phantom.scanner.machines import CtScanner
from lib.phantom.series.ct_series import ct_images
from lib.phantom.series.dicom_series import write_series
from lib.phantom.voxelize import VoxelGrid

PEOPLE = PhantomConfig(people=3, defects=("localizer", "second_series", "repeat"))
GRID = VoxelGrid(
    origin_xyz_mm=(-150.0, -120.0, -700.0), spacing_xyz_mm=(20.0, 20.0, 6.0), size_xyz=(16, 12, 22)
)
HU = np.random.default_rng(0).integers(-1024, 1500, (22, 12, 16)).astype(np.int16)
# below it, left and right of the middle of GRID: LPS x is positive on the left
LEFT, RIGHT = np.s_[4:10, 4:8, 11:14], np.s_[4:10, 4:8, 2:5]


def write_dicom(root: Path, scan: str, *, place: str = "dicom") -> Path:
    """Write the series of a synthetic scan, with canaries in its headers, into `root/scan/place`."""
    folder = root / scan / place
    person, rng = find_person(PEOPLE, scan), np.random.default_rng(1)
    write_series(ct_images(HU, GRID, person, CtScanner(), rng), person, folder, rng)
    return folder


def change_headers(folder: Path, **values: object) -> None:
    """Give all files of a folder these header fields."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def write_image(path: Path, values_zyx: np.ndarray | None = None) -> Path:
    """Write an image on GRID; by default CT values."""
    image = sitk.GetImageFromArray(HU if values_zyx is None else values_zyx)
    image.SetOrigin(GRID.origin_xyz_mm)
    image.SetSpacing(GRID.spacing_xyz_mm)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_labels(path: Path, **places: int) -> Path:
    """Write a label map on GRID with values at `left` and `right`, and others in slices of their own."""
    labels_zyx = np.zeros(HU.shape, np.uint8)
    for number, (name, value) in enumerate(places.items()):
        where = {"left": LEFT, "right": RIGHT}.get(name, np.s_[number, 2:5, 7:9])
        labels_zyx[where] = value
    return write_image(path, labels_zyx)
