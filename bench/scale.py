"""Measure how cost grows with the cohort: dry run, calls of sbatch, memory of rules that gather tables.

A study of N scans is made up as it is after screening: it has a cohort table, verdicts, placements and finished
models, but no images. It is to be predicted by ten fold models (`model=FOLDER`), from conversion to the report.

Calls of sbatch are counted in a run by `--profile slurm` with the programs of `stub_slurm.py` in place of SLURM's: no
job runs, and outputs are empty files. Jobs that Snakemake runs itself would read these files, so that those jobs and
the last job, the report, are left out.

Gathering is measured on the study of `made_study.py`, which repeats a demo's people under new ids.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.made_study import make_study
from lib.catalog.stages import STAGES
from lib.cohort.placement import Placement
from lib.cohort.scans import DIGEST_COLUMNS, SCAN_COLUMNS, write_folds, write_records
from lib.commands.planning.workflow import read_workflow

ROOT = Path(__file__).parents[1]
FOLDS = 10


def batch_scans() -> int:
    """Return how many scans one job predicts."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())["predict"]["batch_scans"]


def make_cohort(folder: Path, demo: Path, scans: int) -> list[str]:
    """Make a study of `scans` screened scans without reference in `folder`; return its settings for `--config`.

    `demo` is a folder with results of a finished study: its run.json is the template of a model's record.
    """
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    names = [f"S{number:06d}" for number in range(scans)]
    results, source, batch = folder / "results", folder / "source", batch_scans()
    for path in (results / "cohort", results / "screened", results / "folds", source):
        path.mkdir(parents=True)
    with open(source / "cohort.csv", "w", newline="") as file:
        csv.writer(file).writerows([("scan", "image"), *((name, f"{name}.nii.gz") for name in names)])
    for file in ("cohort.csv", *(f"{name}.nii.gz" for name in names)):
        (source / file).touch()
        os.utime(source / file, (0, 0))
    for name in names:
        (results / f"screened/{name}.json").write_text(json.dumps({"scan": name, "verdict": "ok"}))
    empty = dict.fromkeys(SCAN_COLUMNS, "")
    records = [empty | {"scan": name, "subject": name, "has_mask": "0", "verdict": "ok"} for name in names]
    write_records(records, SCAN_COLUMNS, results / "cohort/scans.csv")
    digests = [{"scan": name, "voxels": ""} for name in names]
    write_records(digests, DIGEST_COLUMNS, results / "cohort/digests.csv")
    placed = [
        Placement(
            scan=name, subject=name, sex="", age=None, site="", has_mask=False, set="apply", batch=i // batch
        )
        for i, name in enumerate(names)
    ]
    write_folds(placed, results / "folds/folds.csv")
    run = json.loads((demo / "models/all/vnet/fold-0/run.json").read_text())
    run["preprocessing"] = {
        "resample": config["resample"],
        "crop": {key: config["crop"][key] for key in ("method", "size")},
        "intensity": config["intensity"],
    }
    for fold in range(FOLDS):
        (folder / f"models/fold-{fold}").mkdir(parents=True)
        (folder / f"models/fold-{fold}/run.json").write_text(json.dumps(run | {"fold": fold}))
        (folder / f"models/fold-{fold}/model.pt").touch()
    return [f"cohort={source / 'cohort.csv'}", f"model={folder / 'models'}"]


