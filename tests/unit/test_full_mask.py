"""The mask on the scan's own grid: position, interpolation, ties, and the component that is kept."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.imaging.binarise import threshold_mask
from lib.imaging.full_mask import full_labels, full_mask, mask_on_grid
from lib.imaging.grid import array_zyx, image_like
from lib.mask_settings import MaskConfig

CONFIG = MaskConfig()
STEP = 1 / 256


def on_grid(array, spacing_mm, origin_mm):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    image.SetOrigin(origin_mm)
    return image


def converted(slices, origin_z_mm=0.0, spacing_z_mm=2.0):
    """A scan of 40 x 36 pixels of 0.8 mm."""
    values = np.zeros((slices, 36, 40), np.int16)
    return on_grid(values, (0.8, 0.8, spacing_z_mm), (-16.0, 8.0, origin_z_mm))


def cropped(probability):
    """A map whose first voxel is voxel (5, 3) of `converted`, 3 mm slices from 0.5 mm above its first centre on."""
    return on_grid(probability.astype(np.float32), (0.8, 0.8, 3.0), (-16.0 + 5 * 0.8, 8.0 + 3 * 0.8, 0.5))


def test_on_its_own_grid_the_full_mask_is_the_mask():
    probability = cropped(np.random.default_rng(2).random((6, 30, 30)))
    for keep_largest in (True, False):
        otsu = threshold_mask(array_zyx(probability), MaskConfig(keep_largest=keep_largest))
        np.testing.assert_array_equal(array_zyx(full_mask(probability, otsu, probability)), otsu.mask_zyx)


def test_the_full_mask_lies_where_the_crop_lay_and_keeps_its_end_slices():
    inside = np.zeros((4, 30, 30))
    inside[:, 10:20, 5:25] = 1.0
    probability = cropped(inside)
    # seven slices of 2 mm: two groups give four slices of 3 mm, the seventh slice was dropped
    full = full_mask(probability, threshold_mask(array_zyx(probability), CONFIG), converted(7))
    expected = np.zeros((7, 36, 40))
    expected[:6, 13:23, 10:30] = 1
    np.testing.assert_array_equal(array_zyx(full), expected)
    assert full.GetOrigin() == converted(7).GetOrigin()


def test_the_full_mask_of_an_oblique_scan_lies_among_the_same_voxels():
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]

    def turned(image):
        image = sitk.Image(image)
        image.SetOrigin((turn @ image.GetOrigin()).tolist())
        image.SetDirection(turn.ravel().tolist())
        return image

    probability, grid = cropped(np.random.default_rng(3).random((6, 30, 30))), converted(9)
    otsu = threshold_mask(array_zyx(probability), CONFIG)
    full = full_mask(turned(probability), otsu, turned(grid))
    np.testing.assert_array_equal(array_zyx(full), array_zyx(full_mask(probability, otsu, grid)))
    assert full.GetDirection() == turned(grid).GetDirection()


def test_probabilities_between_slices_are_interpolated_linearly():
    column = np.array([0.0, 0.9, 0.0, 0.0])
    probability = cropped(np.broadcast_to(column[:, None, None], (4, 30, 30)))
    otsu = threshold_mask(array_zyx(probability), CONFIG)
    assert otsu.threshold == pytest.approx(0.45, abs=STEP)
    # centres at 0, 2, 4 ... mm; the map's at 0.5, 3.5, 6.5 ...: 0.45 at 2 mm, 0.75 at 4 mm, 0.15 at 6 mm
    for threshold, slices in ((0.44, [1, 2]), (0.46, [2]), (0.76, []), (0.14, [1, 2, 3])):
        at = threshold_mask(array_zyx(probability), MaskConfig(low=0.99, high=1.0, fallback=threshold))
        full = array_zyx(full_mask(probability, at, converted(6)))
        assert np.flatnonzero(full.any(axis=(1, 2))).tolist() == slices


def test_the_full_mask_keeps_the_component_that_the_mask_kept():
    # at a threshold of one half, a single 3 mm slice becomes two slices of 2 mm, and two slices become three: the
    # smaller piece of the crop (342 voxels against 392) would be the larger one on the finer grid (684 against 588)
    inside = np.zeros((8, 30, 30))
    inside[1, :18, :19] = 1.0
    inside[4:6, 1:15, 1:15] = 1.0
    probability = cropped(inside)
    otsu = threshold_mask(array_zyx(probability), CONFIG)
    full = array_zyx(full_mask(probability, otsu, converted(12)))
    assert (otsu.mask_zyx.sum(), full.sum()) == (392, 588)
    assert np.flatnonzero(full.any(axis=(1, 2))).tolist() == [6, 7, 8]


def test_volumes_agree_between_both_grids():
    z, y, x = np.ogrid[:40, :120, :120]
    distance_mm = np.sqrt((0.8 * (x - 60)) ** 2 + (0.8 * (y - 60)) ** 2 + (3.0 * (z - 19.6)) ** 2)
    probability = on_grid(
        (1 / (1 + np.exp((distance_mm - 40) / 1.0))).astype(np.float32), (0.8, 0.8, 3.0), (0, 0, 0.5)
    )
    grid = on_grid(np.zeros((60, 120, 120), np.int16), (0.8, 0.8, 2.0), (0, 0, 0))
    otsu = threshold_mask(array_zyx(probability), CONFIG)
    full = full_mask(probability, otsu, grid)
    assert array_zyx(full).sum() * 2.0 == pytest.approx(otsu.mask_zyx.sum() * 3.0, rel=0.005)


def cone(slices, spacing_z_mm, origin_z_mm, softness_pixels):
    """A cone whose radius grows by 1.5 pixels a millimetre: its outline moves by 4.5 pixels between 3 mm slices."""
    z, y, x = np.ogrid[:slices, :120, :120]
    radius = 8.0 + 1.5 * (origin_z_mm + spacing_z_mm * z)
    depth = radius - np.sqrt((x - 60.0) ** 2 + (y - 60.0) ** 2)
    probability = np.clip(0.5 + depth / (2 * softness_pixels + 1e-3), 0.0, 1.0).astype(np.float32)
    return on_grid(probability, (0.8, 0.8, spacing_z_mm), (0.0, 0.0, origin_z_mm))


@pytest.mark.parametrize(
    ("softness_pixels", "threshold", "tolerance"), [(0.0, 0.5, 0.01), (2.0, 0.5, 0.01), (2.0, 0.47, 0.03)]
)
def test_slopes_neither_grow_nor_shrink_between_slices(softness_pixels, threshold, tolerance):
    probability = cone(8, 3.0, 0.5, softness_pixels)
    otsu = threshold_mask(array_zyx(probability), MaskConfig(low=0.99, high=1.0, fallback=threshold))
    truth = array_zyx(cone(12, 2.0, 0.0, softness_pixels)) >= threshold
    full = array_zyx(
        full_mask(probability, otsu, on_grid(np.zeros(truth.shape, np.int16), (0.8, 0.8, 2.0), (0, 0, 0)))
    )
    # slices 1, 4, 7 and 10 lie midway between two slices of the crop
    midway = slice(1, None, 3)
    assert full[midway].sum() == pytest.approx(truth[midway].sum(), rel=tolerance)


def test_midway_to_an_empty_slice_a_mask_has_a_quarter_of_its_area():
    z, y, x = np.ogrid[:3, :60, :60]
    disc = ((x - 30) ** 2 + (y - 30) ** 2 + 0 * z <= 12.4**2) & (z == 0)
    probability = on_grid(disc.astype(np.float32), (0.8, 0.8, 3.0), (0.0, 0.0, 0.5))
    grid = on_grid(np.zeros((4, 60, 60), np.int16), (0.8, 0.8, 2.0), (0.0, 0.0, 0.0))
    full = array_zyx(full_mask(probability, threshold_mask(array_zyx(probability), CONFIG), grid))
    assert full[1].sum() == pytest.approx(0.25 * disc.sum(), rel=0.15)


def test_a_crop_beside_the_scan_gives_an_empty_mask():
    probability = on_grid(np.ones((4, 5, 5), np.float32), (0.8, 0.8, 3.0), (500.0, 8.0, 0.0))
    otsu = threshold_mask(array_zyx(probability), CONFIG)
    grid = converted(6)
    np.testing.assert_array_equal(array_zyx(full_mask(probability, otsu, grid)), np.zeros((6, 36, 40)))


def test_the_full_mask_is_empty_where_the_window_left_the_scan():
    probability = on_grid(np.ones((4, 10, 10), np.float32), (0.8, 0.8, 3.0), (-16.0 - 4 * 0.8, 8.0, 0.5))
    full = array_zyx(full_mask(probability, threshold_mask(array_zyx(probability), CONFIG), converted(6)))
    expected = np.zeros((6, 36, 40))
    expected[:, :10, :6] = 1
    np.testing.assert_array_equal(full, expected)


def test_pixels_of_another_size_are_interpolated_in_the_slice():
    probability = on_grid(
        np.broadcast_to((np.arange(12) >= 6).astype(np.float32), (2, 12, 12)).copy(),
        (2.0, 2.0, 3.0),
        (1.0, 1.0, 1.5),
    )
    grid = on_grid(np.zeros((2, 24, 24), np.int16), (1.0, 1.0, 3.0), (0.5, 0.5, 1.5))
    otsu = threshold_mask(array_zyx(probability), CONFIG)
    full = array_zyx(full_mask(probability, otsu, grid))
    # old pixels from x = 12 mm on are set; the edge stays there
    np.testing.assert_array_equal(full, np.broadcast_to(np.arange(24) >= 12, (2, 24, 24)))
    assert image_like(full, grid).GetSize() == grid.GetSize()


def test_a_mask_on_its_own_grid_is_left_as_it_is():
    mask_zyx = np.random.default_rng(1).integers(0, 2, (9, 8, 7)).astype(np.uint8)
    mask = on_grid(mask_zyx, (0.8, 0.7, 2.0), (1.3, -2.1, 5.7))
    assert np.array_equal(mask_on_grid(mask, mask), mask_zyx > 0)


@pytest.mark.parametrize("share", [0.0, 0.02, -0.04])
def test_a_grid_whose_header_was_rounded_counts_as_the_mask_s_own(share):
    """The voxels are those that the interpolation would give."""
    mask_zyx = np.random.default_rng(1).integers(0, 2, (9, 8, 7)).astype(np.uint8)
    spacing_mm = (0.8, 0.7, 2.0)
    mask = on_grid(mask_zyx, spacing_mm, (1.3, -2.1, 5.7))
    rounded = on_grid(mask_zyx, spacing_mm, (1.3 + 0.7 * share, -2.1, 5.7 - 0.7 * share))
    floats = sitk.Cast(mask, sitk.sitkFloat32)
    interpolated = sitk.Resample(floats, rounded, sitk.Transform(), sitk.sitkLinear)
    assert np.array_equal(mask_on_grid(mask, rounded), array_zyx(interpolated) >= 0.5)
    assert np.array_equal(mask_on_grid(mask, rounded), mask_zyx > 0)


def test_a_mask_on_another_grid_is_interpolated_and_cut_at_one_half():
    mask_zyx = np.zeros((6, 4, 4), np.uint8)
    mask_zyx[2:4] = 1  # centres at 4 and 6 mm
    mask = on_grid(mask_zyx, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    finer = on_grid(np.zeros((24, 4, 4), np.int16), (1.0, 1.0, 0.5), (0.0, 0.0, 0.0))
    heights_mm = 0.5 * np.arange(24)
    assert np.array_equal(mask_on_grid(mask, finer)[:, 2, 2], (heights_mm >= 3) & (heights_mm <= 7))
    beside = on_grid(np.zeros((6, 4, 4), np.int16), (1.0, 1.0, 2.0), (2.0, 0.0, 0.0))
    assert mask_on_grid(mask, beside)[2, 0].tolist() == [True, True, False, False]  # two columns beyond it


def two_halves(shape_zyx, spacing_z_mm, origin_z_mm):
    """A ball of 30 mm around (40, 40, 40.4) mm (z, y, x), its half with lower x labelled 1 and the other 2."""
    z, y, x = np.ogrid[tuple(slice(n) for n in shape_zyx)]
    z_mm, y_mm, x_mm = origin_z_mm + spacing_z_mm * z, 0.8 * y, 0.8 * x
    inside = (z_mm - 40) ** 2 + (y_mm - 40) ** 2 + (x_mm - 40.4) ** 2 <= 30**2
    return inside * np.where(x_mm < 40.4, 1, 2).astype(np.uint8)


def test_labels_of_a_ball_keep_their_volumes_on_a_finer_grid():
    labels = on_grid(two_halves((28, 101, 101), 3.0, 0.5), (0.8, 0.8, 3.0), (0.0, 0.0, 0.5))
    grid = on_grid(np.zeros((41, 101, 101), np.int16), (0.8, 0.8, 2.0), (0.0, 0.0, 0.0))
    full_zyx = array_zyx(full_labels(labels, 2, grid, keep_largest=True))
    truth_zyx = two_halves((41, 101, 101), 2.0, 0.0)
    for label in (1, 2):
        volume_mm3 = np.count_nonzero(full_zyx == label) * 0.8 * 0.8 * 2.0
        assert volume_mm3 == pytest.approx(2 / 3 * np.pi * 30**3, rel=0.02)
    assert (
        np.count_nonzero(full_zyx[truth_zyx > 0] == truth_zyx[truth_zyx > 0]) > 0.98 * (truth_zyx > 0).sum()
    )


def test_labels_stacked_along_the_scan_part_midway():
    stacked_zyx = np.zeros((6, 30, 30), np.uint8)
    stacked_zyx[:3, 5:25, 5:25], stacked_zyx[3:, 5:25, 5:25] = 1, 2
    labels = on_grid(stacked_zyx, (0.8, 0.8, 3.0), (0.0, 0.0, 0.0))
    full_zyx = array_zyx(full_labels(labels, 2, converted_like(labels, 1.0), keep_largest=False))
    assert (full_zyx[:, 15, 15] == [1] * 8 + [2] * 8).all()
    np.testing.assert_array_equal(array_zyx(full_labels(labels, 2, labels, keep_largest=False)), stacked_zyx)


def converted_like(labels, spacing_z_mm):
    """A grid over the centres of the slices of `labels`, with slices of another distance."""
    slices = round((labels.GetSize()[2] - 1) * labels.GetSpacing()[2] / spacing_z_mm) + 1
    values = np.zeros((slices, *labels.GetSize()[1::-1]), np.int16)
    return on_grid(values, (*labels.GetSpacing()[:2], spacing_z_mm), labels.GetOrigin())


def test_one_label_is_the_mask_of_a_binary_map():
    probability = cone(8, 3.0, 0.5, 0.0)
    binary = (array_zyx(probability) >= 0.5).astype(np.float32)
    mask = threshold_mask(binary, MaskConfig(method="half"))
    grid = on_grid(np.zeros((12, 120, 120), np.int16), (0.8, 0.8, 2.0), (0, 0, 0))
    labels = on_grid(mask.mask_zyx, (0.8, 0.8, 3.0), (0.0, 0.0, 0.5))
    expected = full_mask(on_grid(binary, (0.8, 0.8, 3.0), (0.0, 0.0, 0.5)), mask, grid)
    np.testing.assert_array_equal(
        array_zyx(full_labels(labels, 1, grid, keep_largest=True)), array_zyx(expected)
    )
