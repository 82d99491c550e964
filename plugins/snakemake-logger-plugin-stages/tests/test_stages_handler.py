"""What is printed for records of Snakemake: stages, progress, notices, failures, and messages of others."""

import io
import logging

import pytest
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

from snakemake_logger_plugin_stages import LogHandler, LogHandlerSettings
from snakemake_logger_plugin_stages.screen import Screen


class TestAsAPlugin(TestLogHandlerBase):
    __test__ = True

    def get_log_handler_cls(self):
        return LogHandler

    def get_log_handler_settings(self):
        return LogHandlerSettings()


class Run:
    """A run of which records are made by hand."""

    def __init__(self, capsys, **options):
        settings = MockOutputSettings()
        settings.printshellcmds = False
        for name, value in options.items():
            setattr(settings, name, value)
        self.handler, self.capsys = LogHandler(settings, LogHandlerSettings()), capsys

    def tell(self, event=None, msg="", level=logging.INFO, **facts):
        record = logging.LogRecord("snakemake", level, "workflow.py", 1, msg, (), None)
        record.__dict__ |= {"event": event, **facts} if event else facts
        self.handler.handle(record)

    def begin(self, **counts):
        self.tell(LogEvent.WORKFLOW_STARTED, "Workflow has started!")
        self.tell(LogEvent.RUN_INFO, "Job stats:", stats=counts | {"total": sum(counts.values())})

    def start(self, number, rule, log=(), output=("made.txt",), **wildcards):
        facts = {"log": list(log), "output": list(output), "wildcards": wildcards}
        self.tell(LogEvent.JOB_INFO, f"rule {rule}", jobid=number, rule_name=rule, **facts)

    def end(self, number, done, total):
        self.tell(LogEvent.JOB_FINISHED, f"Finished jobid: {number}", job_id=number)
        self.tell(LogEvent.PROGRESS, "None", done=done, total=total)

    def fail(self, number, rule, log=(), message="", command=None):
        facts = {"log": list(log), "rule_msg": message, "aux": {"jobnumber": "4711"}, "shellcmd": command}
        self.tell(
            LogEvent.JOB_ERROR, f"Error in rule {rule}", logging.ERROR, jobid=number, rule_name=rule, **facts
        )

    def printed(self):
        self.handler.flush()
        return self.capsys.readouterr().err


@pytest.fixture
def run(capsys):
    made = []

    def make(**options):
        made.append(Run(capsys, **options))
        return made[-1]

    yield make
    for one in made:
        one.handler.close()


def test_a_line_when_a_stage_begins_and_one_when_it_is_done(run):
    one = run()
    one.begin(align=2, all=1)
    one.start(1, "align", sample="A")
    one.start(2, "align", sample="B")
    one.end(1, 1, 3)
    one.end(2, 2, 3)
    one.start(0, "all", output=())
    one.end(0, 3, 3)
    one.handler.close()
    lines = [line[10:] for line in one.printed().splitlines()]
    assert lines == [
        "3 jobs (2 rules)",
        "align: 2 jobs",
        "align done: 2 jobs in 0 s",
        "3 jobs done in 0 s",
    ]


def test_notices_of_ended_jobs(run, tmp_path):
    log = tmp_path / "A.log"
    log.write_text("read\nnotice: A is refused: too short\nnot a notice: B\n")
    one = run()
    one.begin(screen=1)
    one.start(1, "screen", log=[str(log)], sample="A")
    assert "refused" not in one.printed()
    one.end(1, 1, 1)
    printed = one.printed()
    assert "  A is refused: too short\n" in printed and "not a notice" not in printed


def test_a_failure_is_told_with_the_end_of_its_log(run, tmp_path):
    log = tmp_path / "A.log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    one = run()
    one.begin(align=1)
    one.start(1, "align", log=[str(log)], sample="A")
    one.fail(1, "align", log=[str(log)], message="SLURM status is: TIMEOUT", command="align A")
    printed = one.printed()
    assert "FAILED align (sample=A)\n" in printed and "SLURM status is: TIMEOUT" in printed
    assert "jobnumber: 4711" in printed and "command: align A" in printed and f"log: {log}" in printed
    assert "line 80\n" in printed and "line 99\n" in printed and "line 79\n" not in printed


def test_a_failed_job_that_is_started_again_is_no_failure(run, tmp_path):
    one = run()
    one.begin(align=1)
    one.start(1, "align", sample="A")
    one.fail(1, "align")
    one.tell(msg="Trying to restart job 1.")
    one.start(1, "align", sample="A")
    one.end(1, 1, 1)
    one.handler.close()
    printed = one.printed()
    assert "align (sample=A) is started again" in printed and "align done in" in printed
    assert "1 job done in" in printed and "1 failed" not in printed


def test_several_failures_are_listed_at_the_end(run):
    one = run()
    one.begin(align=3, all=1)
    for number, sample in enumerate("ABC", 1):
        one.start(number, "align", log=[f"{sample}.log"], sample=sample)
    one.end(1, 1, 4)
    one.fail(2, "align", log=["B.log"])
    one.fail(3, "align", log=["C.log"])
    one.printed()
    one.tell(msg="Exiting because a job execution failed. Look above", level=logging.ERROR)
    one.handler.close()
    printed = one.printed()
    assert "2 jobs failed:" in printed and "    align (sample=B) B.log\n" in printed
    assert "Exiting because a job execution failed" in printed
    assert "1 of 4 jobs done in 0 s, 2 failed, 1 not run" in printed


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_warnings_and_errors_are_printed_whatever_they_say(run, level):
    one = run()
    one.begin(align=1)
    for text in ("Job 3 has been submitted", "Select jobs to execute...", "a warning", "Elapsed time: 1"):
        one.tell(msg=text, level=level)
        assert text in one.printed()
    one.tell(LogEvent.ERROR, "WorkflowError:\nAt least one job", logging.ERROR, exception="WorkflowError")
    assert "WorkflowError:\nAt least one job" in one.printed()
    one.tell(LogEvent.GROUP_ERROR, "Error in group 1", logging.ERROR, aux_logs=[], job_error_info=[])
    assert "jobs:" in one.printed()


