"""Measurements of a manually corrected mask, on the grid on which it was edited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.full_mask import full_labels
from lib.imaging.grid import array_zyx, describe_grid, image_like, laid_on, same_grid, volume_mm3
from lib.imaging.volume import length_mm
from lib.reading.image_files import number_structures, read_values
from lib.structures import Structures, describe_structures, study_values

ON_SCAN, ON_CROP = "the converted scan", "the crop"  # grids on which a mask may have been edited


def read_corrected(path: str | Path, scan: str, structures: Sequence[str]) -> sitk.Image:
    """Read a corrected label map of any format as uint8 on patient axes: 0, and 1 to n, the structures.

    It has the values of the study's own label maps. If there is one structure, any value above 0 stands for it.

    Raises:
        ScanError: the file cannot be read, or holds values of no structure; the text names the scan and the file.
    """
    try:
        values = read_values(path)
        if len(structures) == 1:
            return number_structures(values, {structures[0]: ()})
        _require_known(values, study_values(structures))
        return number_structures(values, study_values(structures))
    except ScanError as error:
        raise ScanError(
            error.code, f"corrected mask {Path(path).name} of scan {scan} cannot be used: {error}"
        ) from None


def _require_known(values: sitk.Image, structures: Structures) -> None:
    found = set(np.unique(sitk.GetArrayViewFromImage(values)).tolist())
    unknown = sorted(value for value in found - {number for (number,) in structures.values()} if value > 0)
    if unknown:
        raise ScanError(
            "mask_not_labels",
            f"it holds {', '.join(f'{value:g}' for value in unknown[:5])}; expected are 0 and "
            f"{describe_structures(structures)}. Edit a copy of the scan's label map in masks/, which has them",
        )


@dataclass(frozen=True, kw_only=True)
class CorrectedMask:
    """A corrected mask: measures by structure (see `measure_corrected`), and its label map on the converted scan."""

    measured: Mapping[str, Mapping]
    full: sitk.Image


def use_corrected(
    mask: sitk.Image, structures: Sequence[str], converted: sitk.Image, crop: sitk.Image, name: str
) -> CorrectedMask:
    """Measure a corrected label map, and put it on the grid of the converted scan.

    A map on the grid of the converted scan stays as it is, but for empty borders that were cut away. One on the grid
    of the crop is interpolated as a predicted one (`lib.imaging.full_mask.full_labels`), with all its components.

    Args:
        mask: the corrected label map (1 to n, in the order of the structures).
        structures: the study's structures.
        converted: the converted scan.
        crop: the image that networks see.
        name: name of the mask in errors.

    Raises:
        ScanError: see `measure_corrected`.
    """
    grids = {ON_SCAN: converted, ON_CROP: crop}
    measured = measure_corrected(mask, structures, grids, name)
    on = next(iter(measured.values()))["grid"]
    full = laid_on(mask, grids[on])
    if on == ON_CROP:
        full = full_labels(full, len(structures), converted, keep_largest=False)
    return CorrectedMask(measured=measured, full=full)


def measure_corrected(
    mask: sitk.Image, structures: Sequence[str], grids: Mapping[str, sitk.Image], name: str
) -> dict[str, dict]:
    """Measure a corrected label map.

    Args:
        mask: the corrected label map (1 to n, in the order of the structures); empty borders may be cut away (see
            `laid_on`).
        structures: the study's structures.
        grids: scans on which a prediction may have been edited, by description; the first that fits is used.
        name: name of the mask in errors.

    Returns:
        by structure: `corrected_mm3`; `mean_value` and `sd_value` (over voxels, ddof 0) in the mask, None if it has
        no voxel; `length_mm` along z; `truncated_distally`, whether it reaches the lowest slice of its grid; `grid`,
        on which of `grids` the mask lies.

    Raises:
        ScanError: `mask_off_grid`, the mask lies on none of the grids; `empty_mask`.
    """
    laid = {what: laid_on(mask, image) for what, image in grids.items()}
    # a mask on a whole grid may be a crop of another one, too
    fitting = [what for what, image in grids.items() if same_grid(mask, image)]
    fitting += [what for what, whole in laid.items() if whole is not None]
    if not fitting:
        expected = "; or ".join(f"{what}, {describe_grid(image)}" for what, image in grids.items())
        raise ScanError(
            "mask_off_grid",
            f"{name} must lie on the grid of {expected}; it has {describe_grid(mask)}. Edit a copy of "
            "labels_full.nii.gz or of labels.nii.gz and save it without resampling",
        )
    mask = laid[fitting[0]]
    labels_zyx, values_zyx = array_zyx(mask), array_zyx(grids[fitting[0]])
    if not labels_zyx.any():
        raise ScanError("empty_mask", f"{name} is empty; leave corrected_mask empty, or reject the scan")
    return {
        structure: _measure(image_like(labels_zyx == label, mask), values_zyx) | {"grid": fitting[0]}
        for label, structure in enumerate(structures, start=1)
    }


def _measure(mask: sitk.Image, values_zyx: np.ndarray) -> dict:
    mask_zyx = array_zyx(mask) > 0
    values = values_zyx[mask_zyx].astype(np.float64)
    return {
        "corrected_mm3": volume_mm3(mask),
        "mean_value": float(values.mean()) if values.size else None,
        "sd_value": float(values.std()) if values.size else None,
        "length_mm": length_mm(mask_zyx, mask.GetSpacing()[2]),
        "truncated_distally": bool(mask_zyx[0].any()),
    }
