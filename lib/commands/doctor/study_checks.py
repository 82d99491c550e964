"""Checks of the study: configuration, cohort table, split, disk, leftovers of a killed run. Changes nothing."""

import argparse
import json
import os
import shutil
from base64 import b64decode
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from lib.catalog.stages import unused_stages
from lib.cohort.notes import DensityScan, vendor_notes
from lib.cohort.table import ScanRow
from lib.commands.doctor.findings import LOOK, OK, WRONG, Finding
from lib.commands.planning.workflow import Workflow, read_workflow
from lib.errors import ConfigError, OsteoflowError
from lib.leftover_jobs import jobs_left
from lib.study import check_submitted

UNLOCK = """if a run is active in this folder: wait for it
if it was killed: make recover ARGS="[the same arguments]" cancels its jobs on the cluster and continues"""

MOST_RECORDS = 500  # number of Snakemake's records of files that are checked
LEAVES = "results/models/"  # finished models, which are never made again
LATE_SECONDS = 60  # file times on a network may differ by this much from the clock of the job


def check_configuration(arguments: Sequence[str]) -> tuple[Workflow | None, list[Finding]]:
    """Read configuration and cohort table as the workflow does; return them with the findings."""
    try:
        workflow = _with_used_rules(read_workflow(arguments))
    except ImportError as error:
        text = f"configuration and cohort table were not checked: {error.name or error} is missing"
        return None, [Finding(LOOK, text, "install the packages, then check again")]
    except OsteoflowError as error:
        return None, [Finding(WRONG, str(error))]
    study = workflow.study
    kind = "scans of synthetic people" if study.synthetic else "scans of the cohort table"
    masks = sum(bool(row.mask) for row in study.scans.values())
    return workflow, [
        Finding(OK, f"configuration and {len(study.scans)} {kind}, {masks} with a reference mask"),
        *check_vendors(study.scans.values(), study.targets),
    ]


def _with_used_rules(workflow: Workflow) -> Workflow:
    """Return a workflow without the rules that never run with its study's settings; their requests do not matter."""
    unused = unused_stages(workflow.study.config, calibrates=workflow.study.calibrates)
    return replace(
        workflow, rules={name: rule for name, rule in workflow.rules.items() if name not in unused}
    )


def check_vendors(rows: Iterable[ScanRow], targets: Collection[str]) -> list[Finding]:
    """Report vendors that can hardly be tested, if the table says who tests; vendors of headers are not known yet.

    Args:
        rows: the scans of the cohort table.
        targets: the structures whose density is learned.
    """
    scans = [
        DensityScan(
            subject=row.subject, vendor=row.vendor, is_test=row.set == "test", structures=list(row.targets)
        )
        for row in rows
        if row.targets and row.vendor
    ]
    return (
        [Finding(LOOK, note) for note in vendor_notes(scans, targets)]
        if any(s.is_test for s in scans)
        else []
    )


