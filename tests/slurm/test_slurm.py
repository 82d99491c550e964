"""The small study on a real SLURM of two nodes, run as by a user: `snakemake --profile slurm`."""

import csv
import re
from collections import Counter

import pytest

pytest_plugins = ["clustered"]
pytestmark = pytest.mark.workflow


def test_the_report_is_made_on_the_cluster(sent):
    study, _, _ = sent
    assert (study.results / "report/index.html").exists()
    with open(study.results / "tables/flow.csv", newline="") as table:
        stages = Counter(row["stage"] for row in csv.DictReader(table))
    assert stages == {"scored": 6, "screened": 1}  # one scan lacks a slice
    study.check_once()


def test_short_jobs_go_as_arrays_and_gpu_jobs_ask_for_a_gpu(sent):
    one, _, jobs = sent
    arrays = re.findall(r"Submitted (\d+) jobs of rule (\w+) as SLURM array", one.study.logged())
    assert ("7", "make_phantom_scan") in arrays  # a job for each scan
    assert {"screen_scan", "resample_image", "measure_prediction"} <= {rule for _, rule in arrays}
    with_gpu = Counter(
        re.search(r"Comment=rule_(train_fold|predict_scans)", job)[1] for job in jobs if "gpu:1" in job
    )
    assert with_gpu["train_fold"] == 2 and with_gpu["predict_scans"] >= 3
    assert {re.search(r"JobState=(\w+)", job)[1] for job in jobs} == {"COMPLETED"}


def test_the_terminal_shows_stages_the_refused_scan_and_at_last_the_results(sent):
    _, said, _ = sent
    assert "make_phantom_scan: 7 jobs\n" in said and "make_phantom_scan done: 7 jobs in" in said
    assert "Refused: X01-missing-slice, missing_slices (" in said
    *_, last = said.splitlines()
    assert last.startswith("7 scans: 6 used, 1 refused (missing_slices). Test (2 people): Dice 0.")
    assert "Submitted" not in said and len(said.splitlines()) < 150, said


def test_a_second_run_submits_nothing(sent):
    study, _, _ = sent
    assert study.study.planned() == {}
