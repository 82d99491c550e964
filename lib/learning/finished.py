"""The metadata of finished models, from their run.json. Standard library only, because each parse reads it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lib.errors import ModelError
from lib.model_record import MODEL_FORMAT, REGRESS, SEGMENT, fold_name, read_run, require_target
from lib.provenance import describe_software, versions
from lib.pseudonyms import pseudonyms
from lib.seeding import fold_seed

# keys of `train` that say where and how a training runs, not what it computes
RUNTIME_KEYS = ("device", "device_cache_gb", "host_cache_gb", "checkpoint_minutes")
# of a fold's metadata: what is read at each parse, and what all folds of a network share
_OF_ALL = ("group", "takes", "network", "structures", "architecture", "preprocessing")
_NEEDED = {
    SEGMENT: (*_OF_ALL, "slice_axis", "window_slices"),
    REGRESS: (*_OF_ALL, "crop", "target", "synthetic"),
}
_SHARED = {
    SEGMENT: ("preprocessing", "architecture", "structures", "slice_axis"),
    REGRESS: ("preprocessing", "architecture", "structures", "crop"),
}
_NOTHING = (
    "{folder} holds no finished model: expected fold-0/model.pt and fold-0/run.json in it; "
    "give a folder like results/models/all/vnet of a study that has ended"
)


@dataclass(frozen=True, kw_only=True)
class FinishedModels:
    """The trained folds of one network for one group, and the structures they find, in the order of their labels.

    `folder` holds them.
    `window_slices` is the number of slices of a window; of the shortest, if it differs between folds.
    """

    folder: str
    group: str
    takes: Mapping[str, str]
    network: str
    structures: tuple[str, ...]
    folds: tuple[int, ...]
    preprocessing: Mapping
    slice_axis: str
    window_slices: int


@dataclass(frozen=True, kw_only=True)
class FinishedRegression:
    """The trained folds of one regression network for one group; `runs` are their metadata, by fold."""

    folder: str
    group: str
    network: str
    folds: tuple[int, ...]
    runs: Mapping[int, Mapping]

    @property
    def is_of_synthetic_people(self) -> bool:
        """Whether any fold learned the densities of synthetic people."""
        return any(run["synthetic"] for run in self.runs.values())

    def require(self, columns: Mapping[str, str], crop: Mapping) -> None:
        """Check that all folds estimate these columns (by structure) from crops made with these settings.

        Raises:
            ModelError: one does not.
        """
        for fold, run in self.runs.items():
            require_target(run, columns, crop, where=f"{self.folder}, fold-{fold}")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a study's folds are trained with, apart from their scans.

    Attributes:
        configured: by network, the sections that shape its training (`architecture`, `train`, `intensity`; of a
            regression `crop` and `targets`) as in the configuration.
        codes: digest of the training code, by task.
        seed: of the study.
    """

    configured: Mapping[str, Mapping[str, Mapping]]
    codes: Mapping[str, str]
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


def describe_regression(facts: Mapping, *, people: Mapping, folds_sha256: str) -> dict:
    """Return the metadata of a trained fold of a regression; see `describe_fold`.

    Args:
        facts: of the training (`TrainedFold.facts`), and what the study states about the fold: as for
            `describe_fold`, and `segmentation`, the network whose masks crops are cut around.
        people: the people it was trained and validated on, without ids.
        folds_sha256: of the bytes of folds.csv.
    """
    software = describe_software() | versions(["monai"])
    return {
        "format": MODEL_FORMAT,
        **facts,
        **people,
        "folds_sha256": folds_sha256,
        "software": software,
    }


def folders_by_task(folder: str | Path) -> dict[str, Path]:
    """Return the folder of the models of each task.

    A folder of finished models holds the folds of one network (`fold-*`), as `results/models/all/vnet` does, or a
    folder for each of two networks, one that segments and one that regresses, as `results/models/all` does.

    Raises:
        ModelError: there is no finished fold, or there are several networks for one task.
    """
    places = [Path(folder)] if list(Path(folder).glob("fold-*/run.json")) else sorted(Path(folder).glob("*"))
    found: dict[str, Path] = {}
    for place in places:
        runs = sorted(place.glob("fold-*/run.json"))
        if not runs:
            continue
        task = _task_of(runs[0])
        if task in found:
            raise ModelError(
                f"{folder} holds several networks of the task {task} ({found[task].name}, {place.name}); give "
                "the folder of one of them, or copy one network of each task into a folder"
            )
        found[task] = place
    if not found:
        raise ModelError(_NOTHING.format(folder=folder))
    return found


