"""The wide table of all scans, and the files of the masks to use."""

import pandas as pd
import pytest

from lib.errors import ConfigError
from lib.figures.label_colors import slicer_color_table, snap_label_descriptions
from lib.figures.palette import structure_color
from lib.imaging import linked
from lib.imaging.linked import link_file
from lib.stats.cohort_people import PEOPLE_KEYS, all_people, final_mask_sources
from lib.stats.formats import undefined_reasons
from lib.stats.measurements import VALUE_KEYS
from lib.stats.tables import read_table, write_table

VALUE = "femur_whole_volume_mm3"


def value_row(scan, members="ensemble", source="predicted", **more):
    told = dict.fromkeys(VALUE_KEYS, "") | {"scan": scan, "subject": scan, "age": "44", "group": "all"}
    told |= {"network": "vnet", "members": members, "protocol": "cv", "source": source}
    return told | {VALUE: 100.0, "undefined": ""} | more


def record(scan, verdict="ok", reason="", age="44", **more):
    return {
        **dict.fromkeys(("sex", "site", "repeat_of", "warnings", "explanation"), ""),
        **{"scan": scan, "subject": scan, "side": "left", "set": "auto", "age": age},
        **{"verdict": verdict, "reason": reason},
        **more,
    }


@pytest.fixture
def people():
    """Scans in every state: cross-validated, corrected, aged 90, of unknown age, refused, failed."""
    values = [
        *(value_row("A", "fold-2", flags="metal"), value_row("B", source="corrected")),
        value_row("C"),
    ]
    scans = [
        *(record("C", age="90+"), record("A"), record("B", age="")),
        *(record("D", "rejected", "missing_slices", side="right"), record("E")),
    ]  # fmt: skip
    sets = {"A": "train", "B": "test", "C": "apply", "E": "later"}
    return all_people(pd.DataFrame(values), scans, sets, {"A": "accepted"})


def test_every_scan_of_the_cohort_table_has_one_row(people):
    assert list(people["scan"]) == ["A", "B", "C", "D", "E"]
    assert list(people.columns) == [*PEOPLE_KEYS, VALUE, "undefined"]
    assert list(people["set"]) == ["train", "test", "apply", "", "later"]
    assert list(people["review"]) == ["accepted", "", "", "", ""] and people["side"][3] == "right"


def test_a_scan_without_values_says_why(people):
    refused, failed = people.loc[3], people.loc[4]
    assert people[VALUE].isna().tolist() == [False, False, False, True, True]
    assert "rejected, missing_slices" in undefined_reasons(refused["undefined"])[VALUE]
    assert (refused["verdict"], refused["reason"]) == ("rejected", "missing_slices")
    assert "tables/flow.csv" in undefined_reasons(failed["undefined"])[VALUE]


def test_age_is_a_number_and_90_has_a_column_of_its_own(people, tmp_path):
    write_table(people, tmp_path / "people.csv")
    read = pd.read_csv(tmp_path / "people.csv")  # as a statistician does
    assert read["age"].dtype.kind == "f" and read["age"].tolist()[0] == 44
    assert read["age"].isna().tolist() == [False, True, True, False, False]
    assert read["age_90_or_older"].fillna("").tolist() == ["no", "", "yes", "no", "no"]
    assert "44.0" not in (tmp_path / "people.csv").read_text()


def test_the_final_mask_is_the_corrected_or_the_primary_one(people, tmp_path):
    assert people["final_mask_from"].fillna("").tolist() == ["fold-2", "corrected", "ensemble", "", ""]
    assert people["final_mask"][0] == "masks/final/A_labels.nii.gz"
    write_table(people, tmp_path / "people.csv")
    assert final_mask_sources(read_table(tmp_path / "people.csv")) == {
        "A": "masks/all/vnet/fold-2/A/labels_full.nii.gz",
        "B": "corrected/B_labels_full.nii.gz",
        "C": "masks/all/vnet/ensemble/C/labels_full.nii.gz",
    }


def test_an_empty_study_has_the_columns_only():
    table = all_people(pd.DataFrame(columns=[*VALUE_KEYS, "undefined"]), [], {}, {})
    assert table.empty and list(table.columns) == [*PEOPLE_KEYS, "undefined"]


def test_a_link_is_relative_and_survives_a_move(tmp_path):
    source, link = tmp_path / "results/masks/all/A.nii.gz", tmp_path / "results/masks/final/A.nii.gz"
    for path in (source, link):
        path.parent.mkdir(parents=True)
    source.write_text("mask")
    link_file(source, link)
    assert link.is_symlink() and link.readlink().as_posix() == "../all/A.nii.gz"
    (tmp_path / "results").rename(tmp_path / "moved")
    assert (tmp_path / "moved/masks/final/A.nii.gz").read_text() == "mask"


def test_a_folder_that_is_a_link_to_elsewhere_gets_hard_links(tmp_path):
    (tmp_path / "far/away").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/final").symlink_to(tmp_path / "far/away")
    (tmp_path / "results/A").write_text("mask")
    link_file(tmp_path / "results/A", tmp_path / "results/final/A")
    made = tmp_path / "far/away/A"
    assert not made.is_symlink() and made.samefile(tmp_path / "results/A")


def test_without_links_the_file_is_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(linked.os, "symlink", refuse)
    monkeypatch.setattr(linked.os, "link", refuse)
    (tmp_path / "A").write_text("mask")
    link_file(tmp_path / "A", tmp_path / "B")
    assert (tmp_path / "B").read_text() == "mask" and not (tmp_path / "B").samefile(tmp_path / "A")


def test_a_mask_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no file .*A.nii.gz"):
        link_file(tmp_path / "A.nii.gz", tmp_path / "B")


def test_labels_have_the_names_and_colours_of_the_report():
    lines = slicer_color_table(["L1", "L2"]).splitlines()
    assert lines[0].startswith("# Color table file") and lines[2] == "0 background 0 0 0 0"
    for number, (name, line) in enumerate(zip(("L1", "L2"), lines[3:], strict=True), start=1):
        assert line.split() == [str(number), name, *map(str, structure_color(number - 1)), "255"]
    described = [line for line in snap_label_descriptions(["L1", "L2"]).splitlines() if line[0] != "#"]
    assert [line.split()[-1] for line in described[1:]] == ['"L1"', '"L2"']
    assert described[1].split()[1:4] == list(map(str, structure_color(0)))
