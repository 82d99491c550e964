"""Columns of a table with means over scans and their intervals over people."""

import pandas as pd

from lib.report_settings import AgreementConfig
from lib.stats.jackknife import mean_interval


def mean_columns(
    name: str, subset: pd.DataFrame, values: pd.Series, told: tuple[str, AgreementConfig]
) -> dict[str, float]:
    """Return the columns of a mean over the scans of a subset and of its interval by the jackknife over people."""
    scale, config = told
    values = values.astype(float)
    low, high = mean_interval(values.to_numpy(), subset["subject"].to_numpy(), config.confidence, scale)
    return {name: float(values.mean()), f"{name}_ci_low": low, f"{name}_ci_high": high}


def why_no_interval(subset: pd.DataFrame) -> str:
    """Return the default reason why a number of a subset of scans is undefined."""
    return (
        "one person"
        if subset["subject"].nunique() == 1
        else "too few people, or their values are all the same"
    )
