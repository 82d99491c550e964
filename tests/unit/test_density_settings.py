"""The section `density` of the settings."""

import math

import pytest

from lib.density_settings import ArealConfig, DensityConfig, DxaLine
from lib.errors import ConfigError

LINE = {"slope": 1.05, "intercept": -0.02, "source": "40 women with both on one scanner"}


def test_mappings_become_settings():
    config = DensityConfig(areal={"pixel_mm": 1.0, "t_score": LINE})
    assert config.areal == ArealConfig(pixel_mm=1.0, t_score=DxaLine(**LINE))
    assert DensityConfig().areal.t_score is None


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("peel_mm", -0.1, "density.peel_mm must be a number >= 0 and <= 7 (mm); got -0.1"),
        ("peel_mm", 7.5, "density.peel_mm"),
        ("cortical_mg_cm3", 0.0, "density.cortical_mg_cm3 must be a number > 0 (mg/cm3); got 0.0"),
        ("neck_area_factor", 1.0, "density.neck_area_factor must be a number > 1 and <= 3; got 1.0"),
        ("below_trochanter_mm", math.nan, "density.below_trochanter_mm must be a number >= 0 (mm); got nan"),
        ("areal", {"pixel_mm": 0.0}, "density.areal.pixel_mm must be a number > 0 and <= 2 (mm)"),
        ("areal", {"neck_box_mm": 50.0}, "density.areal.neck_box_mm"),
        ("areal", {"t_score": LINE | {"slope": 0.0}}, "density.areal.t_score.slope"),
        ("areal", {"t_score": LINE | {"intercept": math.inf}}, "density.areal.t_score.intercept must be a"),
        ("areal", {"t_score": LINE | {"source": " "}}, "density.areal.t_score.source must tell in words"),
    ],
)
def test_values_that_cannot_be_used_are_refused(key, value, told):
    with pytest.raises(ConfigError) as raised:
        DensityConfig(**{key: value})
    assert told in str(raised.value)
