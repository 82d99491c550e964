"""Job script of rule resample_image: resample one converted scan to slices (and pixels) of the configured size."""

from lib.catalog.modalities import MODALITIES
from lib.imaging.nifti import read_image, write_image
from lib.imaging.resample import resample_image
from lib.joblog import job_log
from lib.resample_settings import ResampleConfig

with job_log(snakemake.log[0]) as logger:
    # no variable keeps the scan, so that its memory is free when the result is assembled
    lowest = MODALITIES[snakemake.params.modality].lowest
    config = ResampleConfig(**snakemake.params.resample)
    resampled = resample_image(read_image(snakemake.input.image), config, lowest)
    logger.info("size (x, y, z) %s", resampled.GetSize())
    write_image(resampled, snakemake.output.image)
