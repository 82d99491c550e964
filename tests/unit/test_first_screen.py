"""The first screen of the report: each kind of study in a sentence, scans in numbers, two scans."""

import numpy as np
import pandas as pd
import pytest

from lib.pages.first_screen import (
    calibrated_sentence,
    found_sentences,
    primary_headlines,
    regression_sentence,
    shown_cases,
)

NONE_MEASURED = pd.DataFrame({"scan": [], "structure": []})


def headline(protocol="test", structure="femur", **values):
    """A row of the headlines: 6 people, Dice 0.98642, a mean error of 1300 mm3 and -1.2 to 2.6 %."""
    row = {"group": "all", "network": "vnet", "protocol": protocol, "structure": structure, "n": 6}
    row |= {"dsc": {"mean": values.pop("dice", 0.98642)}, "mae_mm3": 1300.0, "not_scored": 0}
    return row | {"re_min_percent": -1.24, "re_max_percent": 2.61} | values


def density(protocol="test", **values):
    """A row of tables/bmd_agreement.csv on the mean of two vertebrae."""
    row = {"group": "all", "network": "densenet", "protocol": protocol, "method": "network", "kind": "person"}
    row |= {"vendor": "all", "contrast": "no", "mean_of": "upper", "n_people": 58, "undefined": ""}
    return row | {"bias_k2hpo4_mg_cm3": -2.04, "rmse_k2hpo4_mg_cm3": 8.41} | values


def calibrated(protocol="later", **values):
    """A row of tables/agreement.csv on the integral density of the proximal femur."""
    row = {"group": "all", "network": "vnet", "protocol": protocol, "stratum": "all", "structure": "femur"}
    row |= {"region": "proximal_femur", "compartment": "integral", "measure": "vbmd_k2hpo4", "n": 14}
    return row | {"bias": -6.51} | values


def told(*rows, volumes=NONE_MEASURED, density_rows=(), agreement=(), networks=("vnet",), means=None):
    tables = {"agreement": pd.DataFrame(agreement, columns=list(calibrated())), "volumes": volumes}
    if density_rows:
        tables["bmd_agreement"] = pd.DataFrame(density_rows)
    return [text.striptags() for text in found_sentences(rows, tables, networks, means or {})]


def test_test_people_come_first_and_are_told_in_one_sentence():
    assert told(headline("cv", n=19), headline()) == [
        "In 6 people never seen before: Dice 0.986, volume error 1.3 cm³ on average, +2.6 % at worst."
    ]


@pytest.mark.parametrize(
    ("protocols", "words"),
    [
        (("cv",), "each predicted by a model that did not see them (cross-validation)"),
        (("cv", "later"), "who were not part of the training"),
        (("cv", "later", "external"), "of other institutions, never seen before"),
        (("test-single", "cv"), "each predicted by a model that did not see them (cross-validation)"),
    ],
)
def test_without_test_people_the_sentence_says_whose_numbers_they_are(protocols, words):
    (sentence,) = told(*(headline(protocol) for protocol in protocols))
    assert sentence.startswith(f"In 6 people {words}: Dice 0.986")


def test_every_number_leads_to_its_definition():
    made = {"agreement": pd.DataFrame(columns=list(calibrated())), "volumes": NONE_MEASURED}
    (sentence,) = found_sentences([headline()], made, ["vnet"], {})
    assert '<a class="term" href="#def-dsc">Dice</a> 0.986' in sentence
    assert '<a class="term" href="#def-mae">volume error</a> 1.3' in sentence


def test_of_several_structures_the_lowest_and_the_highest_are_told():
    rows = [
        headline(structure="L1", dice=0.943, mae_mm3=1812.0, re_min_percent=-25.5, n=58),
        headline(structure="L2", dice=0.947, mae_mm3=1600.0, n=60),
        headline(structure="L4", dice=0.950, mae_mm3=1700.0, n=60),
    ]
    assert told(*rows) == [
        "In 58 to 60 people never seen before: Dice 0.943 (L1) to 0.950 (L4), volume error 1.6 (L2) to 1.8 (L1) cm³ "
        "on average, −25.5 % at worst (L1)."
    ]


