"""Config `network_comparison`: mistakes explained, and the record of what was stated before results existed."""

import pytest
import yaml
from snakemake.utils import update_config

from lib.checked_study import Typed, read_study
from lib.errors import ConfigError
from lib.network_comparison_settings import (
    AFTER,
    BEFORE,
    NetworkComparisonConfig,
    check_compared_networks,
    explain_changes,
    state_comparison,
)
from tests.study import ROOT

DIMENSIONS = {"flat": 2, "wide": 2, "deep": 3, "vnet": 3}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pair": ["flat"]}, "network_comparison.pair must name two different networks"),
        ({"pair": ["flat", "flat"]}, "two different networks"),
        ({"bootstrap": 10}, "network_comparison.bootstrap must be at least 100"),
        ({"min_people": 1}, "network_comparison.min_people must be at least 2"),
        (
            {"pair": ["flat", "dep"]},
            "network_comparison.pair: no network is called dep; the study's networks: flat",
        ),
        ({"control": "unet"}, "network_comparison.control: no network is called unet"),
        ({"pair": ["vnet", "deep"]}, "vnet and deep are both 3-D.*make one of them the control"),
    ],
)
def test_mistakes_are_explained(given, words):
    with pytest.raises(ConfigError, match=words):
        check_compared_networks(NetworkComparisonConfig(**given), DIMENSIONS)


@pytest.mark.parametrize(
    "given", [{}, {"pair": ["deep", "flat"]}, {"pair": ["flat", "vnet"], "control": "wide"}]
)
def test_one_network_of_each_kind_or_none_can_be_compared(given):
    check_compared_networks(NetworkComparisonConfig(**given), DIMENSIONS)


def stated(former, *, results_exist, **given):
    return state_comparison(
        former, NetworkComparisonConfig(**given), list(DIMENSIONS), results_exist=results_exist
    )


def test_what_is_stated_before_results_may_change_and_what_follows_is_told():
    first = stated(None, results_exist=False, pair=["deep", "flat"])
    assert first["pair"] == {"value": ["deep", "flat"], "stated": BEFORE, "earlier": []}
    assert first["control"]["value"] == ["deep"]  # the first of the pair, which nobody had to write
    second = stated(first, results_exist=False, pair=["vnet", "flat"])
    assert second["pair"] == {"value": ["vnet", "flat"], "stated": BEFORE, "earlier": []}
    assert stated(second, results_exist=True, pair=["vnet", "flat"]) == second
    assert explain_changes(second) == []
    third = stated(second, results_exist=True, pair=["vnet", "wide"], control="vnet")
    assert (third["pair"]["stated"], third["control"]["stated"]) == (AFTER, BEFORE)
    assert explain_changes(third) == [
        "The pair of the comparison of networks was changed after results existed: now vnet against wide; "
        "earlier vnet against flat (stated before results)."
    ]
    # back to what had been stated in time; a third choice is told with both earlier ones
    assert stated(third, results_exist=True, pair=["vnet", "flat"])["pair"]["stated"] == BEFORE
    fourth = stated(third, results_exist=True, pair=["deep", "wide"], control="vnet")
    assert [old["stated"] for old in fourth["pair"]["earlier"]] == [BEFORE, AFTER]


def test_what_is_first_stated_after_results_is_told():
    record = stated(None, results_exist=True, pair=["deep", "flat"])
    assert explain_changes(record) == [
        "The pair of the comparison of networks was first stated after results existed: now deep against flat.",
        "The control of the comparison of networks was first stated after results existed: now deep.",
    ]
    assert stated(record, results_exist=True, pair=["deep", "flat"]) == record
    # without a pair there is nothing to tell of it
    assert len(explain_changes(stated(None, results_exist=True))) == 1


GRID = {"dimensions": [2, 3], "initial_maps": [4], "levels": [3]}


def study_with(tmp_path, monkeypatch, **overlay):
    monkeypatch.chdir(tmp_path)
    overlay = {"phantom": {"people": 12}, "grid": GRID, **overlay}
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(settings, overlay)
    return read_study(settings, Typed(words=(), overlays=(), settings=overlay), tmp_path)


def test_a_study_refuses_networks_that_it_does_not_have(tmp_path, monkeypatch):
    asked = {"pair": ["unet3d-f4-l3", "unet2d-f4-l3"]}
    study = study_with(tmp_path, monkeypatch, network_comparison=asked)
    assert study.config["network_comparison"]["bootstrap"] == 2000
    with pytest.raises(ConfigError, match="pair: no network is called unet3d-f8-l3"):
        study_with(tmp_path, monkeypatch, network_comparison={"pair": ["unet3d-f8-l3", "unet2d-f4-l3"]})
    # one network alone, to be compared in a later run
    alone = study_with(tmp_path, monkeypatch, network_comparison=asked, only_networks=["unet2d-f4-l3"])
    assert list(alone.networks) == ["unet2d-f4-l3"]
