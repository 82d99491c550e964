"""The tidy and the wide table of measurements, against values put in."""

import math

from lib.stats.formats import undefined_reasons
from lib.stats.measurements import (
    MEASUREMENT_COLUMNS,
    NO_REFERENCE,
    NOT_CORRECTED,
    measurements_table,
    people_table,
)
from lib.stats.tables import by_structure, structure_key, volumes_table
from tests.unit.study_tables import people, predictions

PLANNED = by_structure(
    [row | {"structure": ""} for row in predictions(people(3, 1)) if row["group"] == "all"], ["L1", "L2"]
)


ENDS = ("whole_volume_mm3", "head_volume_mm3", "whole_mean_value_hu")


def records(planned, cut=None):
    """Volumes 100, 101, ... by structure key, references 1 higher, and no head in the reference of L2."""
    volumes, overlaps = {}, {}
    for number, row in enumerate(planned):
        predicted = 100.0 + number
        reason = {"reference_head_mm3": "no head"} if row["structure"] == "L2" else {}
        volumes[structure_key(row)] = {
            "predicted_mm3": predicted,
            "predicted_head_mm3": 20.0,
            "reference_head_mm3": None if reason else 21.0,
            "predicted_cut_mm3": cut,
            "mean_value": None,
            "flags": ["padded"] if row["structure"] == "L2" else [],
            "undefined": {"mean_value": "the predicted mask is empty"} | reason,
        }
        overlaps[structure_key(row)] = {"predicted_mm3": predicted, "reference_mm3": predicted + 1}
    return volumes, overlaps


def tidy(planned, cut=None, unit="HU"):
    volumes, overlaps = records(planned, cut)
    return measurements_table(planned, overlaps, volumes, {}, unit), volumes_table(planned, volumes)


def test_a_row_is_one_quantity_of_a_structure_of_a_prediction():
    table, _ = tidy(PLANNED)
    assert tuple(table.columns) == MEASUREMENT_COLUMNS and len(table) == 3 * len(PLANNED)
    first = table[(table["scan"] == "P001") & (table["structure"] == "L2")].set_index(["measure", "region"])
    whole, head, mean = (
        first.loc[key] for key in (("volume", "whole"), ("volume", "head"), ("mean_value", "whole"))
    )
    assert (whole["unit"], whole["compartment"], whole["undefined"]) == ("mm3", "integral", "")
    assert whole["reference"] == whole["predicted"] + 1
    assert head["predicted"] == 20 and math.isnan(head["reference"])
    assert undefined_reasons(head["undefined"]) == {"reference": "no head"}
    assert mean["unit"] == "HU" and math.isnan(mean["predicted"])
    assert undefined_reasons(mean["undefined"])["predicted"] == "the predicted mask is empty"


def test_a_quantity_has_rows_only_where_the_study_measures_it():
    assert "above_cut" not in set(tidy(PLANNED)[0]["region"])
    assert "above_cut" in set(tidy(PLANNED, cut=5.0)[0]["region"])


def test_what_is_not_scored_has_no_reference_and_says_so():
    planned = [row | {"protocol": "apply"} for row in PLANNED]
    table, _ = tidy(planned)
    assert table["reference"].isna().all()
    volumes = table[table["measure"] == "volume"]
    assert {undefined_reasons(text)["reference"] for text in volumes["undefined"]} == {NO_REFERENCE}


def test_the_wide_table_has_a_row_for_each_scan_and_takes_corrected_values_first():
    corrected = {"P001": {"L1": {"corrected_mm3": 7.0, "mean_value": 300.0}, "L2": {"corrected_mm3": 8.0}}}
    measurements, volumes = tidy(PLANNED)
    table = people_table(measurements, volumes, corrected, ["vnet"]).set_index("scan")
    assert list(table.index) == ["P000", "P001", "P002"]
    assert list(table.columns[-7:]) == [
        *(
            f"{name}_{end}"
            for name in ("L1", "L2")
            for end in ("whole_volume_mm3", "head_volume_mm3", "whole_mean_value_hu")
        ),
        "undefined",
    ]
    mended, own = table.loc["P001"], table.loc["P002"]
    assert (mended["source"], own["source"]) == ("corrected", "predicted")
    assert (mended["L1_whole_volume_mm3"], mended["L2_whole_volume_mm3"]) == (7, 8)
    assert mended["L1_whole_mean_value_hu"] == 300 and math.isnan(mended["L1_head_volume_mm3"])
    assert undefined_reasons(mended["undefined"])["L1_head_volume_mm3"] == NOT_CORRECTED
    key = next(row for row in PLANNED if row["scan"] == "P002" and row["structure"] == "L1")
    assert own["L1_whole_volume_mm3"] == 100 + PLANNED.index(key)
    assert own["flags"] == "padded" and own["L1_head_volume_mm3"] == 20
    assert undefined_reasons(own["undefined"])["L1_whole_mean_value_hu"] == "the predicted mask is empty"


def test_the_wide_table_shows_the_primary_prediction_once():
    measurements, volumes = tidy(PLANNED)
    table = people_table(measurements, volumes, {}, ["vnet"])
    assert table["scan"].is_unique and table.set_index("scan").loc["P000", "protocol"] == "test"
    assert people_table(measurements.head(0), volumes.head(0), {}).empty
