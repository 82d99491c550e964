"""Locating the requested hip: the femoral heads as a symmetric pair of compact bone, then the femur below the head.

The search works on a coarse copy (about 3 mm) and needs neither a template nor training: a femoral head with its
acetabulum is the largest ball of bone on its side of the midline, and the bone lateral of it and below is the femur.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.anatomy.coarse import CoarseBone, ImageAxes, coarse_bone
from lib.anatomy.protocol import Location
from lib.crop_settings import CropConfig
from lib.errors import ConfigError, ScanError
from lib.imaging.components import label_pieces
from lib.imaging.grid import SIDES

HEAD_EVIDENCE = ("head_x_mm", "head_y_mm", "head_z_mm")
OTHER_HEAD_EVIDENCE = ("other_head_x_mm", "other_head_y_mm", "other_head_z_mm")

_BONE_DENSITY = 0.5

# Half a head's radius: a Gaussian of this width responds to balls of bone, not to shafts and plates.
_BALL_SIGMA_MM, _BALL_REACH_SIGMAS = 12.0, 2.5
_BALL_DISTANCE_MM = 20.0
_MIN_BALL = 0.2

# Two heads of one person. The balls' centres lie about 10 mm medial of the heads' centres. The offset in y allows a
# body turned by 25 degrees, the offset in z a tilted pelvis.
_HEAD_DISTANCE_MM, _HEAD_OFFSET_MM_YZ = (110.0, 230.0), (85.0, 60.0)
_MIN_BALANCE, _SURE_BALANCE = 0.5, 0.7

# The femur's box, measured from the ball's centre: the head extends this far medially, to the front and to the back.
_HEAD_MEDIAL_MM, _HEAD_DEPTH_MM = 20.0, 22.0
_FEMUR_DEPTH_MM, _FEMUR_LENGTH_MM = 80.0, 150.0
_SPECK = 0.05  # components smaller than this share of the largest are noise or vessels
_WIDTH_MM = (55.0, 120.0)  # plausible widths from head to greater trochanter
# Position of a trochanter relative to the ball of its head. The sacrum lies above, medial of and behind a head.
_TROCHANTER_LATERAL_MM, _TROCHANTER_BELOW_MM, _TROCHANTER_DEPTH_MM = (20.0, 55.0), (10.0, 45.0), 35.0
_TROCHANTER_MM = 35.0  # the widest part of the femur lies at most this far below the ball
_HEAD_LENGTH_MM = 25.0  # a scan that ends less than this below the ball contains no neck
MIN_FEMUR_MM3 = 3000.0  # least bone of a femur, lateral of its head and below it
_MIDLINE_TOLERANCE_MM = 50.0
# In 90 simulated views of one hip the lean was at least 0.09, and always towards the correct side.
_MIN_TISSUE_LEAN = 0.05


@dataclass(frozen=True, kw_only=True)
class Ball:
    """A compact piece of bone: its centre in mm along the image's axes and the mean density (0 to 1) around it."""

    density: float
    x_mm: float
    y_mm: float
    z_mm: float


def locate_hip(image: sitk.Image, side: str, config: CropConfig) -> Location:
    """Find the hip of `side` in a CT (HU) of any spacing, field of view and obliquity.

    Index axes must be those nearest to the patient's. The search follows the image's own axes and does not copy the
    image at full size.

    Returns:
        The centre of the femur's in-plane box. In the evidence, `head_x_mm`, `head_y_mm`, `head_z_mm` (LPS) are the
        centre of the ball of bone taken for the head, `other_head_x_mm` etc. that of the other side; `midplane_x_mm`
        and `body_x_mm` are positions along the image's own axis.

    Raises:
        ScanError: `not_in_view`.
    """
    if side not in SIDES:
        raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {side!r}")
    axes = ImageAxes(image=image)
    coarse = coarse_bone(axes, config.bone_hu)
    head, other, doubts = _choose_head(_find_balls(coarse), side, coarse)
    low_xy, high_xy, evidence = _femur_box(coarse, head, side)
    head_mm = axes.point_mm((head.x_mm, head.y_mm, head.z_mm))
    evidence |= dict(zip(HEAD_EVIDENCE, head_mm.tolist(), strict=True))
    evidence |= {"head_density": head.density, "body_x_mm": coarse.body_x_mm}
    if other is not None:
        other_mm = axes.point_mm((other.x_mm, other.y_mm, other.z_mm))
        evidence |= dict(zip(OTHER_HEAD_EVIDENCE, other_mm.tolist(), strict=True))
        evidence |= {"other_head_density": other.density, "midplane_x_mm": 0.5 * (head.x_mm + other.x_mm)}
    doubts += _doubts(evidence)
    center_mm_xy = axes.column_mm(0.5 * (low_xy + high_xy))
    return Location(side=side, center_mm_xy=center_mm_xy, evidence=evidence, doubts=tuple(doubts))


