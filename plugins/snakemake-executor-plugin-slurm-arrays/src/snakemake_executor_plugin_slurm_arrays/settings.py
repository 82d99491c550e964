"""The settings of the plugin: those of the upstream plugin with the prefix `slurm-arrays`."""

from dataclasses import dataclass, field
from typing import Optional

import snakemake_executor_plugin_slurm as upstream


def _unused(reason: str) -> dict[str, object]:
    """Return the help of a setting that the upstream plugin has and this one does not need."""
    return {"help": f"Has no effect: {reason}.", "env_var": False, "required": False}


@dataclass
class ExecutorSettings(upstream.ExecutorSettings):
    """Settings of the executor slurm-arrays."""

    # Snakemake's argument parser calls the type: Optional[str] can be called, str | None cannot
    array_jobs: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "Rules whose jobs are submitted as SLURM job arrays: --slurm-arrays-array-jobs='rule1,rule2', or "
            "'all'. Jobs that are ready together and request the same resources share an array; a single job is "
            "submitted as a regular job.",
            "env_var": False,
            "required": False,
        },
    )
    untested_snakemake: bool = field(
        default=False,
        metadata={
            "help": "Run with a version of Snakemake that this plugin was not tested with.",
            "env_var": False,
            "required": False,
        },
    )
    disable_memory_fudge: bool = field(
        default=False, metadata=_unused("commands are part of the script, and no memory is added for them")
    )
    pass_command_as_script: bool = field(
        default=False, metadata=_unused("every command is passed as a script")
    )
    status_attempts: Optional[int] = field(  # noqa: UP045
        default=5,
        metadata=_unused("SLURM is asked for states until it answers, and no job is dropped meanwhile"),
    )
