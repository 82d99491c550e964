"""Job script of rule gather_screening: tabulate the verdict on each scan of the cohort table.

input: table (the cohort table), screened (list of json); output: scans, digests (of voxels)
params: cohort_columns (further columns to repeat), rejected (comments of the review by rejected scan), slice_axis
    (along which all slices must have been acquired; empty: any)
"""

from pathlib import Path

from lib.atomic import read_json
from lib.catalog.anatomies import usual_side
from lib.cohort.scans import (
    DIGEST_COLUMNS,
    SCAN_COLUMNS,
    gather_screening,
    refused_between,
    voxel_digests,
    write_records,
)
from lib.cohort.table import read_cohort
from lib.joblog import job_log, notice

with job_log(snakemake.log[0], hide=[snakemake.input.table]) as logger:
    extra = snakemake.params.cohort_columns
    side = usual_side(snakemake.params.anatomy)
    cohort = read_cohort(snakemake.input.table, extra_columns=extra, usual_side=side)
    screened = {Path(path).stem: read_json(path) for path in snakemake.input.screened}
    records = gather_screening(cohort, screened, snakemake.params.rejected, snakemake.params.slice_axis)
    for line in refused_between(records, screened):
        notice("%s", line)
    write_records(records, [*SCAN_COLUMNS, *extra], snakemake.output.scans)
    digests = ({"scan": scan, "voxels": digest} for scan, digest in voxel_digests(screened).items())
    write_records(digests, DIGEST_COLUMNS, snakemake.output.digests)
    for verdict in ("ok", "rejected", "excluded", "missing"):
        logger.info("%s: %d scans", verdict, sum(record["verdict"] == verdict for record in records))
