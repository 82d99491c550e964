import numpy as np
import pytest

from lib.phantom.anatomy.shape import (
    build_hip_shape,
    draw_hip_shape,
    femur_axes,
    head_top_mm,
    load_shape_model,
)
from lib.phantom.mesh import mesh_volume_above_mm3
from lib.rotations import rotation_matrix

NO_TURN = np.zeros((2, 3))


@pytest.fixture(scope="module")
def mean_shape():
    return build_hip_shape(np.zeros(15), 1.0, NO_TURN)


def volumes_above_scan_end_mm3(sex, count):
    """Volumes of femurs that end 85 to 120 mm below the head's top, times size, as in scans."""
    volumes = []
    for k in range(count):
        rng = np.random.default_rng([7, "MF".index(sex), k])
        shape = draw_hip_shape(rng, sex)
        femur = shape.femurs[0]
        volumes.append(mesh_volume_above_mm3(femur, head_top_mm(femur) - rng.uniform(85, 120) * shape.size))
    return np.array(volumes)


def test_men_and_women_differ_and_vary_as_in_the_published_cohort():
    men, women = (volumes_above_scan_end_mm3(sex, 200) for sex in "MF")
    # standard errors for 200 people: 1.7 % of the ratio, 0.9 % of variation
    assert men.mean() / women.mean() == pytest.approx(1.373, rel=0.05)
    for volumes in (men, women):
        assert volumes.std() / volumes.mean() == pytest.approx(0.174, abs=0.03)


def test_femur_lies_on_the_left_with_its_head_at_the_origin(mean_shape):
    axes = femur_axes(mean_shape.femurs[0])
    assert axes.head_center_xyz_mm[0] == pytest.approx(87, abs=4)
    assert axes.head_center_xyz_mm[1:] == pytest.approx([0, 0], abs=1e-6)
    assert axes.head_radius_mm == pytest.approx(23, abs=1.5)
    # neck and shaft lie lateral, behind and below
    assert axes.neck_base_xyz_mm[0] > axes.head_center_xyz_mm[0] + 20
    assert axes.shaft_xyz_mm[2] < axes.neck_base_xyz_mm[2] < -20


def test_pelvis_is_symmetric_and_meets_at_the_symphysis(mean_shape):
    left, right = mean_shape.hips
    assert left.vertices_xyz_mm[:, 0].min() == pytest.approx(2.5)
    assert right.vertices_xyz_mm[:, 0].max() == pytest.approx(-2.5)
    assert abs(mean_shape.sacrum.vertices_xyz_mm[:, 0].mean()) < 1e-9


def test_right_femur_is_the_mirrored_left(mean_shape):
    left, right = mean_shape.femurs
    assert right.vertices_xyz_mm == pytest.approx(left.vertices_xyz_mm * [-1, 1, 1])
    assert mesh_volume_above_mm3(right, -1e4) == pytest.approx(mesh_volume_above_mm3(left, -1e4))


def test_size_scales_volumes_with_its_cube(mean_shape):
    larger = build_hip_shape(np.zeros(15), 1.1, NO_TURN)
    for mesh, whole in ((larger.femurs[0], mean_shape.femurs[0]), (larger.hips[0], mean_shape.hips[0])):
        assert mesh_volume_above_mm3(mesh, -1e4) == pytest.approx(1.1**3 * mesh_volume_above_mm3(whole, -1e4))


def test_turning_the_femur_leaves_its_head_in_place(mean_shape):
    turned = build_hip_shape(np.zeros(15), 1.0, np.array([[3.0, -2.0, 6.0], [0.0, 0.0, 0.0]]))
    before, after = femur_axes(mean_shape.femurs[0]), femur_axes(turned.femurs[0])
    assert after.head_center_xyz_mm == pytest.approx(before.head_center_xyz_mm, abs=1e-6)
    assert np.linalg.norm(after.shaft_xyz_mm - before.shaft_xyz_mm) > 2


def test_every_drawn_head_lies_in_its_socket():
    socket = load_shape_model().socket
    for k in range(20):
        shape = draw_hip_shape(np.random.default_rng(k), "MF"[k % 2])
        axes = femur_axes(shape.femurs[0])
        distance = np.linalg.norm(shape.hips[0].vertices_xyz_mm[socket] - axes.head_center_xyz_mm, axis=1)
        assert abs(np.median(distance) - axes.head_radius_mm) < 5


def test_moving_keeps_volumes_and_shifts_landmarks(mean_shape):
    moved = mean_shape.moved(rotation_matrix(np.array([0.0, 0.0, 90.0])), np.array([1.0, 2.0, 3.0]))
    x = femur_axes(mean_shape.femurs[0]).head_center_xyz_mm[0]
    assert femur_axes(moved.femurs[0]).head_center_xyz_mm == pytest.approx([1, x + 2, 3], abs=1e-6)
    assert mesh_volume_above_mm3(moved.sacrum, -1e4) == pytest.approx(
        mesh_volume_above_mm3(mean_shape.sacrum, -1e4)
    )
