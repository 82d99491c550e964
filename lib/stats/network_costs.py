"""What networks cost: parameters, updates, seconds and memory, from the records of trainings and benchmarks."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from lib.stats.undefined import NAN

COST_COLUMNS = ("parameters", "updates", "train_seconds", "peak_memory_mb")


def training_costs(runs: Iterable[Mapping]) -> dict[tuple[str, str], dict[str, float]]:
    """Return COST_COLUMNS by group and network, from the records of the trained folds (run.json).

    Updates and seconds are means per fold, the memory is that of the fold that took most. A number that a record
    lacks is NaN.
    """
    folds: dict[tuple[str, str], list[Mapping]] = {}
    for run in runs:
        folds.setdefault((run["group"], run["network"]), []).append(run)
    return {
        trained: {
            "parameters": _over(records, "parameters", max),
            "updates": _over(records, "updates", mean),
            "train_seconds": _over(records, "seconds", mean),
            "peak_memory_mb": _over(records, "peak_memory_mb", max),
        }
        for trained, records in folds.items()
    }


def prediction_seconds(
    batches: Mapping[str, int], benchmarks: str | Path
) -> dict[tuple[str, str, str], float]:
    """Return the seconds of a prediction of one scan, by group, network and members.

    Args:
        batches: number of scans of each batch, by `{group}/{network}/{members}/batch-{b}`.
        benchmarks: folder of the rule's benchmarks, `{batch}.tsv` with a column `s` (wall time of the whole job, its
            start-up and reading included). A batch without a benchmark is left out.
    """
    found: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for batch, scans in batches.items():
        path = Path(benchmarks, f"{batch}.tsv")
        if path.exists():
            with open(path, newline="", encoding="utf-8") as file:
                seconds = float(list(csv.DictReader(file, delimiter="\t"))[-1]["s"])
            group, network, members, _ = batch.split("/")
            found.setdefault((group, network, members), []).append((seconds, scans))
    return {
        models: sum(seconds for seconds, _ in jobs) / sum(scans for _, scans in jobs)
        for models, jobs in found.items()
    }


def _over(records: Sequence[Mapping], name: str, summarize: Callable) -> float:
    """Return a number summarized over folds; NaN where a record lacks it."""
    values = [record.get(name) for record in records]
    return NAN if any(value is None for value in values) else float(summarize(values))
