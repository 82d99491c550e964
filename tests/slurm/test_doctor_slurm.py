"""The doctor on a real SLURM: its findings for a job agree with what SLURM does."""

import pytest
from cluster import Cluster, why_none
from diagnosis import diagnose

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return a running cluster of two nodes with four processors."""
    if reason := why_none():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm"), cpus=4) as running:
        yield running


def test_a_job_for_which_no_node_is_large_enough(cluster, tmp_path):
    status, findings = diagnose(cluster, tmp_path)
    assert status == 1
    assert findings["train_fold"].startswith("wrong") and "8 CPUs are requested" in findings["train_fold"]
    assert "set-threads" in findings["train_fold"]
    assert not any(tmp_path.iterdir())


def test_a_profile_that_fits_is_well(cluster, tmp_path):
    options = (
        "--set-threads",
        "train_fold=2",
        "--retries",
        "0",
        "--slurm-arrays-init-seconds-before-status-checks",
        "2",
    )
    status, findings = diagnose(cluster, tmp_path, *options)
    assert status == 0 and findings["train_fold"].startswith("ok")
    assert any("squeue works" in name for name in findings)
    sent = findings["train_fold"].splitlines()[1].split()
    # SLURM itself must accept the same command line
    cluster.call(*sent, "--test-only", "--wrap=true")


def test_a_time_limit_and_nodes_that_are_drained(cluster, tmp_path):
    cluster.call("scontrol", "update", "PartitionName=cpu", "MaxTime=30")
    cluster.call("scontrol", "update", "NodeName=node1", "State=DRAIN", "Reason=test")
    options = ("--set-threads", "train_fold=2", "--retries", "0")
    where = ("--set-resources", "predict_scans:slurm_partition=gpu", "screen_scan:slurm_partition=nowhere")
    _, findings = diagnose(cluster, tmp_path, *options, *where)
    assert findings["train_fold"].startswith("wrong") and "the limit is 30" in findings["train_fold"]
    assert "slurm_partition: gpu" in findings["train_fold"]
    assert findings["predict_scans"].startswith("look") and "down or drained" in findings["predict_scans"]
    assert findings["screen_scan"].startswith("wrong") and "no partition 'nowhere'" in findings["screen_scan"]


def test_accounting_that_is_off(cluster, tmp_path):
    _, findings = diagnose(cluster, tmp_path, "--slurm-arrays-status-command", "sacct")
    assert any("never see a job end" in name for name in findings)