def run_measured(command: list[str], **settings: object) -> tuple[float, float, str]:
    """Run a command; return its seconds, the peak memory of its process in GB and its output."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        with subprocess.Popen(
            command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, **settings
        ) as running:
            _, status, usage = os.wait4(running.pid, 0)
            running.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        printed.seek(0)
        text = printed.read()
    if running.returncode:
        raise SystemExit(text[-4000:])
    return seconds, usage.ru_maxrss / 1e6, text


def measure_dry_run(demo: Path, scans: int) -> dict:
    """Return jobs, seconds and memory of a dry run of a study of `scans` scans."""
    with tempfile.TemporaryDirectory() as folder:
        settings = make_cohort(Path(folder), demo, scans)
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "--directory", folder]
        command += ["--quiet", "rules", "--rerun-triggers", "mtime", "--config", *settings]
        seconds, peak_gb, text = run_measured(command)
    jobs = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("total "))
    return {"what": "dry run", "scans": scans, "jobs": jobs, "seconds": seconds, "peak_gb": peak_gb}


def measure_submissions(demo: Path, scans: int) -> dict:
    """Return jobs, calls of sbatch, the longest call and the largest task of a run of a study of `scans` scans."""
    with tempfile.TemporaryDirectory() as place:
        folder, stub = Path(place, "study"), Path(place, "stub")
        settings = make_cohort(folder, demo, scans)
        study = ["--profile", "slurm", "--directory", str(folder), "--config", *settings]
        lay_out_stub(stub, study)
        pages = [f"results/report/scans/batch-{batch}" for batch in range(-(-scans // batch_scans()))]
        command = [sys.executable, "-m", "snakemake", "cropped", "results/figures", *pages, *study]
        command += ["--slurm-arrays-init-seconds-before-status-checks", "1", "--latency-wait", "0"]
        environment = os.environ | {"STUB_SLURM": str(stub), "PATH": f"{stub}:{os.environ['PATH']}"}
        seconds, peak_gb, _ = run_measured(command, env=environment)
        calls = [json.loads(line) for line in (stub / "calls.jsonl").read_text().splitlines()]
    return {
        "what": "submissions",
        "scans": scans,
        "jobs": sum(call["jobs"] for call in calls),
        "calls": len(calls),
        "calls_by_rule": Counter(call["rule"] for call in calls),
        "longest_script_bytes": max(call["bytes"] for call in calls),
        "seconds": seconds,
        "peak_gb": peak_gb,
    }


def lay_out_stub(stub: Path, study: list[str]) -> None:
    """Write programs with the names of SLURM's, and the rules' output patterns, into the folder `stub`."""
    stub.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "sinfo", "sacct", "sacctmgr"):
        (stub / name).symlink_to(ROOT / "bench/stub_slurm.py")
    folders = {name for name, stage in STAGES.items() if not Path(stage.file).suffix}
    rules = read_workflow(study).rules
    outputs = {
        name: [rule.benchmark, *(f"{output}/" if name in folders else output for output in rule.outputs)]
        for name, rule in rules.items()
    }
    (stub / "outputs.json").write_text(json.dumps(outputs))


def measure_gathering(demo: Path, scans: int) -> dict:
    """Return peak memory (MB) and seconds of each rule that gathers a made-up, measured study of `scans` people."""
    with tempfile.TemporaryDirectory() as place:
        table = make_study(demo, Path(place), scans)
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "results/cohort/notes.json",
            "results/tables/precision.csv",
            "results/tables/people.csv",
        ]
        command += ["--cores", "1", "--directory", place, "--configfile", "studies/demo.yaml"]
        command += ["--rerun-triggers", "mtime", "--config", f"cohort={table}"]
        run_measured(command)
        rules = {}
        for path in Path(place, "results/benchmarks").glob("*/cohort.tsv"):
            with open(path, newline="") as file:
                (row,) = csv.DictReader(file, delimiter="\t")
            rules[path.parent.name] = {"mem_mb": float(row["max_rss"]), "seconds": float(row["s"])}
    return {"what": "gathering", "scans": scans, "rules": rules}


MEASURES = {"dry-run": measure_dry_run, "submissions": measure_submissions, "gathering": measure_gathering}


def main() -> None:
    """Print a JSON line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("--scans", type=int, nargs="+", default=[400, 5000, 20000])
    parser.add_argument("--what", choices=MEASURES, nargs="+", default=list(MEASURES))
    options = parser.parse_args()
    demo = options.study.resolve() / "results"
    for what in options.what:
        for scans in options.scans:
            print(json.dumps(MEASURES[what](demo, scans)), flush=True)


if __name__ == "__main__":
    main()
