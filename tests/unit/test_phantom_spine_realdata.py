"""A real spine of another origin in the synthetic scanner: the Visible Human Male."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from lib.phantom.anatomy.spine_bone import LABELS
from lib.phantom.given_spine import scan_given_spine
from lib.phantom.mesh import mesh_volume_mm3
from lib.phantom.scanner.ct import CtImages
from lib.phantom.scanner.machines import CtScanner
from tests.real_spine import DENSITIES, LUMBAR, needs_shapes, read_real_spine

pytestmark = [pytest.mark.realdata, needs_shapes]


@pytest.fixture(scope="module")
def spine():
    return read_real_spine()


@pytest.fixture(scope="module")
def made(spine):
    images = CtImages(matrix=192, pixel_mm=1.5, slice_mm=3.0)
    return scan_given_spine(spine, images, CtScanner(noise_hu=0.0), 7)


def test_bodies_have_the_volumes_of_the_surfaces(spine, made):
    voxel_mm3 = np.prod(made.grid.spacing_xyz_mm)
    for level in LUMBAR:
        exact = mesh_volume_mm3(spine.bodies[level])
        assert 43_400 < exact < 45_700
        assert made.truth["levels"][level]["body_mm3"] == pytest.approx(exact)
        assert (made.mask_zyx == LABELS[level]).sum() * voxel_mm3 == pytest.approx(exact, rel=0.025)


def test_labels_run_from_above_and_end_with_the_sacrum(made):
    heights = [np.nonzero(made.mask_zyx == label)[0].mean() for label in range(1, 7)]
    assert heights == sorted(heights, reverse=True)


def test_bodies_have_a_thin_shell(made):
    """Bodies bulge beyond their vertebrae. Drawn as cortex, the space between was up to 15 % of a body."""
    for level in LUMBAR:
        hu = made.hu_zyx[made.mask_zyx == LABELS[level]]
        assert 0.005 < np.mean(hu > 450) < 0.075


def test_bodies_show_their_densities(made):
    for level in LUMBAR:
        deep = distance_transform_edt(made.mask_zyx == LABELS[level], made.grid.spacing_xyz_mm[::-1]) > 6.5
        density = (made.hu_zyx[deep].mean() + 0.6) / 1.385
        assert density == pytest.approx(DENSITIES[level], abs=2.5)


def test_the_same_seed_gives_the_same_voxels(spine):
    images = CtImages(matrix=64, pixel_mm=4.5, slice_mm=10.0)
    first, again = (scan_given_spine(spine, images, CtScanner(), 3, supersampling=1) for _ in range(2))
    assert np.array_equal(first.hu_zyx, again.hu_zyx) and np.array_equal(first.mask_zyx, again.mask_zyx)
