"""Densities of the synthetic spines, and what the cohort table says of them."""

import numpy as np
import pytest

from lib.catalog.vendors import vendor_of
from lib.errors import ConfigError
from lib.phantom.densities import READ_LEVELS, level_densities
from lib.phantom.people import (
    DEFECTS,
    SPINE_COLUMNS,
    SPINE_DEFECTS,
    TABLE_COLUMNS,
    PhantomConfig,
    find_person,
    phantom_people,
    phantom_table,
)
from lib.seeding import derive_seed

SCANNERS = {
    "A": {"manufacturer": "SIEMENS", "test_people": 20},
    "B": {"manufacturer": "GE MEDICAL SYSTEMS", "test_people": 20},
    "C": {"manufacturer": "Philips", "trains": False, "test_people": 20},
}
SPINES = PhantomConfig(
    anatomy="lumbar-spine", people=30, scanners=SCANNERS, defects=[*SPINE_DEFECTS, "repeat"], seed=2
)


def means(sex, age, variant="standard"):
    """Means over L1 to L4 of 400 people."""
    drawn = [level_densities(derive_seed(k), sex, age, variant) for k in range(400)]
    return np.array([np.mean([person[level] for level in READ_LEVELS]) for person in drawn])


@pytest.mark.parametrize(
    ("sex", "age", "mean"), [("F", 25, 175), ("F", 55, 125), ("M", 25, 165), ("M", 55, 130), ("M", 85, 95)]
)
def test_density_falls_with_age(sex, age, mean):
    drawn = means(sex, age)
    assert drawn.mean() == pytest.approx(mean, abs=5)
    assert drawn.std() == pytest.approx(28, abs=3)


def test_densities_stay_within_a_sane_range():
    old, hard = means("F", 90), means("F", 80, "hard")
    assert min(old.min(), hard.min()) >= 20 and hard.mean() < 0.75 * means("F", 80).mean()


def test_levels_of_a_person_differ_by_a_course_and_by_chance():
    drawn = [level_densities(derive_seed(k), "M", 40) for k in range(400)]
    table = np.array([[person[level] for level in READ_LEVELS] for person in drawn])
    off = table - table.mean(axis=1, keepdims=True)
    assert off.mean(axis=0) == pytest.approx([4, 1, -2, -3], abs=1)
    # of deviations from the mean of four, three quarters of the variance are left
    assert off.std(axis=0) == pytest.approx([5 * np.sqrt(0.75)] * 4, abs=0.6)


def test_the_table_has_readings_of_the_true_densities():
    rows = {row["scan"]: row for row in phantom_table(SPINES)}
    errors = []
    for person in phantom_people(SPINES):
        true = level_densities(person.person_seed, person.sex, person.age)
        for level in READ_LEVELS:
            read = rows[person.scan][f"bmd_{level.lower()}_k2hpo4_mg_cm3"]
            errors += [float(read) - true[level]] if read else []
    assert np.mean(errors) == pytest.approx(0, abs=0.5)
    assert np.std(errors) == pytest.approx(2.0, abs=0.3)
    assert all(tuple(row) == (*TABLE_COLUMNS, *SPINE_COLUMNS) for row in rows.values())


def test_a_repeated_scan_has_the_same_bone_and_another_reading():
    rows = {row["scan"]: row for row in phantom_table(SPINES)}
    first, again = rows["P001"]["bmd_l1_k2hpo4_mg_cm3"], rows["X09-repeat"]["bmd_l1_k2hpo4_mg_cm3"]
    assert first != again and float(first) == pytest.approx(float(again), abs=12)


def test_levels_without_bone_of_their_own_are_absent():
    rows = {row["scan"]: row for row in phantom_table(SPINES)}
    assert (
        rows["X12-fracture"]["levels_absent"] == "L2" and rows["X12-fracture"]["bmd_l2_k2hpo4_mg_cm3"] == ""
    )
    assert rows["X13-cement"]["levels_absent"] == "L3" and rows["X13-cement"]["bmd_l3_k2hpo4_mg_cm3"] == ""
    assert rows["X14-screws"]["levels_absent"] == "L4 L5" and rows["X14-screws"]["bmd_l4_k2hpo4_mg_cm3"] == ""
    assert rows["X14-screws"]["bmd_l1_k2hpo4_mg_cm3"]
    assert rows["P001"]["levels_absent"] == ""
    assert [scan for scan, row in rows.items() if row["contrast"] != "no"] == ["X15-contrast"]
    assert rows["X15-contrast"]["contrast"] == "yes"


