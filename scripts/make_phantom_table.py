"""Job script of rule make_phantom_table: write the table of the synthetic cohort, and the phantoms' certificates."""

from lib.atomic import write_text
from lib.cohort.table import table_text
from lib.joblog import job_log
from lib.phantom.density_phantoms import certificates_text
from lib.phantom.people import PhantomConfig, phantom_table

with job_log(snakemake.log[0]) as logger:
    records = phantom_table(PhantomConfig(**snakemake.params.phantom))
    write_text(snakemake.output.table, table_text(records))
    if snakemake.output.certificates:
        write_text(snakemake.output.certificates, certificates_text())
    logger.info("%d synthetic scans", len(records))
