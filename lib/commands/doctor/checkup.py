"""All checks in order, printed as they are made."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lib.commands.doctor.cluster import check_cluster
from lib.commands.doctor.findings import LOOK, OK, WRONG, Finding, findings_text, verdict
from lib.commands.doctor.machine import check_build, check_cache, check_gpu, check_packages, check_room
from lib.commands.doctor.study_checks import (
    check_command_lines,
    check_configuration,
    check_folder,
    check_locks,
    check_split_and_disk,
    check_times,
    study_folder,
)
from lib.commands.planning.workflow import ROOT, Workflow

UNREAD_STUDY = Finding(
    LOOK,
    "configuration and cohort table were not checked: Snakemake needs its cache for that",
    "then check again",
)


def check_all(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """Make all checks; return 1 if something is wrong, else 0."""
    found: list[Finding] = []

    def show(title: str, findings: Iterable[Finding]) -> None:
        findings = list(findings)
        found.extend(findings)
        say(f"{title}\n{findings_text(findings)}\n")

    python = Finding(OK, f"Python {sys.version.split()[0]}")
    cache = check_cache()
    show("This machine", [python, *check_packages(Path(ROOT, "requirements.txt")), *cache])
    starts = all(finding.mark == OK for finding in cache)
    workflow, of_study = check_configuration(arguments) if starts else (None, [UNREAD_STUDY])
    folder = workflow.study.folder if workflow else study_folder(arguments)
    of_study += check_split_and_disk(workflow) if workflow else check_folder(folder)
    on_slurm = workflow is not None and workflow.on_slurm
    of_study += check_command_lines(workflow) if on_slurm else []
    of_study += [*check_locks(folder), *check_times(folder)]
    show("The study", of_study)
    if on_slurm:
        title = "The cluster (GPUs are on its nodes, so this machine's were not checked)"
        show(title, check_there(workflow))
    else:
        show("Where jobs run: this machine", check_here(workflow))
    say(verdict(found))
    return int(any(finding.mark == WRONG for finding in found))


def check_there(workflow: Workflow) -> list[Finding]:
    """Check the cluster, and whether PyTorch can use the GPUs that jobs ask for there."""
    on_gpus = [rule.name for rule in workflow.rules.values() if rule.first.gpus and not rule.is_local]
    return [*check_cluster(workflow), *check_build(workflow.study.config["train"]["device"], on_gpus)]


def check_here(workflow: Workflow | None) -> list[Finding]:
    """Check GPU, cores and memory for a run on this machine; without a workflow, only what does not need one."""
    device = workflow.study.config["train"]["device"] if workflow else "auto"
    rules = workflow.rules.values() if workflow else ()
    asked = [(rule.name, rule.first.threads, rule.first.mem_mb) for rule in rules]
    return [*check_gpu(device), *check_room(asked, workflow.cores if workflow else None)]
