"""Job script of rule compare_networks: set the networks of a study beside each other and test their differences.

input: metrics (.csv); lists runs (run.json), batches (folders with timing.json), measured
    (.../{group}/{network}/{members}/{scan}.json)
output: networks (scores and costs), network_pairs (each against the control), dimension_pair (the stated 2-D and 3-D
    network), selection (the best ones, chosen inside the resampling)
params: networks (section of the configuration), asked (section `network_comparison`), stated (when pair and control
    were stated), confidence, seed
"""

from lib.joblog import job_log
from lib.measured import read_measured
from lib.model_record import read_run
from lib.network_comparison_settings import NetworkComparisonConfig
from lib.stats.curves import areas_by_key, counts_of_predictions
from lib.stats.network_costs import prediction_seconds
from lib.stats.network_plan import NetworkPlan
from lib.stats.networks import tables_of_networks
from lib.stats.tables import read_table, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    metrics, runs = read_table(given.metrics), [read_run(path) for path in given.runs]
    plan = NetworkPlan(
        networks=params.networks,
        asked=NetworkComparisonConfig(**params.asked),
        confidence=params.confidence,
        seed=params.seed,
        stated=params.stated,
    )
    (curves,) = read_measured(given.measured, "curves")
    counts = counts_of_predictions(metrics, curves)
    seconds, areas = prediction_seconds(given.batches), areas_by_key(counts)
    tables = tables_of_networks(metrics, runs, plan, seconds, areas)
    for name, table in tables.items():
        write_table(table, snakemake.output[name])
    logger.info(
        "%d networks; rows: %s", len(plan.networks), {name: len(table) for name, table in tables.items()}
    )
