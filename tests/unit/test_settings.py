"""The configuration: defaults, schema and dataclasses agree; mistakes are explained."""

import copy
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from lib.cohort.folds import FoldsConfig
from lib.errors import ConfigError
from lib.imaging.crop import CropConfig
from lib.imaging.otsu import OtsuConfig
from lib.imaging.resample import ResampleConfig
from lib.imaging.screening import ScreeningConfig
from lib.learning.augment import AugmentConfig
from lib.learning.intensity import IntensityConfig
from lib.learning.predict import PredictConfig
from lib.learning.train import TrainConfig
from lib.learning.vnet import VNetConfig
from lib.phantom.people import PhantomConfig
from lib.settings import check_settings, read_words
from lib.stats.overlap import OverlapConfig

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())
DEFAULTS = yaml.safe_load((ROOT / "config.yaml").read_text())


def merged(base, overlay):
    result = copy.deepcopy(base)
    for key, value in overlay.items():
        result[key] = merged(result[key], value) if isinstance(value, dict) else value
    return result


@pytest.mark.parametrize("overlay", [None, *sorted((ROOT / "studies").glob("*.yaml"))], ids=str)
def test_defaults_and_overlays_follow_the_schema(overlay):
    settings = merged(DEFAULTS, yaml.safe_load(overlay.read_text())) if overlay else DEFAULTS
    check_settings(settings, SCHEMA)


def objects(schema, path=""):
    if schema.get("type") == "object":
        yield path, schema
        for key, value in schema.get("properties", {}).items():
            yield from objects(value, f"{path}.{key}" if path else key)


def test_schema_refuses_unknown_keys_and_describes_every_key():
    for path, schema in objects(SCHEMA):
        assert schema["additionalProperties"] is False or path == "models", path
        assert set(schema.get("required", ())) == set(schema.get("properties", ())), path
        for key, value in schema.get("properties", {}).items():
            assert value.get("description"), f"{path}.{key}"


def test_every_key_has_a_default_with_a_comment():
    lines = (ROOT / "config.yaml").read_text().splitlines()
    keys = [line for line in lines if line.strip() and not line.strip().startswith("#")]
    leaves = [line for line in keys if not line.split("#")[0].rstrip().endswith(":")]
    assert [line for line in leaves if "#" not in line] == []


@pytest.mark.parametrize(
    ("section", "dataclass"),
    [
        ("folds", FoldsConfig),
        ("phantom", PhantomConfig),
        ("screening", ScreeningConfig),
        ("resample", ResampleConfig),
        ("crop", CropConfig),
        ("otsu", OtsuConfig),
        ("measure", OverlapConfig),
        ("intensity", IntensityConfig),
        ("train", TrainConfig),
        ("predict", PredictConfig),
        ("train.augment", AugmentConfig),
        ("models.vnet", VNetConfig),
    ],
)
def test_sections_are_the_fields_of_their_dataclass(section, dataclass):
    values = DEFAULTS
    for part in section.split("."):
        values = values[part]
    assert set(values) == {field.name for field in fields(dataclass)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"epoch": 3}}, "train: unknown key 'epoch'; did you mean epochs?"),
        ({"train": {"epochs": "many"}}, 'train.epochs: "many"; expected integer, >= 1'),
        ({"folds": {"folds": 1}}, "folds.folds: 1; expected integer, >= 2"),
        ({"resample": {"method": "cubic"}}, 'expected one of "fourier", "area", "none"'),
        ({"cohorts": ["boys"]}, 'expected one of "all", "male", "female"'),
        ({"models": {"vnet": {"depth": 4}}}, "models.vnet: unknown key 'depth'"),
    ],
)
def test_mistakes_name_key_and_allowed_values(change, words):
    settings = copy.deepcopy(DEFAULTS)
    for key, value in change.items():
        if isinstance(value, dict):
            for inner, setting in value.items():
                if isinstance(setting, dict):
                    settings[key][inner].update(setting)
                else:
                    settings[key][inner] = setting
        else:
            settings[key] = value
    with pytest.raises(ConfigError) as caught:
        check_settings(settings, SCHEMA)
    assert words in str(caught.value)


def test_all_mistakes_are_listed_at_once():
    settings = merged(DEFAULTS, {"seed": -1, "reproducible": "yes", "otsu": {"low": 2}})
    with pytest.raises(ConfigError, match="3 problems"):
        check_settings(settings, SCHEMA)


def test_words_of_a_command_line_are_read_as_the_schema_means_them():
    given = DEFAULTS | {"partial": "true", "retrain": "False", "model": None, "study": "true", "seed": 3}
    read = read_words(given, SCHEMA)
    assert (read["partial"], read["retrain"], read["model"], read["seed"]) == (True, False, "", 3)
    assert read["study"] == "true"
    check_settings(read, SCHEMA)
