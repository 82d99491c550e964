"""Job script of rule crop_image: cut out the window of the requested hip and record its position."""

from lib.anatomy.femur.window import crop_center, femur_margins
from lib.atomic import read_json, write_json
from lib.imaging.crop import CropConfig, crop_image
from lib.imaging.intensity_range import find_range
from lib.imaging.nifti import read_image, write_image
from lib.intensity_scale import IntensityConfig
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    hip = read_json(snakemake.input.screened)["hip"]
    center = crop_center(snakemake.params.side, hip, snakemake.params.center_mm_xy)
    image, crop = read_image(snakemake.input.image), CropConfig(**snakemake.params.crop)
    intensity = find_range(image, IntensityConfig(**snakemake.params.intensity))
    cropped, record = crop_image(image, center, crop, femur_margins, intensity)
    logger.info(
        "%s centre (%.1f, %.1f) mm, window from %s", record.source, *record.center_mm_xy, record.start_xy
    )
    logger.info("values from %g to %g become 0 to 1", intensity.low, intensity.high)
    logger.info("flags: %s", ", ".join(record.flags) or "none")
    write_image(cropped, snakemake.output.image)
    write_json(snakemake.output.json, record.to_json())
