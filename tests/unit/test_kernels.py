"""Weights along one axis: constants in closed form, exact slabs, conserved means."""

import numpy as np
import pytest

from lib.imaging.kernels import apply_weights, block_mean, fourier_weights, linear_weights, overlap_weights

NEAR = (1 + 2 / np.sqrt(3)) / 3  # 0.718
FAR = (1 - 2 / np.sqrt(3)) / 3  # -0.052


def test_three_slices_to_two_have_the_paper_s_weights_with_the_half_voxel_shift():
    expected = [[NEAR, 1 / 3, FAR], [FAR, 1 / 3, NEAR]]
    np.testing.assert_allclose(fourier_weights(3, 2), expected, atol=1e-14)


def test_fourier_weights_are_the_trigonometric_interpolation_at_the_sub_slabs_centres():
    # a band-limited signal is interpolated exactly: its mean over three sub-slab centres is known
    phase = 2 * np.pi / 3
    old = np.cos(phase * (np.arange(3) + 0.5 - 0.7))
    centres = (np.arange(6) + 0.5) / 2
    expected = np.cos(phase * (centres - 0.7)).reshape(2, 3).mean(axis=1)
    np.testing.assert_allclose(fourier_weights(3, 2) @ old, expected, atol=1e-14)


@pytest.mark.parametrize(("old", "new"), [(3, 2), (2, 3), (4, 3), (5, 3), (24, 5)])
def test_fourier_weights_keep_constants_and_group_means(old, new):
    weights = fourier_weights(old, new)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=0), new / old, atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_a_whole_group_in_one_slab_is_its_mean(count):
    np.testing.assert_allclose(fourier_weights(count, 1), np.full((1, count), 1 / count), atol=1e-12)


def test_slab_averages_are_exact():
    two_thirds, third = 2 / 3, 1 / 3
    np.testing.assert_allclose(
        overlap_weights(3, 2, start=0.0, step=1.5), [[two_thirds, third, 0], [0, third, two_thirds]]
    )
    # 5 mm to 3 mm: the second new slab overlaps the first two old ones
    np.testing.assert_allclose(
        overlap_weights(3, 5, start=0.0, step=0.6),
        [[1, 0, 0], [two_thirds, third, 0], [0, 1, 0], [0, third, two_thirds], [0, 0, 1]],
        atol=1e-12,
    )
    np.testing.assert_allclose(overlap_weights(4, 1, start=0.5, step=3.0), [[1 / 6, 1 / 3, 1 / 3, 1 / 6]])


def test_linear_weights_interpolate_hold_the_end_half_voxels_and_end_there():
    values = np.array([10.0, 20.0, 40.0])
    positions = np.array([-0.6, -0.5, 0.0, 0.25, 1.5, 2.0, 2.5, 2.6])
    np.testing.assert_allclose(linear_weights(3, positions) @ values, [0, 10, 10, 12.5, 30, 40, 40, 0])


def test_weights_act_along_their_own_axis():
    generator = np.random.default_rng(4)
    values = generator.integers(-1000, 2000, (6, 5, 7)).astype(np.int16)
    along_z, along_y, along_x = generator.random((4, 6)), generator.random((3, 5)), generator.random((2, 7))
    expected = np.einsum("az,by,cx,zyx->abc", along_z, along_y, along_x, values)
    np.testing.assert_allclose(apply_weights(values, along_z, along_y, along_x), expected, rtol=1e-4)
    only_z = np.einsum("az,zyx->ayx", along_z, values)
    np.testing.assert_allclose(apply_weights(values, along_z, None, None), only_z, rtol=1e-4)


def test_block_mean_skips_slices_averages_pixels_and_leaves_out_the_rest():
    values = np.arange(3 * 5 * 4).reshape(3, 5, 4)
    blocks = block_mean(values, np.array([2, 2, 2]))
    assert blocks.shape == (2, 2, 2)
    assert blocks[0, 0, 0] == values[0, :2, :2].mean()
    assert blocks[1, 1, 1] == values[2, 2:4, 2:4].mean()
