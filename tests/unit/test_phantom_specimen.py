"""Scanners image any specimen: here a block of bone in muscle, which is no hip."""

import numpy as np
import pytest
from phantom_solids import box

from lib.phantom.anatomy.specimen import BonePart, SoftSlice, Tissue, TissueFields
from lib.phantom.scanner.ct import CtExam, image_ct
from lib.phantom.scanner.machines import CtScanner, MrProtocol, MrScanner
from lib.phantom.scanner.mr import MUSCLE, MrExam, image_mr
from lib.phantom.voxelize import VoxelGrid, coverage

GRID = VoxelGrid(origin_xyz_mm=(-30.0, -30.0, 0.0), spacing_xyz_mm=(1.5, 1.5, 2.0), size_xyz=(41, 41, 20))


class Block:
    """A bone of 24 x 24 x 24 mm with a cortex of 3 mm, half full of trabecular bone, without red marrow."""

    reference = "block"
    middle_mm = 0.0
    back_mm = 200.0  # the table lies outside the image
    dense_xyz_mm = (np.array([-500.0, 0.0, 0.0]), np.array([500.0, 0.0, 900.0]))
    mesh = box((-12, -12, 8), (12, 12, 32))

    def fields(self, grid, supersampling, rng, *, fine=False):
        shape_yx = grid.shape_zyx[1:]
        piece = SoftSlice(
            muscle=np.ones(shape_yx, np.float32),
            grain=np.zeros(shape_yx, np.float32),
            marbling=np.zeros(shape_yx, np.float32),
            layers=(),
            to_pixels=lambda coarse: coarse,
            body=np.ones(shape_yx, np.float32),
        )
        outer = coverage(self.mesh, grid, supersampling)
        inner = coverage(box((-9, -9, 11), (9, 9, 29)), grid, supersampling)
        part = BonePart(
            name="block",
            outer=outer,
            inner=inner,
            cartilage=np.zeros_like(outer),
            voxels=np.nonzero(inner),
            trabecular=np.full(np.count_nonzero(inner), 1375 / 2),
            red_marrow=lambda: np.zeros(np.count_nonzero(inner)),
            cortical_hu=1400.0,
        )
        everywhere = (slice(None),) * 3
        ring = coverage(box((-15, -15, 5), (15, 15, 35)), grid, supersampling)
        return TissueFields(
            grid=grid,
            bone_box=everywhere,
            soft=[piece] * grid.size_xyz[2],
            bones=[part],
            around=[(ring, Tissue.FLUID)] if fine else (),
        )


def test_ct_of_any_specimen():
    scanner = CtScanner(noise_hu=0.0)
    exam = CtExam(grid=GRID, supersampling=3, scanner=scanner, years=0.0, variant="standard", has_metal=False)
    hu, mask, bone, blurred = image_ct(Block(), exam, np.random.default_rng(1), np.random.default_rng(2))
    assert bone.name == "block" and blurred[10, 20, 20] == pytest.approx(-60 + 1375 / 2, abs=1)
    assert mask.sum() * 1.5 * 1.5 * 2.0 == pytest.approx(24**3, rel=0.15)
    assert mask[10, 20, 20] == 1 and mask[10, 5, 5] == 0
    assert hu[10, 20, 20] == pytest.approx(-60 + 1375 / 2, abs=25)  # streaks and hardening remain
    # half of the voxel is cortex, all of the next one
    assert hu[10, 18:23, 12].mean() == pytest.approx((1400 + 55) / 2, abs=25)
    assert hu[10, 18:23, 13].mean() > 1200
    assert np.median(hu[mask == 0]) == pytest.approx(55, abs=25)


def imaged(shift_pixels):
    exam = MrExam(
        grid=GRID,
        supersampling=3,
        protocol=MrProtocol(water_fat_shift_pixels=shift_pixels),
        scanner=MrScanner(snr=200.0),
        variant="standard",
        has_suppressed=True,
    )
    return image_mr(Block(), exam, np.random.default_rng(1), np.random.default_rng(2))


def test_chemical_shift_moves_fat_only():
    still, moved = (imaged(shift).t1_zyx.astype(int) for shift in (0.0, 2.0))
    differs = np.argwhere(still != moved)
    assert len(differs) > 100
    # fat is in the marrow: within 9 mm of the middle, from 11 mm to 29 mm; blur and shift reach a few voxels further
    low, high = (np.array(axis) for axis in ([4, 12, 12], [17, 28, 28]))
    assert np.all(differs >= low) and np.all(differs <= high)
    marrow = (slice(None), slice(18, 23), slice(18, 23))
    edge = (slice(3, 7), slice(18, 23), slice(18, 23))
    # the marrow has moved toward the head, so that its lower edge is darker, and with it the cortex looks thicker
    assert moved[edge].mean() < still[edge].mean()
    places = [
        np.average(np.arange(20)[:, None, None] + 0 * image[marrow], weights=image[marrow])
        for image in (still, moved)
    ]
    assert places[1] > places[0]


def test_mr_of_any_specimen():
    made = imaged(2.0)
    t1, suppressed = made.t1_zyx.astype(float), made.suppressed_zyx.astype(float)
    marrow, muscle = t1[9:11, 18:23, 18:23].mean(), t1[9:11, 18:23, 3:6].mean()
    assert marrow / muscle == pytest.approx(0.5 * 0.95 / MUSCLE, rel=0.25)  # bias of the coil between them
    assert t1[10, 18:23, 13].min() < 0.5 * min(marrow, muscle)  # cortex
    around = t1[9:11, 18:23, 11].mean()
    assert around / muscle == pytest.approx(
        0.35 / MUSCLE, rel=0.15
    )  # fluid around the bone, which CT does not show
    # of marrow only water and what suppression leaves of fat
    left = suppressed[9:11, 18:23, 18:23].mean() / marrow
    assert left == pytest.approx((0.08 * 0.90 + 0.05) / 0.95, rel=0.1)
    assert np.array_equal(made.mask_zyx, (coverage(Block.mesh, GRID, 3) >= 0.5).astype(np.uint8))
