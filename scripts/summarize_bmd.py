"""Job script of rule summarize_bmd: means of people, agreement, vendors and classes of the densities.

input: bmd (.csv)
output: bmd_people, bmd_agreement, vendors, classes, confusion
params: density (arguments of `lib.stats.density_plan.DensityPlan`: targets, segmentation, regressors, confidence,
    seed), classes (section of the configuration)
"""

from lib.classes_settings import ClassesConfig
from lib.joblog import job_log
from lib.stats.density_plan import DensityPlan
from lib.stats.density_tables import density_tables
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    params = snakemake.params
    plan = DensityPlan(**params.density, classes=ClassesConfig(**params.classes))
    tables = density_tables(read_table(snakemake.input.bmd), plan)
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
    logger.info("rows: %s", {name: len(table) for name, table in tables.items()})
