"""All summaries of a study: each empty number has a reason, even with few people."""

import re

import numpy as np
import pandas as pd
import pytest

from lib.report_settings import AgreementConfig
from lib.stats.formats import undefined_reasons
from lib.stats.paper import table1
from lib.stats.reader_pairs import PAIRS
from lib.stats.summary import summary_tables
from lib.stats.tables import structure_key
from tests.unit.study_tables import measurements, no_metrics, none_unscored, tables

CONFIG = AgreementConfig()


def acquisition(metrics):
    scans = metrics["scan"].unique()
    return pd.DataFrame({"scan": scans, "manufacturer": "Siemens", "model": "Force"})


def readers(metrics):
    """Records of a second reader for the test scans, who drew a little more."""
    pairs = {}
    for row in metrics[metrics["protocol"] == "test"].to_dict("records"):
        key = structure_key(row)
        score = {
            name: row[name] for name in ("dsc", "hd95_mm", "assd_mm", "nsd", "reference_mm3", "predicted_mm3")
        }
        pairs[key] = {pair: score | {"predicted_mm3": row["reference_mm3"] + 9.0} for pair in PAIRS}
    return pairs


def study(metrics, volumes, acquisition):
    """The tables of a study with every planned score."""
    tables = {"metrics": metrics, "volumes": volumes, "acquisition": acquisition, "unscored": none_unscored()}
    return tables | {"measurements": measurements(metrics)}


def unexplained(table):
    """Names of the empty numbers of a table that have no reason in their row."""
    names = set()
    for row in table.to_dict("records"):
        reasons = undefined_reasons(row["undefined"])
        empty = {
            name
            for name, value in row.items()
            if name != "fold" and not isinstance(value, str) and pd.isna(value)
        }
        names |= {re.sub("_ci_(low|high)$", "_ci", name) for name in empty} - set(reasons)
    return names


@pytest.mark.parametrize(("count", "test"), [(2, 1), (4, 1), (7, 3), (24, 8)])
def test_every_empty_number_has_a_reason(count, test):
    metrics, volumes, _ = tables(count, test)
    scans = {row["scan"]: row["scan"] + "b" for row in volumes.to_dict("records")}
    again = volumes.assign(repeat_of=volumes["scan"], scan=volumes["scan"].map(scans), mean_value=-3.0)
    both = pd.concat([volumes, again], ignore_index=True)
    made = summary_tables(study(metrics, both, acquisition(metrics)), readers(metrics), [], CONFIG)
    made["table1"] = table1(made["agreement"], metrics, none_unscored(), published=False)
    for name, table in made.items():
        assert unexplained(table) == set(), name
    assert set(made["readers"]["pair"]) == set(PAIRS)


def test_a_prediction_equal_to_its_reference_says_so():
    metrics, volumes, _ = tables(12, 4)
    metrics = metrics.assign(predicted_mm3=metrics["reference_mm3"], re_percent=0.0, dsc=1.0, hd95_mm=0.0)
    made = summary_tables(study(metrics, volumes, acquisition(metrics)), {}, [], CONFIG)
    for name, table in made.items():
        assert unexplained(table) == set(), name
    reasons = undefined_reasons(made["agreement"]["undefined"].iloc[0])
    assert reasons["mae_ci"] == "no prediction differs from its reference"
    assert reasons["ccc_ci"] == "the estimate lies at the end of its range"
    assert np.isnan(made["scores"]["mean_ci_low"].iloc[0])


def test_without_references_tables_are_empty():
    metrics, volumes, _ = tables(4, 1)
    made = summary_tables(study(no_metrics(), volumes.head(0), acquisition(metrics)), {}, [], CONFIG)
    assert all(table.empty for table in made.values())
