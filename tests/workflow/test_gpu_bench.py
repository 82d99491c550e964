"""bench/gpu.py without a GPU: all parts at tiny sizes, a run that is stopped, a machine without CUDA, wheels."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from bench import wheels
from lib.learning.checkpoint import read_model

ROOT = Path(__file__).parents[2]
PARTS = ("facts", "tests", "training", "prediction", "compile", "accuracy")
COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.workflow


def command(out, *options):
    return [sys.executable, str(ROOT / "bench/gpu.py"), "--out", str(out), *options]


def read_lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def refused(row):
    return row.get("failed") or row.get("skipped")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return the folder of a run of all parts at tiny sizes, with enough time for busy machines."""
    out = tmp_path_factory.mktemp("gpu") / "out"
    parts = [part for part in PARTS if part != "compile" or COMPILER]
    arguments = command(out, "--device", "cpu", "--quick", "--minutes", "30", "--only", *parts)
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:] + (out / "log.txt").read_text()[-6000:]
    return out


def test_every_part_leaves_results_with_the_facts_of_the_machine(quick):
    rows = read_lines(quick)
    assert {row["part"] for row in rows} == set(PARTS) - (set() if COMPILER else {"compile"})
    for row in rows:
        assert {"date", "machine", "threads", "torch", "quick", "what", "size", "device"} <= row.keys()
    measured = [(row["part"], row["precision"]) for row in rows if row["ours_s"]]
    for part in ("training", "prediction"):
        assert {(part, "float32"), (part, "bf16")} <= set(measured)
    recipes = [row["dice"] for row in rows if "dice" in row]
    assert len(recipes) == 2 and all(0 < dice <= 1 for dice in recipes)


def test_ours_and_the_peer_are_compared_where_monai_is_installed(quick):
    rows = [row for row in read_lines(quick) if row["part"] in ("training", "prediction")]
    if wheels.installed_version("monai"):
        assert all(
            row["ratio"] > 0
            for row in rows
            if row["what"] in ("prediction of a scan", "epoch of 324 volumes")
        )
        assert all(row["largest_difference"] < 0.1 for row in rows if "largest_difference" in row)
    else:
        assert sum("MONAI is not installed" in (refused(row) or "") for row in rows) == 2


def test_the_folder_is_small_enough_to_travel_and_holds_a_model(quick, tmp_path):
    files = list(quick.iterdir())
    assert len(files) <= 8 and all(path.stat().st_size <= 2**24 for path in files)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", path.name) for path in files)
    whole = tmp_path / "model.pt"
    whole.write_bytes(b"".join(path.read_bytes() for path in sorted(quick.glob("model.pt.*"))))
    assert read_model(whole)["best_validation_dice"] is None, "held-out people choose nothing"
    told = json.loads((quick / "accuracy.json").read_text())
    assert set(told["recipes"]) == {"fast", "paper"}
    assert not set(told["trained_on"]) & set(told["held_out"])


def test_tiny_sizes_never_become_results_that_are_kept(quick):
    kept = ROOT / "bench/results/cuda.jsonl"
    before = kept.read_bytes() if kept.exists() else None
    table = [sys.executable, str(ROOT / "bench/table.py"), "--keep", str(quick)]
    done = subprocess.run(table, capture_output=True, text=True)
    assert done.returncode == 1 and "results of a CPU or of --quick" in done.stderr
    assert (kept.read_bytes() if kept.exists() else None) == before


