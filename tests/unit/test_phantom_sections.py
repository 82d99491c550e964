"""Plane sections of closed surfaces: areas and centroids that are known."""

import numpy as np
import pytest
from phantom_solids import ball, both, box

from lib.phantom.mesh import cut_off, mesh_volume_mm3
from lib.phantom.sections import around_axis, outlines

UP = np.array([0.0, 0.0, 1.0])


def test_a_box_has_the_area_and_centroid_of_its_section():
    (found,) = outlines(box((1, 2, 3), (5, 8, 13)), np.array([0.0, 0.0, 7.1]), UP)
    assert found.area_mm2 == pytest.approx(4 * 6)
    assert found.centroid_xyz_mm == pytest.approx([3, 5, 7.1])


def test_an_oblique_section_is_larger_by_the_cosine():
    normal = np.array([0.6, 0.0, 0.8])
    (found,) = outlines(box((-4, -3, -50), (4, 3, 50)), np.array([0.1, 0.0, 0.2]), normal)
    assert found.area_mm2 == pytest.approx(8 * 6 / 0.8)


def test_a_hole_counts_negative_and_nothing_is_cut_outside():
    outside, inside = box((-9, -9, -9), (9, 9, 9)), box((-3, -3, -3), (3, 3, 3))
    hollow = both(
        outside, inside.__class__(vertices_xyz_mm=inside.vertices_xyz_mm, faces=inside.faces[:, ::-1])
    )
    areas = sorted(outline.area_mm2 for outline in outlines(hollow, np.array([0.0, 0.0, 0.5]), UP))
    assert areas == pytest.approx([-36, 324])
    assert outlines(outside, np.array([0.0, 0.0, 9.5]), UP) == []


def test_sections_add_up_to_the_volume():
    solid = ball(20.0, rings=60)
    normal = np.array([1.0, 2.0, 2.0]) / 3
    heights = np.arange(-14.95, 15, 0.1)
    areas = [sum(ring.area_mm2 for ring in outlines(solid, h * normal, normal)) for h in heights]
    between = cut_off(cut_off(solid, 15 * normal, normal), -15 * normal, -normal)
    assert np.sum(areas) * 0.1 == pytest.approx(mesh_volume_mm3(between), rel=1e-5)


def test_the_outline_around_the_axis_is_taken_although_another_centre_is_nearer():
    wide, small = box((-10, -2, -5), (40, 2, 5)), box((-1, 3, -5), (1, 5, 5))
    point = np.array([0.0, 0.0, 0.1])
    found = outlines(both(wide, small), point, UP)
    assert around_axis(found, point, 30.0).area_mm2 == pytest.approx(50 * 4)
    beside = np.array([0.0, 2.5, 0.1])
    assert around_axis(found, beside, 30.0).area_mm2 == pytest.approx(4)
    assert around_axis(found, np.array([0.0, 90.0, 0.1]), 30.0) is None
