"""Classes of densities: boundaries, confusion, kappa, Wilson's intervals, areas, against libraries."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from lib.classes_settings import ClassesConfig
from lib.stats.clustered import percentile_interval, resampled_totals
from lib.stats.density_classes import (
    area_interval,
    area_under_roc,
    class_tables,
    weighted_kappa,
)
from lib.stats.density_people import (
    CLASSES,
    NORMAL,
    OSTEOPENIA,
    OSTEOPOROSIS,
    density_class,
    is_near_cut_off,
)
from tests.unit.density_cohort import plan

CONFIG = ClassesConfig()
NAMES = {
    "group": "all",
    "network": "densenet",
    "members": "ensemble",
    "protocol": "test",
    "method": "network",
}


def people(reference, predicted, **columns):
    """Rows of bmd_people (without the scale) and of bmd for these means."""
    table = pd.DataFrame({"reference": reference, "predicted": predicted}, dtype=float).assign(**NAMES)
    table["scan"] = [f"S{number}" for number in range(len(table))]
    table = table.assign(
        subject=table["scan"], vendor="ge", mean_of="paper", contrast="no", repeat_of="", undefined="",
        class_withheld="", trains="no", usable="yes",
    ).assign(**columns)  # fmt: skip
    for side in ("reference", "predicted"):
        table[f"{side}_class"] = [density_class(value, CONFIG) for value in table[side]]
    table.loc[table["class_withheld"] != "", "predicted_class"] = ""
    return table, table.assign(structure="L1")


def tables(*given, **columns):
    return class_tables(*people(*given, **columns), plan())


def row(classes, name, **keys):
    chosen = classes[classes["class"] == name]
    for key, value in keys.items():
        chosen = chosen[chosen[key] == value]
    (found,) = chosen[chosen["method"] == "network"].to_dict("records")
    return found


@pytest.fixture(scope="module")
def noisy():
    generator = np.random.default_rng(3)
    reference = generator.uniform(50, 160, 60)
    return reference, reference + generator.normal(0, 12, 60)


@pytest.mark.parametrize(
    ("density", "name"),
    [(79.99, OSTEOPOROSIS), (80.0, OSTEOPENIA), (120.0, OSTEOPENIA), (120.01, NORMAL), (np.nan, "")],
)
def test_both_cut_offs_belong_to_osteopenia(density, name):
    assert density_class(density, CONFIG) == name


def test_cut_offs_are_settings():
    other = ClassesConfig(osteoporosis_below=96.0, normal_above=145.0)
    assert [density_class(value, other) for value in (95.9, 96, 145, 145.1)] == [
        OSTEOPOROSIS, OSTEOPENIA, OSTEOPENIA, NORMAL,
    ]  # fmt: skip


def test_near_a_cut_off_is_within_five():
    near = [is_near_cut_off(value, CONFIG) for value in (74.9, 75.0, 85.0, 85.1, 114.9, 115.0, 125.0, 125.1)]
    assert near == [False, True, True, False, False, True, True, False]


def test_confusion_is_that_of_sklearn_with_every_pair_of_classes(noisy):
    _, confusion = tables(*noisy)
    truth, call = ([density_class(value, CONFIG) for value in values] for values in noisy)
    known = confusion_matrix(truth, call, labels=list(CLASSES))
    own = confusion[confusion["method"] == "network"]
    assert own["n"].to_numpy().reshape(3, 3).tolist() == known.tolist() and len(own) == 9
    assert own["n_near_cut_off"].sum() == sum(is_near_cut_off(value, CONFIG) for value in noisy[0])


@pytest.mark.parametrize(("weights", "power"), [("quadratic", 2), ("linear", 1)])
def test_weighted_kappa_is_that_of_sklearn_and_statsmodels(noisy, weights, power):
    classes, _ = tables(*noisy)
    truth, call = ([density_class(value, CONFIG) for value in values] for values in noisy)
    confusion = confusion_matrix(truth, call, labels=list(CLASSES))
    known = cohen_kappa_score(truth, call, labels=list(CLASSES), weights=weights)
    assert known == pytest.approx(cohens_kappa(confusion, wt=weights).kappa)
    assert weighted_kappa(confusion.astype(float), power) == pytest.approx(known)
    together = row(classes, "all")
    assert together[f"weighted_kappa_{weights}"] == pytest.approx(known)
    low, high = (together[f"weighted_kappa_{weights}_ci_{end}"] for end in ("low", "high"))
    asymptotic = cohens_kappa(confusion, wt=weights)
    assert low < known < high
    assert high - low == pytest.approx(asymptotic.kappa_upp - asymptotic.kappa_low, rel=0.5)


def test_the_interval_of_kappa_covers():
    """150 simulated studies of 60 people with a true kappa of 0.80 (of 200,000 people)."""
    generator, hits = np.random.default_rng(0), 0

    def each(count):
        reference = generator.normal(115, 30, count)
        call = reference + generator.normal(0, 12, count)
        one = np.zeros((count, 3, 3))
        places = [np.digitize(values, [80, 120]) for values in (reference, call)]
        one[np.arange(count), places[0], places[1]] = 1
        return one

    true = weighted_kappa(each(200_000).sum(axis=0), 2)
    for seed in range(150):
        drawn = resampled_totals(each(60).reshape(60, -1), 600, seed)
        low, high = percentile_interval(weighted_kappa(drawn.sampled.reshape(-1, 3, 3), 2), 60, 0.95)
        hits += low <= true <= high
    assert true == pytest.approx(0.804, abs=0.01) and 0.9 <= hits / 150 <= 0.995


@pytest.mark.parametrize("name", [*CLASSES, "low"])
def test_shares_are_those_of_the_2_by_2_table_with_wilsons_interval(noisy, name):
    classes, _ = tables(*noisy)
    of = {NORMAL, OSTEOPENIA, OSTEOPOROSIS} - {NORMAL} if name == "low" else {name}
    truth, call = (np.array([density_class(v, CONFIG) in of for v in values]) for values in noisy)
    found = row(classes, name)
    assert (found["n_class"], found["n_predicted"]) == (truth.sum(), call.sum())
    for share, hits, total in (
        ("sensitivity", (truth & call).sum(), truth.sum()),
        ("specificity", (~truth & ~call).sum(), (~truth).sum()),
        ("ppv", (truth & call).sum(), call.sum()),
        ("npv", (~truth & ~call).sum(), (~call).sum()),
    ):
        assert found[share] == pytest.approx(hits / total)
        ends = proportion_confint(hits, total, alpha=0.05, method="wilson")
        assert (found[f"{share}_ci_low"], found[f"{share}_ci_high"]) == pytest.approx(ends)


def test_wilson_of_a_hand_computed_share():
    """Newcombe (Stat Med 1998;17:857), table I: 15 of 148, Wilson 0.0624 to 0.1605."""
    reference = np.array([100.0] * 148)
    classes, _ = tables(reference, np.where(np.arange(148) < 15, 100.0, 70.0))
    found = row(classes, OSTEOPENIA)
    assert (found["sensitivity_ci_low"], found["sensitivity_ci_high"]) == pytest.approx(
        (0.0624, 0.1605), abs=5e-5
    )


@pytest.mark.parametrize(("name", "limit"), [(OSTEOPOROSIS, 80.0), ("low", 120.0)])
def test_area_is_that_of_sklearn(noisy, name, limit):
    reference, predicted = noisy
    truth = reference < limit if name == OSTEOPOROSIS else reference <= limit
    found = row(tables(*noisy)[0], name)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, -predicted))
    assert found["auc_ci_low"] < found["auc"] < found["auc_ci_high"] <= 1


def test_ties_count_half_in_an_area():
    assert area_under_roc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == pytest.approx(3.5 / 4)
    assert np.isnan(area_under_roc(np.array([1.0]), np.array([])))


def test_the_interval_of_an_area_solves_its_equation_and_covers():
    low, high = area_interval(1.0, 5, 25, 0.95)
    assert 0.5 < low < 1 and high == 1.0
    assert area_interval(0.0, 5, 25, 0.95) == pytest.approx((0.0, 1 - low))
    z, (low, high) = stats.norm.ppf(0.975), area_interval(0.9, 12, 20, 0.95)
    for end in (low, high):
        variance = end * (1 - end) * (1 + 15 * ((1 - end) / (2 - end) + end / (1 + end))) / 240
        assert abs(0.9 - end) == pytest.approx(z * np.sqrt(variance), rel=1e-6)
    generator, shift = np.random.default_rng(0), np.sqrt(2) * stats.norm.ppf(0.9)
    hits = 0
    for _ in range(400):
        area = area_under_roc(generator.normal(shift, 1, 10), generator.normal(0, 1, 20))
        ends = area_interval(area, 10, 20, 0.95)
        hits += ends[0] <= 0.9 <= ends[1]
    assert 0.92 <= hits / 400 <= 0.99


def test_perfect_agreement_has_a_kappa_of_one_and_no_interval():
    classes, _ = tables(np.linspace(50, 150, 12), np.linspace(50, 150, 12))
    found = row(classes, "all")
    assert found["weighted_kappa_quadratic"] == 1 and np.isnan(found["weighted_kappa_quadratic_ci_low"])
    assert "nobody disagrees" in found["undefined"] and found["disagree"] == 0


def test_one_class_alone_has_no_kappa():
    found = row(tables(np.full(8, 150.0), np.full(8, 160.0))[0], "all")
    assert np.isnan(found["weighted_kappa_quadratic"]) and "all people are of one class" in found["undefined"]


def test_withheld_classes_are_counted_with_reasons_and_never_filled_in():
    why = ["", "", "extra_body", "contrast", "extra_body", ""]
    classes, confusion = tables([70, 90, 90, 130, 70, 130], [70, 95, 90, 130, 70, 118], class_withheld=why)
    found = row(classes, "all")
    assert (found["n"], found["withheld"]) == (3, 3)
    assert found["withheld_reason"] == "extra_body (2); contrast (1)"
    assert confusion.loc[confusion["method"] == "network", "n"].sum() == 3


def test_disagreement_near_a_cut_off_is_counted_apart():
    found = row(tables([118, 119, 90, 150], [122, 118, 125, 151])[0], "all")
    assert (found["disagree"], found["near_cut_off"], found["disagree_near_cut_off"]) == (2, 2, 1)


def test_vendors_have_rows_of_their_own_beside_all():
    classes, _ = tables([70, 90, 130, 150], [70, 90, 130, 110], vendor=["ge", "ge", "canon", "canon"])
    assert [row(classes, "all", vendor=name)["n"] for name in ("all", "canon", "ge")] == [4, 2, 2]


def test_people_without_a_reference_are_not_asked():
    classes, _ = tables([70, np.nan, 130], [70, 90, 130])
    assert row(classes, "all")["n"] == 2 and row(classes, "all")["withheld"] == 0
