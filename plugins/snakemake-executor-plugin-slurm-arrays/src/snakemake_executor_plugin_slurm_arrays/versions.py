"""The versions that this plugin was tested with."""

from importlib.metadata import version

from snakemake_interface_common.exceptions import WorkflowError

UPSTREAM = "snakemake-executor-plugin-slurm"
TESTED_UPSTREAM = "2.8.0"  # no other version: the plugin overrides its internals
TESTED_SNAKEMAKE = ("9.25", "9.26", "9.27")  # any patch release of these
SETTING = "--slurm-arrays-untested-snakemake"


def check_versions(*, untested_snakemake: bool = False) -> None:
    """Check that this plugin was tested with the installed Snakemake and upstream plugin.

    Args:
        untested_snakemake: accept any version of Snakemake.

    Raises:
        WorkflowError: one has an untested version; the message holds the command that installs a tested one.
    """
    upstream, snakemake = version(UPSTREAM), version("snakemake")
    if upstream != TESTED_UPSTREAM:
        raise WorkflowError(
            f"{UPSTREAM} {upstream} is installed, but the executor slurm-arrays was tested only with "
            f"{TESTED_UPSTREAM}; nothing was submitted. Install that version: "
            f"pip install {UPSTREAM}=={TESTED_UPSTREAM}"
        )
    if not (untested_snakemake or ".".join(snakemake.split(".")[:2]) in TESTED_SNAKEMAKE):
        raise WorkflowError(
            f"Snakemake {snakemake} is installed, but the executor slurm-arrays was tested only with "
            f"{', '.join(TESTED_SNAKEMAKE)}; nothing was submitted. Install a tested version: "
            f"pip install 'snakemake=={TESTED_SNAKEMAKE[-1]}.*'. To try the installed one, add {SETTING}"
        )
