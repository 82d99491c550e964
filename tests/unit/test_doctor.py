"""The doctor states in words what is wrong and what to do."""

import json
import math
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from lib.cohort.table import planned_cohort
from lib.commands.doctor import study_checks
from lib.commands.doctor.cluster import asked_for, check_request, explain_status
from lib.commands.doctor.findings import LOOK, OK, WRONG, Finding, findings_text, verdict
from lib.commands.doctor.machine import (
    check_packages,
    check_room,
    explain_cache,
    explain_gpu,
    installed_version,
    read_lock,
    total_memory_mb,
)
from lib.commands.doctor.programs import ask
from lib.commands.doctor.slurm_partitions import limit_minutes, read_partitions, unmet
from lib.commands.doctor.submission import submit_command
from lib.commands.planning.workflow import Request, Rule, read_workflow
from lib.errors import ConfigError

ROOT = Path(__file__).parents[2]
SINFO = """\
cpu*|node1|1:00:00|8|16000|(null)|idle
cpu*|node2|1:00:00|64|8000|(null)|down*
gpu|node3|7-00:00:00|16|64000|gpu:a100:4(S:0-1)|mixed
"""


def request(threads=1, **resources):
    return Request(threads=threads, resources=resources)


def rule(first, last=None):
    return Rule(
        name="train_fold", wildcards=frozenset(), outputs=(), benchmark="", log="", is_local=False,
        first=first, last=last or first,
    )  # fmt: skip


def test_missing_and_other_packages_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    numpy = installed_version("numpy")
    lock.write_text(f"# a remark\nnumpy=={numpy}\nno-such-package==1.0\npyyaml==0.1\n")
    missing, other = check_packages(lock)
    assert missing.mark == WRONG and "no-such-package" in missing.text and "numpy" not in missing.text
    assert other.mark == LOOK and "(tested: 0.1)" in other.text
    lock.write_text(f"numpy=={numpy}\n")
    assert [finding.mark for finding in check_packages(lock)] == [OK]


def test_a_plugin_of_the_project_is_one_of_its_packages(tmp_path):
    (tmp_path / "plugins/ours").mkdir(parents=True)
    (tmp_path / "plugins/ours/pyproject.toml").write_text('[project]\nname = "our-plugin"\nversion = "0.3"\n')
    (tmp_path / "requirements.txt").write_text("# a remark\n./plugins/ours\nnumpy==1.0\n")
    assert read_lock(tmp_path / "requirements.txt") == {"our-plugin": "0.3", "numpy": "1.0"}
    assert "our-plugin" in check_packages(tmp_path / "requirements.txt")[0].text
    assert "snakemake-executor-plugin-slurm-arrays" in read_lock(ROOT / "requirements.txt")


