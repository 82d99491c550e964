import pytest
import torch

from lib.errors import ConfigError
from lib.learning.intensity import IntensityConfig, to_intensity


def test_hu_are_clipped_and_scaled():
    image_hu = torch.tensor([-1024, -1000, 500, 2000, 3071], dtype=torch.int16)
    assert to_intensity(image_hu, IntensityConfig()).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert image_hu.tolist() == [-1024, -1000, 500, 2000, 3071]


@pytest.mark.parametrize(("low_hu", "high_hu", "key"), [(100, 100, "high_hu"), (-2000, 100, "low_hu")])
def test_an_empty_range_or_one_below_the_padding_is_refused(low_hu, high_hu, key):
    with pytest.raises(ConfigError, match=key):
        IntensityConfig(low_hu=low_hu, high_hu=high_hu)
