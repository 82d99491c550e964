"""Precision-recall and ROC curves: areas against scikit-learn, of one scan and pooled from counts in bins."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from lib.errors import TableError
from lib.stats.curves import AREA_COLUMNS, CURVE_COLUMNS, pooled_areas, pooled_curves
from lib.stats.voxel_levels import (
    BIN_LEVELS,
    LEVELS,
    NO_BACKGROUND,
    NO_REFERENCE,
    count_levels,
    measure_areas,
    pool_counts,
)

SHAPE_ZYX = (6, 60, 80)


def maps(seed, kind):
    """Return levels (uint16) and reference (bool) of a random map (z, y, x)."""
    generator = np.random.default_rng(seed)
    reference = generator.random(SHAPE_ZYX) < 0.35
    if kind == "ties":
        return generator.integers(0, 9, SHAPE_ZYX).astype(np.uint16) * 8000 + 500 * reference, reference
    if kind == "uniform":
        return generator.integers(0, LEVELS, SHAPE_ZYX).astype(np.uint16), reference
    if kind == "soft":
        return np.where(
            reference, generator.beta(3, 2, SHAPE_ZYX) * 65535, generator.beta(1, 3, SHAPE_ZYX) * 65535
        ).astype(np.uint16), reference
    logits = generator.normal(
        np.where(reference, 8, -8), 5
    )  # as of a trained network: most voxels at 0 and 1
    if kind == "bf16":
        logits = np.round(logits * 64) / 64
    return np.rint(65535 / (1 + np.exp(-logits))).astype(np.uint16), reference


def of_sklearn(levels_zyx, reference_zyx):
    """Return the average precision and the area under the ROC curve of the voxels."""
    voxels = reference_zyx.ravel(), levels_zyx.ravel()
    return average_precision_score(*voxels), roc_auc_score(*voxels)


def record(levels_zyx, reference_zyx, **key):
    key = {"group": "all", "network": "vnet", "protocol": "cv", "structure": "femur"} | key
    return key | count_levels(levels_zyx, reference_zyx).in_bins()


KINDS = ("ties", "uniform", "soft", "network", "bf16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_areas_of_a_scan_are_those_of_scikit_learn(kind, seed):
    areas = measure_areas(count_levels(*maps(seed, kind)))
    assert (areas["auc_pr"], areas["auc_roc"]) == pytest.approx(of_sklearn(*maps(seed, kind)), abs=1e-12)
    assert not areas["undefined"]


@pytest.mark.parametrize(
    ("kind", "within"), [("uniform", 1e-4), ("soft", 1e-4), ("network", 1e-4), ("bf16", 4e-4)]
)
def test_pooled_areas_are_those_of_all_voxels(kind, within):
    scans = [maps(seed, kind) for seed in range(6)]
    (row,) = pooled_areas(record(*scan) for scan in scans).to_dict("records")
    expected = of_sklearn(*(np.concatenate(part) for part in zip(*scans, strict=True)))
    assert (row["auc_pr"], row["auc_roc"]) == pytest.approx(expected, abs=within)
    assert row["scans"] == 6 and row["undefined"] == ""


def test_pooled_areas_are_exact_where_each_bin_holds_one_level():
    single = BIN_LEVELS[np.diff(BIN_LEVELS, append=LEVELS) == 1]
    generator = np.random.default_rng(2)
    scans = [
        (generator.choice(single, SHAPE_ZYX).astype(np.uint16), generator.random(SHAPE_ZYX) < 0.3)
        for _ in range(3)
    ]
    table = pooled_areas(record(*scan) for scan in scans)
    expected = of_sklearn(*(np.concatenate(part) for part in zip(*scans, strict=True)))
    assert tuple(table[["auc_pr", "auc_roc"]].iloc[0]) == pytest.approx(expected, abs=1e-12)


def test_a_bin_of_several_levels_counts_with_the_mean_over_all_orders():
    # 3 voxels inside and 2 outside in the middle bin, 4 and 1 above it: the mean over the 10 orders, by hand
    levels = [LEVELS - 1] * 5 + [LEVELS // 2] * 5
    inside = [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]
    counts = count_levels(np.array([[levels]], np.uint16), np.array([[inside]]))
    orders = {order for order in np.ndindex(2, 2, 2, 2, 2) if sum(order) == 3}
    mean = np.mean(
        [sum((4 + sum(order[: k + 1])) / (5 + k + 1) for k in range(5) if order[k]) for order in orders]
    )
    area = measure_areas(pool_counts([counts.in_bins()]))["auc_pr"]
    assert len(orders) == 10
    assert area == pytest.approx((4 * 4 / 5 + mean) / 7, abs=1e-12)


def test_points_of_a_pooled_curve_are_those_of_the_voxels():
    scans = [maps(seed, "soft") for seed in range(3)]
    table = pooled_curves(record(*scan) for scan in scans)
    assert tuple(table.columns) == CURVE_COLUMNS and len(table) == len(BIN_LEVELS)
    levels, inside = (np.concatenate(part).ravel() for part in zip(*scans, strict=True))
    precision, recall, thresholds = precision_recall_curve(inside, levels)
    rates, recalls, at = roc_curve(inside, levels, drop_intermediate=False)
    for row in table[::37].itertuples():
        level = round(row.threshold * (LEVELS - 1))
        place = np.searchsorted(thresholds, level)
        if place < len(thresholds):
            assert (row.precision, row.recall) == pytest.approx((precision[place], recall[place]), abs=1e-12)
        on_roc = np.flatnonzero(at >= level)[-1]
        assert (row.false_positive_rate, row.recall) == pytest.approx((rates[on_roc], recalls[on_roc]))
    assert table["recall"].iloc[-1] == 1 == table["false_positive_rate"].iloc[-1]


def test_curves_are_pooled_within_network_protocol_group_and_structure():
    records = [
        record(*maps(seed, "network"), network=network, structure=structure)
        for seed, (network, structure) in enumerate([("a", "L1"), ("a", "L2"), ("b", "L1"), ("a", "L1")])
    ]
    areas, curves = pooled_areas(records), pooled_curves(records)
    assert tuple(areas.columns) == AREA_COLUMNS
    keys = [("a", "L1"), ("a", "L2"), ("b", "L1")]
    assert list(zip(areas["network"], areas["structure"], strict=True)) == keys
    assert list(areas["scans"]) == [2, 1, 1]
    assert curves.groupby(["network", "structure"]).size().to_dict() == dict.fromkeys(keys, len(BIN_LEVELS))


def test_where_the_reference_is_empty_or_everywhere_areas_are_undefined():
    levels, reference = maps(0, "soft")
    empty = measure_areas(count_levels(levels, np.zeros_like(reference)))
    assert empty["auc_pr"] is empty["auc_roc"] is None
    assert empty["undefined"] == {"auc_pr": NO_REFERENCE, "auc_roc": NO_REFERENCE}
    full = measure_areas(count_levels(levels, np.ones_like(reference)))
    assert (full["auc_pr"], full["auc_roc"], full["undefined"]) == (1.0, None, {"auc_roc": NO_BACKGROUND})
    table = pooled_areas([record(levels, np.zeros_like(reference))])
    assert table["auc_pr"].isna().all() and table["undefined"][0] == f"auc_pr, auc_roc: {NO_REFERENCE}"
    curve = pooled_curves([record(levels, np.zeros_like(reference))])
    assert curve["recall"].isna().all() and curve["false_positive_rate"].iloc[-1] == 1


def test_large_cohorts_do_not_overflow_or_lose_digits():
    counts = count_levels(*maps(1, "network")).in_bins()
    once, often = (
        pool_counts([{name: [n * k for n in counts[name]] for name in counts}]) for k in (1, 10**7)
    )
    assert measure_areas(often)["auc_roc"] == pytest.approx(measure_areas(once)["auc_roc"], abs=1e-12)
    assert measure_areas(often)["auc_pr"] == pytest.approx(measure_areas(once)["auc_pr"], abs=1e-4)


def test_bins_are_mirrored_and_cut_at_the_thresholds_of_otsu():
    np.testing.assert_array_equal(BIN_LEVELS[1:], (LEVELS - BIN_LEVELS[1:])[::-1])
    steps = np.arange(52, 205)  # 0.2 to 0.8, the range of config mask
    assert np.isin(np.ceil(steps / 256 * (LEVELS - 1)), BIN_LEVELS).all()


def test_counts_in_other_bins_are_refused():
    with pytest.raises(TableError, match="256 bins .*measure these predictions again"):
        pool_counts([{"inside": [0] * 256, "outside": [1] * 256}])
