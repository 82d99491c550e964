"""The metadata of finished models, from their run.json. Standard library only, because each parse reads it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lib.errors import ModelError
from lib.model_record import MODEL_FORMAT, fold_name, read_run
from lib.provenance import describe_software
from lib.pseudonyms import pseudonyms
from lib.seeding import fold_seed

# keys of `train` that say where and how a training runs, not what it computes
RUNTIME_KEYS = ("device", "device_cache_gb", "host_cache_gb", "checkpoint_minutes")


@dataclass(frozen=True, kw_only=True)
class FinishedModels:
    """The trained folds of one network for one group, and the structures they find, in the order of their labels.

    `window_slices` is the number of slices of a window; of the shortest, if it differs between folds.
    """

    group: str
    takes: Mapping[str, str]
    network: str
    structures: tuple[str, ...]
    folds: tuple[int, ...]
    preprocessing: Mapping
    slice_axis: str
    window_slices: int


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a study's folds are trained with, apart from their scans.

    Attributes:
        configured: by network, the sections `architecture`, `train` and `intensity` as in the configuration.
        code: digest of the training code.
        seed: of the study.
    """

    configured: Mapping[str, Mapping[str, Mapping]]
    code: str
    seed: int


def describe_fold(facts: Mapping, *, people: Mapping, crops: Iterable[Mapping], folds_sha256: str) -> dict:
    """Return the metadata of a trained fold: the content of run.json, and of model.pt beside its weights.

    Args:
        facts: of the training (`TrainedFold.facts`), and what the study states about the fold: group, takes, network,
            fold, synthetic, anatomy, modality, preprocessing, configured (architecture, train and intensity as in the
            configuration).
        people: the people it was trained and validated on, without ids
            (`lib.cohort.trained_people.describe_people`); this replaces the ids in `facts`.
        crops: content of crop.json of each training scan.
        folds_sha256: of the bytes of folds.csv.

    Returns:
        Plain values, without paths and without ids of people or scans.
    """
    return {
        "format": MODEL_FORMAT,
        **facts,
        **people,
        "window_slices": facts["train"]["window_slices"],
        "spacing_mm_zyx": _spread_zyx(crop["spacing_mm_xyz"] for crop in crops),
        "folds_sha256": folds_sha256,
        "software": describe_software(),
    }


