"""Checks of a SLURM cluster: clients, controller, partitions, and whether each rule's job can run there."""

import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence

from lib.commands.doctor.findings import LOOK, OK, WRONG, Finding
from lib.commands.doctor.programs import ask
from lib.commands.doctor.slurm_partitions import (
    FORMAT,
    Node,
    Partition,
    default_of,
    has_gpus,
    partition_text,
    read_partitions,
    takers,
    unmet,
)
from lib.commands.doctor.submission import submit_command
from lib.commands.planning.workflow import Request, Rule, Workflow
from lib.errors import ConfigError
from lib.study import check_executor

CLIENTS = ("sbatch", "squeue", "sinfo", "scontrol", "scancel")
STATUS_COMMAND = "slurm-arrays-status-command"  # the setting in the profile
UNSEEN = "Snakemake would never see a job end"
SURE_SECONDS = 120  # states are queried once a minute, and one query may fail
FLOOR_MB = 500  # Snakemake itself uses 150 to 300 MB in each job
RESOURCES = "set-resources in the profile, for each of these rules"
SENT_ANYWAY = ("--parsable", "--export=ALL")
SENT_WITH_VALUE = ("--job-name", "--output", "--comment")


def check_cluster(workflow: Workflow) -> list[Finding]:
    """Check that the cluster can run a study with this profile."""
    try:
        check_executor(workflow.executor)
    except ConfigError as error:
        return [Finding(WRONG, str(error))]
    nodes = ask("sinfo", "--Node", "--noheader", f"--format={FORMAT}")
    if nodes.problem:
        advice = "is this a login node of the cluster? are SLURM's clients on the PATH (module load slurm)?"
        return [Finding(WRONG, f"SLURM does not answer: {nodes.problem}", advice)]
    findings = []
    for name in CLIENTS:
        if (answer := ask(name, "--version")).problem:
            findings.append(Finding(WRONG, answer.problem, "Snakemake needs it: ask your administrators"))
    findings += check_status_command(workflow.executor_settings)
    partitions = read_partitions(nodes.text)
    findings += [Finding(OK, partition_text(partition)) for partition in partitions.values()]
    return findings + check_requests(workflow, partitions)


def check_status_command(settings: object) -> list[Finding]:
    """Check that Snakemake's way of querying job states works on this cluster."""
    shown = ask("scontrol", "show", "config")
    if shown.problem:
        return [Finding(WRONG, f"the controller does not answer: {shown.problem}", "ask your administrators")]
    accounting = ask("sacct", "--noheader", "--allocations", "--name=osteoflow-doctor")
    return [
        explain_status(
            settings.status_command,
            min_job_age=_seconds(shown.text, "MinJobAge"),
            needed=max(3 * settings.init_seconds_before_status_checks, SURE_SECONDS),
            accounting=not accounting.problem,
            has_sacct="not on this machine" not in accounting.problem,
        )
    ]


def explain_status(
    command: str, *, min_job_age: int, needed: int, accounting: bool, has_sacct: bool
) -> Finding:
    """Return whether `slurm-arrays-status-command` works.

    Args:
        command: its value.
        min_job_age: seconds for which ended jobs stay in squeue.
        needed: required seconds: three times the first wait, at least SURE_SECONDS; if they stay for less, sacct is
            queried instead.
        accounting: whether sacct answers.
        has_sacct: whether sacct is installed.
    """
    if command == "sacct":
        if accounting:
            return Finding(OK, f"accounting is on; {STATUS_COMMAND}: sacct works")
        advice = f"set {STATUS_COMMAND}: squeue in the profile"
        return Finding(WRONG, f"{STATUS_COMMAND} is sacct, but accounting is off: {UNSEEN}", advice)
    if min_job_age >= needed:
        state = "on" if accounting else "off"
        return Finding(
            OK,
            f"{STATUS_COMMAND}: squeue works (ended jobs stay for {min_job_age} s; accounting is {state})",
        )
    short = f"ended jobs stay in squeue for {min_job_age} s (MinJobAge), {needed} are needed"
    if accounting:
        return Finding(LOOK, f"{short}: sacct will be used instead", f"set {STATUS_COMMAND}: sacct")
    if has_sacct:
        advice = f"ask your administrators for a MinJobAge of {needed} or more"
        if min_job_age >= SURE_SECONDS:
            seconds = f"slurm-arrays-init-seconds-before-status-checks to {min_job_age // 3}"
            advice = f"set {seconds} or less, or raise MinJobAge"
        return Finding(WRONG, f"{short}; sacct will be used, but accounting is off: {UNSEEN}", advice)
    return Finding(LOOK, f"{short}: the end of a job may be missed", "ask for a larger MinJobAge")


def check_requests(workflow: Workflow, partitions: Mapping[str, Partition]) -> list[Finding]:
    """Check for each submitted rule whether its job can run; rules with the same request are checked together."""
    alike: dict[tuple[str, ...], list[Rule]] = defaultdict(list)
    settings, default = workflow.executor_settings, default_of(partitions)
    chooser, chosen, findings = partition_file(settings), [], []
    for rule in workflow.rules.values():
        if rule.is_local:
            continue
        try:
            line = submit_command(rule.name, rule.first, default, settings)
        except ConfigError as error:
            findings.append(Finding(WRONG, str(error), f"{RESOURCES}: remove it"))
            continue
        if chooser and not rule.first.resources.get("slurm_partition"):
            chosen.append(rule.name)
        else:
            alike[tuple(asked_for(line))].append(rule)
    if chosen:
        text = (
            f"{chooser} chooses the partitions of rules that name none: not checked for {', '.join(chosen)}"
        )
        findings.append(Finding(LOOK, text))
    for line, rules in alike.items():
        names = ", ".join(rule.name for rule in rules)
        finding = check_request(rules[0], line, partitions)
        findings.append(Finding(finding.mark, f"{names}\n{finding.text}", finding.advice))
    return findings


