"""Checks that a reference mask can be a femur: size, gaps, pieces, holes, and bone at its edge.

The checks do not depend on the side of the body.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.catalog.reasons import Reason
from lib.imaging.components import label_pieces
from lib.imaging.grid import spacing_zyx

# Generous limits of a femur's size. In 257 people of the shape model, cut 85 to 120 mm below the head's top, it has
# 80 to 245 ml and at most 40 cm2 in a slice; the truncated femur of a real scan is 54 mm long. The lower limits admit
# a child's femur cut off in the neck, the upper ones a tall person's whole femur (560 mm; 45 cm2 at the knee).
_VOLUME_MM3 = (10_000.0, 1_000_000.0)
_LENGTH_MM = (30.0, 600.0)
_MAX_SLICE_MM2 = 6_000.0

# A slice with less than this share of the largest slice's area counts as empty, so that specks do not fill a gap.
_EMPTY_SHARE = 0.005

# Limits of three shares: empty slices, holes, and voxels apart from the largest piece. A mask is flagged above the
# first limit (for empty slices: above 0) and refused above the second. In good references of 85 of these people holes
# are at most 0.1 % and nothing lies apart; in a real one, contours filled by hand, holes are 1.2 %. If only every
# fifth slice is drawn, 80 % are empty; in shells of 3 mm and thresholds at 100 or 200 HU, holes are 51 to 69 %.
_FEW, _MANY = 0.01, 0.1

# Gaps up to this width are bridged before holes are filled and pieces are counted: a threshold leaves cracks in a
# thin cortex, and a growth plate or a fracture does not make two pieces of a femur.
_BRIDGED_MM = 2.0

# The edge of a femur is cortex. In good references, whole or cut to half their length, the share of the edge with
# bone within 3 mm is 86 % or more in 400 people of the shape model, 95 % in a real intact and a real nailed femur,
# and 68 % or more in 60 people with thin cortex and low density. Where it is below 80 %, it drops by at least 11 %
# when the edge is moved by 8 mm in the slice; in no good reference does it rise. Of 532 masks that were turned over,
# moved by 20 mm or spoilt otherwise, the best has 61 % and drops by 7 % at 8 mm; in masks moved by 10 mm the share of
# the moved edge is up to 22 % higher.
_BONE_HU, _NEAR_BONE_MM, _ASIDE_MM = 100.0, 3.0, 8.0
_SURE_NEAR, _LEAST_NEAR = 0.8, 0.64
_LEAST_GAIN, _MOST_LOSS = 0.08, 0.1

# The mean inside the edge minus the mean outside is 29 HU or more in good references of at least two thirds of the
# length, -18 HU where only head and neck are in the mask and the socket surrounds them, -218 HU in masks that are
# 2 mm too small all around, and lower still in masks of the marrow, which cortex surrounds.
_INSIDE_MM, _OUTSIDE_MM = 3.0, (2.0, 5.0)
_MIN_CONTRAST_HU = -250.0
_HU_RANGE = (-200, 1500)  # so that neither air nor metal dominates the mean

_MAX_PIXEL_MM = 5.0  # with larger pixels every place is near bone, so the edge is not judged
_SAMPLED_MM = 5.0  # distance of the slices on which holes and edge are measured
_MARGIN_MM = 10.0  # margin around a mask in the slice; larger than _ASIDE_MM and _OUTSIDE_MM
_FAR_APART_MM = 1e4  # slice distance that keeps distances within a slice


@dataclass(frozen=True, kw_only=True)
class _Body:
    """The non-empty slices (z, y, x) of a mask, cropped to it with a margin.

    `place` holds their slices, rows and columns in the scan, `length_mm` the distance that they span, `empty` the
    number of empty slices between the first and the last one.
    """

    mask_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]
    place: tuple[np.ndarray, slice, slice]
    length_mm: float
    empty: int

    @property
    def pixel_mm2(self) -> float:
        return self.spacing_mm_zyx[1] * self.spacing_mm_zyx[2]

    @property
    def areas_mm2(self) -> np.ndarray:
        return np.count_nonzero(self.mask_zyx, axis=(1, 2)) * self.pixel_mm2

    @property
    def volume_mm3(self) -> float:
        return float(self.areas_mm2.sum() * self.spacing_mm_zyx[0])

    def of(self, image: sitk.Image) -> np.ndarray:
        """Return the same region of a scan on the grid of the mask."""
        slices, rows, columns = self.place
        return sitk.GetArrayViewFromImage(image)[:, rows, columns][slices]

    def every_mm(self, distance_mm: float) -> slice:
        """Return the index range of slices about `distance_mm` apart, or of all slices if they are further apart."""
        return slice(None, None, max(1, round(distance_mm / self.spacing_mm_zyx[0])))


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Bone and intensity at the edge of a mask, measured within slices.

    Attributes:
        near_bone: share of the edge with bone within 3 mm.
        near_aside: the same for the edge moved by 8 mm: the largest share of eight directions in the slice.
        inside_hu: mean up to 3 mm inside the edge, HU.
        outside_hu: mean 2 to 5 mm outside of it, HU.
    """

    near_bone: float
    near_aside: float
    inside_hu: float
    outside_hu: float

    @property
    def contrast_hu(self) -> float:
        """Mean inside the edge minus mean outside, HU."""
        return self.inside_hu - self.outside_hu

    @property
    def is_of_bone(self) -> bool:
        """Whether the edge can be that of a femur."""
        gain = self.near_bone - self.near_aside
        on_bone = self.near_bone >= _SURE_NEAR or (self.near_bone >= _LEAST_NEAR and gain >= _LEAST_GAIN)
        return on_bone and gain >= -_MOST_LOSS and self.contrast_hu >= _MIN_CONTRAST_HU


def judge_reference(mask: sitk.Image, image: sitk.Image | None) -> list[Reason]:
    """Return the reasons why a mask cannot be the reference of a femur, and warnings.

    Args:
        mask: binary, not empty, on patient axes.
        image: the scan in HU on the grid of the mask; None if intensities are not HU. Without it, or with pixels
            above 5 mm, the edge is not judged.

    Returns:
        Any of `mask_implausible`, `mask_gaps`, `mask_in_pieces`, `mask_hollow`, `mask_off_bone` and the warning
        `mask_not_solid`; an empty list for a good reference.
    """
    body = _body_of(mask)
    chosen = body.every_mm(_SAMPLED_MM)
    filled_zyx = _filled(body.mask_zyx[chosen], body.spacing_mm_zyx)
    reasons = [*_check_size(body), *_check_gaps(body), *_check_pieces(body)]
    reasons += _check_hollow(body.mask_zyx[chosen], filled_zyx)
    if image is not None and max(body.spacing_mm_zyx[1:]) <= _MAX_PIXEL_MM:
        reasons += _check_edge(_edge(filled_zyx, body.of(image)[chosen], body.spacing_mm_zyx))
    return reasons


def measure_edge(mask: sitk.Image, image: sitk.Image) -> Edge:
    """Return the edge of a mask (binary, not empty) in a scan (HU) on its grid, as `judge_reference` measures it."""
    body = _body_of(mask)
    chosen = body.every_mm(_SAMPLED_MM)
    filled_zyx = _filled(body.mask_zyx[chosen], body.spacing_mm_zyx)
    return _edge(filled_zyx, body.of(image)[chosen], body.spacing_mm_zyx)


def _body_of(mask: sitk.Image) -> _Body:
    whole_zyx = sitk.GetArrayViewFromImage(mask) != 0
    spacing_mm = spacing_zyx(mask)
    areas = np.count_nonzero(whole_zyx, axis=(1, 2))
    slices = np.flatnonzero(areas > _EMPTY_SHARE * areas.max())
    margins = [int(np.ceil(_MARGIN_MM / edge_mm)) for edge_mm in spacing_mm[1:]]
    ranges = []
    for axes, margin in zip(((0, 2), (0, 1)), margins, strict=True):
        covered = np.flatnonzero(whole_zyx.any(axis=axes))
        ranges.append(slice(max(int(covered[0]) - margin, 0), int(covered[-1]) + 1 + margin))
    spanned = int(slices[-1] - slices[0]) + 1
    return _Body(
        mask_zyx=whole_zyx[slices, *ranges],
        spacing_mm_zyx=spacing_mm,
        place=(slices, *ranges),
        length_mm=spanned * spacing_mm[0],
        empty=spanned - len(slices),
    )


def _check_size(body: _Body) -> list[Reason]:
    measured = (
        ("volume", 1e-3 * body.volume_mm3, 1e-3 * np.array(_VOLUME_MM3), "cm³"),
        ("length", body.length_mm, _LENGTH_MM, "mm"),
        ("largest slice", 1e-2 * body.areas_mm2.max(), (0.0, 1e-2 * _MAX_SLICE_MM2), "cm²"),
    )
    found = [
        f"{name} {value:.4g} {unit}, expected {low:g} to {high:g} {unit}"
        for name, value, (low, high), unit in measured
        if not low <= value <= high
    ]
    return [Reason("mask_implausible", "; ".join(found))] if found else []


def _check_gaps(body: _Body) -> list[Reason]:
    spanned = len(body.mask_zyx) + body.empty
    found = f"{body.empty} of {spanned} slices between the ends of the mask are empty"
    return _grade("mask_gaps", body.empty / spanned, found, 0.0)


def _check_pieces(body: _Body) -> list[Reason]:
    radii = [*_radii(body.spacing_mm_zyx), 0]
    image = sitk.GetImageFromArray(body.mask_zyx.astype(np.uint8))
    joined_zyx = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(image, radii, sitk.sitkBall))
    pieces = np.bincount(label_pieces(joined_zyx, corners=True)[body.mask_zyx])[1:]
    beside = 1.0 - pieces.max() / pieces.sum()
    found = f"{beside:.1%} of the mask lies apart from its largest piece"
    return _grade("mask_in_pieces", beside, found, _FEW)


