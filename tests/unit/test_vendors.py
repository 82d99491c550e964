"""Vendor, contrast medium and tube voltage of a scan: from the cohort table, else from the header."""

import pytest
from tiny_series import tiny_scan, tiny_series, write_series

from lib.catalog.vendors import VENDORS, vendor_of
from lib.cohort.scans import VENDOR_DIFFERS, gather_screening
from lib.cohort.stated import with_stated
from lib.cohort.table import planned_cohort
from lib.crop_settings import CropConfig
from lib.screening.screen_scan import ScanRequest, screen_scan, screen_scan_guarded
from lib.screening_settings import ScreeningConfig

LIMITS = ScreeningConfig(min_slices=5, min_length_mm=10.0)
CROP = CropConfig(method="none")
ASKED = ScanRequest(side="", anatomy="generic")
SPELLINGS = {
    "siemens": ("SIEMENS", "Siemens Healthineers", "Siemens HealthCare GmbH", "SIEMENS NM"),
    "ge": (
        "GE MEDICAL SYSTEMS",
        "GE_MEDICAL_SYSTEMS",
        "G.E. Medical Systems",
        "GE Healthcare",
        "GEHC",
        "GEMS",
    ),
    "philips": ("Philips", "Philips Medical Systems", "Philips Medical Systems, Inc.", "Philips Healthcare"),
    "canon": ("TOSHIBA", "TOSHIBA_MEC", "Toshiba", "CANON_MEC", "Canon Medical Systems"),
    "united-imaging": ("UIH", "United Imaging Healthcare", "SHANGHAI UNITED IMAGING HEALTHCARE"),
    "other": (
        "Hitachi Medical Corporation",
        "NMS",
        "Osteoflow",
        "Image Works",
        "GENERATION 2",
        "Canonical Ltd.",
    ),
    "": (None, "", "--"),
}


@pytest.mark.parametrize(
    ("vendor", "spelling"), [(vendor, text) for vendor, texts in SPELLINGS.items() for text in texts]
)
def test_spellings_of_headers_have_one_name(vendor, spelling):
    assert vendor_of(spelling) == vendor
    assert vendor in ("", *VENDORS)


def series(folder, maker="GE MEDICAL SYSTEMS", agent="Ultravist"):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.Manufacturer, dataset.ContrastBolusAgent = maker, agent
    return write_series(datasets, folder)


def screened(folder):
    return screen_scan(folder, ASKED, LIMITS, CROP).to_json()


def acquired(found):
    return found["vendor"], found["contrast"], found["kvp"]


def test_the_header_tells_what_the_table_does_not(tmp_path):
    assert acquired(screened(series(tmp_path / "a"))) == ("ge", "yes", 120.0)
    assert acquired(screened(series(tmp_path / "b", "TOSHIBA", "none"))) == ("canon", "no", 120.0)
    # a header without these elements tells nothing: contrast is then not known
    assert acquired(screened(series(tmp_path / "c", "", ""))) == ("", "", 120.0)


def test_the_table_overrides_the_header(tmp_path):
    found = screened(series(tmp_path))
    assert acquired(with_stated(found, vendor="siemens", contrast="no")) == ("siemens", "no", 120.0)
    assert with_stated(found) == found
    assert acquired(with_stated({"kvp": None}, contrast="yes")) == ("", "yes", None)


def test_a_scan_that_cannot_be_read_has_no_vendor(tmp_path):
    found = screen_scan_guarded(tmp_path, ASKED, LIMITS, CROP)
    assert found["verdict"] == "rejected" and acquired(found) == ("", "", None)


def test_scans_csv_lists_vendor_contrast_and_kvp_and_flags_another_vendor(tmp_path):
    rows = [
        {"scan": "A", "image": "a"},
        {"scan": "B", "image": "b", "vendor": "siemens"},
        {"scan": "C", "image": "c", "vendor": "philips", "contrast": "no", "exclude": "hip prosthesis"},
        {"scan": "D", "image": "d", "contrast": "yes"},
        {"scan": "E", "image": "e", "vendor": "ge"},
        {"scan": "F", "image": "f", "vendor": "ge", "contrast": "no"},
    ]
    ge, silent = screened(series(tmp_path / "ge")), screened(series(tmp_path / "silent", "", ""))
    files = {"A": ge, "B": ge, "C": ge, "E": silent, "F": ge}
    files = {scan: dict(found, voxels=None) for scan, found in files.items()}
    records = gather_screening(planned_cohort(rows, "cohort.csv"), files)
    told = {record["scan"]: [record[name] for name in ("vendor", "contrast", "kvp")] for record in records}
    assert told == {
        "A": ["ge", "yes", "120"],
        "B": ["siemens", "yes", "120"],
        "C": ["philips", "no", "120"],
        "D": ["", "yes", ""],  # not screened yet
        "E": ["ge", "", "120"],
        "F": ["ge", "no", "120"],
    }
    flagged = [record["scan"] for record in records if VENDOR_DIFFERS in record["warnings"].split()]
    assert flagged == ["B"]  # C is excluded, and the header of E names no maker
    (explanation,) = [record["explanation"] for record in records if record["scan"] == "B"]
    assert explanation.endswith(
        "the cohort table says siemens, the header ge. Correct `vendor`, or leave it empty; until then the table's "
        "is used. Check `image`, too."
    )
