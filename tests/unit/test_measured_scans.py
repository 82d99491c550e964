"""The measures of every scan in one figure: what stands out, which scans are flagged, which points open a page."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from lib.figures.measured_scans import FEWEST_DRAWN, draw_measured_scans, standing_out
from lib.figures.style import STYLE, points_of


def volumes(**columns):
    count = len(next(iter(columns.values())))
    made = {"scan": [f"S{n}" for n in range(count)], "subject": [f"P{n}" for n in range(count)]}
    return pd.DataFrame(made | {"sex": "F", "protocol": "apply", "flags": ""} | columns)


def drawn(table, **values):
    with mpl.rc_context(STYLE):
        return draw_measured_scans(table, **values)


def test_a_scan_stands_out_beyond_tukeys_fences_of_its_sex():
    # quartiles of 10 to 13 are 10.75 and 12.25, so that the fences are 8.5 and 14.5
    women = [10.0, 11.0, 12.0, 13.0]
    table = volumes(predicted_mm3=[*women, 14.4], sex=["F"] * 5)
    assert set(standing_out(table, ["predicted_mm3"])) == {""}
    far = volumes(predicted_mm3=[*women, 11.5, 30.0], length_mm=[1.0] * 6)
    assert list(standing_out(far, ["predicted_mm3", "length_mm"])) == ["", "", "", "", "", "predicted_mm3"]
    # the same value among men of that size is one of theirs
    men = volumes(predicted_mm3=[*women, 30.0, 31.0, 29.0, 30.0], sex=["F"] * 4 + ["M"] * 4)
    assert set(standing_out(men, ["predicted_mm3"])) == {""}


def test_missing_values_and_few_scans_of_a_sex_stand_out_nowhere():
    table = volumes(predicted_mm3=[10.0, 11.0, 12.0, 13.0, np.nan, 900.0], sex=["F"] * 5 + ["M"])
    assert set(standing_out(table, ["predicted_mm3"])) == {""}


def test_only_measures_with_enough_scans_have_a_panel():
    table = volumes(predicted_mm3=[1e5, 1.1e5, 1.2e5, 1.3e5], member_dice=[0.99, np.nan, np.nan, 0.98])
    drawing = drawn(table, value_unit="HU")
    assert [axes.get_ylabel() for axes in drawing.figure.axes] == ["volume, cm³"]
    assert drawing.n == FEWEST_DRAWN and "4 scans: 0 stand out" in drawing.alt
    assert drawn(table.head(3)) is None


@pytest.mark.parametrize(
    ("unit", "label"), [("HU", "mean intensity in the mask, HU"), ("", "mean intensity in the mask")]
)
def test_intensities_have_the_unit_of_the_modality(unit, label):
    drawing = drawn(volumes(mean_value=[300.0, 310.0, 320.0, 330.0]), value_unit=unit)
    assert [axes.get_ylabel() for axes in drawing.figure.axes] == [label]


def test_every_point_leads_to_its_scan_once_and_flagged_scans_have_a_ring():
    table = volumes(predicted_mm3=[1e5, 1.1e5, 1.2e5, 1.3e5], flags=["", "metal", "", ""])
    drawing = drawn(table)
    scans = [scan for _, named in points_of(drawing.figure) for scan in named]
    assert sorted(scans) == ["S0", "S1", "S2", "S3"]
    (axes,) = drawing.figure.axes
    single = [marks for marks in axes.collections if isinstance(marks, PathCollection)]
    rings = [marks for marks in single if len(marks.get_offsets()) == 1]
    assert [round(float(marks.get_offsets()[0][1]), 6) for marks in rings] == [110.0]
    assert drawing.data.set_index("scan").loc["S1", "flags"] == "metal"
