"""A workflow other than Osteoflow, run by Snakemake: with a checkpoint, notices, a failing job and hooks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import snakemake_logger_plugin_stages as plugin

pytestmark = pytest.mark.workflow

SNAKEFILE = """
from snakemake.logging import logger

rule all:
    input: "all.txt"

rule make:
    output: "made/{number}.txt"
    log: "logs/make/{number}.log"
    shell: "echo 'notice: made {wildcards.number}' > {log}; touch {output}"

checkpoint split:
    input: expand("made/{number}.txt", number=range(3))
    output: "split.txt"
    shell: "seq 4 > {output}"

rule work:
    output: "work/{part}.txt"
    log: "logs/parts/{part}.log"
    params: bad=config.get("bad", 0)
    shell: "echo working on {wildcards.part} > {log}; [ {wildcards.part} != {params.bad} ]; touch {output}"

def parts(wildcards):
    return [f"work/{part}.txt" for part in open(checkpoints.split.get().output[0]).read().split()]

rule gather:
    input: parts
    output: "all.txt"
    shell: "cat {input} > {output}"

onsuccess:
    logger.info("the results in one line")

onerror:
    logger.error("what to do about it")
"""


class Project:
    """A workflow in a folder."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "Snakefile").write_text(SNAKEFILE)

    def call(self, *arguments, logger=("--logger", "stages")):
        """Run Snakemake with the plugin of this tree and return what ended."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, *logger]
        source = str(Path(plugin.__file__).parents[1])
        return subprocess.run(
            command, cwd=self.folder, text=True, capture_output=True, timeout=120,
            env=os.environ | {"PYTHONPATH": source},
        )  # fmt: skip

    def logged(self):
        """Return the text of Snakemake's log files."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(".snakemake/log/*.log")))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def without_times(text):
    """Return the lines without time of day, and durations and time left as `T`; no progress."""
    text = re.sub(r"^\d\d:\d\d:\d\d  ", "", text, flags=re.M)
    lines = re.sub(r"\d+ s\b", "T", text).splitlines()
    return [line for line in lines if not re.search(r" jobs?( so far)?, .* left$", line)]


def test_a_run(project):
    ended = project.call()
    assert ended.returncode == 0, ended.stderr
    lines = without_times(ended.stderr)
    told = [line for line in lines if not line.startswith(("Assuming", "Complete log", "made "))]
    assert told == [
        "6 jobs so far (4 rules), 2 cores",
        "make: 3 jobs",
        "make done: 3 jobs in T",
        "split",
        "split done in T",
        "work: 4 jobs",  # the checkpoint has added them
        "work done: 4 jobs in T",
        "gather",
        "gather done in T",
        "10 jobs done in T",
        "the results in one line",
    ]
    assert sorted(line for line in lines if line.startswith("made ")) == ["made 0", "made 1", "made 2"]
    assert ended.stdout == "" and lines[-1] == "the results in one line"


def test_the_log_file_keeps_everything(project):
    assert project.call().returncode == 0
    logged = project.logged()
    assert logged.count("Finished jobid: ") == 10 and "10 of 10 steps (100%) done" in logged
    assert "reason: Missing output files: made/1.txt" in logged and "the results in one line" in logged


def test_a_failing_job(project):
    ended = project.call("--keep-going", "--config", "bad=2")
    assert ended.returncode == 1
    assert "FAILED work (part=2)" in ended.stderr and "log: logs/parts/2.log" in ended.stderr
    assert "      working on 2\n" in ended.stderr
    assert "work: 3 of 4 jobs done in" in ended.stderr and "what to do about it" in ended.stderr
    assert "7 of 10 jobs done" in ended.stderr and "1 failed, 2 not run" in ended.stderr
    assert "At least one job did not complete successfully." in ended.stderr
    assert "the results in one line" not in ended.stderr


def test_a_job_whose_files_are_missing_is_an_error_that_is_printed(project):
    text = SNAKEFILE.replace("cat {input} > {output}", "true")
    (project.folder / "Snakefile").write_text(text)
    ended = project.call("--latency-wait", "0")
    assert ended.returncode == 1 and "MissingOutputException" in ended.stderr
    assert "8 of 10 jobs done" in ended.stderr


@pytest.mark.parametrize("arguments", [("--dry-run",), ("--summary",), ("--lint",)])
def test_without_jobs_everything_is_as_without_the_plugin(project, arguments):
    """The same words, but for times; Snakemake's order of files varies."""
    ours, plain = (
        project.call(*arguments, logger=("-q", "host", "--logger", "stages")),
        project.call(*arguments, logger=("-q", "host")),
    )

    def words(text):
        text = re.sub(r"\[?\w{3} \w{3} .\d \d\d:\d\d:\d\d \d{4}\]?", "", text)
        return sorted(re.sub("[,;]", "", text).split())

    assert ours.returncode == plain.returncode
    assert words(ours.stdout) == words(plain.stdout) and words(ours.stderr) == words(plain.stderr)


def test_a_target_that_nothing_makes(project):
    ended = project.call("nosuch")
    assert ended.returncode == 1 and "MissingRuleException:\nNo rule to produce nosuch" in ended.stderr


def test_a_second_run_says_that_nothing_is_to_be_done(project):
    assert project.call("--quiet").returncode == 0
    again = project.call()
    assert "Nothing to be done" in again.stderr and "jobs done" not in again.stderr


def test_an_unusable_table_of_costs_is_named_and_stops_nothing(project):
    (project.folder / "costs.csv").write_text("name\na\n")
    ended = project.call("--logger-stages-costs", "costs.csv", "--directory", "elsewhere")
    assert ended.returncode == 0 and "costs.csv cannot be used (expected the columns rule" in ended.stderr
