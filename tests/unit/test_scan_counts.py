"""Scans that a study used, refused and flagged, as the report's first screen and the terminal count them."""

import pandas as pd

from lib.stats.scan_counts import count_flagged, count_scans


def flow(*rows):
    return pd.DataFrame(rows, columns=["scan", "verdict", "stage", "reason"])


def predictions(*rows):
    table = pd.DataFrame(rows, columns=["scan", "structure", "protocol", "flags"])
    return table.assign(group="all", network="vnet")


def test_every_scan_counts_once():
    counts = count_scans(
        flow(
            ("A", "ok", "scored", ""),
            ("B", "ok", "predicted", "no_reference"),
            ("C", "rejected", "screened", "missing_slices off_protocol"),
            ("D", "rejected", "screened", "missing_slices"),
            ("E", "excluded", "screened", "excluded"),
            ("F", "ok", "cropped", "not_predicted"),
            ("G", "missing", "listed", "not_screened"),
        )
    )
    assert (counts.listed, counts.used) == (7, 2)
    assert counts.not_used() == [
        (2, "refused", "missing_slices"),
        (1, "excluded", ""),
        (1, "not screened", ""),
        (1, "unfinished", "not_predicted"),
    ]
    assert counts.used + sum(count for count, _, _ in counts.not_used()) == counts.listed


def test_a_predicted_scan_that_could_not_be_scored_is_used():
    counts = count_scans(
        flow(("A", "ok", "predicted", "not_scored"), ("B", "ok", "predicted", "partly_missing"))
    )
    assert counts.used == 2 and counts.not_used() == []


def test_before_anything_is_predicted_accepted_scans_are_counted():
    scans = pd.DataFrame({"scan": ["a", "b"], "verdict": ["ok", "missing"], "reason": ["", "not_screened"]})
    counts = count_scans(scans)
    assert counts.is_screening and counts.used == 1 and counts.not_used() == [(1, "not screened", "")]


def test_only_the_most_frequent_reasons_are_named():
    refused = [(f"{code}{n}", "rejected", "screened", code) for n, code in enumerate("aabbccde")]
    assert count_scans(flow(*refused)).not_used() == [(8, "refused", "2 a, 2 b, 2 c, 2 for other reasons")]


def test_a_scan_is_flagged_once_and_by_its_primary_prediction():
    table = predictions(
        ("A", "L1", "test", ""),
        ("A", "L1", "test-single", "padded"),
        ("B", "L1", "apply", "padded corrected"),
        ("B", "L2", "apply", "bone_at_border"),
    )
    assert count_flagged(table, ["vnet"]) == 1
    assert count_flagged(table.head(2), ["vnet"]) == 0
    assert count_flagged(predictions(), []) == 0
