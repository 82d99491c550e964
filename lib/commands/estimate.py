"""Estimate of a study before anything is submitted: jobs, CPU and GPU hours, disk, elapsed time.

python -m lib.commands.estimate --cores 16 --gpus 2 [the arguments that snakemake will get]
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib.catalog.stages import STAGES
from lib.commands.planning.costs import CLUSTER_JOB, GRAPH_JOB, LOCAL_JOB, Cost, unit_costs
from lib.commands.planning.jobs import Job, is_done, plan_jobs
from lib.commands.planning.workflow import ROOT, Rule, Workflow, read_workflow
from lib.errors import OsteoflowError

HOUR = 3600
WIDTH = 110  # characters in a line
QUEUED = ", without the time that jobs wait in the queue"
ASSUMED = "Counted before screening: every scan of the table that is not excluded is assumed to be accepted."
GATHERED = "Rules with one job handle the whole cohort: their shipped cost is for a small study and grows with yours."
NO_GPU_TIME = (
    "GPU time was not measured: {rules}. Their CPU hours are those without a GPU; time on a GPU is far shorter"
    "{without}. Once this study has trained a fold and predicted five batches on its GPU, their times are used here."
)
OTHER_SIZE = (
    "The shipped costs of {rules} hold for the network, window and pixels of config.yaml; this study has others "
    "({keys}), so they are wrong until it has trained a fold and predicted five batches itself."
)


@dataclass(frozen=True, kw_only=True)
class RuleEstimate:
    """The remaining work of one rule. Hours include the overhead of Snakemake and SLURM."""

    rule: str
    jobs: int
    done: int
    cpu_hours: float
    gpu_hours: float | None  # None: not measured, or no GPU requested
    disk_gb: float
    threads: int
    gpus: int
    source: str

    @property
    def left(self) -> int:
        """Return the number of remaining jobs."""
        return self.jobs - self.done


def estimate_rules(workflow: Workflow) -> list[RuleEstimate]:
    """Return the estimate of each rule that has jobs, in the order of the workflow.

    Raises:
        ConfigError: the people cannot be split as configured.
    """
    study, rules = workflow.study, workflow.rules
    plan = {name: jobs for name, jobs in plan_jobs(study, rules).items() if jobs}
    costs = unit_costs(plan, rules, study.folder)
    each_job = {
        name: costs[LOCAL_JOB if rules[name].is_local or workflow.executor == "local" else CLUSTER_JOB]
        for name in plan
    }
    return [
        estimate_rule(
            rules[name],
            jobs,
            [job for job in jobs if not is_done(job, rules[name], study.folder)],
            costs.get(name),
            each_job[name],
        )
        for name, jobs in plan.items()
    ]


def estimate_rule(
    rule: Rule, jobs: Sequence[Job], left: Sequence[Job], cost: Cost | None, overhead: Cost
) -> RuleEstimate:
    """Return the cost of a rule's remaining jobs; for a rule of unknown cost, only the overhead counts."""
    units = sum(job.units for job in left)
    seconds = (cost.cpu_seconds if cost else 0.0) * units + overhead.cpu_seconds * len(left)
    gpu_seconds = cost.gpu_seconds * units if cost and cost.gpu_seconds is not None else None
    disk_mb = (cost.disk_mb if cost else 0.0) * sum(job.scans for job in left) + overhead.disk_mb * len(left)
    return RuleEstimate(
        rule=rule.name,
        jobs=len(jobs),
        done=len(jobs) - len(left),
        cpu_hours=seconds / HOUR,
        gpu_hours=gpu_seconds / HOUR if gpu_seconds is not None else None,
        disk_gb=disk_mb / 1000,
        threads=rule.first.threads,
        gpus=rule.first.gpus,
        source=f"{cost.source}, a {STAGES[rule.name].unit}: {cost.cpu_seconds:.3g} s"
        if cost
        else "not known",
    )


def elapsed_hours(estimates: Sequence[RuleEstimate], cores: int, gpus: int) -> float:
    """Return the hours of all rules run one after the other, each on as many cores or GPUs as its jobs can use.

    Rules whose time on a GPU is unknown count, with their CPU hours, only if there is no GPU.
    """
    hours = 0.0
    for row in estimates:
        if row.gpus and row.gpu_hours is not None and gpus:
            hours += row.gpu_hours / _at_once(row, gpus)
        elif row.left and not (gpus and row.gpus):
            hours += row.cpu_hours / min(cores, row.left * row.threads)
    return hours


