"""Job script of rule screen_scan: read one scan completely and write its verdict."""

from lib.atomic import write_json
from lib.catalog.reasons import refusal_notice
from lib.crop_settings import CropConfig
from lib.intensity_scale import IntensityConfig
from lib.joblog import job_log, notice
from lib.screening.screen_scan import ScanRequest, screen_scan_guarded
from lib.screening_settings import ScreeningConfig

mask = snakemake.input.get("mask") or None
center = snakemake.params.center_mm_xy
with job_log(snakemake.log[0], hide=[snakemake.input.image, *([mask] if mask else [])]) as logger:
    request = ScanRequest(
        side=snakemake.params.side,
        series_uid=snakemake.params.series_uid,
        mask=mask,
        structures=snakemake.params.structures,
        anatomy=snakemake.params.anatomy,
        crop_center_mm_xy=tuple(center) if center else None,
        window_pixel_mm=snakemake.params.window_pixel_mm,
        slice_axis=snakemake.params.slice_axis,
        serves_calibration=snakemake.params.serves_calibration,
    )
    config = ScreeningConfig(**snakemake.params.screening, **snakemake.params.dicom)
    crop = CropConfig(**snakemake.params.crop)
    intensity = IntensityConfig(**snakemake.params.intensity)
    screening = screen_scan_guarded(snakemake.input.image, request, config, crop, intensity)
    for reason in screening["reasons"]:
        logger.info("%s %s: %s", reason["severity"], reason["code"], reason["found"])
    logger.info("verdict %s", screening["verdict"])
    if refused := refusal_notice(snakemake.wildcards.scan, screening["reasons"]):
        notice("%s", refused)
    write_json(snakemake.output.json, {"scan": snakemake.wildcards.scan, **screening})
