"""Scans that should have been scored but were not; they are reported with every mean to keep failures visible."""

from collections.abc import Sequence

import pandas as pd

from lib.stats.grouping import first_or_own, strata_of, without_repeats
from lib.stats.undefined import counted_reasons

MODELS = ["group", "network", "members", "protocol", "structure"]
GROUP = ["group", "network", "protocol", "stratum", "structure"]


def find_gaps(metrics: pd.DataFrame, unscored: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `tables/unscored.csv` that are missing in summaries of `tables/metrics.csv`.

    Repeated scans are not, nor are first scans that a scored repetition replaces.
    """
    kept = without_repeats(metrics)
    there = {tuple(row) for row in kept[MODELS].assign(first=first_or_own(kept)).itertuples(index=False)}
    lost = without_repeats(unscored)
    places = lost[MODELS].assign(first=first_or_own(lost)).itertuples(index=False)
    gap = [tuple(place) not in there for place in places]
    return lost[pd.Series(gap, index=lost.index, dtype=bool)]


def with_gaps(
    table: pd.DataFrame, gaps: pd.DataFrame, strata: Sequence[str], key: Sequence[str] = GROUP
) -> pd.DataFrame:
    """Return a table with the number of scans that its rows lack (`not_scored`), and the reasons.

    `strata` are those of the table (config `report.strata`); `key` names the columns that identify a row. People of
    whom nobody was scored have no row.
    """
    lost = {
        tuple(subset[name] for name in key): people["without_reason"]
        for subset, people in strata_of(gaps, strata)
    }
    found = [lost.get(tuple(row), ()) for row in table[list(key)].itertuples(index=False)]
    return table.assign(
        not_scored=pd.Series([len(reasons) for reasons in found], index=table.index, dtype=int),
        not_scored_reason=[counted_reasons(reasons) for reasons in found],
    )
