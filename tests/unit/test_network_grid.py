"""Config `grid`: names and sizes of its networks, combinations left out, mistakes explained."""

import copy

import pytest
import torch
import yaml

from lib.errors import ConfigError
from lib.learning.architecture import read_network
from lib.learning.network_grid import GridConfig, expand_grid, networks_of_study
from lib.learning.vnet import VNet
from lib.settings import check_settings
from tests.study import ROOT

# parameters of the U-Nets of Deniz et al. 2018 with 3, 4 and 5 levels (two convolutions per level, one channel, one
# map), computed by hand from the sizes of their layers
PARAMETERS = {
    "unet2d-f16": (116_753, 481_745, 1_940_817),
    "unet2d-f32": (465_953, 1_925_025, 7_759_521),
    "unet2d-f64": (1_861_697, 7_696_193, 31_030_593),
    "unet3d-f16": (339_249, 1_400_561, 5_644_913),
    "unet3d-f32": (1_355_361, 5_599_713, 22_575_329),
}
DENIZ = GridConfig(
    dimensions=[2, 3],
    initial_maps=[16, 32, 64],
    levels=[3, 4, 5],
    bottleneck_dilation=[1, 2, 4],
    skip_if="dimensions == 3 and initial_maps == 64",
)
SMALL = {"dimensions": [2, 3], "initial_maps": [4, 8], "levels": [3]}
OWN = {"vnet": {"channels": [8, 16]}, "mine": {"unet": {"initial_maps": 4, "levels": 3}}}


def parameters_of(entry):
    with torch.device("meta"):
        network = VNet(read_network(entry, 1))
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_grid_of_deniz_has_its_networks_with_their_numbers_of_parameters():
    networks = expand_grid(DENIZ)
    expected = {
        f"{name}-l{levels}{dilated}": count
        for name, counts in PARAMETERS.items()
        for levels, count in zip((3, 4, 5), counts, strict=True)
        for dilated in ("", "-d2", "-d4")
    }
    assert {name: parameters_of(entry) for name, entry in networks.items()} == expected
    assert networks["unet3d-f32-l4-d2"] == {
        "unet": {"dimensions": 3, "initial_maps": 32, "levels": 4, "bottleneck_dilation": 2}
        | {"normalisation": "none", "dropout": 0.0}
    }


def test_normalisation_and_dropout_hold_for_every_network_of_a_grid():
    networks = expand_grid(GridConfig(**SMALL, normalisation="instance", dropout=0.1))
    shapes = [read_network(entry, 1) for entry in networks.values()]
    assert len(shapes) == 4
    assert {(shape.normalisation, shape.dropout) for shape in shapes} == {("instance", 0.1)}


@pytest.mark.parametrize(
    ("skip_if", "left"),
    [
        ("", ["unet2d-f4-l3", "unet2d-f8-l3", "unet3d-f4-l3", "unet3d-f8-l3"]),
        ("not (dimensions == 2 or initial_maps >= 8)", ["unet2d-f4-l3", "unet2d-f8-l3", "unet3d-f8-l3"]),
        ("2 < dimensions <= 3", ["unet2d-f4-l3", "unet2d-f8-l3"]),
        ("initial_maps != 4 and levels < 3.5", ["unet2d-f4-l3", "unet3d-f4-l3"]),
        (" bottleneck_dilation > 1 ", ["unet2d-f4-l3", "unet2d-f8-l3", "unet3d-f4-l3", "unet3d-f8-l3"]),
    ],
)
def test_combinations_for_which_the_condition_holds_are_left_out(skip_if, left):
    assert list(expand_grid(GridConfig(**SMALL, skip_if=skip_if))) == left


