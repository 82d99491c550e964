"""Job script of rule crop_labels: cut the window of the cropped CT out of its reference mask."""

from lib.atomic import read_json
from lib.imaging.crop import crop_labels
from lib.imaging.grid import volume_mm3
from lib.imaging.nifti import read_mask, write_image
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    mask = read_mask(snakemake.input.mask)
    cropped = crop_labels(mask, read_json(snakemake.input.record))
    logger.info("volume %.1f mm3 -> %.1f mm3", volume_mm3(mask), volume_mm3(cropped))
    write_image(cropped, snakemake.output.mask)
