"""Variation of scores between regions of the femur, between the models of the folds and between people."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lib.catalog.anatomies import REGIONS
from lib.catalog.measures import MEASURES
from lib.report_settings import AgreementConfig
from lib.stats.grouping import subsets_by_name, without_repeats
from lib.stats.jackknife import mean_interval
from lib.stats.means import mean_columns, why_no_interval
from lib.stats.undefined import NAN, explain
from lib.stats.variance import variance_components

SPREAD_MEASURES = ("dsc", "re_percent")
LEVEL_COLUMNS = (
    *("group", "network", "protocol", "structure", "level", "n", "dsc_mean", "dsc_sd", "dsc_min"),
    *("dsc_mean_ci_low", "dsc_mean_ci_high", "undefined"),
)
SPREAD_COLUMNS = (
    *(
        "group",
        "network",
        "structure",
        "measure",
        "people",
        "folds",
        "mean",
        "fold_mean_low",
        "fold_mean_high",
    ),
    *("sd_of_fold_means", "sd_expected_by_people", "sd_between_people", "sd_between_folds"),
    *("mean_fold_ci_low", "mean_fold_ci_high", "undefined"),
)


def level_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return LEVEL_COLUMNS: Dice of each region of a bone over the scans that show it.

    `n` counts people, the SD is that of scans (ddof 1), the interval of the mean is the jackknife over people. A
    region that no scan shows has no row.
    """
    rows = []
    scored = without_repeats(metrics)
    for key, subset in subsets_by_name(scored, "group", "network", "protocol", "structure"):
        for level in REGIONS:
            shown = subset[subset[f"dsc_{level}"].notna()]
            dsc = shown[f"dsc_{level}"].astype(float)
            if len(shown):
                scores = mean_columns("dsc_mean", shown, dsc, ("complement", config))
                scores |= {"dsc_sd": dsc.std(ddof=1), "dsc_min": dsc.min()}
                row = key | {"level": level, "n": shown["subject"].nunique()} | scores
                rows.append(explain(row, {"dsc_sd": "one scan"}, why_no_interval(shown)))
    return pd.DataFrame(rows, columns=list(LEVEL_COLUMNS))


def spread_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return SPREAD_COLUMNS: variance between cross-validation folds, separated from the variance between people.

    Each fold is one model scored on different people; even equally good models get different means, because
    people differ. `fold_spread` explains the columns. A person with several scans counts with their mean. The
    interval of the mean leaves out one fold at a time and holds for models trained this way.
    """
    rows = []
    held_out = without_repeats(metrics[metrics["protocol"] == "cv"])
    for key, subset in subsets_by_name(held_out, "group", "network", "structure"):
        for measure in SPREAD_MEASURES:
            people = subset.groupby(["fold", "subject"])[measure].mean().astype(float).dropna()
            if len(people):
                folds = pd.factorize(people.index.get_level_values("fold"))[0]
                low, high = mean_interval(
                    people.to_numpy(), folds, config.confidence, MEASURES[measure].scale
                )
                row = key | {"measure": measure} | fold_spread(people.to_numpy(), folds)
                row |= {"mean_fold_ci_low": low, "mean_fold_ci_high": high}
                rows.append(explain(row, {}, _why(row)))
    return pd.DataFrame(rows, columns=list(SPREAD_COLUMNS))


def fold_spread(values: np.ndarray, folds: np.ndarray) -> dict[str, float]:
    """Return the spread of values (people,), one per person; `folds` (people,) are numbered from 0 without a gap.

    `sd_of_fold_means` is the observed value (ddof 1). `sd_expected_by_people` is the value expected if all folds
    are equally good: sqrt(mean over folds of sd_between_people^2 / people of the fold). `sd_between_people` is the
    pooled SD within folds, `sd_between_folds` the root of the variance component (0 if the estimate is negative).
    """
    counts = np.bincount(folds)
    means = np.bincount(folds, values) / counts
    components = variance_components(values, folds)
    return {
        "people": len(values),
        "folds": len(counts),
        "mean": float(values.mean()),
        "fold_mean_low": float(means.min()),
        "fold_mean_high": float(means.max()),
        "sd_of_fold_means": float(means.std(ddof=1)) if len(means) > 1 else NAN,
        "sd_expected_by_people": float(np.sqrt(np.mean(components.within / counts))),
        "sd_between_people": float(np.sqrt(components.within)),
        "sd_between_folds": float(np.sqrt(components.between)),
    }


def _why(row: Mapping) -> str:
    """Return the reason why a number of a row of the spread is empty."""
    if row["folds"] < 2:
        return "fewer than two folds" if row["people"] > 1 else "one person"
    return "one person in each fold" if row["people"] == row["folds"] else "values are all the same"
