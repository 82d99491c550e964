"""Job script of rule measure_corrected: measure a mask that a person has corrected.

input: mask (the corrected one), image (of the crop), converted (the converted scan); output: json
params: structures (names)
"""

from pathlib import Path

from lib.atomic import write_json
from lib.imaging.nifti import read_image
from lib.joblog import job_log
from lib.reading.corrected import measure_corrected, read_corrected

with job_log(snakemake.log[0], hide=[Path(snakemake.input.mask).absolute()]) as logger:
    given, scan = snakemake.input, snakemake.wildcards.scan
    mask = read_corrected(given.mask, scan, snakemake.params.structures)
    grids = {"the converted scan": read_image(given.converted), "the crop": read_image(given.image)}
    name = f"corrected mask {Path(given.mask).name} of scan {scan}"
    measured = measure_corrected(mask, snakemake.params.structures, grids, name)
    for structure, found in measured.items():
        logger.info("%s: %.1f mm3 on the grid of %s", structure, found["corrected_mm3"], found["grid"])
    write_json(snakemake.output.json, measured)
