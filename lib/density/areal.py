"""Areal density of the proximal femur: the mineral of a calibrated CT projected as a DXA scanner sees it.

The idea is that of CTXA (Cann et al. 2014): the bone is posed like a leg turned inwards for DXA, and its density is
summed from front to back, without the soft tissue. The values are those of a CT and not of a DXA scanner.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from lib.catalog.bone_parts import COMPOSITES, REGIONS, ROIS
from lib.density.bone_voxels import BoneVoxels
from lib.density_settings import ArealConfig

# A pixel belongs to the projection of a region if the bone of the region in it is at least this thick, as a mean over
# the pixel, and at least this share of the thickest of the pixels around it.
_THINNEST_MM = 1.0
_SHARE_OF_NEIGHBOURS = 0.3
# Pixels around the projection.
_MARGIN = 3

NO_BONE = "no bone lies in the region of interest"

Point = tuple[float, float, float]


class Pose(Protocol):
    """The landmarks that pose a femur, as `lib.anatomy.femur.axes.FemurGeometry` has them."""

    side: str
    head_center_xyz_mm: Point | None
    neck_axis_xyz: Point | None
    isthmus_mm: float | None
    shaft_axis_xyz: Point


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The projected bone. Rows go upwards along the shaft, columns to the patient's left.

    Attributes:
        pixel_mm: edge of a pixel.
        density_g_cm2: areal density of all regions, (rows, columns).
        regions: value in `REGIONS` of the region with most bone in each pixel, 0 where there is none, uint8.
        rois: region of interest -> its pixels, bool (rows, columns); only those that are defined.
        neck_box_px: corners of the neck's box, (4, 2) as column and row; None: no bone lies in it.
        axis_px: the head's centre and the middle of the isthmus, (2, 2) as column and row.
    """

    pixel_mm: float
    density_g_cm2: np.ndarray
    regions: np.ndarray
    rois: Mapping[str, np.ndarray]
    neck_box_px: np.ndarray | None
    axis_px: np.ndarray


def project(
    voxels: BoneVoxels | None, pose: Pose, undefined: Mapping[str, str], config: ArealConfig
) -> tuple[dict[str, dict], Projection | None]:
    """Project a femur from front to back and measure the areal density of total hip, neck and trochanter.

    The bone is turned so that the shaft's axis is upright and the neck's axis lies in the plane of the picture. The
    mineral of each voxel, density x volume, is laid on the pixels with its volume: voxels are divided until no part
    is longer than a pixel, and each part is shared by the four nearest pixels. So the sum over all pixels is the BMC
    of the voxels, while a rotated grid that is interpolated loses some.

    - total: neck and trochanter;
    - trochanter;
    - neck: a box of `neck_box_mm` along the neck's axis, with its middle at the isthmus and as wide as the bone. Only
      the piece of bone on the axis counts in it, not the tip of the greater trochanter beside the neck.

    Args:
        voxels: the bone, divided into `REGIONS`; None: there is nothing to measure.
        pose: its landmarks.
        undefined: regions that cannot be measured, with the reason.
        config: the settings.

    Returns:
        - region of interest -> `area_cm2`, `bmc_g`, `abmd_g_cm2` (BMC / area), and `undefined` with the reason for
          each value that is None;
        - the projection; None without densities or without a neck.
    """
    parts = {roi: COMPOSITES.get(roi, (roi,)) for roi in ROIS}
    reasons = {roi: next((undefined[name] for name in parts[roi] if name in undefined), "") for roi in ROIS}
    if voxels is None or voxels.density_zyx is None:
        nothing = NO_BONE if voxels is None else voxels.no_density
        return {roi: _unknown(reasons[roi] or nothing) for roi in ROIS}, None
    if "neck" in undefined:
        return {roi: _unknown(reasons[roi]) for roi in ROIS}, None
    frame = _Frame.of(voxels, pose, config.pixel_mm)
    volume, mineral = frame.lay(voxels)
    measured, chosen = {}, {}
    for roi in ROIS:
        if reasons[roi]:
            measured[roi] = _unknown(reasons[roi])
            continue
        labels = list(REGIONS.values()) if roi == "neck" else [REGIONS[name] for name in parts[roi]]
        chosen[roi] = _is_bone(volume[labels].sum(axis=0) / config.pixel_mm**2)
        mass_mg = mineral[labels].sum(axis=0)
        if roi == "neck":
            chosen[roi] = frame.piece_in_box(chosen[roi], pose.isthmus_mm, config.neck_box_mm)
            mass_mg = mass_mg * chosen[roi]
        measured[roi] = _areal(chosen[roi], mass_mg.sum(), config.pixel_mm)
    return measured, frame.picture(volume, mineral, chosen, (pose.isthmus_mm, config.neck_box_mm))


