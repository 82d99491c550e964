"""Faults on a cluster: results must equal those of an undisturbed run, or the report must state what is missing.

The tests take about half an hour: `make test-cluster`.
"""

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml
from cluster import wait_until

from lib.learning.checkpoint import read_model
from tests.study import ROOT

pytest_plugins = ["clustered"]
pytestmark = [pytest.mark.workflow, pytest.mark.faults]
SCANS = [f"P00{number}" for number in range(1, 7)]


def picture(scan):
    """Return the job that draws the crop of a scan."""
    return f"draw_crop:scan={scan}"


def test_jobs_of_an_array_that_fail_take_no_other_with_them(again, reference):
    again.tell(picture("P001"), "killed")
    again.tell(picture("P002"), "snakemake-killed")
    again.tell(picture("P003"), "memory")
    again.study.run()
    assert [again.started(picture(scan)) for scan in SCANS] == [2, 2, 2, 1, 1, 1]
    again.check(reference)


def test_a_job_over_its_time_limit(again, reference):
    again.tell(picture("P001"), "waits")
    study = replace(again.study, options=(*again.study.options, "--set-resources", "draw_crop:runtime=1"))
    said = study.run()
    assert "TIMEOUT" in said and again.started(picture("P001")) == 2
    again.check(reference)


def test_a_cancelled_job(again, reference):
    again.tell(picture("P001"), "waits")

    def cancel():
        again.cluster.call("scancel", again.slurm_job(picture("P001"))[1])

    said = again.when_started(picture("P001"), cancel)
    assert "CANCELLED" in said and again.started(picture("P001")) == 2
    again.check(reference)


def test_a_drained_node(again, reference):
    again.tell(picture("P001"), "waits-a-little")
    node = []

    def drain():
        node.append(again.slurm_job(picture("P001"))[0])
        again.cluster.call("scontrol", "update", f"nodename={node[0]}", "state=drain", "reason=test")

    try:
        again.when_started(picture("P001"), drain)
    finally:
        again.cluster.call("scontrol", "update", f"nodename={node[0]}", "state=resume")
    assert again.started(picture("P001")) == 1  # a drained node finishes its running jobs
    again.check(reference)


def test_a_node_that_loses_its_power(again, reference):
    again.tell(picture("P001"), "waits")
    node = []

    def lose():
        node.append(again.slurm_job(picture("P001"))[0])
        again.cluster.lose_node(node[0])

    try:
        again.when_started(picture("P001"), lose)
    finally:
        again.cluster.start_node(node[0])
        wait_until(lambda: set(again.cluster.states().values()) == {"idle"})
    assert again.started(picture("P001")) == 2
    again.check(reference)


def test_a_restarted_slurmd(again, reference):
    again.tell(picture("P001"), "waits-a-little")

    def restart():
        node, _ = again.slurm_job(picture("P001"))
        again.cluster.kill(f"slurmd-{node}", signal.SIGKILL)
        again.cluster.start_node(node)

    again.when_started(picture("P001"), restart)
    assert again.started(picture("P001")) == 1
    again.check(reference)


def test_a_restarted_controller(again, reference):
    again.tell(picture("P001"), "waits-a-little")

    def restart():
        again.cluster.kill("slurmctld")
        time.sleep(12)  # Snakemake asks for the state of its jobs and gets no answer
        again.cluster.start_controller()

    again.when_started(picture("P001"), restart)
    again.check(reference)


def test_submissions_that_are_refused(again, reference):
    again.cluster.call("scontrol", "update", "partitionname=cpu", "state=inactive")
    try:
        ended = again.study.call()
    finally:
        again.cluster.call("scontrol", "update", "partitionname=cpu", "state=up")
    assert ended.returncode and "Required partition not available" in ended.stdout
    again.study.run()
    again.check(reference)


def test_a_killed_snakemake(again, reference):
    for scan in SCANS[:2]:
        again.tell(picture(scan), "waits")
    running = again.begin()
    wait_until(lambda: all(again.started(picture(scan)) for scan in SCANS[:2]), seconds=120)
    refused = recover(again)
    assert refused.returncode and "another run works in" in refused.stderr
    running.kill()
    running.wait()
    assert again.cluster.jobs()  # they still run
    again.study.refuse()  # the lock of the killed run
    again.study.run("--unlock")  # as Snakemake itself advises
    refused = again.study.call()
    assert refused.returncode and "make recover" in refused.stdout

    recovered = recover(again)
    assert not recovered.returncode and "of a killed run were cancelled" in recovered.stdout
    assert not again.cluster.jobs()
    again.study.run()
    again.check(reference)


