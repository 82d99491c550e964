"""A crop around one structure for a network that reads a number: cubic voxels, fixed size, HU and mask."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

_AIR_HU = -1000


def crop_around(
    image: sitk.Image,
    mask_zyx: np.ndarray,
    center_mm_xyz: Sequence[float],
    size: Sequence[int],
    voxel_mm: float,
) -> tuple[sitk.Image, sitk.Image]:
    """Return image and mask around a point, on one grid.

    Args:
        image: the converted scan (int16, HU).
        mask_zyx: bool (z, y, x), the structure on the scan's grid.
        center_mm_xyz: centre of the crop, LPS mm.
        size: voxels of the crop along x, y, z.
        voxel_mm: edge of its voxels, mm.

    Returns:
        the intensities by trilinear interpolation (int16, air beyond the scan), and the mask by the nearest voxel
        (uint8). Their axes are those of the scan.
    """
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([float(voxel_mm)] * 3)
    grid.SetDirection(image.GetDirection())
    middle_mm = 0.5 * (np.array(size) - 1) * voxel_mm
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid.SetOrigin((np.array(center_mm_xyz) - direction @ middle_mm).tolist())
    mask = sitk.GetImageFromArray(mask_zyx.astype(np.uint8))
    mask.CopyInformation(image)
    same = sitk.Transform()
    around = sitk.Resample(image, grid, same, sitk.sitkLinear, float(_AIR_HU), sitk.sitkFloat32)
    inside = sitk.Resample(mask, grid, same, sitk.sitkNearestNeighbor, 0.0, sitk.sitkUInt8)
    return sitk.Cast(sitk.Round(around), sitk.sitkInt16), inside
