"""Crops around structures, as a regression is trained on them and reads them.

Files: results/structure_crops/{group}/{network}/{members}/{scan}/.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lib.errors import TrainingError
from lib.imaging.grid import array_zyx
from lib.imaging.nifti import read_image
from lib.learning.crop_store import TargetCrop
from lib.regression_settings import RegressionCropConfig

CropArrays = tuple[np.ndarray, np.ndarray]  # image int16 HU and mask uint8, each (z, y, x)
SPACING_TOLERANCE_MM = 1e-3


def read_crops(
    folder: str | Path, structures: Iterable[str], config: RegressionCropConfig
) -> dict[str, CropArrays]:
    """Return image and mask of each structure whose crop is in a scan's folder; others were not found in the scan.

    Raises:
        TrainingError: a crop has voxels of another size than configured.
    """
    found = {}
    for structure in structures:
        path = Path(folder, f"{structure}.nii.gz")
        if path.exists():
            image, mask = read_image(path), read_image(path.with_name(f"{structure}_mask.nii.gz"))
            _require_spacing(f"scan {Path(folder).name}, {structure}", image.GetSpacing(), config)
            found[structure] = array_zyx(image).astype(np.int16), array_zyx(mask).astype(np.uint8)
    return found


def read_target_crops(
    folders: Iterable[str | Path], targets: Mapping[str, Mapping[str, float]], config: RegressionCropConfig
) -> Iterator[TargetCrop]:
    """Yield the crops that have a reference value, one scan at a time.

    Args:
        folders: of the scans, named after them.
        targets: reference values by scan and structure; a structure without one is skipped.
        config: settings of the crops.
    """
    for folder in map(Path, folders):
        values = targets.get(folder.name, {})
        for structure, (image_zyx, mask_zyx) in read_crops(folder, values, config).items():
            yield TargetCrop(folder.name, structure, image_zyx, mask_zyx, values[structure])


def _require_spacing(name: str, spacing_mm: Sequence[float], config: RegressionCropConfig) -> None:
    if any(abs(edge - config.voxel_mm) > SPACING_TOLERANCE_MM for edge in spacing_mm):
        shown = " x ".join(f"{edge:g}" for edge in spacing_mm)
        raise TrainingError(
            f"{name}: the crop has voxels of {shown} mm; expected {config.voxel_mm:g} mm, by "
            "regression.crop.voxel_mm. Remove this scan's folder in results/structure_crops, so that it is cut again"
        )
