"""Processors that others use too: how many threads a process may have, and how they wait.

Standard library only: the waiting has to be settled before torch is loaded.
"""

import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# Rounds that a thread of torch's OpenMP (libgomp) looks for work before it sleeps. The default, 300,000 or some
# milliseconds, keeps a processor from whoever the thread waits for; no waiting at all costs each of a thousand waits
# of an update the time to wake up. See bench/README.md, "Beside other work".
SPINS = "20000"
# what cluster systems say of the processors of a job, the first of each group that is set
CLUSTER_VARIABLES = (
    ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    ("NSLOTS",),  # Grid Engine
    ("NCPUS",),  # PBS
    ("LSB_DJOB_NUMPROC",),  # LSF
)


def share_processors(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait give their processor away soon; a choice that the user has made is kept.

    It has an effect on what is loaded later: call it before torch is imported.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment):
        environment["GOMP_SPINCOUNT"] = SPINS


def usable_processors(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return how many processors this process may keep busy, at least 1.

    That is the least of: the processors it may run on (affinity), the share of time that its control group has
    (`docker --cpus`, for example), and what the cluster gave its job.

    Args:
        environment: variables of the process.
        root: folder in which `proc` and `sys` lie.
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
    """Return the processors that each control group of this process allows; nothing where there is no limit."""
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
        # a container may see the whole path or its own end alone, so every folder up to the root is asked
        quotas += [read(folder / part) for part in (place, *place.parents)]
    return [quota for quota in quotas if quota > 0]


def _quota(folder: Path) -> float:
    """Return the processors that `cpu.max` of a group allows, 0 where there is no limit or no such group."""
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # "max" is no number
        return 0.0


def _quota_of_version_1(folder: Path) -> float:
    """Return the same from the files of version 1, where -1 is no limit."""
    try:
        quota, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii")) for name in ("quota", "period")
        )
    except (OSError, ValueError):
        return 0.0
    return max(quota / period, 0.0)
