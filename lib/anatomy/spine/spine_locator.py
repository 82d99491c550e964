"""The search for the lumbar column in a CT: the bone near the middle of the body, in its posterior part."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.anatomy.coarse import CoarseBone, ImageAxes, coarse_bone
from lib.anatomy.protocol import Location
from lib.catalog.reasons import Reason
from lib.crop_settings import CropConfig
from lib.errors import ScanError
from lib.imaging.crop import CropCenter, UpperEnd

# The column lies this near to the middle of the body, also with scoliosis; ribs and iliac wings do not.
_BESIDE_MM = 60.0
# It lies in this share of the body's depth, counted from the back.
_POSTERIOR_SHARE = 0.6
# Ends of the body, front and back, as shares of all tissue: arms, blankets and noise lie beyond.
_BODY_SHARES = (0.01, 0.99)
# A slice through a vertebra has at least so much dense bone, mm2; a slice through a disc may have less.
_MIN_BONE_MM2 = 150.0
_MEDIAN_MM = 30.0
_MIN_SHARE, _SURE_SHARE = 0.3, 0.7  # of the slices with bone
_MAX_SPREAD_MM = 35.0
_MAX_OFF_MIDDLE_MM = 40.0
# half the width of a large vertebral body, and half the depth of one of mean size and of a large one (Clouthier et
# al. 2023: 58.8 mm; 29.5 to 42.0 mm)
_HALF_WIDTH_MM, _HALF_DEPTH_MM, _LARGE_HALF_DEPTH_MM = 30.0, 17.5, 21.0
# Bone this near to the column's centre, left to right, is vertebra; its front is where this share of it lies further
# forward, because specks of calcium in the aorta do.
_CORE_MM, _FRONT_SHARE = 25.0, 0.03
_MIDDLE_HALF = (0.25, 0.75)


@dataclass(frozen=True, kw_only=True)
class _Column:
    """The centre of the vertebral body on each slice with bone, after a running median: mm along the image's axes.

    Left to right it is the centre of the bone. Front to back it lies behind the front of the bone by half a body's
    depth: the centre of the bone, most of which may be arch, lies at the back of the body.
    """

    x_mm: np.ndarray
    y_mm: np.ndarray
    share: float


class SpineLocator:
    """See `lib.anatomy.protocol.Locator`."""

    near_mm = _BESIDE_MM

    def locate(self, image: sitk.Image, side: str, config: CropConfig) -> Location:
        """Find the column of vertebrae in a CT (HU); index axes must be those nearest to the patient's.

        Returns:
            The median over slices of the centre of the vertebral body, from bone within 60 mm of the trunk's middle
            and in its posterior 60 %. In the evidence, `bone_share` is the share of slices with bone,
            `lateral_spread_mm` the width over which the column wanders.

        Raises:
            ScanError: `not_in_view`.
        """
        axes = ImageAxes(image=image)
        coarse = coarse_bone(axes, config.bone_hu)
        column = _find_column(coarse, _behind(coarse))
        if column.share < _MIN_SHARE:
            raise ScanError(
                "not_in_view",
                f"only {column.share:.0%} of the slices hold bone in the middle of the body's back; expected at "
                f"least {_MIN_SHARE:.0%}",
            )
        center_xy = float(np.median(column.x_mm)), float(np.median(column.y_mm))
        evidence = {
            "bone_share": column.share,
            "lateral_spread_mm": float(np.ptp(column.x_mm)),
            "body_x_mm": coarse.body_x_mm,
        }
        doubts = _doubts(evidence, center_xy[0])
        return Location(side=side, center_mm_xy=axes.column_mm(center_xy), evidence=evidence, doubts=doubts)

    def judge_given(self, image: sitk.Image, given: Location, config: CropConfig) -> list[Reason]:
        """Compare the table's centre with the column that is found in the image, if one is found."""
        try:
            found = self.locate(image, given.side, config)
        except ScanError:
            return []
        apart_mm = math.dist(given.center_mm_xy, found.center_mm_xy)
        if apart_mm <= _BESIDE_MM:
            return []
        x_mm, y_mm = found.center_mm_xy
        words = f"the given centre lies {apart_mm:.0f} mm from the spine found at ({x_mm:.0f}, {y_mm:.0f}) mm"
        return [Reason("crop_uncertain", words)]

    def find_upper_end(self, location: Location, config: CropConfig) -> UpperEnd | None:
        """Return None: both ends of the scan stay, because sacrum and ribs tell the levels."""
        return None

    def measure_margins(
        self, window: sitk.Image, in_view: tuple[slice, slice], center: CropCenter, config: CropConfig
    ) -> Mapping[str, float]:
        """Measure from the outermost vertebral body to the right, left, front and back border.

        A body reaches 30 mm to both sides of the column, 21 mm to its front and back. Front and back are those of the
        middle half of the slices: behind may lie the sacrum, which a window may cut, in front calcium of the aorta.
        """
        part = window[in_view[0], in_view[1]]
        axes = ImageAxes(image=part)
        coarse = coarse_bone(axes, config.bone_hu)
        column = _find_column(coarse, np.ones(coarse.density_zyx.shape[1], bool))
        if not column.x_mm.size:
            return {}
        first_mm = axes.origin_mm_xyz[:2]
        last_mm = first_mm + (np.array(part.GetSize()[:2]) - 1) * part.GetSpacing()[:2]
        x_mm, y_mm = column.x_mm, np.quantile(column.y_mm, _MIDDLE_HALF)
        return {
            "right": float(x_mm.min() - _HALF_WIDTH_MM - first_mm[0]),
            "left": float(last_mm[0] - x_mm.max() - _HALF_WIDTH_MM),
            "front": float(y_mm[0] - _LARGE_HALF_DEPTH_MM - first_mm[1]),
            "back": float(last_mm[1] - y_mm[1] - _LARGE_HALF_DEPTH_MM),
        }


