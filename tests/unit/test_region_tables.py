"""The tables of agreement by region: each measure in its unit, structures under headings of their own."""

import re

import pytest

from lib.catalog.anatomies import ANATOMIES, LEVELS
from lib.catalog.measures import ABOVE_CUT, WHOLE
from lib.pages.region_tables import measure_in_words, region_meanings, region_tables
from lib.report_settings import AgreementConfig
from lib.stats.agreement import agreement_row
from lib.stats.formats import records
from tests.unit.study_tables import people, tables
from tests.unit.test_report import SETTINGS, render, report, section_of, study_tables

REFERENCE, PREDICTED = [1000.0, 2000.0, 4000.0], [1010.0, 2020.0, 4060.0]  # errors of 10, 20 and 60


def row(region, **changes):
    key = {"group": "all", "network": "vnet", "protocol": "cv", "stratum": "all", "structure": "femur"}
    key |= {"region": region, "compartment": "integral", "measure": "volume", "unit": "mm3"}
    found = agreement_row(REFERENCE, PREDICTED, ["a", "b", "c"], AgreementConfig())
    return found | {"not_scored": 0, "not_scored_reason": ""} | key | changes


def cells(view, position):
    """The cells of a line by the heading of their column: text and small print."""
    return dict(zip((column.head for column in view.columns), view.lines[position], strict=True))


def test_numbers_are_those_of_the_region_in_the_unit_of_its_measure():
    density = row("head", measure="mean_value", unit="HU", compartment="trabecular")
    (view,) = region_tables([row(WHOLE), row("head"), row("neck", stratum="sex=M"), density])
    assert view.lines[0] == "Cross-validation · all" and len(view.lines) == 3
    volume = cells(view, 1)
    assert (volume["Region"][0], volume["Measure"][0], volume["n"][0]) == ("head", "Volume, cm³", "3")
    assert (volume["Bias"][0], volume["MAE"][0], volume["RMSE"][0]) == (
        "0.03",
        "0.03",
        "0.04",
    )  # √(4100/3) mm³
    assert volume["95 % limits"][0] == "−0.02 to 0.08"  # 30 ∓ 1.96 √700
    assert cells(view, 2)["Measure"][0] == "Mean value, trabecular, HU"
    assert (cells(view, 2)["RMSE"][0], cells(view, 2)["CCC"]) == ("37.0", volume["CCC"])


@pytest.mark.parametrize(
    ("measure", "unit", "words"),
    [
        ("vbmd_k2hpo4", "mg_cm3", "vBMD (K₂HPO₄), mg/cm³"),
        ("bmc_caha", "mg", "BMC (CaHA), g"),
        ("abmd_k2hpo4_referenced", "g_cm2", "aBMD (K₂HPO₄ by reference tissues), g/cm²"),
        ("mean_value", "HU", "Mean value, HU"),
    ],
)
def test_measures_are_named_as_the_field_names_them(measure, unit, words):
    assert measure_in_words(row("head", measure=measure, unit=unit)) == words


def test_regions_by_slices_and_by_planes_of_the_bone_have_tables_of_their_own():
    regions = ("head", "femoral_head", "neck", "total_hip")
    by_slices, by_planes = region_tables([row(region) for region in regions])
    assert [line[0][0] for line in by_slices.lines[1:]] == ["head", "neck"]
    assert [line[0][0] for line in by_planes.lines[1:]] == ["femoral head", "total hip"]
    assert by_slices.caption != by_planes.caption


def test_densities_are_left_to_their_section_and_hu_beside_them():
    hu = row("femoral_head", measure="mean_value", unit="HU")
    mineral = row("femoral_head", measure="bmc_k2hpo4", unit="mg")
    density = row("femoral_head", measure="vbmd_k2hpo4", unit="mg_cm3")
    rest = row("femoral_head", measure="bmc_k2hpo4", unit="mg", compartment="other")
    (view,) = region_tables([hu, mineral, density, rest])
    assert [cells(view, 1)["Measure"][0], len(view.lines)] == ["BMC (K₂HPO₄), g", 2]
    assert cells(view, 1)["MAE"][0] == "0.03"  # 30 mg
    (uncalibrated,) = region_tables([hu])
    assert cells(uncalibrated, 1)["Measure"][0] == "Mean value, HU"


def test_each_structure_has_a_heading_and_its_regions_in_their_order():
    named = [(region, structure) for region in ("head", "neck") for structure in ("L1", "L2")]
    (view,) = region_tables([row(region, structure=structure) for region, structure in named])
    headings = [line for line in view.lines if isinstance(line, str)]
    assert headings == ["Cross-validation · all · L1", "Cross-validation · all · L2"]
    assert [line if isinstance(line, str) else line[0][0] for line in view.lines] == [
        *(headings[0], "head", "neck", headings[1], "head", "neck")
    ]


def test_of_the_whole_only_volumes_are_left_to_other_tables():
    (view,) = region_tables([row(WHOLE), row(WHOLE, measure="bmc", unit="g")])
    assert [line[0][0] for line in view.lines[1:]] == ["whole"]


def test_without_a_region_there_is_no_table():
    assert region_tables([row(WHOLE)]) == region_tables([]) == []


def test_the_anatomy_tells_where_its_regions_begin():
    known = ANATOMIES["proximal-femur"].region_meanings
    assert set(known) == {ABOVE_CUT, *LEVELS}
    settings = SETTINGS | {"measure": SETTINGS["measure"] | {"distal_cut_mm": 20.0}}
    told = dict(region_meanings([row(WHOLE), row(ABOVE_CUT), row("neck")], settings))
    assert set(told) == {"above the distal cut", "neck"}
    assert told["above the distal cut"].endswith("the plane 20 mm below the lesser trochanter")
    assert region_meanings([row("body")], settings | {"anatomy": "generic"}) == []


@pytest.mark.parametrize("unit", ["g", "", "HU"])
def test_a_measure_names_its_unit_if_it_has_one(unit):
    assert measure_in_words(row("head", measure="bmc", unit=unit)) == ("Bmc, " + unit).removesuffix(", ")


def test_the_report_shows_the_table_where_regions_were_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics, volumes, _ = tables(14, 3)
    placed = people(14, 3)
    fine = {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"}
    scans = [person | fine for person in placed]
    bare = render(report(study_tables(metrics, volumes, scans, placed)), tmp_path)
    assert 'id="regions"' not in bare and "By region" not in bare
    shares = {"head": 0.4, "shaft": 0.2}
    divided = metrics.assign(
        **{
            f"{source}_{region}_mm3": share * metrics[f"{source}_mm3"]
            for region, share in shares.items()
            for source in ("reference", "predicted")
        }
    )
    made = study_tables(divided, volumes, scans, placed)
    page = section_of(render(report(made), tmp_path), "agreement")
    shown = page[page.index('<h3 id="regions">') : page.index('<h3 id="folds">')]
    assert re.findall(r'<th scope="row">(\w+)</th>', shown)[:2] == ["head", "shaft"]
    assert "lower border of the femoral head" in shown and "upper base" not in shown
    (cv,) = [
        one
        for one in records(made["agreement"])
        if (one["group"], one["protocol"], one["stratum"], one["region"]) == ("all", "cv", "all", "head")
    ]
    assert f"{cv['mae'] / 1000:,.2f}<small>" in shown
