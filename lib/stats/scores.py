"""Overlap and surface distances of the people of a subset: mean with interval, spread, and worst scan."""

from collections.abc import Mapping

import pandas as pd

from lib.catalog.measures import MEASURES, score_names
from lib.report_settings import AgreementConfig
from lib.stats.formats import undefined_reasons
from lib.stats.grid_limits import bound_to_grid
from lib.stats.grouping import strata_of, without_repeats
from lib.stats.jackknife import mean_interval
from lib.stats.means import why_no_interval
from lib.stats.undefined import NAN, counted_reasons, explain, undefined_text

# columns of metrics.csv that are summarized, and whether higher values are better
SCORES: Mapping[str, bool] = {name: MEASURES[name].better == "more" for name in score_names()}
SCORE_COLUMNS = (
    *("group", "network", "protocol", "stratum", "structure", "weights", "measure", "n", "scans"),
    *("mean", "mean_ci_low", "mean_ci_high", "sd", "median", "worst"),
    *("scans_without", "without_reason", "scans_within_voxel"),
    *("folds", "mean_fold_ci_low", "mean_fold_ci_high", "undefined"),
)


def score_table(
    metrics: pd.DataFrame, config: AgreementConfig, gaps: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return SCORE_COLUMNS, a row for each group, network, protocol, stratum, structure and measure.

    `n` counts people and `scans` their scans with a value; `sd` is that of scans (ddof 1), `worst` the smallest or
    largest value, whichever is worse. The interval of the mean leaves out one person at a time, the interval with
    folds one fold of a cross-validation (`lib.stats.jackknife`). Repeated scans are left out. `scans_without` counts
    scans without a value, which are not in the mean, and `without_reason` gives the reasons: scored scans that do not
    define the measure (an empty prediction has no distance), and `gaps` (`lib.stats.unscored`), which should have
    been scored but failed. `scans_within_voxel` counts scans whose distance, or tolerance of `nsd`, is no longer than
    the longest side of a voxel, so that the grid determines it.
    """
    rows = []
    for key, people in strata_of(_with_gaps(without_repeats(metrics), gaps), config.strata):
        key = key | {"weights": people["weights"].iloc[0]}
        bound = bound_to_grid(people)
        folds = people["fold"] if key["protocol"] == "cv" else None
        for measure, more_is_better in SCORES.items():
            known = people[measure].astype(float).dropna()
            scored = people.loc[known.index]
            counts = {"n": scored["subject"].nunique(), "scans": len(known)}
            scale = MEASURES[measure].scale
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


def _without(people: pd.DataFrame, measure: str) -> dict:
    """Return the number of rows without a measure, and the reasons, each with its number of scans if several."""
    lacking = people[people[measure].isna()]
    told = (undefined_reasons(text).get(measure, "not measured") for text in lacking["undefined"])
    return {"scans_without": len(lacking), "without_reason": counted_reasons(told)}


def _with_gaps(scored: pd.DataFrame, gaps: pd.DataFrame | None) -> pd.DataFrame:
    """Return the scored rows, then one row for each gap, in which every measure is undefined for the gap's reason."""
    if gaps is None or gaps.empty:
        return scored
    told = [undefined_text(dict.fromkeys(SCORES, why)) for why in gaps["without_reason"]]
    lost = gaps.assign(undefined=told).reindex(columns=scored.columns)
    numbers = scored.select_dtypes("number").columns
    both = pd.concat([scored.astype(object), lost.astype(object)], ignore_index=True)
    return both.astype({name: float for name in numbers if name != "fold"})
