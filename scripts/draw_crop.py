"""Job script of rule draw_crop: draw the window in the whole scan, with its side, source, doubts and flags.

input: image (resampled, uncut), record (crop.json), screened (the scan's screening file)
output: picture (.webp); the wildcard scan is written above the views
"""

from lib.anatomy.locate import shown_slice
from lib.anatomy.protocol import Location
from lib.atomic import read_json
from lib.catalog.anatomies import part_in_words
from lib.catalog.modalities import MODALITIES
from lib.crop_settings import CropConfig
from lib.figures.contours import write_picture
from lib.figures.crop_picture import CropSight, describe_crop, draw_crop, window_color
from lib.imaging.grid import array_zyx, column_index, column_mm, spacing_zyx
from lib.imaging.nifti import read_image
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    image = read_image(snakemake.input.image)
    record, located = read_json(snakemake.input.record), read_json(snakemake.input.screened)["location"]
    modality, anatomy = MODALITIES[snakemake.params.modality], snakemake.params.anatomy
    window = modality.window(record["intensity"])
    i, j = column_index(image, record["center_mm_xy"])
    columns, rows, _ = image.GetSize()
    sight = CropSight(
        image_zyx=array_zyx(image),
        window=window,
        projection_window=modality.projection_window or window,
        spacing_mm_zyx=spacing_zyx(image),
        start_xyz=tuple(record["start_xyz"]),
        size_xyz=tuple(record["size_xyz"]),
        center_xy=(i, j),
        head_z=shown_slice(image, anatomy, CropConfig(**snakemake.params.crop), Location.from_json(located)),
        x_mm=tuple(column_mm(image, (end, j))[0] for end in (0, columns - 1)),
        y_mm=tuple(column_mm(image, (i, end))[1] for end in (0, rows - 1)),
    )
    part = part_in_words(anatomy, record["side"])
    lines = describe_crop(snakemake.wildcards.scan, record, located, part)
    write_picture(draw_crop(sight, lines, window_color(record)), snakemake.output.picture)
    logger.info("crop of %s drawn, flags: %s", snakemake.wildcards.scan, ", ".join(record["flags"]) or "none")
