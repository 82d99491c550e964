"""Job script of rule measure_overlap: measure the agreement of one predicted mask with its reference.

input: mask (predicted) and reference, both on the crop grid; record (of the crop); full (prediction on the converted
    grid); reference_native (the mask as it was given)
output: json; params: measure (section of the configuration), mask_labels (values that count, empty: all)
"""

from lib.anatomy.femur.landmarks import femur_levels
from lib.atomic import read_json, write_json
from lib.imaging.full_mask import mask_on_grid
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.nifti import read_image, read_mask
from lib.joblog import job_log
from lib.measured import join_measured
from lib.reading.image_files import read_labels
from lib.stats.overlap import OverlapConfig, measure_levels, measure_native, measure_overlap

with job_log(snakemake.log[0], hide=[snakemake.input.reference_native]) as logger:
    given, params = snakemake.input, snakemake.params
    predicted, reference = read_mask(given.mask), read_mask(given.reference)
    require_same_grid(reference, predicted, "the reference mask", "the predicted mask")
    masks_zyx = array_zyx(reference), array_zyx(predicted)
    overlap = measure_overlap(*masks_zyx, spacing_zyx(reference), OverlapConfig(**params.measure))
    side = read_json(given.record)["side"]
    levels = femur_levels(masks_zyx[0], spacing_zyx(reference), side)
    parts = measure_levels(*masks_zyx, levels.slices, levels.missing)
    native = read_labels(given.reference_native, params.mask_labels)
    full_zyx = mask_on_grid(read_image(given.full), native)
    own = measure_native(array_zyx(native), full_zyx, spacing_zyx(native))
    write_json(snakemake.output.json, join_measured(overlap, parts, own, {"side": side}))
    logger.info("dsc %s, volume error %s %%", overlap["dsc"], overlap["re_percent"])
