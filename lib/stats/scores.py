"""Overlap and surface distances over the people of a group: mean, its interval, spread, and the worst scan."""

from collections.abc import Mapping

import pandas as pd

from lib.stats.agreement import AgreementConfig, bootstrap_means
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
)


def score_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return SCORE_COLUMNS, a row for each cohort, model, protocol, sex and measure.

    `n` counts people and `scans` their scans with a value; `sd` is that of scans (ddof 1), `worst` the smallest or
    largest value, whichever is bad. The interval of the mean is the percentile bootstrap over people, NaN for fewer
    than `config.min_people`. A scan that repeats another one is left out.
    """
    rows = []
    for key, people in groups_by_sex(without_repeats(metrics)):
        key = key | {"weights": people["weights"].iloc[0]}
        values = people[list(SCORES)].astype(float)
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
