"""The physics of synthetic MR, each effect against what it must do."""

import numpy as np
import pytest

from lib.errors import ConfigError
from lib.phantom.anatomy.hip import draw_hip, draw_posture
from lib.phantom.anatomy.specimen import BonePart, SoftSlice, Tissue
from lib.phantom.people import PhantomConfig, phantom_people
from lib.phantom.scanner import mr_effects
from lib.phantom.scanner.machines import MrProtocol, MrScanner
from lib.phantom.scanner.mr import MUSCLE, mr_contrast, place_field
from lib.phantom.voxelize import VoxelGrid

GRID = VoxelGrid(origin_xyz_mm=(30.0, -40.0, -90.0), spacing_xyz_mm=(1.5, 3.0, 1.5), size_xyz=(80, 30, 80))


def soft_signal(muscle=0.0, marbling=0.0, tissue=None):
    """Total signal of one pixel of soft tissue without grain."""
    pixel = np.zeros((1, 1), np.float32)
    layers = ((pixel + 1, tissue),) if tissue else ()
    piece = SoftSlice(
        muscle=pixel + muscle,
        grain=pixel,
        marbling=pixel + marbling,
        layers=layers,
        to_pixels=lambda coarse: coarse,
        body=pixel + 1,
    )
    fat, water = mr_contrast(artery=0.8).soft(piece)
    return (fat + water).item()


def bone_signal(trabecular=0.0, red=0.0, outer=1.0, inner=1.0, cartilage=0.0):
    """Signal of fat and of water in one voxel of bone."""
    voxel = np.ones((1, 1, 1), np.float32)
    part = BonePart(
        name="bone",
        outer=outer * voxel,
        inner=inner * voxel,
        cartilage=cartilage * voxel,
        voxels=np.nonzero(inner * voxel),
        trabecular=np.full(1 if inner else 0, trabecular),
        red_marrow=lambda: np.full(1 if inner else 0, red),
        cortical_hu=1400.0,
    )
    return [channel.item() for channel in mr_contrast(artery=0.8).bone(part)]


def test_tissues_are_ordered_as_in_t1():
    fat, muscle = soft_signal(), soft_signal(muscle=1.0)
    yellow, red = sum(bone_signal()), sum(bone_signal(red=1.0))
    cortex, cartilage = sum(bone_signal(inner=0.0)), sum(bone_signal(outer=0.0, inner=0.0, cartilage=1.0))
    assert [fat, yellow, red, cartilage, muscle, cortex] == pytest.approx([1, 0.95, 0.62, 0.55, 0.40, 0.05])
    vessels = soft_signal(tissue=Tissue.ARTERY), soft_signal(tissue=Tissue.VEIN)
    assert vessels == pytest.approx((0.8, 0.3))
    others = [soft_signal(tissue=tissue) for tissue in (Tissue.SKIN, Tissue.TENDON, Tissue.FLUID, Tissue.GAS)]
    assert others == pytest.approx([0.5, 0.05, 0.35, 0.02])
    assert soft_signal(muscle=1.0, marbling=40.0) == pytest.approx(0.75 * 0.40 + 0.25)


def test_trabecular_bone_dims_marrow_by_its_volume():
    fat, water = bone_signal()
    # 385 of 1375: bone fills 0.28 of the head of a young person
    assert bone_signal(trabecular=385.0) == pytest.approx([0.72 * fat, 0.72 * water], rel=1e-6)
    assert bone_signal(trabecular=5000.0) == pytest.approx([0, 0])


def test_a_voxel_half_cortex_half_marrow_has_the_mean_signal():
    mean = (sum(bone_signal()) + sum(bone_signal(inner=0.0))) / 2
    assert sum(bone_signal(inner=0.5)) == pytest.approx(mean, rel=1e-6)


def test_chemical_shift_moves_along_the_readout_only():
    fat = np.zeros((20, 8, 20), np.float32)
    fat[8:12, 3:5, 6:14] = 1.0
    moved = mr_effects.shift_fat(fat, 1.5)
    for axis, pixels in ((0, 1.5), (1, 0.0), (2, 0.0)):
        others = tuple(k for k in range(3) if k != axis)
        places = [
            np.average(np.arange(fat.shape[axis]), weights=image.sum(axis=others)) for image in (fat, moved)
        ]
        assert places[1] - places[0] == pytest.approx(pixels, abs=1e-6)
    assert np.array_equal(mr_effects.shift_fat(fat, 2.0)[2:], fat[:-2])


def test_blur_has_its_widths_in_millimetres():
    grid = VoxelGrid(origin_xyz_mm=(0, 0, 0), spacing_xyz_mm=(0.2, 1.5, 0.2), size_xyz=(41, 9, 41))
    image = np.zeros(grid.shape_zyx, np.float32)
    image[20, 4, 20] = 1.0
    mr_effects.blur_mr(image, grid, 0.35)
    assert image.sum() == pytest.approx(1, rel=1e-4)
    sd_mm = []
    for axis in range(3):
        weight = image.sum(axis=tuple(k for k in range(3) if k != 2 - axis))
        at_mm = grid.centers_mm(axis) - grid.centers_mm(axis).mean()
        sd_mm.append(np.sqrt((weight * at_mm**2).sum()))
    assert [sd_mm[0], sd_mm[2]] == pytest.approx([0.35, 0.35], rel=0.02)
    # with the box of a slice, the profile is as wide as a Gaussian of 1.1 slices at half height
    assert np.hypot(sd_mm[1], 1.5 / np.sqrt(12)) == pytest.approx(1.1 * 1.5 / 2.3548, rel=1e-3)


