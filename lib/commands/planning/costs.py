"""What a unit of each rule's work costs: measured in this study where it has run enough, else as shipped."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.catalog.stages import STAGES
from lib.commands.planning.jobs import Job
from lib.commands.planning.workflow import Rule

SHIPPED = Path(__file__).with_name("unit_costs.csv")
COLUMNS = ("rule", "per", "cpu_seconds", "disk_mb", "mem_mb")
# rows of the table that are no rule: what Snakemake itself takes
LOCAL_JOB, CLUSTER_JOB, GRAPH_JOB = (
    "each job on this machine",
    "each job of a cluster",
    "each job in the graph",
)
ENOUGH = 5  # benchmarks of a rule in the study itself ...
ENOUGH_OF_FEW = 1  # ... and of one that has few and long jobs
MOST = 200  # benchmarks of a rule that are read


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one unit of work takes, what is kept on disk of one scan (or fold), and where that is known from."""

    cpu_seconds: float
    disk_mb: float
    mem_mb: float
    gpu_seconds: float | None = None  # None: not measured on a GPU
    source: str = "shipped"


def shipped_costs() -> dict[str, Cost]:
    """Return the costs that come with the code, by rule."""
    with open(SHIPPED, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {
            row["rule"]: Cost(**{name: float(row[name]) for name in ("cpu_seconds", "disk_mb", "mem_mb")})
            for row in rows
        }


def unit_costs(
    plan: Mapping[str, Sequence[Job]], rules: Mapping[str, Rule], folder: Path, *, enough: int = ENOUGH
) -> dict[str, Cost]:
    """Return the cost of a unit of each rule; `enough` benchmarks in the study's folder replace the shipped one.

    Costs of what is no rule (LOCAL_JOB, CLUSTER_JOB, GRAPH_JOB) are always among them.
    """
    shipped = shipped_costs()
    costs = {name: cost for name, cost in shipped.items() if name not in plan}
    for name, jobs in plan.items():
        measured = [found for job in sample(jobs) if (found := read_benchmark(job, rules[name], folder))]
        needed = min(enough, ENOUGH_OF_FEW) if STAGES[name].few else enough
        # a rule for which there was no work when costs were measured has those of one that does the same kind of work
        like = STAGES[name].costs_of or name
        if len(measured) >= needed:
            costs[name] = _measured(measured)
        elif like in shipped:
            costs[name] = shipped[like]
    return costs


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What one job took: for each unit of its work, on disk for each scan, and its peak of memory."""

    cpu_seconds: float
    gpu_seconds: float | None
    disk_mb: float
    mem_mb: float


def sample(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return at most MOST jobs, spread over all."""
    return jobs[:: -(-len(jobs) // MOST) or 1]


def read_benchmark(job: Job, rule: Rule, folder: Path) -> Benchmark | None:
    """Return what was measured when a job ended; None if it has not ended well, or no work was in it."""
    path = folder / rule.benchmark.format_map(job.wildcards)
    if not path.exists() or not job.units:
        return None
    with open(path, newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file, delimiter="\t"))[-1]
    seconds = float(last["s"])
    on_gpu = bool(rule.first.gpus) and "cuda" in _text(folder / rule.log.format_map(job.wildcards))
    return Benchmark(
        # a job that was too short for a sample has no CPU time; one that waited for a disk, less than it took
        cpu_seconds=max(seconds, _number(last["cpu_time"])) / job.units,
        gpu_seconds=seconds / job.units if on_gpu else None,
        disk_mb=sum(size_mb(folder / output.format_map(job.wildcards)) for output in rule.outputs)
        / job.scans,
        mem_mb=_number(last["max_rss"]),
    )


def size_mb(path: Path) -> float:
    """Return what a file, or all files below a folder, take on the disk, MB: whole blocks."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) / 1e6


def _measured(benchmarks: Sequence[Benchmark]) -> Cost:
    on_gpu = [found.gpu_seconds for found in benchmarks if found.gpu_seconds is not None]
    return Cost(
        cpu_seconds=statistics.median(found.cpu_seconds for found in benchmarks),
        gpu_seconds=statistics.median(on_gpu) if on_gpu else None,
        disk_mb=statistics.median(found.disk_mb for found in benchmarks),
        mem_mb=max(found.mem_mb for found in benchmarks),
        source=f"{len(benchmarks)} jobs of this study",
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0  # Snakemake writes NA where it had no time to measure
