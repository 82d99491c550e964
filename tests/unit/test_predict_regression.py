"""Estimates by finished regression models: which they refuse, their files and their cards."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.atomic import write_json
from lib.checked_study import Typed, read_study
from lib.errors import ModelError, TrainingError
from lib.learning.checkpoint import read_model, write_model
from lib.learning.compute import choose_compute
from lib.learning.finished import (
    describe_regression,
    folders_by_task,
    read_finished,
    read_finished_regression,
)
from lib.learning.history import history_columns, write_history
from lib.learning.predict_regression import estimate_crops, load_estimator
from lib.learning.regression_card import regression_card
from lib.learning.tasks.regress import correlation
from lib.learning.train_regression import train_regression
from lib.training_crops import read_crops, read_target_crops
from tests.unit.regression_crops import COLUMN, NETWORK, TARGETS, crop, crops, settings
from tests.unit.test_card import FACTS
from tests.unit.test_settings import DEFAULTS, merged

TEST = crops(200, 20)
OF_SEGMENTATION = FACTS | {"takes": {}, "window_slices": 32}
GROUP = {
    "people": 30,
    "scans": 32,
    "sexes": {"F": 20, "M": 10},
    "ages": {"youngest": "40-49", "oldest": "80-89"},
    "pseudonyms": ["a1", "b2"],
}
PEOPLE = {
    "training": ["c3"],
    "validation": ["d4"],
    "people": {"training": GROUP, "validation": GROUP | {"people": 8, "scans": 8}},
    "pseudonym_key": "k",
}
CROP = json.loads(json.dumps(asdict(settings().crop)))


def metadata_of(trained, fold=0):
    fact = {
        "group": "all",
        "takes": {},
        "network": "densenet",
        "fold": fold,
        "synthetic": True,
        "anatomy": "lumbar-spine",
        "modality": "CT",
        "preprocessing": {"resample": {}},
        "segmentation": "unet",
        "configured": {},
    }
    return describe_regression(fact | trained.facts, people=PEOPLE, folds_sha256="f" * 64)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the folder of two trained folds and of one that was not trained."""
    folder = tmp_path_factory.mktemp("models") / "densenet"
    for fold, epochs in enumerate((20, 20, 0)):
        how = replace(settings(epochs=epochs), seed=fold)
        trained = train_regression(crops(40 * fold, 32), crops(150, 8), how, folder / "state.pt")
        made, place = metadata_of(trained, fold), folder / f"fold-{fold}"
        write_history(place / "history.csv", trained.history, "regress")
        write_json(place / "run.json", made)
        write_model(place / "model.pt", made | {"last": trained.last, "best": trained.best})
    return folder


def estimator(models, *folds, asked=(TARGETS, CROP), weights="last"):
    paths = [models / f"fold-{fold}" / "model.pt" for fold in folds]
    return load_estimator(paths, weights, choose_compute("cpu", "float32"), asked)


def estimates(made, given=TEST):
    return [estimate_crops(made, {"L1": (each.image_zyx, each.mask_zyx)})["L1"] for each in given]


def test_an_ensemble_estimates_the_density_of_people_it_never_saw(models):
    found = estimates(estimator(models, 0, 1))
    values, references = [each["value"] for each in found], [each.target for each in TEST]
    assert correlation(np.array(references), np.array(values)) > 0.97
    assert np.sqrt(np.mean((np.array(values) - references) ** 2)) < 20
    for each in found:
        folds = each["by_fold"]
        assert list(folds) == ["fold-0", "fold-1"] and folds["fold-0"] != folds["fold-1"]
        assert each["value"] == pytest.approx(np.mean([*folds.values()]))
        assert each["sd"] == pytest.approx(np.std([*folds.values()], ddof=1))


def test_one_fold_has_no_spread(models):
    (one,) = estimates(estimator(models, 1), TEST[:1])
    assert one["sd"] is None and one["by_fold"] == {"fold-1": one["value"]}
    assert estimates(estimator(models, 0, 1), TEST[:1])[0]["by_fold"]["fold-1"] == pytest.approx(one["value"])


