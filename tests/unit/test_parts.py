"""Cutting a cohort table: people stay whole, paths name the same files, and parts never change."""

import csv

import pytest

from lib.cohort.table import read_cohort
from lib.commands.parts.cut import cut_cohort, main
from lib.errors import ConfigError, TableError

HEADER = "scan,image,subject,mask,repeat_of,note"
ROWS = (
    'A1,img/a1.nii.gz,A,,,"late, moved"',
    "B1,img/b1.nii.gz,B,masks/b1.nii.gz,,",
    "C1,img/c1.nii.gz,C,,,=1+1",
    "A2,img/a2.nii.gz,A,,A1, two  blanks ",
    "D1,/abs,D,,,ü",
)


@pytest.fixture
def cohort(tmp_path):
    """Return a function that writes a cohort table into `source/`, beside its files, with the given rows."""
    source = tmp_path / "source"
    for folder in ("img", "masks"):
        (source / folder).mkdir(parents=True)

    def write(*rows, header=HEADER):
        for row in rows:
            for path in row.split(",")[1:4]:
                if path.endswith(".nii.gz"):
                    (source / path).touch()
        text = "\n".join((header, *rows)).replace("/abs", str(source / "img"))
        (source / "cohort.csv").write_text(text + "\n", encoding="utf-8")
        return source / "cohort.csv"

    return write


def scans_of(part):
    return [row["scan"] for row in rows_of(part)]


def rows_of(part, delimiter=","):
    with open(part / "cohort.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.csv")}


def test_people_stay_whole_and_in_order(cohort, tmp_path):
    cut = cut_cohort(cohort(*ROWS), tmp_path / "parts", 2)
    assert cut.written == {"part-01": ["A1", "A2"], "part-02": ["B1", "C1"], "part-03": ["D1"]}
    assert {part: scans_of(tmp_path / "parts" / part) for part in cut.written} == cut.written


def test_a_scan_stays_with_the_scan_of_its_phantom(cohort, tmp_path):
    header = "scan,image,subject,mask,phantom,calibration,calibration_scan"
    rows = ("A,img/a.nii.gz,A,,,asynchronous,Q", "B,img/b.nii.gz,B,,p,,", "Q,img/q.nii.gz,Q,,p,,")
    table = cohort(*rows, header=header)
    with pytest.raises(
        TableError, match=r"^A: the scan named by `calibration_scan` would be in another part"
    ):
        cut_cohort(table, tmp_path / "parts", 2)
    assert not list((tmp_path / "parts").glob("*/*"))
    assert cut_cohort(table, tmp_path / "parts", 3).written == {"part-01": ["A", "B", "Q"]}
    assert rows_of(tmp_path / "parts/part-01")[0]["calibration_scan"] == "Q"


def test_a_person_with_more_scans_than_a_part_holds_has_one_alone(cohort, tmp_path):
    cut = cut_cohort(cohort(*ROWS), tmp_path / "parts", 1)
    assert list(cut.written.values()) == [["A1", "A2"], ["B1"], ["C1"], ["D1"]]


@pytest.mark.parametrize("place", ["parts", "source", "far/away/parts"])
def test_paths_mean_the_same_files(cohort, tmp_path, place):
    table = cohort(*ROWS)
    whole = read_cohort(table)
    cut_cohort(table, tmp_path / place, 2)
    for part in (tmp_path / place).glob("part-*"):
        for scan, row in read_cohort(part / "cohort.csv").items():
            for path, former in ((row.image, whole[scan].image), (row.mask, whole[scan].mask)):
                assert bool(path) == bool(former)
                assert not path or (tmp_path / path).samefile(former), path
            assert row.subject == whole[scan].subject


def test_paths_are_right_below_a_linked_folder(cohort, tmp_path):
    table = cohort(*ROWS)
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk/deep")
    cut_cohort(table, tmp_path / "link", 9)
    assert list(read_cohort(tmp_path / "link/part-01/cohort.csv")) == ["A1", "A2", "B1", "C1", "D1"]


def test_other_cells_are_kept_as_they_are(cohort, tmp_path):
    cut_cohort(cohort(*ROWS), tmp_path / "parts", 9)
    notes = {row["scan"]: row["note"] for row in rows_of(tmp_path / "parts/part-01")}
    assert notes == {"A1": "late, moved", "A2": "two  blanks ", "B1": "", "C1": "=1+1", "D1": "ü"}


