"""How the cost of Snakemake grows with the cohort: time and memory of a dry run.

A study of N scans is made up as it stands after screening: cohort table, verdicts, placements and finished models are
there, images are not. It is to be predicted by ten fold models (`model=FOLDER`), from conversion to the report.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from lib.cohort.placement import Placement
from lib.cohort.scans import SCAN_COLUMNS, write_folds, write_records

ROOT = Path(__file__).parents[1]
FOLDS = 10


def make_cohort(folder: Path, demo: Path, scans: int) -> list[str]:
    """Make a study of `scans` screened scans without reference in `folder`; return its settings for `--config`.

    `demo` is a folder with results of a finished study: its run.json tells what a model's record looks like.
    """
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    names = [f"S{number:06d}" for number in range(scans)]
    results, source, batch = folder / "results", folder / "source", config["predict"]["batch_scans"]
    for path in (results / "cohort", results / "screened", results / "folds", source):
        path.mkdir(parents=True)
    (source / "image.nii.gz").touch()
    with open(source / "cohort.csv", "w", newline="") as file:
        csv.writer(file).writerows([("scan", "image"), *((name, "image.nii.gz") for name in names)])
    os.utime(source / "cohort.csv", (0, 0))
    os.utime(source / "image.nii.gz", (0, 0))
    for name in names:
        (results / f"screened/{name}.json").write_text(json.dumps({"scan": name, "verdict": "ok"}))
    empty = dict.fromkeys(SCAN_COLUMNS, "")
    records = [empty | {"scan": name, "subject": name, "has_mask": "0", "verdict": "ok"} for name in names]
    write_records(records, SCAN_COLUMNS, results / "cohort/scans.csv")
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
        "crop": {"size_xy": config["crop"]["size_xy"]},
        "intensity": config["intensity"],
    }
    for fold in range(FOLDS):
        (folder / f"models/fold-{fold}").mkdir(parents=True)
        (folder / f"models/fold-{fold}/run.json").write_text(json.dumps(run | {"fold": fold}))
        (folder / f"models/fold-{fold}/model.pt").touch()
    return [f"cohort={source / 'cohort.csv'}", f"model={folder / 'models'}"]


def run_measured(command: list[str], **settings: object) -> tuple[float, float, str]:
    """Run a command; return its seconds, the peak memory of its process in GB and what it printed."""
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


def main() -> None:
    """Print a JSON line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("--scans", type=int, nargs="+", default=[400, 5000, 20000])
    options = parser.parse_args()
    demo = options.study.resolve() / "results"
    for scans in options.scans:
        print(json.dumps(measure_dry_run(demo, scans)), flush=True)


if __name__ == "__main__":
    main()
