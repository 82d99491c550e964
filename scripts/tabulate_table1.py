"""Job script of rule tabulate_table1: make the paper's Table 1 for this study.

input: agreement, metrics, unscored; output: table1; params: published (with the paper's values)
"""

from lib.joblog import job_log
from lib.stats.paper import table1
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given = snakemake.input
    agreement, metrics, unscored = map(read_table, (given.agreement, given.metrics, given.unscored))
    table = table1(agreement, metrics, unscored, published=snakemake.params.published)
    write_table(table, snakemake.output.table1)
    logger.info("%d rows", len(table))
