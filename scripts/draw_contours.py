"""Job script of rule draw_contours: contours of one predicted scan on its slices.

input: image (cropped CT), mask (predicted, crop grid), reference (cropped mask; left out where there is none)
output: montage (.webp), thumbnail (.webp); the wildcard scan is written above the slices
"""

from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.nifti import read_image, read_mask
from lib.joblog import job_log
from lib.stats.contours import draw_contours, draw_thumbnail, write_picture

with job_log(snakemake.log[0]) as logger:
    image, mask = read_image(snakemake.input.image), read_mask(snakemake.input.mask)
    require_same_grid(image, mask, "the cropped scan", "the predicted mask")
    arrays_zyx = [array_zyx(image), array_zyx(mask), None]
    if snakemake.input.get("reference"):
        arrays_zyx[2] = array_zyx(read_mask(snakemake.input.reference))
    spacing_mm_zyx = spacing_zyx(image)
    write_picture(
        draw_contours(*arrays_zyx, spacing_mm_zyx, snakemake.wildcards.scan), snakemake.output.montage
    )
    write_picture(draw_thumbnail(*arrays_zyx, spacing_mm_zyx), snakemake.output.thumbnail)
    logger.info("contours of %s drawn", snakemake.wildcards.scan)
