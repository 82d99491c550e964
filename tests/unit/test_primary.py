"""The primary prediction of a scan is the same on the index and on the page of the scan."""

import pandas as pd

from lib.stats.primary import primary_rows


def test_the_widest_cohort_the_first_network_and_the_ensemble_stand_first():
    rows = [
        ("S1", "male", "a", "test"),
        ("S1", "all", "b", "test"),
        ("S1", "all", "a", "test-single"),
        ("S1", "all", "a", "test"),
        ("S2", "female", "a", "apply"),
    ]
    table = pd.DataFrame(rows, columns=["scan", "group", "network", "protocol"]).assign(structure="femur")
    assert primary_rows(table).index.tolist() == [3, 4]
    assert primary_rows(table, networks=["b", "a"]).index.tolist() == [1, 4]
    several = pd.concat([table, table.assign(structure="tibia")], ignore_index=True)
    assert primary_rows(several).index.tolist() == [3, 4, 8, 9]
