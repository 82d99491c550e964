"""The small study on a real SLURM of two nodes: `snakemake --profile slurm`, as its users run it."""

import csv
import os
import re
from collections import Counter

import pytest
from cluster import Cluster, missing_programs

from tests.study import Study

pytestmark = pytest.mark.workflow
# the project's profile, for jobs that last seconds on nodes with two processors
OPTIONS = (
    *("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
    *("--set-threads", "train_fold=2", "predict_scans=2"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return a running cluster of two nodes."""
    if missing := missing_programs():
        pytest.skip(f"no {', '.join(missing)} on this machine (Debian: apt-get install slurm-wlm munge)")
    if os.geteuid():
        pytest.skip("only root can start a SLURM with devices of its own")
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def sent(cluster, tmp_path_factory) -> tuple[Study, str]:
    """Return a study that ran on the cluster to its report, and what Snakemake said."""
    study = Study(
        tmp_path_factory.mktemp("study"),
        settings=("cohorts=[all]", "phantom={people: 6, unlabelled_people: 0}"),
        options=OPTIONS,
        environment=cluster.environment,
        seconds=1800,  # a job that no node can take waits for ever
    )
    return study, study.run()


def test_the_report_is_made_on_the_cluster(sent):
    study, _ = sent
    assert (study.folder / "results/report/index.html").exists()
    with open(study.folder / "results/tables/flow.csv", newline="") as table:
        stages = Counter(row["stage"] for row in csv.DictReader(table))
    assert stages == {"scored": 6, "screened": 1}  # one scan lacks a slice


def test_short_jobs_go_as_arrays_and_gpu_jobs_ask_for_a_gpu(sent, cluster):
    _, said = sent
    arrays = re.findall(r"Submitted array job with Snakemake IDs ([\d,]+)", said)
    assert max(len(ids.split(",")) for ids in arrays) == 7  # a job for each scan
    jobs = cluster.call("scontrol", "--oneliner", "show", "jobs").splitlines()
    with_gpu = Counter(
        re.search(r"Comment=rule_(train_fold|predict_scans)", job)[1] for job in jobs if "gpu:1" in job
    )
    assert with_gpu["train_fold"] == 2 and with_gpu["predict_scans"] >= 3
    assert {job["JobState"] for job in cluster.ended_jobs()} == {"COMPLETED"}


def test_a_second_run_submits_nothing(sent):
    study, _ = sent
    assert study.planned() == {}
