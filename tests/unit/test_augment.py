import math

import numpy as np
import pytest
import torch

from lib.errors import ConfigError
from lib.intensity_scale import IntensityConfig, IntensityRange, fixed_range
from lib.learning.augment import Transform, apply_transforms, draw_transform, margin_slices
from lib.learning.intensity import to_intensity
from lib.learning.scan_store import StoredScan
from lib.learning.train_settings import AugmentConfig
from lib.rotations import rotation_matrix

SPACING_ZYX = (3.0, 0.8, 1.2)  # mm; every axis differs, so that a rotation in voxels would be seen
SIZE_ZYX = (40, 96, 80)
SEMI_AXES_XYZ = (20.0, 14.0, 34.0)  # mm
SCALE = IntensityRange(low=0.0, high=20000.0, padding=0)


def positions_xyz(size_zyx):
    """Return the position of each voxel from the grid's centre in mm, (3, z, y, x), rows x, y, z."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(size_zyx, SPACING_ZYX, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y, z])


def ellipsoid(size_zyx, rotation=None):
    """Return a smooth-edged ellipsoid (intensity 0.8 in air 0) and its mask, turned by `rotation`."""
    points = positions_xyz(size_zyx)
    if rotation is not None:
        points = np.einsum("ij,j...->i...", rotation, points)
    radius = np.sqrt(sum((points[i] / SEMI_AXES_XYZ[i]) ** 2 for i in range(3)))
    as_batch = [np.clip((1.3 - radius) / 0.6, 0, 1) * 0.8, radius <= 1]
    return [torch.from_numpy(volume.astype(np.float32))[None, None] for volume in as_batch]


def dice(mask, other):
    return (2 * (mask * other).sum() / (mask.sum() + other.sum())).item()


def in_hu(intensity):
    """Return the HU of intensities; the scale of SCALE has room for steps of 1/20000."""
    return (intensity * 20000).round().to(torch.int16)


def scan_of(spacing=SPACING_ZYX, scale=SCALE):
    """Return a scan whose windows are transformed."""
    return StoredScan("p", SIZE_ZYX, spacing, scale)


def apply(intensity, labels, transforms, slices, spacing=SPACING_ZYX, structures=1):
    """Apply transforms to windows that are given in intensities."""
    scans = [scan_of(spacing)] * len(transforms)
    return apply_transforms(in_hu(intensity), labels.to(torch.uint8), transforms, scans, slices, structures)


def random_windows(windows, size_zyx, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, mask = (torch.rand(windows, 1, *size_zyx, generator=generator) for _ in range(2))
    return to_intensity(in_hu(image), SCALE), (mask > 0.5).float()


def test_zero_strength_changes_nothing():
    config = AugmentConfig(
        probability=1, rotation_degrees=0, mirror_axes=(), brightness=0, gamma=(1, 1), noise_sd=0
    )
    transform = draw_transform(config, np.random.default_rng(0))
    image, mask = random_windows(1, (12, 8, 8))
    image_out, mask_out = apply(image, mask, [transform], slices=8)
    assert torch.equal(image_out, image[:, :, 2:10])
    assert torch.equal(mask_out, mask[:, :, 2:10])


def test_a_window_that_is_not_changed_is_exact_beside_others_that_are():
    image, mask = random_windows(3, (12, 8, 8))
    everything = Transform(
        rotation_degrees_xyz=(5.0, 6.0, 7.0), brightness=0.1, gamma=1.3, noise_sd=0.02, noise_seed=4
    )
    image_out, mask_out = apply(image, mask, [everything, Transform(), everything], slices=8)
    assert torch.equal(image_out[1], image[1, :, 2:10])
    assert torch.equal(mask_out[1], mask[1, :, 2:10])


def test_a_window_does_not_depend_on_its_batch_mates():
    config, generator = AugmentConfig(mirror_axes=("x", "y", "z")), np.random.default_rng(1)
    transforms = [draw_transform(config, generator) for _ in range(12)]
    assert len({transform.rotates for transform in transforms}) == 2
    image, mask = random_windows(12, (9, 61, 67))  # large enough for several threads
    image_out, mask_out = apply(image, mask, transforms, slices=5)
    for row, transform in enumerate(transforms):
        image_alone, mask_alone = apply(image[row : row + 1], mask[row : row + 1], [transform], slices=5)
        assert torch.equal(image_out[row : row + 1], image_alone)
        assert torch.equal(mask_out[row : row + 1], mask_alone)


def test_windows_of_a_batch_are_rotated_with_their_own_spacing():
    image, mask = random_windows(2, (8, 12, 12))
    transform = Transform(rotation_degrees_xyz=(10.0, 0.0, 12.0))
    spacings = [(3.0, 0.8, 1.2), (1.0, 1.0, 1.0)]
    scans = [scan_of(spacing) for spacing in spacings]
    both = apply_transforms(in_hu(image), mask, [transform] * 2, scans, 8, 1)[0]
    for row, spacing in enumerate(spacings):
        alone = apply(image[row : row + 1], mask[row : row + 1], [transform], 8, spacing)[0]
        assert torch.equal(both[row : row + 1], alone)


def test_probability_zero_never_transforms():
    generator = np.random.default_rng(0)
    for _ in range(20):
        transform = draw_transform(AugmentConfig(probability=0), generator)
        assert transform == Transform(noise_seed=transform.noise_seed)


@pytest.mark.parametrize(
    "degrees_xyz", [(15.0, 0.0, 0.0), (0.0, -15.0, 0.0), (0.0, 0.0, 15.0), (12.0, -9.0, 15.0)]
)
def test_a_rotation_is_rigid_in_mm(degrees_xyz):
    image, mask = ellipsoid(SIZE_ZYX)
    transform = Transform(rotation_degrees_xyz=degrees_xyz)
    image_out, mask_out = apply(image, mask, [transform], SIZE_ZYX[0])
    image_expected, mask_expected = ellipsoid(SIZE_ZYX, rotation_matrix(degrees_xyz))
    assert mask_out.sum().item() == pytest.approx(mask.sum().item(), rel=0.01)
    assert dice(mask_out, mask_expected) > 0.98
    assert (
        dice(mask_out, image_out >= 0.4) > 0.98
    )  # the mask ends where the image has its edge value: 0.8 / 2
    assert (image_out - image_expected).abs().mean().item() < 0.004


@pytest.mark.parametrize(
    ("degrees_xyz", "point", "goes_to"),
    [
        ((90, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 90, 0), (0, 0, 1), (1, 0, 0)),
        ((0, 0, 90), (1, 0, 0), (0, 1, 0)),
        ((90, 90, 0), (0, 1, 0), (1, 0, 0)),  # about x first
        ((90, 0, 90), (0, 0, 1), (1, 0, 0)),  # about z last
        ((0, 90, 90), (1, 0, 0), (0, 0, -1)),  # about y before z
    ],
)
def test_the_rotations_are_right_handed_and_about_x_y_z_in_turn(degrees_xyz, point, goes_to):
    np.testing.assert_allclose(rotation_matrix(degrees_xyz) @ point, goes_to, atol=1e-12)


@pytest.mark.parametrize("degrees_xyz", [(15.0, 0.0, 0.0), (0.0, 0.0, -15.0), (12.0, -9.0, 15.0)])
@pytest.mark.parametrize("mirrored_xyz", [(False, False, False), (True, False, True)])
def test_a_landmark_goes_where_the_matrix_says(degrees_xyz, mirrored_xyz):
    landmark_mm_xyz = np.array([14.4, -12.0, 21.0])
    distance_mm = np.linalg.norm(positions_xyz(SIZE_ZYX) - landmark_mm_xyz[:, None, None, None], axis=0)
    blob = torch.from_numpy(np.exp(-((distance_mm / 5) ** 2) / 2))[None, None]
    transform = Transform(rotation_degrees_xyz=degrees_xyz, mirrored_xyz=mirrored_xyz)
    image_out, _ = apply(blob, blob > 0.5, [transform], SIZE_ZYX[0])
    weights = image_out[0, 0].double().numpy()
    found_mm_xyz = (positions_xyz(SIZE_ZYX) * weights).sum(axis=(1, 2, 3)) / weights.sum()
    expected_mm_xyz = rotation_matrix(degrees_xyz).T @ landmark_mm_xyz * np.where(mirrored_xyz, -1, 1)
    assert (np.abs(found_mm_xyz - expected_mm_xyz) < 0.3 * np.array(SPACING_ZYX[::-1])).all()


def test_a_quarter_turn_about_z_turns_a_ramp_in_x_into_the_same_ramp_in_y():
    size, spacing = (4, 40, 20), (3.0, 1.0, 2.0)  # 40 mm by 40 mm; a turn in voxels would not fit
    x_mm, y_mm = (np.arange(20) - 9.5) * 2.0, (np.arange(40) - 19.5) * 1.0
    image = torch.from_numpy(np.broadcast_to(0.5 + x_mm / 100, size).copy())[None, None]
    transform = Transform(rotation_degrees_xyz=(0.0, 0.0, 90.0))
    image_out, _ = apply(image, torch.zeros_like(image), [transform], 4, spacing)
    # an output voxel (x, y) comes from (-y, x); the outermost rows reach beyond the last voxel centre
    expected = np.broadcast_to((0.5 - y_mm / 100)[1:-1, None], (4, 38, 20))
    np.testing.assert_allclose(image_out[0, 0, :, 1:-1].numpy(), expected, atol=1e-4)


def test_beyond_the_scan_lie_air_and_no_mask():
    scale, image_hu = fixed_range(IntensityConfig()), torch.full((1, 1, 6, 32, 32), 1000, dtype=torch.int16)
    image_hu[:, :, :2] = scale.padding  # as a window that reaches beyond the scan's end
    transform = Transform(rotation_degrees_xyz=(0.0, 0.0, 45.0))
    everywhere = torch.ones_like(image_hu)
    image_out, mask_out = apply_transforms(image_hu, everywhere, [transform], [scan_of(scale=scale)], 6, 1)
    assert image_out[0, 0, :2].max() == 0
    assert image_out[..., 0, 0].max() == 0 and mask_out[..., 0, 0].max() == 0
    torch.testing.assert_close(image_out[0, 0, 2:, 16, 16], torch.full((4,), 2 / 3))


@pytest.mark.parametrize(
    ("mirrored_xyz", "axes"),
    [((True, False, False), (4,)), ((False, True, True), (2, 3)), ((True,) * 3, (2, 3, 4))],
)
def test_mirroring_reverses_exactly_the_chosen_axes(mirrored_xyz, axes):
    image, mask = random_windows(1, (6, 8, 10))
    image_out, mask_out = apply(image, mask, [Transform(mirrored_xyz=mirrored_xyz)], slices=4)
    assert torch.equal(image_out, image[:, :, 1:5].flip(axes))
    assert torch.equal(mask_out, mask[:, :, 1:5].flip(axes))


def test_a_rotated_window_sees_the_slices_beyond_its_ends():
    config = AugmentConfig(rotation_degrees=15)
    size = (8, 64, 64)
    margin = margin_slices(config, size, SPACING_ZYX)
    everywhere = torch.ones(1, 1, 8 + 2 * margin, 64, 64)
    transform = Transform(rotation_degrees_xyz=(15.0, 0.0, 0.0))
    _, mask_out = apply(everywhere, everywhere, [transform], slices=8)
    assert mask_out[..., 4:-4, 4:-4].min() == 1
    _, cut_first = apply(everywhere[:, :, :8], everywhere[:, :, :8], [transform], slices=8)
    assert cut_first[..., 4:-4, 4:-4].min() == 0


def test_margin_is_the_reach_of_the_corners():
    # half extents 40 mm in y and 60 mm in x, 3 mm slices: 100 mm * sin(30 degrees) / 3 mm
    config = AugmentConfig(rotation_degrees=30)
    assert margin_slices(config, (32, 80, 120), (3.0, 1.0, 1.0)) == 17
    assert margin_slices(AugmentConfig(rotation_degrees=0), (32, 80, 120), (3.0, 1.0, 1.0)) == 0


def test_brightness_and_gamma_have_their_values():
    image = torch.full((1, 1, 2, 2, 2), 0.15)
    transform = Transform(brightness=0.1, gamma=0.5)
    image_out, _ = apply(image, image, [transform], slices=2)
    torch.testing.assert_close(image_out, torch.full_like(image, math.sqrt(0.25)))


def test_noise_has_its_strength_and_depends_on_its_seed_only():
    image = torch.full((3, 1, 32, 32, 32), 0.5)
    transforms = [Transform(noise_sd=0.02, noise_seed=seed) for seed in (1, 1, 2)]
    first, again, other = apply(image, image, transforms, slices=32)[0]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.std().item() == pytest.approx(0.02, rel=0.02)


def test_draws_stay_within_the_limits_and_reach_most_of_them():
    config, generator = AugmentConfig(probability=1, mirror_axes=("y",)), np.random.default_rng(0)
    draws = [draw_transform(config, generator) for _ in range(500)]
    angles = np.array([draw.rotation_degrees_xyz for draw in draws])
    gammas = np.array([draw.gamma for draw in draws])
    assert np.abs(angles).max() <= 15 and (np.abs(angles).max(axis=0) > 14).all()
    assert 0.7 <= gammas.min() < 0.72 and 1.46 < gammas.max() <= 1.5
    assert all(draw.mirrored_xyz == (False, True, False) for draw in draws)
    assert 0.019 < max(draw.noise_sd for draw in draws) <= 0.02


def test_settings_do_not_shift_the_draws_of_other_windows():
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    draw_transform(AugmentConfig(), a)
    draw_transform(AugmentConfig(probability=0, mirror_axes=("x", "z"), noise_sd=0), b)
    assert a.integers(2**62) == b.integers(2**62)


@pytest.mark.parametrize(
    "changes",
    [
        {"probability": 1.5},
        {"rotation_degrees": -1},
        {"mirror_axes": ["w"]},
        {"brightness": -0.1},
        {"gamma": [1.5, 0.7]},
        {"gamma": [1.0]},
        {"noise_sd": -0.1},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes):
    with pytest.raises(ConfigError, match=f"train.augment.{next(iter(changes))}"):
        AugmentConfig(**changes)


@pytest.mark.parametrize(
    ("axes", "place"), [(("z", "y", "x"), 1), (("y", "z", "x"), 2), (("x", "z", "y"), 0)]
)
def test_the_patient_s_axis_is_mirrored_however_the_windows_lie(axes, place):
    config = AugmentConfig(probability=1, mirror_axes=("y",))
    transform = draw_transform(config, np.random.default_rng(0), axes)
    assert [index for index, mirrored in enumerate(transform.mirrored_xyz) if mirrored] == [place]