def test_an_untrained_model_estimates_the_mean_of_its_people_for_all(models):
    mean = read_model(models / "fold-2/model.pt", "regress")["target"]["mean"]
    values = {each["value"] for each in estimates(estimator(models, 2))}
    assert values == {mean}  # no correlation can be taken of a constant
    assert correlation(np.array([each.target for each in TEST]), np.full(len(TEST), mean)) is None


def test_structures_of_a_scan_are_estimated_together_as_alone(models):
    made = estimator(models, 0)
    pair = {name: (each.image_zyx, each.mask_zyx) for name, each in zip(("L1", "L2"), TEST, strict=False)}
    together = estimate_crops(made, pair)
    assert list(together) == ["L1", "L2"]
    for each, alone in zip(together.values(), estimates(made, TEST[:2]), strict=True):
        assert each["value"] == pytest.approx(alone["value"], abs=1e-3)
    assert estimate_crops(made, {}) == {}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            ({"L1": "bmd_l1_caha_mg_cm3"}, CROP),
            f"asks for bmd_l1_caha_mg_cm3 of L1, and the model learned {COLUMN}",
        ),
        (({"L1": "qct_l1_k2hpo4_mg_cm3"}, CROP), "asks for qct_l1_k2hpo4_mg_cm3"),
        (({"L4": "bmd_l4_k2hpo4_mg_cm3"}, CROP), "of L4, and the model learned L1, L2 only"),
        ((TARGETS, CROP | {"high_hu": 700.0}), r"regression\.crop\.high_hu was 800\.0 .* is 700\.0"),
        ((TARGETS, CROP | {"size": [32, 32, 32]}), r"regression\.crop\.size was \[16, 16, 16\]"),
        ((TARGETS, CROP | {"mask_channel": False}), r"regression\.crop\.mask_channel was True"),
    ],
)
def test_another_column_scale_or_crop_is_refused(models, asked, words):
    with pytest.raises(ModelError, match=words):
        estimator(models, 0, asked=asked)
    with pytest.raises(ModelError, match=words):
        read_finished_regression(models).require(*asked)


def test_fewer_structures_and_other_masks_are_accepted(models):
    assert (
        estimator(models, 0, asked=({"L1": COLUMN}, CROP | {"masks": "reference"})).target["scale"]
        == "k2hpo4"
    )
    read_finished_regression(models).require({"L1": COLUMN}, CROP)


def test_a_model_of_another_task_is_refused(models, tmp_path):
    with pytest.raises(
        ModelError, match=r"estimates a number from crops \(task regress\); expected one that finds"
    ):
        read_model(models / "fold-0/model.pt")
    with pytest.raises(ModelError, match="task regress"):
        read_finished(models)
    write_json(tmp_path / "unet/fold-0/run.json", {"format": 3, "task": "segment"} | OF_SEGMENTATION)
    (tmp_path / "unet/fold-0/model.pt").touch()
    with pytest.raises(ModelError, match="finds structures"):
        read_finished_regression(tmp_path / "unet")


def test_a_folder_may_hold_a_network_of_each_task(models, tmp_path):
    assert folders_by_task(models) == {"regress": models}
    (tmp_path / "densenet").symlink_to(models)
    write_json(tmp_path / "unet/fold-0/run.json", {"format": 3} | OF_SEGMENTATION)
    assert folders_by_task(tmp_path) == {"regress": tmp_path / "densenet", "segment": tmp_path / "unet"}
    (tmp_path / "other").symlink_to(models)
    with pytest.raises(ModelError, match=r"several networks of the task regress \(densenet, other\)"):
        folders_by_task(tmp_path)
    with pytest.raises(ModelError, match="holds no finished model"):
        folders_by_task(tmp_path / "none")


