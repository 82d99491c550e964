"""Two readers beside the model: pairs by hand, the same people in all three rows."""

import math

import numpy as np
import pytest

from lib.measure_settings import OverlapConfig
from lib.report_settings import AgreementConfig
from lib.stats.reader_pairs import PAIRS, compare_readers
from lib.stats.readers import READER_COLUMNS, readers_table
from lib.stats.tables import metrics_table, structure_key
from tests.unit.study_tables import no_metrics, people, predictions

CONFIG = AgreementConfig()


def box(x_start, x_stop):
    mask = np.zeros((12, 12, 30), np.uint8)
    mask[3:9, 3:9, x_start:x_stop] = 1
    return mask


def test_three_boxes_are_compared_pair_by_pair():
    compared = compare_readers((box(5, 15), box(5, 16), box(7, 17)), (3.0, 1.0, 1.0), OverlapConfig())
    assert tuple(compared) == PAIRS
    assert [compared[pair]["dsc"] for pair in PAIRS] == pytest.approx([20 / 21, 16 / 20, 18 / 21])
    volumes = [(compared[pair]["reference_mm3"], compared[pair]["predicted_mm3"]) for pair in PAIRS]
    assert volumes == [(1080, 1188), (1080, 1080), (1188, 1080)]
    assert compared[PAIRS[1]]["hd95_mm"] == pytest.approx(2)


def record(first, second, predicted, **changes):
    score = {"dsc": 0.98, "hd95_mm": 1.0, "assd_mm": 0.3, "nsd": 0.95}
    pairs = ((first, second), (first, predicted), (second, predicted))
    return {
        pair: score | {"reference_mm3": one, "predicted_mm3": other} | changes.get(pair, {})
        for pair, (one, other) in zip(PAIRS, pairs, strict=True)
    }


def study(count):
    planned = [row for row in predictions(people(count, count)) if row["group"] == "all"]
    planned = [row for row in planned if row["protocol"] == "test"]
    keys = [structure_key(row) for row in planned]
    overlaps = {key: {"dsc": 0.9, "reference_mm3": 1.0, "predicted_mm3": 1.0} for key in keys}
    return metrics_table(planned, overlaps, {}, {}), keys


def test_the_table_puts_the_model_beside_the_readers():
    metrics, keys = study(4)
    volumes = zip((100.0, 200, 300, 400), (102.0, 202, 302, 402), (99.0, 203, 299, 403), strict=True)
    records = {key: record(*row) for key, row in zip(keys, volumes, strict=True)}
    table = readers_table(metrics, records, CONFIG)
    assert tuple(table.columns) == READER_COLUMNS
    assert table["pair"].tolist() == list(PAIRS)
    assert table["n"].tolist() == table["scans"].tolist() == [4, 4, 4]
    assert table["bias_mm3"].tolist() == pytest.approx([2, 1, -1])
    assert table["mae_mm3"].tolist() == pytest.approx([2, 2, 2])
    assert table["r2"].tolist() == pytest.approx([1 - 16 / 50_000, 1 - 20 / 50_000, 1 - 20 / 50_000])
    assert table.loc[0, ["loa_low_mm3", "loa_high_mm3"]].tolist() == pytest.approx([2, 2])


def test_all_three_rows_are_of_the_same_people():
    metrics, keys = study(3)
    records = {key: record(100.0 + rank, 101.0 + rank, 102.0) for rank, key in enumerate(keys[:2])}
    empty = {"dsc": 0.0, "hd95_mm": None, "predicted_mm3": 0.0}
    records[keys[1]] = record(
        100.0, 101.0, 0.0, **{PAIRS[1]: empty, PAIRS[2]: empty, PAIRS[0]: {"hd95_mm": 9.0}}
    )
    table = readers_table(metrics, records, CONFIG)
    assert table["n"].tolist() == [2, 2, 2]  # the third scan has one reader
    # the empty prediction has no distance, so that the readers' 9 mm on that scan is left out
    assert table["hd95_mm_mean"].tolist() == [1, 1, 1]
    assert table["dsc_min"].tolist() == [0.98, 0, 0]


def test_scans_without_a_distance_are_told_with_the_pair_and_the_reason():
    metrics, keys = study(4)
    records = {key: record(100.0, 102.0, 99.0) for key in keys}
    empty = {"hd95_mm": None, "assd_mm": None, "undefined": {"hd95_mm": "the predicted mask is empty"}}
    records[keys[1]] = record(100.0, 102.0, 0.0, **{PAIRS[1]: empty, PAIRS[2]: empty})
    table = readers_table(metrics, records, CONFIG)
    assert set(table["without_distance"]) == {
        f"1 of 4 scans without: {PAIRS[1]}: the predicted mask is empty"
    }
    assert set(table["hd95_mm_scans"]) == {3}
    whole = readers_table(metrics, {key: record(100.0, 102.0, 99.0) for key in keys}, CONFIG)
    assert set(whole["without_distance"]) == {""}


def test_scores_of_a_pair_are_means_over_scans():
    metrics, keys = study(4)
    scores = np.array(
        [[0.90, 4.0, 1.0, 0.5], [0.98, 1.0, 0.3, 0.9], [0.97, 1.5, 0.4, 0.8], [0.99, 0.5, 0.1, 1.0]]
    )
    names = ("dsc", "hd95_mm", "assd_mm", "nsd")
    records = {
        key: record(1.0, 2.0, 3.0, **{PAIRS[2]: dict(zip(names, row, strict=True))})
        for key, row in zip(keys, scores, strict=True)
    }
    row = readers_table(metrics, records, CONFIG).iloc[2]
    assert row[[f"{name}_mean" for name in names]].tolist() == pytest.approx(scores.mean(axis=0).tolist())
    assert row[["dsc_sd", "dsc_min"]].tolist() == pytest.approx([scores[:, 0].std(ddof=1), 0.9])


def test_a_single_scan_has_no_spread():
    metrics, keys = study(1)
    table = readers_table(metrics, {keys[0]: record(1.0, 2.0, 3.0)}, CONFIG)
    assert table["mae_mm3"].tolist() == [1, 2, 1]
    assert math.isnan(table.loc[0, "dsc_sd"])
    assert math.isnan(table.loc[0, "loa_low_mm3"])


def test_without_a_second_reader_there_are_no_rows():
    assert readers_table(study(2)[0], {}, CONFIG).empty
    assert readers_table(no_metrics(), {}, CONFIG).empty
