"""The reasons why numbers of a table are empty: its column `undefined`, "name, name: reason; name: reason"."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from lib.stats.formats import undefined_reasons

NAN = math.nan
Interval = tuple[float, float]
NO_INTERVAL: Interval = (NAN, NAN)


def undefined_text(reasons: Mapping[str, str]) -> str:
    """Return the text for reasons by name; names with the same reason are joined, an empty reason is left out."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason:
            names.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(named)}: {reason}" for reason, named in names.items())


def counted_reasons(reasons: Iterable[str]) -> str:
    """Return each reason once, most frequent first, with its number if there are several reasons."""
    counts = Counter(reasons).most_common()
    return "; ".join(f"{why} ({count})" if len(counts) > 1 else why for why, count in counts)


def reasons_of(text: str, columns: Collection[str]) -> str:
    """Return the part of the text of `undefined` on these columns; an interval has one name, ending in `_ci`."""
    found = undefined_reasons(text)
    return undefined_text({name: why for name, why in found.items() if {name, f"{name}_low"} & set(columns)})


def explain(row: Mapping, why: Mapping[str, str], otherwise: str) -> dict:
    """Return a row of a table with the column `undefined`, the reason for each of its numbers that is NaN.

    Reasons are taken from `why` by name, else `otherwise`. An interval has one name, ending in `_ci`.
    """
    empty = [
        name.removesuffix("_low") if name.endswith("_ci_low") else name
        for name, value in row.items()
        if isinstance(value, float) and math.isnan(value) and not name.endswith("_ci_high")
    ]
    return dict(row) | {"undefined": undefined_text({name: why.get(name, otherwise) for name in empty})}


def interval_columns(name: str, interval: Interval) -> dict[str, float]:
    """Return the ends of an interval by column name."""
    return {f"{name}_ci_low": float(interval[0]), f"{name}_ci_high": float(interval[1])}