def test_finished_models_without_a_regression_are_refused_where_one_is_asked(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overlay = {
        "model": str(models),
        "phantom": {"people": 4, "anatomy": "lumbar-spine"},
        "anatomy": "lumbar-spine",
        "publication": "none",
        "structures": {"L1": [1], "L2": [2]},
        "mask": {"method": "argmax"},
        "crop": {"method": "none"},
        "resample": {"method": "none"},
        "regression": {"targets": TARGETS},
    }
    typed = Typed(words=[], overlays=[], settings=overlay)
    with pytest.raises(ModelError, match="task regress.*expected one that finds structures"):
        read_study(merged(DEFAULTS, overlay), typed, tmp_path)
    write_json(tmp_path / "unet/fold-0/run.json", {"format": 3} | OF_SEGMENTATION)
    (tmp_path / "unet/fold-0/model.pt").touch()
    overlay["model"] = str(tmp_path / "unet")
    with pytest.raises(ModelError, match="holds no network that regresses"):
        read_study(merged(DEFAULTS, overlay), typed, tmp_path)


def test_the_model_file_and_its_record_tell_the_same(models):
    run = json.loads((models / "fold-0/run.json").read_text())
    model = read_model(models / "fold-0/model.pt", "regress")
    told = {key: value for key, value in model.items() if key in run and key != "preprocessing"}
    assert json.loads(json.dumps(told)) == {key: run[key] for key in run if key != "preprocessing"}
    assert run["format"] == 3 and run["task"] == "regress"
    assert set(model) - set(run) - {"slice_axis"} == {"last", "best"}
    assert run["software"]["monai"].startswith("1.")
    found = read_finished_regression(models)
    assert (found.group, found.network, found.folds) == ("all", "densenet", (0, 1, 2))
    assert found.is_of_synthetic_people


def test_weights_that_do_not_fit_are_refused(models, tmp_path):
    model = read_model(models / "fold-0/model.pt", "regress")
    wide = model | {"architecture": model["architecture"] | {"growth": 8}}
    write_model(tmp_path / "fold-0/model.pt", wide)
    with pytest.raises(ModelError, match="do not fit its own description"):
        estimator(tmp_path, 0)
    with pytest.raises(ModelError, match="no model to estimate with"):
        load_estimator([], "last", choose_compute("cpu"), (TARGETS, CROP))


def test_the_history_has_the_columns_of_the_task(models):
    lines = (models / "fold-0/history.csv").read_text().splitlines()
    assert lines[0].split(",") == list(history_columns("regress"))
    assert "validation_rmse" in lines[0] and "validation_dice" not in lines[0] and len(lines) == 21
    assert (models / "fold-2/history.csv").read_text().splitlines() == lines[:1]


def test_the_card_tells_target_scale_people_crops_and_error(models):
    run = json.loads((models / "fold-0/run.json").read_text())
    card = regression_card(run)
    for words in (
        "# all/densenet, fold 0",
        "task `regress`",
        "16 x 16 x 16 voxels (x, y, z) of 3 mm",
        "of the mask of the network `unet`, by a fold that was not trained on the person",
        "-200 to 800 HU",
        f"| L1 | `{COLUMN}` |",
        "| scale | k2hpo4;",
        "| training | 30 | 32 |",
        "| training | 32 (L1 32) |",
        "| validation | 8 (L1 8) |",
        f"Root mean square error of the validation crops: {run['best_validation_rmse']:.2f} mg/cm3",
        "DenseNet (Huang et al. 2017), built with MONAI 1.",
        "Trained on a synthetic cohort",
    ):
        assert words in card
    assert not any(name in card for name in ("a1", "b2", "c3", "d4"))
    untrained = regression_card(json.loads((models / "fold-2/run.json").read_text()))
    assert "The network was not trained: it estimates the mean" in untrained
    assert "This training failed" in untrained and "epochs: 0" in untrained


def write_crop(folder, each, spacing_mm=3.0):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((each.structure, each.image_zyx), (f"{each.structure}_mask", each.mask_zyx)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((spacing_mm,) * 3)
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))


