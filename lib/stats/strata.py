"""Strata: people for whom scores are also given, by a column of the cohort table or of the acquisition."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lib.catalog.groups import TABLE_STRATA, stratum_column


def with_strata(
    tables: Mapping[str, pd.DataFrame], strata: Sequence[str], scans: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return tables with a column `stratum_column` for each stratum that is no column of them.

    Args:
        tables: tables by file name: those that get the columns, with a column `scan`, and `acquisition`.
        strata: config `report.strata`.
        scans: `cohort/scans.csv`, with the columns that `cohort_columns` names. A stratum that it has, such as
            vendor, is taken from it, and any other from `acquisition`.
    """
    further = [name for name in strata if name not in TABLE_STRATA]
    acquisition = tables["acquisition"].set_index("scan")
    listed = scans.set_index("scan")
    values = {}
    for name in further:
        source = listed if name in listed else acquisition
        values[stratum_column(name)] = {scan: _as_text(value) for scan, value in source[name].items()}
    return {
        file: table.assign(**{name: table["scan"].map(found).fillna("") for name, found in values.items()})
        for file, table in tables.items()
    }


def _as_text(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:g}"
    return "" if value is None else str(value)
