"""Job script of rule calibrate_density: find how the HU of one scan become bone density.

input: acquisition (converted/{scan}/image.json); image (converted, empty for `asynchronous`); for `asynchronous`
    source (calibrated/{scan}.json of the scan with the phantom) and source_acquisition; for `referenced` references
    (those of the cohort's scans with a phantom)
output: json; params: method, certificate (plain values, empty without a phantom), with_tissues, source_scan,
    source_refusal (why the cohort table forbids it, or empty), is_one_scanner, limits (the section calibration of the
    configuration)
"""

from lib.atomic import read_json, write_json
from lib.calibrated import read_calibration
from lib.calibration_settings import CalibrationConfig
from lib.certificates import Certificate
from lib.density.calibrate_scan import CalibrationRequest, CalibrationScan, calibrate_scan
from lib.imaging.nifti import read_image
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    source = given.source and CalibrationScan(
        scan=params.source_scan,
        calibration=read_calibration(given.source),
        acquisition=read_json(given.source_acquisition)["acquisition"],
        refusal=params.source_refusal,
        is_one_scanner=params.is_one_scanner,
    )
    request = CalibrationRequest(
        method=params.method,
        acquisition=read_json(given.acquisition)["acquisition"],
        certificate=Certificate.from_json(params.certificate) if params.certificate else None,
        source=source or None,
        references=[read_calibration(path) for path in given.references],
        with_tissues=params.with_tissues,
    )
    image = read_image(given.image) if given.image else None
    found = calibrate_scan(image, request, CalibrationConfig(**params.limits))
    logger.info("%s by %s: %s", found.verdict, found.method, found.found)
    logger.info("slope %s HU per mg/cm3, intercept %s HU", found.slope_hu_per_mg_cm3, found.intercept_hu)
    logger.info("reason %s, flags %s", found.reason or "none", ", ".join(found.flags) or "none")
    write_json(snakemake.output.json, found.to_json())
