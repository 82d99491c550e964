"""Disagreement between the members of an ensemble on one scan: a sign of failure that needs no reference.

Source: mean Dice over pairs of sampled masks, Roy et al. 2019 (Bayesian QuickNAT, NeuroImage 195:11-22); here the
samples are the fold models (deep ensembles, Lakshminarayanan et al. 2017). No further predictions are needed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

NO_BONE = "no member finds bone"
ONE_MODEL = "one model only"
NO_COMMON_BONE = "the members find no bone in common"
TRAINED_ON_PERSON = "the other fold models have trained on this person"


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Content of uncertainty.json for one structure.

    Attributes:
        member_dice: expected Dice between two members: mean over all pairs, 1 for members that agree voxel by voxel.
        mean_entropy_bits: mean binary entropy of the ensemble's probability of this structure over the voxels that at
            least one member calls so, in bits: 0 (all members certain and in agreement) to 1.
        member_volume_ratios: each member's volume over that of the ensemble, both by `lib.learning.labels`, in the
            members' order; empty if there are none.
        member_range_percent: the largest of these ratios minus the smallest, in percent.
        undefined: reason for each value that is None.
    """

    member_dice: float | None = None
    mean_entropy_bits: float | None = None
    member_volume_ratios: tuple[float, ...] = ()
    member_range_percent: float | None = None
    undefined: Mapping[str, str] = field(default_factory=dict)


def measure_disagreements(
    structures: Sequence[str], maps: Tensor, labels: Tensor, members: Tensor
) -> dict[str, Disagreement]:
    """Measure how far members disagree on each structure.

    Args:
        structures: names in the order of the labels.
        maps: mean probabilities of the members (maps, z, y, x), float32; those of the structures are the last.
        labels: of the ensemble, uint8 (z, y, x).
        members: each member's own labels (members, z, y, x), uint8.
    """
    probabilities = maps[-len(structures) :]
    return {
        name: measure_disagreement(probability, labels == number, members == number)
        for number, (name, probability) in enumerate(zip(structures, probabilities, strict=True), start=1)
    }


def measure_disagreement(probability: Tensor, mask: Tensor, masks: Tensor) -> Disagreement:
    """Measure how far members disagree on one structure.

    If one member of a pair finds no bone, the pair's Dice is 0. If neither does, its Dice is 0/0 and the pair is left
    out, so that members without bone do not hide that others found some.

    Args:
        probability: mean probability of the members (z, y, x), float32.
        mask: of the ensemble (z, y, x), bool.
        masks: each member's own mask (members, z, y, x), bool; at least two members, on the same device.

    Returns:
        All values. None is defined if no member finds bone; no ratio is defined if the ensemble finds none.
    """
    union = masks.any(dim=0)
    if not union.any():
        return _undefined(NO_BONE)
    inside = masks[:, union]
    shared = torch.stack([(inside & one).sum(1) for one in inside]).double()
    sizes = shared.diagonal()
    first, second = torch.triu_indices(len(masks), len(masks), offset=1, device=masks.device)
    both = sizes[first] + sizes[second]
    dice = (2 * shared[first, second] / both)[both > 0].mean()
    bone = probability[union].double()
    entropy_bits = (torch.special.entr(bone) + torch.special.entr(1 - bone)).mean() / math.log(2)
    member_dice, mean_entropy_bits = torch.stack([dice, entropy_bits]).tolist()
    together = int(mask.sum())
    ratios = tuple(size / together for size in sizes.tolist()) if together else ()
    return Disagreement(
        member_dice=member_dice,
        mean_entropy_bits=mean_entropy_bits,
        member_volume_ratios=ratios,
        member_range_percent=100 * (max(ratios) - min(ratios)) if ratios else None,
        undefined={} if ratios else {"member_range_percent": NO_COMMON_BONE},
    )


def disagreement_of_one(members: str) -> Disagreement:
    """Return why a single model's prediction has no disagreement.

    Args:
        members: `fold-k` (of cross-validation, whose person all other folds have trained on), `single`, or
            `ensemble` where there is one fold only.
    """
    return _undefined(TRAINED_ON_PERSON if members.startswith("fold-") else ONE_MODEL)


def describe_disagreement(disagreement: Disagreement, folds: Sequence[str]) -> dict:
    """Return the content of uncertainty.json for one structure, with ratios by the fold of each member (`fold-0`).

    A single model has no ratios, whatever its fold.
    """
    ratios = dict(zip(folds, disagreement.member_volume_ratios, strict=False))
    return asdict(disagreement) | {"member_volume_ratios": ratios}


def _undefined(reason: str) -> Disagreement:
    names = ("member_dice", "mean_entropy_bits", "member_range_percent")
    return Disagreement(undefined=dict.fromkeys(names, reason))
