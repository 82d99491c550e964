"""Job script of rule gather_volumes: tabulate the measurements of all predictions of the study.

input: folds, scans, acquisition (.csv); measured (list of .../{group}/{network}/{members}/{scan}.json),
    corrected (list of .../{scan}.json), errors (list of volume_errors.json)
output: volumes, measurements (tidy); where densities are measured: geometry
params: structures, groups, networks (names), modality,
    heldout_weights, seen (paths of predictions by models that were trained on their person), needs_edit (scans),
    confidence (of the intervals)
"""

from dataclasses import asdict
from pathlib import Path

from lib.atomic import read_json
from lib.catalog.modalities import MODALITIES
from lib.cohort.acquisitions import off_protocol_scans
from lib.cohort.leakage import mark_seen
from lib.cohort.predictions import plan_predictions
from lib.cohort.scans import read_folds, read_records
from lib.joblog import job_log
from lib.measured import read_measured
from lib.stats.flow import SEEN_IN_TRAINING
from lib.stats.geometry_table import geometry_table
from lib.stats.grouping import first_scans
from lib.stats.intervals import read_volume_errors, with_intervals
from lib.stats.measurements import measurements_table
from lib.stats.tables import (
    by_structure,
    flat_prediction,
    volumes_table,
    with_corrected,
    with_flag,
    write_table,
)

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    plan = plan_predictions(read_folds(given.folds), params.groups, params.networks, params.heldout_weights)
    plan = mark_seen(plan, params.seen)
    records, overlaps, densities = read_measured(given.measured, "volume", "overlap", "density")
    for path in params.seen:
        for structure in params.structures:
            if record := records.get(f"{path}/{structure}"):
                record["flags"].append(SEEN_IN_TRAINING)
    repeats = first_scans({record["scan"]: record["repeat_of"] for record in read_records(given.scans)})
    predictions = by_structure((flat_prediction(asdict(row)) for row in plan), params.structures)
    records = with_intervals(records, predictions, read_volume_errors(given.errors), params.confidence)
    volumes = volumes_table(predictions, records, repeats)
    volumes = with_flag(volumes, "off_protocol", off_protocol_scans(given.acquisition))
    volumes = with_flag(volumes, "needs_edit", params.needs_edit)
    corrected = {Path(path).stem: read_json(path) for path in given.corrected}
    volumes = with_corrected(volumes, corrected)
    value_unit = MODALITIES[params.modality].unit
    measurements = measurements_table(predictions, overlaps, records, repeats, value_unit, densities)
    write_table(volumes, snakemake.output.volumes)
    write_table(measurements, snakemake.output.measurements)
    if path := snakemake.output.get("geometry"):
        write_table(geometry_table(predictions, densities), path)
    logger.info("%d volumes of %d planned predictions", len(volumes), len(plan))
