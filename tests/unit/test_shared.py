"""Functions that all packages share: atomic files, seeds, digests, the study's folder, finished models."""

import json
import sys
from dataclasses import replace

import pytest

from lib.atomic import whole_file, whole_folder, write_json
from lib.cohort.placement import Placement
from lib.cohort.scans import (
    SCAN_COLUMNS,
    accepted_scans,
    gather_screening,
    read_folds,
    read_records,
    require_slice_axis,
    write_folds,
    write_records,
)
from lib.cohort.table import planned_cohort
from lib.commands.rerun import files_to_rerun, main
from lib.errors import ConfigError, ModelError
from lib.learning.finished import (
    TrainingPlan,
    changes_of_folds,
    changes_since,
    check_preprocessing,
    check_structures,
    read_finished,
)
from lib.measured import join_measured, read_measured
from lib.provenance import _read_module, code_digest, settings_digest, versions, workflow_version
from lib.pseudonyms import pseudonyms
from lib.seeding import derive_seed, fold_seed
from lib.stats.tables import prediction_key, structure_key
from lib.study import check_study, read_comparison, study_identity, write_study

SECRET = bytes(range(32))


def test_a_failed_write_leaves_neither_half_nor_temporary_file(tmp_path):
    target = tmp_path / "image.nii.gz"
    target.write_text("whole")
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["image.nii.gz"]
    assert target.read_text() == "whole"


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "batch-0"
    with pytest.raises(RuntimeError), whole_folder(target) as temporary:
        (temporary / "a").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    for name in ("a", "b"):
        with whole_folder(target) as temporary:
            (temporary / name).touch()
            assert not (target / name).exists()
    assert [path.name for path in target.iterdir()] == ["b"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"dsc": float("nan")})
    assert not list(tmp_path.iterdir())


def test_seeds_differ_by_purpose_and_are_stable():
    seeds = {derive_seed(2020, "fold", fold) for fold in range(100)}
    assert len(seeds) == 100
    assert derive_seed(2020, "fold", 3) == derive_seed(2020, "fold", 3)
    assert all(0 <= seed < 2**63 for seed in seeds)


def digest_of(path, text):
    path.write_text(text)
    _read_module.cache_clear()  # as in another process
    return _read_module(path)["digest"]


