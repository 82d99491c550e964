"""A femur of simple solids with its lesser trochanter at a known level."""

import numpy as np

SPACING_MM_ZYX = (3.0, 0.8, 0.8)


def solid_femur(trochanter_mm, *, spacing_mm_zyx=SPACING_MM_ZYX, neck_mm=45.0, bump_mm=9.0):
    """Mask (z, y, x) of a left femur: upright shaft, straight neck, round head and an ellipsoid as trochanter.

    `trochanter_mm` is the level of the trochanter's middle above the lower face of the first slice, `neck_mm` how far
    the head lies beside the shaft, `bump_mm` how thick the trochanter is (0: none).
    """
    head_mm = trochanter_mm + 52.0
    size_mm = np.array([head_mm + 35.0, 80.0, 110.0])
    sizes = np.ceil(size_mm / spacing_mm_zyx).astype(int)
    centers = ((np.arange(n) + 0.5) * step for n, step in zip(sizes, spacing_mm_zyx, strict=True))
    z, y, x = np.meshgrid(*centers, indexing="ij", sparse=True)
    shaft = ((x - 80.0) ** 2 + (y - 40.0) ** 2 < 15.0**2) & (z < head_mm)
    share = np.clip((z - head_mm + 30.0) / 30.0, 0.0, 1.0)  # from the shaft to the head
    neck = ((x - 80.0 + neck_mm * share) ** 2 + (y - 40.0) ** 2 < 15.0**2) & (share > 0) & (z < head_mm)
    head = (x - 80.0 + neck_mm) ** 2 + (y - 40.0) ** 2 + (z - head_mm) ** 2 < 23.0**2
    away = 14.0  # from the shaft's axis, 30 degrees behind the medial direction
    beside = (x - 80.0 + away * np.cos(np.pi / 6)) ** 2 + (y - 40.0 - away * np.sin(np.pi / 6)) ** 2
    trochanter = beside / max(bump_mm, 1e-3) ** 2 + ((z - trochanter_mm) / 12.0) ** 2 < 1
    return (shaft | neck | head | trochanter).astype(np.uint8)
