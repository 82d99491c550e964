"""The intensity scale: one range for all scans, or percentiles of each scan's body."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.errors import ConfigError, ScanError
from lib.imaging.intensity_range import body_mask, find_range
from lib.intensity_scale import IntensityConfig, IntensityRange, fixed_range
from lib.learning.intensity import to_intensity, windows_to_intensity

CT = IntensityConfig()
PERCENTILES = IntensityConfig(scale="percentile", low=10, high=90)


def test_values_are_clipped_and_scaled():
    image_hu = torch.tensor([-1024, -1000, 500, 2000, 3071], dtype=torch.int16)
    assert to_intensity(image_hu, fixed_range(CT)).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert image_hu.tolist() == [-1024, -1000, 500, 2000, 3071]


def test_every_window_has_the_scale_of_its_scan():
    windows = torch.tensor([[100, 200, 300], [100, 200, 300]], dtype=torch.int16)
    wide = IntensityRange(low=100.0, high=500.0, padding=100)
    narrow = IntensityRange(low=100.0, high=200.0, padding=100)
    found = windows_to_intensity(windows, [wide, narrow])
    assert found.tolist() == [[0.0, 0.25, 0.5], [0.0, 1.0, 1.0]]
    for scale in (wide, narrow):
        assert torch.equal(windows_to_intensity(windows, [scale, scale]), to_intensity(windows, scale))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"low": 100, "high": 100}, "high"),
        ({"low": 3000}, "high"),
        ({"low": -40000}, "low"),
        ({"high": 40000}, "high"),
        ({"scale": "percentile"}, "low"),  # the range of CT is left
        ({"scale": "percentile", "low": 0.5, "high": 100.5}, "high"),
        ({"scale": "percentile", "low": 50, "high": 50}, "high"),
        ({"scale": "zscore"}, "scale"),
    ],
)
def test_a_scale_that_cannot_be_used_is_refused(settings, key):
    with pytest.raises(ConfigError, match=f"intensity.{key}"):
        IntensityConfig(**settings)


@pytest.mark.parametrize(("low", "padding"), [(-1000.0, -1024), (-500.5, -1024), (-1500.5, -1501)])
def test_padding_becomes_0_for_any_range(low, padding):
    scale = fixed_range(IntensityConfig(low=low))
    assert scale.padding == padding
    assert to_intensity(torch.tensor([padding], dtype=torch.int16), scale).item() == 0


def body(air=0, gain=1, shape=(10, 40, 40)):
    """A block of body with the values 101 ... 4100 times `gain` in air; a brighter speck of noise lies apart."""
    values = np.full(shape, air, np.int16)
    block = np.arange(1, 4001).reshape(10, 20, 20)
    values[:, 10:30, 10:30] = air + gain * (100 + block)
    values[0, 0, 0] = air + 5000
    return values


def test_the_body_is_the_largest_part_and_no_air():
    found = body_mask(body())
    expected = np.zeros_like(found)
    expected[:, 10:30, 10:30] = True
    np.testing.assert_array_equal(found, expected)
    assert body_mask(np.full((2, 3, 4), 7, np.int16)).all()


@pytest.mark.parametrize(("air", "gain"), [(0, 1), (-1024, 1), (3, 5)])
@pytest.mark.parametrize("more_air", [0, 30])
def test_percentiles_are_those_of_the_body_whatever_the_air_and_the_gain(air, gain, more_air):
    values = np.pad(body(air, gain), ((0, 0), (more_air, 0), (more_air, 0)), constant_values=air)
    scale = find_range(sitk.GetImageFromArray(values), PERCENTILES)
    # the 10th and the 90th percentile of 101, 102, ... 4100
    assert scale.low == pytest.approx(air + gain * 500.9)
    assert scale.high == pytest.approx(air + gain * 3700.1)
    assert scale.low - 1 < scale.padding <= scale.low


@pytest.mark.parametrize("air_columns", [0, 2, 30])
def test_muscle_is_body_although_fat_is_much_brighter_and_air_is_scarce(air_columns):
    rng = np.random.default_rng(1)
    signal = np.full((12, 40, 40), 400.0)  # muscle, shaded to a half, with fat at the side and a dark bone
    signal *= np.linspace(0.5, 1, 40)
    signal[:, :, 25:] *= 2.5
    signal[:, 10:16, 10:16] = 50.0
    signal = np.pad(signal, ((0, 0), (0, 0), (0, air_columns)))
    real, imaginary = 20 * rng.standard_normal((2, *signal.shape))
    values = np.hypot(signal + real, imaginary).astype(np.int16)
    found = body_mask(values)
    is_tissue = signal > 100
    assert found[is_tissue].mean() > 0.999
    assert found[signal == 0].mean() < 0.05 if air_columns else True
    scale = find_range(
        sitk.GetImageFromArray(values), IntensityConfig(scale="percentile", low=0.5, high=99.5)
    )
    assert scale.low < 180 and scale.high > 900


def test_the_fixed_range_does_not_look_at_the_image():
    assert find_range(sitk.GetImageFromArray(body()), CT) == fixed_range(CT)


def test_an_image_whose_percentiles_coincide_is_refused():
    values = np.where(body() > 0, 700, 0).astype(np.int16)
    with pytest.raises(ScanError, match="both 700: the image has no contrast") as caught:
        find_range(sitk.GetImageFromArray(values), PERCENTILES)
    assert caught.value.code == "flat_image"
