"""Job script of rule gather_metrics: tabulate the scored predictions of the study, one a row.

input: folds, scans, acquisition (.csv); measured (list of .../{group}/{network}/{members}/{scan}.json),
    errors (list of volume_errors.json)
output: metrics, unscored (planned scores that are missing); params: structures, groups, networks (names),
    heldout_weights, seen (paths of predictions by models that were trained on their person, which are not scored),
    needs_edit (scans), confidence (of intervals)
"""

from dataclasses import asdict

from lib.cohort.acquisitions import off_protocol_scans
from lib.cohort.leakage import mark_seen
from lib.cohort.predictions import plan_predictions
from lib.cohort.scans import accepted_scans, read_folds, read_records
from lib.joblog import job_log
from lib.measured import read_measured
from lib.stats.grouping import first_scans
from lib.stats.intervals import read_volume_errors, with_intervals
from lib.stats.tables import (
    by_structure,
    flat_prediction,
    metrics_table,
    unscored_table,
    with_flag,
    write_table,
)

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    scans = read_records(given.scans)
    accepted = {row.scan for row in accepted_scans(scans)}
    placed = [row for row in read_folds(given.folds) if row.scan in accepted]
    plan = plan_predictions(placed, params.groups, params.networks, params.heldout_weights)
    planned = [flat_prediction(asdict(prediction)) for prediction in mark_seen(plan, params.seen)]
    predictions = by_structure(planned, params.structures)
    volumes, overlaps = read_measured(given.measured, "volume", "overlap")
    repeats = first_scans({record["scan"]: record["repeat_of"] for record in scans})
    unscored = unscored_table(predictions, overlaps, volumes, repeats)
    volumes = with_intervals(volumes, predictions, read_volume_errors(given.errors), params.confidence)
    metrics = metrics_table(predictions, overlaps, volumes, repeats)
    metrics = with_flag(metrics, "off_protocol", off_protocol_scans(given.acquisition))
    metrics = with_flag(metrics, "needs_edit", params.needs_edit)
    write_table(metrics, snakemake.output.metrics)
    write_table(unscored, snakemake.output.unscored)
    logger.info("%d scored of %d planned rows, %d not", len(metrics), len(predictions), len(unscored))
