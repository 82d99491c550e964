"""The overlays of studies/: each is read, and its networks, folds and people are those that it promises."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from lib.catalog.stages import unused_stages
from lib.checked_study import Typed, read_study
from lib.learning.network_grid import GridConfig, networks_of_study
from lib.learning.train_settings import TrainConfig
from lib.phantom.people import PhantomConfig, phantom_people
from lib.settings import check_settings
from tests.study import ROOT

OVERLAYS = sorted((ROOT / "studies").glob("*.yaml"))
PREPARED = ("screening", "resample", "crop", "model_frame", "intensity")


def read(path):
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def merged(base, changes):
    """Return settings with those of an overlay, as Snakemake merges them."""
    both = {
        key: merged(base[key], value)
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        else value
        for key, value in changes.items()
    }
    return base | both


def settings_of(name):
    return merged(read(ROOT / "config.yaml"), read(ROOT / f"studies/{name}.yaml"))


def networks_in(name):
    settings = settings_of(name)
    return list(networks_of_study(settings["networks"], (), GridConfig(**settings["grid"]), ()))


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_follows_the_schema(path):
    check_settings(settings_of(path.stem), read(ROOT / "schemas/config.schema.yaml"))


def test_the_grid_of_the_mr_study_has_45_networks():
    names = networks_in("mr-femur")
    assert sum("unet2d" in name for name in names) == 3 * 3 * 3
    assert sum("unet3d" in name for name in names) == 2 * 3 * 3
    assert {"unet2d-f64-l5-d4", "unet3d-f32-l4", "unet3d-f16-l3-d2"} <= set(names)
    assert not [name for name in names if name.startswith("unet3d-f64")]
    assert sum("-d" not in name for name in names) == 15


def test_the_mr_study_weighs_bone_by_the_training_scans_and_holds_nobody_out():
    settings = settings_of("mr-femur")
    train = TrainConfig(**settings["train"])
    assert (train.loss, train.bone_weight, train.window_slices) == ("cross_entropy", "auto", 48)
    assert settings["folds"]["folds"] == 4 and settings["folds"]["test_fraction"] == 0
    assert settings["phantom"]["people"] == 0 and settings["phantom"]["modality"] == "MR"


def test_the_mr_demo_is_the_study_with_synthetic_people_and_small_networks():
    study, demo = settings_of("mr-femur"), settings_of("mr-femur-demo")
    assert {key: demo[key] for key in PREPARED} == {key: study[key] for key in PREPARED}
    assert [demo["folds"][key] for key in ("folds", "test_fraction")] == [4, 0]
    assert networks_in("mr-femur-demo") == [
        f"unet{dimensions}d-f{maps}-l3{dilated}"
        for dimensions in (2, 3)
        for maps in (4, 8)
        for dilated in ("", "-d2")
    ]


def test_the_mr_demo_has_twelve_people_a_hard_one_and_a_right_hip():
    people = phantom_people(PhantomConfig(**settings_of("mr-femur-demo")["phantom"]))
    ordinary = [person for person in people if person.scan.startswith("P")]
    assert sorted(person.sex for person in ordinary) == 6 * ["F"] + 6 * ["M"]
    assert [person.scan for person in people if person.variant == "hard"] == ["H01"]
    assert [person.defect for person in people if person.defect] == [
        "missing_slice",
        "localizer",
        "second_series",
        "right_side",
    ]
    assert [person.side for person in people].count("right") == 1


def make_demo(*variables):
    """Return what `make demo` would run."""
    return subprocess.run(
        ["make", "--dry-run", "demo", *variables], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_make_demo_runs_the_ct_demo_and_another_one_in_its_own_folder():
    usual, other = make_demo(), make_demo("STUDY=mr-femur", "CORES=4")
    assert "--configfile studies/demo.yaml" in usual and "--directory" not in usual
    assert "There is no such demo" not in usual + other
    assert "--configfile studies/mr-femur-demo.yaml --directory demos/mr-femur/" in other
    assert f"{ROOT}/demos/mr-femur/results/report/index.html" in other
    assert "demos/" in (ROOT / ".gitignore").read_text().split()


def test_make_demo_names_the_demos_when_there_is_no_such_one():
    printed = make_demo("STUDY=spin")
    assert "There is no such demo" in printed and "mr-femur" in printed


def test_the_study_of_the_spine_goes_without_densities(tmp_path, monkeypatch):
    """An overlay switches regression and classes off with null; `{}` changes nothing, because overlays are merged."""
    monkeypatch.chdir(tmp_path)
    off = {"phantom": {"people": 4}, "regression": {"targets": None}, "classes": {"means": None}}
    overlay = merged(read(ROOT / "studies/ct-spine.yaml"), off)
    study = read_study(
        merged(read(ROOT / "config.yaml"), overlay), Typed(words=[], overlays=[], settings=overlay), tmp_path
    )
    assert not study.targets and not study.regression_networks
    assert list(study.structures) == ["L1", "L2", "L3", "L4", "L5", "sacrum"]
    assert "train_regression" in unused_stages(study.config, calibrates=False)
    kept = merged(overlay, {"regression": {"targets": {"L1": "bmd_l1_k2hpo4_mg_cm3"}}})
    study = read_study(
        merged(read(ROOT / "config.yaml"), kept), Typed(words=[], overlays=[], settings=kept), tmp_path
    )
    assert list(study.targets) == ["L1"]
