"""Scans of a mean that have no distance between surfaces, in words."""

from collections.abc import Iterable

import pandas as pd

from lib.stats.formats import undefined_reasons
from lib.stats.undefined import counted_reasons

WITHOUT_DISTANCE = "without_distance"


def without_distance(scans: pd.DataFrame) -> str:
    """Return how many of some scored scans have no HD95 and no ASSD, and why; empty if all have them.

    Args:
        scans: rows of metrics.csv; one without the column `hd95_mm` tells nothing.
    """
    if "hd95_mm" not in scans:
        return ""
    lacking = scans[scans["hd95_mm"].isna()]
    texts = lacking["undefined"] if "undefined" in lacking else [""] * len(lacking)
    return tell_without(
        (undefined_reasons(text).get("hd95_mm", "not measured") for text in texts), len(scans)
    )


def tell_without(reasons: Iterable[str], scans: int) -> str:
    """Return the words for scans without a distance, from the reason of each of them, out of `scans` scans."""
    told = list(reasons)
    return f"{len(told)} of {scans} scans without: {counted_reasons(told)}" if told else ""
