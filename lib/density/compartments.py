"""Volumetric density of the regions of a femur, and of compartments of them: integral, trabecular, cortical, other.

vBMD is the mean density of a compartment in mg/cm3, BMC the mass of its mineral: vBMD x volume. Densities below zero
(marrow fat) count as they are.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from lib.catalog.bone_parts import COMPARTMENTS, COMPOSITES, REGIONS
from lib.density.bone_voxels import BoneVoxels, has_label
from lib.density_settings import CORTICAL_DEPTH_MM, DensityConfig

FEWEST_VOXELS = 200
# The surface lies before the nearest voxel outside by an eighth of the longest edge of a voxel: the best fit to
# spheres and cylinders of 15 to 23 mm in eight grids with slices of 0.6 to 5 mm.
_SURFACE_EDGES = 1 / 8

NEEDS_DENSITIES = "compartments are told apart by density, and {}"
TOO_FEW = "fewer than {} voxels: {}"

_MEANS = ("hu_mean", "hu_sd")
_DENSITIES = ("vbmd_mg_cm3", "vbmd_sd_mg_cm3", "bmc_mg")
_ROBUST = {"vbmd_eroded_mg_cm3": "eroded", "vbmd_dilated_mg_cm3": "dilated"}

Measured = dict[str, dict[str, dict]]


def measure_compartments(
    voxels: BoneVoxels | None, undefined: Mapping[str, str], config: DensityConfig
) -> Measured:
    """Measure each region and composite region by compartment.

    - integral: the whole region;
    - trabecular: at least `peel_mm` below the surface of the bone, and density below `cortical_mg_cm3`;
    - cortical: less than 7 mm below the surface, and density of `cortical_mg_cm3` or more;
    - other: the rest, so that the three add up to integral.

    The depth is the Euclidean distance from the bone's surface in mm. Planes between regions and the cut at the lower
    end of the mask are no surface. The threshold belongs to the scale and the blur of the scan.

    Args:
        voxels: the bone, divided into `REGIONS`; None: there is nothing to measure.
        undefined: regions that cannot be measured, with the reason; composites of them cannot be measured, too.
        config: the settings.

    Returns:
        region -> compartment -> `voxels`, `volume_mm3`, `hu_mean`, `hu_sd`, `vbmd_mg_cm3`, `vbmd_sd_mg_cm3` and
        `bmc_mg`, for integral also `vbmd_eroded_mg_cm3` and `vbmd_dilated_mg_cm3`, the vBMD if the mask is eroded or
        dilated by a voxel; `undefined` gives the reason for each value that is None: the region is not known, the
        scan has no calibration, or a compartment has fewer than 200 voxels.
    """
    wanted = {name: (name,) for name in REGIONS} | dict(COMPOSITES)
    reasons = {
        name: next((undefined[part] for part in parts if part in undefined), "")
        for name, parts in wanted.items()
    }
    if voxels is None:
        return {name: _unknown(reason) for name, reason in reasons.items()}
    classes = _classes(voxels, config)
    robust = {} if voxels.density_zyx is None else _changed_borders(voxels.labels_zyx)
    measured = {}
    for name, parts in wanted.items():
        if reasons[name]:
            measured[name] = _unknown(reasons[name])
            continue
        values = [REGIONS[part] for part in parts]
        region_zyx = has_label(voxels.labels_zyx, values)
        measured[name] = {
            compartment: _of_compartment(voxels, region_zyx, classes, compartment)
            for compartment in COMPARTMENTS
        }
        _add_robust(measured[name]["integral"], voxels, robust, values)
    return measured


def depth_mm(bone_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> np.ndarray:
    """Return the distance of the centre of each voxel from the surface of a bone, mm; 0 outside.

    Where the bone reaches the border of the array it is cut, and has no surface. For slices of up to 3 mm the volume
    deeper than 3 mm of spheres and cylinders of a femur's size is right to 2.5 % on average.
    """
    if bone_zyx.all():
        return np.full(bone_zyx.shape, np.inf)
    outside_mm = ndimage.distance_transform_edt(bone_zyx, sampling=spacing_mm_zyx)
    return np.maximum(outside_mm - _SURFACE_EDGES * max(spacing_mm_zyx), 0.0)


def _classes(voxels: BoneVoxels, config: DensityConfig) -> dict[str, np.ndarray]:
    """Return the voxels of each compartment but integral; empty without densities."""
    if voxels.density_zyx is None:
        return {}
    bone_zyx = voxels.labels_zyx > 0
    deep_mm = depth_mm(bone_zyx, voxels.spacing_mm_zyx)
    dense_zyx = voxels.density_zyx >= config.cortical_mg_cm3
    trabecular = bone_zyx & (deep_mm >= config.peel_mm) & ~dense_zyx
    cortical = bone_zyx & (deep_mm < CORTICAL_DEPTH_MM) & dense_zyx
    return {"trabecular": trabecular, "cortical": cortical, "other": bone_zyx & ~(trabecular | cortical)}


def _of_compartment(
    voxels: BoneVoxels, region_zyx: np.ndarray, classes: Mapping[str, np.ndarray], name: str
) -> dict:
    """Return what is measured of a compartment of a region."""
    if name != "integral" and not classes:
        return _unknown(NEEDS_DENSITIES.format(voxels.no_density))[name]
    chosen_zyx = region_zyx if name == "integral" else region_zyx & classes[name]
    count = int(np.count_nonzero(chosen_zyx))
    volume_mm3 = count * voxels.voxel_mm3
    found = {"voxels": count, "volume_mm3": volume_mm3, **dict.fromkeys((*_MEANS, *_DENSITIES))}
    if count < FEWEST_VOXELS:
        return found | {
            "undefined": dict.fromkeys((*_MEANS, *_DENSITIES), TOO_FEW.format(FEWEST_VOXELS, count))
        }
    hu = voxels.hu_zyx[chosen_zyx]
    found |= {"hu_mean": float(hu.mean()), "hu_sd": float(hu.std(ddof=1))}
    if voxels.density_zyx is None:
        return found | {"undefined": dict.fromkeys(_DENSITIES, voxels.no_density)}
    density = voxels.density_zyx[chosen_zyx]
    mean = float(density.mean())
    found |= {
        "vbmd_mg_cm3": mean,
        "vbmd_sd_mg_cm3": float(density.std(ddof=1)),
        "bmc_mg": mean * volume_mm3 / 1000.0,
    }
    return found | {"undefined": {}}


def _add_robust(
    integral: dict, voxels: BoneVoxels, borders: Mapping[str, np.ndarray], values: list[int]
) -> None:
    """Add the vBMD of a region with its outer border moved by a voxel."""
    for name, border in _ROBUST.items():
        integral[name] = None
        if not borders:
            integral["undefined"][name] = voxels.no_density
            continue
        density = voxels.density_zyx[has_label(borders[border], values)]
        if len(density) < FEWEST_VOXELS:
            integral["undefined"][name] = TOO_FEW.format(FEWEST_VOXELS, len(density))
        else:
            integral[name] = float(density.mean())


def _changed_borders(labels_zyx: np.ndarray) -> dict[str, np.ndarray]:
    """Return the regions with the bone eroded, and dilated, by a voxel; ends of the array are no border.

    A voxel that is new gets the largest label among those it touches.
    """
    kept = ndimage.binary_erosion(labels_zyx > 0, border_value=1)
    grown = labels_zyx.copy()
    for axis in range(3):
        for here, there in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            target, source = ((slice(None),) * axis + (part,) for part in (here, there))
            new = labels_zyx[target] == 0
            grown[target][new] = np.maximum(grown[target], labels_zyx[source])[new]
    return {"eroded": labels_zyx * kept, "dilated": grown}


def _unknown(reason: str) -> dict[str, dict]:
    """Return the compartments of a region that cannot be measured."""
    names = ("voxels", "volume_mm3", *_MEANS, *_DENSITIES)
    found = {
        compartment: dict.fromkeys(names) | {"undefined": dict.fromkeys(names, reason)}
        for compartment in COMPARTMENTS
    }
    for name in _ROBUST:
        found["integral"][name] = None
        found["integral"]["undefined"][name] = reason
    return found
