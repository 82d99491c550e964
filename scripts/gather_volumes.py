"""Job script of rule gather_volumes: tabulate the volumes of the study, one predicted scan a row.

input: folds, scans, acquisition (.csv); measured (list of .../{group}/{network}/{members}/{scan}.json),
    corrected (list of .../{scan}.json), errors (list of volume_errors.json)
output: volumes; params: groups, models (lists of names), heldout_weights, seen (paths of predictions by models that
    were trained on their person), needs_edit (scans), confidence (of the intervals)
"""

from dataclasses import asdict
from pathlib import Path

from lib.atomic import read_json
from lib.cohort.acquisitions import off_protocol_scans
from lib.cohort.leakage import mark_seen
from lib.cohort.predictions import plan_predictions
from lib.cohort.scans import read_folds, read_records
from lib.joblog import job_log
from lib.measured import read_measured
from lib.stats.flow import SEEN_IN_TRAINING
from lib.stats.grouping import first_scans
from lib.stats.intervals import read_volume_errors, with_intervals
from lib.stats.tables import flat_prediction, volumes_table, with_corrected, with_flag, write_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    plan = plan_predictions(read_folds(given.folds), params.groups, params.networks, params.heldout_weights)
    plan = mark_seen(plan, params.seen)
    (records,) = read_measured(given.measured, "volume")
    for path in records.keys() & params.seen:
        records[path]["flags"].append(SEEN_IN_TRAINING)
    repeats = first_scans({record["scan"]: record["repeat_of"] for record in read_records(given.scans)})
    predictions = [flat_prediction(asdict(prediction)) for prediction in plan]
    records = with_intervals(records, predictions, read_volume_errors(given.errors), params.confidence)
    volumes = volumes_table(predictions, records, repeats)
    volumes = with_flag(volumes, "off_protocol", off_protocol_scans(given.acquisition))
    volumes = with_flag(volumes, "needs_edit", params.needs_edit)
    corrected = {Path(path).stem: read_json(path)["corrected_mm3"] for path in given.corrected}
    volumes = with_corrected(volumes, corrected)
    write_table(volumes, snakemake.output.volumes)
    logger.info("%d volumes of %d planned predictions", len(volumes), len(plan))
