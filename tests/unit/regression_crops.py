"""Synthetic crops whose HU inside the mask follow a density, as a stand-in for vertebrae."""

import numpy as np

from lib.learning.crop_store import TargetCrop
from lib.learning.regression_recipe import RegressionSettings

COLUMN = "bmd_l1_k2hpo4_mg_cm3"
TARGETS = {"L1": COLUMN, "L2": "bmd_l2_k2hpo4_mg_cm3"}
NETWORK = {"growth": 4, "initial_maps": 8, "blocks": [1, 1], "bottleneck": 2, "dimensions": 3}
EDGE = 16
OFFSET_HU = 10.0


def crop(number, *, structure="L1", density=None, noise_hu=15.0):
    """Return a crop of a ball whose HU are the density and an offset, with noise, in soft tissue of 50 HU."""
    generator = np.random.default_rng(number)
    drawn = generator.uniform(40, 240)
    density = drawn if density is None else density
    z, y, x = np.meshgrid(*(np.arange(EDGE) - EDGE / 2 + 0.5,) * 3, indexing="ij")
    mask = z**2 + y**2 + x**2 < generator.uniform(4.5, 6) ** 2
    image = np.where(mask, density + OFFSET_HU, 50.0) + generator.normal(0, noise_hu, mask.shape)
    return TargetCrop(
        scan=f"s{number}",
        structure=structure,
        image_zyx=image.round().astype(np.int16),
        mask_zyx=mask.astype(np.uint8),
        target=float(density),
    )


def crops(first, count):
    """Return crops of so many scans with one structure each."""
    return [crop(number) for number in range(first, first + count)]


def settings(architecture=None, crop=None, targets=None, **train):
    """Return settings of a short training."""
    return RegressionSettings(
        architecture=NETWORK | (architecture or {}),
        crop={"size": [EDGE] * 3, "voxel_mm": 3.0} | (crop or {}),
        train={
            "epochs": 20,
            "learning_rate": 1e-2,
            "validate_every": 5,
            "device": "cpu",
            "checkpoint_minutes": 60,
        }
        | train,
        targets=targets or TARGETS,
        name="all/densenet fold 0",
        seed=7,
        code="abc",
    )
