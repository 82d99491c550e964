"""The whole chain on a small synthetic cohort: complete, honest, and lazy the second time."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import SimpleITK as sitk
from conftest import OFF_PROTOCOL, OVERRIDDEN, SECOND_READ

from lib.learning.checkpoint import read_model
from lib.pseudonyms import read_secret, trained_on
from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow

METRICS = [
    "cohort",
    "model",
    "members",
    "protocol",
    "weights",
    "scan",
    "subject",
    "sex",
    "age",
    "site",
    "fold",
    "dsc",
    "dsc_native",
    "sensitivity",
    "specificity",
    "precision",
    "hd95_mm",
    "assd_mm",
    "nsd",
    "reference_mm3",
    "reference_native_mm3",
    "predicted_mm3",
    "re_percent",
    "otsu_threshold",
    "flags",
    "member_dice",
    "mean_entropy_bits",
]
AGREEMENT = [
    "cohort",
    "model",
    "protocol",
    "sex",
    "n",
    "reference_mean_mm3",
    "reference_sd_mm3",
    "mae_mm3",
    "rmse_mm3",
    "r2",
    "pearson_r",
    "pearson_p_value",
    "slope",
    "intercept_mm3",
    "re_min_percent",
    "re_max_percent",
    "bias_mm3",
    "loa_low_mm3",
    "loa_high_mm3",
    "ccc",
]
TRAINING = {"train_fold"}


def table(study, name):
    with open(study.folder / "results" / name, newline="") as file:
        return list(csv.DictReader(file))


def source(study):
    return study.folder / "source/cohort.csv"


def test_the_report_and_all_tables_are_there(finished):
    results = finished.folder / "results"
    assert (results / "report/index.html").stat().st_size > 10_000
    assert list(table(finished, "tables/metrics.csv")[0])[: len(METRICS)] == METRICS
    assert set(AGREEMENT) <= set(table(finished, "tables/agreement.csv")[0])
    assert json.loads((results / "study.json").read_text())["study"] == "ci"


def test_every_scan_of_the_table_is_in_the_flow(finished):
    scans = [row["scan"] for row in table(finished, "../source/cohort.csv")]
    assert [row["scan"] for row in table(finished, "tables/flow.csv")] == scans
    verdicts = {row["scan"]: row for row in table(finished, "cohort/scans.csv")}
    assert list(verdicts) == scans
    rejected = verdicts["X01-missing-slice"]
    assert (rejected["verdict"], rejected["reason"]) == ("rejected", "missing_slices")


def test_how_scans_were_made_is_tabulated_and_what_differs_is_flagged(finished):
    made = {row["scan"]: row for row in table(finished, "tables/acquisition.csv")}
    assert list(made) == [row["scan"] for row in table(finished, "cohort/scans.csv")]
    assert {row["kernel"] for row in made.values()} == {"B30s"}
    assert made[OFF_PROTOCOL]["off_protocol"] == "kvp 80 (protocol 120)"
    assert [scan for scan, row in made.items() if row["off_protocol"]] == [OFF_PROTOCOL]
    for name in ("volumes", "metrics"):
        for row in table(finished, f"tables/{name}.csv"):
            assert ("off_protocol" in row["flags"].split()) == (row["scan"] == OFF_PROTOCOL), row


def test_the_centre_of_the_table_is_where_the_scan_is_cropped(finished):
    (given,) = (row for row in table(finished, "../source/cohort.csv") if row["scan"] == OVERRIDDEN)
    record = json.loads((finished.folder / f"results/cropped/{OVERRIDDEN}/crop.json").read_text())
    assert record["source"] == "override"
    assert record["center_mm_xy"] == [float(given["crop_x_mm"]), float(given["crop_y_mm"])]
    image = sitk.ReadImage(str(finished.folder / f"results/cropped/{OVERRIDDEN}/image.nii.gz"))
    middle_mm = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    for place_mm, wanted_mm, edge_mm in zip(
        middle_mm, record["center_mm_xy"], image.GetSpacing(), strict=False
    ):
        assert abs(place_mm - wanted_mm) <= edge_mm / 2
    overridden = [row for row in table(finished, "tables/volumes.csv") if "override" in row["flags"].split()]
    assert {row["scan"] for row in overridden} == {OVERRIDDEN}


def test_every_accepted_scan_has_a_picture_of_its_crop(finished):
    accepted = {row["scan"] for row in table(finished, "cohort/scans.csv") if row["verdict"] == "ok"}
    assert {path.stem for path in (finished.folder / "results/crops").glob("*.webp")} == accepted


def test_a_volume_above_the_common_cut_is_there_or_says_why_not(finished):
    for row in table(finished, "tables/metrics.csv"):
        for who in ("predicted", "reference"):
            assert bool(row[f"{who}_cut_mm3"]) != (f"{who}_cut_mm3" in row["undefined"]), row
            if row[f"{who}_cut_mm3"]:
                assert 0 < float(row[f"{who}_cut_mm3"]) < float(row[f"{who}_mm3"])


def test_nobody_is_scored_by_a_model_that_trained_on_them(finished):
    runs = {}
    for path in (finished.folder / "results/models").glob("*/*/fold-*/run.json"):
        runs["/".join(path.parts[-4:-1])] = json.loads(path.read_text())
    assert len(runs) == 6  # all, male, female; two folds each
    secret = read_secret(finished.folder / "study.secret")
    metrics = table(finished, "tables/metrics.csv")
    assert {row["protocol"] for row in metrics} == {"cv", "test", "test-single"}
    for row in metrics:
        folds = [row["members"]] if row["members"].startswith("fold-") else ["fold-0", "fold-1"]
        for fold in folds:
            assert not trained_on(runs[f"{row['cohort']}/{row['model']}/{fold}"], row["subject"], secret)
        assert row["weights"] == ("last" if row["protocol"] == "cv" else "best")


def test_disagreement_is_told_of_ensembles_and_explained_where_it_is_not(finished):
    for name in ("tables/metrics.csv", "tables/volumes.csv"):
        for row in table(finished, name):
            told = [row["member_dice"], row["mean_entropy_bits"]] != ["", ""]
            assert told or "member_dice" in row["undefined"]
            assert row["members"] == "ensemble" or not told
    assert any(row["member_dice"] for row in table(finished, "tables/volumes.csv"))


def test_models_describe_themselves_without_naming_anybody(finished):
    scans = [row["scan"] for row in table(finished, "cohort/scans.csv")]
    folders = list((finished.folder / "results/models").glob("*/*/fold-*"))
    assert len(folders) == 6
    for folder in folders:
        model = read_model(folder / "model.pt")
        run = json.loads((folder / "run.json").read_text())
        assert json.loads(json.dumps({key: model[key] for key in run})) == run
        card = (folder / "MODEL_CARD.md").read_text()
        assert "Not a medical device" in card and run["folds_sha256"] in card
        # weights, and nothing else that could name anybody
        assert model.keys() - run.keys() == {"last", "best"}
        for path in (folder / name for name in ("run.json", "history.csv", "MODEL_CARD.md")):
            assert not [scan for scan in scans if scan in path.read_text()], path


def test_nested_cohorts_share_test_people(finished):
    people = {}
    for row in table(finished, "tables/metrics.csv"):
        if row["protocol"] == "test":
            people.setdefault(row["cohort"], set()).add(row["subject"])
    assert people["male"] | people["female"] == people["all"]
    assert not people["male"] & people["female"]


def test_numbers_of_the_table_follow_from_the_masks(finished):
    import SimpleITK as sitk

    row = next(row for row in table(finished, "tables/metrics.csv") if row["protocol"] == "test")
    folder = finished.folder / "results"
    predicted = sitk.ReadImage(
        str(folder / f"masks/{row['cohort']}/{row['model']}/{row['members']}/{row['scan']}/mask.nii.gz")
    )
    reference = sitk.ReadImage(str(folder / f"cropped/{row['scan']}/mask.nii.gz"))
    voxel_mm3 = float(predicted.GetSpacing()[0] * predicted.GetSpacing()[1] * predicted.GetSpacing()[2])
    a, b = (sitk.GetArrayViewFromImage(mask) > 0 for mask in (reference, predicted))
    assert float(row["reference_mm3"]) == pytest.approx(a.sum() * voxel_mm3, rel=1e-6)
    assert float(row["predicted_mm3"]) == pytest.approx(b.sum() * voxel_mm3, rel=1e-6)
    assert float(row["dsc"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-6)


def test_a_second_reader_stands_beside_the_model(finished):
    rows = table(finished, "tables/readers.csv")
    # everybody, and the people of this person's sex
    assert [(row["cohort"], row["pair"], row["scans"]) for row in rows] == [
        (cohort, pair, "1")
        for cohort in ("all", "female")
        for pair in ("reader 1 - reader 2", "reader 1 - model", "reader 2 - model")
    ]
    results = finished.folder / "results"
    first, second = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(results / f"cropped/{SECOND_READ}/{name}.nii.gz"))) > 0
        for name in ("mask", "mask2")
    )
    dice = 2 * (first & second).sum() / (first.sum() + second.sum())
    assert 0.5 < dice < 0.95 and float(rows[0]["dsc_mean"]) == pytest.approx(dice)
    assert float(rows[0]["bias_mm3"]) < 0  # reader 2 marks less
    assert "reader 1 - reader 2" in (results / "report/index.html").read_text().replace("−", "-")
    assert (results / "figures/readers-vnet-cv.svg").exists()


def test_snakemakes_own_report_says_of_each_figure_what_it_shows(finished, tmp_path):
    finished.run("--report", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("exact for each limit on its own (Carkeet 2015)", "shades differ in lightness", "Scans"):
        assert words in page
    for label in ("Difference against mean", "How far every scan came"):
        assert label in page
    assert str(finished.folder) not in page and str(ROOT) not in page


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_adding_a_scan_runs_its_rules_its_batch_and_the_report(study):
    text = source(study).read_text().splitlines()
    first = next(line for line in text if line.startswith("P001,"))
    shutil.copytree(study.folder / "source/P001", study.folder / "source/N001")
    source(study).write_text("\n".join([*text, first.replace("P001", "N001")]) + "\n")
    before = table(study, "folds/folds.csv")
    study.run("results/folds/folds.csv")
    after = table(study, "folds/folds.csv")
    assert after[: len(before)] == before
    assert [(row["scan"], row["set"]) for row in after[len(before) :]] == [("N001", "external")]
    planned = study.planned()
    per_scan = {"convert_dicom", "resample_ct", "resample_mask", "crop_ct", "crop_mask"}
    assert {rule: planned[rule] for rule in per_scan} == dict.fromkeys(per_scan, 1)
    assert not TRAINING & set(planned)
    # two cohorts: everybody, and the people of this person's sex
    assert planned["predict_scans"] == planned["otsu_mask"] == planned["measure_overlap"] == 2
    assert planned["write_report"] == 1


def test_editing_a_scan_reruns_it_its_batch_and_the_report(study):
    (study.folder / "source/P001/dicom").touch()
    study.run("results/folds/folds.csv")
    planned = study.planned()
    assert planned["convert_dicom"] == planned["crop_ct"] == 1
    assert planned["predict_scans"] >= 1 and planned["write_report"] == 1
    assert not TRAINING & set(planned)


@pytest.mark.parametrize("how", ["exclude", "remove"])
def test_leaving_a_scan_out_runs_its_batch_and_the_report(study, how):
    text = source(study).read_text().splitlines()
    columns = text[0].split(",")
    kept = []
    for line in text:
        if line.startswith("P002,"):
            if how == "remove":
                continue
            values = line.split(",")
            values[columns.index("exclude")] = "hip replacement"
            line = ",".join(values)
        kept.append(line)
    source(study).write_text("\n".join(kept) + "\n")
    study.run("results/folds/folds.csv")
    assert "P002" in {row["scan"] for row in table(study, "folds/folds.csv")}
    planned = study.planned()
    assert not TRAINING & set(planned) and "convert_dicom" not in planned
    assert planned["write_report"] == 1 and planned["gather_metrics"] == 1
    study.run()
    assert "P002" not in {row["scan"] for row in table(study, "tables/metrics.csv")}
    assert study.planned() == {}


def test_rerunning_one_scan_from_a_stage(study):
    planned = study.planned("--forcerun", "results/cropped/P001/image.nii.gz")
    assert planned["crop_ct"] == 1 and "resample_ct" not in planned and not TRAINING & set(planned)
    assert planned["predict_scans"] >= 1 and planned["write_report"] == 1


def test_changing_a_setting_reruns_what_depends_on_it(study):
    overlay = study.folder / "otsu.yaml"
    overlay.write_text((ROOT / study.overlay).read_text() + "otsu: {keep_largest: false}\n")
    planned = replace(study, overlay=str(overlay)).planned()
    assert planned["otsu_mask"] > 1 and "predict_scans" not in planned and not TRAINING & set(planned)


def test_training_again_needs_a_word(study):
    assert study.planned(settings=("retrain=true",))["train_fold"] == 6


def test_finished_models_predict_a_new_cohort_and_train_nothing(finished, tmp_path):
    shutil.copytree(finished.folder / "source", tmp_path / "source")
    model = finished.folder / "results/models/all/vnet"
    study = Study(tmp_path, settings=("cohort=source/cohort.csv", f"model={model}"))
    study.run()
    assert not (tmp_path / "results/models").exists()
    metrics = table(study, "tables/metrics.csv")
    assert {(row["protocol"], row["members"]) for row in metrics} == {("external", "ensemble")}
    assert len(metrics) == 10


def test_finished_models_refuse_images_made_otherwise(finished, tmp_path):
    model = finished.folder / "results/models/all/vnet"
    study = Study(tmp_path, overlay="studies/demo.yaml", settings=(f"model={model}",))
    message = study.refuse("--dry-run")
    assert "resample.inplane_mm: the models need 4.8, the configuration has 2.4" in message


def test_another_study_in_the_same_folder_is_refused(study):
    shutil.copy(source(study), study.folder / "other.csv")
    message = study.refuse("--dry-run", settings=("cohort=source/../other.csv",))
    assert "--directory STUDY" in message or "no such file" in message
