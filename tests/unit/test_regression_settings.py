"""The settings of the regression and what is refused, with the reason."""

from dataclasses import fields

import pytest
import yaml

from lib.checked_study import Typed, read_study
from lib.errors import ConfigError
from lib.learning.regression_recipe import SHARED_KEYS, RegressionRecipe, full_recipe
from lib.learning.train_settings import TrainConfig
from lib.regression_settings import (
    DenseNetConfig,
    RegressionConfig,
    RegressionCropConfig,
    RegressionTrainConfig,
    check_regression,
)
from tests.unit.test_settings import DEFAULTS, ROOT, merged

TARGETS = {"L1": "bmd_l1_k2hpo4_mg_cm3", "L2": "bmd_l2_k2hpo4_mg_cm3"}


def test_defaults_are_those_of_the_dataclasses():
    assert RegressionConfig(**DEFAULTS["regression"]) == RegressionConfig()
    assert not RegressionConfig().is_asked and RegressionConfig().scale == ""
    assert RegressionConfig(targets=TARGETS).scale == "k2hpo4"


@pytest.mark.parametrize("key", ["brightness", "gamma", "contrast"])
def test_a_change_of_hu_is_refused_with_the_reason(key, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=rf"regression\.train\.{key}: a change of .* density is learned"):
        RegressionConfig(train={key: 0.1})
    monkeypatch.chdir(tmp_path)
    config = merged(DEFAULTS, {"regression": {"train": {key: 0.1}}})
    with pytest.raises(ConfigError, match=rf"regression\.train\.{key}: a change of"):
        read_study(config, Typed(words=[], overlays=[], settings={}), tmp_path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"crop": {"size": [48, 48]}}, r"crop\.size: \[48, 48\] is not allowed; expected three integers"),
        ({"crop": {"low_hu": 800}}, r"expected crop\.low_hu below crop\.high_hu"),
        ({"crop": {"masks": "mine"}}, "predicted or reference"),
        ({"train": {"loss": "l1"}}, "huber or mse"),
        ({"train": {"epochs": -1}}, r"train\.epochs: -1 .* at least 0"),
        ({"train": {"batch_size": 1}}, r"train\.batch_size: 1 .* at least 2"),
        ({"train": {"mirror_axes": ["w"]}}, r"train\.mirror_axes"),
        ({"networks": {"a": {"dimensions": 4}}}, "3 or 2"),
        ({"networks": {"a": {"blocks": []}}}, "integers of at least 1"),
        ({"networks": {"a": {"depth": 4}}}, "unknown key depth; known keys: growth"),
        ({"baseline": {"erode_mm": -1}}, r"baseline\.erode_mm"),
        (
            {"crop": {"size": [28, 48, 48]}},
            "too small for the 4 blocks of the network densenet; expected at least 29",
        ),
    ],
)
def test_values_that_cannot_be_used_are_refused(given, words):
    with pytest.raises(ConfigError, match=words):
        RegressionConfig(**given)


def test_a_2d_network_needs_large_slices_only():
    flat = {"flat": {"dimensions": 2}}
    assert RegressionConfig(networks=flat, crop={"size": [32, 32, 8]}).networks["flat"].dimensions == 2
    with pytest.raises(ConfigError, match="too small"):
        RegressionConfig(networks=flat, crop={"size": [32, 16, 32]})


def test_edges_of_the_last_feature_maps_are_those_of_the_network():
    import torch

    from lib.learning.densenet import CropDenseNet

    config = DenseNetConfig(growth=2, initial_maps=2, blocks=(1, 1, 1), bottleneck=1)
    network = CropDenseNet(config, 1).eval()
    for edge in (13, 16, 17, 24, 31):
        assert network.features(torch.zeros(1, 1, edge, edge, edge)).shape[-1] == config.last_edge(edge)


@pytest.mark.parametrize(
    ("given", "networks", "modality", "words"),
    [
        ({"network": "other"}, ["unet"], "CT", "no network that segments is called 'other'"),
        ({}, ["densenet"], "CT", "densenet is also the name of a network that segments"),
        ({"networks": {}}, ["unet"], "CT", "no network is left"),
        ({}, ["unet"], "MR", "densities are read from HU"),
    ],
)
def test_what_does_not_fit_the_study_is_refused(given, networks, modality, words):
    with pytest.raises(ConfigError, match=words):
        check_regression(
            RegressionConfig(targets=TARGETS, **given),
            anatomy="lumbar-spine",
            networks=networks,
            modality=modality,
        )
    # without targets there is no regression
    check_regression(RegressionConfig(**given), anatomy="generic", networks=networks, modality=modality)


def test_an_anatomy_without_levels_has_no_regression():
    with pytest.raises(
        ConfigError, match="the anatomy proximal-femur does not have; expected anatomy: lumbar-spine"
    ):
        check_regression(
            RegressionConfig(targets=TARGETS), anatomy="proximal-femur", networks=["unet"], modality="CT"
        )


def test_a_recipe_has_the_keys_of_both_sections():
    shared = {field.name for field in fields(TrainConfig)} & {
        field.name for field in fields(RegressionRecipe)
    }
    own = {field.name for field in fields(RegressionTrainConfig)}
    fixed = {"samples_per_scan", "accumulate", "early_stop_epochs", "compile"}
    assert shared - own - fixed == set(SHARED_KEYS)
    recipe = full_recipe(DEFAULTS["train"] | {"fused": False}, DEFAULTS["regression"]["train"])
    assert not RegressionRecipe(**recipe).fused and recipe["epochs"] == 100


def test_an_overlay_that_names_networks_uses_only_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"growth": 8, "initial_maps": 16, "blocks": [2, 4], "bottleneck": 4, "dimensions": 3}
    overlay = yaml.safe_load((ROOT / "studies/ci.yaml").read_text())
    overlay["regression"] = {"networks": {"small": small}}
    config = read_study(merged(DEFAULTS, overlay), Typed(words=[], overlays=[], settings=overlay), tmp_path)
    assert config.config["regression"]["networks"] == {"small": small}
    assert config.regression_networks == [] and config.regression.networks["small"].growth == 8


def test_the_number_of_channels():
    assert RegressionCropConfig().channels == 2 and RegressionCropConfig(mask_channel=False).channels == 1
    assert RegressionCropConfig(size=[1 + 8, 2 + 8, 3 + 8]).size_zyx == (11, 10, 9)
