"""The whole chain on a small synthetic cohort: complete, with all gaps stated, and nothing to do in a second run."""

import csv
import json
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
import yaml
from canaries import FOLDER, find_canaries

from lib.learning.checkpoint import read_model
from lib.pseudonyms import read_secret, trained_on
from tests.study import OFF_PROTOCOL, OVERRIDDEN, ROOT, SECOND_READ, Study, make_another_image

pytestmark = pytest.mark.workflow

METRICS = [
    "group",
    "network",
    "members",
    "protocol",
    "weights",
    "scan",
    "structure",
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
    "group",
    "network",
    "protocol",
    "stratum",
    "structure",
    "region",
    "compartment",
    "measure",
    "unit",
    "n",
    "reference_mean",
    "reference_sd",
    "mae",
    "rmse",
    "r2",
    "pearson_r",
    "pearson_p_value",
    "slope",
    "intercept",
    "re_min_percent",
    "re_max_percent",
    "bias",
    "loa_low",
    "loa_high",
    "ccc",
]


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
            assert not trained_on(runs[f"{row['group']}/{row['network']}/{fold}"], row["subject"], secret)
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
        # only the weights are added, nothing that could identify a person
        assert model.keys() - run.keys() == {"last", "best"}
        for path in (folder / name for name in ("run.json", "history.csv", "MODEL_CARD.md")):
            assert not [scan for scan in scans if scan in path.read_text()], path


def test_nested_cohorts_share_test_people(finished):
    people = {}
    for row in table(finished, "tables/metrics.csv"):
        if row["protocol"] == "test":
            people.setdefault(row["group"], set()).add(row["subject"])
    assert people["male"] | people["female"] == people["all"]
    assert not people["male"] & people["female"]


def test_numbers_of_the_table_follow_from_the_masks(finished):
    import SimpleITK as sitk

    row = next(row for row in table(finished, "tables/metrics.csv") if row["protocol"] == "test")
    folder = finished.folder / "results"
    predicted = sitk.ReadImage(
        str(folder / f"masks/{row['group']}/{row['network']}/{row['members']}/{row['scan']}/labels.nii.gz")
    )
    reference = sitk.ReadImage(str(folder / f"cropped/{row['scan']}/labels.nii.gz"))
    voxel_mm3 = float(predicted.GetSpacing()[0] * predicted.GetSpacing()[1] * predicted.GetSpacing()[2])
    a, b = (sitk.GetArrayViewFromImage(mask) > 0 for mask in (reference, predicted))
    assert float(row["reference_mm3"]) == pytest.approx(a.sum() * voxel_mm3, rel=1e-6)
    assert float(row["predicted_mm3"]) == pytest.approx(b.sum() * voxel_mm3, rel=1e-6)
    assert float(row["dsc"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-6)


def test_a_second_reader_stands_beside_the_model(finished):
    rows = table(finished, "tables/readers.csv")
    # everybody, and the people of this person's sex
    assert [(row["group"], row["pair"], row["scans"]) for row in rows] == [
        (group, pair, "1")
        for group in ("all", "female")
        for pair in ("reader 1 - reader 2", "reader 1 - model", "reader 2 - model")
    ]
    results = finished.folder / "results"
    first, second = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(results / f"cropped/{SECOND_READ}/{name}.nii.gz"))) > 0
        for name in ("labels", "labels2")
    )
    dice = 2 * (first & second).sum() / (first.sum() + second.sum())
    assert 0.5 < dice < 0.95 and float(rows[0]["dsc_mean"]) == pytest.approx(dice)
    assert float(rows[0]["bias_mm3"]) < 0  # reader 2 marks less
    assert "reader 1 - reader 2" in (results / "report/index.html").read_text().replace("−", "-")
    assert (results / "figures/readers-vnet-cv.svg").exists()


