"""Snakemake's messages that a run can do without on the terminal; its log file has them.

A list of what is left out, not of what is shown: a message that Snakemake, a plugin or the workflow adds is shown.
"""

import re

from snakemake_interface_logger_plugins.common import LogEvent

LOGS = "Complete log(s): "
RESTART = "Trying to restart job "
EXITING = "Exiting because a job execution failed."
STOPPING = "Terminating processes on user request"

# events of which the plugin tells in its own words, or not at all
OWN_EVENTS = frozenset(
    {
        LogEvent.WORKFLOW_STARTED,
        LogEvent.RUN_INFO,
        LogEvent.RESOURCES_INFO,
        LogEvent.RULEGRAPH,
        LogEvent.GROUP_INFO,
        LogEvent.JOB_INFO,
        LogEvent.JOB_STARTED,
        LogEvent.JOB_FINISHED,
        LogEvent.JOB_ERROR,
        LogEvent.PROGRESS,
        LogEvent.SHELLCMD,
    }
)

_BEGINNINGS = (
    "Building DAG of jobs...",
    "Using shell: ",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Group jobs: inactive",
    "Select jobs to execute...",
    "DAG of jobs will be updated after completion.",
    "Updating checkpoint dependencies.",
    "Job rate limit reached",
    "Removing output files of failed job ",
    "Removing temporary output ",
    "Touching output file ",
    "Write-protecting output file ",
    "Elapsed time: ",
    "SLURM run ID: ",
    "Cleaning up SLURM log files ",
)
_PATTERNS = re.compile(
    r"Processed \d+ potential jobs"
    # of executors on clusters, for each job or array
    r"|Job \S+ has been submitted|Submitted (array )?job|Submitted .* as SLURM (job|array)"
)


def is_noise(text: str) -> bool:
    """Return whether an informative message (not a warning, not an error) is left out."""
    return text.startswith(_BEGINNINGS) or _PATTERNS.match(text) is not None