def test_the_first_network_of_the_configuration_is_told():
    rows = [headline(network="a", dice=0.9), headline(network="b", dice=0.8)]
    assert [row["network"] for row in primary_headlines(rows, ["b", "a"])] == ["b"]
    assert "Dice 0.800" in told(*rows, networks=("b", "a"))[0]
    assert "Dice 0.900" in told(*rows, networks=("unknown",))[0]


@pytest.mark.parametrize("wrong", [None, np.nan, np.inf, -0.1, 1.2])
def test_a_dice_that_is_missing_or_impossible_is_not_printed(wrong):
    (sentence,) = told(headline(dice=wrong))
    assert sentence == (
        "In 6 people never seen before: no Dice defined, volume error 1.3 cm³ on average, +2.6 % at worst."
    )


@pytest.mark.parametrize("wrong", [None, np.nan, np.inf, -5.0])
def test_a_volume_error_that_is_missing_or_impossible_is_not_printed(wrong):
    (sentence,) = told(headline(mae_mm3=wrong, re_min_percent=None, re_max_percent=np.nan))
    assert sentence == "In 6 people never seen before: Dice 0.986."


def test_scans_that_could_not_be_scored_are_told_beside_the_numbers():
    assert told(headline(not_scored=1))[0].endswith(
        "at worst. 1 scan could not be scored and is not in these numbers."
    )
    assert "2 scans could not be scored and are not" in told(headline(not_scored=2))[0]


def test_models_of_one_sex_are_not_told_as_everybody():
    assert told(headline(group="female"))[0].startswith("In 6 people (women) never seen before")
    assert told(headline(n=1))[0].startswith("In 1 person never")


def test_a_study_without_scores_says_so():
    measured = pd.DataFrame({"scan": ["A", "A", "B"], "structure": ["L1", "L2", "L1"]})
    assert told() == ["No scan has been predicted yet, so there are no results."]
    (sentence,) = told(volumes=measured)
    assert sentence.startswith("2 scans were measured, and nothing could be scored")
    assert not any(character.isdigit() for character in sentence[1:])
    assert told(headline(n=0), volumes=measured) == [sentence]


def test_a_density_that_a_network_reads_has_bias_and_error():
    rows = [
        density("cv"),
        density(vendor="ge", bias_k2hpo4_mg_cm3=9.0),
        density(method="hu_linear"),
        density(),
    ]
    sentences = told(headline(), density_rows=rows, means={"upper": ["L1", "L2"]})
    assert sentences[1] == (
        "Bone density read by the network (mean of L1 and L2), 58 people never seen before: bias −2.0, "
        "root mean square error 8.4 mg/cm³ K₂HPO₄-equivalent (other methods: line on HU 8.4)."
    )


def test_biases_of_vendors_that_cancel_are_told_one_by_one():
    rows = [
        density(bias_k2hpo4_mg_cm3=-1.9),
        density(vendor="ge", bias_k2hpo4_mg_cm3=6.4, vendor_trained="yes"),
        density(vendor="philips", bias_k2hpo4_mg_cm3=-11.1, vendor_trained="no"),
        density("cv", vendor="ge", bias_k2hpo4_mg_cm3=0.0, vendor_trained="yes"),
        density(method="phantom", n_people=20, rmse_k2hpo4_mg_cm3=1.41),
    ]
    sentence = told(headline(), density_rows=rows, means={"upper": ["L1", "L2"]})[1]
    assert sentence.endswith(
        "(other methods: calibration of the scan 1.4 in 20 people). Bias by vendor: +6.4 ge, "
        "−11.1 philips (new to the network)."
    )


def test_structures_that_are_not_led_with_are_named():
    volumes = pd.DataFrame({"scan": ["A"] * 3, "structure": ["L1", "L5", "sacrum"]})
    assert told(headline(structure="L1"), volumes=volumes)[0].endswith("at worst. L5 and sacrum: Overlap.")


