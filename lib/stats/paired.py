"""Comparison of the absolute volume errors of two models on the same people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np
import pandas as pd
from scipy import stats

from lib.catalog.groups import ALL, group_position
from lib.report_settings import AgreementConfig
from lib.stats.agreement_reasons import why_no_folds
from lib.stats.estimates import mean_or_nan
from lib.stats.grouping import subsets_by_name, without_repeats
from lib.stats.jackknife import mean_interval
from lib.stats.undefined import NAN, NO_INTERVAL, interval_columns, undefined_text


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Mean difference of two models' absolute errors on the same `n` people; negative if the first one is better."""

    n: int
    first_mae_mm3: float
    second_mae_mm3: float
    difference_mm3: float
    difference_mm3_ci_low: float
    difference_mm3_ci_high: float
    wilcoxon_p_value: float
    folds: int
    difference_mm3_fold_ci_low: float
    difference_mm3_fold_ci_high: float
    undefined: str


def compare_paired(
    first_error_mm3: Sequence[float],
    second_error_mm3: Sequence[float],
    config: AgreementConfig,
    folds: Sequence[int] | None = None,
) -> PairedComparison:
    """Compare the absolute errors (n,) in mm3 of two models on the same people, one error per person.

    The interval is Student's t, the p-value is Wilcoxon's signed-rank test (NaN below six people, where it cannot
    reach 0.05); both hold for these trained models. `folds` (n,) numbers the fold whose models predicted a person:
    the interval with folds leaves out one fold at a time and holds for models trained this way.
    """
    first, second = (np.abs(np.asarray(errors, float)) for errors in (first_error_mm3, second_error_mm3))
    difference = first - second
    n, count = len(difference), 0 if folds is None else len(set(folds))
    interval = mean_interval(difference, np.arange(n), config.confidence)
    of_folds = mean_interval(difference, folds, config.confidence) if count else NO_INTERVAL
    tested = n >= 6 and np.any(difference != 0)
    reasons = {
        "difference_mm3_ci": "one person" if n < 2 else "",
        "difference_mm3_fold_ci": why_no_folds(None if folds is None else count),
        "wilcoxon_p_value": "fewer than six people" if n < 6 else "" if tested else "no error differs",
    }
    return PairedComparison(
        n=n,
        first_mae_mm3=mean_or_nan(first),
        second_mae_mm3=mean_or_nan(second),
        difference_mm3=mean_or_nan(difference),
        **interval_columns("difference_mm3", interval),
        wilcoxon_p_value=float(stats.wilcoxon(difference).pvalue) if tested else NAN,
        folds=count,
        **interval_columns("difference_mm3_fold", of_folds),
        undefined=undefined_text(reasons),
    )


def paired_table(
    metrics: pd.DataFrame, config: AgreementConfig, runs: Iterable[Mapping] = ()
) -> pd.DataFrame:
    """Compare the model of each group with that of everybody on the same scans, with one mean error per person.

    Absolute volume errors, by model, protocol and structure; a negative difference means that the sex-specific model
    has the smaller error. The same people were held out from both models of a fold, so the interval with folds leaves
    out both together. `runs` are the records of the trained folds (run.json); `first_updates` and `second_updates`
    are the mean numbers of updates per fold: with equal epochs the common model has more.
    """
    rows, updates = [], updates_of(runs)
    metrics = without_repeats(metrics)
    measured = metrics.assign(error=(metrics["predicted_mm3"] - metrics["reference_mm3"]).abs())
    for models, subset in subsets_by_name(measured, "network", "protocol", "structure"):
        errors = subset.pivot(index=["subject", "scan"], columns="group", values="error")
        fold_of = subset.dropna(subset=["fold"]).groupby("subject")["fold"].first()
        for group in sorted({*errors} - {ALL}, key=group_position):
            if ALL in errors:
                both = errors[[group, ALL]].dropna().groupby("subject").mean()
                folds = both.index.map(fold_of).astype(int) if models["protocol"] == "cv" else None
                compared = compare_paired(both[group], both[ALL], config, folds)
                key = models | {"group": group, "compared_with": ALL}
                trained = {
                    "first_updates": updates.get((group, models["network"])),
                    "second_updates": updates.get((ALL, models["network"])),
                }
                row = key | asdict(compared) | trained
                unknown = {name: "not recorded" for name, count in trained.items() if count is None}
                row["undefined"] = "; ".join(filter(None, (row["undefined"], undefined_text(unknown))))
                rows.append(row)
    numbers = ("n", "first_mae_mm3", "second_mae_mm3", "difference_mm3", "difference_mm3_ci_low")
    return pd.DataFrame(
        rows,
        columns=[
            *("network", "protocol", "structure", "group", "compared_with"),
            *(*numbers, "difference_mm3_ci_high", "wilcoxon_p_value", "first_updates", "second_updates"),
            *("folds", "difference_mm3_fold_ci_low", "difference_mm3_fold_ci_high", "undefined"),
        ],
    )


def updates_of(runs: Iterable[Mapping]) -> dict[tuple[str, str], float]:
    """Return the mean number of updates per fold by group and network, from the records of the trained folds."""
    updates: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        updates.setdefault((run["group"], run["network"]), []).append(run["updates"])
    return {trained: mean(counts) for trained, counts in updates.items()}
