"""Finished models seen from outside: what their run.json says. Standard library only (read at each parse)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.errors import ModelError

# where and how a training runs, not what it computes
RUNTIME_KEYS = ("device", "device_cache_gb", "checkpoint_minutes")


@dataclass(frozen=True, kw_only=True)
class FinishedModels:
    """The trained folds of one network for one cohort."""

    cohort: str
    model: str
    folds: tuple[int, ...]
    preprocessing: Mapping


def read_finished(folder: str | Path) -> FinishedModels:
    """Read what a folder with `fold-*/model.pt` and `fold-*/run.json` holds.

    Raises:
        ModelError: the folder holds no finished fold, or its folds were made with different settings.
    """
    runs = {
        int(path.parent.name[5:]): _read_run(path) for path in sorted(Path(folder).glob("fold-*/run.json"))
    }
    runs = {fold: run for fold, run in runs.items() if Path(folder, f"fold-{fold}", "model.pt").exists()}
    if not runs:
        raise ModelError(
            f"{folder} holds no finished model: expected fold-0/model.pt and fold-0/run.json in it; "
            "give a folder like results/models/all/vnet of a study that has ended"
        )
    first = next(iter(runs.values()))
    for fold, run in runs.items():
        if run["preprocessing"] != first["preprocessing"] or run["model"] != first["model"]:
            raise ModelError(
                f"{folder}: fold-{fold} was trained on other input than the first fold; "
                "take all folds from one study"
            )
    return FinishedModels(
        cohort=first["cohort"],
        model=first["model"],
        folds=tuple(sorted(runs)),
        preprocessing=first["preprocessing"],
    )


def check_preprocessing(models: FinishedModels, preprocessing: Mapping, where: str) -> None:
    """Return if models were trained on images made as `preprocessing` says.

    Raises:
        ModelError: they were not; the text names each setting that differs.
    """
    wanted, offered = _flat(models.preprocessing), _flat(preprocessing)
    differing = [
        f"  {key}: the models need {wanted.get(key)!r}, the configuration has {offered.get(key)!r}"
        for key in sorted(wanted | offered)
        if wanted.get(key) != offered.get(key)
    ]
    if differing:
        lines = "\n".join(differing)
        raise ModelError(
            f"the models in {where} were trained on other input; nothing was run.\n{lines}\n"
            "Use the same overlay (--configfile) as their training did, or train again with --config retrain=true"
        )


def changes_since(
    run: Mapping, *, settings: Mapping[str, Mapping], code: str, training: Iterable[str]
) -> list[str]:
    """Return in words what is no longer as it was when a fold was trained; empty if nothing changed.

    Args:
        run: content of the fold's run.json.
        settings: today's sections `network`, `train` and `intensity`.
        code: today's digest of the training code.
        training: scans that would train this fold today.
    """
    changes = []
    for section, today in settings.items():
        then, now = _flat(run[section]), _flat(json.loads(json.dumps(today)))
        keys = [
            key for key in sorted(then | now) if key not in RUNTIME_KEYS and then.get(key) != now.get(key)
        ]
        changes += [f"{section}.{key} was {then.get(key)!r}, is {now.get(key)!r}" for key in keys]
    if run["code"] != code:
        changes.append("the code that trains has changed")
    gone, new = set(run["training"]) - set(training), set(training) - set(run["training"])
    if gone:
        changes.append(f"{len(gone)} of the scans that trained it would not train it today")
    if new:
        changes.append(f"{len(new)} scans that could train it have come since")
    return changes


def _read_run(path: Path) -> dict:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        return {key: run[key] for key in ("cohort", "model", "preprocessing")}
    except (ValueError, KeyError):
        raise ModelError(
            f"{path} is damaged; copy the model's folder again or train the fold again"
        ) from None


def _flat(settings: Mapping, prefix: str = "") -> dict:
    flat = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
