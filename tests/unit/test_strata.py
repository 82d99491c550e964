"""Scores by stratum: everybody once in each column, from the cohort table or the acquisition."""

import numpy as np
import pandas as pd
import pytest

from lib.catalog.vendors import vendor_of
from lib.cohort.acquisitions import check_strata
from lib.errors import ConfigError
from lib.report_settings import AgreementConfig
from lib.stats.agreement_tables import agreement_table
from lib.stats.scores import score_table
from lib.stats.strata import with_strata
from lib.stats.unscored import find_gaps, with_gaps
from tests.unit.study_tables import measurements, tables, unscored

CONFIG = AgreementConfig(strata=("sex", "site", "vendor", "kvp", "menopause"))


@pytest.fixture(scope="module")
def study():
    """Tables of a study with strata; the scores of test person P001 are missing."""
    metrics = tables(24, 8)[0]
    scans = sorted(metrics["scan"].unique())
    gone = (metrics["scan"] == "P001") & (metrics["protocol"] == "test")
    kept = metrics[~gone]
    makers = ["GE MEDICAL SYSTEMS" if number % 3 else "Philips" for number in range(len(scans))]
    acquisition = pd.DataFrame({"scan": scans, "manufacturer": makers, "model": "X", "kvp": np.nan})
    acquisition.loc[:11, "kvp"] = 120.0
    listed = pd.DataFrame({"scan": scans, "menopause": ["yes", ""] * (len(scans) // 2)})
    listed["vendor"] = [vendor_of(maker) for maker in makers]
    made = {"metrics": kept, "measurements": measurements(kept), "acquisition": acquisition}
    return with_strata(made | {"unscored": unscored(metrics[gone])}, CONFIG.strata, listed)


def test_every_stratum_has_a_row_and_its_people_add_up(study):
    scores = score_table(study["metrics"], CONFIG, find_gaps(study["metrics"], study["unscored"]))
    rows = scores[(scores["group"] == "all") & (scores["protocol"] == "cv") & (scores["measure"] == "dsc")]
    counts = dict(zip(rows["stratum"], rows["n"], strict=True))
    assert list(counts) == [
        *("all", "sex=M", "sex=F", "site=north", "site=south", "vendor=ge", "vendor=philips"),
        *("kvp=120", "menopause=yes"),
    ]
    for column in ("sex", "site", "vendor"):
        assert sum(n for name, n in counts.items() if name.startswith(column)) == counts["all"] == 16
    assert counts["kvp=120"] < 16 and counts["menopause=yes"] == 8  # the others do not state it
    metrics = study["metrics"]
    ge = metrics[
        (metrics["group"] == "all") & (metrics["protocol"] == "cv") & (metrics["stratum_vendor"] == "ge")
    ]
    assert rows.set_index("stratum").loc["vendor=ge", "mean"] == pytest.approx(ge["dsc"].mean())


def test_agreement_and_gaps_are_given_by_stratum_too(study):
    gaps = find_gaps(study["metrics"], study["unscored"])
    table = with_gaps(agreement_table(study["measurements"], CONFIG), gaps, CONFIG.strata)
    rows = table[(table["group"] == "all") & (table["protocol"] == "test")].set_index("stratum")
    assert rows.loc["vendor=ge", "n"] + rows.loc["vendor=philips", "n"] == rows.loc["all", "n"] == 7
    assert rows.loc[["all", "vendor=ge", "vendor=philips"], "not_scored"].tolist() == [1, 1, 0]


def test_unknown_strata_are_refused_before_any_job():
    check_strata(["sex", "vendor", "kernel", "menopause"], ["menopause"], "CT")
    with pytest.raises(
        ConfigError, match="report.strata: no table has a column .menopause.; known are sex, site"
    ):
        check_strata(["menopause"], [], "CT")
