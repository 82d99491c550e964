"""Job script of rule gather_volume_errors: collect the out-of-fold errors for the intervals of volumes, without ids.

input: measured (list of .../{group}/{network}/fold-{k}/{scan}.json, out-of-fold predictions alone),
    runs (list of run.json)
output: errors (beside the folders of the folds); params: structures (names), subjects (the person of each scan)
"""

from pathlib import Path

from lib.atomic import write_json
from lib.joblog import job_log
from lib.measured import read_measured
from lib.stats.intervals import volume_errors

with job_log(snakemake.log[0]) as logger:
    network = "{group}/{network}".format_map(snakemake.wildcards)
    (overlaps,) = read_measured(snakemake.input.measured, "overlap")
    params, folder = snakemake.params, Path(snakemake.output.errors).parent
    errors = volume_errors(network, params.structures, overlaps, params.subjects, folder)
    write_json(snakemake.output.errors, errors)
    logger.info("%d out-of-fold errors of %d people", len(errors["errors"]), errors["people"])