def test_the_separator_is_kept(cohort, tmp_path):
    table = cohort("A1;img/a1.nii.gz;1,5", header="scan;image;dose")
    (table.parent / "img/a1.nii.gz").touch()
    cut_cohort(table, tmp_path / "parts", 9)
    assert rows_of(tmp_path / "parts/part-01", ";")[0]["dose"] == "1,5"


def test_a_table_with_problems_is_refused_and_nothing_is_written(cohort, tmp_path):
    table = cohort(*ROWS, "E1,img/gone.nii,E,,B1,")
    with pytest.raises(TableError, match=r"(?s)2 problems.*row 7, column image.*row 7, column repeat_of"):
        cut_cohort(table, tmp_path / "parts", 2)
    assert not (tmp_path / "parts").exists()


def test_later_scans_go_into_further_parts_and_the_others_stay(cohort, tmp_path):
    cut_cohort(cohort(*ROWS), tmp_path / "parts", 2)
    before = contents(tmp_path / "parts")
    later = "E1,img/e1.nii.gz,E,,,"
    cut = cut_cohort(cohort(later, *ROWS), tmp_path / "parts", 2)
    assert cut.written == {"part-04": ["E1"]} and cut.kept == 5 and not cut.notes
    assert before.items() <= contents(tmp_path / "parts").items()
    again = cut_cohort(cohort(later, *ROWS), tmp_path / "parts", 2)
    assert not again.written and again.kept == 6


def test_a_new_scan_of_a_person_who_has_a_part_is_refused_with_the_line_to_add(cohort, tmp_path):
    parts = tmp_path / "parts"
    cut_cohort(cohort(*ROWS), parts, 2)
    before = contents(parts)
    table = cohort(*ROWS, "E1,img/e1.nii.gz,E,,,", "B2,img/b2.nii.gz,B,,,")
    with pytest.raises(TableError) as refused:
        cut_cohort(table, parts, 2)
    assert contents(parts) == before
    told = str(refused.value)
    assert "1 new scan is of people who already have a part" in told and "E1" not in told
    named, line = told.split("\n")[-2:]
    assert named == "part-02/cohort.csv:"
    with open(parts / "part-02/cohort.csv", "a") as file:
        file.write(line + "\n")
    assert cut_cohort(table, parts, 2).written == {"part-04": ["E1"]}
    assert list(read_cohort(parts / "part-02/cohort.csv")) == ["B1", "C1", "B2"]


def test_changes_of_former_scans_in_the_table_are_reported_and_not_applied(cohort, tmp_path):
    cut_cohort(cohort(*ROWS), tmp_path / "parts", 2)
    before = contents(tmp_path / "parts")
    cut = cut_cohort(cohort(*ROWS[:2], ROWS[2].replace("=1+1", "two")), tmp_path / "parts", 2)
    changed, gone = cut.notes
    assert changed.startswith("part-02 was not changed, but the table has other values for C1:")
    assert gone.startswith("no longer in the table, but still in their parts: A2 (part-01), D1 (part-03);")
    assert contents(tmp_path / "parts") == before


def test_a_part_of_a_stopped_command_is_not_taken_again(cohort, tmp_path):
    (tmp_path / "parts/part-07").mkdir(parents=True)
    (tmp_path / "parts/part-of-mine").mkdir()
    assert list(cut_cohort(cohort(*ROWS), tmp_path / "parts", 9).written) == ["part-08"]


def test_a_part_holds_at_least_one_scan(cohort, tmp_path):
    with pytest.raises(ConfigError, match="--scans is 0"):
        cut_cohort(cohort(*ROWS), tmp_path / "parts", 0)


def test_command(cohort, tmp_path, capsys):
    table = str(cohort(*ROWS))
    assert main([table, str(tmp_path / "parts"), "--scans", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path}/parts/part-01/cohort.csv: 3 scans"
    assert main([table, str(tmp_path / "parts"), "--scans", "3"]) == 0
    assert "every scan is already in a part (5); nothing was written" in capsys.readouterr().out
    assert main([str(tmp_path / "none.csv"), str(tmp_path / "parts")]) == 1
    assert "does not exist" in capsys.readouterr().err
