import numpy as np
import pytest
from phantom_solids import ball, box

from lib.phantom.anatomy.implant import nail_mesh
from lib.phantom.anatomy.shape import FemurAxes
from lib.phantom.mesh import Mesh, mesh_volume_above_mm3, mirror, move, offset
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
