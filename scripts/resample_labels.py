"""Job script of rule resample_labels: resample a reference mask to the grid of the resampled CT."""

from lib.imaging.grid import volume_mm3
from lib.imaging.nifti import read_image, write_image
from lib.imaging.resample import ResampleConfig, resample_labels
from lib.joblog import job_log
from lib.reading.image_files import read_labels

with job_log(snakemake.log[0], hide=[snakemake.input.mask]) as logger:
    mask = read_labels(snakemake.input.mask, snakemake.params.mask_labels)
    config = ResampleConfig(**snakemake.params.resample)
    resampled = resample_labels(mask, read_image(snakemake.input.image), config)
    logger.info("volume %.1f mm3 -> %.1f mm3", volume_mm3(mask), volume_mm3(resampled))
    write_image(resampled, snakemake.output.mask)