def _find_balls(coarse: CoarseBone) -> list[Ball]:
    """Return the local maxima of bone density, the densest first."""
    mean_zyx = _blurred(coarse.density_zyx, _BALL_SIGMA_MM / coarse.spacing_mm_zyx)
    highest_zyx = mean_zyx
    for axis, reach in enumerate(np.round(_BALL_DISTANCE_MM / coarse.spacing_mm_zyx).astype(int)):
        highest_zyx = _highest_within(highest_zyx, axis, int(reach))
    found = np.argwhere((mean_zyx == highest_zyx) & (mean_zyx >= _MIN_BALL))
    centers_mm = coarse.origin_mm_zyx + found * coarse.spacing_mm_zyx
    balls = [
        Ball(density=float(mean_zyx[tuple(index)]), x_mm=float(x), y_mm=float(y), z_mm=float(z))
        for index, (z, y, x) in zip(found, centers_mm, strict=True)
    ]
    return sorted(balls, key=lambda ball: -ball.density)


def _blurred(values_zyx: np.ndarray, sigmas_zyx: np.ndarray) -> np.ndarray:
    """Return Gaussian means with zeros outside.

    This and `_highest_within` replace scipy.ndimage, whose import takes longer than the whole search.
    """
    z, y, x = (_gaussian_weights(n, sigma) for n, sigma in zip(values_zyx.shape, sigmas_zyx, strict=True))
    return y @ np.tensordot(z, values_zyx, axes=1) @ x


def _gaussian_weights(count: int, sigma: float) -> np.ndarray:
    """Return the symmetric matrix (count, count) of a Gaussian that ends at _BALL_REACH_SIGMAS."""
    reach = int(_BALL_REACH_SIGMAS * sigma + 0.5)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = np.exp(-0.5 * (distance / sigma) ** 2) * (distance <= reach)
    return (weights / kernel.sum()).astype(np.float32)


def _highest_within(values_zyx: np.ndarray, axis: int, reach: int) -> np.ndarray:
    """Return the highest of the values (>= 0) at most `reach` voxels away along an axis."""
    pad = [(0, 0)] * 3
    pad[axis] = (reach, reach)
    highest, width = np.moveaxis(np.pad(values_zyx, pad), axis, 0), 1
    while width < 2 * reach + 1:
        step = min(width, 2 * reach + 1 - width)
        highest, width = np.maximum(highest[:-step], highest[step:]), width + step
    return np.moveaxis(highest, 0, axis)


def _choose_head(balls: list[Ball], side: str, coarse: CoarseBone) -> tuple[Ball, Ball | None, list[str]]:
    """Return the head of `side`, the other one if it is in view, and doubts."""
    pair = max(_pairs(balls), key=lambda pair: pair[0].density + pair[1].density, default=None)
    if pair is not None:
        right, left = sorted(pair, key=lambda ball: ball.x_mm)
        return (left, right, []) if side == "left" else (right, left, [])
    if not balls:
        raise ScanError("not_in_view", "the scan contains no compact bone of the size of a femoral head")
    seen = _seen_side(coarse, balls[0])
    if seen is None:
        raise ScanError("not_in_view", "the most compact bone lies in the body's middle, not at a hip")
    if seen != side:
        raise ScanError(
            "not_in_view",
            f"only one hip is in the scan, and it appears to be the {seen} one",
            f"Correct `side`; if it is the {side} one, give the centre of the crop (crop_x_mm, crop_y_mm).",
        )
    # sacrum and spine may be as dense as a head, but lie nearer to the midline
    outward = 1.0 if side == "left" else -1.0
    dense = [ball for ball in balls if ball.density >= _SURE_BALANCE * balls[0].density]
    outermost = max(dense, key=lambda ball: outward * ball.x_mm)
    alone = next((ball for ball in dense if _is_trochanter_of(ball, outermost, outward)), outermost)
    return alone, None, ["only one hip is in view; its side was inferred from the rest of the body"]


def _is_trochanter_of(head: Ball, ball: Ball, outward: float) -> bool:
    """Return whether a ball is at the trochanter of a head; a nail makes a trochanter as dense as a head."""
    lateral_mm, below_mm = outward * (ball.x_mm - head.x_mm), head.z_mm - ball.z_mm
    (least_lateral, most_lateral), (least_below, most_below) = _TROCHANTER_LATERAL_MM, _TROCHANTER_BELOW_MM
    beside = (
        least_lateral <= lateral_mm <= most_lateral and abs(ball.y_mm - head.y_mm) <= _TROCHANTER_DEPTH_MM
    )
    return beside and least_below <= below_mm <= most_below


def _seen_side(coarse: CoarseBone, ball: Ball) -> str | None:
    """Return the side of the only hip in view; None if only the middle of the body is in view."""
    if coarse.whole_body:
        lean, least = ball.x_mm - coarse.body_x_mm, 0.5 * _HEAD_DISTANCE_MM[0]
    else:
        # the body is cut off on the side of the midline and thins out on the other side
        lean, least = coarse.tissue_lean, _MIN_TISSUE_LEAN
    if abs(lean) < least:
        return None
    return "left" if lean > 0 else "right"


