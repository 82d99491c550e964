"""Sharing processors with other programs: how many threads a process may have, and how they wait.

Standard library only: how threads wait must be set before torch is loaded.
"""

import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# How many times a thread of torch's OpenMP (libgomp) looks for work before it sleeps. The default, 300,000 (some
# milliseconds), blocks the processor for the thread that it waits for; zero costs the time to wake up at each of
# the thousand waits of an update. See bench/README.md, "Beside other work".
SPINS = "20000"
# variables in which cluster systems state a job's processors; the first of each group that is set counts
CLUSTER_VARIABLES = (
    ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    ("NSLOTS",),  # Grid Engine
    ("NCPUS",),  # PBS
    ("LSB_DJOB_NUMPROC",),  # LSF
)


def share_processors(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads release their processor soon; a value set by the user is kept.

    Call it before torch is imported: libraries that are already loaded are not affected.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment):
        environment["GOMP_SPINCOUNT"] = SPINS


def usable_processors(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many processors this process may use, at least 1.

    This is the smallest of: the processors it may run on (affinity), the CPU quota of its control group (for
    example from `docker --cpus`), and what the cluster allocated to its job.

    Args:
        environment: variables of the process.
        root: folder that contains `proc` and `sys`.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    limits = [float(len(affinity(0)) if affinity else os.cpu_count() or 1)]
    limits += _quotas(root)
    for names in CLUSTER_VARIABLES:
        values = [environment[name] for name in names if environment.get(name)]
        if values and values[0].isdecimal() and int(values[0]):
            limits.append(float(values[0]))
    return max(1, math.floor(min(limits)))


def _quotas(root: Path) -> list[float]:
    """Return the processors that each control group of this process allows; groups without a limit are left out."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2
            folder, read = root / "sys/fs/cgroup", _quota
        elif "cpu" in controllers.split(","):
            folder, read = root / "sys/fs/cgroup" / controllers, _quota_of_version_1
        else:
            continue
        place = Path(group.lstrip("/"))
        # a container may see the whole path or only its end, so every folder up to the root is read
        quotas += [read(folder / part) for part in (place, *place.parents)]
    return [quota for quota in quotas if quota > 0]


def _quota(folder: Path) -> float:
    """Return the processors that `cpu.max` of a group allows, 0 if there is no limit or no such group."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # "max" is no number
        return 0.0


def _quota_of_version_1(folder: Path) -> float:
    """Return the same from the files of version 1, in which -1 means no limit."""
    try:
        quota, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii")) for name in ("quota", "period")
        )
    except (OSError, ValueError):
        return 0.0
    return max(quota / period, 0.0)
