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
import yaml
from conftest import ROOT, Study

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


def end_while_running(study, *arguments, number, is_time):
    """Start a run and send it a signal, as a terminal or a cluster does: to Snakemake and all of its jobs."""
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
    while not is_time():
        assert running.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    os.killpg(running.pid, number)
    return running


def test_killed_and_restarted_run_ends_with_the_same_numbers(study):
    metrics = study.folder / "results/tables/metrics.csv"
    before = metrics.read_text()
    forced = [f"results/converted/P00{number}/image.nii.gz" for number in (1, 2, 3)]
    start = time.monotonic()
    running = end_while_running(
        study, "--forcerun", *forced, number=signal.SIGKILL, is_time=lambda: time.monotonic() > start + 8
    )
    running.wait()
    assert unreadable(study.folder / "results") == []
    study.run("--unlock")
    study.run("--rerun-incomplete")
    assert metrics.read_text() == before
    assert study.planned() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_training_goes_on_where_it_was_ended(study, tmp_path, number):
    settings = yaml.safe_load((ROOT / study.overlay).read_text())
    settings["train"] |= {"epochs": 400, "checkpoint_minutes": 0.01}
    overlay = tmp_path / "long.yaml"
    overlay.write_text(yaml.safe_dump(settings))
    longer = Study(study.folder, str(overlay), study.settings)
    fold = "results/models/all/vnet/fold-0"
    state = study.folder / "results/state/all/vnet/fold-0.pt"
    (study.folder / fold / "model.pt").unlink()

    running = end_while_running(longer, f"{fold}/model.pt", number=number, is_time=state.exists)
    assert running.wait(timeout=20) != 0
    assert state.exists() and not (study.folder / fold / "model.pt").exists()
    longer.run("--unlock")
    longer.run(f"{fold}/model.pt", "--rerun-incomplete")
    assert json.loads((study.folder / fold / "run.json").read_text())["resumed"]
    assert not state.exists()


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
    assert "1 of 12 scans is missing" in page and "partial=true" in page