def test_snakemakes_own_report_says_of_each_figure_what_it_shows(finished, tmp_path):
    finished.run("--report", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in (
        "exact for each limit separately (Carkeet 2015)",
        "grey is bone in reference and prediction",
        "Scans",
    ):
        assert words in page
    for label in ("Difference against mean", "Last step of every scan"):
        assert label in page
    for people in ("Cross-validation", "Test, single model"):
        assert f'"people": "{people}"' in page
    assert str(finished.folder) not in page and str(ROOT) not in page


def test_snakemakes_own_report_tells_nothing_of_the_source(finished, tmp_path):
    """A zip holds every table and figure as a file, the folders of the source hold names."""
    assert (finished.folder / "source/P002" / FOLDER).is_dir()
    finished.run("--profile", "profiles/workstation", "--report", str(tmp_path / "report.zip"))
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        held = {Path(name).name for name in archive.namelist()}
        archive.extractall(tmp_path / "opened")
    assert {"report.html", "people.csv", "data-dictionary.csv", "examples.png"} <= held
    assert find_canaries(tmp_path / "opened") == []


def test_the_terminal_shows_stages_and_at_last_the_results(study):
    """Of a run with the profile; every job is in Snakemake's log file."""
    before = study.logged()
    assert re.search(
        r"^\d+ scans: \d+ used, 1 refused \(missing_slices\)\. Test \(", before, re.M
    )  # without the profile
    (study.folder / "results/screened/X01-missing-slice.json").unlink()
    said = study.run("--profile", "profiles/workstation", "--forcerun", "gather_screening")
    lines = said.splitlines()
    assert any("Refused: X01-missing-slice, missing_slices (" in line for line in lines)
    assert any(line.endswith("  gather_screening") for line in lines) and len(lines) < 200
    assert re.match(r"\d+ scans: \d+ used, 1 refused \(missing_slices\)\. Test \(.* Report: /", lines[-1])
    jobs = int(re.search(r"  (\d+) jobs done in ", said)[1])
    assert study.logged().removeprefix(before).count("Finished jobid: ") == jobs


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def seen_by_models(study, models):
    """Return (group, network, members, scan) of each prediction of a person whom its models were trained on."""
    runs = {path.parent.name: json.loads(path.read_text()) for path in models.glob("fold-*/run.json")}
    secret = read_secret(models.parents[3] / "study.secret")
    seen = set()
    for row in table(study, "tables/volumes.csv"):
        folds = [row["members"]] if row["members"] in runs else list(runs)
        if any(trained_on(runs[fold], row["subject"], secret) for fold in folds):
            seen.add((row["group"], row["network"], row["members"], row["scan"]))
    return seen


def flagged(study):
    """Return the predictions that are flagged as seen in training, and those that are scored."""
    rows = {"volumes": [], "metrics": []}
    for name, found in rows.items():
        for row in table(study, f"tables/{name}.csv"):
            key = tuple(row[column] for column in ("group", "network", "members", "scan"))
            found.append((key, "seen_in_training" in row["flags"].split(), row["protocol"]))
    assert not any(seen for _, seen, _ in rows["metrics"])
    assert {protocol for _, seen, protocol in rows["volumes"] if seen} <= {"apply"}
    return {key for key, seen, _ in rows["volumes"] if seen}, {key for key, _, _ in rows["metrics"]}


def notes(study):
    return json.loads((study.folder / "results/cohort/notes.json").read_text())["notes"]


def write_source(study, rows):
    with open(source(study), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_a_changed_cohort_moves_nobody_and_its_models_are_called_older(study):
    rows = table(study, "../source/cohort.csv")
    trained = next(row["scan"] for row in table(study, "folds/folds.csv") if row["set"] == "train")
    for row in rows:
        if row["scan"] == trained:
            folder = study.folder / "source"
            shutil.copytree(folder / trained, folder / "N001")
            make_another_image(folder / "N001")
            moved = {name: row[name].replace(trained, "N001", 1) for name in ("image", "mask")}
            rows.append(row | {"scan": "N001", "subject": "N001", "mask2": ""} | moved)
            row["exclude"] = "hip replacement"
            break
    write_source(study, rows)
    before, target = table(study, "folds/folds.csv"), "results/cohort/notes.json"
    assert "Train fold" not in study.run(target)
    *kept, new = table(study, "folds/folds.csv")
    assert kept == before and (new["scan"], new["set"], new["trains"]) == ("N001", "later", "0")
    scored = {row["scan"]: row["protocol"] for row in table(study, "tables/metrics.csv")}
    assert trained not in scored and scored["N001"] == "later"
    told = " ".join(notes(study))
    assert "1 people with a reference came after" in told
    assert "1 of its training scans would not be used today" in told
    assert study.planned(target) == {}


def test_after_a_new_draw_nobody_is_scored_by_a_model_that_trained_on_them(study):
    overlay = study.folder / "redrawn.yaml"
    changed = yaml.safe_load((ROOT / study.overlay).read_text()) | {"groups": {"all": {}}, "seed": 7}
    overlay.write_text(yaml.safe_dump(changed, sort_keys=False))
    study, target = replace(study, overlay=str(overlay)), "results/cohort/notes.json"
    models = study.folder / "results/models/all/vnet"
    redraw = ("redraw=true",)
    assert "Train fold" not in study.run(target, settings=redraw)
    seen, scored = flagged(study)
    assert seen and scored and seen == seen_by_models(study, models) and not seen & scored
    flow = {row["scan"]: row for row in table(study, "tables/flow.csv")}
    scans = {scan for *_, scan in seen if flow[scan]["has_mask"] == "1"}
    assert {scan for scan, row in flow.items() if row["reason"] == "seen_in_training"} == scans
    assert any(
        f"chosen by their score: {len(scans)} (" in note and "retrain=true" in note for note in notes(study)
    )
    assert study.planned(target, settings=redraw) == {}
    before = table(study, "folds/folds.csv")
    study.run(target, settings=("retrain=true",))
    assert table(study, "folds/folds.csv") == before
    assert seen_by_models(study, models) == flagged(study)[0] == set()
    assert flagged(study)[1] > scored and notes(study) == []
    assert study.planned(target) == {}


def check_intervals_of_finished_models(study):
    """The errors stored beside the models give an interval to all volumes except those of people seen in training."""
    for row in table(study, "tables/volumes.csv"):
        if "seen_in_training" in row["flags"].split():
            assert row["interval_low_mm3"] == "" and "trained on this person" in row["undefined"]
        else:
            low, volume, high = (
                float(row[name]) for name in ("interval_low_mm3", "predicted_mm3", "interval_high_mm3")
            )
            assert 0 <= low <= volume <= high and low < high
    (coverage,) = table(study, "tables/coverage.csv")
    assert (coverage["protocol"], coverage["people"], coverage["n"]) == ("later", "8", "8")
    told = [note for note in notes(study) if note.startswith("Intervals of volumes at 70 % do not hold")]
    assert len(told) == (float(coverage["coverage_ci_high"]) < 0.7)
    page = (study.folder / "results/report/index.html").read_text()
    assert (
        "Single volumes got 70 % intervals from the relative out-of-fold errors of the study that trained"
        in page
    )
    (unscored,) = (study.folder / "results/report/scans").glob("batch-*/N-U01.html")
    assert "The 70 % interval of the predicted volume" in unscored.read_text()


def test_finished_models_score_new_people_alone_and_train_nothing(finished, tmp_path):
    shutil.copytree(finished.folder / "source", tmp_path / "source")
    rows = table(finished, "../source/cohort.csv")
    # one is known by the id, one by the image under another id
    known, renamed = [row["scan"] for row in table(finished, "folds/folds.csv") if row["set"] == "train"][:2]
    for row in rows:
        if row["scan"] not in (known, renamed):
            make_another_image(tmp_path / "source" / row["scan"])
        if row["scan"] != known:
            row["scan"] = row["subject"] = f"N-{row['scan']}"
    models = finished.folder / "results/models/all/vnet"
    level = "report={confidence: 0.7}"  # the eight people of cross-validation are too few for a higher level
    study = Study(tmp_path, settings=("cohort=source/cohort.csv", f"model={models}", level))
    write_source(study, rows)
    study.run()
    assert not (tmp_path / "results/models").exists()
    metrics = table(study, "tables/metrics.csv")
    assert {(row["protocol"], row["members"]) for row in metrics} == {("later", "ensemble")}
    assert len(metrics) == 8
    assert flagged(study)[0] == {("all", "vnet", "ensemble", scan) for scan in (known, f"N-{renamed}")}
    assert any(known in note and "give them other ids" in note for note in notes(study))
    check_intervals_of_finished_models(study)
    assert study.planned() == {}


def test_finished_models_refuse_images_made_otherwise(finished, tmp_path):
    model = finished.folder / "results/models/all/vnet"
    study = Study(tmp_path, overlay="studies/demo.yaml", settings=(f"model={model}",))
    message = study.refuse("--dry-run")
    assert "resample.inplane_mm: the models need 4.8, the configuration has 2.4" in message


def test_another_study_in_the_same_folder_is_refused(study):
    shutil.copy(source(study), study.folder / "other.csv")
    message = study.refuse("--dry-run", settings=("cohort=source/../other.csv",))
    assert "--directory STUDY" in message or "no such file" in message