def partition_file(settings: object) -> str:
    """Return the path of the file from which the plugin chooses partitions; empty if there is none."""
    return str(settings.partition_config or ask("printenv", "SNAKEMAKE_SLURM_PARTITIONS").text.strip())


def asked_for(line: Sequence[str]) -> list[str]:
    """Return the part of an sbatch line with the requested resources."""
    words, kept = iter(line[1:]), []
    for word in words:
        if word in SENT_WITH_VALUE:
            next(words)
        elif word not in SENT_ANYWAY:
            kept.append(word)
    return kept


def check_request(rule: Rule, line: Sequence[str], partitions: Mapping[str, Partition]) -> Finding:
    """Check whether a node of the job's partitions can run it, with the first and the last attempt's request."""
    named = str(rule.first.resources.get("slurm_partition") or default_of(partitions))
    names = [name for name in named.split(",") if name]  # SLURM starts the job in the first one that is free
    sent = f"sbatch {shlex.join(line)}"
    if problem := _misnamed(names, partitions):
        advice = f"set slurm_partition to one of: {', '.join(partitions)}"
        return Finding(WRONG, f"{sent}\n{problem}", advice)
    members = [partitions[name] for name in names]
    if reasons := _unmet_in_all(rule.first, members):
        text = f"would wait forever in {reasons}"
        return Finding(WRONG, f"{sent}\n{text}", _remedy(rule.first, members, partitions))
    if rule.first.mem_mb < FLOOR_MB:
        text = f"{rule.first.mem_mb} MB is less than Snakemake itself needs in each job"
        return Finding(WRONG, f"{sent}\n{text}", f"set mem_mb to {FLOOR_MB} or more")
    if all(node.away for node in _takers_in(rule.first, members)):
        text = "all nodes that are large enough are down or drained now: the job waits until one is back"
        return Finding(LOOK, f"{sent}\n{text}")
    tested = ask("sbatch", "--test-only", *line, "--wrap=true")
    if tested.problem:
        return Finding(
            WRONG, f"{sent}\nSLURM refuses it: {tested.problem.split('failed: ')[-1]}", "see man sbatch"
        )
    if reasons := _unmet_in_all(rule.last, members):
        text = f"fits, but its last attempt would ask for more and wait forever in {reasons}"
        return Finding(LOOK, f"{sent}\n{text}", "lower `retries` in the profile, or set a larger partition")
    return Finding(OK, sent)


def _misnamed(names: Sequence[str], partitions: Mapping[str, Partition]) -> str:
    """Return in words which partitions do not exist; empty if all do."""
    if not names:
        return "no partition is set, and there is no default"
    unknown = [repr(name) for name in names if name not in partitions]
    return f"there is no partition {', '.join(unknown)}" if unknown else ""


def _unmet_in_all(request: Request, members: Sequence[Partition]) -> str:
    """Return in words why none of the partitions can ever run a job; empty if one can."""
    reasons = {partition.name: unmet(request, partition) for partition in members}
    if not all(reasons.values()):
        return ""
    return "; ".join(f"partition {name}: {'; '.join(several)}" for name, several in reasons.items())


def _takers_in(request: Request, members: Sequence[Partition]) -> list[Node]:
    """Return the nodes that are large enough for a job, from the partitions that can run it."""
    fitting = [partition for partition in members if not unmet(request, partition)]
    return [node for partition in fitting for node in takers(request, partition)]


def _remedy(request: Request, members: Sequence[Partition], partitions: Mapping[str, Partition]) -> str:
    """Return what to change in the profile for jobs that no node of their partitions can run."""
    fitting = [other for other in partitions.values() if not unmet(request, other)]
    if fitting:
        # a job without a GPU goes to a partition with GPUs only if no other can run it
        plain = [other for other in fitting if not request.gpus and not has_gpus(other)]
        return f"{RESOURCES}: slurm_partition: {' or '.join(other.name for other in plain or fitting)}"
    with_gpus = [other for other in partitions.values() if _room(request, other)]
    if not with_gpus:
        return f"no node of this cluster has the requested GPUs; to run without: {RESOURCES}: gpu: 0"
    where = next((member for member in members if member in with_gpus), with_gpus[0])
    named = [] if where in members else [f"{RESOURCES}: slurm_partition: {where.name}"]
    return "\n".join(named + _smaller(request, where))


def _smaller(request: Request, partition: Partition) -> list[str]:
    """Return the settings that make a job fit the largest node with the requested GPUs."""
    largest = max(_room(request, partition), key=lambda node: (node.cpus, node.mem_mb))
    said = []
    if request.runtime_min > partition.limit_min:
        stopped = ", and retries: a stopped training resumes from its last state" if request.gpus else ""
        said.append(f"{RESOURCES}: runtime: {partition.limit_min:.0f}{stopped}")
    if request.mem_mb > largest.mem_mb:
        said.append(f"{RESOURCES}: mem_mb: {largest.mem_mb}")
    if request.threads > largest.cpus:
        said.append(f"set-threads in the profile: {largest.cpus}")
    return said


def _room(request: Request, partition: Partition) -> list[Node]:
    return [node for node in partition.nodes if node.gpus >= request.gpus]


def _seconds(text: str, key: str) -> int:
    """Return a number from `scontrol show config`; 0 if it is missing."""
    found = re.search(rf"^{key}\s*=\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
