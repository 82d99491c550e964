"""Targets of a regression, classes and reported structures: what does not fit is refused with what is allowed."""

import pytest
from test_checked_study import parse

from lib.catalog.scales import is_density_without_scale, names_with_scale, scale_of_column
from lib.classes_settings import ClassesConfig, check_classes, check_cut_offs
from lib.errors import ConfigError
from lib.target_columns import check_targets

LEVELS = ("L1", "L2", "L3", "L4")
K2HPO4 = {name: f"bmd_{name.lower()}_k2hpo4_mg_cm3" for name in LEVELS}
CAHA = {name: f"bmd_{name.lower()}_caha_mg_cm3" for name in LEVELS}
MEANS = {"paper": ["L1", "L2", "L3", "L4"], "iscd": ["L1", "L2"]}
SPINE = """
anatomy: generic
structures: {L1: [1], L2: [2]}
crop: {method: centre}
mask: {method: argmax}
"""


def test_the_end_of_a_column_tells_the_scale_of_its_densities():
    assert check_targets(K2HPO4, LEVELS) == "k2hpo4" and check_targets(CAHA, LEVELS) == "caha"
    assert check_targets({}, LEVELS) == ""
    assert (scale_of_column("bmd_l1_caha_mg_cm3"), scale_of_column("bmd_l1_mg_cm3")) == ("caha", "")


@pytest.mark.parametrize("column", ["bmd_l1", "bmd_l1_mg_cm3", "bmd_l1_k2hpo4"])
def test_a_target_without_a_scale_is_refused_with_both_endings(column):
    with pytest.raises(ConfigError) as caught:
        check_targets({"L1": column}, LEVELS)
    assert str(caught.value) == (
        f"regression.targets.L1: the column {column} does not tell the scale of its densities. Call it "
        "bmd_l1_k2hpo4_mg_cm3 or bmd_l1_caha_mg_cm3, here and in the cohort table"
    )


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            {"L1": K2HPO4["L1"], "L2": CAHA["L2"]},
            r"regression.targets: bmd_l1_k2hpo4_mg_cm3 \(K₂HPO₄\) and bmd_l2_caha_mg_cm3 \(CaHA\) are of two scales",
        ),
        (
            {"T12": "bmd_t12_k2hpo4_mg_cm3"},
            "regression.targets.T12: the study has no structure of this name; its structures: L1, L2, L3, L4",
        ),
        (
            {"L1": K2HPO4["L1"], "L2": K2HPO4["L1"]},
            "regression.targets: L2 and L1 have one column, bmd_l1_k2hpo4_mg_cm3|L1 and L2 have one column",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, message):
    with pytest.raises(ConfigError, match=message):
        check_targets(targets, LEVELS)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("bmd_l1", True),
        ("BMD L1 (mg/cm3)", True),
        ("vbmd_L1_mg_cm3", True),
        ("l1_bmd_ha", True),
        ("qct-l1", True),
        ("bmd_l1_k2hpo4_mg_cm3", False),
        ("bmd_l1_t_score", False),
        ("bmd_dxa", False),
        ("bmd_l9", False),
        ("l1", False),
        ("mg_cm3", False),
    ],
)
def test_densities_without_a_scale_are_known_by_their_words(column, expected):
    assert is_density_without_scale(column, LEVELS) is expected
    assert names_with_scale("bmd_l1_mg_cm3") == "bmd_l1_k2hpo4_mg_cm3 or bmd_l1_caha_mg_cm3"


def test_classes_rest_on_the_scale_of_their_cut_offs():
    config = ClassesConfig(means=MEANS)
    assert config.means["iscd"] == ("L1", "L2")
    check_classes(config, K2HPO4, "k2hpo4")
    check_classes(ClassesConfig(), CAHA, "caha")  # no classes are made
    check_classes(
        ClassesConfig(means=MEANS, scale="caha", osteoporosis_below=95.0, normal_above=140.0), CAHA, "caha"
    )
    with pytest.raises(ConfigError) as caught:
        check_classes(config, CAHA, "caha")
    assert str(caught.value) == (
        "classes: cut-offs of 80 and 120 mg/cm3 hold for K₂HPO₄, and the columns of regression.targets hold CaHA "
        "densities; give cut-offs of the CaHA scale (classes.scale: caha with both cut-offs) or remove classes.means"
    )


def test_another_scale_needs_both_cut_offs():
    check_cut_offs({})
    check_cut_offs({"scale": "k2hpo4", "normal_above": 110})
    check_cut_offs({"scale": "caha", "osteoporosis_below": 95, "normal_above": 140})
    with pytest.raises(ConfigError, match="give classes.osteoporosis_below and classes.normal_above"):
        check_cut_offs({"scale": "caha"})
    with pytest.raises(
        ConfigError,
        match="classes.scale: caha needs its own cut-offs.* hold for K₂HPO₄; give classes.normal_above",
    ):
        check_cut_offs({"scale": "caha", "osteoporosis_below": 95})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"osteoporosis_below": 120.0, "normal_above": 80.0}, "below normal_above; got 120 and 80 mg/cm3"),
        ({"osteoporosis_below": 100.0, "normal_above": 100.0}, "got 100 and 100 mg/cm3"),
        ({"osteoporosis_below": 0.0}, "osteoporosis_below must be above 0"),
        ({"scale": "ha"}, "classes.scale must be one of k2hpo4, caha; got 'ha'"),
        ({"means": {"one": ["L1"]}}, "classes.means.one: name at least 2 structures, each once; got L1"),
        ({"means": {"same": ["L1", "L1"]}}, "classes.means.same: .* got L1, L1"),
        ({"means": {"none": []}}, "classes.means.none: .* got none"),
    ],
)
def test_classes_that_cannot_be_made_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        ClassesConfig(**fields)


def test_a_mean_needs_structures_with_a_density():
    with pytest.raises(
        ConfigError, match="classes.means.paper: L3, L4 have no density; structures with a column .*: L1, L2$"
    ):
        check_classes(ClassesConfig(means=MEANS), {name: K2HPO4[name] for name in ("L1", "L2")}, "k2hpo4")


def test_the_parse_refuses_classes_and_reported_structures_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = parse(SPINE + "report: {structures: [L2]}")
    assert study.config["report"]["structures"] == ["L2"]
    with pytest.raises(
        ConfigError, match="report.structures: L9 are no structures of the study; its structures: L1, L2"
    ):
        parse(SPINE + "report: {structures: [L9]}")
    with pytest.raises(ConfigError, match="classes.means.iscd: L1, L2 have no density; .*: none"):
        parse(SPINE + "classes: {means: {iscd: [L1, L2]}}")
    with pytest.raises(ConfigError, match="classes.scale: caha needs its own cut-offs"):
        parse(SPINE + "classes: {scale: caha}")
    with pytest.raises(ConfigError, match="got 130 and 120 mg/cm3"):
        parse(SPINE + "classes: {osteoporosis_below: 130}")
