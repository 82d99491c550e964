"""Job script of rule gather_notes: collect the notes that the report shows at its top.

input: scans, folds, flow, volumes, coverage (tables), runs (list of run.json); output: notes (json)
params: configured (settings of each network's training), secrets (paths), training_code, seed, finished, synthetic,
    partial, untrained (why a fold has no model), folds (their number), networks (names), reviews (by scan),
    confidence, targets (structures whose density is learned), densities (those with a reference density, by scan)
"""

from lib.atomic import write_json
from lib.cohort.notes import (
    density_scans,
    failed_notes,
    fold_notes,
    late_notes,
    missing_notes,
    model_notes,
    origin_notes,
    review_notes,
    secret_notes,
    seen_notes,
    vendor_notes,
)
from lib.cohort.placement import training_scans
from lib.cohort.review import other_masks
from lib.cohort.scans import read_folds, read_records
from lib.joblog import job_log
from lib.learning.collapse import describe_warnings
from lib.learning.finished import TrainingPlan, changes_of_folds
from lib.model_record import REGRESS, SEGMENT, fold_name, read_run
from lib.pseudonyms import matching_secret
from lib.stats.coverage_notes import coverage_notes
from lib.stats.primary import primary_rows
from lib.stats.tables import read_table

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    flow, runs = read_records(given.flow), [read_run(path) for path in given.runs]
    models = [(run, matching_secret(run, params.secrets)) for run in runs]
    present = {record["scan"] for record in flow if record["verdict"] == "ok"}
    placements = [row for row in read_folds(given.folds) if row.scan in present]
    plan = TrainingPlan(configured=params.configured, codes=params.training_codes, seed=params.seed)
    known = {SEGMENT: present, REGRESS: params.densities}  # the scans that a task can be trained on
    changes = changes_of_folds(
        [] if params.finished else models,
        plan,
        lambda run: training_scans(placements, params.groups[run["group"]], run["fold"], known[run["task"]]),
    )
    primary = primary_rows(read_table(given.volumes), params.networks)
    volumes_mm3 = primary.groupby("scan", sort=False)["predicted_mm3"].sum(min_count=1).to_dict()
    notes = origin_notes(runs, synthetic=params.synthetic) + missing_notes(flow, partial=params.partial)
    failures = {fold_name(run): describe_warnings(run) for run in runs}
    notes += fold_notes(params.untrained, params.folds) + failed_notes(failures)
    notes += review_notes(flow, other_masks(params.reviews, volumes_mm3))
    notes += coverage_notes(read_table(given.coverage), params.confidence)
    notes += seen_notes(flow, finished=params.finished) + model_notes(changes)
    listed = {record["scan"]: record for record in read_records(given.scans)}
    vendors = {scan: record["vendor"] for scan, record in listed.items()}
    notes += vendor_notes(density_scans(placements, vendors, params.densities), params.targets)
    late = late_notes(placements, {scan: record["set"] for scan, record in listed.items()})
    notes += secret_notes(secret for _, secret in models) if params.finished else late
    write_json(snakemake.output.notes, {"notes": notes})
    logger.info("%d notes", len(notes))
