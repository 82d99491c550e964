"""Where an accepted scan stands in the study. Standard library only (read at each parse)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lib.catalog.protocols import SETS

NO_FOLD = -1
OUTCOMES = tuple(SETS)

Takes = Mapping[str, str]  # an entry of `groups`: {} takes everybody in, {sex: M} men


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one accepted scan stands. `set` is the table's wish before the draw, the outcome after it.

    Outcomes (OUTCOMES): `train` (cross-validated in `fold`), `test`, then people with a reference who took no
    part in the draw: `external` of another institution, `later` all others (they were added after the draw, or
    the table kept them out of it); and `apply` (no reference). `trains` says whether this scan's voxels are used
    for training: a scan that came later, or one whose row says `apply`, follows its person's fold without
    training.
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
    """Say whether a group takes a scan's person in; `takes` is its entry in `groups`: {} everybody, {sex: M} men."""
    return all(getattr(placement, field) == value for field, value in takes.items())


def trains_fold(placement: Placement, takes: Takes, fold: int) -> bool:
    """Say whether a scan teaches the model of a fold: the people of the other folds do."""
    return placement.trains and in_group(placement, takes) and placement.fold != fold


def training_scans(placements: Iterable[Placement], takes: Takes, fold: int) -> list[str]:
    """Return the scans that teach the model of a fold."""
    return [placement.scan for placement in placements if trains_fold(placement, takes, fold)]


def validates_fold(placement: Placement, takes: Takes, fold: int) -> bool:
    """Say whether a scan validates the model of a fold: the people of this fold do."""
    return placement.trains and in_group(placement, takes) and placement.fold == fold
