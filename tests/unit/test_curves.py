"""Precision-recall and ROC curves: areas against scikit-learn, of a scan and pooled over scans."""

import json
import zlib
from base64 import b64encode

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
    RUN_COLUMNS,
    SHARES,
    VoxelCounts,
    count_levels,
    measure_areas,
    pool_counts,
    read_runs,
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
    return key | count_levels(levels_zyx, reference_zyx).to_json()


KINDS = ("ties", "uniform", "soft", "network", "bf16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_areas_of_a_scan_are_those_of_scikit_learn(kind, seed):
    areas = measure_areas(count_levels(*maps(seed, kind)))
    assert (areas["auc_pr"], areas["auc_roc"]) == pytest.approx(of_sklearn(*maps(seed, kind)), abs=1e-12)
    assert not areas["undefined"]


def one_network(generator, kind, apart, size=4000):
    """Return the map of a network whose logits of bone and background lie `apart`, with a shift of its own."""
    reference = generator.random((1, 13, size)) < 1 / 13
    logits = generator.normal(np.where(reference, apart, -apart), 0.4 * apart + 1) + generator.normal()
    members = 5 if kind == "ensemble" else 1
    several = [logits + (generator.normal(0, 1, logits.shape) if members > 1 else 0) for _ in range(members)]
    if kind == "bf16":
        several = [(of.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32) for of in several]
    probability = np.mean([1 / (1 + np.exp(-of)) for of in several], axis=0)
    if kind == "percent":
        probability = np.round(probability, 2)
    if kind == "narrow":  # a network that is never sure: all voxels in a few of BIN_LEVELS
        probability = 0.45 + 0.1 * probability
    return np.rint(65535 * probability).astype(np.uint16), reference


WEAK, USUAL, NEARLY_PERFECT = 1, 4, 12  # distance of bone and background


@pytest.mark.parametrize("kind", ["bf16", "float32", "ensemble", "percent", "narrow"])
@pytest.mark.parametrize("apart", [WEAK, USUAL, NEARLY_PERFECT])
@pytest.mark.parametrize("people", [1, 4, 12])
def test_pooled_areas_are_those_of_all_voxels(kind, apart, people):
    generator = np.random.default_rng([people, apart])
    scans = [one_network(generator, kind, apart) for _ in range(people)]
    (row,) = pooled_areas(record(*scan) for scan in scans).to_dict("records")
    expected = of_sklearn(*(np.concatenate(part, axis=None) for part in zip(*scans, strict=True)))
    assert (row["auc_pr"], row["auc_roc"]) == pytest.approx(expected, abs=5e-5)
    assert row["scans"] == people and row["undefined"] == ""


@pytest.mark.parametrize("kind", KINDS)
def test_pooled_areas_of_small_scans_and_of_scans_unlike_each_other(kind):
    generator = np.random.default_rng(3)
    scans = [maps(0, kind), *[one_network(generator, "bf16", apart, 60) for apart in (WEAK, USUAL)]]
    scans += [one_network(generator, "narrow", WEAK), one_network(generator, "ensemble", USUAL)]
    (row,) = pooled_areas(record(*scan) for scan in scans).to_dict("records")
    voxels = (np.concatenate([array.ravel() for array in part]) for part in zip(*scans, strict=True))
    assert (row["auc_pr"], row["auc_roc"]) == pytest.approx(of_sklearn(*voxels), abs=5e-5)


def test_pooled_areas_are_exact_where_maps_have_few_values():
    scans = [maps(seed, "ties") for seed in range(6)]
    table = pooled_areas(record(*scan) for scan in scans)
    expected = of_sklearn(*(np.concatenate(part) for part in zip(*scans, strict=True)))
    assert tuple(table[["auc_pr", "auc_roc"]].iloc[0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_adds_little_or_is_one_level_and_all_voxels_are_counted(kind):
    counts = count_levels(*maps(2, kind))
    runs = counts.in_runs()
    assert tuple(runs) == RUN_COLUMNS and len({len(column) for column in runs.values()}) == 1
    lowest, span, inside, outside = runs.values()
    assert (np.diff(lowest) < 0).all() and (lowest[:-1] > lowest[1:] + span[1:]).all()
    bins = (np.searchsorted(BIN_LEVELS, level, side="right") for level in (lowest, lowest + span))
    np.testing.assert_array_equal(*bins)
    for low, wide, within, without in zip(lowest, span, inside, outside, strict=True):
        part = slice(low, low + wide + 1)
        assert (within, without) == (counts.inside[part].sum(), counts.outside[part].sum())
        assert all(counts.inside[end] + counts.outside[end] for end in (low, low + wide))
    assert (inside.sum(), outside.sum()) == (counts.inside.sum(), counts.outside.sum())
    chosen = np.cumsum(inside + outside) - inside - outside
    several = span > 0
    # a run ends when its share is reached, at the next level at the latest
    assert (inside[several] <= 2 * inside.sum() / SHARES + 2).all()
    assert ((inside + outside)[several] <= 2.01 * chosen[several] / SHARES + 2).all()


def test_a_map_of_a_network_is_kept_in_few_runs():
    runs = count_levels(*one_network(np.random.default_rng(0), "bf16", USUAL)).in_runs()
    assert len(runs["lowest"]) < 1500


def packed(*lines):
    return {"runs": b64encode(zlib.compress("\n".join(lines).encode())).decode()}


def test_the_voxels_of_a_run_are_spread_evenly_over_it():
    pooled = pool_counts([packed("70 40", "0 3", "4 2", "0 6"), packed("41", "0", "1", "1")])
    assert isinstance(pooled, VoxelCounts) and len(pooled.inside) == LEVELS
    assert pooled.inside[38:46].tolist() == [0, 0, 0.5, 1.5, 0.5, 0.5, 0, 0] and pooled.inside[70] == 4
    assert pooled.outside[38:46].tolist() == [0, 0, 1.5, 2.5, 1.5, 1.5, 0, 0] and pooled.outside.sum() == 7


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_kept_whole_and_small(kind):
    counts = count_levels(*maps(1, kind))
    runs, kept = counts.in_runs(), counts.to_json()
    again = read_runs(json.loads(json.dumps(kept)))
    for name in RUN_COLUMNS:
        np.testing.assert_array_equal(again[name], runs[name])
    assert len(kept["runs"]) < 20_000


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
    scan = count_levels(*maps(1, "network"))
    once, often = (
        pool_counts([VoxelCounts(inside=k * scan.inside, outside=k * scan.outside).to_json()])
        for k in (1, 10**7)
    )
    for name in ("auc_roc", "auc_pr"):
        assert measure_areas(often)[name] == pytest.approx(measure_areas(once)[name], abs=1e-6)


def test_bins_are_mirrored_and_cut_at_the_thresholds_of_otsu():
    np.testing.assert_array_equal(BIN_LEVELS[1:], (LEVELS - BIN_LEVELS[1:])[::-1])
    steps = np.arange(52, 205)  # 0.2 to 0.8, the range of config mask
    assert np.isin(np.ceil(steps / 256 * (LEVELS - 1)), BIN_LEVELS).all()


def test_counts_of_another_version_are_refused():
    of_levels = {"inside": [0] * 506, "outside": [1] * 506}
    for counts in (of_levels, {"runs": "no base64"}, {"runs": "AAAA"}, packed("70 40", "0 3", "4 2")):
        with pytest.raises(
            TableError, match="no lowest, span, inside, outside: .* measure the prediction again"
        ):
            pool_counts([counts])
