"""The jobs of a study, counted before screening: every scan that is not excluded counts as accepted.

Verdicts of scans that were screened and folds that were drawn are used if they exist.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.catalog.calibration import PHANTOM
from lib.catalog.protocols import SCORED_PROTOCOLS
from lib.catalog.stages import STAGES, Stage, unused_stages
from lib.checked_study import Study
from lib.cohort.folds import Split, split_folds
from lib.cohort.placement import Placement, trains_fold
from lib.cohort.predictions import Prediction, plan_estimates, plan_predictions
from lib.cohort.scans import accepted_scans, gather_screening, read_folds, read_records
from lib.commands.planning.workflow import Rule
from lib.errors import ConfigError
from lib.fold_settings import FoldsConfig


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job of a rule: its wildcards, units of work (`Stage.unit`), and number of scans whose files it keeps."""

    wildcards: Mapping[str, object]
    units: float = 1
    scans: int = 1


def plan_jobs(study: Study, rules: Mapping[str, Rule]) -> dict[str, list[Job]]:
    """Return all jobs of each rule that the report needs, including those already done.

    Raises:
        ConfigError: the people cannot be split as configured, or the catalog has no stage for a rule.
    """
    if unknown := set(rules) - set(STAGES):
        raise ConfigError(
            f"{', '.join(sorted(unknown))}: no such stage in lib/catalog/stages.py. "
            "Add an entry that states what one of its jobs works on."
        )
    placements = plan_placements(study)
    predictions = plan_predictions(
        placements, study.groups, study.networks, study.config["predict"]["heldout_weights"]
    )
    estimates = plan_estimates(
        placements, study.groups, study.regression_networks, study.config["predict"]["heldout_weights"]
    )
    of_scans, unused = (
        _chosen_scans(study, placements, predictions),
        unused_stages(study.config, calibrates=study.calibrates),
    )
    plan = {
        "fold": lambda stage: [] if study.finished else _training(study, placements, stage),
        "network": lambda stage: [] if study.finished else _networks(study),
        "batch": lambda stage: _batches(study, estimates if stage.is_regression else predictions, stage),
        "page batch": lambda stage: _pages(predictions),
        "scan": lambda stage: _of_scans(of_scans[stage.chosen]),
        "prediction": lambda stage: _of_predictions(predictions),
        "study": lambda stage: [Job(wildcards={})],
    }
    needed = [name for name in rules if _is_part(STAGES[name], study)]
    return {name: plan[STAGES[name].work](STAGES[name]) for name in needed if name not in unused}


def _is_part(stage: Stage, study: Study) -> bool:
    """Return whether the report of a study needs a stage, if no setting excludes it."""
    if stage.is_on_demand or (stage.publication and not study.follows(stage.publication)):
        return False
    if stage.is_of_networks and len(study.networks) < 2:
        return False
    return study.synthetic or not stage.is_synthetic


def plan_placements(study: Study) -> list[Placement]:
    """Return the scans that are or may be accepted, with test people and folds as drawn or as they would be drawn."""
    results = study.folder / "results"
    assumed = {scan: {"verdict": "ok", "reasons": []} for scan in study.scans}
    waiting = accepted_scans(gather_screening(study.scans, assumed, study.rejected))
    screened = results / "cohort/scans.csv"
    known = {row["scan"]: row["verdict"] for row in read_records(screened)} if screened.exists() else {}
    waiting = [scan for scan in waiting if known.get(scan.scan) != "rejected"]
    former = [] if study.config["redraw"] else read_folds(results / "folds/folds.csv")
    split = Split(
        folds=FoldsConfig(**study.config["folds"]),
        seed=study.config["seed"],
        batch_scans=study.config["predict"]["batch_scans"],
        draw=not study.finished,
        groups=study.groups,
    )
    present = {scan.scan for scan in waiting}
    return [row for row in split_folds(waiting, former, split) if row.scan in present]


def is_done(job: Job, rule: Rule, folder: Path) -> bool:
    """Return whether all files of a job exist."""
    return all(os.path.exists(folder / output.format_map(job.wildcards)) for output in rule.outputs)


def _chosen_scans(
    study: Study, placements: Sequence[Placement], predictions: Sequence[Prediction]
) -> dict[str, Iterable[str]]:
    """Return the scans for each value of `Stage.chosen`."""
    accepted = [row.scan for row in placements]
    scored = dict.fromkeys(row.placement.scan for row in predictions if row.protocol in SCORED_PROTOCOLS)
    return {
        "listed": list(study.scans),
        "accepted": accepted,
        "with reference": [scan for scan in accepted if study.scans[scan].mask],
        "read twice": [scan for scan in scored if study.scans[scan].mask2],
        "corrected": [scan for scan in accepted if scan in study.corrected],
        "calibrated": (calibrated := study.calibrated(accepted)),
        "with phantom": [scan for scan in calibrated if study.scans[scan].calibration == PHANTOM],
    }


def _of_scans(scans: Iterable[str]) -> list[Job]:
    return [Job(wildcards={"scan": scan}) for scan in scans]


def _of_predictions(predictions: Iterable[Prediction]) -> list[Job]:
    return [
        Job(
            wildcards={
                "group": row.group, "network": row.network, "members": row.members, "scan": row.placement.scan,
            }
        )
        for row in predictions
    ]  # fmt: skip


def _training(study: Study, placements: Sequence[Placement], stage: Stage) -> list[Job]:
    """Return the folds; those of a regression count the scans, not the crops, of which a scan has several."""
    train = study.config["regression"]["train"] if stage.is_regression else study.config["train"]
    networks = study.regression_networks if stage.is_regression else study.networks
    passes = train["epochs"] * train.get("samples_per_scan", 1)
    return [
        Job(
            wildcards={"group": group, "network": network, "fold": fold},
            units=passes * sum(trains_fold(row, study.groups[group], fold) for row in placements),
        )
        for group in study.groups
        for network in networks
        for fold in study.folds
    ]


def _networks(study: Study) -> list[Job]:
    return [
        Job(wildcards={"group": group, "network": network})
        for group in study.groups
        for network in study.networks
    ]


def _batches(study: Study, predictions: Iterable[Prediction], stage: Stage) -> list[Job]:
    """Return the batches; a scan predicted by an ensemble counts one unit for each fold."""
    scans = Counter((row.group, row.network, row.members, row.placement.batch) for row in predictions)
    step = 1 if stage.is_regression else study.config["predict"]["step"]
    return [
        Job(
            wildcards={"group": group, "network": network, "members": members, "batch": batch},
            units=count * (len(study.folds) if members == "ensemble" else 1) / step,
            scans=count,
        )
        for (group, network, members, batch), count in scans.items()
    ]


def _pages(predictions: Iterable[Prediction]) -> list[Job]:
    scans = {(row.placement.batch, row.placement.scan) for row in predictions}
    batches = Counter(batch for batch, _ in scans)
    return [
        Job(wildcards={"batch": batch}, units=count, scans=count) for batch, count in sorted(batches.items())
    ]
