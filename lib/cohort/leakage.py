"""Leakage: people on whom a model was trained are predicted and measured, never scored. Standard library only.

A score describes how models perform on new people. A prediction counts as seen in training if

    members              a model trained on the person       or validated on the person
    fold-k               the fold's model                    no: validation did not choose the last weights
    ensemble             any fold's model                    if the weights are `best`, which validation chose
    single               any fold's model                    always: validation chose the fold

A finished model records whom it saw, as pseudonyms; for a model that is still to be trained the split tells it. A
person is recognised by id, by any of their scans, or by the voxels of a scan, because ids may have been corrected
since or come from another study.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from lib.cohort.placement import Placement, Takes, trains_fold, validates_fold
from lib.cohort.predictions import Prediction
from lib.pseudonyms import pseudonym


@dataclass(frozen=True, kw_only=True)
class FoldPeople:
    """Subjects of the current table on whom the model of a fold was, or will be, trained and validated."""

    training: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()


class Roster:
    """The current people by the pseudonyms of their ids, their scans' ids and their images' voxels."""

    def __init__(self, subjects: Mapping[str, str], secret: bytes, digests: Mapping[str, str]) -> None:
        """Take subject and digest of voxels by scan, and the secret that models' pseudonyms were made with."""
        self._by_scan = {pseudonym(scan, secret): subject for scan, subject in subjects.items()}
        self._by_subject = {pseudonym(subject, secret): subject for subject in set(subjects.values())}
        self._by_image: dict[str, set[str]] = defaultdict(set)
        for scan, digest in digests.items():
            if scan in subjects:
                self._by_image[pseudonym(digest, secret)].add(subjects[scan])

    def people_of(self, run: Mapping) -> FoldPeople:
        """Return the people whom a finished fold (content of its run.json) saw."""
        return FoldPeople(training=self._find(run, "training"), validation=self._find(run, "validation"))

    def _find(self, run: Mapping, role: str) -> frozenset[str]:
        people = {self._by_subject.get(name) for name in run["people"][role]["pseudonyms"]}
        people |= {self._by_scan.get(name) for name in run[role]}
        # older models do not record images
        for name in run.get("images", {}).get(role, ()):
            people |= self._by_image.get(name, set())
        return frozenset(people - {None})


def people_to_be(placements: Iterable[Placement], takes: Takes, fold: int) -> FoldPeople:
    """Return the people whom a fold that is still to be trained will see.

    Args:
        placements: the accepted scans.
        takes: who belongs to the group (see `in_group`).
        fold: its number.
    """
    placements = list(placements)
    return FoldPeople(
        training=frozenset(row.subject for row in placements if trains_fold(row, takes, fold)),
        validation=frozenset(row.subject for row in placements if validates_fold(row, takes, fold)),
    )


def seen_paths(plan: Iterable[Prediction], folds: Mapping[str, FoldPeople]) -> list[str]:
    """Return the sorted `path` of each prediction by a model that was trained or chosen with its person.

    Args:
        plan: the result of `plan_predictions`.
        folds: whom each fold saw, by `{group}/{network}/fold-{fold}`; a missing fold saw nobody known.
    """
    seen: dict[tuple[str, str], frozenset[str]] = {}
    paths = []
    for row in plan:
        members = row.folder, row.weights
        if members not in seen:
            seen[members] = _seen_by(row, folds)
        if row.placement.subject in seen[members]:
            paths.append(row.path)
    return sorted(paths)


def mark_seen(plan: Iterable[Prediction], paths: Collection[str]) -> list[Prediction]:
    """Return the plan in which the predictions with these `path`s are not scored (protocol `apply`)."""
    paths = set(paths)
    return [replace(row, protocol="apply") if row.path in paths else row for row in plan]


def _seen_by(row: Prediction, folds: Mapping[str, FoldPeople]) -> frozenset[str]:
    if row.members.startswith("fold-"):
        return folds.get(row.folder, FoldPeople()).training
    own = [people for name, people in folds.items() if name.startswith(f"{row.group}/{row.network}/")]
    seen = frozenset().union(*(people.training for people in own))
    if row.weights == "best" or row.members == "single":
        seen = seen.union(*(people.validation for people in own))
    return seen
