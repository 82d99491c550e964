"""Job script of rule measure_prediction: make the masks of one predicted scan and measure them.

input: batch (folder with {scan}/probability.nii.gz and uncertainty.json), image and record (of the crop), converted,
    screened; optional: reference and second_reference (masks of the readers on the grid of the crop),
    reference_native (the first reader's mask as it was given; the prediction is scored if it is there)
output: mask (on the grid of the crop), full (on the grid of the converted scan), json (sections of `lib.measured`)
params: otsu, measure (sections of the configuration), review_member_dice, mask_labels (values of reference_native
    that count, empty: all)
"""

from pathlib import Path

from lib.anatomy.femur.distal_end import MeasureConfig, measure_distal_end
from lib.anatomy.femur.landmarks import femur_levels
from lib.atomic import read_json, write_json
from lib.cohort.flags import gather_flags
from lib.imaging.full_mask import full_mask, mask_on_grid
from lib.imaging.grid import array_zyx, image_like, require_same_grid, spacing_zyx, voxel_mm3
from lib.imaging.nifti import read_image, read_mask, write_image
from lib.imaging.otsu import OtsuConfig, otsu_mask
from lib.imaging.volume import measure_volume
from lib.joblog import job_log
from lib.measured import join_measured
from lib.reading.image_files import read_labels
from lib.stats.overlap import OverlapConfig, measure_levels, measure_native, measure_overlap
from lib.stats.reader_pairs import compare_readers

given, params = snakemake.input, snakemake.params
reference_native = given.get("reference_native")

with job_log(snakemake.log[0], hide=[reference_native] if reference_native else []) as logger:
    predicted = Path(given.batch, snakemake.wildcards.scan)
    crop, screened = read_json(given.record), read_json(given.screened)
    uncertainty = read_json(predicted / "uncertainty.json")
    image, probability = read_image(given.image), read_image(predicted / "probability.nii.gz")
    config, side = OtsuConfig(**params.otsu), crop["side"]

    made = otsu_mask(array_zyx(probability), config)
    mask = image_like(made.mask_zyx, probability)
    full = full_mask(probability, made, read_image(given.converted))
    write_image(mask, snakemake.output.mask)
    write_image(full, snakemake.output.full)
    otsu = made.to_json(voxel_mm3(probability))
    logger.info("threshold %.4f", made.threshold)

    reference = read_mask(given.reference) if given.get("reference") else None
    volume = measure_volume(image, probability, mask, full, otsu, config)
    cut = MeasureConfig(distal_cut_mm=params.measure["distal_cut_mm"])
    end = measure_distal_end(mask, reference, side, cut)
    phantom = {"density_phantom_in_view": screened["density_phantom_in_view"]}
    flags = gather_flags(otsu, crop, screened, uncertainty, params.review_member_dice)
    volume = join_measured(volume, phantom, end, uncertainty, {"flags": flags})
    logger.info("%.1f mm3, flags: %s", volume["predicted_mm3"], ", ".join(volume["flags"]) or "none")
    measured = {"mask": otsu, "volume": volume}

    tolerance = OverlapConfig(nsd_tolerance_mm=params.measure["nsd_tolerance_mm"])
    if reference_native:
        require_same_grid(reference, mask, "the reference mask", "the predicted mask")
        masks_zyx, spacing_mm_zyx = (array_zyx(reference), made.mask_zyx), spacing_zyx(reference)
        overlap = measure_overlap(*masks_zyx, spacing_mm_zyx, tolerance)
        levels = femur_levels(masks_zyx[0], spacing_mm_zyx, side)
        parts = measure_levels(*masks_zyx, levels.slices, levels.missing)
        native = read_labels(reference_native, params.mask_labels)
        own = measure_native(array_zyx(native), mask_on_grid(full, native), spacing_zyx(native))
        measured["overlap"] = join_measured(overlap, parts, own, {"side": side})
        logger.info("dsc %s, volume error %s %%", overlap["dsc"], overlap["re_percent"])

    if given.get("second_reference"):
        second = read_mask(given.second_reference)
        require_same_grid(reference, second, "the first reader's mask", "the second reader's mask")
        three_zyx = array_zyx(reference), array_zyx(second), made.mask_zyx
        measured["readers"] = compare_readers(three_zyx, spacing_zyx(reference), tolerance)
        logger.info("dsc of %s", {pair: found["dsc"] for pair, found in measured["readers"].items()})

    write_json(snakemake.output.json, measured)