def test_digest_ignores_comments_and_docstrings_but_no_code(tmp_path):
    def digest(text):
        return digest_of(tmp_path / f"{abs(hash(text))}.py", text)

    plain = digest("def f(x):\n    return x + 1\n")
    assert digest('"""Doc."""\n\n\ndef f(x):  # why\n    """Say."""\n    return x + 1\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain


def test_digest_is_kept_until_the_source_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    source, kept = tmp_path / "a.py", tmp_path / "__pycache__/a.provenance.json"
    first = digest_of(source, "a = 1\n")
    written = kept.stat().st_mtime_ns
    _read_module.cache_clear()
    assert _read_module(source)["digest"] == first and kept.stat().st_mtime_ns == written
    assert digest_of(source, "a = 2\n") != first
    kept.write_text("damaged")
    assert digest_of(source, "a = 1\n") == first


def test_digest_covers_what_a_script_reaches_and_nothing_else():
    assert code_digest("scripts/resample_image.py") != code_digest("scripts/gather_screening.py")
    assert code_digest("scripts/resample_image.py") == code_digest("scripts/resample_image.py")


def test_settings_digest_ignores_order():
    assert settings_digest({"a": 1, "b": [2]}) == settings_digest({"b": [2], "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})


def test_versions():
    assert versions(["numpy", "no-such-package"])["no-such-package"] == "absent"
    assert workflow_version().count(".") == 2


def test_another_study_in_the_same_folder_is_refused(tmp_path):
    path = tmp_path / "study.json"
    demo = study_identity(study="demo", table="results/phantom/cohort.csv", synthetic=True, model="")
    check_study(path, demo)
    write_study(path, demo, {"pair": {}})
    check_study(path, demo)
    assert read_comparison(path) == {"pair": {}}
    write_study(path, demo, {})
    assert read_comparison(path) == {} and read_comparison(tmp_path / "none.json") is None
    real = study_identity(study="", table="../secret/hips.csv", synthetic=False, model="")
    assert real["study"] == "hips" and "secret" not in json.dumps(real)
    with pytest.raises(ConfigError, match="--directory"):
        check_study(path, real)
    with pytest.raises(ConfigError, match="different: model"):
        check_study(path, demo | {"model": "x"})


def finished_fold(folder, fold, **changes):
    path = folder / f"fold-{fold}"
    path.mkdir(parents=True)
    path.joinpath("model.pt").touch()
    run = {
        "format": 3,
        "group": "all",
        "network": "vnet",
        "takes": {},
        "structures": ["femur"],
        "architecture": {},
        "preprocessing": {"resample": {"inplane_mm": 2.4}},
        "window_slices": 32,
    }
    write_json(path / "run.json", run | changes)


def test_finished_models_tell_their_group_and_folds(tmp_path):
    finished_fold(tmp_path, 0)
    finished_fold(tmp_path, 2)
    models = read_finished(tmp_path)
    assert (models.group, models.network, models.folds) == ("all", "vnet", (0, 2))
    same = {
        "bias_field": {"method": "none"},
        "resample": {"inplane_mm": 2.4},
    }  # a model without the entry has none
    check_preprocessing(models, same, "z", "x")
    with pytest.raises(
        ModelError, match=r"resample.inplane_mm: the models need 2.4, the configuration has 'native'"
    ):
        check_preprocessing(models, same | {"resample": {"inplane_mm": "native"}}, "z", "x")
    with pytest.raises(
        ModelError, match=r"bias_field.method: the models need 'none', the configuration has 'n4'"
    ):
        check_preprocessing(models, same | {"bias_field": {"method": "n4"}}, "z", "x")


def test_finished_models_need_the_slice_axis_of_their_training(tmp_path):
    finished_fold(tmp_path / "axial", 0)
    finished_fold(tmp_path / "coronal", 0, slice_axis="y")
    same = {"bias_field": {"method": "none"}, "resample": {"inplane_mm": 2.4}}
    axial, coronal = (read_finished(tmp_path / name) for name in ("axial", "coronal"))
    assert (axial.slice_axis, coronal.slice_axis) == (
        "z",
        "y",
    )  # a model without the entry learned axial slices
    for models, axis in ((axial, "z"), (coronal, "y"), (coronal, "acquired")):
        check_preprocessing(models, same, axis, "x")
    with pytest.raises(
        ModelError, match=r"model_frame.slice_axis: the models need 'y', the configuration has 'z'"
    ):
        check_preprocessing(coronal, same, "z", "x")


def test_models_of_other_structures_are_refused_by_name_and_order(tmp_path):
    finished_fold(tmp_path / "two", 0, structures=["L1", "L2"])
    finished_fold(tmp_path / "old", 0, structures=["femur"])
    record = tmp_path / "old/fold-0/run.json"
    record.write_text(
        json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "structures"})
    )
    check_structures(read_finished(tmp_path / "two"), {"L1": (20,), "L2": (21,)}, "x")
    check_structures(read_finished(tmp_path / "old"), {"femur": ()}, "x")
    for folder, structures, offered in (("two", ["L2", "L1"], "L2, L1"), ("old", ["L1"], "L1")):
        with pytest.raises(ModelError, match=f"the configuration has structures {offered}; nothing was run"):
            check_structures(read_finished(tmp_path / folder), structures, "x")
    finished_fold(tmp_path / "two", 1, structures=["L2", "L1"])
    with pytest.raises(ModelError, match="fold-1 was trained on different input"):
        read_finished(tmp_path / "two")


def test_folder_without_models_is_a_clear_error(tmp_path):
    with pytest.raises(ModelError, match="holds no finished model"):
        read_finished(tmp_path)
    finished_fold(tmp_path, 0)
    finished_fold(tmp_path, 1, preprocessing={"resample": {"inplane_mm": 0.8}})
    with pytest.raises(ModelError, match="fold-1 was trained on different input"):
        read_finished(tmp_path)


@pytest.mark.parametrize(("written", "age"), [(1, "an older"), (4, "a newer")])
def test_models_of_another_format_are_refused_before_anything_runs(tmp_path, written, age):
    finished_fold(tmp_path, 0, format=written)
    with pytest.raises(ModelError, match=f"format {written}, written by {age} Osteoflow; this one reads"):
        read_finished(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 3}'])
def test_a_damaged_record_is_named(tmp_path, text):
    finished_fold(tmp_path, 0)
    (tmp_path / "fold-0/run.json").write_text(text)
    with pytest.raises(ModelError, match=r"fold-0/run.json is damaged"):
        read_finished(tmp_path)


REASON = {
    "code": "gantry_tilt",
    "severity": "rejected",
    "found": "tilt 18.5 degrees",
    "rule": "r",
    "action": "Ask.",
}


def test_every_row_of_the_table_gets_a_verdict(tmp_path):
    cohort = planned_cohort(
        [
            {"scan": "A", "image": "a", "age": "93", "mask": "m"},
            {"scan": "B", "image": "b"},
            {"scan": "C", "image": "c", "exclude": "hip replacement"},
            {"scan": "D", "image": "d"},
        ],
        "cohort.csv",
    )
    warning = REASON | {"code": "crop_uncertain", "severity": "warning"}
    screened = {
        "A": {"verdict": "ok", "reasons": [warning], "structures": ["L1", "L3"]},
        "B": {"verdict": "rejected", "reasons": [REASON, warning]},
    }
    records = gather_screening(cohort, screened)
    write_records(records, SCAN_COLUMNS, tmp_path / "scans.csv")
    read = {record["scan"]: record for record in read_records(tmp_path / "scans.csv")}
    assert [record["verdict"] for record in read.values()] == ["ok", "rejected", "excluded", "missing"]
    assert [record["structures"] for record in read.values()] == ["L1 L3", "", "", ""]
    assert read["A"]["age"] == "90+" and read["A"]["warnings"] == "crop_uncertain"
    assert (
        read["B"]["reason"] == "gantry_tilt"
        and "tilt 18.5 degrees. What to do: Ask." in read["B"]["explanation"]
    )
    assert read["C"]["explanation"] == "hip replacement"
    assert [placement.scan for placement in accepted_scans(read.values())] == ["A"]


def test_folds_survive_the_file(tmp_path):
    rows = [
        Placement(
            scan="A", subject="P", sex="F", age=61.0, site="x", has_mask=True, set="train", fold=2, batch=1
        ),
        Placement(scan="B", subject="Q", sex="", age=None, site="", has_mask=False, set="apply", batch=0),
    ]
    write_folds(rows, tmp_path / "folds.csv")
    assert read_folds(tmp_path / "folds.csv") == rows
    assert read_folds(tmp_path / "none.csv") == []


def test_rerun_finds_all_scans_of_a_subject(tmp_path, capsys):
    results = tmp_path / "results"
    cohort = planned_cohort(
        [
            {"scan": "A1", "image": "a", "subject": "P"},
            {"scan": "A2", "image": "b", "subject": "P"},
            {"scan": "B", "image": "c"},
        ],
        "cohort.csv",
    )
    write_records(gather_screening(cohort, {}), SCAN_COLUMNS, results / "cohort/scans.csv")
    for scan in ("A1", "A2", "B"):
        path = results / f"cropped/{scan}/image.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    wanted = [f"results/cropped/{scan}/image.nii.gz" for scan in ("A1", "A2")]
    assert files_to_rerun("P", "crop_image", tmp_path) == wanted
    assert main(["A2", "crop_image", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == wanted[1:]
    assert main(["Z", "crop_image", str(tmp_path)]) == 1
    assert "neither a subject nor a scan" in capsys.readouterr().err
    assert main(["P", "measure_prediction", str(tmp_path)]) == 1


@pytest.fixture
def trained():
    """The record of a fold that was trained on scans A and B, and its settings."""
    configured = {
        "architecture": {"channels": (8, 16)},
        "train": {"epochs": 67, "device": "auto", "augment": {"gamma": [1, 2]}},
    }
    run = {"configured": configured, "code": "a", "training": pseudonyms("AB", SECRET)}
    return json.loads(json.dumps(run)), configured


def test_what_changed_since_a_training_is_said_in_words(trained):
    run, configured = trained
    today = {"code": "a", "training": ["B", "A"], "secret": SECRET}
    assert changes_since(run, configured=configured, **today) == []
    configured["train"] |= {"epochs": 80, "device": "cpu"}
    assert changes_since(run, configured=configured, **today) == ["train.epochs was 67, is 80"]
    configured["train"]["epochs"] = 67
    today |= {"code": "b", "training": ["A", "C", "D"]}
    assert changes_since(run, configured=configured, **today) == [
        "the code that trains has changed",
        "1 of its training scans would not be used today",
        "2 scans would be used today that were not used then",
    ]


def test_a_scan_without_a_crop_was_offered_to_a_regression_and_is_no_news(trained):
    run, configured = trained
    today = {"configured": configured, "code": "a", "training": ["A", "B", "C"], "secret": SECRET}
    assert changes_since(run, **today) == ["1 scan would be used today that was not used then"]
    assert changes_since(run | {"without_crops": pseudonyms("C", SECRET)}, **today) == []
    gone = today | {"training": ["A"]}
    assert changes_since(run | {"without_crops": pseudonyms("C", SECRET)}, **gone) == [
        "1 of its training scans would not be used today"
    ]


def test_each_fold_is_compared_with_what_would_train_it_today(trained):
    run, configured = trained
    models = []
    for group, fold in (("all", 0), ("all", 1), ("male", 0)):
        seed = fold_seed(7, group, fold)
        models.append((run | {"group": group, "network": "vnet", "fold": fold, "seed": seed}, SECRET))
    asked = {("all", 0): "AB", ("all", 1): "AC", ("male", 0): "AB"}
    plan = TrainingPlan(configured={"vnet": configured}, codes={"segment": "a"}, seed=7)
    changes = changes_of_folds(models, plan, lambda run: asked[run["group"], run["fold"]])
    assert list(changes) == ["all/vnet fold 0", "all/vnet fold 1", "male/vnet fold 0"]
    assert changes["all/vnet fold 0"] == changes["male/vnet fold 0"] == []
    assert len(changes["all/vnet fold 1"]) == 2  # B would no longer be used in training, C could be
    reseeded = changes_of_folds(models, replace(plan, seed=8), lambda run: asked[run["group"], run["fold"]])
    assert all(found[-1] == "the seed has changed" for found in reseeded.values())


def test_measurements_are_joined_with_their_flags_and_reasons():
    volume = {"mm3": 1.0, "hu": None, "undefined": {"hu": "empty"}}
    end = {"cut_mm3": None, "flags": ["cut"], "undefined": {"cut_mm3": "not seen"}}
    assert join_measured(volume, end, {"flags": ["air", "cut"]}) == {
        "mm3": 1.0,
        "hu": None,
        "cut_mm3": None,
        "flags": ["air", "cut"],
        "undefined": {"hu": "empty", "cut_mm3": "not seen"},
    }
    assert join_measured(volume, {"side": "left"}) == volume | {"side": "left"}
    assert volume["undefined"] == {"hu": "empty"}


def test_sections_of_measured_predictions_are_read_by_prediction(tmp_path):
    scored, plain = (tmp_path / f"measured/all/vnet/fold-3/{scan}.json" for scan in ("P001", "P002"))
    scored.parent.mkdir(parents=True)
    write_json(scored, {"volume": {"L1": {"mm3": 1.0}, "L2": {"mm3": 3.0}}, "overlap": {"L1": {"dsc": 0.9}}})
    write_json(plain, {"volume": {"L1": {"mm3": 2.0}}})
    volumes, overlaps, readers = read_measured((scored, plain), "volume", "overlap", "readers")
    folder = "all/vnet/fold-3"
    assert {key: record["mm3"] for key, record in volumes.items()} == {
        f"{folder}/P001/L1": 1.0,
        f"{folder}/P001/L2": 3.0,
        f"{folder}/P002/L1": 2.0,
    }
    assert (overlaps, readers) == ({f"{folder}/P001/L1": {"dsc": 0.9}}, {})
    row = {"group": "all", "network": "vnet", "members": "fold-3", "scan": "P001", "structure": "L1"}
    assert structure_key(row) in overlaps and prediction_key(row) == f"{folder}/P001"


def test_without_the_secret_no_scan_is_said_to_have_changed(trained):
    run, configured = trained
    (change,) = changes_since(run, configured=configured, code="a", training=["A", "B"], secret=None)
    assert "cannot be compared" in change and "study.secret" in change


def test_scans_acquired_along_another_axis_than_most_are_refused():
    cohort = planned_cohort([{"scan": scan, "image": scan} for scan in "ABCD"], "cohort.csv")
    screened = {
        scan: {"verdict": "ok", "reasons": [], "geometry": {"acquired_axis": axis}}
        for scan, axis in zip("ABCD", "yyzy", strict=True)
    }
    screened["D"]["verdict"] = "rejected"
    for wanted, refused in (("acquired", "C"), ("y", "C"), ("z", "AB"), ("", "")):
        records = gather_screening(cohort, screened, {}, wanted)
        found = {record["scan"]: record for record in records if record["reason"] == "other_slice_axis"}
        assert set(found) == set(refused), wanted
    records = gather_screening(cohort, screened, {}, "acquired")
    assert records[2]["explanation"] == (
        "slices acquired along z; the study's run along y (2 of 3 scans). Leave it out, or set "
        "model_frame.slice_axis to one of z, y, x for all scans."
    )


@pytest.mark.parametrize(
    ("axes", "found"),
    [
        (
            "yyzz",
            "2 along y (coronal slices) and 2 along z (axial slices). Set model_frame.slice_axis to y or z, ",
        ),
        (
            "xzz-x",
            "2 along x (sagittal slices) and 2 along z (axial slices). Set model_frame.slice_axis to x or z, ",
        ),
        (
            "xyz",
            "1 along x (sagittal slices) and 1 along y (coronal slices) and 1 along z (axial slices). Set ",
        ),
    ],
)
def test_as_many_scans_along_one_axis_as_along_another_decide_nothing(axes, found):
    """A dash is a scan that was refused; its axis does not count."""
    names = "ABCDE"[: len(axes)]
    cohort = planned_cohort([{"scan": scan, "image": scan} for scan in names], "cohort.csv")
    screened = {
        scan: {
            "verdict": "rejected" if axis == "-" else "ok",
            "reasons": [],
            "geometry": {"acquired_axis": axis.replace("-", "z")},
        }
        for scan, axis in zip(names, axes, strict=True)
    }
    records = gather_screening(cohort, screened, {}, "acquired")
    assert [record["verdict"] for record in records] == [screened[scan]["verdict"] for scan in names]
    with pytest.raises(ConfigError) as caught:
        require_slice_axis(records, screened)
    assert found in str(caught.value) and "`exclude` in the cohort table" in str(caught.value)
    # one scan more decides, and so does a named axis
    cohort |= planned_cohort([{"scan": "F", "image": "F"}], "cohort.csv")
    screened["F"] = {"verdict": "ok", "reasons": [], "geometry": {"acquired_axis": axes[0]}}
    records = gather_screening(cohort, screened, {}, "acquired")
    kept = {record["scan"] for record in records if record["verdict"] == "ok"}
    assert kept == {scan for scan in screened if screened[scan]["geometry"]["acquired_axis"] == axes[0]}
    require_slice_axis(records, screened)
    require_slice_axis(records, {})
