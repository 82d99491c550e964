"""Notes for the top of the report on people for whom the intervals of volumes do not hold."""

from collections.abc import Mapping

import pandas as pd

from lib.catalog.protocols import PROTOCOLS
from lib.stats.formats import fixed, records

# explanation of a coverage below the confidence level, by protocol
FAILED_COVERAGE = (
    (
        ("later", "external"),
        "The models make similar errors there, as on another scanner or another population, mostly without a flag. "
        "Volumes of such people without a reference are no more reliable: annotate some of them, and train or "
        "calibrate with these.",
    ),
    (
        ("test", "test-single"),
        "These people were drawn together with those of cross-validation. Either cross-validation has too few people "
        "to estimate the errors, or the models that predicted here make other errors "
        "(predict.heldout_weights: last).",
    ),
)


def coverage_notes(coverage: pd.DataFrame, confidence: float) -> list[str]:
    """Return notes for the top of the report on people for whom too few intervals contained the reference.

    There are too few if the upper end of the exact interval of their share lies below the level.

    Args:
        coverage: table of COVERAGE_COLUMNS.
        confidence: level of the intervals of volumes and of the interval of the share.
    """
    failed = coverage[coverage["coverage_ci_high"] < confidence]
    groups_told = [(failed[failed["protocol"].isin(names)], meaning) for names, meaning in FAILED_COVERAGE]
    return [
        f"Intervals of volumes at {100 * confidence:g} % do not hold: the reference lay in those of "
        f"{'; '.join(_held_text(row) for row in records(rows))}. {meaning}"
        for rows, meaning in groups_told
        if len(rows)
    ]


def _held_text(row: Mapping) -> str:
    """Return the number of covered people of a row, with the interval of their share."""
    low, high = (fixed(100 * row[f"coverage_ci_{end}"], 0) for end in ("low", "high"))
    subset = PROTOCOLS[row["protocol"]].title.lower()
    return (
        f"{row['covered']} of {row['n']} people ({subset}, {row['group']}/{row['network']}; "
        f"interval of the share {low} to {high} %)"
    )
