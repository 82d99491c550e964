import pickle

import pytest
import torch

from lib.errors import ModelError
from lib.learning.checkpoint import read_model, read_state, write_model, write_state


@pytest.fixture
def content():
    weights = {"head.weight": torch.rand(2, 3)}
    return {
        "network": {"channels": (2, 3)},
        "intensity": {"low_hu": -1000.0, "high_hu": 2000.0},
        "preprocessing": {"resample": {"method": "fourier"}},
        "window_slices": 8,
        "last": weights,
        "best": weights,
        "best_epoch": 1,
        "best_validation_dice": None,
    }


def test_a_model_comes_back_as_it_was_written(tmp_path, content):
    write_model(tmp_path / "model.pt", content)
    again = read_model(tmp_path / "model.pt")
    assert torch.equal(again.pop("last")["head.weight"], content.pop("last")["head.weight"])
    assert torch.equal(again.pop("best")["head.weight"], content.pop("best")["head.weight"])
    assert again == {"format": 1, **content}
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"fold-0/model.pt: no such model"):
        read_model(tmp_path / "fold-0" / "model.pt")


def test_a_damaged_model_is_refused(tmp_path, content):
    path = tmp_path / "model.pt"
    write_model(path, content)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="not a readable model"):
        read_model(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="not a readable model"):
        read_model(path)


def test_a_pickled_object_is_never_built(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"format": 1, "network": Trap()}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="not a readable model"):
        read_model(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="not a readable model"):
        read_model(tmp_path / "model.pt")


def test_a_model_of_another_format_or_without_a_part_is_refused(tmp_path, content):
    torch.save({**content, "format": 2}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="format 1"):
        read_model(tmp_path / "model.pt")
    del content["intensity"]
    torch.save({**content, "format": 1}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="lacks intensity"):
        read_model(tmp_path / "model.pt")


def test_a_state_belongs_to_its_key(tmp_path):
    path = tmp_path / "state.pt"
    assert read_state(path, "a") is None
    write_state(path, {"key": "a", "epoch": 3})
    assert read_state(path, "a") == {"key": "a", "epoch": 3}
    assert read_state(path, "b") is None
    path.write_bytes(b"cut off")
    assert read_state(path, "a") is None
