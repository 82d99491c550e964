"""A run that is killed, loses scans or ends before its folds: no result is lost, and missing results are reported."""

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

from lib.cohort.scans import read_records
from lib.fold_settings import CROPS_NEED_NO_FOLDS
from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow


def unreadable(folder):
    """Return every incomplete image or JSON file below `folder`; hidden files do not count as results."""
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
    settings["train"] |= {"epochs": 150, "checkpoint_minutes": 0.01}
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


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def flow_of(study):
    return {row["scan"]: row for row in rows_of(study.folder / "results/tables/flow.csv")}


def test_report_from_what_is_there_says_what_is_missing_until_it_is_mended(study):
    results = study.folder / "results"
    damaged, person, fold, read_twice = "P003", "P006", "male/vnet/fold-0", "P001"
    mask, model = results / f"cropped/{damaged}/labels.nii.gz", results / f"models/{fold}/model.pt"
    second = results / f"resampled/{read_twice}/labels2.nii.gz"
    whole = {path: path.with_suffix(".whole") for path in (mask, second, model)}
    for path in (mask, second):
        path.rename(whole[path])
        path.write_bytes(b"damaged")
    readers = (results / "tables/readers.csv").read_text()
    ended = study.call("--keep-going")
    assert ended.returncode != 0 and "--config partial=true" in ended.stdout, ended.stdout[-6000:]

    model.rename(whole[model])
    study.run(settings=("partial=true",))
    flow = flow_of(study)
    assert flow[damaged]["reason"] == "not_predicted"
    assert "the image file is damaged, truncated or not an image" in flow[damaged]["explanation"]
    # without the second reader's mask a scan is measured and scored like any other
    assert flow[read_twice]["reason"] == "partly_missing"
    assert "not set beside the second reader" in flow[read_twice]["explanation"]
    assert read_twice in (results / "tables/metrics.csv").read_text()
    assert len(rows_of(results / "tables/readers.csv")) == 0 < readers.count("\n") - 1
    assert flow[person]["reason"] == "partly_missing" and f"no model of {fold}" in flow[person]["explanation"]
    assert damaged not in (results / "tables/metrics.csv").read_text()
    # a failed scan is counted beside the means that lack it
    unscored = rows_of(results / "tables/unscored.csv")
    lost = {row["scan"] for row in unscored if (row["group"], row["protocol"]) == ("all", "cv")}
    assert damaged in lost and {row["without_reason"] for row in unscored} == {"not predicted"}
    dice = [row for row in rows_of(results / "tables/scores.csv") if row["measure"] == "dsc"]
    everybody = next(
        row for row in dice if (row["group"], row["protocol"], row["stratum"]) == ("all", "cv", "all")
    )
    assert (everybody["scans_without"], everybody["without_reason"]) == (str(len(lost)), "not predicted")
    page = (results / "report/index.html").read_text()
    assert "made from what is there (partial=true)" in page and f"{damaged}: not predicted. cv" in page
    assert f"Folds without a model: 1 of 6 ({fold}: " in page

    for path, kept in whole.items():
        kept.replace(path)
    study.run()
    assert {flow_of(study)[scan]["reason"] for scan in (damaged, person, read_twice)} == {""}
    assert (results / "tables/readers.csv").read_text() == readers
    assert damaged in (results / "tables/metrics.csv").read_text()
    assert not rows_of(results / "tables/unscored.csv")
    page = (results / "report/index.html").read_text()
    assert "partial=true" not in page and "without a model" not in page
    assert study.planned() == {}


def test_crops_can_be_looked_at_where_too_few_people_are_left_for_the_folds(phantom, tmp_path):
    overlay = tmp_path / "many_folds.yaml"
    settings = yaml.safe_load((ROOT / "studies/ci.yaml").read_text())
    overlay.write_text(yaml.safe_dump(settings | {"folds": {"folds": 30}}))
    study = Study(tmp_path, str(overlay), settings=(f"cohort={phantom}/cohort.csv",))
    ended = study.call()
    assert ended.returncode != 0 and CROPS_NEED_NO_FOLDS in ended.stdout and "Traceback" not in ended.stdout
    refused = study.refuse(settings=("partial=true",))
    assert CROPS_NEED_NO_FOLDS in refused
    study.run("cropped")
    accepted = [
        row["scan"] for row in read_records(tmp_path / "results/cohort/scans.csv") if row["verdict"] == "ok"
    ]
    assert len(accepted) > 3
    assert sorted(path.stem for path in (tmp_path / "results/crops").glob("*.webp")) == sorted(accepted)
    assert not (tmp_path / "results/folds/folds.csv").exists()
