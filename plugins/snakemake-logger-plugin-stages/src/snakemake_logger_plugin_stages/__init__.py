"""A quiet terminal for Snakemake: `snakemake --logger stages`.

A line when a rule's first job begins and one when its last job has ended, progress with the time left in between, and
every failure with the end of its log. Snakemake's own log file keeps the full detail.
"""

from snakemake_logger_plugin_stages.handler import LogHandler
from snakemake_logger_plugin_stages.settings import LogHandlerSettings

__all__ = ["LogHandler", "LogHandlerSettings"]
