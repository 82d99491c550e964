"""Vendor, contrast medium and tube voltage of a scan: from the cohort table, else from the header."""

import pytest
from tiny_series import tiny_scan, tiny_series, write_series

from lib.catalog.vendors import VENDORS, vendor_of
from lib.cohort.scans import gather_screening
from lib.cohort.table import planned_cohort
from lib.crop_settings import CropConfig
from lib.screening.screen_scan import ScanRequest, screen_scan, screen_scan_guarded
from lib.screening_settings import ScreeningConfig

LIMITS = ScreeningConfig(min_slices=5, min_length_mm=10.0)
CROP = CropConfig(method="none")
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


def screened(folder, **fields):
    asked = ScanRequest(side="", anatomy="generic", **fields)
    return screen_scan(folder, asked, LIMITS, CROP).to_json()


def acquired(found):
    return found["vendor"], found["contrast"], found["kvp"]


def test_the_header_tells_what_the_table_does_not(tmp_path):
    assert acquired(screened(series(tmp_path / "a"))) == ("ge", "yes", 120.0)
    assert acquired(screened(series(tmp_path / "b", "TOSHIBA", "none"))) == ("canon", "no", 120.0)
    # a header without these elements tells nothing: contrast is then not known
    assert acquired(screened(series(tmp_path / "c", "", ""))) == ("", "", 120.0)


def test_the_table_overrides_the_header_and_another_vendor_is_flagged(tmp_path):
    folder = series(tmp_path)
    found = screened(folder, vendor="siemens", contrast="no")
    assert acquired(found) == ("siemens", "no", 120.0)
    flagged = {reason["code"]: reason for reason in found["reasons"]}["vendor_differs"]
    assert (
        flagged["severity"] == "warning"
        and flagged["found"] == "the cohort table says siemens, the header ge"
    )
    assert flagged["action"].startswith("Correct `vendor`, or leave it empty")
    same = screened(folder, vendor="ge")
    assert "vendor_differs" not in [reason["code"] for reason in same["reasons"]]
    # a header that names no maker contradicts nothing
    silent = screened(series(tmp_path / "silent", ""), vendor="ge")
    assert silent["vendor"] == "ge" and "vendor_differs" not in [
        reason["code"] for reason in silent["reasons"]
    ]


def test_a_scan_that_cannot_be_read_keeps_what_the_table_says(tmp_path):
    asked = ScanRequest(side="", anatomy="generic", vendor="philips", contrast="yes")
    found = screen_scan_guarded(tmp_path, asked, LIMITS, CROP)
    assert found["verdict"] == "rejected" and acquired(found) == ("philips", "yes", None)


def test_scans_csv_lists_vendor_contrast_and_kvp(tmp_path):
    rows = [
        {"scan": "A", "image": "a"},
        {"scan": "B", "image": "b", "vendor": "siemens"},
        {"scan": "C", "image": "c", "vendor": "philips", "contrast": "no", "exclude": "hip prosthesis"},
        {"scan": "D", "image": "d", "contrast": "yes"},
    ]
    files = {
        "A": screened(series(tmp_path / "a")),
        "B": screened(series(tmp_path / "b", agent=""), vendor="siemens"),
    }
    for found in files.values():
        found["voxels"] = None
    records = gather_screening(planned_cohort(rows, "cohort.csv"), files)
    told = {record["scan"]: [record[name] for name in ("vendor", "contrast", "kvp")] for record in records}
    assert told == {
        "A": ["ge", "yes", "120"],
        "B": ["siemens", "", "120"],
        "C": ["philips", "no", ""],
        "D": ["", "yes", ""],  # not screened yet
    }
    assert "vendor_differs" in records[1]["warnings"].split()
