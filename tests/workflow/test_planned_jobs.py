"""The estimate counts the jobs that Snakemake plans; Snakemake is idle while jobs run."""

import json
import subprocess
import sys

import pytest
import yaml

from lib.commands.estimate import estimate_rules
from lib.commands.planning.workflow import read_workflow
from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow
# rules before the forced rule, or independent of it
BEFORE = {"screen_scan", "gather_screening", "gather_acquisition", "split_folds", "record_run"}


@pytest.fixture(scope="module")
def estimated(finished):
    """Return the estimate of each rule of a study that has run to its report."""
    arguments = ["--directory", str(finished.folder), "--configfile", finished.overlay]
    workflow = read_workflow([*arguments, "--config", *finished.settings])
    return {row.rule: row for row in estimate_rules(workflow)}


def test_the_estimate_counts_what_snakemake_would_run(finished, estimated):
    planned = finished.planned("--forcerun", "convert_scan", settings=("retrain=true",))
    counted = {name: row.jobs for name, row in estimated.items() if name not in BEFORE}
    assert counted == {name: jobs for name, jobs in planned.items() if name not in BEFORE}


def test_nothing_is_left_of_a_finished_study(estimated):
    assert {name: row.left for name, row in estimated.items() if row.left} == {}
    assert sum(row.cpu_hours + row.disk_gb for row in estimated.values()) == 0


def test_the_study_itself_tells_what_its_units_cost(estimated):
    assert "of this study" in estimated["convert_scan"].source
    assert "of this study" in estimated["train_fold"].source
    assert estimated["write_report"].source.startswith("shipped")


def test_every_network_of_a_grid_is_planned_and_estimated(tmp_path):
    settings = yaml.safe_load((ROOT / "studies/ci.yaml").read_text())
    del settings["networks"]
    settings["grid"] = {"dimensions": [2, 3], "initial_maps": [4, 8, 16], "levels": [3, 4]}
    settings["grid"] |= {
        "bottleneck_dilation": [1, 2, 4],
        "skip_if": "dimensions == 3 and initial_maps == 16",
    }
    overlay = tmp_path / "grid.yaml"
    overlay.write_text(yaml.safe_dump(settings))
    study = Study(tmp_path / "study", overlay=str(overlay))
    study.folder.mkdir()
    networks, folds = 2 * 5 * 3, settings["folds"]["folds"]
    assert study.planned()["train_fold"] == networks * folds
    assert study.planned(settings=("only_networks=[unet3d-f8-l4-d2]",))["train_fold"] == folds
    workflow = read_workflow(["--directory", str(study.folder), "--configfile", study.overlay])
    assert {row.rule: row.jobs for row in estimate_rules(workflow)}["train_fold"] == networks * folds


@pytest.mark.parametrize(("limit", "rests"), [("100/1s", True), ("50/1s", False)])
def test_snakemake_is_idle_while_jobs_run_unless_it_was_given_a_limit(phantom, tmp_path, limit, rests):
    options = ("--cores", "1", "--verbose", "--max-jobs-per-timespan", limit)
    table = (f"cohort={phantom / 'cohort.csv'}",)
    printed = Study(tmp_path, settings=table, options=options).run("--until", "screen_scan")
    ended, looked = printed.count("Finished jobid"), printed.count("Resources before job selection")
    assert ended > 10
    assert (looked <= ended + 1) == rests


def test_the_cost_of_a_large_cohort_can_be_measured(finished):
    """bench/scale.py makes its cohort up: it must pass the checks of a real one, and reach a cluster of stubs."""
    command = [sys.executable, ROOT / "bench/scale.py", finished.folder, "--scans", "20"]
    printed = subprocess.run(
        [*command, "--what", "dry-run", "submissions"], check=True, capture_output=True, text=True
    ).stdout
    planned, submitted = map(json.loads, printed.splitlines())
    # per scan: convert, resample, crop, draw, measure; two batches; for the study: tables, figures and the page
    assert planned["jobs"] > 5 * 20 and submitted["jobs"] > 5 * 20
    assert {"convert_scan", "measure_prediction", "predict_scans"} <= set(submitted["calls_by_rule"])
    assert submitted["calls"] < submitted["jobs"] / 3