def recover(one):
    """Run the first step of `make recover`."""
    command = [
        sys.executable,
        "-m",
        "lib.commands.recover",
        "--profile",
        "slurm",
        "--directory",
        str(one.folder),
    ]
    return subprocess.run(
        command, cwd=ROOT, env=one.study.environment, text=True, capture_output=True, check=False
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_end(again, reference, how):
    again.tell(picture("P001"), "waits-a-little")
    running = again.begin()
    wait_until(lambda: again.started(picture("P001")), seconds=120)
    running.send_signal(how)
    assert running.wait(timeout=300)
    wait_until(lambda: not again.cluster.jobs())
    again.study.run()
    again.check(reference)


def test_a_full_disk(sent, tmp_path, reference):
    disk = tmp_path / "disk"
    disk.mkdir()
    one = sent[0].elsewhere(disk / "study")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(disk)], check=True)
    try:
        subprocess.run(["cp", "-a", str(sent[0].folder), str(one.folder)], check=True)
        one.lose_pictures()
        subprocess.run(["dd", "if=/dev/zero", f"of={disk}/filler", "bs=4k"], check=False, capture_output=True)
        ended = one.study.call()
        assert ended.returncode and "No space left on device" in ended.stdout
        (disk / "filler").unlink()
        wait_until(lambda: not one.cluster.jobs())
        assert recover(one).returncode == 0
        one.study.run("--unlock")
        one.study.run()
        one.check(reference)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def test_a_scan_that_always_fails(again, reference):
    damaged = {
        path: path.with_suffix(".whole")
        for path in again.results.glob("predictions/*/*/*/batch-*/P002/probability.nii.gz")
    }
    for path, whole in damaged.items():
        path.rename(whole)
        path.write_bytes(b"damaged")
        (path.parents[1] / ".snakemake_timestamp").touch()
    ended = again.study.call()
    assert ended.returncode and "partial=true" in ended.stdout
    assert len(list((again.results / "crops").iterdir())) == len(SCANS)  # it stopped no other job
    again.study.run(settings=("partial=true",))
    with open(again.results / "tables/flow.csv", newline="") as table:
        flow = {row["scan"]: row for row in csv.DictReader(table)}
    assert [scan for scan, row in flow.items() if row["verdict"] == "ok" and row["reason"]] == ["P002"]
    assert "the image file is damaged" in flow["P002"]["explanation"]
    assert "P002" in (again.results / "report/index.html").read_text()
    again.check_once()

    for path, whole in damaged.items():
        whole.replace(path)
        (path.parents[1] / ".snakemake_timestamp").touch()
    again.study.run()
    again.check(reference)


def test_a_training_that_is_preempted_three_times(sent, tmp_path):
    overlay, fold = tmp_path / "long.yaml", "results/models/all/vnet/fold-0"
    settings = yaml.safe_load((ROOT / sent[0].study.overlay).read_text())
    settings["train"] |= {"epochs": 200, "checkpoint_minutes": 0.01}
    overlay.write_text(yaml.safe_dump(settings))
    trained = []
    for name in ("undisturbed", "preempted"):
        one = sent[0].elsewhere(tmp_path / name, overlay=str(overlay))
        subprocess.run(["cp", "-a", str(sent[0].folder), str(one.folder)], check=True)
        (one.folder / fold / "model.pt").unlink()
        trained.append(one)
    undisturbed, preempted = trained
    undisturbed.study.run(f"{fold}/model.pt")

    job = "train_fold:group=all,network=vnet,fold=0"
    state = preempted.results / "state/all/vnet/fold-0.pt"
    running = preempted.begin(f"{fold}/model.pt")
    for times in range(1, 4):
        wait_until(lambda times=times: preempted.started(job) == times, seconds=120)
        before = state.stat().st_mtime if state.exists() else 0
        wait_until(lambda before=before: state.exists() and state.stat().st_mtime > before, seconds=120)
        number = preempted.slurm_job(job)[1]
        preempted.cluster.call("scontrol", "requeue", number)
        wait_until(lambda number=number: [number, "PENDING"] in [one[:2] for one in preempted.cluster.jobs()])
        time.sleep(2)  # within a second SLURM takes the job's new credential for its revoked one
        preempted.cluster.call("scontrol", "update", f"jobid={number}", "starttime=now")  # not in two minutes
    assert running.wait(timeout=preempted.study.seconds) == 0, preempted.said()[-6000:]
    preempted.check_once()
    assert preempted.started(job) == 4
    whole, pieced = (read_model(one.folder / fold / "model.pt") for one in trained)
    assert pieced["resumed"] and not whole["resumed"]
    for which in ("last", "best"):
        assert whole[which].keys() == pieced[which].keys()
        assert all(torch.equal(whole[which][name], pieced[which][name]) for name in whole[which])
    assert learning_curve(undisturbed.folder / fold) == learning_curve(preempted.folder / fold)


def learning_curve(fold):
    """Return a training's history of every epoch without times and memory."""
    with open(fold / "history.csv", newline="") as table:
        return [list(row.values())[:5] for row in csv.DictReader(table)]