def test_a_scanner_that_does_not_train_has_test_people_only():
    rows = phantom_table(SPINES)
    sets = {(row["vendor"], row["set"]): 0 for row in rows if row["set"] != "apply"}
    for row in rows:
        if row["set"] != "apply":
            sets[row["vendor"], row["set"]] += 1
    assert {key: count for key, count in sets.items() if key[1] == "test"} == {
        (vendor, "test"): 20 for vendor in ("siemens", "ge", "philips")
    }
    assert {vendor for vendor, part in sets if part == "train"} == {"siemens", "ge"}
    assert sets["siemens", "train"] + sets["ge", "train"] == 30
    assert {row["site"] for row in rows if row["set"] == "test"} == {"A", "B", "C"}


def test_test_people_of_a_scanner_stay_the_same_when_others_get_more():
    more = {name: settings | {"test_people": 25} for name, settings in SCANNERS.items()}
    larger = PhantomConfig(anatomy="lumbar-spine", people=50, scanners=more, seed=2)
    assert set(phantom_people(larger)) >= {
        person for person in phantom_people(SPINES) if not person.scan.startswith("X")
    }


def test_test_people_of_every_scanner_have_all_ages_and_both_sexes():
    for name in SCANNERS:
        people = [person for person in phantom_people(SPINES) if person.scan.startswith(f"T{name}-")]
        assert sum(person.sex == "F" for person in people) == 10
        assert min(person.age for person in people) < 40 and max(person.age for person in people) > 78


def test_a_cohort_without_test_people_leaves_sets_to_the_workflow():
    config = PhantomConfig(anatomy="lumbar-spine", people=2)
    assert {row["set"] for row in phantom_table(config)} == {""}
    assert {row["vendor"] for row in phantom_table(config)} == {"siemens"}
    assert {row["side"] for row in phantom_table(config)} == {""}


@pytest.mark.parametrize(
    ("manufacturer", "vendor"),
    [
        ("SIEMENS", "siemens"),
        ("Siemens Healthineers", "siemens"),
        ("GE MEDICAL SYSTEMS", "ge"),
        ("GE", "ge"),
        ("Philips", "philips"),
        ("TOSHIBA", "canon"),
        ("Canon Medical Systems", "canon"),
        ("UIH", "united-imaging"),
        ("Geneva Instruments", "other"),
    ],
)
def test_manufacturers_belong_to_vendors(manufacturer, vendor):
    assert vendor_of(manufacturer) == vendor


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"anatomy": "knee"}, "phantom.anatomy is 'knee'"),
        ({"modality": "MR"}, "phantom.anatomy: lumbar-spine is drawn for CT only"),
        ({"defects": ["metal_nail"]}, "'metal_nail', which only a hip has: give screws"),
        ({"defects": ["right_side"]}, "'right_side', which only a hip has"),
        ({"defects": ["banana"]}, "allowed are missing_slice, .*, mirrored_labels"),
        ({"anatomy": "proximal-femur", "defects": ["screws"]}, "'screws', which only a spine has"),
        ({"pixel_mm": [0.4, 0.6]}, "phantom.pixel_mm is 0.4: expected a number from 0.5"),
        ({"scanners": {"A": {"test_people": -1}}}, "phantom.scanners.A.test_people is -1"),
        ({"scanners": {"A": {"trains": "no"}}}, "phantom.scanners.A.trains is 'no'"),
        ({"people": 3, "scanners": {"A": {"trains": False}}}, "no scanner trains"),
        ({"scanners": {"A": {"test_people": 1}, "a": {}}}, "differ in case only"),
    ],
)
def test_bad_settings_of_spines_are_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        PhantomConfig(**({"anatomy": "lumbar-spine"} | changes))


def test_defects_of_spines_follow_on_those_of_hips():
    scans = [person.scan for person in phantom_people(SPINES) if person.scan.startswith("X")]
    assert scans == [
        "X09-repeat",
        *(f"X{len(DEFECTS) + k + 1}-{name.replace('_', '-')}" for k, name in enumerate(SPINE_DEFECTS)),
    ]
    assert find_person(SPINES, "X10-six-lumbar").set == "apply"
