"""Job script of rule crop_image: cut the window out of a scan and record its position."""

from lib.anatomy.locate import WindowRequest, margins_of, window_center
from lib.anatomy.protocol import Location
from lib.atomic import read_json, write_json
from lib.crop_settings import CropConfig
from lib.imaging.crop import crop_image
from lib.imaging.intensity_range import find_range
from lib.imaging.model_frame import frame_of
from lib.imaging.nifti import read_image, write_image
from lib.intensity_scale import IntensityConfig
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    params, screened = snakemake.params, read_json(snakemake.input.screened)
    image, crop = read_image(snakemake.input.image), CropConfig(**params.crop)
    asked = WindowRequest(anatomy=params.anatomy, side=params.side, center_mm_xy=params.center_mm_xy)
    center = window_center(image, asked, crop, Location.from_json(screened["location"]))
    intensity = find_range(image, IntensityConfig(**params.intensity))
    frame = frame_of(params.side, params.slice_axis, screened["geometry"]["acquired_axis"])
    cropped, record = crop_image(image, center, crop, margins_of(params.anatomy, crop), intensity, frame)
    logger.info(
        "%s centre (%.1f, %.1f) mm, window from %s", record.source, *record.center_mm_xy, record.start_xyz
    )
    logger.info("values from %g to %g become 0 to 1", intensity.low, intensity.high)
    logger.info("flags: %s", ", ".join(record.flags) or "none")
    write_image(cropped, snakemake.output.image)
    write_json(snakemake.output.json, record.to_json())
