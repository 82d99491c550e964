"""Job script of rule tabulate_table2: make the paper's Table 2 with a row for this study.

input: metrics, unscored (.csv), runs (list of run.json); output: table2
params: published (otherwise the table is empty)
"""

from lib.joblog import job_log
from lib.model_record import read_run
from lib.stats.paper import table2
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    runs = [read_run(path) for path in snakemake.input.runs]
    metrics, unscored = read_table(snakemake.input.metrics), read_table(snakemake.input.unscored)
    table = table2(metrics, unscored, runs, published=snakemake.params.published)
    write_table(table, snakemake.output.table2)
    logger.info("%d rows", len(table))