def drawn(seed, variant="standard", **settings):
    return mr_effects.draw_mr(np.random.default_rng(seed), MrScanner(**settings), MrProtocol(), variant)


@pytest.mark.parametrize("seed", range(5))
def test_bias_field_is_smooth_and_about_one_in_the_middle(seed):
    field = mr_effects.bias_field(GRID, drawn(seed))
    assert 0.87 < field[39:41, 14:16, 39:41].mean() < 1.13
    assert 0.25 < field.min() < 0.95 and 1.05 < field.max() < 2.7
    for axis in range(3):
        step = np.abs(np.diff(np.log(field), axis=axis)).max() / GRID.spacing_xyz_mm[2 - axis]
        assert step < 0.025  # 1/90 mm of the coil, and 12 % of waves within the field


def test_noise_is_rician():
    rng = np.random.default_rng(1)
    air = mr_effects.with_rician_noise(np.zeros((40, 50, 50), np.float32), 20.0, rng)
    # in air, Rayleigh: mean sigma sqrt(pi / 2), SD sigma sqrt(2 - pi / 2)
    assert air.mean() == pytest.approx(20 * np.sqrt(np.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(20 * np.sqrt(2 - np.pi / 2), rel=0.01)
    tissue = mr_effects.with_rician_noise(np.full((40, 50, 50), 400, np.float32), 20.0, rng)
    assert tissue.std() == pytest.approx(20, rel=0.01)
    assert tissue.mean() == pytest.approx(400 + 20**2 / (2 * 400), abs=0.3)


def test_ghost_is_a_copy_half_a_field_aside():
    image = np.zeros((3, 4, 10), np.float32)
    image[1, 2, 1] = 100.0
    mr_effects.add_ghost(image, 0.05)
    assert image[1, 2, 6] == pytest.approx(5) and image.sum() == pytest.approx(105)


def test_draws_follow_scanner_and_variant():
    usual, hard, loud = drawn(1), drawn(1, "hard"), drawn(1, snr=37.0)
    assert 12 < usual.snr < 25 and 500 <= usual.gain <= 1500 and 0 <= usual.shift_pixels <= 2
    assert hard.snr == usual.snr / 2 and (usual.ghost, hard.ghost) == (0, 0.05)
    assert loud.snr == 2 * usual.snr and loud.gain == usual.gain
    assert {drawn(seed).artery for seed in range(20)} == {0.3, 0.8}


def test_stored_numbers_are_twelve_bits():
    stored = mr_effects.to_stored_signal(np.array([-3.0, 0.4, 999.6, 9000.0]))
    assert stored.dtype == np.uint16 and stored.tolist() == [0, 0, 1000, 4095]


def lying(person):
    body = draw_hip(person, np.random.default_rng([person.person_seed, 1]))
    return body.lying(draw_posture(np.random.default_rng([person.scan_seed, 1])))


def test_every_hip_is_cut_at_its_shaft_only():
    protocol = MrProtocol(matrix=64, slices=30, slice_mm=3.0)
    config = PhantomConfig(people=16, defects=["right_side"], modality="MR")
    for person in phantom_people(config):
        specimen = lying(person)
        grid = place_field(specimen, protocol, np.random.default_rng(person.scan_seed))
        assert grid.size_xyz == (64, 30, 64) and grid.spacing_xyz_mm == (1.875, 3.0, 1.875)
        points = specimen.reference_mesh.vertices_xyz_mm
        points = points[points[:, 2] > grid.bottom_mm]
        for axis, ends in ((0, (0, 1)), (1, (0, 1)), (2, (1,))):
            centers, half = grid.centers_mm(axis), grid.spacing_xyz_mm[axis] / 2
            if 0 in ends:
                assert centers[0] - half < points[:, axis].min()
            assert points[:, axis].max() < centers[-1] + half
        assert specimen.reference_mesh.vertices_xyz_mm[:, 2].min() < grid.bottom_mm


def test_a_bone_beyond_the_field_of_view_is_refused():
    class Large:
        top_mm = 0.0
        reference_mesh = type("Wide", (), {"vertices_xyz_mm": np.array([[0.0, 0, -5], [150, 20, -9]])})

    with pytest.raises(ConfigError, match="field of view is 120 mm .* a bone is 150 x 20 mm"):
        place_field(Large(), MrProtocol(), np.random.default_rng(0))


def test_muscle_is_the_reference_of_the_noise():
    assert soft_signal(muscle=1.0) == pytest.approx(MUSCLE)
