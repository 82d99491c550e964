"""Clipping of intensities before screening is detected at both ends."""

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import Scene, draw

from lib.imaging.grid import array_zyx
from lib.imaging.hounsfield import check_hu


@pytest.fixture(scope="module")
def hu_zyx():
    image = draw(Scene(nail="left"))[0]
    blurred = sitk.SmoothingRecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), 2.0)
    noise = 15 * np.random.default_rng(1).standard_normal(image.GetSize()[::-1])
    return np.rint(array_zyx(blurred) + noise).astype(np.int16)


@pytest.mark.parametrize(
    ("low", "high", "codes"),
    [
        (-1024, 3071, []),
        (-1000, 2000, []),
        (-1024, 1000, ["clipped_hu"]),
        (-1024, 600, ["clipped_hu"]),
        (-200, 3071, ["clipped_hu"]),
        (-500, 1000, ["clipped_hu", "clipped_hu"]),
        (-1024, 240, ["implausible_hu"]),
        (-160, 240, ["clipped_hu", "implausible_hu"]),
        (-100, 3071, ["implausible_hu"]),
    ],
)
def test_range_of_intensities(hu_zyx, low, high, codes):
    assert [reason.code for reason in check_hu(np.clip(hu_zyx, low, high))] == codes


def test_an_inverted_image_is_not_a_ct(hu_zyx):
    (reason,) = check_hu(np.maximum(-hu_zyx, -1024).astype(np.int16))
    assert reason.code == "implausible_hu" and "an inverted image?" in reason.found


def test_words_name_the_limit(hu_zyx):
    low, high = check_hu(np.clip(hu_zyx, -300, 700))
    assert "are exactly -300 HU, and none is below" in low.found
    assert "are exactly 700 HU, and none is above" in high.found


def test_eight_bit_picture_brought_back_to_its_window_is_noticed(hu_zyx):
    grey = np.rint((np.clip(hu_zyx.astype(float), -200, 800) + 200) * 255 / 1000)
    codes = {reason.code for reason in check_hu(np.rint(grey * 1000 / 255 - 200).astype(np.int16))}
    assert codes == {"clipped_hu"}


@pytest.mark.parametrize("constant", [300, 800, 1500])
def test_tissue_drawn_with_one_value_is_not_cut_off(constant):
    rng = np.random.default_rng(0)
    volume = rng.normal(30, 20, (20, 60, 60)).astype(np.int16)
    volume[:, :10], volume[:, 50:] = -1000, constant
    assert check_hu(volume) == []
