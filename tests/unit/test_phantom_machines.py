"""Several scanners in one cohort: their settings, who is scanned where, what headers and voxels show of it."""

import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml

from lib.errors import ConfigError
from lib.phantom.people import FIRST_DATE, PhantomConfig, find_person, phantom_people, phantom_table
from lib.phantom.scan import make_phantom_scan, simulate_scan
from lib.phantom.scanner.machines import CtScanner
from lib.reading.acquisition import read_acquisition

ROOT = Path(__file__).parents[2]
SIZE = {"matrix": 64, "slice_mm": 8.0, "supersampling": 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modality": "PET"}, "phantom.modality is 'PET': expected CT or MR"),
        ({"scanners": ["A"]}, r"phantom.scanners is \['A'\]"),
        ({"scanners": {"A B": {}}}, "the name 'A B'"),
        ({"scanners": {3: {}}}, "the name 3"),
        ({"scanners": {"A": None}}, "phantom.scanners.A is None"),
        ({"scanners": {"A": {"noise": 3}}}, "no setting 'noise' of a CtScanner; allowed are manufacturer"),
        ({"scanners": {"A": {"snr": 3}}}, "no setting 'snr' of a CtScanner"),
        ({"modality": "MR", "scanners": {"A": {"scale": 1.1}}}, "no setting 'scale' of a MrScanner"),
        (
            {"scanners": {"A": {"kernel_mm": 0}}},
            "phantom.scanners.A.kernel_mm is 0: expected a number from 0.2",
        ),
        ({"scanners": {"A": {"scale": True}}}, "phantom.scanners.A.scale is True"),
        ({"scanners": {"A": {"drift_per_year": 2}}}, "phantom.scanners.A.drift_per_year is 2"),
        ({"scanners": {"A": {"kernel": "B30\\s"}}}, "phantom.scanners.A.kernel"),
        ({"scanners": {"A": {"manufacturer": "x" * 40}}}, "phantom.scanners.A.manufacturer"),
        ({"modality": "MR", "scanners": {"A": {"snr": 1}}}, "phantom.scanners.A.snr is 1"),
        ({"mr": {"slice": 3}}, "phantom.mr: there is no setting 'slice'"),
        ({"mr": [3]}, r"phantom.mr is \[3\]"),
        ({"mr": {"matrix": 16}}, "phantom.mr.matrix is 16"),
        ({"mr": {"field_of_view_mm": 80}}, "phantom.mr.field_of_view_mm is 80: expected a number from 120"),
        ({"mr": {"slices": 20}}, "20 slices of 1.5 mm cover 30 mm"),
        ({"mr": {"rescale_slope": 0}}, "phantom.mr.rescale_slope is 0"),
        ({"modality": "MR", "defects": ["metal_nail"]}, "'metal_nail', which only a CT cohort has"),
    ],
)
def test_bad_settings_of_scanners_are_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        PhantomConfig(**changes)


def test_the_examples_of_the_documentation_are_valid():
    page = (ROOT / "docs/demo.md").read_text()
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.S))
    examples = [block["phantom"] for block in blocks if "phantom" in block]
    assert [len(phantom_people(PhantomConfig(**example))) for example in examples] == [40, 31, 0, 98]
    assert [PhantomConfig(**example).modality for example in examples] == ["CT", "CT", "MR", "CT"]


def cohort(*names, people=24):
    return phantom_people(
        PhantomConfig(people=people, defects=["repeat"], scanners={name: {} for name in names})
    )


def test_people_are_the_same_on_several_scanners():
    for one, several in zip(cohort(), cohort("A", "B"), strict=True):
        assert (one.scan, one.age, one.sex, one.person_seed, one.scan_seed) == (
            several.scan,
            several.age,
            several.sex,
            several.person_seed,
            several.scan_seed,
        )
        assert (one.scanner, one.scan_date, one.scanner_years) == ("", FIRST_DATE, 0)


def test_each_scanner_sees_as_many_men_and_women_of_all_ages():
    people = [person for person in cohort("B", "A", "C") if not person.repeat_of]
    for name in "ABC":
        seen = [person for person in people if person.scanner == name]
        assert [sum(person.sex == sex for person in seen) for sex in "MF"] == [4, 4]
        assert min(person.age for person in seen) < 50 < 65 < max(person.age for person in seen)


def test_a_person_keeps_scanner_and_date_when_the_cohort_grows_and_a_repeat_is_on_the_same_scanner():
    small, large = cohort("A", "B", people=5), cohort("B", "A", people=24)
    assert [(person.scanner, person.scan_date) for person in small[:5]] == [
        (person.scanner, person.scan_date) for person in large[:5]
    ]
    assert small[-1].repeat_of == "P001" and small[-1].scanner == small[0].scanner
    assert small[-1].scan_date != small[0].scan_date


def test_dates_spread_over_five_years():
    years = [person.scanner_years for person in cohort("A", people=60)]
    assert 0 <= min(years) < 0.5 and 4.5 < max(years) < 5


def test_the_table_names_the_scanner_as_site():
    config = PhantomConfig(people=4, hard_people=1, scanners={"A": {}, "B": {}})
    rows = {row["scan"]: row["site"] for row in phantom_table(config)}
    people = {person.scan: person.scanner for person in phantom_people(config)}
    assert rows == people | {"H01": "hard variant"}


def test_headers_and_truth_name_the_scanner(tmp_path):
    settings = {"manufacturer": "Philips", "kernel": "B70f"}
    config = PhantomConfig(people=1, scanners={"CT-7": settings}, **SIZE)
    make_phantom_scan(config, "P001", tmp_path / "dicom", tmp_path / "mask.nii.gz", tmp_path / "truth.json")
    header = pydicom.dcmread(next((tmp_path / "dicom").iterdir()))
    found = read_acquisition(header, 8.0)
    assert (found.manufacturer, found.model, found.kernel) == ("Philips", "CT-7", "B70f")
    truth = json.loads((tmp_path / "truth.json").read_text())
    person = find_person(config, "P001")
    assert (truth["scanner"], truth["scanner_years"]) == ("CT-7", person.scanner_years)
    assert header.StudyDate == f"{person.scan_date:%Y%m%d}" > "19990102"


def test_a_scanner_without_a_manufacturer_is_its_own():
    person = find_person(PhantomConfig(people=1, scanners={"A": {}}), "P001")
    assert person.machine(CtScanner()) == ("A", "A")


def scanned(**settings):
    config = PhantomConfig(people=1, scanners={"A": settings} if settings else {}, **SIZE)
    person = find_person(config, "P001")
    return simulate_scan(config, person).hu_zyx.astype(float), person.scanner_years


def test_scale_offset_and_drift_act_on_the_scan():
    usual, _ = scanned()
    other, years = scanned(scale=0.98, offset_hu=5.0, drift_per_year=0.01)
    inside = (usual > -900) & (usual < 2000)
    expected = 0.98 * (1 + 0.01 * years) * usual + 5
    assert np.abs(other - expected)[inside].max() <= 1.1  # both are rounded


def test_the_usual_settings_change_nothing_but_name_and_date():
    assert np.array_equal(scanned()[0], scanned(kernel="B30s")[0])
