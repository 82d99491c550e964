"""The recipe of a training: its settings, its digest, its learning rate."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from lib.errors import ConfigError
from lib.intensity_scale import IntensityConfig
from lib.learning.architecture import VNetConfig, read_network
from lib.learning.predict_settings import PredictConfig
from lib.learning.recipe import FoldSettings, learning_rate
from lib.learning.train_settings import AugmentConfig, TrainConfig

ROOT = Path(__file__).parents[2]


def settings(**changes):
    parts = {
        "architecture": {},
        "train": {},
        "intensity": {},
        "predict": {},
        "structures": ("femur",),
        "name": "a",
        "seed": 1,
        "code": "c",
    }
    return FoldSettings(**parts | changes)


def test_defaults_are_those_of_the_configuration():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for section, kind in (
        ("train", TrainConfig),
        ("intensity", IntensityConfig),
        ("predict", PredictConfig),
    ):
        assert kind(**config[section]) == kind()
        assert config[section].keys() <= asdict(kind()).keys()
    assert read_network(config["networks"]["vnet"], 1) == VNetConfig()
    assert TrainConfig(**config["train"]).augment == AugmentConfig()


@pytest.mark.parametrize("weight", [0, -1.0, "automatic"])
def test_a_weight_of_bone_is_above_zero_or_auto(weight):
    assert TrainConfig(bone_weight="auto").bone_weight == "auto"
    with pytest.raises(ConfigError, match="train.bone_weight: .* expected more than 0, or auto"):
        TrainConfig(bone_weight=weight)


def test_digest_follows_what_shapes_the_result_alone():
    base = settings()
    others = [
        settings(seed=2),
        settings(code="d"),
        settings(architecture={"dropout": 0.0}),
        settings(train={"learning_rate": 1e-3}),
        settings(train={"precision": "bf16"}),
        settings(intensity={"high": 1500.0}),
        settings(structures=("L1",)),
    ]
    assert len({base.digest(), *(other.digest() for other in others)}) == 8
    for elsewhere in ({"device_cache_gb": 1.0}, {"host_cache_gb": 1.0}, {"checkpoint_minutes": 1.0}):
        assert settings(train=elsewhere).digest() == base.digest()
    assert settings(predict={"step": 2, "batch_scans": 1}).digest() == base.digest()


def test_constant_rate():
    config = TrainConfig(learning_rate=1e-2)
    assert [learning_rate(config, done, 50) for done in range(50)] == [1e-2] * 50


def test_cosine_rises_first_and_falls_to_zero():
    config = TrainConfig(learning_rate=1e-2, schedule="cosine", warm_up=0.08)
    # 8 % of 50 updates: the first four are a quarter, a half, three quarters and the whole of the cosine
    cosine = [1e-2 * (1 + np.cos(np.pi * done / 50)) / 2 for done in range(50)]
    expected = [rate * min(1, (done + 1) / 4) for done, rate in enumerate(cosine)]
    assert [learning_rate(config, done, 50) for done in range(50)] == pytest.approx(expected)


def test_warm_up_serves_a_constant_rate_too():
    config = TrainConfig(learning_rate=1.0, warm_up=0.5)
    assert [learning_rate(config, done, 8) for done in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 1.5},
        {"accumulate": 0},
        {"validate_every": True},
        {"learning_rate": 0},
        {"bone_weight": 0},
        {"schedule": "linear"},
        {"loss": "focal"},
        {"warm_up": 1.0},
        {"weight_average": -0.1},
        {"l2_alpha": -1},
        {"checkpoint_minutes": -1},
        {"early_stop_epochs": 5, "schedule": "cosine"},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes):
    with pytest.raises(ConfigError, match=f"train.{next(iter(changes))}"):
        TrainConfig(**changes)
