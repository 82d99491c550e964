"""The versions that this plugin was tested with."""

from importlib.metadata import version

from snakemake_interface_common.exceptions import WorkflowError

UPSTREAM = "snakemake-executor-plugin-slurm"
TESTED_UPSTREAM = "2.8.0"  # whose internals are overridden: no other will do
TESTED_SNAKEMAKE = ("9.25", "9.26", "9.27")  # with any patch release
SETTING = "--slurm-arrays-untested-snakemake"


def check_versions(*, untested_snakemake: bool = False) -> None:
    """Return if Snakemake and the upstream plugin are those that this plugin was tested with.

    Args:
        untested_snakemake: any version of Snakemake will do.

    Raises:
        WorkflowError: one of them has another version; the text holds the command that installs the tested one.
    """
    upstream, snakemake = version(UPSTREAM), version("snakemake")
    if upstream != TESTED_UPSTREAM:
        raise WorkflowError(
            f"{UPSTREAM} {upstream} is installed, but the executor slurm-arrays was tested with {TESTED_UPSTREAM} "
            f"alone; nothing was submitted. Install that version: pip install {UPSTREAM}=={TESTED_UPSTREAM}"
        )
    if not (untested_snakemake or ".".join(snakemake.split(".")[:2]) in TESTED_SNAKEMAKE):
        raise WorkflowError(
            f"Snakemake {snakemake} is installed, but the executor slurm-arrays was tested with "
            f"{', '.join(TESTED_SNAKEMAKE)} alone; nothing was submitted. Install a tested version: "
            f"pip install 'snakemake=={TESTED_SNAKEMAKE[-1]}.*'. To try this one all the same, add {SETTING}"
        )
