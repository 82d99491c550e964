"""Which files each step reads: the functions behind the inputs. Tables are read once in a run."""

import json
from collections import defaultdict
from dataclasses import asdict

from lib.model_record import read_run
from lib.catalog.protocols import PRIMARY_PROTOCOLS
from lib.cohort.leakage import FoldPeople, Roster, mark_seen, people_to_be, seen_paths
from lib.pseudonyms import matching_secret


def there(files):
    """Return the files; with partial=true those that exist."""
    return [file for file in files if not config["partial"] or os.path.exists(file)]


def screened_files():
    """Return the screening file of every scan; with partial=true of those that have one."""
    return there(f"results/screened/{scan}.json" for scan in SCANS)


# ---- the split, once screening has ended ----------------------------------------------------------------------
# Tens of thousands of jobs ask for their part of it: what they find is kept for each draw, by path and time of folds.csv.
def draw():
    """Return path and time of the draw of folds. Waits for the checkpoint."""
    path = checkpoints.split_folds.get().output.folds
    return path, os.path.getmtime(path)


@cache
def _placements(draw, kept=()):
    # a former row stays in the split when its scan is excluded or rejected later, but nothing is done with it
    accepted_now = {row.scan for row in accepted_scans(read_records("results/cohort/scans.csv"))}
    return [row for row in read_folds(draw[0]) if row.scan in SCANS and row.scan in accepted_now.union(kept)]


def placements():
    """Return the accepted scans with set, fold and batch."""
    return _placements(draw())


def accepted():
    return [row.scan for row in placements()]


def to_crop():
    """Return the accepted scans; before there is a split those of an ended screening, so that crops can be looked at."""
    screened = "results/cohort/scans.csv"
    if not os.path.exists("results/folds/folds.csv") and os.path.exists(screened):
        records = read_records(screened)
        if {record["scan"] for record in records} == set(SCANS):
            return [row.scan for row in accepted_scans(records)]
    return accepted()


@cache
def _batches(draw):
    return {row.scan: row.batch for row in _placements(draw)}


@cache
def _asked(draw, kept=()):
    rows = _placements(draw, kept)
    return plan_predictions(rows, GROUPS, NETWORKS, config["predict"]["heldout_weights"])


@cache
def _asked_by_batch(draw, kept):
    batches = defaultdict(list)
    for row in _asked(draw, kept):
        batches[row.folder, row.placement.batch].append(row.placement.scan)
    return batches


@cache
def _roster(secret):
    # people left out count too: one of their scans may have trained a model
    subjects = {scan: row.subject for scan, row in COHORT.items()}
    return Roster(subjects, secret, read_digests("results/cohort/digests.csv"))


def _people_of_fold(draw, group, network, fold, model):
    # by the split while a fold waits for its training, by its record then: both name the same people, so that the
    # plan is the same before and after it, in this process and in those of its jobs
    if awaits_training(group, network, fold):
        return people_to_be(_placements(draw), GROUPS[group], fold)
    record = f"{os.path.dirname(model)}/run.json"
    run = read_run(record) if os.path.exists(record) else None
    secret = matching_secret(run, SECRETS) if run else None
    return _roster(secret).people_of(run) if secret else FoldPeople()


@cache
def _seen(draw):
    folds = {
        f"{group}/{network}/fold-{fold}": _people_of_fold(draw, group, network, fold, model)
        for group in GROUPS
        for network in NETWORKS
        for fold, model in zip(FOLDS, models_of(group, network), strict=True)
    }
    return seen_paths(_asked(draw), folds)


def seen_in_training(wildcards):
    """Return the paths of the predictions by models that their person trained: measured, never scored."""
    return _seen(draw())


@cache
def _planned(draw):
    return mark_seen(_asked(draw), _seen(draw))


@cache
def _measurable(draw):
    folds = untrained_folds()
    return [row for row in _planned(draw) if is_measurable(row, folds, "results")]


def predictions():
    """Return every prediction of the study; with partial=true those that have ended well."""
    return _measurable(draw()) if config["partial"] else _planned(draw())


def scored_predictions():
    """Return those of `predictions` that are compared with a reference; with partial=true but where that failed."""
    return [
        row
        for row in predictions()
        if row.protocol != "apply"
        and not (config["partial"] and prediction_failure(row, ("score",), "results"))
    ]


def second_read():
    """Return those of `scored_predictions` that are set beside a second reader."""
    return [row for row in scored_predictions() if SCANS[row.placement.scan].mask2]


