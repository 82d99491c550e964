"""Job script of rule measure_prediction: make the masks of one predicted scan and measure them.

input: batch (folder with {scan}/probability.nii.gz and uncertainty.json), image and record (of the crop), converted,
    screened; optional: reference and second_reference (masks of two readers on the grid of the crop),
    reference_native (the first reader's mask as it was given; the prediction is scored if it is there)
output: mask (on the grid of the crop), full (on the grid of the converted scan), json (sections of `lib.measured`)
params: otsu, measure (sections of the configuration), review_member_dice, structures (their values in
    reference_native)
"""

from pathlib import Path

from lib.anatomy.femur.distal_end import DistalEndConfig
from lib.atomic import read_json, write_json
from lib.imaging.nifti import read_grid, read_image, read_mask, write_image
from lib.joblog import job_log
from lib.measuring.prediction import MeasuringConfig, PredictedScan, ReaderMasks, measure_prediction
from lib.otsu_guards import OtsuConfig
from lib.reading.image_files import read_labels
from lib.stats.overlap import OverlapConfig

given, params = snakemake.input, snakemake.params
native = given.get("reference_native")

with job_log(snakemake.log[0], hide=[native] if native else []) as logger:
    batch = Path(given.batch, snakemake.wildcards.scan)
    scan = PredictedScan(
        probability=read_image(batch / "probability.nii.gz"),
        image=read_image(given.image),
        converted=read_grid(given.converted),
        crop=read_json(given.record),
        screened=read_json(given.screened),
        uncertainty=read_json(batch / "uncertainty.json"),
    )
    drawn = {"reference": given.get("reference"), "second": given.get("second_reference")}
    readers = ReaderMasks(
        native=read_labels(native, params.structures) if native else None,
        **{name: read_mask(path) for name, path in drawn.items() if path},
    )
    config = MeasuringConfig(
        otsu=OtsuConfig(**params.otsu),
        distal_end=DistalEndConfig(distal_cut_mm=params.measure["distal_cut_mm"]),
        overlap=OverlapConfig(nsd_tolerance_mm=params.measure["nsd_tolerance_mm"]),
        review_member_dice=params.review_member_dice,
    )
    mask, full, measured = measure_prediction(scan, readers, config)
    write_image(mask, snakemake.output.mask)
    write_image(full, snakemake.output.full)
    write_json(snakemake.output.json, measured)
    volume, dsc = measured["volume"], measured.get("overlap", {}).get("dsc")
    logger.info("%.1f mm3, flags: %s", volume["predicted_mm3"], ", ".join(volume["flags"]) or "none")
    logger.info("dsc: %s", "none" if dsc is None else f"{dsc:.4f}")