@pytest.mark.parametrize(
    ("skip_if", "words"),
    [
        ("dimension == 3", "'dimension' is not allowed; expected comparisons"),
        ("levels == 9 and dropout > 0", "'dropout' is not allowed"),
        ("dimensions == 2 or depth == 3", "'depth' is not allowed"),
        ("dimensions = 3", "'dimensions = 3' cannot be read"),
        ("dimensions", "'dimensions' is not a condition"),
        ("3", "'3' is not a condition"),
        ("True", "'True' is not a condition"),
        ("dimensions == True", "'True' is not allowed"),
        ("dimensions == '3'", "\"'3'\" is not allowed"),
        ("initial_maps < dimensions * 2", "'dimensions * 2' is not allowed"),
        ("levels in (3, 4)", "'levels in (3, 4)' is not a condition"),
        ("levels is 3", "'levels is 3' is not a condition"),
        ("__import__('os').system('touch ran')", "is not a condition"),
        ("levels == __import__('os').system('touch ran')", "is not allowed"),
        ("(lambda: 1)() == 1", "is not allowed"),
        ("levels == 3; levels", "cannot be read"),
        ("   ", "cannot be read"),
        ("dimensions >= 2", "'dimensions >= 2' holds for every network, so the grid is empty"),
    ],
)
def test_a_condition_that_cannot_be_used_is_explained_and_never_run(skip_if, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        expand_grid(GridConfig(**SMALL, skip_if=skip_if))
    assert words in str(caught.value) and str(caught.value).startswith("grid.skip_if: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"dimensions": []},
            "grid.dimensions: no values; a grid needs at least one value in each of dimensions",
        ),
        ({"levels": [3, 3]}, "grid.levels: [3, 3] is not allowed; expected each value once"),
        ({"initial_maps": [16.0]}, "grid.initial_maps: [16.0] is not allowed; expected integers"),
        ({"bottleneck_dilation": []}, "grid.bottleneck_dilation: no values"),
        ({"dimensions": [4]}, "networks: dimensions: 4 is not allowed"),
    ],
)
def test_a_grid_that_cannot_be_used_is_explained(change, words):
    with pytest.raises(ConfigError) as caught:
        expand_grid(GridConfig(**SMALL | change))
    assert words in str(caught.value)


def test_a_condition_without_lists_is_not_a_grid():
    with pytest.raises(ConfigError, match=r"grid\.dimensions, grid\.initial_maps, grid\.levels: no values"):
        GridConfig(skip_if="levels == 3")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth": [3]}, "grid: unknown key 'depth'; known keys: "),
        ({"level": [3]}, "grid: unknown key 'level'; did you mean levels?"),
        ({"levels": 3}, "grid.levels: 3; expected array"),
        ({"levels": ["3"]}, 'grid.levels.0: "3"; expected integer, >= 2'),
        ({"levels": [1]}, "grid.levels.0: 1; expected integer, >= 2"),
        ({"levels": [3, 3]}, "; each of them once"),
        ({"dimensions": [2, True]}, "grid.dimensions.1: true; expected one of 3, 2"),
        ({"skip_if": True}, "grid.skip_if: true; expected string"),
    ],
)
def test_the_schema_explains_mistakes_in_a_grid(change, words):
    settings = copy.deepcopy(yaml.safe_load((ROOT / "config.yaml").read_text()))
    settings["grid"] |= change
    with pytest.raises(ConfigError) as caught:
        check_settings(settings, yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text()))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("named", "grid", "only", "expected"),
    [
        ((), {}, (), ["vnet", "mine"]),
        ((), SMALL, (), ["unet2d-f4-l3", "unet2d-f8-l3", "unet3d-f4-l3", "unet3d-f8-l3"]),
        (("mine",), SMALL, (), ["mine", "unet2d-f4-l3", "unet2d-f8-l3", "unet3d-f4-l3", "unet3d-f8-l3"]),
        ((), SMALL, ("unet3d-f4-l3", "unet2d-f4-l3"), ["unet2d-f4-l3", "unet3d-f4-l3"]),
        ((), {}, ("mine",), ["mine"]),
    ],
)
def test_a_study_uses_the_networks_that_it_names(named, grid, only, expected):
    used = networks_of_study(OWN, named, GridConfig(**grid), only)
    assert list(used) == expected
    # read once more, as the programs beside the workflow do, nothing changes
    assert networks_of_study(used, named, GridConfig(**grid), only) == used


@pytest.mark.parametrize(
    ("entries", "grid", "only", "words"),
    [
        (
            OWN,
            SMALL,
            ("unet3d-f5-l3",),
            "no network is called unet3d-f5-l3; the study's networks: unet2d-f4-l3, ",
        ),
        (OWN, SMALL, ("vnet",), "no network is called vnet; the study's networks: unet2d-f4-l3, "),
        (OWN | {"unet3d-f4-l3": OWN["mine"]}, SMALL, (), "unet3d-f4-l3 is also a network of the grid"),
        ({}, {}, (), "networks: none is left"),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(entries, grid, only, words):
    named = set(entries) - set(OWN)
    with pytest.raises(ConfigError) as caught:
        networks_of_study(entries, named, GridConfig(**grid), only)
    assert words in str(caught.value)
