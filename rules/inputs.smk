"""Input functions: which files each step reads. Tables are read once in a run."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.calibration import PHANTOM, REFERENCED
from lib.catalog.scales import OF_SYNTHETIC_PEOPLE
from lib.catalog.stages import (
    CALIBRATION_TABLES,
    DENSITY_TABLES,
    NETWORK_TABLES,
    REGIONAL_DENSITY_TABLES,
    STUDY_TABLES,
    stages_of,
)
from lib.cohort.calibration_scans import first_of_each_image, is_one_scanner, table_refusal
from lib.cohort.failures import explain_failures, explain_fold, is_measurable
from lib.cohort.failures import job_failure
from lib.cohort.leakage import FoldPeople, Roster, mark_seen, people_to_be, seen_paths
from lib.cohort.other_run import NEEDED
from lib.cohort.placement import Placement, Takes, in_group
from lib.cohort.predictions import Prediction, plan_estimates, plan_predictions
from lib.cohort.scans import accepted_scans, read_digests, read_folds, read_records
from lib.model_record import read_run
from lib.pseudonyms import matching_secret
from lib.structures import Structures, values_in_file
from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

Draw = tuple[str, float]  # path of folds.csv and the time of its last change
FilesOf = Callable[[Wildcards], list[str]]


def structures_of(scan: str) -> Structures:
    """Return the values of each structure in the masks of a scan."""
    return values_in_file(STUDY.structures, SCANS[scan].mask_labels)


def there(files: Iterable[str]) -> list[str]:
    """Return the files; with partial=true, only those that exist."""
    return [file for file in files if not config["partial"] or os.path.exists(file)]


def image_to_resample() -> str:
    """Return the image of a scan that is resampled: the converted one, or the one without its bias field."""
    folder = "converted" if "correct_bias" in UNUSED else "bias_corrected"
    return f"results/{folder}/{{scan}}/image.nii.gz"


def screened_files() -> list[str]:
    """Return the screening file of every scan; with partial=true, only files that exist."""
    return there(f"results/screened/{scan}.json" for scan in SCANS)


# Results are cached by draw (path and time of folds.csv), because tens of thousands of jobs use them.
def draw() -> Draw:
    """Return path and time of the draw of folds. Waits for the checkpoint."""
    path = checkpoints.split_folds.get().output.folds
    return path, os.path.getmtime(path)


@cache
def _placements(draw: Draw, kept: tuple[str, ...] = ()) -> list[Placement]:
    # a former row stays in the split when its scan is excluded or rejected later, but it is not used
    accepted_now = {row.scan for row in accepted_scans(read_records("results/cohort/scans.csv"))}
    return [row for row in read_folds(draw[0]) if row.scan in SCANS and row.scan in accepted_now.union(kept)]


def placements() -> list[Placement]:
    """Return the accepted scans with set, fold and batch."""
    return _placements(draw())


def accepted() -> list[str]:
    """Return the accepted scans."""
    return [row.scan for row in placements()]


def to_crop() -> list[str]:
    """Return the accepted scans; before the split, those of a complete screening, so that crops can be inspected."""
    screened = "results/cohort/scans.csv"
    if not os.path.exists("results/folds/folds.csv") and os.path.exists(screened):
        records = read_records(screened)
        if {record["scan"] for record in records} == set(SCANS):
            return [row.scan for row in accepted_scans(records)]
    return accepted()


@cache
def _batches(draw: Draw) -> dict[str, int]:
    return {row.scan: row.batch for row in _placements(draw)}


@cache
def _asked(draw: Draw, kept: tuple[str, ...] = ()) -> list[Prediction]:
    rows = _placements(draw, kept)
    return plan_predictions(rows, GROUPS, NETWORKS, config["predict"]["heldout_weights"])


@cache
def _asked_by_batch(draw: Draw, kept: tuple[str, ...]) -> Mapping[tuple[str, int], list[str]]:
    batches = defaultdict(list)
    for row in _asked(draw, kept):
        batches[row.folder, row.placement.batch].append(row.placement.scan)
    return batches


@cache
def _digests(draw: Draw) -> dict[str, str]:
    return read_digests("results/cohort/digests.csv")


@cache
def _roster(secret: bytes) -> Roster:
    # excluded people count too: one of their scans may have trained a model
    subjects = {scan: row.subject for scan, row in COHORT.items()}
    return Roster(subjects, secret, read_digests("results/cohort/digests.csv"))


def _people_of_fold(draw: Draw, group: str, network: str, fold: int, model: str) -> FoldPeople:
    # from the split before a fold is trained, from its record afterwards: both name the same people, so the plan is
    # the same before and after training, in this process and in its jobs
    if awaits_training(group, network, fold):
        return people_to_be(_placements(draw), GROUPS[group], fold)
    record = run_beside(model)
    run = read_run(record) if os.path.exists(record) else None
    secret = matching_secret(run, SECRETS) if run else None
    return _roster(secret).people_of(run) if secret else FoldPeople()


@cache
def _seen(draw: Draw) -> list[str]:
    folds = {
        f"{group}/{network}/fold-{fold}": _people_of_fold(draw, group, network, fold, model)
        for group in GROUPS
        for network in NETWORKS
        for fold, model in zip(FOLDS, models_of(group, network), strict=True)
    }
    return seen_paths(_asked(draw), folds)


def seen_in_training(wildcards: Wildcards) -> list[str]:
    """Return the paths of predictions by models trained on the same person, which are measured but never scored."""
    return _seen(draw())


@cache
def _planned(draw: Draw) -> list[Prediction]:
    return mark_seen(_asked(draw), _seen(draw))


@cache
def _measurable(draw: Draw) -> list[Prediction]:
    folds = untrained_folds()
    return [row for row in _planned(draw) if is_measurable(row, folds, "results", UNUSED)]


def predictions() -> list[Prediction]:
    """Return every prediction of the study; with partial=true, only those that have succeeded."""
    return _measurable(draw()) if config["partial"] else _planned(draw())


def scored_predictions() -> list[Prediction]:
    """Return the predictions that are compared with a reference."""
    return [row for row in predictions() if row.protocol != "apply"]


@cache
def _scored(draw: Draw) -> frozenset[str]:
    return frozenset(row.path for row in _planned(draw) if row.protocol != "apply")


def is_scored(wildcards: Wildcards) -> bool:
    """Return whether a prediction is compared with its scan's reference."""
    return "{group}/{network}/{members}/{scan}".format_map(wildcards) in _scored(draw())


