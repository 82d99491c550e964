"""The losses: soft Dice and cross-entropy, and the sum of squared weights.

Logits have one map for one kind of bone, else one for each class with the background first; masks hold 0 or 1,
else labels 0...classes. Everything is computed in float32, whatever the precision of the logits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.learning.allowed_values import require
from lib.learning.train_settings import LOSSES

SMOOTH_VOXELS = 1.0  # keeps the quotient of an empty window at 1 instead of 0/0; negligible next to a femur


def segmentation_loss(logits: Tensor, mask: Tensor, *, kind: str, bone_weight: float = 1.0) -> Tensor:
    """Return the loss of a batch, a scalar.

    Args:
        logits: (N, maps, z, y, x), before sigmoid or softmax.
        mask: (N, 1, z, y, x), 0 or 1, or labels.
        kind: dice, cross_entropy or dice_cross_entropy (their sum).
        bone_weight: how many background voxels a bone voxel counts for in the cross-entropy; more than 0.

    Raises:
        ConfigError: an unknown kind.
    """
    require(kind in LOSSES, "loss", kind, " or ".join(LOSSES))
    if kind == "dice":
        return soft_dice_loss(logits, mask)
    cross_entropy = cross_entropy_loss(logits, mask, bone_weight)
    return cross_entropy if kind == "cross_entropy" else soft_dice_loss(logits, mask) + cross_entropy


def soft_dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the batch, and over the kinds of bone, of 1 - soft Dice (a scalar in 0...1).

    Args:
        logits: (N, maps, z, y, x), before sigmoid or softmax.
        mask: (N, 1, z, y, x), 0 or 1, or labels.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        probability, reference = logits.sigmoid(), mask.float()
    else:
        probability, reference = logits.softmax(1)[:, 1:], _one_hot(mask, logits.shape[1])[:, 1:]
    probability, reference = probability.flatten(2), reference.flatten(2)  # (N, classes, voxels)
    shared = (probability * reference).sum(2)
    total = probability.sum(2) + reference.sum(2)
    return 1 - ((2 * shared + SMOOTH_VOXELS) / (total + SMOOTH_VOXELS)).mean()


def cross_entropy_loss(logits: Tensor, mask: Tensor, bone_weight: float = 1.0) -> Tensor:
    """Return the weighted mean over all voxels of the batch of -log(probability of the voxel's label), in nats.

    Args:
        logits: (N, maps, z, y, x), before sigmoid or softmax.
        mask: (N, 1, z, y, x), 0 or 1, or labels.
        bone_weight: weight of a bone voxel of any kind; a background voxel has weight 1.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        voxels = functional.binary_cross_entropy_with_logits(logits, mask.float(), reduction="none")
    else:
        # torch's own cross-entropy of labels has no deterministic kernel on CUDA
        surprise = -logits.log_softmax(1)
        voxels = (surprise * _one_hot(mask, logits.shape[1])).sum(1, keepdim=True)
    weight = 1.0 + (bone_weight - 1.0) * (mask > 0)
    return (weight * voxels).sum() / weight.sum()


def parameter_groups(network: nn.Module, l2_alpha: float) -> list[dict]:
    """Return parameter groups with which Adam minimises the loss plus `l2_alpha` times the sum of squared weights.

    Biases, and the scales of normalisations, are not penalised.
    d(alpha W^2)/dW = 2 alpha W is what Adam's coupled `weight_decay` of 2 alpha adds to the gradient (unlike AdamW's
    decoupled decay). This holds as long as gradients are neither clipped nor scaled.
    """
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": weights, "weight_decay": 2 * l2_alpha}, {"params": others, "weight_decay": 0.0}]


def _one_hot(labels: Tensor, maps: int) -> Tensor:
    """Return (N, maps, z, y, x) float32, 1 where the label (N, 1, z, y, x) is the map's number, else 0."""
    numbers = torch.arange(maps, device=labels.device).view(1, -1, 1, 1, 1)
    return (labels == numbers).float()
