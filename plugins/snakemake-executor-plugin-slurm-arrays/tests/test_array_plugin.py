"""The plugin as Snakemake loads it: its name, its settings, and the versions it refuses."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as upstream
from snakemake import cli
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

import snakemake_executor_plugin_slurm_arrays as plugin
from snakemake_executor_plugin_slurm_arrays import versions

SOURCES = sorted(Path(plugin.__file__).parent.glob("*.py"))
NEEDED = {"snakemake_executor_plugin_slurm", "snakemake_executor_plugin_slurm_arrays"}
NEEDED |= {"snakemake_interface_common", "snakemake_interface_executor_plugins"}


def settings_of(*options):
    """Return the settings of the executor, as Snakemake reads them from the command line."""
    _, args = cli.parse_args(["--executor", "slurm-arrays", "--jobs", "1", *options])
    return ExecutorPluginRegistry().get_plugin("slurm-arrays").get_settings(args)


def test_settings_have_the_prefix_of_the_plugin(tmp_path):
    options = (
        "--slurm-arrays-array-jobs",
        "a,b",
        "--slurm-arrays-array-limit",
        "7",
        "--slurm-arrays-requeue",
    )
    settings = settings_of(*options, "--slurm-arrays-status-command", "squeue")
    assert isinstance(settings, plugin.ExecutorSettings)
    assert (settings.array_jobs, settings.array_limit, settings.status_command) == ("a,b", 7, "squeue")
    assert settings.requeue and not settings.untested_snakemake

    (tmp_path / "config.yaml").write_text(
        "slurm-arrays-array-jobs: c\nslurm-arrays-untested-snakemake: true\n"
    )
    settings = settings_of("--profile", str(tmp_path))
    assert settings.array_jobs == "c" and settings.untested_snakemake


def test_every_setting_of_upstream_is_there():
    names = plugin.ExecutorSettings.__dataclass_fields__
    assert upstream.ExecutorSettings.__dataclass_fields__.keys() <= names.keys()


def test_methods_of_upstream_are_overridden():
    names = (
        "run_jobs",
        "run_job",
        "run_array_jobs",
        "check_active_jobs",
        "cancel_jobs",
        "additional_general_args",
    )
    assert issubclass(plugin.Executor, upstream.Executor)
    assert all(name in vars(upstream.Executor) and name in vars(plugin.Executor) for name in names)


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ({"snakemake-executor-plugin-slurm": "2.9.0"}, "pip install snakemake-executor-plugin-slurm==2.8.0"),
        ({"snakemake": "9.2.0"}, "pip install 'snakemake==9.27.*'"),
        ({"snakemake": "10.27.0"}, "add --slurm-arrays-untested-snakemake"),
    ],
)
def test_untested_versions_are_refused_with_the_line_to_type(monkeypatch, installed, told):
    tested = {versions.UPSTREAM: versions.TESTED_UPSTREAM, "snakemake": "9.26.9"}
    monkeypatch.setattr(versions, "version", (tested | installed).get)
    settings = SimpleNamespace(untested_snakemake=False)
    with pytest.raises(WorkflowError) as refused:
        plugin.Executor(SimpleNamespace(executor_settings=settings), None)
    assert told in str(refused.value) and "nothing was submitted" in str(refused.value)
    assert f"{next(iter(installed.values()))} is installed" in str(refused.value)


def test_an_untested_snakemake_can_be_tried_but_no_other_upstream(monkeypatch):
    monkeypatch.setattr(versions, "version", {versions.UPSTREAM: "2.8.0", "snakemake": "9.99.0"}.get)
    versions.check_versions(untested_snakemake=True)
    monkeypatch.setattr(versions, "version", {versions.UPSTREAM: "2.8.1", "snakemake": "9.27.1"}.get)
    with pytest.raises(WorkflowError, match="2.8.1 is installed"):
        versions.check_versions(untested_snakemake=True)


def test_any_workflow_can_use_it():
    """The plugin imports only the standard library, the upstream plugin and Snakemake's interfaces."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in NEEDED | sys.stdlib_module_names, f"{path.name} imports {name}"
