"""Job script of rule tabulate_table2: the paper's Table 2 with this study's row.

input: metrics (.csv), runs (list of run.json); output: table2
params: synthetic (no row at all for people that are made up)
"""

from lib.atomic import read_json
from lib.joblog import job_log
from lib.stats.paper import table2
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    runs = [read_json(path) for path in snakemake.input.runs]
    table = table2(read_table(snakemake.input.metrics), runs, synthetic=snakemake.params.synthetic)
    write_table(table, snakemake.output.table2)
    logger.info("%d rows", len(table))
