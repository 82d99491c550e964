"""Density of a proximal femur by region and compartment, and as DXA projects it: everything from one mask of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.axes import FemurGeometry, find_geometry
from lib.anatomy.femur.bone_regions import divide, find_undefined
from lib.calibrated import Calibration
from lib.catalog.calibration import METAL_NEARBY, NO_CALIBRATION, refused_in_words
from lib.density.areal import Projection, project
from lib.density.bone_voxels import BoneVoxels, cut_out
from lib.density.compartments import measure_compartments
from lib.density.dxa import t_scores
from lib.density.joint_gap import measure_joint_gap
from lib.density_settings import DensityConfig
from lib.imaging.grid import array_zyx, spacing_zyx

_TOLD = ("method", "phantom", "scale", "verdict", "reason")


@dataclass(frozen=True, kw_only=True)
class MeasuredBone:
    """What was measured of a scan's bone in each mask.

    Attributes:
        section: `calibration` (method, phantom, scale, verdict, reason, flags; `no_density`: why the bone has none)
            and for each mask by its name `geometry` (places in LPS mm), `regions` (region -> compartment ->
            measures), `areal` (region of interest -> measures), `joint_gap`, and with a line to DXA `t_scores`.
        projections: the projected bone in each mask by its name; None without densities or without a neck.
    """

    section: dict
    projections: Mapping[str, Projection | None]


@dataclass(frozen=True, kw_only=True)
class CalibratedScan:
    """A scan whose bone is measured.

    Attributes:
        image: the converted scan, HU.
        side: `left` or `right`.
        calibration: of its HU; None: it has none.
        config: how regions, compartments and projections are made.
        has_metal: whether there is metal near the bone, which then has no density.
    """

    image: sitk.Image
    side: str
    calibration: Calibration | None
    config: DensityConfig
    has_metal: bool = False

    def measure(self, masks: Mapping[str, np.ndarray]) -> MeasuredBone:
        """Return the density of the femur in each mask (bool zyx, on the scan's grid), and the calibration used."""
        used = self.calibration
        told = {name: getattr(used, name) if used else "" for name in _TOLD} | {
            "no_density": self._no_density()
        }
        found = {name: self._measure_mask(mask_zyx) for name, mask_zyx in masks.items()}
        return MeasuredBone(
            section={"calibration": told | {"flags": list(used.flags) if used else []}}
            | {name: measured for name, (measured, _) in found.items()},
            projections={name: projection for name, (_, projection) in found.items()},
        )

    def _measure_mask(self, mask_zyx: np.ndarray) -> tuple[dict, Projection | None]:
        spacing = spacing_zyx(self.image)
        geometry = find_geometry(mask_zyx, spacing, self.side, self.config)
        undefined = find_undefined(geometry)
        labels_zyx, why = divide(mask_zyx, spacing, geometry), self._no_density()
        density_of = None if why else self.calibration.density_mg_cm3
        voxels = cut_out(array_zyx(self.image), labels_zyx, spacing, density_of, why)
        areal, projection = project(voxels, geometry, undefined, self.config.areal)
        scale = self.calibration.scale if self.calibration else ""
        scores = t_scores(areal, scale, self.config.areal.t_score)
        measured = {
            "geometry": geometry.to_json(self._in_patient),
            "regions": measure_compartments(voxels, undefined, self.config),
            "areal": areal,
            "t_scores": {roi: vars(score) for roi, score in scores.items()},
            "joint_gap": self._joint_gap(voxels, geometry, undefined),
        }
        return measured, projection

    def _no_density(self) -> str:
        """Return why the bone has no density; empty: it has one."""
        if self.calibration is None:
            return NO_CALIBRATION
        if not self.calibration.is_usable:
            return refused_in_words(self.calibration.reason)
        return METAL_NEARBY if self.has_metal else ""

    def _joint_gap(
        self, voxels: BoneVoxels | None, geometry: FemurGeometry, undefined: Mapping[str, str]
    ) -> dict:
        if voxels is None or voxels.density_zyx is None or "head" in undefined:
            return {}
        return vars(measure_joint_gap(voxels, geometry))

    def _in_patient(self, place_xyz_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        index = np.asarray(place_xyz_mm) / self.image.GetSpacing()
        return self.image.TransformContinuousIndexToPhysicalPoint(index.tolist())
