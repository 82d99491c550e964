"""A workflow other than Osteoflow, run by Snakemake with stand-ins for SLURM's commands that run jobs at once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import snakemake_executor_plugin_slurm_arrays as plugin

pytestmark = pytest.mark.workflow

SNAKEFILE = """
rule all:
    input: "all.txt"

rule double:
    output: "doubled/{number}.txt"
    resources: mem_mb=lambda wildcards: 100 * (1 + int(wildcards.number) % 2)
    shell: "echo $((2 * {wildcards.number})) > {output}"

rule gather:
    input: expand("doubled/{number}.txt", number=range(7))
    output: "all.txt"
    shell: "cat {input} > {output}"
"""
SBATCH = """#!/bin/sh
number=$(($(ls "{folder}" | grep -c '^script-') + 1))
cat > "{folder}/script-$number"
echo "$@" > "{folder}/call-$number"
case "$*" in *--array=1-*) tasks=$(seq "$(echo "$*" | sed 's/.*--array=1-//')") ;; *) tasks= ;; esac
for task in ${tasks:-0}; do
    name=$number; [ "$task" = 0 ] || name=${number}_$task
    SLURM_ARRAY_TASK_ID=$task sh "{folder}/script-$number" > "{folder}/log-$name" 2>&1 \\
        && echo "$name|COMPLETED" >> "{folder}/states" || echo "$name|FAILED" >> "{folder}/states"
done
echo "$number"
"""
OTHERS = {
    "squeue": '#!/bin/sh\ncat "{folder}/states"\n',
    "scontrol": '#!/bin/sh\necho "MaxArraySize = 1001"; echo "MinJobAge = 600 sec"\n',
    "sinfo": '#!/bin/sh\necho "cpu*"\n',
    "sacct": "#!/bin/sh\nexit 1\n",
    "sacctmgr": "#!/bin/sh\nexit 1\n",
}


@pytest.fixture
def environment(tmp_path):
    """Return an environment whose SLURM commands record their calls in the folder `slurm`."""
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    for name, text in {"sbatch": SBATCH, **OTHERS}.items():
        (folder / "bin" / name).write_text(text.replace("{folder}", str(folder)))
        (folder / "bin" / name).chmod(0o755)
    paths = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(plugin.__file__).parents[1]),
    }
    return os.environ | paths


def run_workflow(folder, environment, *options):
    """Run the workflow with arrays and at most three jobs at once; return the ended process."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    settings = {"array-jobs": "double", "init-seconds-before-status-checks": "1", "status-command": "squeue"}
    command = [sys.executable, "-m", "snakemake", "--executor", "slurm-arrays", "--jobs", "3", *options]
    command += [word for name, value in settings.items() for word in (f"--slurm-arrays-{name}", value)]
    return subprocess.run(
        [*command, "--latency-wait", "1"],
        cwd=folder, env=environment, text=True, capture_output=True, timeout=600, check=False,
    )  # fmt: skip


def test_arrays_of_a_workflow_with_fewer_jobs_at_once_than_are_ready(tmp_path, environment):
    ended = run_workflow(tmp_path, environment)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert (tmp_path / "all.txt").read_text().split() == ["0", "2", "4", "6", "8", "10", "12"]
    calls = [path.read_text() for path in sorted((tmp_path / "slurm").glob("call-*"))]
    arrays = [re.search(r"--mem (\d+) .*--array=1-(\d)", call) for call in calls if "--array" in call]
    assert arrays and all(found[1] in ("100", "200") and found[2] in ("2", "3") for found in arrays)
    scripts = "".join(path.read_text() for path in (tmp_path / "slurm").glob("script-*"))
    assert "--target-jobs" in scripts and "jobstep" not in scripts


def test_a_run_with_an_untested_snakemake_ends_before_anything_is_submitted(tmp_path, environment):
    installed = tmp_path / "later/snakemake-99.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: snakemake\nVersion: 99.0\n")
    environment["PYTHONPATH"] = f"{installed.parent}:{environment['PYTHONPATH']}"
    ended = run_workflow(tmp_path, environment)
    assert ended.returncode != 0 and "Traceback" not in ended.stderr
    assert "Snakemake 99.0 is installed" in ended.stderr and "pip install 'snakemake==9.27.*'" in ended.stderr
    assert not list((tmp_path / "slurm").glob("call-*"))
