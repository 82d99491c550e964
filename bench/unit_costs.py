"""Measure the cost of a unit of each rule's work at full size on a CPU, for lib/commands/planning/unit_costs.csv.

It runs two studies in one folder: one with a toy network through all rules, because the measures need a usable mask,
and one with the network of config.yaml for training and prediction.
"""

import argparse
import csv
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from lib.catalog.stages import STAGES
from lib.commands.planning.costs import (
    CLUSTER_JOB,
    COLUMNS,
    GRAPH_JOB,
    LOCAL_JOB,
    read_benchmark,
    size_mb,
)
from lib.commands.planning.jobs import plan_jobs
from lib.commands.planning.workflow import ROOT, Workflow, read_workflow

LEARNING = tuple(rule for rule, stage in STAGES.items() if stage.work in ("fold", "batch"))
TOY = {
    "study": "unit costs",
    "groups": {"all": {}},
    "folds": {"folds": 2, "test_fraction": 0, "age_bands": 1},
    "networks": {"vnet": {"channels": [4, 8, 16, 16], "normalisation": "instance"}},
    "train": {
        "epochs": 60, "learning_rate": 5e-3, "schedule": "cosine", "warm_up": 0.08, "loss": "dice_cross_entropy",
        "validate_every": 60, "augment": {"mirror_axes": []},
    },
    "predict": {"step": 8},
}  # fmt: skip


def overlays(folder: Path, people: int) -> tuple[Path, Path]:
    """Write the overlays of both studies; return their paths."""
    toy = TOY | {"phantom": {"people": people}}
    network = yaml.safe_load((ROOT / "config.yaml").read_text())["networks"]["vnet"]
    # as many epochs as from one validation to the next, so that the mean epoch includes its share of a validation
    full = toy | {
        "networks": {"full": network},
        "train": {"epochs": 10, "validate_every": 10},
    }
    full["predict"] = {"step": 1}
    paths = folder / "toy.yaml", folder / "full.yaml"
    for path, overlay in zip(paths, (toy, full), strict=True):
        path.write_text(yaml.safe_dump(overlay))
    return paths


def run(overlay: Path, *targets: str) -> tuple[Workflow, float, float]:
    """Run a study on one core; return it, the seconds, and the share of them that it computed.

    Elapsed times of its jobs are multiplied by this share, because other load on the machine prolongs them.
    """
    started, before = time.perf_counter(), cpu_seconds_of_children()
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *targets,
        "--cores",
        "1",
        "--quiet",
        "--rerun-triggers",
        "mtime",
    ]
    command += ["--directory", str(overlay.parent), "--configfile", str(overlay)]
    subprocess.run(command, cwd=ROOT, check=True)
    seconds = time.perf_counter() - started
    share = min((cpu_seconds_of_children() - before) / seconds, 1)
    return read_workflow(["--directory", str(overlay.parent), "--configfile", str(overlay)]), seconds, share


def cpu_seconds_of_children() -> float:
    """Return the CPU time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured_rows(workflow: Workflow, share: float, *, learning: bool) -> list[dict]:
    """Return a row of the table for each rule that ran, those of `LEARNING` or the others; `share`: see `run`."""
    folder, rules = workflow.study.folder, workflow.rules
    rows = []
    for name, jobs in plan_jobs(workflow.study, rules).items():
        found = [found for job in jobs if (found := read_benchmark(job, rules[name], folder))]
        if found and (name in LEARNING) == learning:
            rows.append(
                {
                    "rule": name,
                    "per": STAGES[name].unit,
                    "cpu_seconds": share * statistics.median(one.cpu_seconds for one in found),
                    "disk_mb": statistics.median(one.disk_mb for one in found),
                    "mem_mb": max(one.mem_mb for one in found),
                }
            )
    return rows


def overhead_rows(
    workflow: Workflow, seconds: float, share: float, known: tuple[float, float, float]
) -> list[dict]:
    """Return the cost of Snakemake itself for each job: here, on a cluster, and in its graph.

    `known`: CPU seconds of a job of a cluster; seconds and MB of a job in the graph, measured by other scripts.
    """
    folder = workflow.study.folder
    found = [
        found.cpu_seconds * job.units
        for name, jobs in plan_jobs(workflow.study, workflow.rules).items()
        for job in jobs
        if (found := read_benchmark(job, workflow.rules[name], folder))
    ]
    records = (folder / name for name in (".snakemake", "results/logs", "results/benchmarks"))
    disk_mb = sum(map(size_mb, records)) / len(found)
    here = share * max(seconds - sum(found), 0) / len(found)
    each = {"per": "job", "disk_mb": disk_mb, "mem_mb": 0}
    return [
        {"rule": LOCAL_JOB, "cpu_seconds": here} | each,
        {"rule": CLUSTER_JOB, "cpu_seconds": known[0]} | each,
        {"rule": GRAPH_JOB, "per": "job", "cpu_seconds": known[1], "disk_mb": 0, "mem_mb": known[2]},
    ]


def machine() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=4, help="synthetic people")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument(
        "--cluster-job",
        type=float,
        default=1.6,
        help="CPU seconds of Snakemake and SLURM for each job, measured apart",
    )
    parser.add_argument(
        "--graph-job",
        type=float,
        nargs=2,
        default=(0.002, 0.033),
        help="seconds and MB of a job in the graph (scale.py)",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        toy, full = overlays(options.folder or Path(temporary), options.people)
        workflow, seconds, share = run(toy)
        rows = overhead_rows(workflow, seconds, share, (options.cluster_job, *options.graph_job))
        rows += measured_rows(workflow, share, learning=False)
        workflow, _, share = run(full, "predicted")
        rows += measured_rows(workflow, share, learning=True)
    print(
        f"# Measured {date.today()} on one core of {machine()} by bench/unit_costs.py --people {options.people}:"
    )
    print("# synthetic scans of 512 x 512 pixels, no GPU, float precision as train.precision: auto chooses.")
    print(
        "# cpu_seconds: a unit of work (per). disk_mb: kept of a scan (a fold). mem_mb: largest of all jobs."
    )
    table = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow(
            {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
        )


if __name__ == "__main__":
    main()
