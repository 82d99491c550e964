"""Job script of rule gather_flow: how far every scan of the cohort table came, and why no further.

input: scans (scans.csv), folds (folds.csv), converted and cropped (lists of .../{scan}/*.json), volumes and metrics
    (the tables)
output: flow; params: failures (what did not end well, by scan), reviews (verdict and comment by scan)
"""

from pathlib import Path

from lib.joblog import job_log
from lib.stats.flow import flow_table
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    reached = {
        "converted": [Path(path).parent.name for path in given.converted],
        "cropped": [Path(path).parent.name for path in given.cropped],
        "predicted": read_table(given.volumes)["scan"],
        "scored": read_table(given.metrics)["scan"],
    }
    tables = (read_table(given.scans), read_table(given.folds))
    flow = flow_table(*tables, reached, params.failures, params.reviews)
    write_table(flow, snakemake.output.flow)
    logger.info("scans by last stage: %s", flow["stage"].value_counts().to_dict())
