"""Job script of rule measure_overlap: how well one predicted mask agrees with its reference.

input: mask (predicted) and reference, both on the crop grid; record (of the crop); full (prediction on the converted
    grid); reference_native (the mask as it was given)
output: json; params: measure (section of the configuration), mask_labels (values that count, empty: all)
"""

import SimpleITK as sitk

from lib.anatomy.femur.landmarks import femur_levels
from lib.atomic import read_json, write_json
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.nifti import read_image, read_mask
from lib.joblog import job_log
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
    # on the reference's own grid; where that is the converted scan's, this leaves the voxels as they are
    full = sitk.Resample(
        sitk.Cast(read_image(given.full), sitk.sitkFloat32), native, sitk.Transform(), sitk.sitkLinear
    )
    own = measure_native(array_zyx(native), array_zyx(full) >= 0.5, spacing_zyx(native))
    undefined = overlap["undefined"] | parts["undefined"] | own["undefined"]
    write_json(snakemake.output.json, overlap | parts | own | {"side": side, "undefined": undefined})
    logger.info("dsc %s, volume error %s %%", overlap["dsc"], overlap["re_percent"])
