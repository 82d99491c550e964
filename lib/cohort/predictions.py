"""Which models predict which scans, and under which protocol. Standard library only (read at each parse).

    set of the scan          members     protocol      weights
    train, fold k            fold-k      cv            last (these people did not choose the weights)
    test                     ensemble    test          heldout_weights
    test                     single      test-single   heldout_weights
    later                    ensemble    later         heldout_weights
    external                 ensemble    external      heldout_weights
    any, without a mask      as above    apply         as above
    any, seen in training    as above    apply         as above (`lib.cohort.leakage`)

`fold-k` is the model that was not trained on the people of fold k; `ensemble` is the mean probability of all folds;
`single` is the fold with the best validation Dice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lib.cohort.placement import Placement, Takes, in_group


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One scan predicted by one set of models."""

    group: str
    network: str
    members: str
    protocol: str
    weights: str
    placement: Placement

    @property
    def folder(self) -> str:
        """Return the part of the path shared by masks and measurements of this prediction."""
        return f"{self.group}/{self.network}/{self.members}"

    @property
    def path(self) -> str:
        """Return the key that identifies this prediction in the paths of its files."""
        return f"{self.folder}/{self.placement.scan}"


def plan_predictions(
    placements: Iterable[Placement],
    groups: Mapping[str, Takes],
    networks: Iterable[str],
    heldout_weights: str,
) -> list[Prediction]:
    """Return all predictions of the study, group by group and network by network."""
    placements = list(placements)
    return [
        Prediction(
            group=group,
            network=network,
            members=members,
            protocol=protocol if placement.has_mask else "apply",
            weights=weights_of(members, heldout_weights),
            placement=placement,
        )
        for group, takes in groups.items()
        for network in networks
        for placement in placements
        if in_group(placement, takes)
        for members, protocol in _members_of(placement)
    ]


def plan_estimates(
    placements: Iterable[Placement],
    groups: Mapping[str, Takes],
    networks: Iterable[str],
    heldout_weights: str,
) -> list[Prediction]:
    """Return all predictions of the networks that regress: as `plan_predictions`, without `single`."""
    planned = plan_predictions(placements, groups, networks, heldout_weights)
    return [row for row in planned if row.members != "single"]


def weights_of(members: str, heldout_weights: str) -> str:
    """Return which weights of a model these members use: `last` in cross-validation, else the setting."""
    return "last" if members.startswith("fold-") else heldout_weights


def _members_of(placement: Placement) -> list[tuple[str, str]]:
    if placement.set == "train":
        return [(f"fold-{placement.fold}", "cv")]
    if placement.set == "test" and placement.has_mask:
        return [("ensemble", "test"), ("single", "test-single")]
    return [("ensemble", placement.set)]
