"""Density of a proximal femur by region and compartment, and as DXA projects it: everything from one mask of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.axes import FemurGeometry, find_geometry
from lib.anatomy.femur.bone_regions import divide, find_undefined
from lib.calibrated import Calibration
from lib.density.areal import project
from lib.density.bone_voxels import BoneVoxels, cut_out
from lib.density.compartments import measure_compartments
from lib.density.dxa import t_scores
from lib.density.joint_gap import measure_joint_gap
from lib.density_settings import DensityConfig
from lib.imaging.grid import array_zyx, spacing_zyx

_TOLD = ("method", "phantom", "scale", "verdict", "reason")


@dataclass(frozen=True, kw_only=True)
class CalibratedScan:
    """A scan whose bone is measured.

    Attributes:
        image: the converted scan, HU.
        side: `left` or `right`.
        calibration: of its HU; None: it has none.
        config: how regions, compartments and projections are made.
    """

    image: sitk.Image
    side: str
    calibration: Calibration | None
    config: DensityConfig

    def measure(self, masks: Mapping[str, np.ndarray]) -> dict:
        """Return the density of the femur in each mask (bool zyx, on the scan's grid), and the calibration used.

        Returns:
            `calibration` (method, phantom, scale, verdict, reason, flags) and for each mask by its name `geometry`
            (places in LPS mm), `regions` (region -> compartment -> measures), `areal` (region of interest ->
            measures), `joint_gap`, and with a line to DXA `t_scores`.
        """
        used = self.calibration
        told = {name: getattr(used, name) if used else "" for name in _TOLD}
        measured = {name: self._measure_mask(mask_zyx) for name, mask_zyx in masks.items()}
        return {"calibration": told | {"flags": list(used.flags) if used else []}} | measured

    def _measure_mask(self, mask_zyx: np.ndarray) -> dict:
        spacing = spacing_zyx(self.image)
        geometry = find_geometry(mask_zyx, spacing, self.side, self.config)
        undefined = find_undefined(geometry)
        voxels = cut_out(
            array_zyx(self.image), divide(mask_zyx, spacing, geometry), spacing, self._density_of()
        )
        areal, _ = project(voxels, geometry, undefined, self.config.areal)
        scale = self.calibration.scale if self.calibration else ""
        scores = t_scores(areal, scale, self.config.areal.t_score)
        return {
            "geometry": geometry.to_json(self._in_patient),
            "regions": measure_compartments(voxels, undefined, self.config),
            "areal": areal,
            "t_scores": {roi: vars(score) for roi, score in scores.items()},
            "joint_gap": self._joint_gap(voxels, geometry, undefined),
        }

    def _density_of(self) -> Callable[[np.ndarray], np.ndarray] | None:
        usable = self.calibration is not None and self.calibration.is_usable
        return self.calibration.density_mg_cm3 if usable else None

    def _joint_gap(
        self, voxels: BoneVoxels | None, geometry: FemurGeometry, undefined: Mapping[str, str]
    ) -> dict:
        if voxels is None or voxels.density_zyx is None or "head" in undefined:
            return {}
        return vars(measure_joint_gap(voxels, geometry))

    def _in_patient(self, place_xyz_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        index = np.asarray(place_xyz_mm) / self.image.GetSpacing()
        return self.image.TransformContinuousIndexToPhysicalPoint(index.tolist())
