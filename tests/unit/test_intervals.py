"""Intervals of volumes: bounds by hand, people instead of scans, reasons, errors stored beside models, coverage."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.errors import ModelError
from lib.pages.wording import FLAG_MEANINGS
from lib.report_settings import AgreementConfig
from lib.stats.coverage import coverage_table
from lib.stats.coverage_notes import coverage_notes
from lib.stats.flow import SEEN_IN_TRAINING
from lib.stats.formats import undefined_reasons
from lib.stats.intervals import (
    EMPTY,
    ERRORS_FILE,
    NO_BOUND,
    NO_FILE,
    NO_RATIOS,
    OTHER_MODELS,
    OWN_ERROR,
    SEEN,
    WIDE,
    WIDE_FACTOR,
    FoldErrors,
    fewest_people,
    read_volume_errors,
    volume_errors,
    volume_interval,
    with_interval,
    with_intervals,
)
from lib.stats.tables import (
    INTERVAL_COLUMNS,
    METRIC_COLUMNS,
    read_table,
    structure_key,
    volumes_table,
    write_table,
)
from tests.unit.study_tables import people, predictions

ENSEMBLE = {"group": "all", "network": "vnet", "members": "ensemble", "protocol": "apply", "scan": "S1"} | {
    "structure": "femur"
}


def errors_of(relative, folds=("fold-0",), weights=None):
    """Errors of one person each, with alternating folds."""
    turns = [folds[number % len(folds)] for number in range(len(relative))]
    return FoldErrors(folds=turns, relative=list(relative), weights=weights or [1.0] * len(relative))


def percents(count):
    return [number / 100 for number in range(1, count + 1)]


def test_one_model_has_the_quantile_of_the_errors_as_half_width():
    # 0.95 * 20 = 19: the largest of 19; 0.95 * 40 = 38: the second largest of 39
    found = volume_interval(1000.0, {}, errors_of(percents(19)), 0.95)
    assert (found.low_mm3, found.high_mm3) == pytest.approx((810, 1190))
    assert found.percent == pytest.approx(19) == found.agreed_percent
    assert volume_interval(1000.0, {}, errors_of(percents(39)), 0.95).percent == pytest.approx(38)


def test_each_error_goes_with_the_volume_of_its_own_fold_model():
    # 9 people, 90 %: all errors count; fold-0 predicts 900, fold-1 1200, with errors of 1 % and 2 % in turn
    errors = errors_of([0.01, 0.02] * 4 + [0.01], ("fold-0", "fold-1"))
    found = volume_interval(1000.0, {"fold-0": 0.9, "fold-1": 1.2}, errors, 0.9)
    assert (found.low_mm3, found.high_mm3) == pytest.approx((900 * 0.99, 1200 * 1.02))
    assert found.agreed_percent == pytest.approx(2)
    assert found.percent == pytest.approx((1224 - 891) / 20)


def test_the_interval_grows_as_the_fold_models_go_apart():
    errors = errors_of(np.abs(np.random.default_rng(2).normal(0, 0.01, 60)), ("fold-0", "fold-1", "fold-2"))
    widths = [
        volume_interval(9e4, {"fold-0": 1 - apart, "fold-1": 1, "fold-2": 1 + apart}, errors, 0.95).percent
        for apart in (0, 0.01, 0.03, 0.1)
    ]
    assert widths == sorted(widths)
    assert widths[0] == pytest.approx(
        volume_interval(9e4, {}, errors, 0.95).percent
    )  # models that agree add no width
    assert widths[-1] > 10


def test_the_order_of_people_and_folds_does_not_matter():
    errors = errors_of(percents(40), ("fold-0", "fold-1"))
    turned = FoldErrors(folds=errors.folds[::-1], relative=errors.relative[::-1], weights=errors.weights)
    ratios = {"fold-0": 0.98, "fold-1": 1.03}
    expected = volume_interval(1e5, ratios, errors, 0.95)
    assert volume_interval(1e5, dict(reversed(ratios.items())), turned, 0.95) == expected


def test_the_predicted_volume_lies_inside_and_no_bound_is_negative():
    apart = volume_interval(
        1000.0, {"fold-0": 1.5, "fold-1": 1.6}, errors_of([0.01] * 40, ("fold-0", "fold-1")), 0.9
    )
    assert apart.low_mm3 == 1000
    assert volume_interval(1000.0, {}, errors_of([2.5] * 40), 0.9).low_mm3 == 0


def test_scans_of_a_person_share_the_weight_of_one():
    once = volume_interval(1000.0, {}, errors_of(percents(19)), 0.95)
    thrice = errors_of([error for error in percents(19) for _ in range(3)], weights=[1 / 3] * 57)
    assert volume_interval(1000.0, {}, thrice, 0.95) == once
    # one person of 39 may lie outside, however many scans they have; three people of 41 may not
    repeated = errors_of([*percents(38), 0.5, 0.5, 0.5], weights=[1.0] * 38 + [1 / 3] * 3)
    assert volume_interval(1000.0, {}, repeated, 0.95).percent == pytest.approx(38)
    assert volume_interval(1000.0, {}, replace(repeated, weights=[1.0] * 41), 0.95).percent == pytest.approx(
        50
    )


@pytest.mark.parametrize(("confidence", "fewest"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_people_have_a_reason_and_no_bound(confidence, fewest):
    assert fewest_people(confidence) == fewest
    assert not volume_interval(1000.0, {}, errors_of(percents(fewest)), confidence).undefined
    found = volume_interval(1000.0, {}, errors_of(percents(fewest - 1)), confidence)
    assert f"an interval of {100 * confidence:g} % needs {fewest} (" in found.undefined
    assert math.isnan(found.low_mm3) and math.isnan(found.high_mm3) and not found.wide


def test_people_of_folds_that_did_not_predict_are_left_out():
    errors = errors_of(percents(40), ("fold-0", "fold-1"))
    assert "20 people" in volume_interval(1000.0, {"fold-1": 1.0}, errors, 0.99).undefined
    assert volume_interval(1000.0, {"fold-1": 1.0}, errors, 0.95).percent == pytest.approx(40)


def test_a_failure_widens_and_is_never_left_out():
    assert volume_interval(1000.0, {}, errors_of([*percents(18), math.inf]), 0.95).undefined == NO_BOUND
    assert volume_interval(1000.0, {}, errors_of([*percents(38), math.inf]), 0.95).percent == pytest.approx(
        38
    )
    # a fold model that finds no bone in the new scan gives no bound for the people of its fold
    thirds = errors_of([0.01] * 60, ("fold-0", "fold-1", "fold-2"))
    assert (
        volume_interval(1000.0, {"fold-0": 1, "fold-1": 1, "fold-2": 0}, thirds, 0.95).undefined == NO_BOUND
    )


def test_an_interval_is_wide_where_models_disagree_as_the_words_say():
    errors = errors_of([0.01] * 40, ("fold-0", "fold-1"))

    def wide(apart):
        return volume_interval(1000.0, {"fold-0": 1 - apart, "fold-1": 1 + apart}, errors, 0.95).wide

    assert not wide(0) and not wide(0.004) and wide(0.006)
    assert f"more than {WIDE_FACTOR} times" in FLAG_MEANINGS[WIDE]


def simulated(people, folds, *, member_sd, seed, studies=150, new=10):
    """Coverage of 95 % intervals in simulated studies: errors of the person, of each fold model, of both together."""
    generator, held = np.random.default_rng(seed), []
    fold_of = np.arange(people) % folds
    names = [f"fold-{fold}" for fold in range(folds)]
    for _ in range(studies):
        bias = generator.normal(0, 0.003, folds)
        own = generator.normal(0, 0.015, (people + new, 1)) * generator.lognormal(0, 0.4, (people + new, 1))
        volumes = 1 + own + bias + generator.normal(0, member_sd, (people + new, folds))  # the truth is 1
        out_of_fold = volumes[np.arange(people), fold_of]
        errors = errors_of(np.abs(1 - out_of_fold) / out_of_fold, names)
        for members in volumes[people:]:
            ensemble = members.mean()
            ratios = dict(zip(names, members / ensemble, strict=True))
            found = volume_interval(ensemble, ratios, errors, 0.95)
            held.append(found.low_mm3 <= 1 <= found.high_mm3)
    return float(np.mean(held))


@pytest.mark.parametrize(("people", "folds"), [(20, 5), (40, 10), (100, 10)])
def test_new_people_are_held_as_often_as_the_level_says_or_more(people, folds):
    # 1,500 people in 150 studies: standard error about 0.012, because people of a study share its models
    assert 0.925 <= simulated(people, folds, member_sd=0.0, seed=1) <= 0.98
    assert simulated(people, folds, member_sd=0.007, seed=2) >= 0.94


def model_folder(folder, folds=2):
    for fold in range(folds):
        (folder / f"fold-{fold}").mkdir(parents=True)
        run = {"group": "all", "network": "vnet", "fold": fold}
        (folder / f"fold-{fold}" / "run.json").write_text(json.dumps(run))
    return folder


def written(folder, overlaps, subjects):
    path = folder / ERRORS_FILE
    path.write_text(
        json.dumps(volume_errors("all/vnet", ["femur"], overlaps, subjects, folder), allow_nan=False)
    )
    return path


def overlap(reference, predicted):
    return {"reference_mm3": reference, "predicted_mm3": predicted}


@pytest.fixture
def errors_path(tmp_path):
    overlaps = {
        "all/vnet/fold-0/SCAN-A/femur": overlap(102.0, 100.0),
        "all/vnet/fold-0/SCAN-B/femur": overlap(99.0, 100.0),
        "all/vnet/fold-1/SCAN-C/femur": overlap(80.0, 0.0),
    }
    subjects = dict(zip(("SCAN-A", "SCAN-B", "SCAN-C"), ("PERSON-1", "PERSON-1", "PERSON-2"), strict=True))
    return written(model_folder(tmp_path / "models"), overlaps, subjects)


def test_errors_come_back_without_an_id(errors_path):
    errors = read_volume_errors([errors_path])["all/vnet/femur"]
    assert errors == FoldErrors(
        folds=("fold-0", "fold-0", "fold-1"), relative=(0.01, 0.02, math.inf), weights=(0.5, 0.5, 1.0)
    )
    text = errors_path.read_text()
    assert "SCAN" not in text and "PERSON" not in text and json.loads(text)["people"] == 2


def test_errors_of_other_models_are_not_used(errors_path):
    (errors_path.parent / "fold-1/run.json").write_text(
        '{"group": "all", "network": "vnet", "fold": 1, "new": 1}'
    )
    assert read_volume_errors([errors_path])["all/vnet/femur"] == FoldErrors(missing=OTHER_MODELS)


def test_missing_folds_of_a_model_folder_are_no_error(errors_path):
    (errors_path.parent / "fold-1/run.json").unlink()
    assert not read_volume_errors([errors_path])["all/vnet/femur"].missing


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: text.replace('"errors"', '"other"'),
        lambda text: text.replace("1.0", "-3"),
        lambda text: text.replace("null", "NaN"),
        lambda text: text.replace('"format": 2', '"format": 1'),
    ],
)
def test_damaged_errors_are_refused_by_name(errors_path, damage):
    changed = damage(errors_path.read_text())
    assert changed != errors_path.read_text()
    errors_path.write_text(changed)
    with pytest.raises(ModelError, match=str(errors_path)):
        read_volume_errors([errors_path])


def volume(**values):
    ratios = {"fold-0": 0.998, "fold-1": 1.002}
    return {"predicted_mm3": 1000.0, "member_volume_ratios": ratios, "flags": [], "undefined": {}} | values


ERRORS = {"all/vnet/femur": errors_of([0.01] * 40, ("fold-0", "fold-1"))}


def test_a_volume_gets_bounds_and_keeps_what_it_has():
    found = with_interval(volume(flags=["padded"], undefined={"sd_value": "x"}), ENSEMBLE, ERRORS, 0.95)
    assert (found["interval_low_mm3"], found["interval_high_mm3"]) == pytest.approx((998 * 0.99, 1002 * 1.01))
    assert found["flags"] == ["padded"] and found["undefined"] == {"sd_value": "x"}
    apart = volume(member_volume_ratios={"fold-0": 0.9, "fold-1": 1.1}, flags=["padded"])
    assert with_interval(apart, ENSEMBLE, ERRORS, 0.95)["flags"] == ["padded", WIDE]


@pytest.mark.parametrize(
    ("values", "planned", "errors", "reason"),
    [
        ({}, {"members": "fold-1", "protocol": "cv"}, ERRORS, OWN_ERROR),
        ({"flags": [SEEN_IN_TRAINING]}, {}, ERRORS, SEEN),
        ({}, {SEEN_IN_TRAINING: True}, ERRORS, SEEN),
        ({"predicted_mm3": 0.0}, {}, ERRORS, EMPTY),
        ({"member_volume_ratios": {}}, {}, ERRORS, NO_RATIOS),
        ({}, {}, {}, NO_FILE),
        ({}, {"group": "male"}, ERRORS, NO_FILE),
        ({}, {}, {"all/vnet/femur": FoldErrors(missing=OTHER_MODELS)}, OTHER_MODELS),
    ],
)
def test_a_volume_without_an_interval_says_why(values, planned, errors, reason):
    found = with_interval(volume(**values), ENSEMBLE | planned, errors, 0.95)
    assert [found[name] for name in INTERVAL_COLUMNS] == [None] * 3
    assert found["undefined"] == dict.fromkeys(INTERVAL_COLUMNS, reason)
    assert WIDE not in found["flags"]


def test_one_model_of_an_ensemble_of_one_and_a_scan_of_a_training_person_have_intervals():
    for members in ("single", "fold-1"):
        found = with_interval(volume(member_volume_ratios={}), ENSEMBLE | {"members": members}, ERRORS, 0.95)
        assert found["interval_percent"] == pytest.approx(1)


def test_reasons_can_be_read_from_the_table():
    planned = [row for row in predictions(people(12, test=3)) if row["group"] == "all"]
    keys = [structure_key(row) for row in planned]
    records = with_intervals(dict.fromkeys(keys, volume()), planned, ERRORS, 0.95)
    table = volumes_table(planned, records)
    assert set(INTERVAL_COLUMNS) < set(table.columns)
    cv = table["protocol"] == "cv"
    assert table[cv]["interval_percent"].isna().all() and table[~cv]["interval_percent"].notna().all()
    told = undefined_reasons(table[cv]["undefined"].iloc[0])
    assert told == dict.fromkeys(INTERVAL_COLUMNS, OWN_ERROR)


def scored(**columns):
    rows = pd.DataFrame(columns)
    told = {"group": "all", "network": "vnet", "members": "ensemble", "protocol": "test"} | {
        "structure": "femur"
    }
    empty = {"repeat_of": "", "flags": "", "undefined": "", "interval_percent": 5.0}
    return pd.DataFrame({**dict.fromkeys(METRIC_COLUMNS, np.nan), **told, **empty, **rows}, index=rows.index)


CONFIG = AgreementConfig()


def test_coverage_counts_the_first_scan_of_each_person():
    metrics = scored(
        scan=["A1", "A2", "B1", "C1", "C9"],
        subject=["A", "A", "B", "C", "C"],
        repeat_of=["", "", "", "", "C1"],
        reference_mm3=[100.0, 500.0, 95.0, 120.0, 100.0],
        interval_low_mm3=[90.0] * 5,
        interval_high_mm3=[110.0] * 5,
        flags=["", WIDE, f"padded {WIDE}", "", ""],
    )
    row = coverage_table(metrics, CONFIG).iloc[0]
    assert (row["people"], row["n"], row["covered"], row["wide"]) == (3, 3, 2, 1)
    # Clopper & Pearson of 2 of 3
    assert (row["coverage_ci_low"], row["coverage_ci_high"]) == pytest.approx((0.0943, 0.9916), abs=1e-4)


def test_coverage_keeps_protocols_apart_and_says_why_people_are_missing():
    reason = f"{', '.join(INTERVAL_COLUMNS)}: {EMPTY}"
    metrics = scored(
        scan=["A", "B", "C", "D"],
        subject=["A", "B", "C", "D"],
        protocol=["test", "test", "external", "cv"],
        reference_mm3=[100.0] * 4,
        interval_low_mm3=[90.0, np.nan, np.nan, np.nan],
        interval_high_mm3=[110.0, np.nan, np.nan, np.nan],
        undefined=["", reason, reason, "x: y"],
    )
    table = coverage_table(metrics, CONFIG).set_index("protocol")
    assert list(table.index) == ["test", "external"]
    assert (table.loc["test", "people"], table.loc["test", "n"]) == (2, 1)
    assert table.loc["external", "n"] == 0
    assert undefined_reasons(table.loc["external", "undefined"])["coverage"] == EMPTY
    assert math.isnan(table.loc["external", "coverage"])


def held(covered, n, protocol="external", **told):
    """A row of the coverage: n people with the same interval, which contains the reference of `covered` of them."""
    metrics = scored(
        scan=[f"S{i}" for i in range(n)],
        subject=[f"S{i}" for i in range(n)],
        protocol=[protocol] * n,
        reference_mm3=[100.0 if i < covered else 120.0 for i in range(n)],
        interval_low_mm3=[90.0] * n,
        interval_high_mm3=[110.0] * n,
    )
    return coverage_table(metrics.assign(**told), CONFIG)


@pytest.mark.parametrize(
    ("covered", "n", "fails"),
    # upper ends of Clopper & Pearson: 0.881, 0.997, 0.9457, 0.9514, 0.957 and 0.975
    [(14, 20, True), (9, 10, False), (117, 130, True), (118, 130, False), (4, 6, False), (0, 1, False)],
)
def test_intervals_that_held_too_few_are_told(covered, n, fails):
    row = held(covered, n)
    assert bool(coverage_notes(row, 0.95)) == fails == bool(row["coverage_ci_high"].iloc[0] < 0.95)


def test_the_note_names_group_people_and_what_it_means():
    table = pd.concat([held(14, 24), held(2, 9, "later"), held(6, 6, "test"), held(1, 6, "test-single")])
    foreign, own = coverage_notes(table, 0.95)
    assert foreign.startswith(
        "Intervals of volumes at 95 % do not hold: the reference lay in those of 14 of 24 people (external, "
        "all/vnet; interval of the share 37 to 78 %); 2 of 9 people (later, all/vnet; interval of the share 3 to "
        "60 %). The models make similar errors there"
    )
    assert "1 of 6 people (test, single model, all/vnet" in own and "drawn together" in own
    assert "6 of 6" not in foreign + own


def test_a_study_without_scored_people_has_no_note(tmp_path):
    write_table(held(0, 0), tmp_path / "coverage.csv")
    assert coverage_notes(read_table(tmp_path / "coverage.csv"), 0.95) == []