def made(pattern):
    """Return a file of every accepted scan; with partial=true of those that have one."""
    return there(expand(pattern, scan=accepted()))


def predicted_paths():
    """Return the common part of path, models and scan, of all predictions."""
    return [row.path for row in predictions()]


def models_of(group, network):
    """Return the model files of all folds."""
    folder = config["model"] or f"results/models/{group}/{network}"
    return [f"{folder}/fold-{fold}/model.pt" for fold in FOLDS]


def awaits_training(group, network, fold):
    """Say whether a fold may be trained: one that has no model.pt, or any with retrain=true.

    A finished model is a leaf of the workflow: neither new code nor a changed cohort trains it again by itself.
    """
    model = f"results/models/{group}/{network}/fold-{fold}/model.pt"
    return not FINISHED and (config["retrain"] or not os.path.exists(model))


def untrained():
    """Return a pattern of the folds that may be trained."""
    folds = [
        f"{group}/{network}/fold-{fold}"
        for group in GROUPS
        for network in NETWORKS
        for fold in FOLDS
        if awaits_training(group, network, fold)
    ]
    # a look-ahead in the first wildcard's pattern holds for the three wildcards together
    return f"(?=(?:{'|'.join(folds)})/)[a-z0-9-]+" if folds else "(?!)"


def scans_of_fold(chosen, pattern):
    """Return the function that lists a file of each scan that `chosen` picks for a fold."""
    return lambda wildcards: [
        pattern.format(scan=row.scan)
        for row in placements()
        if chosen(row, GROUPS[wildcards.group], int(wildcards.fold))
    ]


def batch_scans(wildcards):
    """Return the scans of one batch that these members predict.

    A scan that was rejected in review stays in its batch: the others' maps need not be made again.
    """
    cropped = tuple(scan for scan in REJECTED if os.path.exists(f"results/cropped/{scan}/image.nii.gz"))
    folder = f"{wildcards.group}/{wildcards.network}/{wildcards.members}"
    return _asked_by_batch(draw(), cropped)[folder, int(wildcards.batch)]


def member_models(wildcards):
    """Return the models that predict together; `single` picks one of them by its validation Dice."""
    models = models_of(wildcards.group, wildcards.network)
    if wildcards.members.startswith("fold-"):
        return [model for model in models if os.path.basename(os.path.dirname(model)) == wildcards.members]
    return models


def batch_folder(wildcards):
    """Return the batch that holds a scan's probability map."""
    batch = _batches(draw())[wildcards.scan]
    return f"results/predictions/{wildcards.group}/{wildcards.network}/{wildcards.members}/batch-{batch}"


def scored_paths():
    """Return the paths of predictions that have a reference to be compared with."""
    return [row.path for row in scored_predictions()]


def reader_files(wildcards):
    """Return the comparison of readers of each prediction that has one; with partial=true but where that failed."""
    return [
        f"results/readers/{row.path}.json"
        for row in second_read()
        if not (config["partial"] and prediction_failure(row, ("second reader",), "results"))
    ]


def scored_scans(pattern):
    """Return a file of every scan that is scored at least once."""
    return expand(pattern, scan=dict.fromkeys(row.placement.scan for row in scored_predictions()))


def figure_inputs(pattern):
    """Return one file for each scored prediction."""
    return lambda wildcards: [pattern.format(path=path) for path in scored_paths()]


def fold_files(name):
    """Return a file beside every model that the study uses."""
    models = [model for group in GROUPS for network in NETWORKS for model in models_of(group, network)]
    files = [f"{os.path.dirname(model)}/{name}" for model in models]
    # finished models may come without their history
    return [file for file in files if not (config["partial"] or FINISHED) or os.path.exists(file)]


# ---- intervals of volumes --------------------------------------------------------------------------------------
def out_of_fold_predictions(group, network):
    """Return the scored predictions of people by the fold model of a network that never saw them."""
    return [
        row
        for row in scored_predictions()
        if row.protocol == "cv" and (row.group, row.network) == (group, network)
    ]


def out_of_fold(pattern):
    """Return the function that lists a file of each of `out_of_fold_predictions`."""
    return lambda wildcards: [
        pattern.format(path=row.path) for row in out_of_fold_predictions(wildcards.group, wildcards.network)
    ]


def volume_error_files():
    """Return the out-of-fold errors of every network; finished models may come without."""
    if FINISHED:
        file = f"{config['model']}/volume_errors.json"
        return [file] if os.path.exists(file) else []
    return [
        f"results/models/{group}/{network}/volume_errors.json" for group in GROUPS for network in NETWORKS
    ]


