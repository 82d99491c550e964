"""How many jobs each rule has, while the run adds jobs.

Snakemake 9.27 tells the jobs of each rule once, before the run; of the jobs that checkpoints add it tells only the
new total. They are counted in its graph, in the thread that has just changed it: a filter of Snakemake's logger is
called there, by the methods that announce jobs and progress. If Snakemake changes these methods, nothing is counted,
and a stage that a checkpoint adds is announced without the number of its jobs.
"""

import logging
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from types import FrameType
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

_ANNOUNCING = (LogEvent.RUN_INFO, LogEvent.JOB_STARTED, LogEvent.PROGRESS)
_DEPTH = 15  # frames between the filter and the method that logs


@dataclass(frozen=True, kw_only=True)
class JobCounts:
    """The jobs of a run: in all, by rule, and whether a checkpoint will add others."""

    total: int
    by_rule: dict[str, int]
    grows: bool


class JobCounter(logging.Filter):
    """Attaches `job_counts` to records that announce jobs, whenever the number of jobs has changed."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[int, bool] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every record on."""
        if getattr(record, "event", None) in _ANNOUNCING:
            try:
                record.job_counts = self._count(_graph_of(sys._getframe()))
            except (AttributeError, TypeError, RuntimeError):
                record.job_counts = None
        return True

    def _count(self, graph: Any) -> JobCounts | None:
        if graph is None:
            return None
        now = (len(graph), bool(graph.checkpoint_jobs))
        if now == self._last:
            return None
        jobs = chain(graph.needrun_jobs(), graph.finished_jobs)
        by_rule = dict(Counter(job.rule.name for job in jobs))
        self._last = now
        return JobCounts(total=now[0], by_rule=by_rule, grows=now[1])


def _graph_of(frame: FrameType | None) -> Any:
    """Return the graph of jobs of the Snakemake object among whose methods a frame is; None if there is none."""
    for _ in range(_DEPTH):
        if frame is None:
            return None
        caller = frame.f_locals.get("self")
        graph = getattr(getattr(caller, "workflow", caller), "dag", None)
        if graph is not None:
            return graph
        frame = frame.f_back
    return None
