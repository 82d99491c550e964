"""Merging parts: every row once, no person twice, parts with other settings refused, and all or nothing written."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from study_tables import measurements, tables, unscored

from lib.commands.parts import merge
from lib.commands.parts.merge import main, merge_parts
from lib.commands.parts.results import TABLES
from lib.errors import ConfigError
from lib.report_settings import AgreementConfig
from lib.stats.measurements import people_table
from lib.stats.summary import summary_tables
from lib.stats.tables import read_table, write_table

REPORT = {"confidence": 0.9}
SETTINGS = {"study": "hips", "seed": 7, "train.device": "cpu", "mask.low": 0.2, "partial": False} | {
    f"report.{key}": value for key, value in REPORT.items()
}
RUN = {"settings": SETTINGS, "software": {"osteoflow": "1"}, "code": {"otsu_mask": "c0de"}}
FOLDS = {f"all/vnet/fold-{fold}": f"d{fold}" for fold in range(3)}
PROTOCOL = {"source": "configuration", "fields": [{"field": "kvp", "protocol": "120", "agree": 9}]}
NOTE = "Whether people of this study trained the finished models cannot be told."


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Return metrics and volumes of one study over all people; one person has two scans, one repeats the other."""
    metrics, volumes, _ = tables(24)
    for table in (metrics, volumes):
        table.loc[table["scan"] == "P010", ["subject", "sex"]] = ["P008", "M"]
        table.loc[table["scan"] == "P010", "repeat_of"] = "P008"
    volumes["final_mm3"] = volumes["predicted_mm3"]
    path = tmp_path_factory.mktemp("whole") / "table.csv"
    return tuple(write_table(table, path) or read_table(path) for table in (metrics, volumes))


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_part(folder, metrics, volumes):
    """Write the results of a finished study of these people, all of whom were predicted."""
    results = folder / "results"
    people = volumes.drop_duplicates("scan").assign(verdict="ok", reason="", off_protocol="")
    listed = people[["scan", "subject", "sex", "age", "verdict", "reason"]]
    write_table(listed, results / "cohort/scans.csv")
    write_table(listed, results / "tables/flow.csv")
    voxels = [f"voxels of {scan.lower()}" for scan in listed["scan"]]
    write_table(pd.DataFrame({"scan": listed["scan"], "voxels": voxels}), results / "cohort/digests.csv")
    people = people.assign(manufacturer="Siemens", model=["Sensation 64", "Force"][len(people) % 4 == 0])
    write_table(
        people[["scan", "subject", "manufacturer", "model", "off_protocol"]],
        results / "tables/acquisition.csv",
    )
    write_table(metrics, results / "tables/metrics.csv")
    write_table(volumes, results / "tables/volumes.csv")
    write_table(measurements(metrics), results / "tables/measurements.csv")
    write_table(people_table(measurements(metrics), volumes, {}), results / "tables/people.csv")
    # each part lacks the score of one of its people
    missing = unscored(
        metrics.head(1).assign(**dict.fromkeys(("scan", "subject"), f"{metrics['scan'].iloc[0]}x"))
    )
    write_table(missing, results / "tables/unscored.csv")
    write_json(results / "cohort/run.json", RUN | {"models": FOLDS})
    write_json(results / "cohort/protocol.json", PROTOCOL)
    write_json(results / "cohort/notes.json", {"notes": [NOTE]})
    write_json(results / "study.json", {"study": "hips", "synthetic": False, "model": "digest"})
    write_json(results / "report/index.html", "")
    return folder


@pytest.fixture
def parts(tmp_path, whole):
    """Return the folders of three parts of the study, whose people are interleaved."""
    shares = ("P00[0-5]|P02.", "P00[89]|P01[01]", "P00[67]|P01[2-9]")
    return [
        write_part(
            tmp_path / f"part-{number:02d}",
            *(table[table["scan"].str.fullmatch(share)] for table in whole),
        )
        for number, share in enumerate(shares, start=1)
    ]


@pytest.fixture
def target(tmp_path):
    return tmp_path / "merged"


def change(part, file, **content):
    path = part / "results" / file
    write_json(path, json.loads(path.read_text()) | content)


def change_setting(part, key, value):
    change(part, "cohort/run.json", settings=SETTINGS | {key: value})


def refusal(folders, target, **options):
    with pytest.raises(ConfigError) as refused:
        merge_parts(folders, target, **options)
    assert not target.exists() and not list(target.parent.glob(".*merged"))
    return str(refused.value)


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_of_every_part_is_there_once(parts, target):
    merge_parts(parts, target)
    for path in TABLES.values():
        expected = [{"part": part.name} | row for part in parts for row in rows(part / "results" / path)]
        assert rows(target / path) == expected and expected
        assert list(rows(target / path)[0])[0] == "part"


