import numpy as np
import pytest
from phantom_solids import ball, box

from lib.phantom.anatomy.implant import nail_mesh
from lib.phantom.anatomy.shape import FemurAxes
from lib.phantom.mesh import (
    Mesh,
    cut_off,
    join,
    loft,
    mesh_centroid_mm,
    mesh_volume_above_mm3,
    mesh_volume_mm3,
    mirror,
    move,
    offset,
    tube,
)
from lib.rotations import rotation_matrix


@pytest.mark.parametrize(("z_mm", "height_mm"), [(-9.0, 5.0), (1.0, 5.0), (2.5, 3.5), (6.0, 0.0), (8.0, 0.0)])
def test_box_above_a_plane(z_mm, height_mm):
    assert mesh_volume_above_mm3(box((0, 0, 1), (2, 3, 6)), z_mm) == pytest.approx(6 * height_mm, abs=1e-12)


@pytest.mark.parametrize("z_mm", [0.0, 0.2, 0.7])
def test_tetrahedron_above_a_plane(z_mm):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    volume = mesh_volume_above_mm3(Mesh(vertices_xyz_mm=vertices, faces=faces), z_mm)
    assert volume == pytest.approx((1 - z_mm) ** 3 / 6, rel=1e-12)


@pytest.mark.parametrize("z_mm", [-8.0, 0.0, 3.0])
def test_sphere_above_a_plane(z_mm):
    cap_mm = 10 - z_mm
    assert mesh_volume_above_mm3(ball(10, rings=90), z_mm) == pytest.approx(
        np.pi * cap_mm**2 * (30 - cap_mm) / 3, rel=2e-3
    )


def test_oblique_cylinder_keeps_its_volume():
    axes = FemurAxes(
        head_center_xyz_mm=np.array([90.0, 5, 0]),
        head_radius_mm=23,
        neck_base_xyz_mm=np.array([120.0, 25, -30]),
        shaft_xyz_mm=np.array([115.0, 24, -106]),
    )
    length = 1.5 * np.linalg.norm([30, 20, -30])
    area = 0.5 * 24 * 5.5**2 * np.sin(2 * np.pi / 24)
    assert mesh_volume_above_mm3(nail_mesh(axes), -1000) == pytest.approx(area * length, rel=1e-12)


def test_upper_and_lower_part_add_up():
    tilted = move(ball(10), rotation_matrix(np.array([20.0, -30, 50])), np.array([3.0, 2, 1]))
    turned_over = move(tilted, rotation_matrix(np.array([180.0, 0, 0])), np.zeros(3))
    whole = mesh_volume_above_mm3(tilted, -100)
    assert mesh_volume_above_mm3(tilted, 4.0) + mesh_volume_above_mm3(turned_over, -4.0) == pytest.approx(
        whole, rel=1e-12
    )


def test_mirrored_surface_still_faces_outward():
    solid = box((1, 0, 0), (3, 2, 2))
    assert mesh_volume_above_mm3(mirror(solid), -1) == pytest.approx(8)
    assert mirror(solid).vertices_xyz_mm[:, 0].max() == -1


def test_offset_sphere_is_a_larger_sphere():
    radius = np.linalg.norm(offset(ball(10), 2.0).vertices_xyz_mm, axis=1)
    assert radius == pytest.approx(12.0, abs=0.01)


def test_a_ball_is_cut_by_an_oblique_plane():
    normal = np.array([1.0, 2.0, 2.0]) / 3
    whole = ball(10, (3.0, 4.0, 5.0), rings=60)
    part, rest = (
        cut_off(whole, np.array([3.0, 4.0, 5.0]) + 4 * normal, side * normal) for side in (1.0, -1.0)
    )
    assert mesh_volume_mm3(part) + mesh_volume_mm3(rest) == pytest.approx(mesh_volume_mm3(whole), rel=1e-12)
    cap_mm = 6.0
    assert mesh_volume_mm3(rest) == pytest.approx(np.pi * cap_mm**2 * (30 - cap_mm) / 3, rel=5e-3)
    assert ((part.vertices_xyz_mm - [3, 4, 5]) @ normal).max() == pytest.approx(4.0)


def test_a_cut_through_two_legs_is_closed():
    legs = join([box((0, 0, 0), (1, 1, 4)), box((3, 0, 0), (5, 1, 4))])
    assert mesh_volume_mm3(cut_off(legs, np.array([0, 0, 3.0]), np.array([0, 0, 1.0]))) == pytest.approx(9.0)


def test_a_plane_beside_a_surface_cuts_nothing():
    whole = box((0, 0, 0), (1, 1, 4))
    assert mesh_volume_mm3(cut_off(whole, np.array([0, 0, 9.0]), np.array([0, 0, 1.0]))) == pytest.approx(4.0)


def test_centroids_of_known_solids():
    assert mesh_centroid_mm(box((1, 2, 3), (3, 6, 4))) == pytest.approx([2, 4, 3.5])
    half = cut_off(ball(8, rings=90), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    assert mesh_centroid_mm(half) == pytest.approx([0, -3.0, 0], abs=0.02)  # 3/8 of the radius


def test_a_tube_has_the_volume_of_an_elliptic_cylinder():
    course = np.column_stack([np.zeros(6), np.linspace(0, 30, 6), np.linspace(0, 40, 6)])
    mesh = tube(course, np.array([3.0, 5.0]), np.array([1.0, 0.0, 0.0]), points=120)
    assert mesh_volume_mm3(mesh) == pytest.approx(np.pi * 15 * 50, rel=2e-3)
    assert np.ptp(mesh.vertices_xyz_mm[:, 0]) == pytest.approx(6.0)


def test_a_loft_between_two_squares_is_a_frustum():
    low, high = (
        half * np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0.0]]) + [0, 0, z]
        for half, z in ((2.0, 0.0), (1.0, 6.0))
    )
    assert mesh_volume_mm3(loft(np.stack([low, high]))) == pytest.approx(6 / 3 * (16 + 4 + 8))
