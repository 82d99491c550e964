"""Findings of the doctor for a study on a cluster: partitions, PyTorch's build, words of jobs, traces of a run."""

from types import SimpleNamespace

import pytest

from lib.commands.doctor import checkup, machine, study_checks
from lib.commands.doctor import cluster as cluster_checks
from lib.commands.doctor.cluster import check_request, check_requests, check_status_command, explain_status
from lib.commands.doctor.findings import LOOK, OK, WRONG, Finding
from lib.commands.doctor.machine import check_build, check_packages
from lib.commands.doctor.programs import Answer, ask
from lib.commands.doctor.slurm_partitions import read_partitions
from lib.commands.doctor.submission import submit_command
from lib.commands.planning.workflow import Request, Rule, read_workflow
from lib.errors import ConfigError, OsteoflowError

SINFO = """\
cpu*|node1|1:00:00|8|16000|(null)|idle
cpu*|node2|1:00:00|64|8000|(null)|down*
gpu|node3|7-00:00:00|16|64000|gpu:a100:4(S:0-1)|mixed
spare|node4|7-00:00:00|64|64000|(null)|drained
"""
FOR_CPUS = {"torch": "2.13.0+cpu", "cuda": None, "devices": [], "said": []}
SLURM = ("--profile", "slurm", "--configfile", "studies/ci.yaml")


def request(threads=1, mem_mb=1000, **resources):
    return Request(threads=threads, resources={"mem_mb": mem_mb, **resources})