def second_reference(wildcards: Wildcards) -> str | list:
    """Return the second reader's mask of a scored scan; with partial=true, nothing if it could not be made."""
    scan = wildcards.scan
    failed = config["partial"] and any(
        job_failure(job, "results", scan=scan) for job in stages_of("second reader")
    )
    read = SCANS[scan].mask2 and is_scored(wildcards) and not failed
    return optional(f"results/cropped/{scan}/labels2.nii.gz", read)


def second_read() -> list[Prediction]:
    """Return the scored predictions that are compared with a second reader."""
    return [row for row in scored_predictions() if SCANS[row.placement.scan].mask2]


def made(pattern: str) -> list[str]:
    """Return a file of every accepted scan; with partial=true, only files that exist."""
    return there(expand(pattern, scan=accepted()))


def predicted_paths() -> list[str]:
    """Return the common part of path, models and scan, of all predictions."""
    return [row.path for row in predictions()]


def models_of(group: str, network: str) -> list[str]:
    """Return the model files of all folds."""
    finished = FINISHED_REGRESSION if network in REGRESSIONS else FINISHED
    folder = finished.folder if finished else f"results/models/{group}/{network}"
    return [f"{folder}/fold-{fold}/model.pt" for fold in (finished.folds if finished else FOLDS)]


def run_beside(model: str) -> str:
    """Return the record of the fold to which a model file belongs."""
    return f"{os.path.dirname(model)}/run.json"


def awaits_training(group: str, network: str, fold: int) -> bool:
    """Return whether a fold may be trained: it has no model.pt, or retrain=true is set.

    A finished model is a leaf of the workflow: neither new code nor a changed cohort retrains it.
    """
    model = f"results/models/{group}/{network}/fold-{fold}/model.pt"
    return not FINISHED and (config["retrain"] or not os.path.exists(model))


def untrained(networks: Iterable[str]) -> str:
    """Return a pattern of the folds of these networks that may be trained."""
    folds = [
        f"{group}/{network}/fold-{fold}"
        for group in GROUPS
        for network in networks
        for fold in FOLDS
        if awaits_training(group, network, fold)
    ]
    # the look-ahead in the first wildcard's pattern constrains all three wildcards
    return f"(?=(?:{'|'.join(folds)})/)[a-z0-9-]+" if folds else "(?!)"


