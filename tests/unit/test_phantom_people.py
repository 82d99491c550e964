import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lib.errors import ConfigError
from lib.phantom.people import (
    DEFECTS,
    SPINE,
    TABLE_COLUMNS,
    PhantomConfig,
    find_person,
    phantom_people,
    phantom_table,
)

ROOT = Path(__file__).parents[2]


def test_module_imports_nothing_heavy():
    """The module is imported each time Snakemake parses the workflow, in every cluster job."""
    code = (
        "import sys, lib.phantom.people;"
        "print([m for m in ('numpy', 'scipy', 'pydicom', 'SimpleITK', 'pandas') if m in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"people": -1}, "people"),
        ({"people": 2.5}, "people"),
        ({"hard_people": True}, "hard_people"),
        ({"matrix": 16}, "matrix"),
        ({"supersampling": 0}, "supersampling"),
        ({"slice_mm": 0.0}, "slice_mm"),
        ({"pixel_mm": 0.8}, "pixel_mm"),
        ({"pixel_mm": "0.8"}, "pixel_mm"),
        ({"pixel_mm": [0.9, 0.8]}, "pixel_mm"),
        ({"pixel_mm": [0.2, 0.8]}, "pixel_mm"),
        ({"defects": "repeat"}, "defects"),
        ({"defects": ["banana"]}, "defects"),
        ({"people": 1, "defects": ["repeat", "repeat"]}, "defects"),
        ({"people": 0, "defects": ["repeat"]}, "people"),
        ({"people": 3, "training_defects": {"cement": 1}}, "training_defects"),
        ({"anatomy": SPINE, "people": 3, "training_defects": {"mirrored_labels": 1}}, "training_defects"),
        ({"anatomy": SPINE, "people": 3, "training_defects": ["cement"]}, "training_defects"),
        ({"anatomy": SPINE, "people": 3, "training_defects": {"cement": -1}}, "training_defects.cement"),
        (
            {"anatomy": SPINE, "people": 3, "training_defects": {"cement": 2, "fracture": 2}},
            "training_defects",
        ),
    ],
)
def test_bad_settings_are_named(changes, key):
    with pytest.raises(ConfigError, match=rf"phantom\.{key}"):
        PhantomConfig(**changes)


def test_people_stay_the_same_when_the_cohort_grows():
    small = PhantomConfig(people=3, hard_people=1, defects=["metal_nail"])
    large = PhantomConfig(people=30, hard_people=5, unlabelled_people=2, defects=DEFECTS)
    assert set(phantom_people(small)) <= set(phantom_people(large))


def test_sexes_alternate_and_ages_fill_the_range():
    people = phantom_people(PhantomConfig(people=60))
    for sex in "MF":
        ages = sorted(person.age for person in people if person.sex == sex)
        assert len(ages) == 30
        assert ages[0] >= 27 and ages[-1] <= 90
        gaps = [b - a for a, b in zip(ages, ages[1:], strict=False)]
        assert max(gaps) <= 6


def test_people_who_train_may_have_a_defect():
    config = PhantomConfig(anatomy=SPINE, people=6, training_defects={"cement": 2, "no_sacrum": 1})
    with_defect = {person.scan: person.defect for person in phantom_people(config) if person.defect}
    assert with_defect == {"P002": "cement", "P004": "cement", "P006": "no_sacrum"}
    table = {row["scan"]: row for row in phantom_table(config)}
    assert [table[scan]["levels_absent"] for scan in ("P001", "P002", "P006")] == ["", "L3", ""]
    assert table["P002"]["bmd_l3_k2hpo4_mg_cm3"] == "" != table["P002"]["bmd_l2_k2hpo4_mg_cm3"]
    without = phantom_people(PhantomConfig(anatomy=SPINE, people=6))
    assert [replace(person, defect="") for person in phantom_people(config)] == list(without)


def test_another_seed_gives_other_people():
    ages = [[person.age for person in phantom_people(PhantomConfig(people=10, seed=seed))] for seed in (1, 2)]
    assert ages[0] != ages[1]


def test_table_says_what_each_scan_is_for():
    config = PhantomConfig(people=2, hard_people=1, unlabelled_people=1, defects=["right_side", "repeat"])
    rows = {row["scan"]: row for row in phantom_table(config)}
    assert list(rows) == ["P001", "P002", "H01", "U01", "X08-right-side", "X09-repeat"]
    assert all(tuple(row) == TABLE_COLUMNS for row in rows.values())
    assert rows["P001"]["image"] == "P001/dicom"
    assert rows["P001"]["mask"] == "P001/mask.nii.gz"
    assert {scan: row["set"] for scan, row in rows.items() if row["set"] != "apply"} == {
        "P001": "",
        "P002": "",
        "H01": "external",
    }
    assert [scan for scan, row in rows.items() if not row["mask"]] == ["U01"]
    assert rows["X08-right-side"]["side"] == "right"
    assert (rows["X09-repeat"]["subject"], rows["X09-repeat"]["repeat_of"]) == ("P001", "P001")
    assert rows["X09-repeat"]["age"] == rows["P001"]["age"]


def test_a_repeated_scan_shares_the_person_but_not_the_acquisition():
    config = PhantomConfig(people=1, defects=["repeat"])
    first, again = find_person(config, "P001"), find_person(config, "X09-repeat")
    assert first.person_seed == again.person_seed
    assert first.scan_seed != again.scan_seed


def test_unknown_scan_is_refused():
    with pytest.raises(ConfigError, match="P009"):
        find_person(PhantomConfig(people=3), "P009")