def rule(first, last=None, name="train_fold", is_local=False):
    return Rule(
        name=name, wildcards=frozenset(), outputs=(), benchmark="", log="", is_local=is_local,
        first=first, last=last or first,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def willing_slurm(monkeypatch):
    """Make sbatch --test-only accept everything; no file of this machine chooses partitions."""
    monkeypatch.setattr(
        cluster_checks, "ask", lambda *command: ask(*command) if command[0] == "printenv" else Answer("")
    )
    monkeypatch.delenv("SNAKEMAKE_SLURM_PARTITIONS", raising=False)


def checked(first, last=None):
    return check_request(rule(first, last), ["-t", "1"], read_partitions(SINFO))


@pytest.mark.parametrize(
    ("asked", "where", "mark", "said"),
    [
        ({"runtime": 60}, "cpu,gpu", OK, ""),
        ({"runtime": 2880, "gpu": 1}, "cpu,gpu", OK, ""),  # the second one accepts it
        ({"runtime": 2880, "gpu": 1}, "cpu,spare", WRONG, "forever in partition cpu: 2880 minutes"),
        ({"runtime": 2880, "gpu": 1}, "cpu,spare", WRONG, "partition spare: 1 GPUs"),
        ({}, "cpu,nix,gpu,none", WRONG, "no partition 'nix', 'none'"),
        ({}, ",", WRONG, "no partition is set"),
        ({"threads": 16}, "spare", LOOK, "down or drained"),
        ({"threads": 16}, "spare,cpu", LOOK, "down or drained"),
        ({"threads": 16}, "spare,gpu", OK, ""),
        (
            {"threads": 8, "runtime": 61},
            "cpu,spare",
            LOOK,
            "down or drained",
        ),  # node1 is up, but its limit is too short
    ],
)
def test_a_list_is_as_good_as_the_best_of_its_partitions(asked, where, mark, said):
    found = checked(request(**asked, slurm_partition=where))
    assert found.mark == mark and said in found.text


def test_the_last_attempt_needs_one_partition_of_the_list():
    assert checked(request(slurm_partition="cpu"), request(mem_mb=32000)).mark == LOOK
    assert checked(request(slurm_partition="cpu,gpu"), request(mem_mb=32000)).mark == OK


def test_what_to_change_fits_a_partition_of_the_list():
    found = checked(request(99, gpu=1, slurm_partition="cpu,gpu"))
    assert found.mark == WRONG and found.advice == "set-threads in the profile: 16"


def workflow_of(*rules, partition_config=None):
    settings = SimpleNamespace(partition_config=partition_config, requeue=True)
    return SimpleNamespace(rules={one.name: one for one in rules}, executor_settings=settings)


@pytest.mark.parametrize("way", ["setting", "environment"])
def test_partitions_that_a_file_chooses_are_not_judged(way, monkeypatch):
    monkeypatch.setattr(cluster_checks, "submit_command", lambda *asked: ["sbatch", asked[0]])
    if way == "environment":
        monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", "partitions.yaml")
    large = [rule(request(999), name=name) for name in ("train_fold", "predict_scans")]
    workflow = workflow_of(
        *large,
        rule(request(999, slurm_partition="gpu"), name="named"),
        rule(request(999), name="here", is_local=True),
        partition_config="partitions.yaml" if way == "setting" else None,
    )
    chosen, named = check_requests(workflow, read_partitions(SINFO))
    assert chosen.mark == LOOK and chosen.text.startswith("partitions.yaml chooses")
    assert chosen.text.endswith("not checked for train_fold, predict_scans")
    assert named.mark == WRONG and named.text.startswith("named\n")


def test_without_such_a_file_the_default_partition_is_judged(monkeypatch):
    monkeypatch.setattr(cluster_checks, "submit_command", lambda *asked: ["sbatch", asked[0]])
    (found,) = check_requests(workflow_of(rule(request(999))), read_partitions(SINFO))
    assert found.mark == WRONG and "in partition cpu" in found.text


def test_the_plugin_has_the_setting_and_takes_an_empty_partition_for_none(tmp_path):
    file = tmp_path / "partitions.yaml"
    file.write_text("partitions: {}\n")
    arguments = [*SLURM, "--directory", str(tmp_path), "--slurm-arrays-partition-config", str(file)]
    settings = read_workflow(arguments).executor_settings
    assert cluster_checks.partition_file(settings) == str(file)
    assert "-p" in submit_command("train_fold", request(slurm_partition=""), "cpu", settings)


def test_the_executor_of_upstream_and_its_options_are_refused(tmp_path):
    other = [*SLURM, "--directory", str(tmp_path), "--executor", "slurm"]
    (found,) = cluster_checks.check_cluster(read_workflow(other))
    assert found.mark == WRONG and "`executor: slurm-arrays`" in found.text
    with pytest.raises(ConfigError, match="slurm-array-limit has no effect: write slurm-arrays-array-limit"):
        read_workflow([*SLURM, "--directory", str(tmp_path), "--slurm-array-limit", "7"])


def test_the_short_jobs_of_a_scan_go_as_arrays(tmp_path):
    """The profile lists exactly the rules with a job for each scan, or for each batch of scans."""
    workflow = read_workflow([*SLURM, "--directory", str(tmp_path)])
    # "/" only divides the list, which Snakemake takes for a path
    listed = [name for name in workflow.executor_settings.array_jobs.split(",") if name != "/"]
    assert len(listed) == len(set(listed)) and workflow.executor_settings.array_limit == 1000
    assert set(listed) == {
        rule.name
        for rule in workflow.rules.values()
        if rule.wildcards & {"scan", "batch", "subject"} and not rule.is_local
    }


@pytest.mark.parametrize(
    ("cuda", "device", "rules", "marks", "said"),
    [
        (None, "auto", ["train_fold"], [LOOK], "jobs of train_fold would hold a GPU and compute on the CPU"),
        (None, "cuda", ["train_fold"], [WRONG], "jobs of train_fold would fail"),
        (None, "cpu", ["train_fold"], [], ""),
        (None, "auto", [], [], ""),
        ("12.8", "auto", ["train_fold"], [OK], "for CUDA 12.8"),
    ],
)
def test_a_build_for_cpus_is_told_where_jobs_ask_for_gpus(cuda, device, rules, marks, said, monkeypatch):
    monkeypatch.setattr(machine, "ask_torch", lambda: (FOR_CPUS | {"cuda": cuda}, ""))
    findings = check_build(device, rules)
    assert [finding.mark for finding in findings] == marks
    assert all(said in finding.text for finding in findings)
    assert all("TORCH_INDEX=URL" in finding.advice for finding in findings if finding.mark != OK)


def test_a_pytorch_that_does_not_answer_is_not_judged(monkeypatch):
    monkeypatch.setattr(machine, "ask", lambda *command, seconds: Answer("a\nno libfoo", "failed"))
    (found,) = check_build("auto", ["train_fold"])
    assert found.mark == LOOK and found.text.endswith("not known: no libfoo")


def test_words_of_jobs_are_read_and_what_shells_misread_is_wrong(tmp_path):
    """Check `words_of_jobs` against the workflow, which is parsed but not run."""
    overlay = tmp_path / "ci'.yaml"
    overlay.write_text("cohort_columns: []\n")
    workflow = read_workflow(
        [*SLURM, str(overlay), "--config", "study=of$mine", "--directory", str(tmp_path)]
    )
    assert str(overlay) in workflow.words["--configfile"] and workflow.words["--config"] == ("study=of$mine",)
    assert len(workflow.words["image"]) == len(workflow.study.scans)
    (found,) = study_checks.check_command_lines(workflow)
    assert found.mark == WRONG and found.text.startswith("--configfile: ")
    plain = read_workflow([*SLURM, "--directory", str(tmp_path)])
    assert plain.words["--config"] == () and study_checks.check_command_lines(plain) == []


def test_the_folder_counts_as_the_run_will_see_it(tmp_path):
    (tmp_path / "of%j").mkdir()
    (tmp_path / "link").symlink_to("of%j")
    workflow = SimpleNamespace(study=SimpleNamespace(folder=tmp_path / "link"), words={})
    (found,) = study_checks.check_command_lines(workflow)
    assert found.mark == WRONG and "holds a %" in found.text


def test_jobs_of_an_earlier_run_are_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(study_checks, "jobs_left", lambda folder: ["7", "8_1"])
    (found,) = study_checks.check_locks(tmp_path)
    assert found.mark == WRONG and found.text == "2 jobs of an earlier run are still in SLURM's queue"
    assert "make recover" in found.advice
    monkeypatch.setattr(study_checks, "jobs_left", lambda folder: [])
    assert [finding.mark for finding in study_checks.check_locks(tmp_path)] == [OK]


def test_a_queue_that_does_not_answer_is_told(tmp_path, monkeypatch):
    def no_answer(folder):
        raise OsteoflowError("SLURM did not answer")

    monkeypatch.setattr(study_checks, "jobs_left", no_answer)
    (found,) = study_checks.check_locks(tmp_path)
    assert found.mark == LOOK and "did not answer" in found.text


def test_a_shorter_first_wait_does_not_help_where_ended_jobs_are_forgotten_within_two_minutes(monkeypatch):
    shown = Answer("MinJobAge = 90 sec\n")
    monkeypatch.setattr(
        cluster_checks, "ask", lambda *command: shown if command[0] == "scontrol" else Answer("", "failed")
    )
    settings = SimpleNamespace(status_command="squeue", init_seconds_before_status_checks=10)
    (found,) = check_status_command(settings)
    assert found.mark == WRONG and "120 are needed" in found.text and "MinJobAge of 120" in found.advice
    found = explain_status("squeue", min_job_age=150, needed=300, accounting=False, has_sacct=True)
    assert "status-checks to 50 or less" in found.advice


def test_packages_are_installed_by_make_setup_where_there_is_no_environment(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.txt"
    lock.write_text("no-such-package==1.0\n")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert check_packages(lock)[0].advice == "make setup"
    (tmp_path / ".venv").mkdir()
    assert ".venv/bin/pip install" in check_packages(lock)[0].advice


def test_all_checks_run_for_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(study_checks, "jobs_left", lambda folder: ["7"])
    monkeypatch.setattr(machine, "ask_torch", lambda: (FOR_CPUS, ""))
    monkeypatch.setattr(checkup, "check_cluster", lambda workflow: [Finding(OK, "SLURM answers")])
    said = []
    folder = tmp_path / "of'mine"
    assert checkup.check_all([*SLURM, "--directory", str(folder)], said.append) == 1
    text = "\n".join(said)
    assert "wrong  the study's folder: " in text and "wrong  1 jobs of an earlier run" in text
    assert "SLURM answers" in text and "is a build for CPUs: jobs of " in text and "train_fold" in text
    assert not folder.exists()
