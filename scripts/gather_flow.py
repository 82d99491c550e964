"""Job script of rule gather_flow: tabulate the last stage that each scan of the cohort table reached, and why.

input: scans (scans.csv), folds (folds.csv), converted and cropped (lists of .../{scan}/*.json), volumes and metrics
    (the tables)
output: flow; params: failures (reasons by scan), reviews (verdict and comment by scan)
"""

from pathlib import Path

from lib.joblog import job_log
from lib.stats.flow import flow_table, seen_in_training
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    volumes = read_table(given.volumes)
    reached = {
        "converted": [Path(path).parent.name for path in given.converted],
        "cropped": [Path(path).parent.name for path in given.cropped],
        "predicted": volumes["scan"],
        "scored": read_table(given.metrics)["scan"],
    }
    tables = (read_table(given.scans), read_table(given.folds))
    flow = flow_table(*tables, reached, params.failures, params.reviews, seen_in_training(volumes))
    write_table(flow, snakemake.output.flow)
    logger.info("scans by last stage: %s", flow["stage"].value_counts().to_dict())
