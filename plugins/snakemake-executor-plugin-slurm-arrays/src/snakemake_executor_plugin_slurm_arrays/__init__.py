"""Snakemake's SLURM executor with job arrays that work: `snakemake --executor slurm-arrays`.

A subclass of the executor of snakemake-executor-plugin-slurm. Its README names each fault that this one repairs.
"""

from snakemake_executor_plugin_slurm import common_settings

from snakemake_executor_plugin_slurm_arrays.executor import Executor
from snakemake_executor_plugin_slurm_arrays.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
