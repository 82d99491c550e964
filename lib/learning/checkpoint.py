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

FORMAT = 1
MODEL_KEYS = frozenset(
    {"network", "intensity", "preprocessing", "window_slices", "last", "best", "best_epoch"}
    | {"best_validation_dice"}
)
_DAMAGE = (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)

logger = logging.getLogger("osteoflow.learning")


def weights_on_host(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's weights in host memory."""
    return {
        name: weight.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, weight in network.state_dict().items()
    }


def write_model(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a finished model, whole or not at all; `content` has exactly the keys MODEL_KEYS.

    Everything in it is tensors and plain values, so that it can be read without unpickling objects.
    """
    if content.keys() != MODEL_KEYS:
        raise ValueError(f"a model has the keys {sorted(MODEL_KEYS)}, got {sorted(content)}")
    _write(path, {"format": FORMAT, **content})


def read_model(path: str | Path) -> dict[str, Any]:
    """Read a model written by `write_model`, into host memory.

    Raises:
        ModelError: no such file, damaged, another format, or holding anything but tensors and plain values.
    """
    name = _short(path)
    if not Path(path).is_file():
        raise ModelError(f"{name}: no such model; train it, or correct the setting `model`")
    try:
        content = _read(path)
    except _DAMAGE as error:
        raise ModelError(
            f"{name}: not a readable model ({type(error).__name__}); delete it and train it again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(f"{name}: expected a model of format {FORMAT}; it was written by other software")
    missing = MODEL_KEYS - content.keys()
    if missing:
        raise ModelError(f"{name}: the model lacks {', '.join(sorted(missing))}; train it again")
    return content


def write_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write the state of an unfinished training, whole or not at all."""
    _write(path, dict(state))


def read_state(path: str | Path, key: str) -> dict[str, Any] | None:
    """Return the state at `path`, or None if there is none that belongs to `key`.

    A state of other settings, data or code, and a damaged one, are logged and passed over: the training then
    starts from scratch, which is slow but right.
    """
    if not Path(path).is_file():
        return None
    try:
        state = _read(path)
    except _DAMAGE as error:
        logger.warning("the unfinished state is damaged (%s): starting from scratch", type(error).__name__)
        return None
    if not isinstance(state, dict) or state.get("key") != key:
        logger.warning("the unfinished state is of other settings, data or code: starting from scratch")
        return None
    return state


def _write(path: str | Path, content: dict[str, Any]) -> None:
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def _read(path: str | Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _short(path: str | Path) -> str:
    """Return the last parts of a model's path, e.g. "fold-0/model.pt"."""
    return "/".join(Path(path).parts[-2:])
