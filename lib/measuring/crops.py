"""The crops around the levels of a prediction that a regression reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.atomic import whole_folder
from lib.imaging.grid import array_zyx, require_laid_on
from lib.imaging.nifti import write_image
from lib.imaging.structure_crop import crop_around
from lib.regression_settings import PREDICTED, RegressionConfig

Crops = Mapping[str, tuple[sitk.Image, sitk.Image]]  # structure -> image and mask


@dataclass(frozen=True, kw_only=True)
class LabelledScan:
    """A converted scan with a label map of its structures.

    Attributes:
        image: the converted scan, HU.
        predicted: the predicted label map (1 to n) on its grid.
        reference: a person's label map; None: not given.
    """

    image: sitk.Image
    predicted: sitk.Image
    reference: sitk.Image | None = None


def cut_crops(
    scan: LabelledScan, levels: Mapping[str, Mapping], structures: list[str], config: RegressionConfig
) -> Crops:
    """Return the crops of the structures that have a target and whose density is not withheld.

    They are cut around the centre of the predicted mask, or with `regression.crop.masks: reference` around that of
    the person's mask; a scan without one has none then.

    Args:
        scan: the scan and its label maps.
        levels: what was found of each structure (`lib.anatomy.protocol.AnatomyMethods.find_levels`).
        structures: names of the values 1 to n of label maps.
        config: settings of the regression.
    """
    predicted = config.crop.masks == PREDICTED
    labels = scan.predicted if predicted else scan.reference
    if labels is None:
        return {}
    if not predicted:
        labels = require_laid_on(labels, scan.image, "the reference mask", "the scan")
    labels_zyx = array_zyx(labels)
    crops = {}
    for name in config.targets:
        mask_zyx = labels_zyx == structures.index(name) + 1
        if "density" in levels[name]["undefined"] or not mask_zyx.any():
            continue
        center = np.argwhere(mask_zyx).mean(axis=0)[::-1]
        center_mm_xyz = scan.image.TransformContinuousIndexToPhysicalPoint(center.tolist())
        crops[name] = crop_around(scan.image, mask_zyx, center_mm_xyz, config.crop.size, config.crop.voxel_mm)
    return crops


def write_crops(folder: str | Path, crops: Crops) -> None:
    """Write crops as {structure}.nii.gz and {structure}_mask.nii.gz into a folder, which is whole or not there."""
    with whole_folder(folder) as made:
        for structure, (image, mask) in crops.items():
            write_image(image, made / f"{structure}.nii.gz")
            write_image(mask, made / f"{structure}_mask.nii.gz")
