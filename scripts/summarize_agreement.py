"""Job script of rule summarize_agreement: how well volumes and masks agree, and how far that can be trusted.

input: metrics, volumes, folds, acquisition (.csv); readers (list of .../{cohort}/{model}/{members}/{scan}.json), runs
    (list of run.json)
output: scores (overlap and surface distances), agreement (volumes), agreement_cut (those above the distal cut),
    folds (fold by fold), paired (models of one sex against that of all), ages (scores by age band), levels (Dice by
    part of the femur), spread (folds apart from people), precision (repeated scans), readers (two beside the model),
    partitions (who the people of each set are)
params: report (section of the configuration), seed
"""

from lib.atomic import read_json
from lib.joblog import job_log
from lib.seeding import derive_seed
from lib.stats.agreement import AgreementConfig
from lib.stats.partitions import partition_table
from lib.stats.summary import summary_tables
from lib.stats.tables import path_key, read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    config = AgreementConfig(seed=derive_seed(params.seed, "bootstrap"), **params.report)
    metrics, volumes = read_table(given.metrics), read_table(given.volumes)
    readers = {path_key(path): read_json(path) for path in given.readers}
    tables = summary_tables(metrics, volumes, readers, [read_json(path) for path in given.runs], config)
    people = (read_table(path) for path in (given.folds, given.acquisition))
    tables["partitions"] = partition_table(*people, metrics)
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
    logger.info("%d scored predictions; rows: %s", len(metrics), {name: len(tables[name]) for name in tables})