def test_people_have_the_columns_of_all_parts(parts, target):
    """A part that measured a quantity of nobody lacks its column; the others keep it, in its place."""
    path, lacked = parts[0] / "results/tables/people.csv", "femur_whole_volume_mm3"
    columns = list(read_table(path))
    assert lacked in columns[:-1]
    write_table(read_table(path).drop(columns=lacked), path)
    merge_parts(parts, target)
    merged = rows(target / "tables/people.csv")
    assert list(merged[0]) == ["part", *columns]
    assert {row["part"] for row in merged if not row[lacked]} == {"part-01"}
    assert len({row["scan"] for row in merged}) == len(merged) == 24
    own = {row["scan"]: row for part in parts for row in rows(part / "results/tables/people.csv")}
    assert all(own[row["scan"]].items() <= row.items() for row in merged)


def test_summaries_are_those_of_one_study_over_all_people(parts, target, whole, tmp_path):
    merge_parts(parts, target)
    config = AgreementConfig(**REPORT)
    acquisition = read_table(target / "tables/acquisition.csv")
    tables = dict(zip(("metrics", "volumes"), whole, strict=True)) | {"acquisition": acquisition}
    tables["unscored"] = read_table(target / "tables/unscored.csv")
    tables["measurements"] = measurements(whole[0])
    for name, expected in summary_tables(tables, {}, [], config).items():
        write_table(expected, tmp_path / "expected.csv")
        pd.testing.assert_frame_equal(
            read_table(target / f"tables/{name}.csv"), read_table(tmp_path / "expected.csv"), rtol=1e-8
        )
    scores = read_table(target / "tables/scores.csv")
    assert scores.loc[scores["stratum"] == "all", "scans_without"].max() == len(parts)
    precision = read_table(target / "tables/precision.csv")
    assert set(precision["people"]) == {1} and len(precision)


def test_parts_are_listed_with_numbers_and_digests(parts, target, whole):
    merged = merge_parts(parts, target)
    listed = rows(target / "parts.csv")
    assert [row["part"] for row in listed] == ["part-01", "part-02", "part-03"]
    assert {row["state"] for row in listed} == {"finished"}
    assert [row["scans"] for row in listed] == ["10", "4", "10"]
    assert [row["people"] for row in listed] == ["10", "3", "10"]
    assert [row["missing"] for row in listed] == ["0", "0", "0"]
    volumes = (parts[1] / "results/tables/volumes.csv").read_bytes()
    assert listed[1]["volumes_sha256"] == hashlib.sha256(volumes).hexdigest()
    assert sum(row["predicted"] for row in merged.parts) == whole[1]["scan"].nunique()


def test_what_is_missing_is_counted(parts, target):
    path = parts[0] / "results/tables/volumes.csv"
    table = read_table(path)
    write_table(table[table["scan"] != "P003"], path)
    merge_parts(parts, target)
    assert [row["missing"] for row in rows(target / "parts.csv")] == ["1", "0", "0"]


def test_notes_say_which_parts_they_are_of(parts, target):
    change(parts[2], "cohort/notes.json", notes=[NOTE, "This report is not complete."])
    notes = merge_parts(parts, target).notes
    assert notes == [f"all parts: {NOTE}", "part-03: This report is not complete."]
    assert json.loads((target / "cohort/notes.json").read_text())["notes"] == notes


def test_intervals_that_do_not_hold_over_all_people_are_told_first(parts, target):
    """None of 3 parts has enough people for this note, but all together have."""
    for part in parts:
        path = part / "results/tables/metrics.csv"
        table = read_table(path)
        later = table.assign(protocol="later", interval_low_mm3=1.0, interval_high_mm3=2.0)
        write_table(later[later["members"] == "ensemble"], path)
    first, *others = merge_parts(parts, target).notes
    assert first.startswith("Intervals of volumes at 90 % do not hold: ") and " (later, " in first
    assert others == [f"all parts: {NOTE}"]


def test_another_study_name_and_device_are_no_obstacle(parts, target):
    for key, value in (("study", "b"), ("train.device", "cuda"), ("partial", True)):
        change_setting(parts[1], key, value)
        merge_parts(parts, target)
    settings = json.loads((target / "cohort/run.json").read_text())["settings"]
    assert settings["mask.low"] == 0.2 and not {"study", "train.device", "partial"} & set(settings)


def test_all_that_differs_is_listed(parts, target):
    change_setting(parts[1], "mask.low", 0.3)
    change(parts[2], "cohort/run.json", software={"osteoflow": "2"}, code={"otsu_mask": "0ther"})
    change(parts[2], "study.json", synthetic=True)
    told = refusal(parts, target)
    assert "merge: 4 problems; nothing was written" in told
    assert "setting mask.low: 0.2 in part-01, part-03; 0.3 in part-02" in told
    assert 'version of osteoflow: "1" in part-01, part-02; "2" in part-03' in told
    assert "code of otsu_mask" in told and "study: synthetic" in told


