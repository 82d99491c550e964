"""Job script of rule measure_corrected: measure a mask that a person has corrected, and put it on the scan's grid.

input: mask (the corrected one), image (of the crop), converted (the converted scan); output: json, full (mask)
params: structures (names)
"""

from pathlib import Path

from lib.atomic import write_json
from lib.imaging.nifti import read_image, write_image
from lib.joblog import job_log
from lib.reading.corrected import read_corrected, use_corrected

with job_log(snakemake.log[0], hide=[Path(snakemake.input.mask).absolute()]) as logger:
    given, scan = snakemake.input, snakemake.wildcards.scan
    mask = read_corrected(given.mask, scan, snakemake.params.structures)
    name = f"corrected mask {Path(given.mask).name} of scan {scan}"
    made = use_corrected(
        mask, snakemake.params.structures, read_image(given.converted), read_image(given.image), name
    )
    for structure, found in made.measured.items():
        logger.info("%s: %.1f mm3 on the grid of %s", structure, found["corrected_mm3"], found["grid"])
    write_image(made.full, snakemake.output.full)
    write_json(snakemake.output.json, made.measured)
