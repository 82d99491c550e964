"""The demo cohort on the cluster, from DICOM to the report."""

import csv

import pytest

pytest_plugins = ["clustered"]
pytestmark = [pytest.mark.workflow, pytest.mark.faults]


def test_the_demo_runs_to_its_report(sent, tmp_path):
    demo = sent[0].elsewhere(tmp_path / "demo", overlay="studies/demo.yaml", settings=(), seconds=3600)
    demo.folder.mkdir()
    demo.study.run()
    with open(demo.results / "tables/agreement.csv", newline="") as table:
        (test,) = (
            row
            for row in csv.DictReader(table)
            if (row["group"], row["protocol"], row["stratum"], row["region"])
            == ("all", "test", "all", "whole")
        )
    assert float(test["r2"]) > 0.97
    assert (demo.results / "report/index.html").exists()
    demo.check_once()
    assert demo.study.planned() == {}
