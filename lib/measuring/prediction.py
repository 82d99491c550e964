"""From a scan's prediction to its masks and everything that is measured of them, in one record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.anatomy.methods import METHODS
from lib.anatomy.protocol import JudgedLabels, Regions
from lib.calibrated import Calibration
from lib.catalog.anatomies import ANATOMIES
from lib.catalog.bone_parts import PREDICTED, REFERENCE
from lib.catalog.level_flags import WHOLE_SCAN
from lib.cohort.flags import flag_spacing, gather_flags, warnings_of
from lib.density.areal import Projection
from lib.density_settings import DensityConfig
from lib.imaging.binarise import BinaryMask, label_masks, threshold_mask
from lib.imaging.full_mask import full_labels, full_mask, mask_on_grid
from lib.imaging.grid import array_zyx, image_like, require_same_grid, spacing_zyx, voxel_mm3
from lib.imaging.nifti import probability_levels, read_image
from lib.imaging.volume import NO_THRESHOLD, measure_threshold, measure_volume
from lib.mask_settings import MaskConfig
from lib.measure_settings import OverlapConfig
from lib.measured import join_measured
from lib.measuring.bone_density import CalibratedScan, MeasuredBone
from lib.measuring.regions import measure_regions
from lib.stats.choices import measure_half, measure_raw
from lib.stats.overlap import find_surfaces, measure_by_region, measure_native, measure_overlap
from lib.stats.reader_pairs import compare_readers
from lib.stats.voxel_levels import count_levels, measure_areas

NO_PROBABILITY = "the models predict labels, and no probability of a structure"


@dataclass(frozen=True, kw_only=True)
class PredictedScan:
    """A predicted scan and what is known of it.

    Attributes:
        prediction: probability map of one structure or label map of several (uint8), on the grid of the crop.
        image: the cropped scan.
        converted: the converted scan; an image on its grid suffices where no levels and no densities are measured.
        crop: content of crop.json.
        screened: the scan's screening file.
        uncertainty: content of uncertainty.json, by structure.
        trained: voxel spacings of the models' training scans (`spacing_mm_zyx` of each run.json that states them).
        calibration: of the scan's HU; None: it has none.
    """

    prediction: sitk.Image
    image: sitk.Image
    converted: sitk.Image
    crop: Mapping
    screened: Mapping
    uncertainty: Mapping[str, Mapping]
    trained: Sequence[Mapping] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True)
class ReaderMasks:
    """The label maps that people drew of a scan (uint8, 1 to n in the order of the structures); None: not given.

    Attributes:
        reference: the first reader's on the grid of the crop.
        native: the same as it was drawn; a prediction is scored only with it.
        second: the second reader's on the grid of the crop.
    """

    reference: sitk.Image | None = None
    native: sitk.Image | None = None
    second: sitk.Image | None = None

    @classmethod
    def read(
        cls, native: sitk.Image | None, reference: str | Path | None, second: str | Path | None
    ) -> "ReaderMasks":
        """Return the label maps of files on the grid of the crop; without a path there is none."""
        read = {"reference": reference, "second": second}
        return cls(native=native, **{name: read_image(path) for name, path in read.items() if path})

    def of_label(self, label: int) -> "ReaderMasks":
        """Return the masks (0 or 1) of one label."""
        names = (field.name for field in fields(self))
        given = {name: image for name in names if (image := getattr(self, name)) is not None}
        return ReaderMasks(**{name: _mask_of(image, label) for name, image in given.items()})


@dataclass(frozen=True, kw_only=True)
class MeasuringConfig:
    """How masks are made and measured; `anatomy`, `mask`, `measure`, `review_member_dice` and
    `spacing_factor` as in the configuration.

    `structures` names the values 1 to n of label maps. `erode_mm` is how deep below the surface the inner part of a
    level begins, mm. `density` are the settings of bone density; None: it is not measured.
    """

    structures: Sequence[str]
    anatomy: str
    mask: MaskConfig
    measure: Mapping
    overlap: OverlapConfig
    review_member_dice: float
    spacing_factor: float
    erode_mm: float = 5.0
    density: DensityConfig | None = None

    @classmethod
    def from_settings(
        cls, structures: Sequence[str], mask: Mapping, settings: Mapping, density: Mapping | None = None
    ) -> "MeasuringConfig":
        """Return the configuration from the sections `mask` and `density`, and further fields by their names."""
        overlap = OverlapConfig(nsd_tolerance_mm=settings["measure"]["nsd_tolerance_mm"])
        return cls(
            structures=structures,
            mask=MaskConfig(**mask),
            overlap=overlap,
            density=DensityConfig(**density) if density else None,
            **settings,
        )


@dataclass(frozen=True, kw_only=True)
class MeasuredPrediction:
    """The masks of a predicted scan and what was measured of them.

    Attributes:
        labels: label map on the grid of the crop (uint8, 1 to n in the order of the structures).
        full: the same on the grid of the converted scan.
        sections: the sections of `lib.measured`.
        projections: the projected bone of each structure whose density was measured; None: there is none.
    """

    labels: sitk.Image
    full: sitk.Image
    sections: dict[str, dict]
    projections: Mapping[str, Projection | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _StructureMask:
    """The mask of one structure: on the grid of the crop, on that of the converted scan, and how it was made."""

    mask: sitk.Image
    full: sitk.Image
    made: BinaryMask


def predicted_file(structures: Sequence[str]) -> str:
    """Return the name of the file that a batch of predictions holds of a scan: see `PredictedScan.prediction`."""
    return "probability.nii.gz" if len(structures) == 1 else "labels.nii.gz"


def measure_prediction(
    scan: PredictedScan, readers: ReaderMasks, config: MeasuringConfig
) -> MeasuredPrediction:
    """Make the masks of a predicted scan and measure them.

    Raises:
        ScanError: `mask_off_grid`, the images do not lie on one grid.
        ModelError: the prediction holds values that are no probabilities, or no labels of the structures.
    """
    labels, full, masks = _make_masks(scan, config)
    measured: dict[str, dict] = {}
    projections = {}
    if ANATOMIES[config.anatomy].has_levels:
        measured["levels"] = _find_levels(scan, labels, full, masks, config)
    for label, (structure, own) in enumerate(zip(config.structures, masks, strict=True), start=1):
        found, bone = _measure_structure(scan, structure, own, readers.of_label(label), config)
        if "levels" in measured:
            raised = (set(measured["levels"][name]["flags"]) for name in (structure, WHOLE_SCAN))
            found["volume"]["flags"] = sorted(set(found["volume"]["flags"]).union(*raised))
        if bone is not None:
            projections[structure] = bone.projections[PREDICTED]
        for section, values in found.items():
            measured.setdefault(section, {})[structure] = values
    return MeasuredPrediction(labels=labels, full=full, sections=measured, projections=projections)


def _find_levels(
    scan: PredictedScan,
    labels: sitk.Image,
    full: sitk.Image,
    masks: Sequence[_StructureMask],
    config: MeasuringConfig,
) -> dict[str, dict]:
    """Return what was found of each level, and of all of them."""
    judged = JudgedLabels(
        structures=config.structures,
        labels=labels,
        raw_zyx=[own.made.raw_zyx for own in masks],
        full=full,
        image=scan.converted,
        erode_mm=config.erode_mm,
        metal_hu=scan.screened["limits"]["metal_hu"],
        contrast=scan.screened["contrast"],
        kvp=scan.screened["kvp"],
    )
    return METHODS[config.anatomy].find_levels(judged)


def describe_measured(measured: Mapping[str, Mapping]) -> str:
    """Return volume, flags and Dice of each structure in words, for a log."""
    told = []
    for structure, volume in measured["volume"].items():
        dsc = measured.get("overlap", {}).get(structure, {}).get("dsc")
        flags = ", ".join(volume["flags"]) or "none"
        score = "none" if dsc is None else f"{dsc:.4f}"
        told.append(f"{structure}: {volume['predicted_mm3']:.1f} mm3, flags: {flags}, dsc: {score}")
    return "; ".join(told)


def _make_masks(
    scan: PredictedScan, config: MeasuringConfig
) -> tuple[sitk.Image, sitk.Image, list[_StructureMask]]:
    """Return the label maps on both grids, and the mask of each structure."""
    predicted_zyx = array_zyx(scan.prediction)
    if config.mask.method != "argmax":
        made = threshold_mask(predicted_zyx, config.mask)
        mask, full = (
            image_like(made.mask_zyx, scan.prediction),
            full_mask(scan.prediction, made, scan.converted),
        )
        return mask, full, [_StructureMask(mask=mask, full=full, made=made)]
    count = len(config.structures)
    several = label_masks(predicted_zyx, count, config.mask)
    labels_zyx = np.zeros(predicted_zyx.shape, np.uint8)
    for label, made in enumerate(several, start=1):
        labels_zyx[made.mask_zyx > 0] = label
    labels = image_like(labels_zyx, scan.prediction)
    full = full_labels(labels, count, scan.converted, keep_largest=config.mask.keep_largest)
    masks = [
        _StructureMask(mask=_mask_of(labels, label), full=_mask_of(full, label), made=made)
        for label, made in enumerate(several, start=1)
    ]
    return labels, full, masks


def _measure_structure(
    scan: PredictedScan, structure: str, own: _StructureMask, readers: ReaderMasks, config: MeasuringConfig
) -> tuple[dict[str, dict], MeasuredBone | None]:
    """Return what is measured of a structure, by section, and its bone if density is measured."""
    made, side = own.made.to_json(voxel_mm3(own.mask)), scan.crop["side"]
    uncertainty, drawn = scan.uncertainty[structure], readers.reference
    anatomy = METHODS[config.anatomy]
    regions = anatomy.find_regions(own.mask, side)
    of_reference = None if drawn is None else anatomy.find_regions(drawn, side)
    measured = {
        "mask": made,
        "volume": join_measured(
            measure_volume(scan.image, own.mask, own.full),
            measure_threshold(own.made, voxel_mm3(own.mask)),
            {"density_phantom_in_view": scan.screened["density_phantom_in_view"]},
            anatomy.measure_end(own.mask, drawn, side, config.measure),
            measure_regions(own.mask, regions, "predicted"),
            {} if of_reference is None else measure_regions(drawn, of_reference, "reference"),
            uncertainty,
            {"flags": gather_flags(made, scan.crop, scan.screened, uncertainty, config.review_member_dice)},
            {"flags": flag_spacing(spacing_zyx(scan.image), scan.trained, config.spacing_factor)},
        ),
    }
    if readers.native is not None:
        areas, counts = _measure_curves(scan.prediction, own, readers)
        scored = _score(own, readers, of_reference, config.overlap)
        measured["overlap"] = join_measured(scored, areas) | {"side": side}
        measured |= {"curves": counts} if counts else {}
    bone = None
    if config.density is not None:
        bone = _measure_density(scan, own, readers, config.density)
        measured["density"] = bone.section
    if readers.second is not None:
        measured["readers"] = _readers_and_model(own.mask, readers, config.overlap)
    return measured, bone


def _measure_density(
    scan: PredictedScan, own: _StructureMask, readers: ReaderMasks, config: DensityConfig
) -> MeasuredBone:
    """Return the densities of a structure in the predicted mask and in the reference, both on the scan's own grid."""
    masks = {PREDICTED: array_zyx(own.full) > 0}
    if readers.native is not None:
        masks[REFERENCE] = mask_on_grid(readers.native, scan.converted)
    calibrated = CalibratedScan(
        image=scan.converted,
        side=scan.crop["side"],
        calibration=scan.calibration,
        config=config,
        has_metal="metal" in warnings_of(scan.screened),
    )
    return calibrated.measure(masks)


