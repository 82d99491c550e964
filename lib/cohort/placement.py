"""The set and fold of an accepted scan. Standard library only (read at each parse)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lib.catalog.protocols import SETS

NO_FOLD = -1
OUTCOMES = tuple(SETS)

Takes = Mapping[str, str]  # an entry of `groups`: {} means everybody, {sex: M} men


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The set and fold of one accepted scan. `set` is the table's request before the draw, the outcome after it.

    Outcomes (OUTCOMES): `train` (cross-validated in `fold`), `test`, then people with a reference who were not part
    of the draw: `external` for those of another institution, `later` for all others (added after the draw, or kept
    out of it by the table); and `apply` (no reference). `trains` says whether this scan is used for training: a scan
    that was added later, or whose row says `apply`, has its person's fold but is not trained on.
    """

    scan: str
    subject: str
    sex: str
    age: float | None
    site: str
    has_mask: bool
    set: str = "auto"
    fold: int = NO_FOLD
    batch: int = -1
    trains: bool = False


def in_group(placement: Placement, takes: Takes) -> bool:
    """Return whether a scan's person belongs to a group; `takes` is its entry in `groups` ({}: everybody)."""
    return all(getattr(placement, field) == value for field, value in takes.items())


def trains_fold(placement: Placement, takes: Takes, fold: int) -> bool:
    """Return whether a scan trains the model of a fold: the people of the other folds do."""
    return placement.trains and in_group(placement, takes) and placement.fold != fold


def training_scans(
    placements: Iterable[Placement], takes: Takes, fold: int, among: Collection[str]
) -> list[str]:
    """Return the scans among some that train the model of a fold."""
    return [row.scan for row in placements if row.scan in among and trains_fold(row, takes, fold)]


def validates_fold(placement: Placement, takes: Takes, fold: int) -> bool:
    """Return whether a scan validates the model of a fold: the people of this fold do."""
    return placement.trains and in_group(placement, takes) and placement.fold == fold
