"""The loss: soft Dice plus the sum of squared weights (METHODS 1)."""

from torch import Tensor, nn

SMOOTH_VOXELS = 1.0  # keeps the quotient of an empty window at 1 instead of 0/0; nothing beside a femur


def soft_dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the batch of 1 - soft Dice (a scalar in 0...1).

    Args:
        logits: (N, 1, z, y, x), before the sigmoid.
        mask: (N, 1, z, y, x), 0 or 1.
    """
    probability = logits.float().sigmoid().flatten(1)
    reference = mask.float().flatten(1)
    shared = (probability * reference).sum(1)
    total = probability.sum(1) + reference.sum(1)
    return 1 - ((2 * shared + SMOOTH_VOXELS) / (total + SMOOTH_VOXELS)).mean()


def squared_weights(network: nn.Module) -> Tensor:
    """Return the sum of squares of all weights; biases are left out."""
    return sum(weight.square().sum() for weight in _weights(network))


def parameter_groups(network: nn.Module, l2_alpha: float) -> list[dict]:
    """Return groups for Adam that realise the penalty `l2_alpha * squared_weights` in its gradient.

    d(alpha W^2)/dW = 2 alpha W is what Adam's coupled `weight_decay` of 2 alpha adds to the gradient (AdamW's
    decoupled decay is another thing). It holds as long as gradients are neither clipped nor scaled.
    """
    biases = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [
        {"params": _weights(network), "weight_decay": 2 * l2_alpha},
        {"params": biases, "weight_decay": 0.0},
    ]


def _weights(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.ndim > 1]