def test_a_run_that_is_stopped_keeps_the_finished_parts_and_leaves_no_process(tmp_path):
    out = tmp_path / "out"
    run = subprocess.Popen(
        command(out, "--device", "cpu", "--quick", "--only", "facts", "accuracy"),
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in run.stderr:
        if "accuracy begins" in line:
            break
    time.sleep(3)  # its processes have begun to start
    run.send_signal(signal.SIGTERM)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 1 and "stopped by a signal" in told
    rows = read_lines(out)
    assert rows and {row["part"] for row in rows} == {"facts"}
    assert (out / "table.md").read_text().count("matrix product") == 2
    assert not [name for name in command_lines() if str(out) in name]


def command_lines():
    """Return the command lines of all processes."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_machine_without_cuda_is_told_what_to_do_in_every_part(tmp_path):
    done = subprocess.run(
        command(tmp_path, "--only", "facts", "compile"), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1 and "failed: facts, compile" in done.stderr
    rows = read_lines(tmp_path)
    assert [row["part"] for row in rows] == ["facts", "compile"]
    assert all(re.search("build for CPUs|driver|no GPU", row["failed"]) for row in rows)


def test_a_part_whose_time_is_over_is_ended_and_the_next_one_says_that_none_was_left(tmp_path):
    # 7 s: starting torch and the cores' processes, making people and the four trainings take more
    arguments = command(tmp_path, "--device", "cpu", "--quick", "--minutes", "0.25")
    ended = subprocess.run([*arguments, "--only", "accuracy"], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "failed: accuracy" in ended.stderr
    assert "its share of the time" in refused(read_lines(tmp_path)[-1])
    arguments[arguments.index("0.25")] = "0.01"
    assert subprocess.run([*arguments, "--only", "facts"], capture_output=True, timeout=120).returncode == 0
    assert "no time was left" in refused(read_lines(tmp_path)[-1])


def test_a_side_that_runs_out_of_memory_says_so_and_ends():
    serving = subprocess.Popen(
        [sys.executable, str(ROOT / "bench/child.py"), "--serve"],
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    calls = [
        {"call": "ours.network_of", "arguments": {"channels": [4, 8]}},
        {"call": "profiling.matrix_tflops", "arguments": {"edge": 2**28, "kind": "bf16", "device": "cpu"}},
    ]
    printed, _ = serving.communicate("".join(json.dumps(call) + "\n" for call in calls), timeout=120)
    first, second = (json.loads(line) for line in printed.splitlines())
    assert first["decoder_convolutions"] == [2] and first["peak_gb"] > 0
    assert re.search("out of memory: [0-9.]+ GiB more .* choose a GPU", second["failed"])
    assert serving.returncode == 1


def make_wheel(folder, name, python="py3", abi="none", system="any"):
    wheel = folder / f"{name}-1.0-{python}-{abi}-{system}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/data/test_files/scan.dcm", b"0" * 1000)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\nVersion: 1.0\n")
    return wheel


def test_wheels_that_fit_are_unpacked_and_come_last_on_the_path(tmp_path, monkeypatch):
    minor = sys.version_info[1]
    given = [
        make_wheel(tmp_path, "pure"),
        make_wheel(tmp_path, "stable", "cp311", "abi3", f"manylinux_2_28_{os.uname().machine}"),
        make_wheel(tmp_path, "other", f"cp3{minor + 1}", f"cp3{minor + 1}"),
        make_wheel(tmp_path, "newer", f"cp3{minor + 1}", "abi3"),
        make_wheel(tmp_path, "foreign", system="win_amd64"),
        make_wheel(tmp_path, "numpy"),
    ]
    said = wheels.unpack(given, tmp_path / "packages")
    assert said[:2] == ["pure 1.0 unpacked", "stable 1.0 unpacked"]
    assert all("which this interpreter is not" in text for text in said[2:5]) and "installed here" in said[5]
    assert {path.name for path in (tmp_path / "packages").iterdir()} == {
        *("pure", "stable", "pure-1.0.dist-info", "stable-1.0.dist-info")
    }
    monkeypatch.setenv(wheels.PATH_VARIABLE, str(tmp_path / "packages"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    wheels.add_unpacked()
    assert sys.path[-1] == str(tmp_path / "packages") and wheels.installed_version("pure") == "1.0"


def test_packed_wheels_lose_the_data_of_tests_alone(tmp_path):
    wheels.pack(make_wheel(tmp_path, "pure"), tmp_path / "packed.whl")
    with zipfile.ZipFile(tmp_path / "packed.whl") as archive:
        assert archive.namelist() == ["pure/__init__.py", "pure-1.0.dist-info/METADATA"]


def test_wheels_have_the_locked_versions():
    pins = wheels.pinned(wheels.NAMES)
    locked = (ROOT / "requirements.txt").read_text().split()
    assert len(pins) == len(wheels.NAMES) and set(pins) <= set(locked)