def test_crops_without_a_reference_or_without_a_file_are_skipped(tmp_path):
    both = [crop(1, structure="L1"), crop(2, structure="L2")]
    for each in both:
        write_crop(tmp_path / "s1", each)
    write_crop(tmp_path / "s2", crop(3, structure="L2"))
    (tmp_path / "s3").mkdir()
    targets = {"s1": {"L1": 100.0}, "s2": {"L1": 50.0, "L2": 120.0}, "s3": {"L1": 1.0}}
    found = list(
        read_target_crops([tmp_path / name for name in ("s1", "s2", "s3")], targets, settings().crop)
    )
    assert [(each.scan, each.structure, each.target) for each in found] == [
        ("s1", "L1", 100.0),
        ("s2", "L2", 120.0),
    ]
    assert np.array_equal(found[0].image_zyx, both[0].image_zyx) and found[0].image_zyx.dtype == np.int16
    assert np.array_equal(found[0].mask_zyx, both[0].mask_zyx) and found[0].mask_zyx.dtype == np.uint8
    assert read_crops(tmp_path / "s3", TARGETS, settings().crop) == {}


def test_crops_of_another_spacing_are_refused(tmp_path):
    write_crop(tmp_path / "s1", crop(1), spacing_mm=2.0)
    with pytest.raises(
        TrainingError, match=r"scan s1, L1: the crop has voxels of 2 x 2 x 2 mm; expected 3 mm"
    ):
        read_crops(tmp_path / "s1", TARGETS, settings().crop)


def test_the_weights_best_are_those_of_the_best_validation(models):
    last, best = estimator(models, 0), estimator(models, 0, weights="best")
    model = read_model(models / "fold-0/model.pt", "regress")
    for made, name in ((last, "last"), (best, "best")):
        state = made.networks["fold-0"].state_dict()
        assert all(torch.equal(state[key], value) for key, value in model[name].items())


def test_a_study_takes_both_networks_of_a_folder(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan").mkdir()
    table = f"scan,image,{','.join(TARGETS.values())}\nS1,scan,100.5,\n"
    (tmp_path / "cohort.csv").write_text(table)
    overlay = {
        "cohort": "cohort.csv",
        "model": "both",
        "groups": {"all": {}},
        "anatomy": "lumbar-spine",
        "publication": "none",
        "structures": {"L1": [1], "L2": [2]},
        "mask": {"method": "argmax"},
        "crop": {"method": "none"},
        "regression": {
            "targets": TARGETS,
            "crop": CROP,
            "networks": {"densenet": NETWORK},
        },
    }
    config = merged(DEFAULTS, overlay)
    preprocessing = {name: config[name] for name in ("bias_field", "resample", "intensity")}
    preprocessing["crop"] = {name: config["crop"][name] for name in ("method", "size")}
    run = OF_SEGMENTATION | {"format": 3, "preprocessing": preprocessing, "structures": ["L1", "L2"]}
    write_json(tmp_path / "both/unet/fold-0/run.json", run)
    (tmp_path / "both/unet/fold-0/model.pt").touch()
    (tmp_path / "both/densenet").symlink_to(models)
    typed = Typed(words=[], overlays=[], settings=overlay)
    study = read_study(config, typed, tmp_path)
    assert study.finished.folder == "both/unet" and study.finished_regression.folder == "both/densenet"
    assert (study.networks, study.regression_networks, study.crop_network) == (["vnet"], ["densenet"], "vnet")
    assert study.scans["S1"].targets == {"L1": 100.5}
    other = merged(config, {"regression": {"crop": {"low_hu": -300.0}}})
    with pytest.raises(ModelError, match=r"both/densenet, fold-0: regression\.crop\.low_hu was -200\.0"):
        read_study(other, typed, tmp_path)
    caha = {name: column.replace("k2hpo4", "caha") for name, column in TARGETS.items()}
    (tmp_path / "cohort.csv").write_text(table.replace("k2hpo4", "caha"))
    with pytest.raises(
        ModelError, match="asks for bmd_l1_caha_mg_cm3 of L1, and the model learned bmd_l1_k2hpo4"
    ):
        read_study(merged(config, {"regression": {"targets": caha}}), typed, tmp_path)
