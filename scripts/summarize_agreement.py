"""Job script of rule summarize_agreement: agreement of volumes, fold by fold, between models and by age.

input: metrics
output: agreement, folds (fold by fold), paired (models of one sex against that of all), ages (scores by age band)
params: report (section of the configuration), seed
"""

from lib.joblog import job_log
from lib.seeding import derive_seed
from lib.stats.agreement import AgreementConfig
from lib.stats.tables import age_table, agreement_table, fold_table, paired_table, read_table, write_table

with job_log(snakemake.log[0]) as logger:
    metrics, output = read_table(snakemake.input.metrics), snakemake.output
    config = AgreementConfig(seed=derive_seed(snakemake.params.seed, "bootstrap"), **snakemake.params.report)
    write_table(agreement_table(metrics, config), output.agreement)
    write_table(fold_table(metrics, config), output.folds)
    write_table(paired_table(metrics, config), output.paired)
    write_table(age_table(metrics), output.ages)
    logger.info("%d scored predictions", len(metrics))
