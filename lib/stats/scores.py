"""Overlap and surface distances over the people of a group: mean, its interval, spread, and the worst scan."""

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from lib.stats.agreement import AgreementConfig, bootstrap_means
from lib.stats.formats import undefined_reasons
from lib.stats.tables import groups_by_sex, without_repeats

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
    largest value, whichever is bad. The interval of the mean is the percentile bootstrap over people, NaN for fewer
    than `config.min_people`. A scan that repeats another one is left out.
    `scans_without` counts scored scans that do not define the measure, as an empty prediction has no distance, and
    `without_reason` says why: they are not in the mean. `scans_within_voxel` counts those whose distance, or whose
    tolerance of `nsd`, is no longer than the longest side of a voxel, so that the grid decides it.
    """
    rows = []
    for key, people in groups_by_sex(without_repeats(metrics)):
        key = key | {"weights": people["weights"].iloc[0]}
        values = people[list(SCORES)].astype(float)
        bound = _bound_to_grid(people)
        intervals = bootstrap_means(values.to_numpy(), people["subject"].tolist(), config)
        for (measure, more_is_better), (low, high) in zip(SCORES.items(), intervals, strict=True):
            known = values[measure].dropna()
            counts = {"n": people.loc[known.index, "subject"].nunique(), "scans": len(known)}
            summary = {
                "mean": known.mean(),
                "mean_ci_low": low,
                "mean_ci_high": high,
                "sd": known.std(ddof=1),
                "median": known.median(),
                "worst": known.min() if more_is_better else known.max(),
                **_without(people, measure),
                "scans_within_voxel": int(bound[measure].sum()) if measure in bound else None,
            }
            rows.append(key | {"measure": measure} | counts | summary)
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


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
