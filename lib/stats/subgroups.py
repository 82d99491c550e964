"""Differences of scores between the sexes, between sites and between scanners, with intervals."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from lib.report_settings import AgreementConfig
from lib.stats.grouping import subsets_by_name, without_repeats
from lib.stats.jackknife import jackknife_interval, means_without
from lib.stats.undefined import NAN, NO_INTERVAL, Interval, explain

SUBGROUPS = ("sex", "site", "scanner")
# relative error with and without its sign
SUBGROUP_MEASURES = ("dsc", "re_percent", "absolute_re_percent")
SUBGROUP_COLUMNS = (
    *("group", "network", "protocol", "structure", "kind", "subgroup", "others", "measure", "n", "n_others"),
    *("mean", "mean_others", "difference", "difference_ci_low", "difference_ci_high"),
    *("folds", "difference_fold_ci_low", "difference_fold_ci_high", "undefined"),
)
EVERYBODY_ELSE = "all others"


def subgroup_table(metrics: pd.DataFrame, acquisition: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return SUBGROUP_COLUMNS: each sex, site and scanner against the others of the same models and protocol.

    Of two subgroups, the second is compared with the first; of more, each with all others. A subgroup needs two
    people. A person counts with the mean over their scans in a subgroup. The interval of the difference is Welch's t;
    the interval with folds leaves out one fold of a cross-validation at a time. There is no correction for multiple
    comparisons, and subgroups may differ in other ways, too. `acquisition` (`tables/acquisition.csv`) names the
    scanner of each scan.
    """
    named = acquisition.set_index("scan")
    scanners = (named["manufacturer"].astype(str) + " " + named["model"].astype(str)).str.strip()
    scored = without_repeats(metrics)
    scored = scored.assign(
        scanner=scored["scan"].map(scanners).astype(object).fillna(""),
        absolute_re_percent=scored["re_percent"].abs(),
    )
    rows = []
    for models, subset in subsets_by_name(scored, "group", "network", "protocol", "structure"):
        for kind in SUBGROUPS:
            for subgroup, others, inside in _splits(subset[subset[kind] != ""], kind):
                key = models | {"kind": kind, "subgroup": subgroup, "others": others}
                for measure in SUBGROUP_MEASURES:
                    rows.append(key | {"measure": measure} | _compare(inside, measure, config))
    return pd.DataFrame(rows, columns=list(SUBGROUP_COLUMNS))


def welch_interval(first: np.ndarray, second: np.ndarray, confidence: float) -> Interval:
    """Return Welch's interval of mean(first) - mean(second) (scipy); two NaN for fewer than two values."""
    if min(len(first), len(second)) < 2 or np.ptp(first) == np.ptp(second) == 0:
        return NO_INTERVAL
    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval(confidence)
    return float(low), float(high)


def _splits(subset: pd.DataFrame, kind: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield a subgroup of at least two people, the name of the others, and the subset with a column `inside`."""
    counts = subset.groupby(kind)["subject"].nunique()
    names = sorted(counts.index, reverse=kind == "sex")  # men first, as in every table
    for subgroup in names[1:] if len(names) == 2 else names if len(names) > 2 else ():
        if counts[subgroup] < 2:
            continue
        others = names[0] if len(names) == 2 else EVERYBODY_ELSE
        yield subgroup, others, subset.assign(inside=subset[kind] == subgroup)


def _compare(subset: pd.DataFrame, measure: str, config: AgreementConfig) -> dict:
    """Return the numbers of a row: people inside the subgroup against those outside."""
    known = subset.dropna(subset=[measure])
    people = known.groupby(["inside", "subject"], as_index=False).agg({measure: "mean", "fold": "first"})
    inside = people["inside"].to_numpy(bool)
    values = people[measure].to_numpy(float)
    first, second = values[inside], values[~inside]
    row: dict = {"n": len(first), "n_others": len(second), "folds": 0}
    row |= {"mean": _mean(first), "mean_others": _mean(second)}
    row["difference"] = row["mean"] - row["mean_others"]
    low, high = welch_interval(first, second, config.confidence)
    why = {"difference_ci": "fewer than two people on one side, or their values are all the same"}
    with_folds, why["difference_fold_ci"] = NO_INTERVAL, "no cross-validation"
    if (subset["protocol"] == "cv").all():
        folds = people["fold"].astype(int).to_numpy()
        row["folds"], why["difference_fold_ci"] = len(set(folds)), "a side has people in fewer than two folds"
        with_folds = _fold_interval(values, inside, folds, config.confidence)
    row |= {"difference_ci_low": low, "difference_ci_high": high}
    row |= {"difference_fold_ci_low": with_folds[0], "difference_fold_ci_high": with_folds[1]}
    return explain(row, why, "no scan of one side defines it")


def _fold_interval(values: np.ndarray, inside: np.ndarray, folds: np.ndarray, confidence: float) -> Interval:
    """Return the interval of the difference of means from leaving out one fold (people,) at a time."""
    sides = []
    for side in (inside, ~inside):
        numbers = pd.unique(folds)
        if len(set(folds[side])) < 2:
            return NO_INTERVAL
        # leaving out a fold without people of one side does not change their mean
        own = sorted(set(folds[side]))
        left = dict(zip(own, means_without(values[side], np.searchsorted(own, folds[side])), strict=True))
        sides.append(np.array([left.get(fold, values[side].mean()) for fold in numbers]))
    difference = float(values[inside].mean() - values[~inside].mean())
    return jackknife_interval(difference, sides[0] - sides[1], confidence)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NAN
