"""A SLURM executor for Snakemake that submits short jobs as job arrays: `snakemake --executor slurm-arrays`.

It is a subclass of the executor of snakemake-executor-plugin-slurm. The README lists the faults that it fixes.
"""

from snakemake_executor_plugin_slurm import common_settings

from snakemake_executor_plugin_slurm_arrays.executor import Executor
from snakemake_executor_plugin_slurm_arrays.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
