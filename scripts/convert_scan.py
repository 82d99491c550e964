"""Job script of rule convert_scan: convert a scan of any format to int16 (HU for CT) on patient axes."""

from lib.atomic import read_json, write_json
from lib.imaging.nifti import write_image
from lib.joblog import job_log
from lib.reading.dicom import read_scan
from lib.reading.geometry import require_same_geometry
from lib.screening_settings import ScreeningConfig

with job_log(snakemake.log[0], hide=[snakemake.input.image]) as logger:
    screened = read_json(snakemake.input.screened)
    scan = read_scan(
        snakemake.input.image, snakemake.params.series_uid, ScreeningConfig(**screened["limits"])
    )
    require_same_geometry(scan.geometry, screened["geometry"])
    logger.info("size (x, y, z) %s, spacing %s mm", scan.geometry.size_xyz, scan.geometry.spacing_mm_xyz)
    write_image(scan.image, snakemake.output.image)
    write_json(
        snakemake.output.json,
        {
            "geometry": scan.geometry.to_json(),
            "acquisition": scan.acquisition.to_json(),
            "value_scale": scan.value_scale,
        },
    )