def scans_of_fold(chosen: Callable[[Placement, Takes, int], bool], pattern: str) -> FilesOf:
    """Return the function that lists a file of each scan that `chosen` picks for a fold."""
    return lambda wildcards: [
        pattern.format(scan=row.scan)
        for row in placements()
        if chosen(row, GROUPS[wildcards.group], int(wildcards.fold))
    ]


def crops_of_fold(chosen: Callable[[Placement, Takes, int], bool]) -> FilesOf:
    """Return the function that lists the crops of each scan with reference values that `chosen` picks for a fold.

    They are cut around masks of the fold model that never saw the person, whichever fold is trained on them.
    """
    return lambda wildcards: [
        f"results/structure_crops/{wildcards.group}/{CROP_NETWORK}/fold-{row.fold}/{row.scan}"
        for row in placements()
        if chosen(row, GROUPS[wildcards.group], int(wildcards.fold)) and SCANS[row.scan].targets
    ]


def reference_values(wildcards: Wildcards) -> dict[str, dict[str, float]]:
    """Return the reference values of the people of a group that train, by scan and structure."""
    takes = GROUPS[wildcards.group]
    chosen = [row.scan for row in placements() if row.trains and in_group(row, takes)]
    return {scan: dict(SCANS[scan].targets) for scan in chosen if SCANS[scan].targets}


@cache
def _estimates(draw: Draw) -> list[Prediction]:
    planned = plan_estimates(_placements(draw), GROUPS, REGRESSIONS, config["predict"]["heldout_weights"])
    if not config["partial"]:
        return planned
    # crops are cut where a prediction is measured
    measured = set(predicted_paths())
    return [
        row for row in planned if f"{row.group}/{CROP_NETWORK}/{row.members}/{row.placement.scan}" in measured
    ]


@cache
def _estimates_by_batch(draw: Draw) -> Mapping[tuple[str, int], list[str]]:
    batches = defaultdict(list)
    for row in _estimates(draw):
        batches[row.folder, row.placement.batch].append(row.placement.scan)
    return batches


def estimates() -> list[Prediction]:
    """Return every estimate of the regression; with partial=true, only those whose scan has crops."""
    return _estimates(draw())


def estimate_batches() -> list[str]:
    """Return the batches of all estimates."""
    return [f"results/predictions/{folder}/batch-{batch}" for folder, batch in _estimates_by_batch(draw())]


def estimated_scans(wildcards: Wildcards) -> list[str]:
    """Return the scans of one batch whose crops these members read."""
    folder = f"{wildcards.group}/{wildcards.network}/{wildcards.members}"
    return _estimates_by_batch(draw())[folder, int(wildcards.batch)]


def estimated_crops(wildcards: Wildcards) -> list[str]:
    """Return the crops of each scan of one batch, cut around masks of the same members of the other network."""
    folder = f"results/structure_crops/{wildcards.group}/{CROP_NETWORK}/{wildcards.members}"
    return [f"{folder}/{scan}" for scan in estimated_scans(wildcards)]


def batch_scans(wildcards: Wildcards) -> list[str]:
    """Return the scans of one batch that these members predict.

    A scan rejected in review stays in its batch, so that the maps of the others are not computed again.
    """
    cropped = tuple(scan for scan in REJECTED if os.path.exists(f"results/cropped/{scan}/image.nii.gz"))
    folder = f"{wildcards.group}/{wildcards.network}/{wildcards.members}"
    return _asked_by_batch(draw(), cropped)[folder, int(wildcards.batch)]


def member_models(wildcards: Wildcards) -> list[str]:
    """Return the models that predict together; `single` picks one of them by its validation Dice."""
    models = models_of(wildcards.group, wildcards.network)
    if wildcards.members.startswith("fold-"):
        return [model for model in models if os.path.basename(os.path.dirname(model)) == wildcards.members]
    return models


def batch_folder(wildcards: Wildcards) -> str:
    """Return the batch that holds a scan's probability map."""
    batch = _batches(draw())[wildcards.scan]
    return f"results/predictions/{wildcards.group}/{wildcards.network}/{wildcards.members}/batch-{batch}"


def scored_batches(wildcards: Wildcards) -> list[str]:
    """Return the batches that hold the scored predictions."""
    folders = dict.fromkeys((row.folder, row.placement.batch) for row in scored_predictions())
    return [f"results/predictions/{folder}/batch-{batch}" for folder, batch in folders]


