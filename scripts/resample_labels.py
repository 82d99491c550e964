"""Job script of rule resample_labels: resample a reference mask to the grid of the resampled scan.

input: mask (a label map as it was given), image (converted); output: labels (label map of the study)
params: resample, structures (their values in the mask)
"""

from lib.imaging.grid import volumes_mm3
from lib.imaging.nifti import read_image, write_image
from lib.imaging.resample import resample_labels
from lib.joblog import job_log
from lib.reading.image_files import read_labels
from lib.resample_settings import ResampleConfig

with job_log(snakemake.log[0], hide=[snakemake.input.mask]) as logger:
    structures = snakemake.params.structures
    labels = read_labels(snakemake.input.mask, structures)
    config = ResampleConfig(**snakemake.params.resample)
    resampled = resample_labels(labels, read_image(snakemake.input.image), config)
    before, after = (volumes_mm3(image, structures) for image in (labels, resampled))
    for name in structures:
        logger.info("%s: volume %.1f mm3 -> %.1f mm3", name, before[name], after[name])
    write_image(resampled, snakemake.output.labels)