@pytest.mark.parametrize(
    "models, told",
    [
        (FOLDS | {"all/vnet/fold-1": "x"}, 'model all/vnet/fold-1: "d1" in part-01, part-03; "x" in part-02'),
        ({"all/vnet/fold-0": "d0"}, "model all/vnet/fold-1: \"d1\" in part-01, part-03; nothing in part-02"),
        ({"all/unet/fold-0": "u0"}, "part-02 and part-01 were predicted with other networks"),
    ],
)  # fmt: skip
def test_other_models_are_refused(parts, target, models, told):
    change(parts[1], "cohort/run.json", models=models)
    assert told in refusal(parts, target)


def test_the_study_that_trained_the_models_may_be_one_of_the_parts(parts, target):
    digests = {}
    for name in ("all/vnet/fold-0", "male/vnet/fold-0"):
        path = parts[0] / f"results/models/{name}/run.json"
        write_json(path, {"group": name.split("/")[0], "network": "vnet", "updates": 3})
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    refusal(parts, target)
    for part in parts[1:]:
        change(part, "cohort/run.json", models={"all/vnet/fold-0": digests["all/vnet/fold-0"]})
    merge_parts(parts, target)


def test_models_of_older_records_are_told_by_their_place(parts, target):
    for part in parts:
        write_json(part / "results/cohort/run.json", RUN)
    assert "The models behind the predictions are known only" in merge_parts(parts, target).notes[0]
    change(parts[1], "study.json", model="elsewhere")
    assert 'model folder: "digest" in part-01' in refusal(parts, target.with_name("other"))


def test_one_scan_or_person_in_two_parts_is_refused(parts, target, tmp_path, whole):
    again = [table[table["scan"].isin(["P001", "P002"])].copy() for table in whole]
    for table in again:
        table["scan"] = table["scan"].replace({"P001": "p001", "P002": "F002"})
    told = refusal([*parts, write_part(tmp_path / "more", *again)], target)
    assert "scans in several parts: p001 (part-01, more)\n" in told
    assert "people in several parts: P001 (part-01, more), P002 (part-01, more)" in told


def replaced(part, file, before, after):
    path = part / "results" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_one_image_in_two_parts_is_refused_under_any_ids(parts, target):
    replaced(parts[1], "cohort/digests.csv", "voxels of p009", "voxels of p003")
    told = refusal(parts, target)
    assert "with identical voxels: P003 (part-01) and P009 (part-02). Correct `image`" in told
    assert "merge: 1 problem" in told and "`exclude`" in told and "run these parts again" in told
    # with --partial too
    assert "P003 (part-01) and P009 (part-02)" in refusal(parts, target, partial=True)


def test_one_image_of_which_one_scan_is_not_used_is_merged(parts, target):
    replaced(parts[1], "cohort/digests.csv", "voxels of p009", "voxels of p003")
    path = parts[1] / "results/cohort/scans.csv"
    table = read_table(path)
    table.loc[table["scan"] == "P009", "verdict"] = "excluded"
    write_table(table, path)
    assert len(merge_parts(parts, target).parts) == 3


def test_parts_that_know_no_voxels_are_to_be_run_again(parts, target):
    (parts[1] / "results/cohort/digests.csv").unlink()
    assert "part-02 is not finished: it has no cohort/digests.csv" in refusal(parts, target)
    (parts[1] / "results/cohort/digests.csv").write_text("")
    assert "part-02: cohort/digests.csv is damaged" in refusal(parts, target)


@pytest.mark.parametrize("spelling", ["p003", "P3", "P0003"])
def test_people_whom_capitals_or_zeros_alone_tell_apart_are_asked_about(parts, target, spelling):
    replaced(parts[1], "cohort/scans.csv", ",P009,", f",{spelling},")
    told = refusal(parts, target)
    assert f"differ only in case or leading zeros: P003 (part-01) and {spelling} (part-02)" in told
    assert "merge: 1 problem" in told


def test_people_whose_zeros_stand_elsewhere_are_two(parts, target):
    replaced(parts[1], "cohort/scans.csv", ",P009,", ",P-10-1,")
    replaced(parts[2], "cohort/scans.csv", ",P012,", ",P-1-01,")
    merge_parts(parts, target)


def test_other_columns_are_refused(parts, target):
    path = parts[1] / "results/tables/volumes.csv"
    write_table(read_table(path).rename(columns={"final_mm3": "old_mm3"}), path)
    told = refusal(parts, target)
    assert "columns of tables/volumes.csv" in told and "old_mm3" in told


