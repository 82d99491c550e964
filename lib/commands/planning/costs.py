"""The cost of one unit of each rule's work: from the study's own benchmarks if there are enough, else as shipped."""

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
# rows of the table that are not rules: the overhead of Snakemake itself
LOCAL_JOB, CLUSTER_JOB, GRAPH_JOB = (
    "each job on this machine",
    "each job of a cluster",
    "each job in the graph",
)
ENOUGH = 5  # number of a rule's benchmarks in the study that replace its shipped cost
ENOUGH_OF_FEW = 1  # the same for a rule with few and long jobs
MOST = 200  # at most this many benchmarks of a rule are read


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time and memory for one unit of work, disk space for one scan (or fold), and the source of these numbers."""

    cpu_seconds: float
    disk_mb: float
    mem_mb: float
    gpu_seconds: float | None = None  # None: not measured on a GPU
    source: str = "shipped"


def shipped_costs() -> dict[str, Cost]:
    """Return the shipped costs, by rule."""
    with open(SHIPPED, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return {
            row["rule"]: Cost(**{name: float(row[name]) for name in ("cpu_seconds", "disk_mb", "mem_mb")})
            for row in rows
        }


def unit_costs(
    plan: Mapping[str, Sequence[Job]], rules: Mapping[str, Rule], folder: Path, *, enough: int = ENOUGH
) -> dict[str, Cost]:
    """Return the cost of a unit of each rule's work; `enough` benchmarks of the study replace the shipped cost.

    The overheads (LOCAL_JOB, CLUSTER_JOB, GRAPH_JOB) are always included.
    """
    shipped = shipped_costs()
    costs = {name: cost for name, cost in shipped.items() if name not in plan}
    for name, jobs in plan.items():
        measured = [found for job in sample(jobs) if (found := read_benchmark(job, rules[name], folder))]
        needed = min(enough, ENOUGH_OF_FEW) if STAGES[name].few else enough
        # a rule without a shipped cost takes that of a rule with the same kind of work
        like = STAGES[name].costs_of or name
        if len(measured) >= needed:
            costs[name] = _measured(measured)
        elif like in shipped:
            costs[name] = shipped[like]
    return costs


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The measured cost of one job: time per unit of work, disk space per scan, and peak memory."""

    cpu_seconds: float
    gpu_seconds: float | None
    disk_mb: float
    mem_mb: float


def sample(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return at most MOST jobs, evenly spaced."""
    return jobs[:: -(-len(jobs) // MOST) or 1]


def read_benchmark(job: Job, rule: Rule, folder: Path) -> Benchmark | None:
    """Return the benchmark of a job; None if the job has not succeeded or had no work to do."""
    path = folder / rule.benchmark.format_map(job.wildcards)
    if not path.exists() or not job.units:
        return None
    with open(path, newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file, delimiter="\t"))[-1]
    seconds = float(last["s"])
    on_gpu = bool(rule.first.gpus) and "cuda" in _text(folder / rule.log.format_map(job.wildcards))
    return Benchmark(
        # the CPU time is missing if the job was too short to be sampled, and too low if it waited for a disk
        cpu_seconds=max(seconds, _number(last["cpu_time"])) / job.units,
        gpu_seconds=seconds / job.units if on_gpu else None,
        disk_mb=sum(size_mb(folder / output.format_map(job.wildcards)) for output in rule.outputs)
        / job.scans,
        mem_mb=_number(last["max_rss"]),
    )


def size_mb(path: Path) -> float:
    """Return the disk space of a file, or of all files below a folder, MB (whole blocks)."""
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
        return 0.0  # Snakemake writes NA if a job was too short to be measured