def test_messages_that_nobody_foresaw_are_printed_and_those_of_each_job_are_not(run):
    one = run()
    one.begin(align=2)
    one.printed()
    one.tell(msg="Creating conda environment envs/x.yaml...")
    assert "Creating conda environment" in one.printed()
    for text in (
        "Select jobs to execute...",
        "Job 3 has been submitted with SLURM jobid 17 (log: x).",
        "Submitted 3 jobs of rule align as SLURM array 18.",
        "Processed 10000 potential jobs.",
    ):
        one.tell(msg=text)
    one.tell(LogEvent.JOB_STARTED, "Execute 2 jobs...", jobs=[1, 2])
    assert one.printed() == ""


def test_what_the_workflow_says_after_its_last_job_is_printed_last(run):
    one = run()
    one.begin(align=1)
    one.start(1, "align")
    one.end(1, 1, 1)
    one.tell(msg="34 scans, all well")
    one.tell(msg="Complete log(s): /x/run.log")
    one.tell(msg="Elapsed time: 0:00:01")
    one.handler.close()
    *_, log, done, last = one.printed().splitlines()
    assert log == "Complete log(s): /x/run.log" and "1 job done" in done and last == "34 scans, all well"


def test_an_interrupted_run_says_stopped_and_not_failed(run):
    one = run()
    one.begin(align=2)
    one.start(1, "align", sample="A")
    one.tell(msg="Terminating processes on user request, this might take some time.")
    one.fail(1, "align")
    one.handler.close()
    printed = one.printed()
    assert "Terminating" in printed and "Stopped: align (sample=A)" in printed and "FAILED" not in printed
    assert "0 of 2 jobs done in 0 s, 1 stopped, 1 not run" in printed


def test_before_a_run_and_in_a_dry_run_everything_is_printed_as_by_snakemake(run, capsys):
    one = run()
    one.tell(msg="Building DAG of jobs...")
    assert one.printed() == "Building DAG of jobs...\n"
    dry = run(dryrun=True, stdout=True)
    dry.begin(align=1)
    dry.tell(msg="Building DAG of jobs...")
    assert capsys.readouterr().out.endswith("Building DAG of jobs...\n")


def test_quiet(run):
    one = run(quiet={Quietness.RULES, Quietness.PROGRESS})
    one.begin(align=1)
    one.start(1, "align", sample="A")
    assert one.printed() == ""
    one.fail(1, "align")
    assert "FAILED align (sample=A)" in one.printed()
    silent = run(quiet={Quietness.ALL})
    silent.begin(align=1)
    silent.fail(1, "align")
    silent.tell(msg="an error", level=logging.ERROR)
    assert silent.printed() == ""


def test_shell_commands_are_printed_on_request(run):
    for asked in (False, True):
        one = run(printshellcmds=asked)
        one.begin(align=1)
        one.tell(LogEvent.SHELLCMD, "Shell command: align A", shellcmd="align A")
        one.tell(LogEvent.SHELLCMD, "Shell command: None", shellcmd=None)
        printed = one.printed()
        assert ("align A\n" in printed) == asked and "None" not in printed


def test_a_fault_of_the_plugin_hides_nothing(run, monkeypatch):
    one = run()
    one.begin(align=1)
    monkeypatch.setattr(one.handler._report, "job_fails", lambda *given: 1 / 0)
    one.tell(LogEvent.JOB_ERROR, "Error in rule align", logging.ERROR, jobid=1, rule_name="align", log=[],
             output=[], input=[], rule_msg=None, conda_env=None, shellcmd=None, aux={})  # fmt: skip
    assert "Error in rule align" in one.printed()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_the_status_stays_below_the_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(Terminal(), color=False)
    screen.begin(0.0)
    assert screen.is_due(0, 0.0)
    screen.status("1 of 9 jobs", 11, 0.0)
    assert not screen.is_due(99, 1.9) and screen.is_due(11, 2.0)
    screen.line("a line", timed=False)
    assert screen.stream.getvalue().endswith("\r\033[2Ka line\n\r\033[2K1 of 9 jobs\r")
    screen.end()
    screen.line("the end", timed=False)
    assert screen.stream.getvalue().endswith("\r\033[2Kthe end\n")


def test_in_a_file_the_status_is_repeated_at_tenths_and_minutes():
    screen = Screen(io.StringIO(), color=True)
    screen.begin(0.0)
    assert not screen.is_due(9, 59) and screen.is_due(10, 6) and screen.is_due(0, 60)
    screen.status("10 of 100 jobs", 10, 6.0)
    assert not screen.is_due(19.9, 30.0) and not screen.is_due(20, 10.9) and screen.is_due(20, 11.0)
    assert screen.is_due(10, 66.0)
    screen.status("half", 50, 10_000.0)
    assert not screen.is_due(50, 10_400.0) and screen.is_due(50, 10_500.0)  # 5 % of the run
    assert "\033" not in screen.stream.getvalue()
