"""A GPU for each job: locked by its UUID, never locked twice, released when its holder dies."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
import torch

from lib.errors import TrainingError
from lib.learning import devices
from lib.learning.compute import choose_compute
from lib.learning.devices import Gpu, one_of, own_device, visible_gpus

ROOT = Path(__file__).parents[2]
PAIR = [Gpu(0, "aaaa", "first"), Gpu(1, "bbbb", "second")]
NOTED = """
import sys, time
from pathlib import Path
from lib.learning import devices
from lib.learning.devices import Gpu, one_of
devices.POLL_SECONDS = 0.01
folder = Path(sys.argv[1])
"""
# prints its device, then waits to be killed
HOLDER = """
with one_of([Gpu(0, "aaaa", "first"), Gpu(1, "bbbb", "second")], folder) as gpu:
    print(gpu.index, flush=True)
    time.sleep(600)
"""
# takes a device twenty times; of two jobs on one device the second would find the first one's mark
WORKER = """
for _ in range(20):
    with one_of([Gpu(0, "aaaa", "first"), Gpu(1, "bbbb", "second")], folder) as gpu:
        mark = folder / f"in-use-{gpu.uuid}"
        mark.touch(exist_ok=False)
        time.sleep(0.002)
        mark.unlink()
"""


@pytest.fixture
def start():
    """Return a function that starts a program in a process of its own; running ones are killed at the end."""
    running = []

    def begin(program, folder):
        process = subprocess.Popen(
            # lib.learning.devices does not use torch here, so that a stub saves seconds of every start
            [sys.executable, "-c", "import sys; sys.modules['torch'] = sys\n" + NOTED + program, str(folder)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def impatient(monkeypatch):
    """Turn the first wait for a device into an exception."""

    def give_up(seconds):
        raise TimeoutError

    monkeypatch.setattr(devices.time, "sleep", give_up)


def test_two_jobs_take_two_devices_and_a_third_waits(tmp_path, start, impatient):
    taken = [start(HOLDER, tmp_path).stdout.readline() for _ in range(2)]
    assert sorted(taken) == ["0\n", "1\n"]
    with pytest.raises(TimeoutError), one_of(PAIR, tmp_path):
        pass


def test_who_waits_is_told_so_and_gets_the_device_that_is_freed(tmp_path, start, monkeypatch, caplog):
    holders = [start(HOLDER, tmp_path) for _ in range(2)]
    held = {int(holder.stdout.readline()): holder for holder in holders}

    def kill_second(seconds):
        held[1].send_signal(signal.SIGKILL)
        held[1].wait()

    monkeypatch.setattr(devices.time, "sleep", kill_second)
    caplog.set_level("INFO")
    with one_of(PAIR, tmp_path) as gpu:
        assert gpu.index == 1
    waiting, took = (record.getMessage() for record in caplog.records)
    assert waiting == "all 2 GPUs of this machine are taken by other jobs; waiting until one is free"
    assert took.startswith("took GPU 1 (second, UUID bbbb) after ")
    assert caplog.records[0].show, "a waiting person sees it on the terminal"


def test_more_jobs_than_devices_never_meet_on_one(tmp_path, start):
    workers = [start(WORKER, tmp_path) for _ in range(4)]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, errors


def test_a_device_is_the_same_whatever_its_number(tmp_path, start, impatient):
    assert start(HOLDER, tmp_path).stdout.readline() == "0\n"
    with pytest.raises(TimeoutError), one_of([Gpu(3, "aaaa", "first")], tmp_path):
        pass
    with one_of([Gpu(0, "bbbb", "second")], tmp_path) as gpu:
        assert gpu.uuid == "bbbb"


def test_a_device_is_free_again_after_the_block(tmp_path, impatient):
    for _ in range(2):
        with one_of(PAIR[:1], tmp_path) as gpu:
            assert gpu.index == 0
    with pytest.raises(KeyError), one_of(PAIR[:1], tmp_path):
        raise KeyError
    with one_of(PAIR[:1], tmp_path):
        pass


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_every_user_may_read_a_lock_file_and_nobody_may_write_it(tmp_path, umask):
    former = os.umask(umask)
    try:
        with one_of(PAIR, tmp_path):
            pass
    finally:
        os.umask(former)
    (path,) = tmp_path.iterdir()
    assert path.name == "osteoflow-gpu-aaaa.lock" and path.stat().st_size == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_a_link_in_place_of_a_lock_file_is_refused_and_not_followed(tmp_path):
    (tmp_path / "osteoflow-gpu-aaaa.lock").symlink_to(tmp_path / "pwned")
    told = r"osteoflow-gpu-aaaa.lock cannot be used .*\(a link\)"
    with pytest.raises(TrainingError, match=told), one_of(PAIR, tmp_path):
        pass
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_plain_file_is_refused(tmp_path, make):
    make(tmp_path / "osteoflow-gpu-aaaa.lock")
    with pytest.raises(TrainingError, match="not a plain file"), one_of(PAIR, tmp_path):
        pass


def test_a_lock_file_that_was_removed_after_it_was_opened_protects_nothing(tmp_path, monkeypatch):
    path, opened = tmp_path / "osteoflow-gpu-aaaa.lock", []
    plain_open = devices._open_lock

    def removed_once(path):
        opened.append(plain_open(path))
        if len(opened) == 1:
            path.unlink()
            path.touch()  # by another job, which would lock this one
        return opened[-1]

    monkeypatch.setattr(devices, "_open_lock", removed_once)
    monkeypatch.setattr(devices, "POLL_SECONDS", 0)
    with one_of(PAIR[:1], tmp_path):
        assert os.fstat(opened[-1]).st_ino == path.stat().st_ino
    assert len(opened) == 2


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_job_computes_on_the_device_that_it_holds(tmp_path, start, monkeypatch, device):
    assert start(HOLDER, tmp_path).stdout.readline() == "0\n"
    current = []
    monkeypatch.setattr(devices, "LOCK_FOLDER", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    with own_device(device, lambda: PAIR):
        assert str(choose_compute(device, "float32").device) == "cuda:1"


def test_devices_are_known_by_their_uuid(monkeypatch):
    described = [SimpleNamespace(uuid=UUID(int=number), name="H200") for number in (7, 8)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(described))
    monkeypatch.setattr(torch.cuda, "get_device_properties", described.__getitem__)
    assert visible_gpus() == [Gpu(0, str(UUID(int=7)), "H200"), Gpu(1, str(UUID(int=8)), "H200")]


def test_nothing_is_locked_where_there_is_no_gpu_or_none_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "LOCK_FOLDER", tmp_path)
    with own_device("cpu", lambda: PAIR):
        pass
    with own_device("auto", lambda: []):
        pass
    assert not list(tmp_path.iterdir())