def _find_column(coarse: CoarseBone, planes_y: np.ndarray) -> _Column:
    """Return the centre of the vertebral body of each slice, from bone in some coronal planes (bool)."""
    beside_x = np.abs(coarse.positions_mm(2) - coarse.body_x_mm) <= _BESIDE_MM
    density_zyx = coarse.density_zyx * (planes_y[:, None] & beside_x)
    weight_z = density_zyx.sum(axis=(1, 2))
    has_bone = weight_z * np.prod(coarse.spacing_mm_zyx[1:]) >= _MIN_BONE_MM2
    if not has_bone.any():
        return _Column(x_mm=np.empty(0), y_mm=np.empty(0), share=0.0)
    weight_z, density_zyx = weight_z[has_bone], density_zyx[has_bone]
    reach = max(1, round(0.5 * _MEDIAN_MM / coarse.spacing_mm_zyx[0]))
    x_mm = _running_median(density_zyx.sum(axis=1) @ coarse.positions_mm(2) / weight_z, reach)
    core_zx = np.abs(coarse.positions_mm(2) - x_mm[:, None]) <= _CORE_MM
    front_mm = _front_mm(np.einsum("zyx,zx->zy", density_zyx, core_zx), coarse.positions_mm(1))
    return _Column(
        x_mm=x_mm, y_mm=_running_median(front_mm, reach) + _HALF_DEPTH_MM, share=float(has_bone.mean())
    )


def _front_mm(density_zy: np.ndarray, positions_mm: np.ndarray) -> np.ndarray:
    """Return where the bone of each slice begins, seen from the front."""
    shares = np.cumsum(density_zy, axis=1)
    shares /= np.maximum(shares[:, -1:], 1e-9)
    return np.array([np.interp(_FRONT_SHARE, row, positions_mm) for row in shares])


def _behind(coarse: CoarseBone) -> np.ndarray:
    """Return which coronal planes (y) lie in the posterior part of the body."""
    shares = np.cumsum(coarse.tissue_y) / max(coarse.tissue_y.sum(), 1)
    front, back = np.interp(_BODY_SHARES, shares, coarse.positions_mm(1))
    return coarse.positions_mm(1) >= back - _POSTERIOR_SHARE * (back - front)


def _running_median(values: np.ndarray, reach: int) -> np.ndarray:
    """Return the median of each value and its `reach` neighbours on both sides, fewer at the ends."""
    return np.array([np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])


def _doubts(evidence: Mapping[str, float], center_x_mm: float) -> tuple[str, ...]:
    doubts = []
    if evidence["bone_share"] < _SURE_SHARE:
        doubts.append(f"only {evidence['bone_share']:.0%} of the slices hold bone of a spine")
    if evidence["lateral_spread_mm"] > _MAX_SPREAD_MM:
        doubts.append(f"it wanders over {evidence['lateral_spread_mm']:.0f} mm from side to side")
    off_mm = abs(center_x_mm - evidence["body_x_mm"])
    if off_mm > _MAX_OFF_MIDDLE_MM:
        doubts.append(f"it lies {off_mm:.0f} mm from the middle of the body")
    return tuple(doubts)
