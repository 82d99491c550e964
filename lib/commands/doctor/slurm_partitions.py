"""The partitions of a cluster and which jobs their nodes can run. Standard library only."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from lib.commands.planning.workflow import Request

FORMAT = "%P|%N|%l|%c|%m|%G|%T"  # of sinfo: partition, node, time limit, CPUs, MB, generic resources, state
AWAY = ("down", "drain", "fail", "maint", "unknown", "inval", "power_down")
_GPU = re.compile(r"\bgpu(?::[^:,(]+)?:(\d+)")


@dataclass(frozen=True)
class Node:
    """The resources of one node; `away`: it accepts no jobs now."""

    name: str
    cpus: int
    mem_mb: int
    gpus: int
    away: bool


@dataclass(frozen=True)
class Partition:
    """Nodes with a common time limit, minutes."""

    name: str
    is_default: bool
    limit_min: float
    nodes: tuple[Node, ...]


def read_partitions(text: str) -> dict[str, Partition]:
    """Return the partitions by name from the output of `sinfo --Node --noheader --format FORMAT`."""
    nodes: dict[str, list[Node]] = defaultdict(list)
    limits, default = {}, ""
    for line in filter(None, map(str.strip, text.splitlines())):
        partition, name, limit, cpus, mem_mb, gres, state = line.split("|")
        if partition.endswith("*"):
            partition = default = partition[:-1]
        gpus = sum(int(count) for count in _GPU.findall(gres))
        away = state.endswith("*") or any(word in state.lower() for word in AWAY)
        nodes[partition].append(Node(name, _whole(cpus), _whole(mem_mb), gpus, away))
        limits[partition] = limit_minutes(limit)
    return {
        name: Partition(name, name == default, limits[name], tuple(members))
        for name, members in nodes.items()
    }


def limit_minutes(text: str) -> float:
    """Return a time limit of SLURM (`3-12:00:00`, `1:00:00`, `30:00`, `infinite`) in minutes."""
    if not re.fullmatch(r"[\d:-]+", text):
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def unmet(request: Request, partition: Partition) -> list[str]:
    """Return in words why no node of a partition can ever run a job; nothing if one can."""
    asked = {"CPUs": request.threads, "MB of memory": request.mem_mb, "GPUs": request.gpus}
    reasons = []
    if request.runtime_min > partition.limit_min:
        reasons.append(f"{request.runtime_min} minutes are requested, the limit is {partition.limit_min:.0f}")
    offers = [_offered(node) for node in partition.nodes]
    for what, count in asked.items():
        most = max(offer[what] for offer in offers)
        if count > most:
            reasons.append(f"{count} {what} are requested, the largest node has {most or 'none'}")
    if not reasons and not takers(request, partition):
        reasons.append(
            "no single node has all of " + ", ".join(f"{count} {what}" for what, count in asked.items())
        )
    return reasons


def takers(request: Request, partition: Partition) -> list[Node]:
    """Return the nodes that are large enough for a job."""
    return [
        node
        for node in partition.nodes
        if node.cpus >= request.threads and node.mem_mb >= request.mem_mb and node.gpus >= request.gpus
    ]


def partition_text(partition: Partition) -> str:
    """Return a partition in one line."""
    kinds: dict[tuple, int] = defaultdict(int)
    for node in partition.nodes:
        kinds[node.cpus, node.mem_mb, node.gpus] += 1
    described = "; ".join(
        f"{count} x {cpus} CPUs, {mem_mb} MB, {gpus or 'no'} GPUs"
        for (cpus, mem_mb, gpus), count in kinds.items()
    )
    limit = (
        "no time limit" if math.isinf(partition.limit_min) else f"at most {partition.limit_min:.0f} minutes"
    )
    away = sum(node.away for node in partition.nodes)
    return (
        f"partition {partition.name}{' (the default)' if partition.is_default else ''}: {described}; {limit}"
        + (f"; {away} nodes accept no jobs now" if away else "")
    )


def default_of(partitions: Mapping[str, Partition]) -> str:
    """Return the name of the default partition; empty if there is none."""
    return next((name for name, partition in partitions.items() if partition.is_default), "")


def has_gpus(partition: Partition) -> bool:
    """Return whether a node of a partition has a GPU."""
    return any(node.gpus for node in partition.nodes)


def _offered(node: Node) -> dict[str, int]:
    return {"CPUs": node.cpus, "MB of memory": node.mem_mb, "GPUs": node.gpus}


def _whole(text: str) -> int:
    """Return a count from sinfo, which ends in + if nodes differ."""
    return int(text.rstrip("+"))
