"""Scores by age band."""

import math

import pandas as pd

from lib.report_settings import AgreementConfig
from lib.stats.grouping import age_band, subsets_by_name, without_repeats
from lib.stats.jackknife import median_interval
from lib.stats.means import mean_columns, why_no_interval
from lib.stats.undefined import explain
from lib.stats.without_distance import WITHOUT_DISTANCE, without_distance

KEYS = ("group", "network", "protocol", "structure", "site", "age_band")


def age_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return scores by age band within group, network, protocol, structure and site; `n` counts people.

    Intervals of means are by the jackknife over people, those of the median by order statistics if each person has
    one scan. `hd95_mm_scans` counts the scans with a distance: an empty prediction has none.
    """
    banded = without_repeats(metrics)
    banded = banded.assign(age_band=[age_band(age) for age in banded["age"]])
    rows = []
    for key, subset in subsets_by_name(banded, *KEYS):
        error = (subset["predicted_mm3"] - subset["reference_mm3"]).abs()
        people, hd95 = subset["subject"].nunique(), subset["hd95_mm"]
        median = median_interval(hd95, config.confidence) if people == len(subset) else (math.nan, math.nan)
        numbers = {
            **mean_columns("dsc_mean", subset, subset["dsc"], ("complement", config)),
            "dsc_sd": subset["dsc"].std(ddof=1),
            "dsc_min": subset["dsc"].min(),
            "hd95_mm_median": hd95.median(),
            "hd95_mm_median_ci_low": median[0],
            "hd95_mm_median_ci_high": median[1],
            "hd95_mm_scans": hd95.count(),
            WITHOUT_DISTANCE: without_distance(subset),
            **mean_columns("mae_mm3", subset, error, ("log", config)),
            **mean_columns("re_mean_percent", subset, subset["re_percent"], ("plain", config)),
        }
        rows.append(explain(key | {"n": people, "scans": len(subset)} | numbers, {}, why_no_interval(subset)))
    numbers = ("n", "scans", "dsc_mean", "dsc_sd", "dsc_min", "hd95_mm_median", "mae_mm3", "re_mean_percent")
    means = ("dsc_mean", "hd95_mm_median", "mae_mm3", "re_mean_percent")
    ends = [f"{name}_ci_{end}" for name in means for end in ("low", "high")]
    return pd.DataFrame(
        rows,
        columns=[
            *KEYS,
            *numbers,
            *ends,
            "hd95_mm_scans",
            WITHOUT_DISTANCE,
            "undefined",
        ],
    )
