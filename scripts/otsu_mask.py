"""Job script of rule otsu_mask: turn a probability map into masks on the grids of crop and converted scan."""

from pathlib import Path

from lib.atomic import write_json
from lib.imaging.full_mask import full_mask
from lib.imaging.grid import array_zyx, image_like, voxel_mm3
from lib.imaging.nifti import read_image, write_image
from lib.imaging.otsu import OtsuConfig, otsu_mask
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    probability = read_image(Path(snakemake.input.batch, snakemake.wildcards.scan, "probability.nii.gz"))
    otsu = otsu_mask(array_zyx(probability), OtsuConfig(**snakemake.params.otsu))
    logger.info("threshold %.4f, flags: %s", otsu.threshold, ", ".join(otsu.flags) or "none")
    write_image(image_like(otsu.mask_zyx, probability), snakemake.output.mask)
    write_image(full_mask(probability, otsu, read_image(snakemake.input.converted)), snakemake.output.full)
    write_json(snakemake.output.json, otsu.to_json(voxel_mm3(probability)))