def read_finished(folder: str | Path) -> FinishedModels:
    """Read the metadata of the models in a folder with `fold-*/model.pt` and `fold-*/run.json`.

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
        shared = ("preprocessing", "architecture", "structures", "slice_axis")
        if any(run[key] != first[key] for key in shared):
            raise ModelError(
                f"{folder}: fold-{fold} was trained on different input from the first fold; "
                "take all folds from one study"
            )
    return FinishedModels(
        group=first["group"],
        takes=first["takes"],
        network=first["network"],
        structures=tuple(first["structures"]),
        folds=tuple(sorted(runs)),
        preprocessing=first["preprocessing"],
        slice_axis=first["slice_axis"],
        window_slices=min(run["window_slices"] for run in runs.values()),
    )


def check_preprocessing(models: FinishedModels, preprocessing: Mapping, slice_axis: str, where: str) -> None:
    """Check that models were trained on images prepared with `preprocessing`, with slices along `slice_axis`.

    With the slice axis `acquired`, that of each scan is compared when it has been screened.

    Raises:
        ModelError: they were not; the message names each setting that differs.
    """
    wanted, offered = flat(models.preprocessing), flat(preprocessing)
    if slice_axis != "acquired":
        wanted["model_frame.slice_axis"], offered["model_frame.slice_axis"] = models.slice_axis, slice_axis
    differing = [
        f"  {key}: the models need {wanted.get(key)!r}, the configuration has {offered.get(key)!r}"
        for key in sorted(wanted | offered)
        if wanted.get(key) != offered.get(key)
    ]
    if differing:
        lines = "\n".join(differing)
        raise ModelError(
            f"the models in {where} were trained on different input; nothing was run.\n{lines}\n"
            "Use the overlay (--configfile) that they were trained with, or train again with --config retrain=true"
        )


def check_structures(models: FinishedModels, structures: Iterable[str], where: str) -> None:
    """Check that models find the structures of a study, in the same order.

    Raises:
        ModelError: they do not.
    """
    offered = tuple(structures)
    if models.structures != offered:
        raise ModelError(
            f"the models in {where} find {', '.join(models.structures)}, in this order, and the configuration has "
            f"structures {', '.join(offered)}; nothing was run. Use the overlay (--configfile) that they were "
            "trained with, or train again with --config retrain=true"
        )


def changes_of_folds(
    models: Iterable[tuple[Mapping, bytes | None]],
    today: TrainingPlan,
    scans: Callable[[str, int], Iterable[str]],
) -> dict[str, list[str]]:
    """Return the changes since each fold was trained, as text, by the fold's name.

    Args:
        models: content of each fold's run.json, and the secret of its pseudonyms (see `changes_since`).
        today: what the folds would be trained with today.
        scans: returns the scans that a fold of a group would be trained on today.
    """
    changes = {}
    for run, secret in models:
        group, network, fold = run["group"], run["network"], run["fold"]
        changes[fold_name(run)] = found = changes_since(
            run,
            configured=today.configured[network],
            code=today.code,
            training=scans(group, fold),
            secret=secret,
        )
        if run["seed"] != fold_seed(today.seed, group, fold):
            found.append("the seed has changed")
    return changes


def changes_since(
    run: Mapping,
    *,
    configured: Mapping[str, Mapping],
    code: str,
    training: Iterable[str],
    secret: bytes | None,
) -> list[str]:
    """Return the changes since a fold was trained, as text; empty if nothing has changed.

    Args:
        run: content of the fold's run.json.
        configured: today's sections `architecture` (an entry of `networks`), `train` and `intensity`, as in the
            configuration.
        code: today's digest of the training code.
        training: scans that this fold would be trained on today.
        secret: the one that the fold's pseudonyms were made with; None if it is not available.
    """
    then, now = flat(run["configured"]), flat(json.loads(json.dumps(configured)))
    runtime = {f"train.{key}" for key in RUNTIME_KEYS}
    keys = [key for key in sorted((then | now).keys() - runtime) if then.get(key) != now.get(key)]
    changes = [f"{key} was {then.get(key)!r}, is {now.get(key)!r}" for key in keys]
    if run["code"] != code:
        changes.append("the code that trains has changed")
    if secret is None:
        return [
            *changes,
            "its training people cannot be compared with today's people, because its pseudonyms were made "
            "with another secret than this study's study.secret",
        ]
    return changes + _changed_scans(set(run["training"]), set(pseudonyms(training, secret)))


def _changed_scans(then: set[str], now: set[str]) -> list[str]:
    changes = []
    if then - now:
        changes.append(f"{len(then - now)} of its training scans would not be used today")
    if now - then:
        changes.append(f"{len(now - then)} scans would be used today that were not used then")
    return changes


def _spread_zyx(spacings_mm_xyz: Iterable[Sequence[float]]) -> dict[str, list[float]]:
    """Return median, smallest and largest spacing along each axis, mm."""
    axes_zyx = list(zip(*spacings_mm_xyz, strict=True))[::-1]
    measures = {"median": median, "smallest": min, "largest": max}
    return {name: [round(measure(axis), 4) for axis in axes_zyx] for name, measure in measures.items()}


def _read_run(path: Path) -> dict:
    try:
        run = read_run(path)
        written = run.get("format", 1)
        if written == MODEL_FORMAT:
            keys = ("group", "takes", "network", "structures", "architecture", "preprocessing")
            keys += ("slice_axis", "window_slices")
            return {key: run[key] for key in keys}
    except (ValueError, KeyError, AttributeError):
        raise ModelError(
            f"{path} is damaged; copy the model's folder again or train the fold again"
        ) from None
    raise ModelError(other_format(str(path), written))


def other_format(name: str, written: object) -> str:
    """Return the message for a model whose format is not MODEL_FORMAT."""
    age = "a newer" if isinstance(written, int) and written > MODEL_FORMAT else "an older"
    return (
        f"{name} is of format {written!r}, written by {age} Osteoflow; this one reads formats 2 and {MODEL_FORMAT}. "
        "Use the models with the Osteoflow that wrote them, or train again with --config retrain=true"
    )


def flat(settings: Mapping, prefix: str = "") -> dict:
    """Return nested settings in one level, e.g. {"augment.gamma": [0.7, 1.5]}."""
    level = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            level |= flat(value, f"{prefix}{key}.")
        else:
            level[prefix + key] = value
    return level
