"""Job script of rule draw_rods: draw the rods of the phantom in one scan, with the discs that were measured.

input: image (converted), calibrated (json); output: picture (.webp); params: radius_mm of the discs
"""

from lib.calibrated import read_calibration
from lib.figures.contours import write_picture
from lib.figures.rods_picture import RodSight, draw_rods
from lib.imaging.grid import array_zyx, column_index, spacing_zyx
from lib.imaging.nifti import read_image
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    image = read_image(snakemake.input.image)
    found = read_calibration(snakemake.input.calibrated)
    sight = RodSight(
        slice_yx=array_zyx(image)[image.GetSize()[2] // 2],
        pixel_mm_yx=spacing_zyx(image)[1:],
        centers_xy=[column_index(image, (rod["x_mm"], rod["y_mm"])) for rod in found.rods],
        radius_mm=snakemake.params.radius_mm,
    )
    write_picture(draw_rods(sight, snakemake.wildcards.scan, found), snakemake.output.picture)
    logger.info("%d rods of %s drawn, verdict %s", len(found.rods), snakemake.wildcards.scan, found.verdict)
