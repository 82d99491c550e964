"""Job script of rule tabulate_table1: make the paper's Table 1 for this study.

input: agreement, metrics; output: table1; params: synthetic (leaves out the paper's values)
"""

from lib.joblog import job_log
from lib.stats.paper import table1
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    agreement, metrics = read_table(snakemake.input.agreement), read_table(snakemake.input.metrics)
    table = table1(agreement, metrics, synthetic=snakemake.params.synthetic)
    write_table(table, snakemake.output.table1)
    logger.info("%d rows", len(table))
