"""Settings stated, deduced and chosen for the article: one list, the docs, config.yaml and the report agree."""

import re
from pathlib import Path

import pytest
import yaml

from lib.pages.protocol_text import NETWORK, choices_table, paper_text
from lib.publications.article import TAGS
from lib.publications.zhao_2020 import ZHAO_2020

CHOICES = ZHAO_2020.choices
ROOT = Path(__file__).parents[2]
CONFIG = (ROOT / "config.yaml").read_text(encoding="utf-8")
SETTINGS = yaml.safe_load(CONFIG)
NAMED = {name: choice for choice in CHOICES for name in choice.settings}
# settings of these sections that do not affect results of the protocol, or only together with listed ones
BESIDE = {
    *(
        "crop.bone_hu",
        "crop.min_margin_mm",
        "train.bone_weight",
        "train.validate_every",
        "train.validate_step",
    ),
    *("train.checkpoint_minutes", "train.device", "train.memory_layout", "train.fused", "train.compile"),
    *("train.device_cache_gb", "train.host_cache_gb", "predict.batch_windows", "predict.batch_scans"),
    *("predict.review_member_dice", "predict.spacing_factor"),
}


def settings_of(section, prefix):
    """Yield the dotted names of a section's settings."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from settings_of(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def changed(name, value):
    """The settings of config.yaml with one value changed."""
    settings = yaml.safe_load(CONFIG)
    *folders, last = name.split(".")
    section = settings
    for folder in folders:
        section = section[folder]
    assert section[last] != value
    section[last] = value
    return settings


def said(settings, trained=True, tested=True):
    runs = [{"network": name, "architecture": entry} for name, entry in settings["networks"].items()]
    return paper_text(ZHAO_2020, settings, runs, "[1]", {"train": trained, "test": tested})


def test_the_list_holds_every_setting_that_makes_the_protocol_with_its_default():
    sections = (
        "resample",
        "crop",
        "intensity",
        "model_frame",
        "folds",
        "networks",
        "train",
        "predict",
        "mask",
    )
    there = {name for section in sections for name in settings_of(SETTINGS[section], f"{section}.")}
    assert there - BESIDE == set(NAMED) - {"groups"}
    assert "reading of Zhao et al. (2020) [1]. In any case" in said(SETTINGS)


def test_config_repeats_the_mark_of_each_setting():
    marks, path = {}, []
    for line in CONFIG.splitlines():
        if found := re.match(r"( *)(\w+):.*?(?:# \[(\w+)\] .*)?$", line):
            path = [(depth, name) for depth, name in path if depth < len(found[1])]
            path.append((len(found[1]), found[2]))
            if found[3]:
                marks[".".join(name for _, name in path)] = found[3]
    assert marks == {name: choice.tag for name, choice in NAMED.items()}


def test_the_documentation_shows_the_list():
    page = (ROOT / "docs/zhao-2020.md").read_text(encoding="utf-8")
    assert choices_table(ZHAO_2020) in page
    assert all(f"- [{tag}]: {words}." in page for tag, words in TAGS.items())
    assert {choice.tag for choice in CHOICES} == set(TAGS)
    assert all(choice.tag == "deviates" for choice in CHOICES if choice.departs or choice.departs_in_test)


def test_a_study_without_test_people_departs_in_nothing_that_concerns_them():
    assert "no weights are chosen on test people; test people are predicted by all folds" in said(SETTINGS)
    assert "test people" not in said(SETTINGS, tested=False)
    assert "PyTorch replaces TensorFlow. What the article leaves open" in said(SETTINGS, tested=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resample.method", "area"),
        ("folds.folds", 3),
        ("networks.vnet.kernel", 5),
        ("train.epochs", 300),
        ("train.augment.rotation_degrees", 0.0),
        ("predict.z_padding", 16),
    ],
)
def test_a_value_other_than_the_articles_is_another_protocol(name, value):
    words = said(changed(name, value))
    assert words.startswith(
        f"This is not the protocol of Zhao et al. (2020) [1]: {name} {value}".removesuffix(".0")
    )
    assert "Osteoflow’s own choices differ" not in words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("train.batch_size", 4, "train.batch_size 4 (in place of 1)"),
        ("train.augment.mirror_axes", [], "train.augment.mirror_axes none (in place of y)"),
        (
            "networks.vnet.normalisation",
            "instance",
            "networks.vnet.normalisation instance (in place of none)",
        ),
        ("mask.keep_largest", False, "mask.keep_largest False (in place of True)"),
    ],
)
def test_another_choice_of_what_is_open_is_named_and_contradicts_nothing_stated(name, value, words):
    assert f"state were kept; others differ: {words}." in said(changed(name, value))


def test_of_finished_models_the_configuration_tells_no_training():
    assert "reading of Zhao" in said(changed("train.epochs", 300), trained=False)
    assert "networks.vnet.kernel 5" in said(changed("networks.vnet.kernel", 5), trained=False)


def test_settings_of_the_network_are_those_of_the_default_one():
    (network,) = SETTINGS["networks"]
    assert f"networks.{network}." == NETWORK
