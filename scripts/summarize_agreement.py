"""Job script of rule summarize_agreement: how well volumes and masks agree, and how far that can be trusted.

input: metrics, volumes (.csv); readers (list of .../{cohort}/{model}/{members}/{scan}.json), runs (list of run.json)
output: scores (overlap and surface distances), agreement (volumes), agreement_cut (those above the distal cut),
    folds (fold by fold), paired (models of one sex against that of all), ages (scores by age band), levels (Dice by
    part of the femur), spread (folds apart from people), precision (repeated scans), readers (two beside the model)
params: report (section of the configuration), seed
"""

from lib.atomic import read_json
from lib.joblog import job_log
from lib.seeding import derive_seed
from lib.stats.agreement import AgreementConfig
from lib.stats.precision import precision_table
from lib.stats.readers import readers_table
from lib.stats.scores import score_table
from lib.stats.spread import level_table, spread_table
from lib.stats.tables import (
    DISTAL_CUT,
    age_table,
    agreement_table,
    fold_table,
    paired_table,
    path_key,
    read_table,
    write_table,
)

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    config = AgreementConfig(seed=derive_seed(params.seed, "bootstrap"), **params.report)
    metrics, volumes = read_table(given.metrics), read_table(given.volumes)
    tables = {
        "scores": score_table(metrics, config),
        "agreement": agreement_table(metrics, config),
        "agreement_cut": agreement_table(metrics, config, DISTAL_CUT),
        "folds": fold_table(metrics, config),
        "paired": paired_table(metrics, config, [read_json(path) for path in given.runs]),
        "ages": age_table(metrics),
        "levels": level_table(metrics),
        "spread": spread_table(metrics),
        "precision": precision_table(metrics, volumes, config),
        "readers": readers_table(
            metrics, {path_key(path): read_json(path) for path in given.readers}, config
        ),
    }
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
    logger.info("%d scored predictions; rows: %s", len(metrics), {name: len(tables[name]) for name in tables})
