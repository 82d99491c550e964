"""From maps of probabilities to labels.

A network of one structure has one map, the probability of bone; of n > 1 structures it has n + 1 maps, the background
first.
"""

import torch
from torch import Tensor

BONE_FROM = 0.5  # probability from which a voxel counts as bone where there is one map


def to_probabilities(logits: Tensor) -> Tensor:
    """Return probabilities (N, maps, z, y, x), float32, for logits: the sigmoid of one map, else the softmax."""
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def choose_labels(maps: Tensor) -> Tensor:
    """Return the label of each voxel, uint8 (z, y, x), for probabilities (maps, z, y, x).

    One map gives label 1 from BONE_FROM on. Of several maps the number of the highest is the label; of equally high
    ones the lowest number, thus the background first. At most one further map is held in memory.
    """
    if len(maps) == 1:
        return (maps[0] >= BONE_FROM).to(torch.uint8)
    labels = torch.zeros(maps.shape[1:], dtype=torch.uint8, device=maps.device)
    highest = maps[0].clone()
    for number, probability in enumerate(maps[1:], start=1):
        labels.masked_fill_(probability > highest, number)
        torch.maximum(highest, probability, out=highest)
    return labels