def test_the_doctor_runs_without_any_package():
    """With only the standard library, the doctor still reports all its findings."""
    ended = subprocess.run(
        [sys.executable, "-S", "-E", "-m", "lib.commands.doctor"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "packages are missing" in ended.stdout and "snakemake" in ended.stdout
    assert "were not checked" in ended.stdout
    assert "GB are free" in ended.stdout and "cores" in ended.stdout  # findings that need no package


@pytest.mark.parametrize(
    ("torch", "cards", "device", "mark", "said"),
    [
        ({"cuda": "12.8", "devices": [["H200", 141.0]]}, ["H200, 570"], "auto", OK, "H200 (141 GB)"),
        ({"cuda": "12.8", "devices": [["H200", 141.0]]}, ["H200, 570"], "cpu", OK, "leaves it unused"),
        ({"cuda": None, "devices": []}, ["T4, 450"], "auto", LOOK, "a build for CPUs"),
        (
            {"cuda": "12.8", "devices": [], "said": ["The driver is too old"]},
            ["T4, 450"],
            "cuda",
            WRONG,
            "too old",
        ),
        ({"cuda": None, "devices": []}, [], "auto", LOOK, "no GPU here"),
        ({"cuda": None, "devices": []}, [], "cuda", WRONG, "no GPU here"),
    ],
)
def test_gpu_in_words(torch, cards, device, mark, said):
    (finding,) = explain_gpu({"torch": "2.13.0", "said": []} | torch, cards, device)
    assert finding.mark == mark and said in finding.text


def test_jobs_that_are_larger_than_the_machine_are_named():
    cores, memory = check_room([("small", 1, 100), ("large", 1000, total_memory_mb() + 1)], 2)
    assert cores.mark == OK and "large would use more" in cores.text
    assert memory.mark == LOOK and "large" in memory.text and "small" not in memory.text
    assert [finding.mark for finding in check_room([("small", 1, 100)], 1)] == [OK, OK]


def test_a_program_that_hangs_fails_or_is_missing_is_told():
    assert "did not answer within 0.2 s" in ask("sleep", "5", seconds=0.2).problem
    assert "not installed on this machine" in ask("no-such-program").problem
    assert "failed: no" in ask("sh", "-c", "echo no >&2; exit 3").problem
    assert ask("echo", "yes").text == "yes\n"


def test_every_mistake_of_the_table_is_listed(tmp_path):
    (tmp_path / "cohort.csv").write_text("scan,image,side\nA 1,a,left\nA2,b,middle\n")
    workflow, (finding,) = study_checks.check_configuration(
        ["--directory", str(tmp_path), "--config", "cohort=cohort.csv"]
    )
    assert workflow is None and finding.mark == WRONG
    assert "row 2, column scan" in finding.text and "row 3, column side" in finding.text
    assert [path.name for path in tmp_path.iterdir()] == ["cohort.csv"]  # nothing was written


def test_locks_and_half_written_files_are_told(tmp_path):
    assert [finding.mark for finding in study_checks.check_locks(tmp_path)] == [OK]
    for name in ("locks/0.input.lock", "incomplete/abc"):
        (tmp_path / ".snakemake" / name).parent.mkdir(parents=True)
        (tmp_path / ".snakemake" / name).touch()
    locked, incomplete = study_checks.check_locks(tmp_path)
    assert "make recover" in locked.advice and "1 files" in incomplete.text


def test_room_on_the_disk(tmp_path):
    assert study_checks.check_folder(tmp_path / "not/yet/there", 0.001)[0].mark == OK
    assert study_checks.check_folder(tmp_path, 1e9)[0].mark == WRONG
    assert "not known yet" in study_checks.check_folder(tmp_path)[0].text
    assert study_checks.study_folder(["--cores", "1", "-d", str(tmp_path)]) == tmp_path


def record(folder, output, inputs, *, ended, changed, checksums=None):
    """Write a result with its time (seconds), and Snakemake's record of it."""
    path = folder / output
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (changed, changed))
    note = folder / ".snakemake/metadata" / b64encode(output.encode()).decode()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"input": inputs, "endtime": ended, "input_checksums": checksums or {}}))


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (1000, 1010, False),  # unchanged
        (9000, 8000, True),  # copied in another order
        (8000, 9000, False),  # copied in this order, or touched
        (9000, 1010, False),  # the first was changed since, so that a rerun is intended
    ],
)
def test_a_study_that_was_copied_without_times_is_told(tmp_path, first, second, told):
    record(tmp_path, "results/a.json", ["source/a.nii"], ended=1000, changed=first)
    record(tmp_path, "results/b.json", ["results/a.json", "source/a.nii"], ended=1010, changed=second)
    # models, and files with a checksum, do not run again because of their time stamps
    model = "results/models/all/vnet/fold-0/model.pt"
    record(tmp_path, model, ["results/a.json"], ended=1010, changed=second)
    known = {"results/a.json": "sha256:12"}
    record(tmp_path, "results/c.json", ["results/a.json"], ended=1010, changed=second, checksums=known)
    (tmp_path / ".snakemake/metadata/no record").write_text("{")
    findings = study_checks.check_times(tmp_path)
    assert len(findings) == told
    if told:
        assert findings[0].mark == LOOK and "(at least 1) are older" in findings[0].text
        assert "cp -a" in findings[0].advice and "--touch" in findings[0].advice


