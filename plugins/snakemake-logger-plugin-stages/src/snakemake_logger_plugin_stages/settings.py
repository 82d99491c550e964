"""The settings of the plugin."""

from dataclasses import dataclass, field
from typing import Optional

from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

LOG_LINES = 20


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Settings of the logger stages."""

    # Snakemake's argument parser calls the type: Optional[str] can be called, str | None cannot
    costs: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "A CSV file with the columns `rule` and `cpu_seconds` (or `seconds`), and perhaps `per`: the "
            "expected seconds of a job of each rule, for the time left before the rule has run. Rows whose `per` "
            "is not `job` say that the rule's jobs are long and of unknown length. Lines with # are comments.",
            "env_var": False,
            "required": False,
        },
    )
    log_lines: Optional[int] = field(  # noqa: UP045
        default=LOG_LINES,
        metadata={
            "help": "Lines of a failed job's log that are printed, from its end (0: only the path).",
            "env_var": False,
            "required": False,
        },
    )
