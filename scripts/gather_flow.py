"""Job script of rule gather_flow: how far every scan of the cohort table came, and why no further.

input: scans (scans.csv), folds (folds.csv), converted and cropped (lists of .../{scan}/*.json), volumes and metrics
    (the tables)
output: flow
"""

from pathlib import Path

from lib.joblog import job_log
from lib.stats.tables import flow_table, read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given = snakemake.input
    reached = {
        "converted": [Path(path).parent.name for path in given.converted],
        "cropped": [Path(path).parent.name for path in given.cropped],
        "predicted": read_table(given.volumes)["scan"],
        "scored": read_table(given.metrics)["scan"],
    }
    flow = flow_table(read_table(given.scans), read_table(given.folds), reached)
    write_table(flow, snakemake.output.flow)
    logger.info("scans by last stage: %s", flow["stage"].value_counts().to_dict())