def _check_hollow(mask_zyx: np.ndarray, filled_zyx: np.ndarray) -> list[Reason]:
    hollow = 1.0 - np.count_nonzero(mask_zyx) / np.count_nonzero(filled_zyx)
    return _grade("mask_hollow", hollow, f"{hollow:.1%} of the enclosed area is not in the mask", _FEW)


def _grade(code: str, share: float, found: str, few: float) -> list[Reason]:
    """Return a refusal for a share above _MANY, a warning above `few`, else nothing."""
    if share > _MANY:
        return [Reason(code, found)]
    return [Reason("mask_not_solid", found)] if share > few else []


def _filled(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> np.ndarray:
    """Return the mask with narrow cracks bridged and holes filled in each slice."""
    radii = _radii(spacing_mm_zyx)
    filled_zyx = np.empty(mask_zyx.shape, bool)
    for filled_yx, mask_yx in zip(filled_zyx, mask_zyx, strict=True):
        # padded, so that the border encloses nothing
        image = sitk.GetImageFromArray(np.pad(mask_yx.astype(np.uint8), 1 + max(radii)))
        closed = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(image, radii, sitk.sitkBall))
        inner = slice(1 + max(radii), -1 - max(radii))
        filled_yx[:] = sitk.GetArrayViewFromImage(closed)[inner, inner]
    return filled_zyx


def _radii(spacing_mm_zyx: tuple[float, float, float]) -> list[int]:
    """Return the radii (x, y), in pixels, of the closing that bridges gaps."""
    return [round(0.5 * _BRIDGED_MM / edge_mm) for edge_mm in spacing_mm_zyx[:0:-1]]


def _edge(filled_zyx: np.ndarray, hu_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> Edge:
    if filled_zyx.all():
        within_hu = float(hu_zyx.mean())
        return Edge(near_bone=0.0, near_aside=0.0, inside_hu=within_hu, outside_hu=within_hu)
    pixel_mm = max(spacing_mm_zyx[1:])
    next_pixel_mm = 1.01 * pixel_mm  # with large pixels the next pixel always counts as near
    depth_mm = _distance_mm(filled_zyx, spacing_mm_zyx)
    to_bone_mm = _distance_mm(hu_zyx > _BONE_HU, spacing_mm_zyx)
    hu = np.clip(hu_zyx, *_HU_RANGE)
    within = depth_mm <= 0
    edge = within & (depth_mm > -next_pixel_mm)
    inside = within & (depth_mm > -max(_INSIDE_MM, next_pixel_mm))
    nearest_mm, furthest_mm = min(_OUTSIDE_MM[0], pixel_mm), max(_OUTSIDE_MM[1], 2 * next_pixel_mm)
    outside = ~within & (depth_mm >= nearest_mm) & (depth_mm <= furthest_mm)
    is_near = to_bone_mm <= max(_NEAR_BONE_MM, next_pixel_mm)
    return Edge(
        near_bone=float(is_near[edge].mean()),
        near_aside=_share_aside(is_near, edge, spacing_mm_zyx),
        inside_hu=float(hu[inside].mean()),
        outside_hu=float(hu[outside].mean()),
    )


def _share_aside(
    is_near: np.ndarray, edge_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]
) -> float:
    """Return the share of an edge near bone after it is moved in the slice: the largest of eight directions."""
    _, rows, columns = is_near.shape
    slices, y, x = np.nonzero(edge_zyx)
    shares = []
    for angle in np.arange(8) * np.pi / 4:
        moved_y = y + round(_ASIDE_MM * np.sin(angle) / spacing_mm_zyx[1])
        moved_x = x + round(_ASIDE_MM * np.cos(angle) / spacing_mm_zyx[2])
        shares.append(is_near[slices, moved_y.clip(0, rows - 1), moved_x.clip(0, columns - 1)].mean())
    return float(max(shares))


def _check_edge(edge: Edge) -> list[Reason]:
    if edge.is_of_bone:
        return []
    found = (
        f"{edge.near_bone:.0%} of the mask's edge lies on bone, and {edge.near_aside:.0%} of the edge moved by 8 mm; "
        f"mean {edge.inside_hu:.0f} HU inside the edge, {edge.outside_hu:.0f} HU outside"
    )
    return [Reason("mask_off_bone", found)]


def _distance_mm(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> np.ndarray:
    """Return the distance of each pixel to the mask's edge in its slice, mm, negative inside the mask."""
    image = sitk.GetImageFromArray(mask_zyx.astype(np.uint8))
    image.SetSpacing((spacing_mm_zyx[2], spacing_mm_zyx[1], _FAR_APART_MM))
    return sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, True))
