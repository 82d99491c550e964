"""Coverage of the intervals of predicted volumes: how often they contained the reference."""

import pandas as pd
from scipy import stats

from lib.report_settings import AgreementConfig
from lib.stats.formats import undefined_reasons
from lib.stats.grouping import subsets_by_name, without_repeats
from lib.stats.intervals import WIDE
from lib.stats.tables import INTERVAL_COLUMNS
from lib.stats.undefined import NAN, explain, undefined_text

COVERAGE_COLUMNS = (
    *("group", "network", "protocol", "structure", "people", "n", "covered"),
    *("coverage", "coverage_ci_low", "coverage_ci_high", "interval_percent_median", "wide", "undefined"),
)


def coverage_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return COVERAGE_COLUMNS: how often the interval contained the reference.

    A row is for a group, network, protocol and structure.

    Only the first scan of each person counts, so that the interval of the coverage is exact (Clopper & Pearson); `n`
    of the scored `people` have an interval of their volume. Cross-validation people have none and are in no row.
    """
    rows = []
    scored = without_repeats(metrics[metrics["protocol"] != "cv"])
    for key, subset in subsets_by_name(scored, "group", "network", "protocol", "structure"):
        people = subset.sort_values("scan", kind="stable").drop_duplicates("subject")
        held = people[people["interval_high_mm3"].notna()]
        inside = held["reference_mm3"].between(held["interval_low_mm3"], held["interval_high_mm3"])
        why = _why_undefined(people[people["interval_high_mm3"].isna()]["undefined"])
        row = key | {"people": len(people)}
        row |= _coverage(int(inside.sum()), len(held), config.confidence)
        row |= {
            "interval_percent_median": held["interval_percent"].astype(float).median(),
            "wide": int(held["flags"].str.split().map(lambda flags: WIDE in flags).sum()),
        }
        row = explain(row, {}, why or "no interval")
        rows.append(row | {"undefined": row["undefined"] or undefined_text({"n": why})})
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


def _coverage(covered: int, n: int, confidence: float) -> dict:
    interval = stats.binomtest(covered, n).proportion_ci(confidence, method="exact") if n else (NAN, NAN)
    return {
        "n": n,
        "covered": covered,
        "coverage": covered / n if n else NAN,
        "coverage_ci_low": float(interval[0]),
        "coverage_ci_high": float(interval[1]),
    }


def _why_undefined(texts: pd.Series) -> str:
    """Return the different reasons why intervals of volumes are not defined."""
    reasons = (undefined_reasons(text).get(INTERVAL_COLUMNS[0], "") for text in texts)
    return " / ".join(dict.fromkeys(filter(None, reasons)))
