"""The prediction that stands for a scan is the same one on the index and on the page of the scan."""

import ast
from pathlib import Path

import pandas as pd

from lib.stats.primary import primary_rows
from lib.stats.scan_table import PRIMARY_PROTOCOLS

INPUTS = Path(__file__).parents[2] / "rules/inputs.smk"


def test_pages_of_scans_show_the_prediction_that_the_index_shows():
    line = next(line for line in INPUTS.read_text().splitlines() if line.startswith("SHOWN_FIRST = "))
    assert ast.literal_eval(line.removeprefix("SHOWN_FIRST = ")) == tuple(PRIMARY_PROTOCOLS)


def test_the_widest_cohort_the_first_network_and_the_ensemble_stand_first():
    rows = [
        ("S1", "male", "a", "test"),
        ("S1", "all", "b", "test"),
        ("S1", "all", "a", "test-single"),
        ("S1", "all", "a", "test"),
        ("S2", "female", "a", "apply"),
    ]
    table = pd.DataFrame(rows, columns=["scan", "cohort", "model", "protocol"])
    assert primary_rows(table).index.tolist() == [3, 4]
    assert primary_rows(table, networks=["b", "a"]).index.tolist() == [1, 4]