def _areal(chosen: np.ndarray, bmc_mg: float, pixel_mm: float) -> dict:
    """Return area, BMC and areal density of the chosen pixels."""
    if not chosen.any():
        return _unknown(NO_BONE)
    area_cm2, bmc_g = float(np.count_nonzero(chosen) * pixel_mm**2 / 100.0), float(bmc_mg / 1000.0)
    return {"area_cm2": area_cm2, "bmc_g": bmc_g, "abmd_g_cm2": bmc_g / area_cm2, "undefined": {}}


def _unknown(reason: str) -> dict:
    names = ("area_cm2", "bmc_g", "abmd_g_cm2")
    return dict.fromkeys(names) | {"undefined": dict.fromkeys(names, reason)}


def _is_bone(thickness_mm: np.ndarray) -> np.ndarray:
    """Return the pixels that belong to a projected body, from its mean thickness in each."""
    around_mm = ndimage.maximum_filter(thickness_mm, 3)
    return (thickness_mm >= _THINNEST_MM) & (thickness_mm >= _SHARE_OF_NEIGHBOURS * around_mm)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The plane of the projection.

    Attributes:
        axes: unit vectors of columns and rows in the scan's frame, (2, 3).
        neck: the neck's axis in columns and rows, (2,).
        center_mm: the head's centre in columns and rows, mm, (2,).
        first_mm: middle of pixel (0, 0), mm, (2,).
        shape: rows and columns.
        pixel_mm: edge of a pixel.
    """

    axes: np.ndarray
    neck: np.ndarray
    center_mm: np.ndarray
    first_mm: np.ndarray
    shape: tuple[int, int]
    pixel_mm: float

    @classmethod
    def of(cls, voxels: BoneVoxels, pose: Pose, pixel_mm: float) -> "_Frame":
        """Return the frame that holds all voxels of a bone."""
        up, neck = np.array(pose.shaft_axis_xyz), np.array(pose.neck_axis_xyz)
        lateral = neck - (neck @ up) * up
        lateral /= np.linalg.norm(lateral)
        axes = np.stack([lateral if pose.side == "left" else -lateral, up])
        points_mm = voxels.points_xyz_mm(voxels.labels_zyx > 0) @ axes.T
        room_mm = 0.5 * np.abs(axes) @ np.array(voxels.spacing_mm_zyx[::-1]) + _MARGIN * pixel_mm
        first_mm = points_mm.min(axis=0) - room_mm
        columns, rows = np.ceil((points_mm.max(axis=0) + room_mm - first_mm) / pixel_mm).astype(int) + 1
        return cls(
            axes=axes,
            neck=axes @ neck,
            center_mm=axes @ np.array(pose.head_center_xyz_mm),
            first_mm=first_mm,
            shape=(int(rows), int(columns)),
            pixel_mm=pixel_mm,
        )

    def lay(self, voxels: BoneVoxels) -> tuple[np.ndarray, np.ndarray]:
        """Return volume (mm3) and mineral (mg) of each label in each pixel, (labels, rows, columns)."""
        bone_zyx = voxels.labels_zyx > 0
        labels = voxels.labels_zyx[bone_zyx].astype(np.int64)
        places_px = (voxels.points_xyz_mm(bone_zyx) @ self.axes.T - self.first_mm) / self.pixel_mm
        offsets_px = self._offsets_px(voxels.spacing_mm_zyx)
        share_mm3 = voxels.voxel_mm3 / len(offsets_px)
        size = self.shape[0] * self.shape[1]
        count, total = max(REGIONS.values()) + 1, np.zeros((2, (max(REGIONS.values()) + 1) * size))
        density = voxels.density_zyx[bone_zyx]
        for offset_px in offsets_px:
            pixels, weights = self._share(places_px + offset_px)
            bins = (labels * size + pixels).ravel()
            total[0] += np.bincount(bins, weights.ravel(), total.shape[1])
            total[1] += np.bincount(bins, (weights * density).ravel(), total.shape[1])
        volume, mass = share_mm3 * total.reshape(2, count, *self.shape)
        return volume, mass / 1000.0  # mm3 mg/cm3 = mg / 1000

    def _offsets_px(self, spacing_mm_zyx: tuple[float, float, float]) -> np.ndarray:
        """Return the places of the parts of a voxel from its centre, in pixels, (parts, 2)."""
        along = []
        for step_mm in spacing_mm_zyx[::-1]:
            parts = int(np.ceil(step_mm / self.pixel_mm - 1e-6))
            along.append(((np.arange(parts) + 0.5) / parts - 0.5) * step_mm)
        return np.array(list(itertools.product(*along))) @ self.axes.T / self.pixel_mm

    def _share(self, places_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the four pixels around each place (columns, rows), and their shares, (4, n) each."""
        low = np.floor(places_px).astype(np.int64)
        beyond = places_px - low
        first = low[:, 1] * self.shape[1] + low[:, 0]
        pixels = np.stack([first, first + 1, first + self.shape[1], first + self.shape[1] + 1])
        x, y = beyond.T
        return pixels, np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])

    def picture(
        self,
        volume: np.ndarray,
        mineral: np.ndarray,
        rois: Mapping[str, np.ndarray],
        box_mm: tuple[float, float],
    ) -> Projection:
        """Return the projection for pictures; `box_mm` is the middle and the width of the neck's box."""
        bone = _is_bone(volume.sum(axis=0) / self.pixel_mm**2)
        ends_mm = self.center_mm + np.outer((0.0, box_mm[0]), self.neck)
        return Projection(
            pixel_mm=self.pixel_mm,
            density_g_cm2=0.1 * mineral.sum(axis=0) / self.pixel_mm**2,  # mg / mm2 = 0.1 g / cm2
            regions=np.where(bone, volume.argmax(axis=0), 0).astype(np.uint8),
            rois=rois,
            neck_box_px=self.box_corners_px(*box_mm, rois["neck"]) if rois["neck"].any() else None,
            axis_px=(ends_mm - self.first_mm) / self.pixel_mm,
        )

    def piece_in_box(self, bone: np.ndarray, middle_mm: float, width_mm: float) -> np.ndarray:
        """Return the pixels of bone in a band across the neck's axis, only the piece nearest to the axis.

        Args:
            bone: pixels of bone, bool (rows, columns).
            middle_mm: place of the band's middle along the axis from the head's centre.
            width_mm: width of the band.
        """
        rows, columns = np.indices(self.shape)
        places_mm = np.stack([columns, rows], axis=-1) * self.pixel_mm + self.first_mm - self.center_mm
        inside = bone & (np.abs(places_mm @ self.neck - middle_mm) <= 0.5 * width_mm)
        if not inside.any():
            return inside
        pieces, _ = ndimage.label(inside)
        away_mm = np.linalg.norm(places_mm - middle_mm * self.neck, axis=-1)
        return pieces == pieces[inside][away_mm[inside].argmin()]

    def box_corners_px(self, middle_mm: float, width_mm: float, bone: np.ndarray) -> np.ndarray:
        """Return the corners of the box around the bone in the band, (4, 2) as column and row."""
        rows, columns = np.nonzero(bone)
        places_mm = np.stack([columns, rows], axis=-1) * self.pixel_mm + self.first_mm - self.center_mm
        across = np.array([-self.neck[1], self.neck[0]])
        low, high = (places_mm @ across).min(), (places_mm @ across).max()
        ends = (middle_mm - 0.5 * width_mm, middle_mm + 0.5 * width_mm)
        corners_mm = [
            along * self.neck + away * across
            for along, away in ((ends[0], low), (ends[1], low), (ends[1], high), (ends[0], high))
        ]
        return (np.array(corners_mm) + self.center_mm - self.first_mm) / self.pixel_mm
