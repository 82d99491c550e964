"""Job script of rule gather_notes: what a reader of the report must know first.

input: folds, flow (tables), runs (list of run.json); output: notes (json)
params: models, train, intensity (sections of the configuration), training_code, seed, finished, partial
"""

from lib.atomic import read_json, write_json
from lib.cohort.notes import leaks_of, missing_notes, model_notes, overlap_notes
from lib.cohort.placement import held_out_from_fold, trains_fold
from lib.cohort.scans import read_folds, read_records
from lib.joblog import job_log
from lib.learning.finished import changes_since
from lib.seeding import derive_seed

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    runs, flow = [read_json(path) for path in given.runs], read_records(given.flow)
    present = {record["scan"] for record in flow if record["verdict"] == "ok"}
    placements = [row for row in read_folds(given.folds) if row.scan in present]
    changes = {}
    for run in runs if not params.finished else []:
        settings = {
            "network": params.models[run["model"]],
            "train": params.train,
            "intensity": params.intensity,
        }
        teachers = [row.scan for row in placements if trains_fold(row, run["cohort"], run["fold"])]
        name = f"{run['cohort']}/{run['model']} fold {run['fold']}"
        changes[name] = changes_since(run, settings=settings, code=params.training_code, training=teachers)
        held_out = [row.scan for row in placements if held_out_from_fold(row, run["cohort"], run["fold"])]
        changes[name] += leaks_of(run, held_out)
        if run["seed"] != derive_seed(params.seed, "train", run["cohort"], run["model"], run["fold"]):
            changes[name].append("the seed has changed")
    notes = [*missing_notes(flow, partial=params.partial), *model_notes(changes)]
    notes += overlap_notes(runs, present) if params.finished else []
    write_json(snakemake.output.notes, {"notes": notes})
    logger.info("%d notes", len(notes))