def read_finished(folder: str | Path) -> FinishedModels:
    """Read the metadata of the segmentation models in a folder with `fold-*/model.pt` and `fold-*/run.json`.

    Raises:
        ModelError: the folder holds no finished fold, or its folds were made with different settings.
    """
    runs = _read_folds(folder, SEGMENT)
    first = next(iter(runs.values()))
    return FinishedModels(
        folder=str(folder),
        group=first["group"],
        takes=first["takes"],
        network=first["network"],
        structures=tuple(first["structures"]),
        folds=tuple(sorted(runs)),
        preprocessing=first["preprocessing"],
        slice_axis=first["slice_axis"],
        window_slices=min(run["window_slices"] for run in runs.values()),
    )


def read_finished_regression(folder: str | Path) -> FinishedRegression:
    """Read the metadata of the regression models in a folder with `fold-*/model.pt` and `fold-*/run.json`.

    Raises:
        ModelError: the folder holds no finished fold, or its folds were made with different settings.
    """
    runs = _read_folds(folder, REGRESS)
    first = next(iter(runs.values()))
    return FinishedRegression(
        folder=str(folder),
        group=first["group"],
        network=first["network"],
        folds=tuple(sorted(runs)),
        runs=runs,
    )


def _read_folds(folder: str | Path, task: str) -> dict[int, dict]:
    """Return the metadata of the finished folds of one task, by number."""
    runs = {
        int(path.parent.name[5:]): _read_run(path, task)
        for path in sorted(Path(folder).glob("fold-*/run.json"))
    }
    runs = {fold: run for fold, run in runs.items() if Path(folder, f"fold-{fold}", "model.pt").exists()}
    if not runs:
        raise ModelError(_NOTHING.format(folder=folder))
    first = next(iter(runs.values()))
    for fold, run in runs.items():
        if any(run[key] != first[key] for key in _SHARED[task]):
            raise ModelError(
                f"{folder}: fold-{fold} was trained on different input from the first fold; "
                "take all folds from one study"
            )
    return runs


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
    scans: Callable[[Mapping], Iterable[str]],
) -> dict[str, list[str]]:
    """Return the changes since each fold was trained, as text, by the fold's name.

    Args:
        models: content of each fold's run.json, and the secret of its pseudonyms (see `changes_since`).
        today: what the folds would be trained with today.
        scans: returns the scans that the fold of a run.json would be trained on today.
    """
    changes = {}
    for run, secret in models:
        group, network, fold = run["group"], run["network"], run["fold"]
        changes[fold_name(run)] = found = changes_since(
            run,
            configured=today.configured[network],
            code=today.codes[run.get("task", SEGMENT)],
            training=scans(run),
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
    # a scan without a crop was offered to the regression, too, and is no news
    offered = set(run["training"]) | set(run.get("without_crops", ()))
    return changes + _changed_scans(set(run["training"]), offered, set(pseudonyms(training, secret)))


def _changed_scans(then: set[str], offered: set[str], now: set[str]) -> list[str]:
    changes = []
    if gone := len(then - now):
        changes.append(f"{gone} of its training scans would not be used today")
    if new := len(now - offered):
        scans, were = ("scan", "was") if new == 1 else ("scans", "were")
        changes.append(f"{new} {scans} would be used today that {were} not used then")
    return changes


def _spread_zyx(spacings_mm_xyz: Iterable[Sequence[float]]) -> dict[str, list[float]]:
    """Return median, smallest and largest spacing along each axis, mm."""
    axes_zyx = list(zip(*spacings_mm_xyz, strict=True))[::-1]
    measures = {"median": median, "smallest": min, "largest": max}
    return {name: [round(measure(axis), 4) for axis in axes_zyx] for name, measure in measures.items()}


def _task_of(path: Path) -> str:
    """Return the task that a run.json names; `segment` if it cannot be read, whose reader then tells why."""
    try:
        return read_run(path)["task"]
    except (ValueError, KeyError, AttributeError):
        return SEGMENT


def _read_run(path: Path, task: str) -> dict:
    try:
        run = read_run(path)
        written = run.get("format", 1)
        if written == MODEL_FORMAT:
            if run["task"] != task:
                raise ModelError(other_task(str(path), run["task"], task))
            return {key: run[key] for key in _NEEDED[task]}
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


def other_task(name: str, found: str, wanted: str) -> str:
    """Return the message for a model that learned another task than the one it is needed for."""
    can = {SEGMENT: "finds structures", REGRESS: "estimates a number from crops"}
    return (
        f"{name} is a network that {can.get(found, f'learned {found!r}')} (task {found}); expected one that "
        f"{can[wanted]} (task {wanted}). Give the folder of the other network"
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