def _score(own: _StructureMask, readers: ReaderMasks, regions: Regions, config: OverlapConfig) -> dict:
    """Return the agreement with the reference on the crop's grid, also by region, and on the reference's own grid."""
    reference, native = readers.reference, readers.native
    require_same_grid(reference, own.mask, "the reference mask", "the predicted mask")
    masks_zyx, spacing = (array_zyx(reference), array_zyx(own.mask)), spacing_zyx(reference)
    pair = find_surfaces(*masks_zyx, spacing)
    overlap = measure_overlap(*masks_zyx, spacing, config, pair)
    return join_measured(
        overlap,
        measure_by_region(*masks_zyx, regions.parts, regions.missing),
        measure_native(array_zyx(native), mask_on_grid(own.full, native), spacing_zyx(native)),
        measure_raw((*masks_zyx, own.made.raw_zyx), overlap, pair, spacing),
    )


def _measure_curves(
    prediction: sitk.Image, own: _StructureMask, readers: ReaderMasks
) -> tuple[dict, dict[str, str]]:
    """Return what is measured of the probability without the mask's threshold, and its voxels by level.

    Labels have no probability: the measures are None, and there are no levels.
    """
    reference_zyx, half_zyx = array_zyx(readers.reference), own.made.half_zyx
    if half_zyx is None:
        why = {"auc_pr": NO_PROBABILITY, "auc_roc": NO_PROBABILITY, "dsc_half": NO_THRESHOLD}
        return dict.fromkeys(why) | {"undefined": why}, {}
    counts = count_levels(probability_levels(array_zyx(prediction)), reference_zyx)
    return join_measured(measure_areas(counts), measure_half(reference_zyx, half_zyx)), counts.to_json()


def _readers_and_model(mask: sitk.Image, readers: ReaderMasks, config: OverlapConfig) -> dict[str, dict]:
    """Return the overlap of two readers and the model, each with each."""
    first, second = readers.reference, readers.second
    require_same_grid(first, second, "the first reader's mask", "the second reader's mask")
    require_same_grid(first, mask, "the first reader's mask", "the predicted mask")
    masks_zyx = array_zyx(first), array_zyx(second), array_zyx(mask)
    return compare_readers(masks_zyx, spacing_zyx(first), config)


def _mask_of(labels: sitk.Image, label: int) -> sitk.Image:
    """Return the mask (0 or 1) of one label."""
    return image_like(array_zyx(labels) == label, labels)
