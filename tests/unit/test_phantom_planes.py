"""Slices along any patient axis: what ITK reads from the written series is the volume at its place."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.phantom.people import PhantomConfig, find_person
from lib.phantom.scanner.machines import MrProtocol, MrScanner
from lib.phantom.series.dicom_series import write_series
from lib.phantom.series.mr_series import mr_attributes, plane_images
from lib.phantom.series.planes import AXIAL, CORONAL, SAGITTAL, cut_slices
from lib.phantom.voxelize import VoxelGrid

CONFIG = PhantomConfig(people=1, modality="MR")
GRID = VoxelGrid(origin_xyz_mm=(10.5, -7.5, -20.25), spacing_xyz_mm=(1.25, 2.5, 0.75), size_xyz=(7, 5, 6))
STORED = np.random.default_rng(0).integers(0, 4096, GRID.shape_zyx).astype(np.uint16)
PLANES = {"axial": AXIAL, "coronal": CORONAL, "sagittal": SAGITTAL}


@pytest.mark.parametrize("name", PLANES)
def test_axes_are_right_handed(name):
    matrix = np.array(PLANES[name].direction).reshape(3, 3)
    assert np.linalg.det(matrix) == pytest.approx(1)
    row, column = np.array(PLANES[name].orientation).reshape(2, 3)
    assert np.array_equal(matrix[:, 2], np.cross(row, column))


@pytest.mark.parametrize("name", PLANES)
def test_a_written_series_holds_each_voxel_at_its_place(name, tmp_path):
    person = find_person(CONFIG, "P001")
    attributes = mr_attributes(person, MrScanner(), MrProtocol())
    images = plane_images(STORED, GRID, PLANES[name], attributes)
    write_series(images, person, tmp_path / "dicom", np.random.default_rng(1))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "dicom")))
    image = reader.Execute()
    assert image.GetDirection() == pytest.approx(PLANES[name].direction)
    for z, y, x in np.ndindex(*GRID.shape_zyx):
        place = [float(GRID.centers_mm(axis)[k]) for axis, k in enumerate((x, y, z))]
        index = image.TransformPhysicalPointToIndex(place)
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx(place, abs=1e-4)
        assert image[index] == STORED[z, y, x]


@pytest.mark.parametrize("name", PLANES)
def test_the_stack_says_where_its_slices_lie(name):
    stack = cut_slices(STORED, GRID, PLANES[name])
    axis, sign = PLANES[name].normal
    steps = np.diff([stack.position_xyz_mm(k) for k in range(len(stack.values))], axis=0)
    assert steps[:, axis] == pytest.approx(sign * GRID.spacing_xyz_mm[axis])
    assert np.delete(steps, axis, axis=1) == pytest.approx(0)
