"""Sentences that stand at the top of the report: what a reader must know before any number."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from lib.pseudonyms import pseudonym, pseudonyms


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


def leaks_of(run: Mapping, held_out: Iterable[str], secret: bytes | None) -> list[str]:
    """Say that a fold is scored on people it was trained on, if it is (test people or folds were drawn anew).

    Args:
        run: content of the fold's run.json.
        held_out: people whom the fold is scored on as new ones.
        secret: with which the fold's pseudonyms were made; None: nobody can be recognised.
    """
    if secret is None:
        return []
    leaked = set(pseudonyms(held_out, secret)) & set(run["people"]["training"]["pseudonyms"])
    if not leaked:
        return []
    return [f"it was trained on {len(leaked)} people that it is scored on, SO THE SCORES ARE NOT VALID"]


def overlap_notes(models: Sequence[tuple[Mapping, bytes | None]], subjects: Collection[str]) -> list[str]:
    """Warn where people carry ids that finished models were trained or validated with.

    Args:
        models: of each fold the content of run.json, and the secret of its study (None: not at hand).
        subjects: people of this study.
    """
    if any(secret is None for _, secret in models):
        return [
            "Whether people of this study trained the finished models cannot be told: the study.secret of "
            "the study that trained them is not at hand. Make sure that they did not."
        ]
    known = set()
    for run, secret in models:
        people = {name for group in run["people"].values() for name in group["pseudonyms"]}
        known |= {subject for subject in subjects if pseudonym(subject, secret) in people}
    if not known:
        return []
    return [
        f"{len(known)} people have ids that the finished models were trained or validated with. If they are the same "
        "people, their scores are not those of new people: set `exclude` for them, or give other people other ids."
    ]


def _names(names: list[str], total: int) -> str:
    return "all folds" if len(names) == total else ", ".join(names)
