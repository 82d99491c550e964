"""Tissues turned into image values: soft tissue first, then bone over it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lib.phantom.anatomy.specimen import BonePart, SoftSlice, Tissue, TissueFields

Values = Sequence[np.ndarray]
"""One array for each channel of the image."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What a scanner shows: values of a slice of soft tissue (y, x), and values times share of a bone (zyx).

    Both return `channels` arrays. `around` gives the `channels` values of the tissues next to bones; None: the
    scanner does not tell them apart from muscle.
    """

    channels: int
    soft: Callable[[SoftSlice], Values]
    bone: Callable[[BonePart], Values]
    around: Callable[[Tissue], Sequence[float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Painted:
    """Values (channels, z, y, x), the share of each voxel inside the skin, and the reference bone's mask (zyx).

    `reference` is that bone as it was drawn, None where the reference has several bones.
    """

    values: np.ndarray
    body: np.ndarray
    mask: np.ndarray
    reference: BonePart | None = None


def paint(fields: TissueFields, contrast: Contrast, reference: str | Mapping[str, int]) -> Painted:
    """Return the image of tissues in a contrast, without any effect of the scanner; air is not in it yet.

    The mask is 1 where at least half of a voxel belongs to the bone `reference`. Of several bones (name -> value)
    each voxel shows the one that has the largest share of it, 0 if the rest of the voxel is larger still.
    """
    shape, box = fields.grid.shape_zyx, fields.bone_box
    values = np.empty((contrast.channels, *shape), np.float32)
    body = np.empty(shape, np.float32)
    mask = np.zeros(shape, np.uint8)
    for k, piece in enumerate(fields.soft):
        for channel, drawn in zip(values, contrast.soft(piece), strict=True):
            channel[k] = piece.to_pixels(drawn)
        body[k] = piece.body
    for share, tissue in fields.around if contrast.around else ():
        for channel, value in zip(values, contrast.around(tissue), strict=True):
            channel[box] += share * (np.float32(value) - channel[box])
    share = np.zeros_like(body[box])
    bones = np.zeros_like(values[:, *box])
    labelled, drawn_reference = [], None
    for part in fields.bones:
        where = part.where or ...
        share[where] += part.outer + part.cartilage
        for channel, drawn in zip(bones, contrast.bone(part), strict=True):
            channel[where] += drawn
        if part.name == reference:
            mask[box] = part.outer >= 0.5
            drawn_reference = part
        elif not isinstance(reference, str) and part.name in reference:
            labelled.append(
                (reference[part.name], where, part.outer if part.labelled is None else part.labelled)
            )
    if labelled:
        mask[box] = _label_map(labelled, share.shape)
    np.clip(share, 0, 1, out=share)
    for channel, drawn in zip(values, bones, strict=True):
        channel[box] = channel[box] * (1 - share) + drawn
    return Painted(values=values, body=body, mask=mask, reference=drawn_reference)


def _label_map(labelled: Sequence[tuple], shape_zyx: tuple[int, ...]) -> np.ndarray:
    """Return for each voxel the value of the largest share; `labelled` are value, place and share of each bone."""
    rest = np.ones(shape_zyx, np.float32)
    for _, where, share in labelled:
        rest[where] -= share
    best, labels = rest, np.zeros(shape_zyx, np.uint8)
    for value, where, share in labelled:
        wins = share > best[where]
        labels[where][wins] = value
        best[where][wins] = share[wins]
    return labels
