"""Job script of rule measure_volume: what one predicted mask measures."""

from pathlib import Path

from lib.atomic import read_json, write_json
from lib.imaging.nifti import read_image, read_mask
from lib.imaging.otsu import OtsuConfig
from lib.imaging.volume import gather_flags, measure_volume
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    predicted = Path(given.batch, snakemake.wildcards.scan)
    otsu, crop, screened = (read_json(path) for path in (given.otsu, given.record, given.screened))
    uncertainty = read_json(predicted / "uncertainty.json")
    measured = measure_volume(
        read_image(given.image),
        read_image(predicted / "probability.nii.gz"),
        read_mask(given.mask),
        read_mask(given.full),
        otsu,
        OtsuConfig(**params.otsu),
    )
    measured["density_phantom_in_view"] = screened["density_phantom_in_view"]
    measured["flags"] = gather_flags(otsu, crop, screened, uncertainty, params.review_member_dice)
    measured |= uncertainty
    logger.info("%.1f mm3, flags: %s", measured["predicted_mm3"], ", ".join(measured["flags"]) or "none")
    write_json(snakemake.output.json, measured)