def _at_once(row: RuleEstimate, gpus: int) -> int:
    """Return how many jobs of a rule run at once on this number of GPUs."""
    return max(min(gpus // row.gpus, row.left), 1)


def untimed(estimates: Sequence[RuleEstimate], gpus: int) -> list[RuleEstimate]:
    """Return the rules with remaining jobs whose time on a GPU is unknown, if there are GPUs."""
    return [row for row in estimates if gpus and row.gpus and row.left and row.gpu_hours is None]


def estimate_text(estimates: Sequence[RuleEstimate]) -> str:
    """Return the estimates as a table with totals, for a terminal."""
    head = ("rule", "jobs", "done", "CPU hours", "GPU hours", "disk GB", "unit cost from")
    rows = [
        (
            row.rule,
            str(row.jobs),
            str(row.done),
            f"{row.cpu_hours:.2f}",
            _gpu_text(row),
            f"{row.disk_gb:.2f}",
            row.source,
        )
        for row in estimates
    ]
    measured = [row.gpu_hours for row in estimates if row.gpu_hours is not None]
    total = (
        "total",
        str(sum(row.jobs for row in estimates)),
        str(sum(row.done for row in estimates)),
        f"{sum(row.cpu_hours for row in estimates):.2f}",
        f"{sum(measured):.2f}" if measured else "",
        f"{sum(row.disk_gb for row in estimates):.2f}",
        "",
    )
    widths = [max(len(line[column]) for line in (head, total, *rows)) for column in range(len(head))]
    return "\n".join(_line(cells, widths) for cells in (head, *rows, total))


def _gpu_text(row: RuleEstimate) -> str:
    if row.gpu_hours is not None:
        return f"{row.gpu_hours:.2f}"
    return "?" if row.gpus else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers, last = cells
    padded = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([first.ljust(widths[0]), *padded, last]).rstrip()


def remarks(workflow: Workflow, estimates: Sequence[RuleEstimate], gpus: int) -> list[str]:
    """Return remarks on the table for this number of GPUs."""
    said = [ASSUMED]
    on_gpu = [row for row in estimates if row.gpus and row.left]
    if unmeasured := [row for row in on_gpu if row.gpu_hours is None]:
        counts = (_rounds_text(row, gpus) if gpus else row.rule for row in unmeasured)
        without = " and is not in the elapsed time" if gpus else ""
        said.append(NO_GPU_TIME.format(rules=" and ".join(counts), without=without))
    shipped = [row.rule for row in on_gpu if row.source.startswith("shipped")]
    if shipped and (keys := other_size(workflow.study.config)):
        said.append(OTHER_SIZE.format(rules=" and ".join(shipped), keys=", ".join(keys)))
    said.append(GATHERED)
    return said


def _rounds_text(row: RuleEstimate, gpus: int) -> str:
    """Return in words in how many rounds the jobs of a rule run on this number of GPUs."""
    at_once = _at_once(row, gpus)
    return f"{row.rule} ({row.left} jobs, {at_once} at once: {-(-row.left // at_once)} rounds)"


def other_size(config: Mapping) -> list[str]:
    """Return the settings of training and prediction that differ from those of the shipped costs."""
    import yaml

    shipped = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    same = {
        "networks": all(network == shipped["networks"]["vnet"] for network in config["networks"].values()),
        "crop.size": config["crop"]["size"] == shipped["crop"]["size"],
        "train.window_slices": config["train"]["window_slices"] == shipped["train"]["window_slices"],
    }
    return [key for key, holds in same.items() if not holds]


def report_text(workflow: Workflow, cores: int, gpus: int) -> str:
    """Return the whole report: the table, the elapsed time, Snakemake's own cost, remarks."""
    estimates = estimate_rules(workflow)
    graph = unit_costs({}, {}, workflow.study.folder)[GRAPH_JOB]
    jobs = sum(row.jobs for row in estimates)
    unknown = "".join(f" and {row.rule}" for row in untimed(estimates, gpus)).removeprefix(" and ")
    said = [
        f"Elapsed with {cores} cores and {gpus} GPU{'' if gpus == 1 else 's'} for this study alone"
        f"{f', without {unknown}' if unknown else ''}: "
        f"{duration_text(elapsed_hours(estimates, cores, gpus))}{QUEUED if workflow.on_slurm else ''}.",
        f"Snakemake itself plans {jobs} jobs: {duration_text(jobs * graph.cpu_seconds / HOUR)} and "
        f"{jobs * graph.mem_mb / 1000:.1f} GB of memory where it is started.",
        *remarks(workflow, estimates, gpus),
    ]
    marked = (textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ") for line in said)
    return "\n".join([estimate_text(estimates), "", *marked])


def duration_text(hours: float) -> str:
    """Return a time in readable units: minutes, hours or days."""
    if hours < 1 / 60:
        return "less than a minute"
    if hours < 2:
        return f"about {hours * 60:.0f} minutes"
    return f"about {hours:.0f} hours" if hours < 72 else f"about {hours / 24:.0f} days"


def _cores(text: str) -> int:
    return os.cpu_count() if text == "all" else max(int(text), 1)


def main(arguments: list[str] | None = None) -> int:
    """Print the estimate; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.commands.estimate",
        description="Estimate the jobs, hours and disk of a study. All further arguments are those of snakemake.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--cores", type=_cores, default=os.cpu_count(), help="cores to use (default: all of this machine)"
    )
    parser.add_argument("--gpus", type=int, default=0, help="GPUs to use (default: 0)")
    options, of_snakemake = parser.parse_known_args(arguments)
    try:
        print(report_text(read_workflow(of_snakemake), options.cores, options.gpus))
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