def test_a_study_without_records_is_not_called_a_copy(tmp_path):
    assert study_checks.check_times(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_told_with_what_to_do(tmp_path):
    assert [finding.mark for finding in explain_cache(tmp_path / "not/yet/there")] == [OK]
    (tmp_path / "file").touch()
    blocked_by = {Path("/dev/null/.cache/snakemake"): "/dev/null", tmp_path / "file/x": tmp_path / "file"}
    for cache, blocked in blocked_by.items():
        (finding,) = explain_cache(cache)
        assert finding.mark == WRONG and finding.text.endswith(f"{cache}: {blocked} cannot be written")
        assert "export XDG_CACHE_HOME=FOLDER" in finding.advice


@pytest.mark.parametrize(
    "module, told",
    [
        ("doctor", ("configuration and cohort table were not checked", "\n1 wrong")),
        (
            "estimate",
            ("cannot write to its cache /dev/null/.cache/snakemake: export XDG_CACHE_HOME",),
        ),
    ],
)
def test_a_home_that_cannot_be_written_is_told_of(tmp_path, module, told):
    arguments = ["--cores", "1", "--configfile", "studies/demo.yaml", "--directory", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-m", f"lib.commands.{module}", *arguments],
        cwd=ROOT,
        env={name: text for name, text in os.environ.items() if name != "XDG_CACHE_HOME"}
        | {"HOME": "/dev/null"},
        text=True,
        capture_output=True,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode and all(words in said for words in told) and "XDG_CACHE_HOME=FOLDER" in said
    assert "Errno" not in said and "Traceback" not in said


def test_partitions_are_read():
    partitions = read_partitions(SINFO)
    assert partitions["cpu"].is_default and partitions["cpu"].limit_min == 60
    assert [node.away for node in partitions["cpu"].nodes] == [False, True]
    assert partitions["gpu"].nodes[0].gpus == 4 and partitions["gpu"].limit_min == 7 * 1440


def test_time_limits():
    assert limit_minutes("3-12:30:00") == 3 * 1440 + 750
    assert limit_minutes("30:00") == 30
    assert limit_minutes("infinite") == math.inf


@pytest.mark.parametrize(
    ("asked", "partition", "words"),
    [
        (request(8, mem_mb=16000, runtime=60), "cpu", []),
        (request(1, runtime=61), "cpu", ["61 minutes"]),
        (request(1, gpu=1), "cpu", ["1 GPUs", "none"]),
        (request(1, gres="gpu:5"), "gpu", ["5 GPUs", "has 4"]),
        (request(65), "cpu", ["65 CPUs", "has 64"]),
        (request(9, mem_mb=9000), "cpu", ["no single node"]),
    ],
)
def test_what_no_node_can_take(asked, partition, words):
    reasons = "; ".join(unmet(asked, read_partitions(SINFO)[partition]))
    assert bool(reasons) == bool(words) and all(word in reasons for word in words)


def checked(first, last=None):
    return check_request(rule(first, last), ["-t", "1"], read_partitions(SINFO))


def test_a_job_that_would_wait_for_ever_is_wrong_and_the_remedy_named(monkeypatch):
    monkeypatch.setattr("lib.commands.doctor.cluster.ask", lambda *command: ask("true"))
    found = checked(request(8, mem_mb=16000, runtime=2880, gpu=1))
    assert found.mark == WRONG and "forever" in found.text and "slurm_partition: gpu" in found.advice
    found = checked(request(99, mem_mb=1000, gpu=1, slurm_partition="gpu"))
    assert found.mark == WRONG and "set-threads in the profile: 16" in found.advice
    found = checked(request(1, mem_mb=1000, gpu=9))
    assert "no node of this cluster has the requested GPUs" in found.advice
    assert checked(request(1, mem_mb=1000, slurm_partition="nix")).mark == WRONG
    assert checked(request(1, mem_mb=100)).mark == WRONG
    assert checked(request(64, mem_mb=8000)).mark == LOOK  # the one node for it is down
    assert checked(request(1, mem_mb=1000), request(1, mem_mb=32000)).mark == LOOK
    assert checked(request(1, mem_mb=1000)).mark == OK


def test_a_job_that_slurm_refuses_is_wrong(monkeypatch):
    monkeypatch.setattr(
        "lib.commands.doctor.cluster.ask", lambda *command: ask("sh", "-c", "echo invalid account >&2; false")
    )
    found = checked(request(1, mem_mb=1000))
    assert found.mark == WRONG and "invalid account" in found.text


@pytest.mark.parametrize(
    ("command", "min_job_age", "accounting", "has_sacct", "mark"),
    [
        ("squeue", 300, False, True, OK),
        ("squeue", 120, False, True, OK),
        ("squeue", 60, False, True, WRONG),
        ("squeue", 60, True, True, LOOK),
        ("squeue", 60, False, False, LOOK),
        ("sacct", 300, False, True, WRONG),
        ("sacct", 300, True, True, OK),
    ],
)
def test_whether_the_end_of_jobs_is_seen(command, min_job_age, accounting, has_sacct, mark):
    found = explain_status(
        command, min_job_age=min_job_age, needed=120, accounting=accounting, has_sacct=has_sacct
    )
    assert found.mark == mark


def test_the_plugin_builds_the_line_from_the_profile(tmp_path):
    """Check undocumented interfaces of Snakemake and its plugin in the installed versions."""
    workflow = read_workflow(
        [
            *("--profile", "slurm", "--configfile", "studies/ci.yaml", "--directory", str(tmp_path)),
            *("--set-resources", "train_fold:slurm_partition=gpu", "--set-threads", "train_fold=3"),
        ]
    )
    assert workflow.executor == "slurm-arrays" and workflow.rules["split_folds"].is_local
    train = workflow.rules["train_fold"]
    line = asked_for(submit_command("train_fold", train.first, "cpu", workflow.executor_settings))
    text = " ".join(line)
    assert "-p gpu" in text and "--gpus=1" in text and "--cpus-per-task=3" in text
    assert f"--mem {train.first.mem_mb}" in text and f"-t {train.first.runtime_min}" in text
    assert "doctor" not in text and "--comment" not in text
    assert train.last.mem_mb == 4 * train.first.mem_mb  # retries: 2


def test_what_the_plugin_refuses_is_told():
    with pytest.raises(ConfigError, match="train_fold.*memory"):
        submit_command("train_fold", request(slurm_extra="--mem=5"), "cpu", None)


def test_wrong_arguments_are_told():
    with pytest.raises(ConfigError, match="no-such-option"):
        read_workflow(["--no-such-option"])
    for typed in ("train.epochs=3", "seed", "=7"):
        with pytest.raises(ConfigError, match="Invalid config definition.*train={epochs: 3}"):
            read_workflow(["--cores", "1", "--config", typed])


def test_lines_and_verdict():
    findings = [Finding(OK, "fine"), Finding(WRONG, "first\nsecond", "do this\nor that")]
    assert findings_text(findings).splitlines() == [
        "  ok     fine",
        "  wrong  first",
        "         second",
        "         -> do this",
        "         -> or that",
    ]
    assert verdict(findings) == "1 wrong, 0 to look at."
    assert verdict(findings[:1]) == "All is well."


def test_vendors_with_few_test_people_are_told_before_the_run():
    rows = [
        {
            "scan": f"S{i}",
            "image": "a",
            "mask": "m",
            "vendor": vendor,
            "set": wanted,
            "bmd_l1_caha_mg_cm3": "100",
        }
        for i, (vendor, wanted) in enumerate(
            [("ge", "test")] * 2 + [("siemens", "test")] * 10 + [("", "train")]
        )
    ]
    targets = {"L1": "bmd_l1_caha_mg_cm3"}
    cohort = planned_cohort(rows, "cohort.csv", structures=["L1"], targets=targets)
    (finding,) = study_checks.check_vendors(cohort.values(), targets)
    assert (
        finding.mark == LOOK
        and "fewer than 10 test people who have a reference density: ge (2)." in finding.text
    )
    drawn = planned_cohort(
        [row | {"set": "auto"} for row in rows], "cohort.csv", structures=["L1"], targets=targets
    )
    assert study_checks.check_vendors(drawn.values(), targets) == []  # test people are drawn later
