"""The log handler: it takes Snakemake's records and writes what a person at a terminal needs.

In a dry run, with --verbose or --debug-dag, and for commands that run no job (--lint, --list-rules, --summary,
--unlock), everything is printed as Snakemake prints it.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from logging import LogRecord

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_stages.job_counts import JobCounter, JobCounts
from snakemake_logger_plugin_stages.noise import EXITING, LOGS, OWN_EVENTS, RESTART, STOPPING, is_noise
from snakemake_logger_plugin_stages.report import Report
from snakemake_logger_plugin_stages.screen import Screen
from snakemake_logger_plugin_stages.settings import LOG_LINES, LogHandlerSettings
from snakemake_logger_plugin_stages.stages import Job
from snakemake_logger_plugin_stages.time_left import Priors, read_priors

_TICK_S = 1.0


class LogHandler(LogHandlerBase):
    """Snakemake's records as stages, progress and failures."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Prepare both ways to print: Snakemake's own and that of a run."""
        output = self.common_settings
        stream = sys.stdout if output.stdout else sys.stderr
        quiet = set(output.quiet or ())
        self._plain = ColorizingTextHandler(
            nocolor=output.nocolor,
            stream=stream,
            formatter=DefaultFormatter(quiet, output.show_failed_logs),
            filter=DefaultFilter(
                quiet, output.debug_dag, output.verbose, output.dryrun, output.printshellcmds
            ),
        )
        settings = self.settings or LogHandlerSettings()
        lines = LOG_LINES if settings.log_lines is None else settings.log_lines
        self._as_snakemake = output.dryrun or output.verbose or output.debug_dag
        self._silent = Quietness.ALL in quiet and not output.dryrun
        self._screen = Screen(stream, color=not output.nocolor)
        self._report = Report(
            self._screen,
            log_lines=lines,
            with_stages=Quietness.RULES not in quiet,
            with_progress=Quietness.PROGRESS not in quiet,
        )
        self._shows_commands = output.printshellcmds
        # Snakemake has not changed to the folder of --directory yet
        self._costs = os.path.abspath(settings.costs) if settings.costs else None
        self._in_run = False
        self._held: list[LogRecord] = []
        self._over = threading.Event()
        self._counter = JobCounter()
        logger.addFilter(self._counter)

    def emit(self, record: LogRecord) -> None:
        """Print a record, or what it means for the run."""
        try:
            self._take(record)
        except Exception:  # a fault of this plugin must not hide what Snakemake says
            self._screen.end()
            self._print_plainly(record)
            self.handleError(record)

    def close(self) -> None:
        """Tell how the run ended, and print what was kept back for the end."""
        self._over.set()
        logger.removeFilter(self._counter)
        with self.lock:
            if self._in_run and not self._silent:
                self._report.finish("", time.monotonic())
            self._release()
            self._screen.end()
            self._in_run = False
        super().close()

    def _take(self, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        if self._as_snakemake:
            self._print_plainly(record)
        elif self._silent:
            return
        elif event == LogEvent.WORKFLOW_STARTED:
            self._begin()
        elif not self._in_run:
            self._print_plainly(record)
        elif event in OWN_EVENTS:
            now = time.monotonic()
            self._count_jobs(getattr(record, "job_counts", None))
            if told := self._tellers.get(event):
                told(self, record, now)
            self._report.progress(now)
        elif event is None:
            self._say(record)
        else:
            self._print_plainly(record)

    def _begin(self) -> None:
        self._in_run = True
        self._report.begin(self._read_costs(), time.monotonic())
        threading.Thread(target=self._tick, daemon=True, name="snakemake-logger-stages").start()

    def _read_costs(self) -> Priors:
        if not self._costs:
            return Priors()
        try:
            return read_priors(self._costs)
        except (OSError, ValueError) as error:
            self._screen.line(f"The time left is less certain: {self._costs} cannot be used ({error}).")
            return Priors()

    def _tick(self) -> None:
        """Renew the status while no record arrives."""
        while not self._over.wait(_TICK_S):
            with self.lock:
                if not self._over.is_set():
                    self._report.progress(time.monotonic())

    def _count_jobs(self, counts: JobCounts | None) -> None:
        if counts:
            self._report.count(counts.by_rule, counts.total, grows=counts.grows)

    def _say(self, record: LogRecord) -> None:
        """Print a message that is no event; what the workflow says after its last job comes last."""
        text = str(record.msg)
        now = time.monotonic()
        if text.startswith(RESTART):
            self._report.retry(int(text.removeprefix(RESTART).rstrip(".")))
        elif text.startswith(LOGS):
            self._report.finish(text, now)
            self._release()
        elif record.levelno >= logging.WARNING:
            if text.startswith(EXITING):
                self._report.failures()
            self._print_plainly(record)
        elif is_noise(text):
            return
        elif text.startswith(STOPPING):
            self._report.stop()
            self._print_plainly(record)
        elif self._report.is_complete:
            self._held.append(record)
        else:
            self._print_plainly(record)

    def _print_plainly(self, record: LogRecord) -> None:
        if self._plain.filter(record):
            self._screen.clear()
            self._plain.emit(record)

    def _release(self) -> None:
        held, self._held = self._held, []
        for record in held:
            self._print_plainly(record)

    def _tell_counts(self, record: LogRecord, now: float) -> None:
        if getattr(record, "job_counts", None) is None:
            counts = dict(record.stats)
            self._report.count(counts, counts.pop("total", None))
        self._report.tell_size()

    def _tell_cores(self, record: LogRecord, now: float) -> None:
        self._report.cores = getattr(record, "cores", None) or self._report.cores

    def _tell_job(self, record: LogRecord, now: float) -> None:
        job = Job(
            rule=record.rule_name,
            wildcards={key: str(value) for key, value in dict(record.wildcards or {}).items()},
            logs=tuple(map(str, record.log or ())),
            shown=bool(record.output),
        )
        self._report.job_begins(record.jobid, job, now)

    def _tell_command(self, record: LogRecord, now: float) -> None:
        command = getattr(record, "shellcmd", None) or getattr(record, "cmd", None)
        if self._shows_commands and command:
            self._screen.line(str(command), timed=False)

    def _tell_end(self, record: LogRecord, now: float) -> None:
        self._report.job_ends(record.job_id, now)

    def _tell_progress(self, record: LogRecord, now: float) -> None:
        self._report.done, self._report.total = record.done, record.total

    def _tell_error(self, record: LogRecord, now: float) -> None:
        self._report.job_fails(
            record.jobid,
            Job(rule=record.rule_name, logs=tuple(map(str, record.log or ()))),
            _causes(record),
            now,
        )

    _tellers: dict[LogEvent, Callable[["LogHandler", LogRecord, float], None]] = {
        LogEvent.RUN_INFO: _tell_counts,
        LogEvent.RESOURCES_INFO: _tell_cores,
        LogEvent.JOB_INFO: _tell_job,
        LogEvent.SHELLCMD: _tell_command,
        LogEvent.JOB_FINISHED: _tell_end,
        LogEvent.PROGRESS: _tell_progress,
        LogEvent.JOB_ERROR: _tell_error,
    }


def _causes(record: LogRecord) -> list[str]:
    """Return what an executor says of a failed job: its message and further facts, such as the job's number there."""
    facts = [f"{key}: {value}" for key, value in dict(getattr(record, "aux", None) or {}).items()]
    message = getattr(record, "rule_msg", None)
    command = getattr(record, "shellcmd", None)
    return [*([str(message)] if message else []), *facts, *([f"command: {command}"] if command else [])]
