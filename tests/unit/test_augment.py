import math

import numpy as np
import pytest
import torch

from lib.errors import ConfigError
from lib.learning.augment import (
    AugmentConfig,
    Transform,
    apply_transforms,
    draw_transform,
    margin_slices,
    rotation_matrix,
)

SPACING_ZYX = (3.0, 0.8, 1.2)  # mm; every axis differs, so that a rotation in voxels would be seen
SIZE_ZYX = (40, 96, 80)
SEMI_AXES_XYZ = (20.0, 14.0, 34.0)  # mm


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


def test_zero_strength_changes_nothing():
    config = AugmentConfig(
        probability=1, rotation_degrees=0, mirror_axes=(), brightness=0, gamma=(1, 1), noise_sd=0
    )
    transform = draw_transform(config, np.random.default_rng(0))
    image, mask = torch.rand(1, 1, 12, 8, 8), (torch.rand(1, 1, 12, 8, 8) > 0.5).float()
    image_out, mask_out = apply_transforms(image, mask, [transform], [SPACING_ZYX], slices=8)
    assert torch.equal(image_out, image[:, :, 2:10])
    assert torch.equal(mask_out, mask[:, :, 2:10])


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
    image_out, mask_out = apply_transforms(image, mask, [transform], [SPACING_ZYX], slices=SIZE_ZYX[0])
    image_expected, mask_expected = ellipsoid(SIZE_ZYX, rotation_matrix(degrees_xyz))
    assert mask_out.sum().item() == pytest.approx(mask.sum().item(), rel=0.01)
    dice = 2 * (mask_out * mask_expected).sum() / (mask_out.sum() + mask_expected.sum())
    assert dice.item() > 0.98
    # the mask is cut where the image has its edge value: both were moved alike
    edge = ((image_out >= 0.4).float() != mask_out).float().sum() / mask_out.sum()
    assert edge.item() < 0.05
    assert (image_out - image_expected).abs().mean().item() < 0.004


def test_mirroring_reverses_exactly_the_chosen_axes():
    image, mask = torch.rand(1, 1, 6, 8, 10), (torch.rand(1, 1, 6, 8, 10) > 0.5).float()
    transform = Transform(mirrored_xyz=(False, True, True))
    image_out, mask_out = apply_transforms(image, mask, [transform], [SPACING_ZYX], slices=4)
    torch.testing.assert_close(image_out, image[:, :, 1:5].flip(2, 3), atol=1e-5, rtol=0)
    assert torch.equal(mask_out, mask[:, :, 1:5].flip(2, 3))


def test_a_rotated_window_sees_the_slices_beyond_its_ends():
    config = AugmentConfig(rotation_degrees=15)
    size = (8, 64, 64)
    margin = margin_slices(config, size, SPACING_ZYX)
    everywhere = torch.ones(1, 1, 8 + 2 * margin, 64, 64)
    transform = Transform(rotation_degrees_xyz=(15.0, 0.0, 0.0))
    _, mask_out = apply_transforms(everywhere, everywhere, [transform], [SPACING_ZYX], slices=8)
    assert mask_out[..., 4:-4, 4:-4].min() == 1
    _, cut_first = apply_transforms(
        everywhere[:, :, :8], everywhere[:, :, :8], [transform], [SPACING_ZYX], slices=8
    )
    assert cut_first[..., 4:-4, 4:-4].min() == 0


def test_margin_is_the_reach_of_the_corners():
    # half extents 40 mm in y and 60 mm in x, 3 mm slices: 100 mm * sin(30 degrees) / 3 mm
    config = AugmentConfig(rotation_degrees=30)
    assert margin_slices(config, (32, 80, 120), (3.0, 1.0, 1.0)) == 17
    assert margin_slices(AugmentConfig(rotation_degrees=0), (32, 80, 120), (3.0, 1.0, 1.0)) == 0


def test_brightness_and_gamma_have_their_values():
    image = torch.full((1, 1, 2, 2, 2), 0.15)
    transform = Transform(brightness=0.1, gamma=0.5)
    image_out, _ = apply_transforms(image, image, [transform], [SPACING_ZYX], slices=2)
    torch.testing.assert_close(image_out, torch.full_like(image, math.sqrt(0.25)))


def test_noise_has_its_strength_and_depends_on_its_seed_only():
    image = torch.full((3, 1, 32, 32, 32), 0.5)
    transforms = [Transform(noise_sd=0.02, noise_seed=seed) for seed in (1, 1, 2)]
    first, again, other = apply_transforms(image, image, transforms, [SPACING_ZYX] * 3, slices=32)[0]
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
