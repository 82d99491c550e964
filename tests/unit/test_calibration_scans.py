"""What the cohort table says of scans that take the calibration of another one."""

import pytest

from lib.catalog.calibration import REFUSALS
from lib.cohort.calibration_scans import first_of_each_image, is_one_scanner, table_refusal
from lib.cohort.table import planned_cohort


def rows(*told):
    """Return rows of a table, each by its `scanner` and `scan_order`; the first takes the line of the second."""
    records = [
        {"scan": f"S{k}", "image": f"{k}", "scanner": scanner, "scan_order": order, "phantom": "p"}
        for k, (scanner, order) in enumerate(told, start=1)
    ]
    return list(planned_cohort(records, "cohort.csv").values())


@pytest.mark.parametrize(
    ("orders", "most", "refused"),
    [
        (("10", "40"), 30.0, False),
        (("40", "10"), 30.0, False),
        (("10", "41"), 30.0, True),
        (("41", "10"), 30.0, True),
        (("0.1", "0.4"), 0.3, False),  # 0.4 - 0.1 is more than 0.3 in binary numbers
        (("7", "7"), 0, False),
        (("7", "8"), 0, True),
        (("10", "4000"), None, False),
        (("", ""), None, False),
    ],
)
def test_a_line_holds_within_the_gap(orders, most, refused):
    scan, source = rows(*(("", order) for order in orders))
    told = table_refusal(scan, source, most)
    assert told.get("reason", "") == ("scan_order_gap" if refused else "")


def test_the_refusal_tells_both_places_and_the_limit():
    told = table_refusal(*rows(("", "10"), ("", "52.5")), 30.0)
    assert told["found"] == "scan_order 10, and S2 52.5: a difference of 42.5; allowed are 30"
    assert "nearer" in REFUSALS[told["reason"]].action


@pytest.mark.parametrize(
    ("orders", "missing"), [(("", "4"), "S1"), (("4", ""), "S2"), (("", ""), "S1 and S2")]
)
def test_a_limit_without_an_order_refuses(orders, missing):
    told = table_refusal(*rows(*(("", order) for order in orders)), 30.0)
    assert told == {"reason": "scan_order_unknown", "found": f"no scan_order of {missing}"}


def test_scanners_that_the_table_tells_apart():
    told = table_refusal(*rows(("room 3", "1"), ("room 4", "1")), None)
    assert told == {"reason": "other_scanner", "found": "scanner room 3, and S2 scanner room 4"}
    for pair in (("room 3", "room 3"), ("room 3", ""), ("", "")):
        scan, source = rows(*((word, "1") for word in pair))
        assert table_refusal(scan, source, 0) == {}
        assert is_one_scanner(scan, source) is (pair == ("room 3", "room 3"))


def test_reasons_are_explained():
    assert {"scan_order_gap", "scan_order_unknown", "other_scanner"} <= REFUSALS.keys()


def test_scans_of_one_image_are_one():
    digests = {"A-left": "1", "A-right": "1", "B-left": "2", "B-right": "2"}
    scans = ["A-left", "B-right", "A-right", "C", "B-left", "D"]
    # scans whose voxels could not be read have an image of their own
    assert first_of_each_image(scans, digests) == ["A-left", "B-right", "C", "D"]
    assert first_of_each_image(scans, {}) == scans
