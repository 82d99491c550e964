"""A killed run and a run with losses: nothing is half-written or lost, and the report says what is missing."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

pytestmark = pytest.mark.workflow


def unreadable(folder):
    """Return every image or JSON file below `folder` that is not whole; hidden ones do not pass for results."""
    bad = []
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            if path.suffix == ".gz":
                gzip.decompress(path.read_bytes())
            elif path.suffix == ".json":
                json.loads(path.read_text())
        except (OSError, EOFError, ValueError):
            bad.append(path)
    return bad


def kill_while_running(study, *arguments, after_s):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *arguments,
        "--cores",
        "2",
        "--directory",
        str(study.folder),
    ]
    command += ["--configfile", study.overlay, "--config", *study.settings]
    running = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(after_s)
    assert running.poll() is None, "the run ended before it could be killed"
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_killed_and_restarted_run_ends_with_the_same_numbers(study):
    metrics = study.folder / "results/tables/metrics.csv"
    before = metrics.read_text()
    forced = [f"results/converted/P00{number}/image.nii.gz" for number in (1, 2, 3)]
    kill_while_running(study, "--forcerun", *forced, after_s=8)
    assert unreadable(study.folder / "results") == []
    study.run("--unlock")
    study.run("--rerun-incomplete")
    assert metrics.read_text() == before
    assert study.planned() == {}


def test_report_from_what_is_there_says_what_is_missing(study):
    lost = "P003"
    for kind, name in (
        ("masks", f"{lost}/mask.nii.gz"),
        ("volumes", f"{lost}.json"),
        ("overlaps", f"{lost}.json"),
    ):
        for path in (study.folder / "results" / kind).glob(f"*/*/*/{name}"):
            path.unlink()
    study.run(settings=("partial=true",))
    with open(study.folder / "results/tables/flow.csv", newline="") as file:
        flow = {row["scan"]: row for row in csv.DictReader(file)}
    assert (flow[lost]["stage"], flow[lost]["reason"]) == ("cropped", "not_predicted")
    assert lost not in (study.folder / "results/tables/metrics.csv").read_text()
    page = (study.folder / "results/report/index.html").read_text()
    assert "1 of 12 scans are missing" in page and "partial=true" in page
