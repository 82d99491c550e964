"""Job script of rule measure_prediction: make the masks of one predicted scan and measure them.

input: batch (folder with {scan}/probability.nii.gz, or labels.nii.gz for several structures, and uncertainty.json),
    image and record (of the crop), converted, screened, runs (run.json of the models); optional: reference and
    second_reference (label maps of two readers on the grid of the crop), reference_native (the first reader's as it
    was given; the prediction is scored if it is there), calibrated
output: labels (on the grid of the crop), full (on the grid of the converted scan), json (sections of `lib.measured`);
    with a regression: crops (folder with {structure}.nii.gz and {structure}_mask.nii.gz); with regional densities:
    projected (.webp: the femur as DXA would project it, or why there is no projection)
params: structures (their values in reference_native, by name), mask (section of the settings), settings (anatomy,
    measure, review_member_dice, spacing_factor, erode_mm), density (section of the settings; empty: not measured),
    regression (targets and crop; empty: none), contrast (of the cohort table; empty: the header's counts)
"""

from pathlib import Path

from lib.atomic import read_json, write_json
from lib.calibrated import read_calibration
from lib.catalog.anatomies import ANATOMIES
from lib.cohort.stated import with_stated
from lib.figures.areal_picture import draw_femur
from lib.figures.contours import write_picture
from lib.imaging.nifti import read_grid, read_image, write_image
from lib.joblog import job_log
from lib.measuring.crops import LabelledScan, cut_crops, write_crops
from lib.measuring.prediction import (
    MeasuringConfig,
    PredictedScan,
    ReaderMasks,
    describe_measured,
    measure_prediction,
    predicted_file,
)
from lib.model_record import training_spacings
from lib.reading.image_files import read_labels
from lib.regression_settings import RegressionConfig

given, params = snakemake.input, snakemake.params
native, structures = given.get("reference_native"), list(params.structures)
needs_hu = params.density or ANATOMIES[params.settings["anatomy"]].has_levels

with job_log(snakemake.log[0], hide=[native] if native else []) as logger:
    batch = Path(given.batch, snakemake.wildcards.scan)
    scan = PredictedScan(
        prediction=read_image(batch / predicted_file(structures)),
        image=read_image(given.image),
        converted=(read_image if needs_hu else read_grid)(given.converted),
        crop=read_json(given.record),
        screened=with_stated(read_json(given.screened), contrast=params.contrast),
        uncertainty=read_json(batch / "uncertainty.json"),
        trained=training_spacings(given.runs),
        calibration=read_calibration(given.get("calibrated")),
    )
    drawn = read_labels(native, params.structures) if native else None
    readers = ReaderMasks.read(drawn, given.get("reference"), given.get("second_reference"))
    config = MeasuringConfig.from_settings(structures, params.mask, params.settings, params.density)
    made = measure_prediction(scan, readers, config)
    if folder := snakemake.output.get("crops"):
        labelled = LabelledScan(image=scan.converted, predicted=made.full, reference=readers.native)
        regression = RegressionConfig(**params.regression)
        write_crops(folder, cut_crops(labelled, made.sections["levels"], structures, regression))
    if path := snakemake.output.get("projected"):
        name, densities = snakemake.wildcards.scan, made.sections["density"]
        write_picture(draw_femur(name, scan.crop["side"], densities, made.projections), path)
    write_image(made.labels, snakemake.output.labels)
    write_image(made.full, snakemake.output.full)
    write_json(snakemake.output.json, made.sections)
    logger.info("%s", describe_measured(made.sections))