def study_folder(arguments: Sequence[str]) -> Path:
    """Return the study's folder as named by the arguments, for use when Snakemake is not available."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--directory", "-d", default=".", type=Path)
    return parser.parse_known_args(arguments)[0].directory.absolute()


def check_split_and_disk(workflow: Workflow) -> list[Finding]:
    """Check that the people can be split as configured, and that the results fit on the disk."""
    try:
        from lib.commands.estimate import estimate_rules

        needed_gb = sum(row.disk_gb for row in estimate_rules(workflow))
    except ImportError as error:
        text = f"folds and disk were not checked: {error.name or error} is missing"
        return [Finding(LOOK, text, "install the packages, then check again")]
    except OsteoflowError as error:
        return [Finding(WRONG, str(error)), *check_folder(workflow.study.folder)]
    return check_folder(workflow.study.folder, needed_gb)


def check_folder(folder: Path, needed_gb: float | None = None) -> list[Finding]:
    """Check that results can be written to a study's folder, and that `needed_gb` (None: unknown) are free."""
    there = next(path for path in (folder / "results", folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        text = f"{there} cannot be written"
        return [Finding(WRONG, text, "choose another --directory, or ask for write permission there")]
    free_gb = shutil.disk_usage(there).free / 1e9
    text = f"{free_gb:.0f} GB are free where results will be written"
    if needed_gb is None:
        return [Finding(OK, f"{text}; how much the study needs is not known yet")]
    text += f"; the rest of this study needs about {needed_gb:.1f} GB"
    if needed_gb > free_gb:
        return [Finding(WRONG, text, "free space, or choose another --directory")]
    if needed_gb > free_gb / 2:
        return [
            Finding(LOOK, text, "this is more than half: temporary files and other users need space, too")
        ]
    return [Finding(OK, f"{text} (a quota may be lower)")]


def check_command_lines(workflow: Workflow) -> list[Finding]:
    """Report words on the command lines of jobs that the shells of a cluster would misread; else nothing."""
    try:
        # a run resolves links to the folder
        check_submitted(str(workflow.study.folder.resolve()), workflow.words)
    except ConfigError as error:
        return [Finding(WRONG, str(error))]
    return []


def check_locks(folder: Path) -> list[Finding]:
    """Check whether a run is active in this folder or was killed, and whether it left jobs in SLURM's queue."""
    locks, incomplete = folder / ".snakemake/locks", folder / ".snakemake/incomplete"
    findings = []
    if locks.is_dir() and any(locks.iterdir()):
        findings.append(
            Finding(LOOK, "the folder is locked: another run is active in it, or was killed", UNLOCK)
        )
    if incomplete.is_dir() and (count := sum(1 for _ in incomplete.iterdir())):
        text = f"{count} files were being written when a run ended, or are now"
        findings.append(
            Finding(LOOK, text, "they are made again with --rerun-incomplete (the profiles have it)")
        )
    findings += _check_queue(folder)
    return findings or [Finding(OK, "no run is active in this folder, and none was killed in it")]


def check_times(folder: Path) -> list[Finding]:
    """Report if files have lost their times, as in a plain copy, and would be made again; else nothing."""
    records = islice((folder / ".snakemake/metadata").glob("*"), MOST_RECORDS)
    count = sum(_is_out_of_order(record, folder) for record in records)
    if not count:
        return []
    text = (
        f"results (at least {count}) are older than the files they were made from, and both are newer than the run: "
        "the study was copied without file times, and everything made from these files would be made again"
    )
    advice = "copy it with cp -a or rsync -a; or, in the copy, run the study's command once with --touch"
    return [Finding(LOOK, text, advice)]


def _is_out_of_order(record: Path, folder: Path) -> bool:
    """Return whether a result and one of its inputs both changed after its job, the input last.

    Small files with a stored checksum count as changed only if their content differs.
    """
    try:
        name, made = b64decode(record.name).decode(), json.loads(record.read_text(encoding="utf-8"))
        changed = (folder / name).stat().st_mtime
        known = made.get("input_checksums") or {}
        sources = [
            source for source in made["input"] if source.startswith("results/") and source not in known
        ]
        latest = max((folder / source).stat().st_mtime for source in sources)
        return not name.startswith(LEAVES) and latest > changed > made["endtime"] + LATE_SECONDS
    except (OSError, ValueError, KeyError, TypeError):
        return False  # no record exists


def _check_queue(folder: Path) -> list[Finding]:
    """Return a finding if SLURM still has jobs of an earlier run; nothing if it does not."""
    try:
        left = jobs_left(folder)
    except OsteoflowError as error:
        text = f"whether jobs of an earlier run are still in SLURM's queue is not known: {error}"
        return [Finding(LOOK, text, "see squeue --me")]
    if not left:
        return []
    return [Finding(WRONG, f"{len(left)} jobs of an earlier run are still in SLURM's queue", UNLOCK)]
