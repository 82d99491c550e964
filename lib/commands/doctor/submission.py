"""The sbatch line that Snakemake's SLURM plugin would send for a job. The interface is undocumented, but tested."""

import shlex

from lib.commands.planning.workflow import Request
from lib.errors import ConfigError


def submit_command(rule: str, request: Request, partition: str, settings: object) -> list[str]:
    """Return the command for the first attempt of a job, without name, log, account guess and script.

    Args:
        rule: name of the rule.
        request: the resources of its job.
        partition: the partition if the request names none; empty: the cluster decides.
        settings: settings of the plugin.

    Raises:
        ConfigError: the plugin refuses the request.
    """
    from snakemake.iocontainers import ResourceList
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string
    from snakemake_executor_plugin_slurm.validation import validate_slurm_extra
    from snakemake_interface_common.exceptions import WorkflowError

    job = _Job(rule, request.threads, ResourceList(fromdict=dict(request.resources)))
    account = request.resources.get("slurm_account", "")
    where = request.resources.get("slurm_partition") or partition
    params = {
        "run_uuid": "doctor", "slurm_logfile": "/dev/null", "comment_str": f"rule_{rule}", "workdir": "",
        "account": f" -A {shlex.quote(str(account))}" if account else "",
        "partition": f" -p {shlex.quote(str(where))}" if where else "",
    }  # fmt: skip
    try:
        validate_slurm_extra(job)
        return shlex.split(get_submit_command(job, params, settings) + set_gres_string(job))
    except WorkflowError as error:
        raise ConfigError(f"{rule}: {error}") from None


class _Job:
    """The attributes of a job that the plugin reads."""

    def __init__(self, name: str, threads: int, resources: object) -> None:
        self.name, self.threads, self.resources = name, threads, resources
