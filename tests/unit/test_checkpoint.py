import pickle
import zipfile

import numpy as np
import pytest
import torch

from lib.errors import ModelError
from lib.learning.checkpoint import read_model, read_state, write_model, write_state


@pytest.fixture
def content():
    weights = {"head.weight": torch.rand(2, 3)}
    return {
        "architecture": {"channels": (2, 3)},
        "structures": ["femur"],
        "intensity": {"scale": "range", "low": -1000.0, "high": 2000.0},
        "preprocessing": {"bias_field": {"method": "none"}, "resample": {"method": "fourier"}},
        "window_slices": 8,
        "anatomy": "proximal-femur",
        "slice_axis": "z",
        "last": weights,
        "best": weights,
        "best_epoch": 1,
        "best_validation_dice": None,
        "task": "segment",
        "group": "all",
        "people": {"training": {"people": 3, "pseudonyms": ["0123456789abcdef"]}},
    }


def test_a_model_comes_back_as_it_was_written(tmp_path, content):
    write_model(tmp_path / "model.pt", content)
    again = read_model(tmp_path / "model.pt")
    assert torch.equal(again.pop("last")["head.weight"], content.pop("last")["head.weight"])
    assert torch.equal(again.pop("best")["head.weight"], content.pop("best")["head.weight"])
    assert again == {"format": 3, **content}
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"fold-0/model.pt: no such model"):
        read_model(tmp_path / "fold-0" / "model.pt")


def refusal(path):
    with pytest.raises(ModelError) as error:
        read_model(path)
    assert f"{path.parent.name}/{path.name}" in str(error.value)
    return str(error.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def test_a_truncated_model_is_refused_at_any_length(path, content):
    write_model(path, content)
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert f"cut off after {length} bytes; copy" in refusal(path)
    path.write_bytes(b"")
    assert "the file is empty" in refusal(path)


def test_a_single_changed_byte_of_the_weights_is_noticed(path, content):
    content["last"] = {"head.weight": torch.arange(1000.0)}
    write_model(path, content)
    whole = bytearray(path.read_bytes())
    place = whole.index(torch.arange(1000.0).numpy().tobytes())
    whole[place + 17] ^= 1
    path.write_bytes(whole)
    assert "damaged (checksum of" in refusal(path)


def test_random_bytes_are_refused_unread(path):
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    assert "not an Osteoflow model (not an archive written by torch.save)" in refusal(path)


def test_an_archive_of_another_kind_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    assert "not an Osteoflow model (an archive, but not by torch.save" in refusal(path)


def test_a_pickled_object_is_never_built(path, content, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    path.write_bytes(pickle.dumps(content | {"trap": Trap()}))
    assert "not an archive written by torch.save" in refusal(path)
    torch.save(content | {"format": 2, "trap": Trap()}, path)
    assert "holds Python objects" in refusal(path) and "It was not loaded" in refusal(path)
    torch.save(torch.nn.Linear(2, 2), path)
    assert "holds Python objects" in refusal(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("foreign", "outline"),
    [
        ({"state_dict": {"w": torch.zeros(2)}, "epoch": 3}, "it holds the keys epoch, state_dict)"),
        ({"format": 2, "weights": {}}, "it holds the keys format, weights)"),
        ({}, "it holds nothing)"),
        ([torch.zeros(2)], "it holds a list)"),
        (torch.zeros(2), "it holds a Tensor)"),
    ],
)
def test_a_file_of_other_software_is_told_from_a_model(path, foreign, outline):
    torch.save(foreign, path)
    assert "a PyTorch file of other software" in refusal(path) and outline in refusal(path)


def test_a_model_of_format_2_is_read_in_todays_words(path, content):
    former = {**content, "format": 2, "cohort": "female", "model": "vnet", "network": content["architecture"]}
    del former["architecture"], former["group"], former["structures"]
    former["intensity"] = {"low_hu": -1000.0, "high_hu": 2000.0}
    former["preprocessing"] = {"resample": {"method": "fourier"}}
    torch.save(former, path)
    told = {key: value for key, value in read_model(path).items() if key not in ("last", "best")}
    kept = {key: value for key, value in content.items() if key not in ("last", "best")}
    assert told == kept | {"format": 3, "group": "female", "takes": {"sex": "F"}, "network": "vnet"}


def test_a_model_that_names_no_structures_finds_the_femur(path, content):
    del content["structures"]
    configured = {"architecture": {"channels": [2, 3], "classes": 1}, "train": {}}
    torch.save({**content, "format": 3, "configured": configured}, path)
    told = read_model(path)
    assert told["structures"] == ["femur"]
    assert told["configured"] == {"architecture": {"channels": [2, 3]}, "train": {}}


@pytest.mark.parametrize(("written", "age"), [(1, "an older"), (4, "a newer"), ("x", "an older")])
def test_another_format_is_refused_with_both_numbers(path, content, written, age):
    torch.save({**content, "format": written}, path)
    text = refusal(path)
    assert f"is of format {written!r}, written by {age} Osteoflow; this one reads formats 2 and 3" in text
    assert "--config retrain=true" in text


def test_a_model_without_a_part_is_refused(path, content):
    del content["intensity"], content["window_slices"]
    torch.save({**content, "format": 3}, path)
    assert "lacks intensity, window_slices" in refusal(path)
    with pytest.raises(ValueError, match="missing: "):
        write_model(path, content)
    del content["best"]
    torch.save({**content, "format": 3}, path)
    assert "lacks best, intensity, window_slices" in refusal(path)


@pytest.mark.parametrize("value", [np.float64(0.5), np.zeros(2), object(), {"deep": (1, [np.int64(1)])}])
def test_what_could_not_be_read_again_is_not_written(path, content, value):
    with pytest.raises(ValueError, match="cannot be stored in a model"):
        write_model(path, content | {"value": value})
    assert not path.exists()


def test_a_state_belongs_to_its_key(tmp_path):
    path = tmp_path / "state.pt"
    assert read_state(path, "a") is None
    write_state(path, {"key": "a", "epoch": 3})
    assert read_state(path, "a") == {"key": "a", "epoch": 3}
    assert read_state(path, "b") is None
    path.write_bytes(b"cut off")
    assert read_state(path, "a") is None