def network_tables() -> list[str]:
    """Return the tables that compare the networks of a study with several."""
    return [f"results/tables/{name}.csv" for name in NETWORK_TABLES] if len(NETWORKS) > 1 else []


def described_tables() -> list[str]:
    """Return the tables of the study that its data dictionary describes."""
    article = ("table1", "table2") if STUDY.follows("zhao-2020") else ()
    tables = [f"results/tables/{name}.csv" for name in (*STUDY_TABLES, *article)]
    tables += network_tables() + density_tables() + calibration_tables()
    for name in REGIONAL_DENSITY_TABLES:
        tables += regional_density_table(name)
    return ["results/cohort/scans.csv", "results/cohort/digests.csv", "results/folds/folds.csv", *tables]


def scored_paths() -> list[str]:
    """Return the paths of predictions that have a reference to be compared with."""
    return [row.path for row in scored_predictions()]


def measured_files() -> list[str]:
    """Return the measurements of all predictions."""
    return [f"results/measured/{path}.json" for path in predicted_paths()]


def reader_files(wildcards: Wildcards) -> list[str]:
    """Return the measurements of the predictions that are compared with a second reader."""
    return [f"results/measured/{row.path}.json" for row in second_read()]


def scored_scans(pattern: str) -> list[str]:
    """Return a file of every scan that is scored at least once."""
    return expand(pattern, scan=dict.fromkeys(row.placement.scan for row in scored_predictions()))


def figure_inputs(pattern: str) -> FilesOf:
    """Return the function that lists a file of each scored prediction."""
    return lambda wildcards: [pattern.format(path=path) for path in scored_paths()]


def fold_files(name: str, networks: Iterable[str] = NETWORKS) -> list[str]:
    """Return a file beside every model of these networks."""
    models = [model for group in GROUPS for network in networks for model in models_of(group, network)]
    files = [f"{os.path.dirname(model)}/{name}" for model in models]
    # finished models may lack their training history
    return [file for file in files if not (config["partial"] or FINISHED) or os.path.exists(file)]


def out_of_fold_predictions(group: str, network: str) -> list[Prediction]:
    """Return the scored predictions of people by the fold model of a network that never saw them."""
    return [
        row
        for row in scored_predictions()
        if row.protocol == "cv" and (row.group, row.network) == (group, network)
    ]


def out_of_fold(pattern: str) -> FilesOf:
    """Return the function that lists a file of each of `out_of_fold_predictions`."""
    return lambda wildcards: [
        pattern.format(path=row.path) for row in out_of_fold_predictions(wildcards.group, wildcards.network)
    ]


def volume_error_files() -> list[str]:
    """Return the out-of-fold errors of every network; finished models may lack them."""
    if FINISHED:
        file = f"{FINISHED.folder}/volume_errors.json"
        return [file] if os.path.exists(file) else []
    return [
        f"results/models/{group}/{network}/volume_errors.json" for group in GROUPS for network in NETWORKS
    ]


def corrected_files() -> list[str]:
    """Return the measures of the study's corrected masks; with partial=true, without failed ones."""
    return [
        f"results/corrected/{scan}.json"
        for scan in corrected_scans()
        if not (config["partial"] and job_failure("measure_corrected", "results", scan=scan))
    ]


def corrected_scans() -> list[str]:
    """Return the scans of the study that have a corrected mask."""
    return [scan for scan in accepted() if scan in CORRECTED]


def untrained_folds(wildcards: Wildcards | None = None) -> dict[str, str]:
    """Return, with partial=true, why folds have no model, by `{group}/{network}/fold-{fold}`."""
    if not config["partial"] or FINISHED:
        return {}
    folds = [f"{group}/{network}/fold-{fold}" for group in GROUPS for network in NETWORKS for fold in FOLDS]
    return {
        fold: explain_fold(fold, "results")
        for fold in folds
        if not os.path.exists(f"results/models/{fold}/model.pt")
    }


def failures(wildcards: Wildcards) -> dict[str, str]:
    """Return, with partial=true, what is missing of each scan and why, by scan."""
    if not config["partial"]:
        return {}
    rows = placements()
    unscreened = {scan: job_failure("screen_scan", "results", scan=scan) for scan in SCANS}
    measured = set(predicted_paths())
    return {scan: why for scan, why in unscreened.items() if why} | explain_failures(
        rows,
        [row for row in _planned(draw()) if row.path not in measured],
        (second_read(), corrected_scans()),
        untrained_folds(),
        "results",
        UNUSED,
    )


