"""The start of a run, and settings that help Snakemake with a large graph."""

import atexit
import gc
import os
from pathlib import Path

from lib.atomic import forbid_world_writing
from lib.checked_study import STUDY_FILE, words_of_jobs
from lib.errors import OsteoflowError
from lib.leftover_jobs import check_none_left
from lib.pseudonyms import write_secret
from lib.study import check_executor, check_submitted, lock_study, write_study
from snakemake.exceptions import WorkflowError

forbid_world_writing()
# a graph of a hundred thousand jobs exists until the end: collecting garbage in it is slow and finds little
gc.set_threshold(100_000, 20, 20)
atexit.register(gc.freeze)  # no collection at exit, which would take a fifth of a dry run


def begin_run() -> None:
    """Lock the study for this run, before its first job."""
    try:
        if workflow.non_local_exec:
            check_executor(workflow.executor_plugin.name)
            check_submitted(os.getcwd(), words_of_jobs(STUDY, workflow.basedir))
        lock_study("results")
        check_none_left(Path())
        write_study(STUDY_FILE, STUDY.identity, STUDY.comparison)
        write_secret(SECRET_FILE)
    except OsteoflowError as error:
        raise WorkflowError(str(error)) from None
    rest_between_jobs()


def rest_between_jobs() -> None:
    """Let Snakemake sleep while jobs run, unless the user has set a limit on the rate of jobs.

    To enforce its limit (by default 100 jobs a second) Snakemake 9.27 looks for new jobs every second for each job that
    has ended, without end: after 200 jobs this keeps half a core busy.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and limit.max_jobs >= 100 * limit.timespan:
        workflow.scheduler.job_rate_limiter = None