# ---- review, and what did not come through --------------------------------------------------------------------
def corrected_files():
    """Return the measures of the corrected masks of the study's scans; with partial=true but where that failed."""
    return [
        f"results/corrected/{scan}.json"
        for scan in corrected_scans()
        if not (config["partial"] and job_failure("measure_corrected", "results", scan=scan))
    ]


def corrected_scans():
    """Return the scans of the study that have a corrected mask."""
    return [scan for scan in accepted() if scan in CORRECTED]


def untrained_folds(wildcards=None):
    """Return with partial=true why each fold without a model has none, by `{group}/{network}/fold-{fold}`."""
    if not config["partial"] or FINISHED:
        return {}
    folds = [f"{group}/{network}/fold-{fold}" for group in GROUPS for network in NETWORKS for fold in FOLDS]
    return {
        fold: explain_fold(fold, "results")
        for fold in folds
        if not os.path.exists(f"results/models/{fold}/model.pt")
    }


def failures(wildcards):
    """Return with partial=true what of each scan is missing and why, by scan."""
    if not config["partial"]:
        return {}
    rows = placements()
    unscreened = {scan: job_failure("screen_scan", "results", scan=scan) for scan in SCANS}
    return {scan: why for scan, why in unscreened.items() if why} | explain_failures(
        rows,
        _planned(draw()),
        (set(predicted_paths()), set(scored_paths())),
        (second_read(), corrected_scans()),
        untrained_folds(),
        "results",
    )


# ---- pages of scans: a folder a batch -------------------------------------------------------------------------
def scan_page_folders():
    """Return the folder of pages of every batch that has a prediction."""
    batches = sorted({row.placement.batch for row in predictions()})
    return [f"results/report/scans/batch-{batch}" for batch in batches]


@cache
def _shown_by_batch(draw):
    groups, batches = list(GROUPS), defaultdict(list)
    for row in predictions():
        batches[row.placement.batch].append(row)
    for rows in batches.values():
        rows.sort(
            key=lambda row: (
                groups.index(row.group),
                NETWORKS.index(row.network),
                PRIMARY_PROTOCOLS.index(row.protocol),
            )
        )
    return batches


def shown_predictions(wildcards):
    """Return the predictions of a batch, the primary one of each scan before its others."""
    return _shown_by_batch(draw())[int(wildcards.batch)]


def shown_scans(wildcards):
    """Return placement, review and predictions of each scan of a batch as plain values: what its page tells."""
    scans, seen = {}, set(seen_in_training(wildcards))
    for row in shown_predictions(wildcards):
        scan = row.placement.scan
        page = scans.setdefault(
            scan, {"placement": asdict(row.placement), "review": REVIEWS.get(scan, {}), "predictions": []}
        )
        named = ("group", "network", "members", "protocol", "weights")
        plan = {"scan": scan, "seen_in_training": row.path in seen}
        page["predictions"].append(plan | {name: getattr(row, name) for name in named})
    return list(scans.values())


def of_shown_scans(pattern, chosen=lambda scan: True):
    """Return the function that lists a file of each `chosen` scan of a batch."""
    return lambda wildcards: there(
        pattern.format(scan=scan)
        for scan in dict.fromkeys(row.placement.scan for row in shown_predictions(wildcards))
        if chosen(scan)
    )


def of_shown_predictions(pattern, chosen=lambda row: True):
    """Return the function that lists a file of each `chosen` prediction of a batch."""
    return lambda wildcards: there(
        pattern.format(path=row.path) for row in shown_predictions(wildcards) if chosen(row)
    )


# ---- Snakemake's own report -------------------------------------------------------------------------------------
def captions():
    """Return the text under each kind of figure, by kind, as the study's page has it."""
    return {path.stem: path.read_text(encoding="utf-8").strip() for path in page_files("captions/*.rst")}


def figure_labels(wildcards, output):
    """Return what tells a figure from the others of its category."""
    entries = json.loads(Path(output.figures, "figures.json").read_text(encoding="utf-8"))["figures"]
    entry = next(entry for entry in entries if entry["name"] == wildcards.figure)
    return {"figure": entry["title"], "network": entry["network"], "protocol": entry["protocol"]}


# ---- two runs beside each other --------------------------------------------------------------------------------
def other_tables(wildcards):
    """Return the tables of the other run."""
    if not config["other"]:
        raise WorkflowError("name the run to compare with: snakemake compare --config other=FOLDER")
    return [f"{OTHER}/{name}" for name in NEEDED]
