"""Reading the record of a trained fold, run.json. Standard library only (read at each parse)."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.errors import ModelError

# of run.json and model.pt. 1 held ids of scans and described a model in run.json alone; 2 had other words and did not
# name the structures
MODEL_FORMAT = 3
SEGMENT, REGRESS = "segment", "regress"  # what a network learns (key `task`)
_TAKES_OF_2 = {"all": {}, "male": {"sex": "M"}, "female": {"sex": "F"}}
# what all models were trained for before they named it
_FIRST_STRUCTURES = ["femur"]
_FIRST_BIAS_FIELD = {"method": "none"}
_FIRST_VIEW = {"anatomy": "proximal-femur", "slice_axis": "z"}
_WORDS_OF_2 = {"cohort": "group", "model": "network", "network": "architecture"}


def in_todays_words(metadata: Mapping) -> dict:
    """Return the metadata of a model, those of format 2 as format 3 writes them; any other format as it is."""
    metadata = _FIRST_VIEW | _with_todays_preprocessing(_with_todays_intensity(metadata))
    if metadata.get("format") == 2:
        takes = _TAKES_OF_2.get(metadata.get("cohort"), {})
        metadata = {_WORDS_OF_2.get(key, key): value for key, value in metadata.items()}
        if isinstance(configured := metadata.get("configured"), Mapping):
            metadata["configured"] = {_WORDS_OF_2.get(key, key): value for key, value in configured.items()}
        metadata |= {"format": MODEL_FORMAT, "takes": takes}
    return _with_todays_structures(metadata)


def _with_todays_structures(metadata: Mapping) -> dict:
    """Return metadata that name their structures, without the former key `classes` of the network as configured."""
    configured = metadata.get("configured")
    if isinstance(configured, Mapping) and isinstance(entry := configured.get("architecture"), Mapping):
        entry = {key: value for key, value in entry.items() if key != "classes"}
        metadata = {**metadata, "configured": {**configured, "architecture": entry}}
    return {"task": SEGMENT, "structures": _FIRST_STRUCTURES, **metadata}


def _with_todays_intensity(metadata: Mapping) -> dict:
    """Return metadata in which `low_hu` and `high_hu` of every section `intensity` are `low` and `high`."""
    found = {
        key: _with_todays_intensity(value) if key in ("configured", "preprocessing") else value
        for key, value in metadata.items()
    }
    if isinstance(old := found.get("intensity"), Mapping) and "low_hu" in old:
        found["intensity"] = {"scale": "range", "low": old["low_hu"], "high": old["high_hu"]}
    return found


def _with_todays_preprocessing(metadata: Mapping) -> dict:
    """Return metadata whose preprocessing names `bias_field`, and the crop by `method` and `size`, not `size_xy`."""
    preprocessing = metadata.get("preprocessing")
    if not isinstance(preprocessing, Mapping):
        return dict(metadata)
    preprocessing = {"bias_field": _FIRST_BIAS_FIELD, **preprocessing}
    if "size_xy" in preprocessing.get("crop", {}):
        preprocessing["crop"] = {"method": "hip", "size": preprocessing["crop"]["size_xy"]}
    return {**metadata, "preprocessing": preprocessing}


def require_target(model: Mapping, columns: Mapping[str, str], crop: Mapping, *, where: str) -> None:
    """Check that a regression model estimates the columns of a study, from crops like the study's.

    Args:
        model: its metadata.
        columns: column of the cohort table by structure (`regression.targets`).
        crop: the study's section `regression.crop`.
        where: the model in messages.

    Raises:
        ModelError: it estimates other columns, or was trained on crops made with other settings.
    """
    offered, advice = model["target"]["columns"], "nothing was run"
    for structure, column in columns.items():
        if offered.get(structure) != column:
            learned = offered.get(structure)
            told = f"learned {learned} for it" if learned else f"learned {', '.join(offered)} only"
            raise ModelError(
                f"{where}: regression.targets asks for {column} of {structure}, and the model {told}; {advice}. "
                "Values of two scales are not the same: use the overlay that the model was trained with, or train "
                "again with --config retrain=true"
            )
    for key, value in json.loads(json.dumps(crop)).items():
        then = json.loads(json.dumps(model["crop"])).get(key)
        if key != "masks" and then != value:
            raise ModelError(
                f"{where}: regression.crop.{key} was {then!r} when the model was trained, and is {value!r}; "
                f"{advice}. Use the overlay that it was trained with, or train again with --config retrain=true"
            )


def fold_name(run: Mapping) -> str:
    """Return the name of a trained fold in notes, such as "all/vnet fold 0"."""
    return f"{run['group']}/{run['network']} fold {run['fold']}"


def read_run(path: str | Path) -> dict:
    """Read the record of a trained fold; raise ValueError where it is no JSON object."""
    run = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(run, dict):
        raise ValueError(f"{Path(path).name} holds no JSON object")
    return in_todays_words(run)


def training_spacings(paths: Iterable[str | Path]) -> list[dict[str, list[float]]]:
    """Return `spacing_mm_zyx` of the folds' run.json that state it: median, smallest and largest voxel edges, mm."""
    runs = (read_run(path) for path in paths)
    return [run["spacing_mm_zyx"] for run in runs if "spacing_mm_zyx" in run]


def model_digests(folder: str | Path) -> dict[str, str]:
    """Return a digest of each trained fold in a folder of `fold-*`, by `{group}/{network}/fold-{fold}`.

    The digest is that of run.json, which is written once, after the training. It does not depend on the path.
    """
    digests = {}
    for path in sorted(Path(folder).glob("fold-*/run.json")):
        run = read_run(path)
        name = f"{run['group']}/{run['network']}/{path.parent.name}"
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return digests
