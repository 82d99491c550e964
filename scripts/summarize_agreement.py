"""Job script of rule summarize_agreement: summarize the agreement of volumes and masks, with confidence intervals.

input: metrics, unscored, volumes, measurements, folds, acquisition, scans (.csv); lists readers
    (.../{group}/{network}/{members}/{scan}.json), runs
output: scores (overlap and surface distances), agreement (of measurements with their references), folds (fold by
    fold), paired (sex-specific models against the model of everybody), ages (scores by age band), levels (Dice by
    part of the femur), spread (variance between folds and between people), subgroups (one sex, site or scanner
    against the others), precision (repeated scans), readers (two readers and the model), coverage (of the intervals
    of volumes), partitions (the people of each set); where densities are calibrated: density_precision,
    density_by_age
params: report (section of the configuration), structures (names)
"""

from lib.joblog import job_log
from lib.measured import read_measured
from lib.model_record import read_run
from lib.report_settings import AgreementConfig
from lib.stats.density_by_age import density_by_age_table
from lib.stats.density_precision import density_precision_table
from lib.stats.partitions import partition_table
from lib.stats.strata import with_strata
from lib.stats.summary import summary_tables
from lib.stats.tables import read_table, write_table

NAMES = ("metrics", "unscored", "volumes", "measurements", "acquisition")

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    config = AgreementConfig(**params.report)
    whole = {name: read_table(given[name]) for name in NAMES}
    whole = with_strata(whole, config.strata, read_table(given.scans))
    (readers,) = read_measured(given.readers, "readers")
    runs = [read_run(path) for path in given.runs]
    tables = summary_tables(whole, readers, runs, config)
    tables["partitions"] = partition_table(read_table(given.folds), whole, params.structures)
    if snakemake.output.get("density_precision"):
        tables["density_precision"] = density_precision_table(whole["measurements"], config)
        tables["density_by_age"] = density_by_age_table(whole["measurements"], config)
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
    rows = {name: len(table) for name, table in tables.items()}
    logger.info(
        "%d scored predictions, %d not; rows: %s", len(whole["metrics"]), len(whole["unscored"]), rows
    )