def _pairs(balls: list[Ball]) -> Iterable[tuple[Ball, Ball]]:
    for a, b in itertools.combinations(balls, 2):
        apart = _HEAD_DISTANCE_MM[0] <= abs(a.x_mm - b.x_mm) <= _HEAD_DISTANCE_MM[1]
        depth_mm, height_mm = abs(a.y_mm - b.y_mm), abs(a.z_mm - b.z_mm)
        level = depth_mm <= _HEAD_OFFSET_MM_YZ[0] and height_mm <= _HEAD_OFFSET_MM_YZ[1]
        if apart and level and b.density >= _MIN_BALANCE * a.density:
            yield a, b


def _femur_box(coarse: CoarseBone, head: Ball, side: str) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Return the in-plane box (low, high; x, y in mm) of the femur, with evidence.

    Raises:
        ScanError: `not_in_view`, there is no femur lateral of the head and below it.
    """
    outward = 1.0 if side == "left" else -1.0
    lateral_mm = outward * (coarse.positions_mm(2) - head.x_mm)
    back_mm = coarse.positions_mm(1) - head.y_mm
    below_mm = head.z_mm - coarse.positions_mm(0)
    bone_zyx = np.zeros(coarse.density_zyx.shape, bool)
    region = np.ix_(
        (below_mm >= 0) & (below_mm <= _FEMUR_LENGTH_MM), np.abs(back_mm) <= _FEMUR_DEPTH_MM, lateral_mm >= 0
    )
    bone_zyx[region] = _large_components(coarse.density_zyx[region] >= _BONE_DENSITY)
    volume_mm3 = float(bone_zyx.sum() * coarse.spacing_mm_zyx.prod())
    _require_femur(side, volume_mm3, float(below_mm.max()))
    width_mm = float(lateral_mm[bone_zyx.any(axis=(0, 1))].max())
    depth_mm = back_mm[bone_zyx.any(axis=(0, 2))]
    ends_x = sorted(head.x_mm + outward * np.array([-_HEAD_MEDIAL_MM, width_mm]))
    front_mm, behind_mm = min(-_HEAD_DEPTH_MM, depth_mm.min()), max(_HEAD_DEPTH_MM, depth_mm.max())
    evidence = {
        "femur_width_mm": width_mm + _HEAD_MEDIAL_MM,
        "femur_depth_mm": float(behind_mm - front_mm),
        "femur_bone_mm3": volume_mm3,
        "length_below_head_mm": float(below_mm.max()),
    }
    low_xy, high_xy = np.array(
        [[x, head.y_mm + y] for x, y in zip(ends_x, (front_mm, behind_mm), strict=True)]
    )
    return low_xy, high_xy, evidence


def _require_femur(side: str, volume_mm3: float, length_mm: float) -> None:
    if length_mm < _HEAD_LENGTH_MM:
        raise ScanError(
            "not_in_view",
            f"the scan ends {length_mm:.0f} mm below the supposed {side} femoral head: "
            f"there is no neck in it (expected at least {_HEAD_LENGTH_MM:g} mm)",
            "Use a scan that reaches further down, or exclude this one.",
        )
    if volume_mm3 < MIN_FEMUR_MM3:
        raise ScanError(
            "not_in_view",
            f"lateral of the supposed {side} femoral head and below it there are {volume_mm3 / 1000:.1f} cm³ "
            f"of bone; expected at least {MIN_FEMUR_MM3 / 1000:g} cm³",
        )


def _large_components(bone_zyx: np.ndarray) -> np.ndarray:
    """Return the components above _SPECK of the largest one (a thin cortex falls into pieces)."""
    labels_zyx = label_pieces(bone_zyx, corners=True)
    sizes = np.bincount(labels_zyx.ravel())
    sizes[0] = 0
    keep = (sizes > 0) & (sizes >= _SPECK * sizes.max())
    return keep[labels_zyx]


def _doubts(evidence: dict[str, float]) -> list[str]:
    doubts = []
    width_mm, length_mm = evidence["femur_width_mm"], evidence["length_below_head_mm"]
    if not _WIDTH_MM[0] <= width_mm <= _WIDTH_MM[1]:
        doubts.append(
            f"the femur looks {width_mm:.0f} mm wide, expected {_WIDTH_MM[0]:.0f} to {_WIDTH_MM[1]:.0f}"
        )
    if length_mm < _TROCHANTER_MM:
        doubts.append(f"the scan ends {length_mm:.0f} mm below the head, above the trochanter's widest part")
    midplane_mm = evidence.get("midplane_x_mm", evidence["body_x_mm"])
    if abs(midplane_mm - evidence["body_x_mm"]) > _MIDLINE_TOLERANCE_MM:
        doubts.append("the heads do not lie symmetrically in the body")
    balance = evidence.get("other_head_density", evidence["head_density"]) / evidence["head_density"]
    if not _SURE_BALANCE <= balance <= 1.0 / _SURE_BALANCE:
        doubts.append(f"the two supposed heads differ in density (ratio {balance:.2f})")
    return doubts