def other_tables(wildcards: Wildcards) -> list[str]:
    """Return the tables of the other run."""
    if not config["other"]:
        raise WorkflowError("name the run to compare with: snakemake compare --config other=FOLDER")
    return [f"{OTHER}/{name}" for name in NEEDED]


def calibration_scan(scan: str) -> str:
    """Return the scan whose calibration a scan takes; empty if it has its own."""
    return SCANS[scan].calibration_scan


def calibration_scan_refusal(scan: str) -> dict[str, str]:
    """Return why the cohort table forbids a scan the calibration of the scan that it names; empty if nothing does."""
    row, most = SCANS[scan], config["calibration"]["max_scan_order_gap"]
    return table_refusal(row, SCANS[row.calibration_scan], most) if row.calibration_scan else {}


def has_scanner_of_its_calibration(scan: str) -> bool:
    """Return whether the cohort table says that a scan and the scan of its calibration come from one scanner."""
    row = SCANS[scan]
    return bool(row.calibration_scan) and is_one_scanner(row, SCANS[row.calibration_scan])


def certificate_of(scan: str) -> dict:
    """Return the certificate of the phantom in a scan, as plain values; empty if no phantom is named."""
    phantom = SCANS[scan].phantom
    return STUDY.certificates[phantom].to_json() if phantom else {}


def regional_density_settings() -> dict:
    """Return the settings of regional densities; empty if the study calibrates no scan, or its anatomy has none."""
    return config["density"] if STUDY.calibrates and ANATOMIES[config["anatomy"]].has_bone_regions else {}


def measured_radius_mm(scan: str) -> float:
    """Return the radius of the discs in which the rods of a scan are measured."""
    radius_mm = STUDY.certificates[SCANS[scan].phantom].rod_radius_mm
    return radius_mm * config["calibration"]["roi_radius_share"]


def calibrated_scans() -> list[str]:
    """Return the accepted scans that are calibrated, and the scans of phantoms that they name, accepted or not."""
    return STUDY.calibrated(accepted())


def rod_pictures() -> list[str]:
    """Return a picture of the rods of every scan that is calibrated by a phantom in it."""
    scans = [scan for scan in calibrated_scans() if SCANS[scan].calibration == PHANTOM]
    return there(f"results/calibrated/{scan}.webp" for scan in scans)


def referenced_scans() -> list[str]:
    """Return the scans that are calibrated by their tissues and the scans with a phantom."""
    return [scan for scan, row in SCANS.items() if row.calibration == REFERENCED]


def reference_calibrations(scan: str) -> list[str]:
    """Return the calibrations of the accepted scans with a phantom, one of each image, for a scan that refers to them."""
    if SCANS[scan].calibration != REFERENCED:
        return []
    with_phantom = (other for other in accepted() if SCANS[other].calibration == PHANTOM)
    return there(
        f"results/calibrated/{other}.json" for other in first_of_each_image(with_phantom, _digests(draw()))
    )


def calibrated_files() -> list[str]:
    """Return the calibrations of all scans; with partial=true, only files that exist."""
    return there(f"results/calibrated/{scan}.json" for scan in calibrated_scans())


def calibration_tables() -> list[str]:
    """Return the tables of calibrations; none if no scan asks for one."""
    return [f"results/tables/{name}.csv" for name in CALIBRATION_TABLES] if STUDY.calibrates else []


def regional_density_table(name: str) -> list[str]:
    """Return a table of calibrated densities by region, as a list; empty if the study measures none."""
    return [f"results/tables/{name}.csv"] if regional_density_settings() else []


def density_tables() -> list[str]:
    """Return the tables of densities; none without a regression."""
    return [f"results/tables/{name}.csv" for name in DENSITY_TABLES] if REGRESSIONS else []


def density_settings() -> dict:
    """Return what the tables of densities are made with, as plain values."""
    return {
        "targets": dict(STUDY.targets),
        "segmentation": CROP_NETWORK,
        "regressors": list(REGRESSIONS),
        "refused": OF_SYNTHETIC_PEOPLE if learned_from_synthetic_people() else "",
    }


def learned_from_synthetic_people() -> bool:
    """Return whether finished models of synthetic people read the densities of real ones, which nobody calibrated."""
    return bool(FINISHED_REGRESSION) and FINISHED_REGRESSION.is_of_synthetic_people and not SYNTHETIC
