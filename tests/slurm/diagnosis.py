"""Findings of the doctor for a profile on a cluster."""

import subprocess
import sys
from pathlib import Path

from cluster import Cluster

from tests.study import ROOT


def diagnose(
    cluster: Cluster, folder: Path, *arguments: str, profile: str = "slurm"
) -> tuple[int, dict[str, str]]:
    """Return the exit status and the findings of the doctor: the lines of each finding by its first line."""
    command = [
        sys.executable,
        "-m",
        "lib.commands.doctor",
        "--profile",
        profile,
        "--configfile",
        "studies/ci.yaml",
    ]
    ended = subprocess.run(
        [*command, "--directory", folder, *arguments],
        cwd=ROOT, env=cluster.environment, text=True, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert not ended.stderr, ended.stderr
    findings, name = {}, ""
    for line in ended.stdout.splitlines():
        if line.startswith(("  ok ", "  look ", "  wrong ")):
            name = line[9:]
            findings[name] = line[:8].strip()
        else:
            findings[name] = f"{findings.get(name, '')}\n{line}"
    return ended.returncode, findings