def test_other_acquisition_protocols_are_refused_with_what_to_set(parts, target):
    for part in parts:
        change(part, "cohort/protocol.json", source="majority")
    assert "the same in all parts" in merge_parts(parts, target.with_name("same")).notes[0]
    change(parts[1], "cohort/protocol.json", fields=[{"field": "kvp", "protocol": "80"}])
    told = refusal(parts, target)
    assert 'acquisition protocol kvp: "120" in part-01, part-03; "80" in part-02' in told
    assert "Set `acquisition_protocol`" in told


def test_unfinished_parts_are_refused_or_taken_as_they_are(parts, target, tmp_path):
    (parts[0] / "results/report/index.html").unlink()
    (parts[1] / ".snakemake/locks").mkdir(parents=True)
    (parts[1] / ".snakemake/locks/0.input.lock").touch()
    (tmp_path / "part-04").mkdir()
    folders = [*parts, tmp_path / "part-04"]
    told = refusal(folders, target)
    assert "part-01 is not finished: it has no report/index.html" in told
    assert "part-02 is not finished: a run is active in it" in told
    assert "part-04 is not finished: it has no results yet" in told and "part-03 is" not in told
    merged = merge_parts(folders, target, partial=True)
    states = [row["state"] for row in rows(target / "parts.csv")]
    assert states == ["not finished", "not finished", "finished", "left out"]
    assert merged.notes[0] == "part-01 was taken as it is: it has no report/index.html."
    assert "part-04 was left out: it has no results yet." in merged.notes
    assert len(rows(target / "cohort/scans.csv")) == 24


def test_results_may_be_a_link_to_another_disk(parts, target, tmp_path):
    (parts[0] / "results").rename(tmp_path / "disk")
    (parts[0] / "results").symlink_to(tmp_path / "disk")
    assert [row["part"] for row in merge_parts(parts, target).parts] == ["part-01", "part-02", "part-03"]
    with pytest.raises(ConfigError, match="holds a part, or lies in one"):
        merge_parts(parts, tmp_path / "disk/merged")


def test_nothing_to_merge_is_said(tmp_path, target):
    (tmp_path / "part-01").mkdir()
    assert "no part has all its tables yet" in refusal([tmp_path / "part-01"], target, partial=True)


def test_folders_that_are_no_parts_are_all_named(parts, target, tmp_path):
    (tmp_path / "=1").mkdir()
    told = refusal([parts[0], parts[0] / "results", tmp_path / "gone", tmp_path / "=1"], target)
    assert "another part is called part-01" in told and "there is no folder" in told
    assert "the folder's name is the part's name" in told and "3 problems" in told


@pytest.mark.parametrize("file", ["cohort/run.json", "cohort/protocol.json", "study.json"])
def test_damaged_records_are_named(parts, target, file):
    (parts[1] / "results" / file).write_text("{")
    assert "part-02: " in (told := refusal(parts, target)) and "is damaged" in told


def test_a_part_that_changes_meanwhile_is_refused(parts, target, monkeypatch):
    def change_and_merge(taken, folder):
        path = parts[1] / "results/tables/volumes.csv"
        write_table(read_table(path).assign(predicted_mm3=1.0), path)
        return []

    monkeypatch.setattr(merge, "_write_summaries", change_and_merge)
    assert "part-02 changed while it was read" in refusal(parts, target)


def test_only_a_former_merge_is_replaced(parts, target, tmp_path):
    target.mkdir()
    (target / "mine.txt").touch()
    with pytest.raises(ConfigError, match="holds no former merge"):
        merge_parts(parts, target)
    assert (target / "mine.txt").exists()
    for folder in (tmp_path, parts[0], parts[0] / "results/merged"):
        with pytest.raises(ConfigError, match="holds a part, or lies in one"):
            merge_parts(parts, folder)
    (target / "mine.txt").unlink()
    target.rmdir()
    merge_parts(parts[:1], target)
    merge_parts(parts, target)
    assert len(rows(target / "parts.csv")) == 3


def test_command(parts, target, capsys):
    assert main([str(target), *map(str, parts)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["part", "state", *merge.COUNTS]
    assert lines[4].split() == ["all", "24", "23", "24", "24", "24", "0"]
    assert lines[5] == f"note: all parts: {NOTE}"
    change_setting(parts[1], "mask.low", 0.3)
    assert main([str(target), *map(str, parts)]) == 1
    assert "setting mask.low" in capsys.readouterr().err


def test_merging_loads_neither_torch_nor_images():
    loaded = "import sys, lib.commands.parts.merge; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", loaded],
        text=True,
        capture_output=True,
        check=True,
        cwd=Path(merge.__file__).parents[3],
    ).stdout.split()
    assert "pandas" in names and not {"torch", "SimpleITK", "pydicom", "skimage"} & set(names)
