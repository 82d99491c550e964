"""Whom models were trained on: such people are predicted and measured, never scored. Standard library only.

A score says how models do on new people. A prediction is seen where

    members              a person whom ... was trained on    or validated on
    fold-k               the fold's model                    no: its last weights were chosen on nobody
    ensemble             any fold's model                    where the weights are `best`, which they chose
    single               any fold's model                    always: they chose the fold

A finished model says by pseudonyms whom it saw; for one that is still to be trained the split says it. A person
counts as seen by id, by any of their scans, or by the voxels of one: ids may have been corrected since, or be another
study's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from lib.cohort.placement import Placement, Takes, trains_fold, validates_fold
from lib.cohort.predictions import Prediction
from lib.pseudonyms import pseudonym


@dataclass(frozen=True, kw_only=True)
class FoldPeople:
    """Subjects of today's table whom the model of a fold was, or will be, trained and validated on."""

    training: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()


class Roster:
    """Today's people by the pseudonyms of their own ids, of their scans' and of their images' voxels."""

    def __init__(self, subjects: Mapping[str, str], secret: bytes, digests: Mapping[str, str]) -> None:
        """Take subject and digest of voxels by scan, and the secret that models' pseudonyms were made with."""
        self._by_scan = {pseudonym(scan, secret): subject for scan, subject in subjects.items()}
        self._by_subject = {pseudonym(subject, secret): subject for subject in set(subjects.values())}
        self._by_image: dict[str, set[str]] = defaultdict(set)
        for scan, digest in digests.items():
            if scan in subjects:
                self._by_image[pseudonym(digest, secret)].add(subjects[scan])

    def people_of(self, run: Mapping) -> FoldPeople:
        """Return those whom a finished fold (content of its run.json) saw."""
        return FoldPeople(training=self._find(run, "training"), validation=self._find(run, "validation"))

    def _find(self, run: Mapping, role: str) -> frozenset[str]:
        people = {self._by_subject.get(name) for name in run["people"][role]["pseudonyms"]}
        people |= {self._by_scan.get(name) for name in run[role]}
        # older models name no images
        for name in run.get("images", {}).get(role, ()):
            people |= self._by_image.get(name, set())
        return frozenset(people - {None})


def people_to_be(placements: Iterable[Placement], takes: Takes, fold: int) -> FoldPeople:
    """Return those whom a fold that is still to be trained will see.

    Args:
        placements: the accepted scans.
        takes: whom the group takes in (see `in_group`).
        fold: which one.
    """
    placements = list(placements)
    return FoldPeople(
        training=frozenset(row.subject for row in placements if trains_fold(row, takes, fold)),
        validation=frozenset(row.subject for row in placements if validates_fold(row, takes, fold)),
    )


def seen_paths(plan: Iterable[Prediction], folds: Mapping[str, FoldPeople]) -> list[str]:
    """Return the sorted `path` of each prediction by a model that its person trained or helped to choose.

    Args:
        plan: what `plan_predictions` returned.
        folds: whom each fold saw, by `{group}/{network}/fold-{fold}`; one that is not there saw nobody known.
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
