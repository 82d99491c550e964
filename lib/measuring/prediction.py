"""From a scan's probability map to its masks and everything that is measured of them, in one record."""

from collections.abc import Mapping
from dataclasses import dataclass

import SimpleITK as sitk

from lib.anatomy.femur.distal_end import DistalEndConfig, measure_distal_end
from lib.anatomy.femur.landmarks import femur_levels
from lib.cohort.flags import gather_flags
from lib.imaging.full_mask import full_mask, mask_on_grid
from lib.imaging.grid import array_zyx, image_like, require_same_grid, spacing_zyx, voxel_mm3
from lib.imaging.otsu import otsu_mask
from lib.imaging.volume import measure_volume
from lib.measured import join_measured
from lib.otsu_guards import OtsuConfig
from lib.stats.overlap import OverlapConfig, measure_levels, measure_native, measure_overlap
from lib.stats.reader_pairs import compare_readers


@dataclass(frozen=True, kw_only=True)
class PredictedScan:
    """A predicted scan and what is known of it.

    Attributes:
        probability: probability map on the grid of the crop.
        image: the cropped CT, HU.
        converted: an image on the grid of the converted scan.
        crop: content of crop.json.
        screened: the scan's screening file.
        uncertainty: content of uncertainty.json.
    """

    probability: sitk.Image
    image: sitk.Image
    converted: sitk.Image
    crop: Mapping
    screened: Mapping
    uncertainty: Mapping


@dataclass(frozen=True, kw_only=True)
class ReaderMasks:
    """The masks that people drew of a scan (uint8, 0 or 1); None: not given.

    Attributes:
        reference: the first reader's mask on the grid of the crop.
        native: the same mask as it was drawn; a prediction is scored only with it.
        second: the second reader's mask on the grid of the crop.
    """

    reference: sitk.Image | None = None
    native: sitk.Image | None = None
    second: sitk.Image | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuringConfig:
    """How masks are made and measured; `review_member_dice` as in the configuration."""

    otsu: OtsuConfig
    distal_end: DistalEndConfig
    overlap: OverlapConfig
    review_member_dice: float


def measure_prediction(
    scan: PredictedScan, readers: ReaderMasks, config: MeasuringConfig
) -> tuple[sitk.Image, sitk.Image, dict]:
    """Make the masks of a predicted scan and measure them.

    Returns:
        the mask on the grid of the crop and on that of the converted scan (uint8), and the sections of
        `lib.measured`.

    Raises:
        ScanError: `mask_off_grid`, the images do not lie on one grid.
        ModelError: the map holds values that are no probabilities.
    """
    otsu = otsu_mask(array_zyx(scan.probability), config.otsu)
    mask = image_like(otsu.mask_zyx, scan.probability)
    full = full_mask(scan.probability, otsu, scan.converted)
    made = otsu.to_json(voxel_mm3(scan.probability))
    measured = {
        "mask": made,
        "volume": join_measured(
            measure_volume(scan.image, scan.probability, mask, full, made, config.otsu),
            {"density_phantom_in_view": scan.screened["density_phantom_in_view"]},
            measure_distal_end(mask, readers.reference, scan.crop["side"], config.distal_end),
            scan.uncertainty,
            {
                "flags": gather_flags(
                    made, scan.crop, scan.screened, scan.uncertainty, config.review_member_dice
                )
            },
        ),
    }
    if readers.native is not None:
        measured["overlap"] = _score(mask, full, readers, scan.crop["side"], config.overlap)
    if readers.second is not None:
        measured["readers"] = _readers_and_model(mask, readers, config.overlap)
    return mask, full, measured


def _score(
    mask: sitk.Image, full: sitk.Image, readers: ReaderMasks, side: str, config: OverlapConfig
) -> dict:
    """Return the agreement with the reference: on the crop's grid, also by level, and on the reference's own grid."""
    reference, native = readers.reference, readers.native
    require_same_grid(reference, mask, "the reference mask", "the predicted mask")
    masks_zyx, spacing_mm_zyx = (array_zyx(reference), array_zyx(mask)), spacing_zyx(reference)
    levels = femur_levels(masks_zyx[0], spacing_mm_zyx, side)
    return join_measured(
        measure_overlap(*masks_zyx, spacing_mm_zyx, config),
        measure_levels(*masks_zyx, levels.slices, levels.missing),
        measure_native(array_zyx(native), mask_on_grid(full, native), spacing_zyx(native)),
        {"side": side},
    )


def _readers_and_model(mask: sitk.Image, readers: ReaderMasks, config: OverlapConfig) -> dict[str, dict]:
    """Return the overlap of two readers and the model, each with each."""
    first, second = readers.reference, readers.second
    require_same_grid(first, second, "the first reader's mask", "the second reader's mask")
    require_same_grid(first, mask, "the first reader's mask", "the predicted mask")
    masks_zyx = array_zyx(first), array_zyx(second), array_zyx(mask)
    return compare_readers(masks_zyx, spacing_zyx(first), config)
