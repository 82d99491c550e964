"""Checks that a reference label map can show vertebrae: size, place, one bone a label, order from head to feet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import SimpleITK as sitk

from lib.anatomy.bodies import judge_bodies
from lib.catalog.anatomies import SACRUM, VERTEBRAE
from lib.catalog.reasons import Reason
from lib.imaging.components import label_pieces
from lib.imaging.grid import voxel_mm3

# structures of a spine from head to feet
FROM_HEAD = (*VERTEBRAE, SACRUM)


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Limits of a bone: its volume, mm3, and its length from feet to head, mm."""

    bone: str
    volume_mm3: tuple[float, float]
    length_mm: float


# Generous limits: the whole lumbar vertebrae of the Visible Human Male (Remus et al., PLoS ONE 2021;16:e0250456) have
# 69 to 81 ml and are 47 to 62 mm long along z, their bodies 43 to 46 ml, the sacrum 245 ml and 159 mm. The proximal
# femur of a hip scan has 80 to 245 ml and is 85 mm long or more.
_VERTEBRA = _Limits(bone="a vertebra", volume_mm3=(1_000.0, 150_000.0), length_mm=90.0)
_SACRUM = _Limits(bone="a sacrum", volume_mm3=(1_000.0, 500_000.0), length_mm=220.0)
# A second piece of a label is another vertebra if it has this share of the largest piece, and its centre lies this
# far above or below. In the same spine neighbours are 37 to 40 mm apart; an arch without its pedicles lies at most
# 12 mm below its body and 7 mm above it.
_SECOND_SHARE, _OTHER_LEVEL_MM = 0.25, 22.0
# Neighbours whose centres are nearer along z are one bone with two labels.
_ONE_HEIGHT_MM = 8.0
# A spine lies in the middle of the body, also in scoliosis; a hip lies about 90 mm aside.
_MOST_ASIDE_MM, _BODY_HU, _SAMPLED_MM = 75.0, -300, 10.0


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A connected piece of a label: volume, mm3; centre, LPS mm; length along z, mm; whether the scan may cut it."""

    volume_mm3: float
    center_mm_xyz: tuple[float, float, float]
    length_mm: float
    at_end: bool

    @property
    def height_mm(self) -> float:
        """Height of its centre, LPS mm."""
        return self.center_mm_xyz[2]


_Pieces = Mapping[str, Sequence[_Piece]]  # structure -> its pieces, largest first


def judge_spine_reference(
    labels: sitk.Image, image: sitk.Image | None, structures: Iterable[str], acquired_axis: str = "z"
) -> list[Reason]:
    """Return the reasons why a label map cannot be the reference of a spine, and warnings.

    Args:
        labels: values 1 to n in the order of `structures`; not empty, on patient axes.
        image: the scan in HU on its grid; without it (None) the distance from the middle of the body is not judged.
        structures: their names; only those of FROM_HEAD have an order.
        acquired_axis: patient axis along which the slices of the scan were acquired.

    Returns:
        Any of `mask_implausible` (of another size than a vertebra or a sacrum), `mask_elsewhere` (far from the middle
        of the body), `label_doubled` (two vertebrae with one label), `labels_out_of_order` (the centres do not
        descend in the order of FROM_HEAD, or two labels share one vertebra), and the findings of `judge_bodies`.
    """
    structures = list(structures)
    drawn = _measure(labels, structures)
    doubled = _check_doubled(drawn)
    reasons = [*_check_sizes(drawn), *doubled.values(), *_check_order(drawn)]
    reasons += [] if image is None else _check_place(drawn, labels, image)
    # the empty slices between two vertebrae of one label are no gap
    bodies = judge_bodies(labels, structures, acquired_axis)
    return reasons + [reason for reason in bodies if reason.found.split(":")[0] not in doubled]


def _measure(labels: sitk.Image, structures: Sequence[str]) -> dict[str, list[_Piece]]:
    """Return the two largest pieces of each structure that is drawn, by name."""
    boxes = sitk.LabelShapeStatisticsImageFilter()
    boxes.Execute(labels)
    labels_zyx = sitk.GetArrayViewFromImage(labels)
    drawn = {}
    for number, name in enumerate(structures, start=1):
        if not boxes.HasLabel(number):
            continue
        *first, nx, ny, nz = boxes.GetBoundingBox(number)
        x, y, z = first
        box_zyx = labels_zyx[z : z + nz, y : y + ny, x : x + nx] == number
        drawn[name] = _find_pieces(box_zyx, first, labels)
    return drawn


def _find_pieces(box_zyx: np.ndarray, first_xyz: Sequence[int], labels: sitk.Image) -> list[_Piece]:
    """Return the two largest pieces of a mask that fills a box of the label map, whose corner is `first_xyz`."""
    pieces_zyx = label_pieces(box_zyx, corners=True)
    voxels = np.bincount(pieces_zyx.ravel())
    found = []
    for piece in 1 + np.argsort(-voxels[1:], kind="stable")[:2]:
        index_xyz = np.argwhere(pieces_zyx == piece)[:, ::-1] + first_xyz
        lowest, highest = int(index_xyz[:, 2].min()), int(index_xyz[:, 2].max())
        found.append(
            _Piece(
                volume_mm3=float(voxels[piece]) * voxel_mm3(labels),
                center_mm_xyz=labels.TransformContinuousIndexToPhysicalPoint(index_xyz.mean(axis=0).tolist()),
                length_mm=(highest - lowest + 1) * labels.GetSpacing()[2],
                at_end=lowest == 0 or highest == labels.GetSize()[2] - 1,
            )
        )
    return found


def _check_sizes(drawn: _Pieces) -> list[Reason]:
    reasons = []
    for name, (largest, *_) in drawn.items():
        limits = _SACRUM if name == SACRUM else _VERTEBRA
        (least, most), volume = limits.volume_mm3, largest.volume_mm3
        too_small = volume < least and not largest.at_end
        if too_small or volume > most or largest.length_mm > limits.length_mm:
            found = (
                f"{name}: {1e-3 * volume:.1f} cm³ and {largest.length_mm:.0f} mm from feet to head; {limits.bone} "
                f"has {1e-3 * least:g} to {1e-3 * most:g} cm³ and at most {limits.length_mm:g} mm"
            )
            reasons.append(Reason("mask_implausible", found, _other_bone(name)))
    return reasons


def _other_bone(name: str) -> str:
    return (
        f"Lay the mask over the scan in a viewer: the value of {name} may mark another bone, such as a femur. "
        "Correct `mask`, or the values in `structures`."
    )


def _check_doubled(drawn: _Pieces) -> dict[str, Reason]:
    """Return the refusal of each vertebra whose label marks two, by name."""
    doubled = {}
    for name, pieces in drawn.items():
        if name == SACRUM or len(pieces) < 2:
            continue
        first, second = pieces
        share = second.volume_mm3 / first.volume_mm3
        apart_mm = abs(first.height_mm - second.height_mm)
        if share > _SECOND_SHARE and apart_mm > _OTHER_LEVEL_MM:
            found = (
                f"{name}: two pieces of {1e-3 * first.volume_mm3:.1f} and {1e-3 * second.volume_mm3:.1f} cm³, "
                f"{apart_mm:.0f} mm apart from feet to head"
            )
            doubled[name] = Reason("label_doubled", found)
    return doubled


def _check_order(drawn: _Pieces) -> list[Reason]:
    """Report labels that do not descend from head to feet, and neighbours at one height."""
    expected = [name for name in FROM_HEAD if name in drawn]
    heights = {name: drawn[name][0].height_mm for name in expected}
    reasons = [
        Reason(
            "labels_out_of_order",
            f"{upper} and {lower} lie at one height ({apart_mm:.0f} mm apart from feet to head): two labels share "
            "one vertebra",
            "Look at the labels in a viewer, and give each vertebra one label.",
        )
        for upper, lower in pairwise(expected)
        if (apart_mm := abs(heights[upper] - heights[lower])) < _ONE_HEIGHT_MM
    ]
    found = sorted(expected, key=lambda name: -heights[name])
    if not reasons and found != expected:
        text = f"from head to feet the labels are {', '.join(found)}; expected {', '.join(expected)}"
        upwards = [name for name in found[::-1] if name != SACRUM]
        from_below = len(upwards) > 2 and upwards == [name for name in expected if name != SACRUM]
        below = " (the vertebrae are numbered from below)" if from_below else ""
        reasons.append(Reason("labels_out_of_order", text + below))
    return reasons


def _check_place(drawn: _Pieces, labels: sitk.Image, image: sitk.Image) -> list[Reason]:
    """Report structures that lie far from the middle of the body."""
    middle_mm = _middle_mm(labels, image)
    asides = {name: largest.center_mm_xyz[0] - middle_mm for name, (largest, *_) in drawn.items()}
    return [
        Reason(
            "mask_elsewhere",
            f"{name}: {abs(aside_mm):.0f} mm to the {'left' if aside_mm > 0 else 'right'} of the middle of the body; "
            f"a spine lies at most {_MOST_ASIDE_MM:g} mm aside",
            _other_bone(name),
        )
        for name, aside_mm in asides.items()
        if abs(aside_mm) > _MOST_ASIDE_MM
    ]


def _middle_mm(labels: sitk.Image, image: sitk.Image) -> float:
    """Return the middle of the body (x, LPS mm) beside the mask; the middle of the image if there is no body."""
    labels_zyx, values_zyx = sitk.GetArrayViewFromImage(labels), sitk.GetArrayViewFromImage(image)
    slices = np.flatnonzero(labels_zyx.any(axis=(1, 2)))
    step = max(1, round(_SAMPLED_MM / labels.GetSpacing()[2]))
    columns = np.arange(values_zyx.shape[2])
    middles = []
    for z in slices[::step]:
        body_x = np.count_nonzero(values_zyx[z] > _BODY_HU, axis=0)
        if body_x.any():
            middles.append(np.average(columns, weights=body_x))
    index_x = float(np.median(middles)) if middles else (len(columns) - 1) / 2
    center = [(size - 1) / 2 for size in labels.GetSize()]
    return labels.TransformContinuousIndexToPhysicalPoint([index_x, *center[1:]])[0]
