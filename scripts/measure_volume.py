"""Job script of rule measure_volume: measure the volume of one predicted mask.

input: batch (folder with {scan}/probability.nii.gz and uncertainty.json), mask (on the grid of the crop), full
    (on the grid of the converted scan), reference (cropped mask, optional), otsu, image,
    record (of the crop), screened
output: json; params: otsu (section of the configuration), distal_cut_mm, review_member_dice
"""

from pathlib import Path

from lib.anatomy.femur.distal_end import MeasureConfig, measure_distal_end
from lib.atomic import read_json, write_json
from lib.cohort.flags import gather_flags
from lib.imaging.nifti import read_image, read_mask
from lib.imaging.otsu import OtsuConfig
from lib.imaging.volume import measure_volume
from lib.joblog import job_log
from lib.measured import join_measured

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    predicted = Path(given.batch, snakemake.wildcards.scan)
    otsu, crop, screened = (read_json(path) for path in (given.otsu, given.record, given.screened))
    uncertainty = read_json(predicted / "uncertainty.json")
    mask = read_mask(given.mask)
    measured = measure_volume(
        read_image(given.image),
        read_image(predicted / "probability.nii.gz"),
        mask,
        read_mask(given.full),
        otsu,
        OtsuConfig(**params.otsu),
    )
    reference = read_mask(given.reference) if given.get("reference") else None
    end = measure_distal_end(mask, reference, crop["side"], MeasureConfig(distal_cut_mm=params.distal_cut_mm))
    phantom = {"density_phantom_in_view": screened["density_phantom_in_view"]}
    flags = gather_flags(otsu, crop, screened, uncertainty, params.review_member_dice)
    measured = join_measured(measured, phantom, end, uncertainty, {"flags": flags})
    logger.info("%.1f mm3, flags: %s", measured["predicted_mm3"], ", ".join(measured["flags"]) or "none")
    write_json(snakemake.output.json, measured)
