"""Files of a fold: the finished model, and the state of an unfinished training."""

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.atomic import whole_file
from lib.errors import ModelError
from lib.learning.finished import other_format, other_task
from lib.model_record import MODEL_FORMAT, REGRESS, SEGMENT, in_todays_words

# prediction needs these; all other keys describe the model
_KEYS = {"task", "architecture", "structures", "preprocessing", "last", "best", "best_epoch"}
MODEL_KEYS = {
    SEGMENT: frozenset(_KEYS | {"intensity", "window_slices", "slice_axis", "best_validation_dice"}),
    REGRESS: frozenset(_KEYS | {"crop", "target", "best_validation_rmse"}),
}
_SHAPE_KEYS = {"architecture", "network"}  # every format so far has one of them
_PLAIN = (type(None), bool, int, float, str, Tensor)
_DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)
_ZIP_START = b"PK\x03\x04"  # torch.save writes a zip archive

logger = logging.getLogger("osteoflow.learning")


def weights_on_host(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's weights in host memory."""
    return {
        name: weight.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, weight in network.state_dict().items()
    }


def write_model(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a finished model, whole or not at all.

    Args:
        path: of model.pt.
        content: the keys MODEL_KEYS of its task, and the metadata that describes the model
            (`lib.learning.finished`), so that the file can be understood alone.

    It holds tensors and plain values only, so that it can be read without unpickling objects.
    """
    if content.get("task") not in MODEL_KEYS:
        raise ValueError(f"a model has the key task: {' or '.join(MODEL_KEYS)}; got {content.get('task')!r}")
    keys = MODEL_KEYS[content["task"]]
    if missing := keys - content.keys():
        raise ValueError(f"a model has the keys {sorted(keys)}; missing: {sorted(missing)}")
    _require_plain(content, "model")
    _write(path, {**content, "format": MODEL_FORMAT})


def read_model(path: str | Path, task: str = SEGMENT) -> dict[str, Any]:
    """Read a model of a task written by `write_model`, into host memory.

    Returns:
        The content: MODEL_KEYS of the task, `format` and the metadata; a file of format 2 is returned with the keys
        of format 3.

    Raises:
        ModelError: the file does not exist, is damaged, has another format or task, was written by other software, or
            holds anything but tensors and plain values. No code in such a file is executed.
    """
    name = _short(path)
    if not Path(path).is_file():
        raise ModelError(f"{name}: no such model; train it, or correct the setting `model`")
    _require_whole_archive(Path(path), name)
    content = _read_plain(path, name)
    if not isinstance(content, dict) or not ("format" in content and content.keys() & _SHAPE_KEYS):
        raise ModelError(
            f"{name}: a PyTorch file of other software (it holds {_outline(content)}); expected a model "
            "trained by Osteoflow. Correct the setting `model`"
        )
    content = in_todays_words(content)
    if content["format"] != MODEL_FORMAT:
        raise ModelError(other_format(name, content["format"]))
    if content["task"] != task:
        raise ModelError(other_task(name, content["task"], task))
    if missing := MODEL_KEYS[task] - content.keys():
        raise ModelError(f"{name}: the model lacks {', '.join(sorted(missing))}; train it again")
    return content


def write_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write the state of an unfinished training, whole or not at all."""
    _write(path, dict(state))


def read_state(path: str | Path, key: str) -> dict[str, Any] | None:
    """Return the state at `path`, or None if there is none that belongs to `key`.

    A state made with other settings, data or code, and a damaged one, are logged and ignored: the training then
    starts from scratch.
    """
    if not Path(path).is_file():
        return None
    try:
        state = _read(path)
    except _DAMAGE as error:
        logger.warning("the unfinished state is damaged (%s): starting from scratch", type(error).__name__)
        return None
    if not isinstance(state, dict) or state.get("key") != key:
        logger.warning(
            "the unfinished state was made with other settings, data or code: starting from scratch"
        )
        return None
    return state


def _write(path: str | Path, content: dict[str, Any]) -> None:
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def _read(path: str | Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _require_whole_archive(path: Path, name: str) -> None:
    """Refuse a file that torch.save did not write or that has changed since; torch does not verify checksums."""
    again = "copy the model's folder again, or train the fold again"
    if not zipfile.is_zipfile(path):
        if path.stat().st_size == 0:
            raise ModelError(f"{name}: the file is empty; {again}")
        with path.open("rb") as file:
            start = file.read(len(_ZIP_START))
        if start == _ZIP_START:
            raise ModelError(f"{name}: the file is cut off after {path.stat().st_size} bytes; {again}")
        raise ModelError(
            f"{name}: not an Osteoflow model (not an archive written by torch.save). "
            "Correct the setting `model`"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
    except _DAMAGE:
        changed = "its directory"
    if changed:
        raise ModelError(f"{name}: the file is damaged (checksum of {changed}); {again}")


def _read_plain(path: str | Path, name: str) -> Any:
    try:
        return _read(path)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{name}: holds Python objects, but an Osteoflow model holds tensors and plain values only. "
            "It was not loaded, because loading it could run untrusted code. Correct the setting `model`"
        ) from None
    except _DAMAGE as error:
        raise ModelError(
            f"{name}: not an Osteoflow model (an archive, but not by torch.save: {type(error).__name__}). "
            "Correct the setting `model`"
        ) from error


def _require_plain(value: Any, where: str) -> None:
    """Refuse to write what could not be read without unpickling objects, numpy scalars included."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            _require_plain(key, f"a key of {where}")
            _require_plain(entry, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for entry in value:
            _require_plain(entry, where)
    elif type(value) not in _PLAIN:
        raise ValueError(f"{where}: {type(value).__name__} cannot be stored in a model; use plain values")


def _outline(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    keys = sorted(map(str, content))
    return f"the keys {', '.join(keys[:5])}{', …' if len(keys) > 5 else ''}" if keys else "nothing"


def _short(path: str | Path) -> str:
    """Return the last parts of a model's path, e.g. "fold-0/model.pt"."""
    return "/".join(Path(path).parts[-2:])
