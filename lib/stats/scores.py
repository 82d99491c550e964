"""Overlap and surface distances over the people of a group: mean, its interval, spread, and the worst scan."""

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from lib.stats.agreement import AgreementConfig
from lib.stats.concordance import NAN
from lib.stats.formats import undefined_reasons
from lib.stats.jackknife import mean_interval
from lib.stats.tables import groups_by_sex, why_no_interval, without_repeats
from lib.stats.undefined import explain

# columns of metrics.csv that are summarized, and whether more of it is better
SCORES: Mapping[str, bool] = {
    **dict.fromkeys(("dsc", "dsc_native", "sensitivity", "specificity", "precision"), True),
    **dict.fromkeys(("hd_mm", "hd95_mm", "assd_mm"), False),
    "nsd": True,
}
SCORE_COLUMNS = (
    *("cohort", "model", "protocol", "sex", "weights", "measure", "n", "scans"),
    *("mean", "mean_ci_low", "mean_ci_high", "sd", "median", "worst"),
    *("scans_without", "without_reason", "scans_within_voxel"),
    *("folds", "mean_fold_ci_low", "mean_fold_ci_high", "undefined"),
)
SPACING_COLUMNS = ["spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]
# what a voxel's longest side is held against: the measure itself, or the tolerance that it is taken at
BOUND_TO_GRID: Mapping[str, str] = {
    **{name: name for name in ("hd_mm", "hd95_mm", "assd_mm")},
    "nsd": "nsd_tolerance_mm",
}


def score_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return SCORE_COLUMNS, a row for each cohort, model, protocol, sex and measure.

    `n` counts people and `scans` their scans with a value; `sd` is that of scans (ddof 1), `worst` the smallest or
    largest value, whichever is bad. The interval of the mean leaves out one person at a time, that with the folds one
    fold of a cross-validation (`lib.stats.jackknife`). A scan that repeats another one is left out.
    `scans_without` counts scored scans that do not define the measure, as an empty prediction has no distance, and
    `without_reason` says why: they are not in the mean. `scans_within_voxel` counts those whose distance, or whose
    tolerance of `nsd`, is no longer than the longest side of a voxel, so that the grid decides it.
    """
    rows = []
    for key, people in groups_by_sex(without_repeats(metrics)):
        key = key | {"weights": people["weights"].iloc[0]}
        bound = _bound_to_grid(people)
        folds = people["fold"] if key["protocol"] == "cv" else None
        for measure, more_is_better in SCORES.items():
            known = people[measure].astype(float).dropna()
            scored = people.loc[known.index]
            counts = {"n": scored["subject"].nunique(), "scans": len(known)}
            scale = "complement" if more_is_better else "log"
            low, high = mean_interval(
                known.to_numpy(), scored["subject"].to_numpy(), config.confidence, scale
            )
            summary = {
                "mean": known.mean(),
                "mean_ci_low": low,
                "mean_ci_high": high,
                "sd": known.std(ddof=1),
                "median": known.median(),
                "worst": known.min() if more_is_better else known.max(),
                **_without(people, measure),
                "scans_within_voxel": int(bound[measure].sum()) if measure in bound else NAN,
                "folds": 0,
                "mean_fold_ci_low": NAN,
                "mean_fold_ci_high": NAN,
            }
            if folds is not None:
                fold = folds[known.index].astype(int).to_numpy()
                low, high = mean_interval(known.to_numpy(), fold, config.confidence, scale)
                summary |= {"folds": len(set(fold)), "mean_fold_ci_low": low, "mean_fold_ci_high": high}
            rows.append(_explained(key | {"measure": measure} | counts | summary, scored))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def _explained(row: Mapping, scored: pd.DataFrame) -> dict:
    """Return a row with the reasons of its empty numbers; `scored` are the scans with a value."""
    why = {"sd": "one scan", "mean_fold_ci": "fewer than two folds", "scans_within_voxel": "no distance"}
    if row["protocol"] != "cv":
        why["mean_fold_ci"] = "no cross-validation"
    elif row["folds"] > 1:
        why["mean_fold_ci"] = "fewer than three folds, or their values are all the same"
    if not row["scans"]:
        return explain(row, {}, "no scan defines it")
    return explain(row, why, why_no_interval(scored))


def scores_by_group(rows: list[Mapping]) -> list[dict]:
    """Return the records of a score table as one for each group of people, its measures by name beside its key."""
    keys = ("cohort", "model", "protocol", "sex", "weights")
    found: dict[tuple, dict] = {}
    for row in rows:
        key = {name: row[name] for name in keys}
        found.setdefault(tuple(key.values()), key)[row["measure"]] = row
    return list(found.values())


def _without(people: pd.DataFrame, measure: str) -> dict:
    """Return how many rows lack a measure, and why: each reason with its number of scans where there are several."""
    lacking = people[people[measure].isna()]
    told = (undefined_reasons(text).get(measure, "not measured") for text in lacking["undefined"])
    reasons = Counter(told).most_common()
    words = [f"{why} ({count})" if len(reasons) > 1 else why for why, count in reasons]
    return {"scans_without": len(lacking), "without_reason": "; ".join(words)}


def _bound_to_grid(people: pd.DataFrame) -> dict[str, pd.Series]:
    """Return for the measures that a grid binds which scans have a value within the longest side of a voxel."""
    longest_mm = people[SPACING_COLUMNS].astype(float).max(axis=1)
    return {
        measure: people[measure].notna() & (people[name].astype(float) <= longest_mm)
        for measure, name in BOUND_TO_GRID.items()
    }
