"""Draw docs/images/femur-regions.png: a synthetic femur, divided and projected. Run `python docs/pictures.py`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lib.anatomy.femur.axes import find_geometry  # noqa: E402
from lib.anatomy.femur.bone_regions import divide, find_undefined  # noqa: E402
from lib.density.areal import project  # noqa: E402
from lib.density.bone_voxels import cut_out  # noqa: E402
from lib.density.compartments import depth_mm  # noqa: E402
from lib.density_settings import DensityConfig  # noqa: E402
from lib.figures.areal_picture import ProjectedFemur, draw_projection  # noqa: E402
from lib.phantom.anatomy.shape import build_hip_shape, head_top_mm, load_shape_model  # noqa: E402
from lib.phantom.voxelize import VoxelGrid, coverage  # noqa: E402

PICTURE = ROOT / "docs/images/femur-regions.png"
SPACING_MM_ZYX = (1.0, 0.8, 0.8)
_BELOW_TOP_MM, _ROOM_MM = 125.0, 5.0
# a shell of dense bone around spongy bone, mg/cm3
_CORTEX_MG_CM3, _SPONGY_MG_CM3, _CORTEX_MM = 900.0, 130.0, 2.5


def mean_femur() -> np.ndarray:
    """Return the mask of the shape model's mean left femur down to 125 mm below the head's top, bool zyx."""
    femur = build_hip_shape(np.zeros(len(load_shape_model().modes_xyz_mm)), 1.0, np.zeros((2, 3))).femurs[0]
    seen = femur.vertices_xyz_mm[femur.vertices_xyz_mm[:, 2] > head_top_mm(femur) - _BELOW_TOP_MM]
    low, high = seen.min(axis=0) - _ROOM_MM, seen.max(axis=0) + _ROOM_MM
    low[2] += _ROOM_MM
    spacing = np.array(SPACING_MM_ZYX[::-1])
    size = tuple(int(count) for count in np.ceil((high - low) / spacing))
    grid = VoxelGrid(origin_xyz_mm=tuple(low), spacing_xyz_mm=tuple(spacing), size_xyz=size)
    return coverage(femur, grid, 2) >= 0.5


def femur_regions() -> Image.Image:
    """Return the picture of docs/regions.md."""
    mask_zyx, config = mean_femur(), DensityConfig()
    geometry = find_geometry(mask_zyx, SPACING_MM_ZYX, "left", config)
    labels_zyx = divide(mask_zyx, SPACING_MM_ZYX, geometry)
    shell = np.exp(-((depth_mm(mask_zyx, SPACING_MM_ZYX) / _CORTEX_MM) ** 2))
    density_zyx = _SPONGY_MG_CM3 + (_CORTEX_MG_CM3 - _SPONGY_MG_CM3) * shell
    voxels = cut_out(density_zyx, labels_zyx, SPACING_MM_ZYX, lambda values: values)
    measured, made = project(voxels, geometry, find_undefined(geometry), config.areal)
    return draw_projection(
        ProjectedFemur(name="Shape model", side="left", projection=made, measured=measured, scale="synthetic")
    )


if __name__ == "__main__":
    femur_regions().save(PICTURE, optimize=True)
    print(f"written: {PICTURE}")
