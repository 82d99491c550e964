"""Job script of rule make_phantom_table: write the cohort table of the synthetic cohort."""

from lib.atomic import write_text
from lib.cohort.table import table_text
from lib.joblog import job_log
from lib.phantom.people import PhantomConfig, phantom_table

with job_log(snakemake.log[0]) as logger:
    records = phantom_table(PhantomConfig(**snakemake.params.phantom))
    write_text(snakemake.output.table, table_text(records))
    logger.info("%d synthetic scans", len(records))
