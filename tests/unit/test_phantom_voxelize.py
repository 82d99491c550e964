import numpy as np
import pytest
from phantom_solids import ball, both, box

from lib.phantom.mesh import mesh_volume_above_mm3, mirror
from lib.phantom.voxelize import VoxelGrid, coverage

GRID = VoxelGrid(origin_xyz_mm=(-14.0, -13.0, -12.0), spacing_xyz_mm=(0.7, 0.9, 2.0), size_xyz=(41, 30, 13))
UNIT = VoxelGrid(origin_xyz_mm=(0.5, 0.5, 0.5), spacing_xyz_mm=(1.0, 1.0, 1.0), size_xyz=(5, 4, 3))


def test_box_fills_the_share_of_each_voxel():
    share = coverage(box((1.25, 1, 1), (3.5, 2, 2)), UNIT, 3)
    assert share.shape == (3, 4, 5)
    assert share[1, 1] == pytest.approx([0, 0.75, 1, 0.5, 0], abs=1e-6)
    assert share.sum() == pytest.approx(2.25, abs=1e-6)


def test_shares_along_y_and_z_are_counted_in_sub_lines():
    share = coverage(box((1, 1, 1 / 3), (2, 1 + 2 / 3, 1)), UNIT, 3)
    assert share[0, 1, 1] == pytest.approx(4 / 9, abs=1e-6)


def test_sphere_has_its_volume():
    sphere = ball(9.3, center=(0.3, -0.2, 0.1))
    volume = coverage(sphere, GRID, 3).sum() * 0.7 * 0.9 * 2.0
    assert volume == pytest.approx(mesh_volume_above_mm3(sphere, -100), rel=2e-3)


def test_what_lies_outside_the_grid_is_cut_off():
    sphere = ball(9.3, center=(0.0, 0.0, GRID.bottom_mm + 2.0))
    volume = coverage(sphere, GRID, 4).sum() * 0.7 * 0.9 * 2.0
    assert volume == pytest.approx(mesh_volume_above_mm3(sphere, GRID.bottom_mm), rel=4e-3)


def test_surface_that_starts_left_of_the_grid_fills_from_its_edge():
    share = coverage(box((-7, 1, 1), (1.5, 2, 2)), UNIT, 2)
    assert share[1, 1] == pytest.approx([1, 0.5, 0, 0, 0], abs=1e-6)


def test_surface_beyond_the_grid_fills_nothing():
    assert coverage(box((9, 1, 1), (12, 2, 2)), UNIT, 2).sum() == 0


def test_overlapping_parts_count_once():
    share = coverage(both(box((1, 1, 1), (3, 2, 2)), box((2, 1, 1), (4, 2, 2))), UNIT, 2)
    assert share[1, 1] == pytest.approx([0, 1, 1, 1, 0], abs=1e-6)


def test_mirrored_mesh_gives_the_mirrored_image():
    grid = VoxelGrid(origin_xyz_mm=(-9.5, -9.5, -9.5), spacing_xyz_mm=(1.0, 1.0, 1.0), size_xyz=(20, 20, 20))
    sphere = ball(4.0, center=(3.1, 0.2, -1.3), rings=12)
    difference = coverage(mirror(sphere), grid, 3) - coverage(sphere, grid, 3)[:, :, ::-1]
    assert np.abs(difference).max() < 1e-6


def test_crop_around_keeps_voxels_in_place():
    part, where = GRID.crop_around(np.array([-3.0, -3, -3]), np.array([3.0, 3, 3]))
    for axis in range(3):
        assert part.centers_mm(axis) == pytest.approx(GRID.centers_mm(axis)[where[2 - axis]])
        assert part.centers_mm(axis)[0] <= -3 and part.centers_mm(axis)[-1] >= 3
