"""The number of threads of a process, and how they wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.learning.determinism import prepare_torch
from lib.processors import SPINS, share_processors, usable_processors

ROOT = Path(__file__).parents[2]
HERE = len(os.sched_getaffinity(0))


def machine(root, groups, files):
    """Write the files in which Linux describes a process's control groups below `root`."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def many_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))


def test_all_processors_may_be_used_where_nothing_limits_them(tmp_path, many_processors):
    assert usable_processors({}, tmp_path) == 64


def test_affinity_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8})
    assert usable_processors({}, tmp_path) == 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"user.slice/job/cpu.max": "250000 100000"},
            2,
        ),  # two and a half: a third thread would often be throttled
        ({"user.slice/job/cpu.max": "max 100000"}, 64),
        ({"user.slice/job/cpu.max": "20000 100000"}, 1),
        ({"user.slice/job/cpu.max": "max 100000", "user.slice/cpu.max": "400000 100000"}, 4),
        ({"cpu.max": "600000 100000"}, 6),  # a container sees only the end of the path
        ({}, 64),
    ],
)
def test_a_quota_of_control_groups_limits(tmp_path, many_processors, files, expected):
    root = machine(tmp_path, "0::/user.slice/job\n", {f"sys/fs/cgroup/{k}": v for k, v in files.items()})
    assert usable_processors({}, root) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 64)])
def test_a_quota_of_version_1_limits(tmp_path, many_processors, quota, expected):
    groups = "12:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n"
    folder = "sys/fs/cgroup/cpu,cpuacct"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    assert usable_processors({}, machine(tmp_path, groups, files)) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "32"}, 8),
        ({"SLURM_CPUS_ON_NODE": "32"}, 32),
        ({"NSLOTS": "6"}, 6),
        ({"NCPUS": "5"}, 5),
        ({"LSB_DJOB_NUMPROC": "7"}, 7),
        ({"SLURM_CPUS_PER_TASK": "8", "NSLOTS": "2"}, 2),
        ({"SLURM_CPUS_PER_TASK": "200"}, 64),
        ({"SLURM_CPUS_PER_TASK": "", "NSLOTS": "many", "NCPUS": "0"}, 64),
    ],
)
def test_the_environment_of_a_cluster_job_limits(tmp_path, many_processors, environment, expected):
    assert usable_processors(environment, tmp_path) == expected


def test_torch_gets_what_was_asked_for_and_no_more_than_there_is():
    before = torch.get_num_threads()
    try:
        prepare_torch(reproducible=False, threads=1)
        assert torch.get_num_threads() == 1
        prepare_torch(reproducible=False, threads=HERE + 7)
        assert torch.get_num_threads() == usable_processors() <= HERE
    finally:
        prepare_torch(reproducible=False, threads=before)


def test_what_the_user_chose_is_kept():
    for chosen in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}):
        environment = dict(chosen)
        share_processors(environment)
        assert environment == chosen


@pytest.mark.parametrize("module", ["determinism", "train", "predict", "checkpoint"])
def test_waiting_is_set_before_torch_is_loaded(module):
    kept = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import lib.learning.{module}"],
        cwd=ROOT,
        env=kept | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("this build of torch does not bring libgomp")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr
