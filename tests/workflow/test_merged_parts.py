"""A cohort cut into parts, predicted with finished models and merged: the numbers equal those of one run over all."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lib.stats.tables import read_table
from tests.study import OFF_PROTOCOL, ROOT, SECOND_READ, Study

pytestmark = pytest.mark.workflow

SCANS = (SECOND_READ, "P002", OFF_PROTOCOL, "U01", "X01-missing-slice")
AGAIN, REPEATED = "P002-again", "P002"
# a part has too few scans to find its protocol by majority
PROTOCOL = "acquisition_protocol={kvp: 120}"


def call(module, *arguments):
    """Run a command of docs/large-cohorts.md; return its output."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def merge(*arguments):
    ended = call("lib.commands.parts.merge", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def cohort(finished, tmp_path_factory) -> Path:
    """Return a folder with a table of few scans, one of them repeated, and models of unknown training people."""
    folder = tmp_path_factory.mktemp("large")
    source = finished.folder / "source"
    with open(source / "cohort.csv", newline="") as file:
        rows = {row["scan"]: row for row in csv.DictReader(file)}
    rows[AGAIN] = rows[REPEATED] | {"scan": AGAIN, "subject": REPEATED, "repeat_of": REPEATED}
    chosen = [rows[scan] for scan in (*SCANS, AGAIN)]
    for row in chosen:
        row |= {name: str(source / row[name]) if row[name] else "" for name in ("image", "mask", "mask2")}
    with open(folder / "cohort.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, chosen[0])
        writer.writeheader()
        writer.writerows(chosen)
    # without study.secret, because these training people of the models must be scored here
    shutil.copytree(finished.folder / "results/models/all/vnet", folder / "models")
    return folder


def study(cohort, folder, table) -> Study:
    """Return a study of a table below the cohort's folder that trains nothing."""
    (cohort / folder).mkdir(parents=True, exist_ok=True)
    return Study(cohort / folder, settings=(f"cohort={table}", f"model={cohort / 'models'}", PROTOCOL))


@pytest.fixture(scope="module")
def parts(cohort) -> list[Path]:
    """Return the folders of two finished parts."""
    ended = call("lib.commands.parts.cut", cohort / "cohort.csv", cohort / "parts", "--scans", 3)
    assert ended.returncode == 0, ended.stderr
    folders = sorted((cohort / "parts").iterdir())
    for folder in folders:
        study(cohort, folder, "cohort.csv").run()
    return folders


@pytest.fixture(scope="module")
def whole(cohort) -> Path:
    """Return the results of one run over all."""
    one = study(cohort, "whole", "../cohort.csv")
    one.run(*(f"results/tables/{name}.csv" for name in ("agreement", "flow", "people")))
    return one.folder / "results"


def test_merged_tables_equal_those_of_one_run(parts, whole, cohort):
    printed = merge(cohort / "merged", *parts)
    assert [line.split()[0] for line in printed.splitlines()[1:4]] == ["part-01", "part-02", "all"]
    for name, keys in {
        "cohort/scans": ["scan"],
        "tables/volumes": ["scan", "members"],
        "tables/metrics": ["scan", "members"],
        "tables/people": ["scan"],
        "tables/flow": ["scan"],
        "tables/acquisition": ["scan"],
        **{f"tables/{name}": None for name in ("agreement", "scores", "precision", "readers", "levels")},
    }.items():
        merged, expected = (read_table(folder / f"{name}.csv") for folder in (cohort / "merged", whole))
        if keys:
            assert list(merged["part"].unique()) == ["part-01", "part-02"]
            merged, expected = (table.sort_values(keys, ignore_index=True) for table in (merged, expected))
            merged = merged.drop(columns="part")
        assert len(expected), name
        pd.testing.assert_frame_equal(merged, expected, rtol=1e-6)
    assert read_table(cohort / "merged/tables/metrics.csv")["flags"].str.contains("off_protocol").any()


def test_a_part_of_other_settings_is_refused_and_named(parts, cohort, tmp_path):
    shutil.copytree(parts[1] / "results", tmp_path / "part-02/results", symlinks=True)
    other = Study(tmp_path / "part-02", settings=study(cohort, parts[1], "cohort.csv").settings)
    record = other.folder / "results/cohort/run.json"
    record.write_text(record.read_text().replace('"mask.high": 0.8', '"mask.high": 0.7'))
    ended = call("lib.commands.parts.merge", tmp_path / "merged", parts[0], other.folder)
    assert ended.returncode == 1 and "setting mask.high: 0.8 in part-01; 0.7 in part-02" in ended.stderr
    assert not (tmp_path / "merged").exists()


def test_scans_that_come_later_make_a_further_part(parts, cohort):
    with open(cohort / "cohort.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    longer, image = cohort / "longer.csv", cohort / "new"
    shutil.copytree(rows[0]["image"], image)
    new = {"scan": "NEW-1", "subject": "NEW-1", "image": str(image), "mask": "", "mask2": ""}
    with open(longer, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([*rows, rows[0] | new])
    ended = call("lib.commands.parts.cut", longer, cohort / "parts", "--scans", 3)
    assert ended.returncode == 0, ended.stderr
    told = call("lib.commands.parts.merge", cohort / "merged-later", *sorted((cohort / "parts").iterdir()))
    assert "part-03 is not finished: it has no results yet" in told.stderr
    printed = merge(cohort / "merged-later", *sorted((cohort / "parts").iterdir()), "--partial")
    assert "note: part-03 was left out: it has no results yet." in printed.splitlines()