def test_a_density_without_people_or_numbers_is_left_out():
    empty = density(bias_k2hpo4_mg_cm3=np.nan, rmse_k2hpo4_mg_cm3=np.inf)
    assert regression_sentence({"bmd_agreement": pd.DataFrame([empty])}, {}) == ""
    assert regression_sentence({"bmd_agreement": pd.DataFrame([density(n_people=0)])}, {}) == ""
    assert regression_sentence({"bmd_agreement": pd.DataFrame([density(vendor="ge")])}, {}) == ""


def test_calibrated_density_is_that_of_the_whole_bone_on_the_scale_of_most_people():
    rows = [
        calibrated(measure="vbmd_caha", n=5, bias=-4.9),
        calibrated(region="femoral_neck", n=17, bias=-4.3),
        calibrated(compartment="trabecular", bias=0.1),
        calibrated(),
    ]
    sentence = told(headline("later"), agreement=rows)[1]
    assert sentence == (
        "Integral density of the proximal femur in 14 people who were not part of the training, measured in the "
        "predicted instead of the reference mask: bias −6.5 mg/cm³ (K₂HPO₄). Other scales: Calibrated density."
    )


def test_a_calibrated_density_without_a_bias_is_left_out():
    assert calibrated_sentence({"agreement": pd.DataFrame([calibrated(bias=np.nan)])}) == ""
    assert calibrated_sentence({"agreement": pd.DataFrame([calibrated(n=0)])}) == ""


def scored(*rows):
    table = pd.DataFrame(rows, columns=["scan", "structure", "dsc", "re_percent"])
    return table.assign(group="all", network="vnet", protocol="test", members="ensemble", repeat_of="")


def test_one_person_of_another_institution_does_not_stand_for_the_study():
    assert told(headline("external", n=1), headline("cv", n=12))[0].startswith(
        "In 12 people each predicted by"
    )
    assert told(headline("external", n=1), headline("later", n=1))[0].startswith("In 1 person of other inst")
    assert told(headline("external", n=2), headline("cv", n=12))[0].startswith("In 2 people of other inst")


def test_of_several_networks_the_sentence_names_its_own():
    rows = [headline(network="b", dice=0.9), headline(network="a", dice=0.8)]
    (sentence,) = told(*rows, networks=("a", "b"))
    assert sentence.startswith("In 6 people never seen before, by a, the first of 2 networks: Dice 0.800,")


def test_the_cases_are_the_scans_of_median_and_of_lowest_dice():
    table = scored(
        *(
            (scan, "femur", dice, 1.26)
            for scan, dice in zip("ABCDE", (0.98, 0.95, 0.97, 0.99, 0.9), strict=True)
        )
    )
    cases = shown_cases(table, [headline()], "ABCD")  # no page of E
    assert [(case.scan, case.told) for case in cases] == [
        ("A", "Dice 0.980, volume +1.3 %"),
        ("B", "Dice 0.950, volume +1.3 %"),
    ]
    assert [case.kind.split()[0] for case in cases] == ["Typical", "Worst"]


def test_of_several_structures_a_scan_counts_with_its_mean():
    rows = [("A", "L1", 0.9, 1.0), ("A", "L2", 0.8, 1.0), ("B", "L1", 0.86, 1.0), ("B", "L2", 0.86, 1.0)]
    rows += [("A", "sacrum", 0.1, 1.0)]  # not among the headlines
    cases = shown_cases(scored(*rows), [headline(structure="L1"), headline(structure="L2")], "AB")
    assert [(case.scan, case.told) for case in cases] == [
        ("B", "mean Dice of L1 and L2 0.860"),
        ("A", "mean Dice of L1 and L2 0.850"),
    ]


def test_cases_are_never_repeated_scans_nor_of_other_protocols():
    table = scored(("A", "femur", 0.98, 1.0), ("B", "femur", 0.5, 1.0), ("C", "femur", 0.6, 1.0))
    table.loc[1, "repeat_of"], table.loc[2, "protocol"] = "A", "cv"
    (case,) = shown_cases(table, [headline()], "ABC")
    assert (case.kind, case.scan) == ("The scored scan", "A")
    assert shown_cases(table, [], "ABC") == [] and shown_cases(table, [headline()], "") == []
