"""Sentences that stand at the top of the report: what a reader must know before any number."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping


def missing_notes(flow: Iterable[Mapping[str, str]], *, partial: bool) -> list[str]:
    """Say which accepted scans did not come through.

    Args:
        flow: the records of `tables/flow.csv`.
        partial: the report was asked for from what is there.
    """
    flow = list(flow)
    lost = [
        record
        for record in flow
        if record["verdict"] == "missing"
        or (record["verdict"] == "ok" and record["stage"] not in ("scored", "predicted"))
        or (record["verdict"] == "ok" and record["stage"] == "predicted" and record["has_mask"] == "1")
    ]
    if not lost and not partial:
        return []
    head = (
        "This report was made from what is there (partial=true)" if partial else "This report is not complete"
    )
    if not lost:
        return [f"{head}; every accepted scan is in it."]
    stages = Counter(record["reason"] for record in lost)
    counts = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(stages.items()))
    names = ", ".join(record["scan"] for record in lost[:10]) + (", …" if len(lost) > 10 else "")
    return [f"{head}: {len(lost)} of {len(flow)} scans are missing from its numbers ({counts}): {names}."]


def model_notes(changes: Mapping[str, Iterable[str]]) -> list[str]:
    """Say which trained folds are older than the study, one sentence for each kind of change.

    Args:
        changes: what changed since a fold was trained, in words, by the fold's name.
    """
    folds = defaultdict(list)
    for fold, found in changes.items():
        for change in found:
            folds[change].append(fold)
    return [
        f"Models are older than this study ({_names(names, len(changes))}): {change}. "
        "They were not trained again; --config retrain=true does it."
        for change, names in folds.items()
    ]


def leaks_of(run: Mapping, held_out: Collection[str]) -> list[str]:
    """Say that a fold is scored on scans it was trained on, if it is (test people or folds were drawn anew)."""
    leaked = set(run["training"]) & set(held_out)
    if not leaked:
        return []
    return [f"it was trained on {len(leaked)} scans that it is scored on, SO THE SCORES ARE NOT VALID"]


def overlap_notes(runs: Iterable[Mapping], scans: Collection[str]) -> list[str]:
    """Warn where scans carry ids that finished models were trained on."""
    known = {scan for run in runs for scan in (*run["training"], *run["validation"])} & set(scans)
    if not known:
        return []
    return [
        f"{len(known)} scans have ids that the finished models were trained on. If they are the same people, their "
        "scores are not those of new people: set `exclude` for them, or give other people other ids."
    ]


def _names(names: list[str], total: int) -> str:
    return "all folds" if len(names) == total else ", ".join(names)
