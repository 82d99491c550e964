"""Grouping of table rows: repeated scans, groups and strata in reading order, age bands."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from lib.ages import age_years
from lib.catalog.groups import ALL, group_position, stratum_column, stratum_name
from lib.catalog.protocols import PROTOCOL_ORDER
from lib.errors import TableError

AGE_BANDS = ((0, "below 50"), (50, "50-59"), (60, "60-69"), (70, "70-79"), (80, "80 and over"))


def first_scans(repeats: Mapping[str, str]) -> dict[str, str]:
    """Return scan -> the first scan of its chain of repetitions, for all scans that repeat another.

    `repeats` maps each scan to the scan named in its row of the cohort table, or "". Raises TableError for a circle.
    """
    firsts = {}
    for scan in repeats:
        chain = [scan]
        while before := repeats.get(chain[-1], ""):
            if before in chain:
                raise TableError(
                    f"repeat_of: scans {', '.join(chain)} repeat one another in a circle; "
                    "leave repeat_of empty in the row of the scan that was made first"
                )
            chain.append(before)
        if len(chain) > 1:
            firsts[scan] = chain[-1]
    return firsts


def first_or_own(table: pd.DataFrame) -> pd.Series:
    """Return for each row of a table the scan that it repeats, or its own scan if it repeats none."""
    return table["repeat_of"].where(table["repeat_of"] != "", table["scan"])


def without_repeats(metrics: pd.DataFrame) -> pd.DataFrame:
    """Leave out repeated scans by the same models, so that each structure of a person counts once.

    The first scan is kept or, if it is not in the table, its first repetition.
    """
    first = first_or_own(metrics)
    ranked = metrics.assign(first_scan=first, again=first != metrics["scan"]).sort_values(
        "again", kind="stable"
    )
    kept = ranked.drop_duplicates(
        ["group", "network", "members", "protocol", "structure", "first_scan"]
    ).index
    return metrics[metrics.index.isin(kept)]


def subsets(table: pd.DataFrame, *names: str) -> list[tuple[tuple, pd.DataFrame]]:
    """Return the subsets of a table in the reading order of groups, protocols and age bands.

    Structures keep the order in which the table has them.
    """
    ages = [label for _, label in AGE_BANDS] + ["unknown"]
    structures = list(dict.fromkeys(table.get("structure", ())))
    orders = {
        "structure": structures.index,
        "group": group_position,
        "protocol": PROTOCOL_ORDER.index,
        "age_band": ages.index,
    }
    groups = [(key, subset) for key, subset in table.groupby(list(names), sort=True)]
    return sorted(
        groups, key=lambda pair: [orders.get(n, _itself)(v) for n, v in zip(names, pair[0], strict=True)]
    )


def subsets_by_name(table: pd.DataFrame, *names: str) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield the values of `names`, by name, with their rows, in the order of `subsets`."""
    for key, subset in subsets(table, *names):
        yield dict(zip(names, key, strict=True)), subset


def strata_of(table: pd.DataFrame, strata: Sequence[str]) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield group, network, protocol, stratum and structure by name with their rows: everybody, then `strata`."""
    for key, subset in subsets_by_name(table, "group", "network", "protocol", "structure"):
        yield key | {"stratum": ALL}, subset
        for name in strata:
            values = subset[stratum_column(name)]
            men_first = name == "sex"
            for value in sorted(set(values) - {""}, reverse=men_first):
                yield key | {"stratum": stratum_name(name, value)}, subset[values == value]


def age_band(age: float | str | None) -> str:
    """Return the band of AGE_BANDS of an age, which is printed text or years."""
    years = age_years(age)
    if years is None:
        return "unknown"
    return [label for start, label in AGE_BANDS if years >= start][-1]


def _itself(value: object) -> object:
    return value


def scores_by_group(rows: list[Mapping]) -> list[dict]:
    """Return one record for each subset of people in a score table: its key, and its measures by name."""
    keys = ("group", "network", "protocol", "stratum", "structure", "weights")
    found: dict[tuple, dict] = {}
    for row in rows:
        key = {name: row[name] for name in keys}
        found.setdefault(tuple(key.values()), key)[row["measure"]] = row
    return list(found.values())
