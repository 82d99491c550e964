"""How many scans a study has used, refused and flagged, for the report's first screen and the terminal."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from lib.stats.primary import primary_rows

# the stages of `tables/flow.csv` whose scans have a prediction
USED_STAGES = ("predicted", "scored")
MOST_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class ScanCounts:
    """Numbers of scans; each scan of the cohort table counts once.

    Attributes:
        listed: scans of the cohort table.
        used: scans that are predicted; before anything is predicted, those that screening accepted.
        is_screening: whether `used` counts accepted scans, because nothing is predicted yet.
        refused: scans that screening refused, by the first reason.
        excluded: scans that the cohort table excludes.
        not_screened: scans without a verdict.
        unfinished: accepted scans that are not predicted, by the reason.

    `flow.csv` names a reason for each scan that is refused or unfinished.
    """

    listed: int
    used: int
    is_screening: bool = False
    refused: Counter = field(default_factory=Counter)
    excluded: int = 0
    not_screened: int = 0
    unfinished: Counter = field(default_factory=Counter)

    def not_used(self) -> list[tuple[int, str, str]]:
        """Return number, name and reasons of the scans that are not used, such as (2, "refused", "missing_slices").

        Names that no scan has are left out.
        """
        parts = [
            (self.refused.total(), "refused", told_reasons(self.refused)),
            (self.excluded, "excluded", ""),
            (self.not_screened, "not screened", ""),
            (self.unfinished.total(), "unfinished", told_reasons(self.unfinished)),
        ]
        return [part for part in parts if part[0]]


def count_scans(scans: pd.DataFrame) -> ScanCounts:
    """Return how many scans were used, and how many were not and why.

    Args:
        scans: `tables/flow.csv`, or `cohort/scans.csv` before anything is predicted.
    """
    verdict, reason = scans["verdict"], scans["reason"].fillna("")
    is_screening = "stage" not in scans
    accepted = verdict == "ok"
    used = accepted if is_screening else scans["scan"].isin(used_scans(scans))
    return ScanCounts(
        listed=len(scans),
        used=int(used.sum()),
        is_screening=is_screening,
        refused=first_reasons(reason[verdict == "rejected"]),
        excluded=int((verdict == "excluded").sum()),
        not_screened=int((verdict == "missing").sum()),
        unfinished=first_reasons(reason[accepted & ~used]),
    )


def used_scans(flow: pd.DataFrame) -> pd.Series:
    """Return the scans of `tables/flow.csv` that have a prediction and are part of the study."""
    return flow.loc[(flow["verdict"] == "ok") & flow["stage"].isin(USED_STAGES), "scan"]


def count_flagged(volumes: pd.DataFrame, networks: Sequence[str]) -> int:
    """Return how many scans have a flag on their primary prediction.

    Args:
        volumes: `tables/volumes.csv`.
        networks: names of the networks, the primary one first.
    """
    if volumes.empty:
        return 0
    primary = primary_rows(volumes, networks)
    return int(primary.loc[primary["flags"].fillna("") != "", "scan"].nunique())


def told_reasons(counts: Counter) -> str:
    """Return the most frequent reasons with their numbers; a single one without: "2 missing_slices, 1 too_short"."""
    if len(counts) == 1:
        return next(iter(counts))
    shown = counts.most_common(MOST_REASONS)
    others = counts.total() - sum(count for _, count in shown)
    told = [f"{count} {code}" for code, count in shown]
    return ", ".join([*told, *([f"{others} for other reasons"] if others else [])])


def first_reasons(reasons: pd.Series) -> Counter:
    """Return how often each code is the first of a scan's reasons."""
    return Counter(code for text in reasons for code in text.split()[:1])
