"""What networks cost: parameters, updates, seconds and memory, from the records of trainings and predictions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from lib.atomic import read_json
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


def prediction_seconds(batches: Iterable[str | Path]) -> dict[tuple[str, str, str], float]:
    """Return the mean seconds of a prediction of one scan, by group, network and members.

    Args:
        batches: folders `.../{group}/{network}/{members}/batch-{b}` with a `timing.json`, whose `predict_seconds` are
            the seconds of each scan from the cropped image to the map. A batch without it is left out.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for path in (Path(batch, "timing.json") for batch in batches):
        if path.exists():
            group, network, members = path.parts[-5:-2]
            found.setdefault((group, network, members), []).extend(
                read_json(path)["predict_seconds"].values()
            )
    return {models: mean(seconds) for models, seconds in found.items() if seconds}


def _over(records: Sequence[Mapping], name: str, summarize: Callable) -> float:
    """Return a number summarized over folds; NaN where a record lacks it."""
    values = [record.get(name) for record in records]
    return NAN if any(value is None for value in values) else float(summarize(values))
