"""Calibrated density by age: the table, its choice of people, the figure, and the table of the report."""

import numpy as np
import pandas as pd
import pytest

from lib.figures.age_figure import draw_density_by_age
from lib.figures.gallery import StudyResults, draw_figures
from lib.pages.calibrated_section import calibrated_section, density_by_age_view
from lib.report_settings import AgreementConfig
from lib.stats.calibration_tables import CALIBRATION_COLUMNS
from lib.stats.density_by_age import DENSITY_BY_AGE_COLUMNS, densities_of_people, density_by_age_table
from lib.stats.formats import records
from lib.stats.measurements import MEASUREMENT_COLUMNS
from lib.stats.tables import METRIC_COLUMNS, read_table, write_table

NECK = {"region": "femoral_neck", "compartment": "integral", "measure": "vbmd_k2hpo4", "unit": "mg_cm3"}
AREAL = {"region": "total_hip", "compartment": "projected", "measure": "abmd_k2hpo4", "unit": "g_cm2"}
AGES = (30, 40, 50, 60, 70, 80)


def measured(scan, sex, age, density, **changes):
    """A row of measurements.csv, of a test person."""
    known = dict.fromkeys(MEASUREMENT_COLUMNS, "") | NECK
    known |= {"group": "all", "network": "vnet", "members": "ensemble", "protocol": "test", "weights": "best"}
    known |= {"scan": scan, "subject": scan, "structure": "femur", "sex": sex, "age": str(age)}
    return known | {"reference": np.nan, "predicted": density} | changes


def cohort(slope=-2.0, **changes):
    """Six women who lose `slope` mg/cm3 a year from 300 at 0 years, and six men without a loss."""
    rows = [measured(f"F{age}", "F", age, 300 + slope * age, **changes) for age in AGES]
    return rows + [measured(f"M{age}", "M", age, 250 + (age % 20) / 10, **changes) for age in AGES]


def table(rows, **keys):
    found = density_by_age_table(pd.DataFrame(rows), AgreementConfig())
    assert list(found) == list(DENSITY_BY_AGE_COLUMNS)
    for name, value in ({"protocol": "all"} | keys).items():
        found = found[found[name] == value]
    return found


def row(rows, **keys):
    (only,) = table(rows, **keys).to_dict("records")
    return only


def test_a_known_loss_is_the_slope_of_its_sex():
    women = row(cohort(), sex="F")
    assert women["slope_per_decade"] == pytest.approx(-20)
    assert women["slope_per_decade_ci_low"] == pytest.approx(-20)
    assert (women["n"], women["scans"], women["n_with_age"]) == (6, 6, 6)
    assert (women["age_from"], women["age_mean"], women["age_to"]) == (30, 55, 80)
    assert women["mean"] == pytest.approx(190) and women["at_mean_age"] == pytest.approx(190)
    assert women["sd"] == pytest.approx(2 * np.std(AGES, ddof=1)) and women["undefined"] == ""
    everybody = row(cohort(), sex="all")
    assert everybody["n"] == 12 and everybody["slope_per_decade"] == pytest.approx(-10, abs=0.2)
    low, high = everybody["slope_per_decade_ci_low"], everybody["slope_per_decade_ci_high"]
    assert low < everybody["slope_per_decade"] < high


def test_the_interval_is_students_about_the_residuals():
    """Four people whose line, residuals and standard errors are computed by hand."""
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 3.0, 5.0])
    rows = [measured(f"F{k}", "F", 40 + 10 * int(a), b) for k, (a, b) in enumerate(zip(x, y, strict=True))]
    found = row(rows, sex="F")
    # Sxx 5, Sxy 6, so slope 1.2; residuals -0.2, 0.6, -0.6, 0.2: s2 = 0.8 / 2; t(0.975, 2) = 4.30265273
    half = 4.30265273 * np.sqrt(0.4 / 5)
    assert found["slope_per_decade"] == pytest.approx(1.2)
    assert found["slope_per_decade_ci_low"] == pytest.approx(1.2 - half)
    assert found["at_mean_age"] == pytest.approx(3)
    assert found["at_mean_age_ci_high"] == pytest.approx(3 + 4.30265273 * np.sqrt(0.4 / 4))


def test_scales_and_compartments_have_rows_of_their_own():
    rows = [*cohort(), *cohort(-1.0, measure="vbmd_caha"), *cohort(-3.0, compartment="trabecular")]
    rows += cohort(measure="bmc_k2hpo4", unit="mg") + cohort(region="head", measure="volume", unit="mm3")
    found = table(rows, sex="F")
    slopes = dict(
        zip(
            found[["measure", "compartment"]].itertuples(index=False, name=None),
            found["slope_per_decade"],
            strict=True,
        )
    )
    assert slopes == pytest.approx(
        {
            ("vbmd_k2hpo4", "integral"): -20,
            ("vbmd_caha", "integral"): -10,
            ("vbmd_k2hpo4", "trabecular"): -30,
        }
    )
    assert (found["n"] == 6).all()


def test_people_of_90_or_more_are_in_the_mean_and_not_in_the_line():
    rows = [*cohort(), measured("F90", "F", "90+", 400.0), measured("F0", "F", "", 100.0)]
    women = row(rows, sex="F")
    assert (women["n"], women["n_with_age"], women["age_to"]) == (8, 6, 80)
    assert women["mean"] == pytest.approx((6 * 190 + 400 + 100) / 8)
    assert women["slope_per_decade"] == pytest.approx(-20) and women["at_mean_age"] == pytest.approx(190)
    only = row([measured("F90", "F", "90+", 400.0), measured("F91", "F", "90+", 300.0)], sex="F")
    assert (only["n"], only["n_with_age"], only["mean"]) == (2, 0, 350)
    assert "age_mean, age_from, age_to: ages are 90 or more, without a number" in only["undefined"]
    unknown = row([measured("F0", "F", "", 400.0), measured("F90", "F", "90+", 300.0)], sex="F")
    assert "ages are not known, or 90 or more without a number" in unknown["undefined"]


def test_too_few_people_or_one_age_have_no_line_and_a_reason():
    rows = [each for each in cohort() if each["sex"] == "M" or each["scan"] in ("F30", "F40")]
    women = row(rows, sex="F")
    assert women["n"] == 2 and women["sd"] == pytest.approx(20 / np.sqrt(2))
    assert np.isnan(women["slope_per_decade"]) and np.isnan(women["at_mean_age_ci_high"])
    why = "fewer than three people with an age in numbers"
    assert women["undefined"] == f"slope_per_decade, slope_per_decade_ci, at_mean_age, at_mean_age_ci: {why}"
    alone = row([measured("F1", "F", 30, 200.0)], sex="F")
    assert "sd: one person has no SD" in alone["undefined"]
    same = row([measured(f"F{k}", "F", 50, 200.0 + k) for k in range(4)], sex="F")
    assert "all people have the same age" in same["undefined"] and same["age_mean"] == 50
    assert set(table(rows)["sex"]) == {"all", "M", "F"}
    assert set(table(cohort()[:6])["sex"]) == {"all", "F"}


def test_nobody_with_the_density_is_told_with_the_reason():
    gone = {"predicted": np.nan, "undefined": "predicted: fewer than 200 voxels: 13; reference: not compared"}
    rows = [measured(f"F{age}", "F", age, 0.0) | gone for age in AGES]
    women = row(rows, sex="F")
    assert women["n"] == women["scans"] == 0 and "fewer than 200 voxels" in women["undefined"]
    assert "13" not in women["undefined"] and "mean, sd, age_mean" in women["undefined"]
    # one person without it counts where it is known
    assert row([*cohort(), rows[0] | {"scan": "X", "subject": "X"}], sex="F")["n"] == 6


def test_two_hips_are_one_person():
    rows = [*cohort(), measured("F30-left", "F", 30, 300.0, subject="F30")]
    women = row(rows, sex="F")
    assert (women["n"], women["scans"]) == (6, 7)
    # her right hip has 240
    assert women["mean"] == pytest.approx((5 * 190 + 190 + (270 - 240)) / 6)
    people = densities_of_people(pd.DataFrame(rows))
    (person,) = people[(people["subject"] == "F30") & (people["protocol"] == "all")].to_dict("records")
    assert (person["density"], person["scans"], person["age_years"]) == (270, 2, 30)


def test_a_repeated_scan_replaces_only_a_first_scan_without_the_density():
    again = measured("F30-again", "F", 30, 999.0, subject="F30", repeat_of="F30", protocol="apply")
    women = row([*cohort(), again], sex="F")
    assert (women["n"], women["scans"], women["mean"]) == (6, 6, pytest.approx(190))
    # it has the protocol of its first scan, so that it is nowhere on its own
    assert table([*cohort(), again], protocol="apply").empty
    missing = [each | {"predicted": np.nan} if each["scan"] == "F30" else each for each in cohort()]
    women = row([*missing, again | {"predicted": 240.0}], sex="F")
    assert (women["n"], women["slope_per_decade"]) == (6, pytest.approx(-20))


def test_everybody_is_there_once_by_the_primary_prediction():
    """Cross-validated and test people together; a test person's second prediction (single model) does not count."""
    rows = [
        each | ({"protocol": "cv", "members": "fold-0"} if each["scan"] < "F60" else {}) for each in cohort()
    ]
    single = [
        each | {"protocol": "test-single", "members": "single", "predicted": 0.0}
        for each in rows
        if each["protocol"] == "test"
    ]
    women = row(single + rows, sex="F")
    assert (women["n"], women["slope_per_decade"]) == (6, pytest.approx(-20))
    assert row(single + rows, sex="F", protocol="cv")["n"] == 3
    assert row(single + rows, sex="F", protocol="test-single")["mean"] == 0
    assert list(dict.fromkeys(density_by_age_table(pd.DataFrame(rows), AgreementConfig())["protocol"])) == [
        "all",
        "cv",
        "test",
    ]


def test_groups_and_networks_are_not_mixed():
    rows = [
        *cohort(),
        *cohort(-1.0, network="unet"),
        *(r for r in cohort(-4.0, group="female") if r["sex"] == "F"),
    ]
    found = table(rows, sex="F").set_index(["group", "network"])["slope_per_decade"]
    assert found.to_dict() == pytest.approx(
        {("all", "unet"): -10, ("all", "vnet"): -20, ("female", "vnet"): -40}
    )


def test_without_densities_the_table_is_empty():
    volumes = cohort(measure="volume", unit="mm3", region="whole")
    for rows in (pd.DataFrame(volumes), pd.DataFrame(columns=list(MEASUREMENT_COLUMNS))):
        made = density_by_age_table(rows, AgreementConfig())
        assert list(made) == list(DENSITY_BY_AGE_COLUMNS) and made.empty


def seen(drawing):
    return [axes for axes in drawing.figure.axes if axes.get_visible()]


def everybody(rows):
    people = densities_of_people(pd.DataFrame(rows))
    return people[people["protocol"] == "all"]


def test_the_figure_has_a_panel_for_each_region_and_density():
    rows = cohort() + cohort(region="femoral_head") + cohort(-3.0, compartment="trabecular")
    rows += [each | AREAL | {"predicted": each["predicted"] / 300} for each in cohort()]
    rows += cohort(compartment="cortical") + cohort(region="femoral_shaft") + cohort(measure="vbmd_caha")
    drawing = draw_density_by_age(everybody(rows), "k2hpo4")
    assert drawing.n == 12 and len(seen(drawing)) == 4
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in seen(drawing)]
    assert [title.split("\n")[0] for title in titles] == [
        "femoral neck",
        "femoral head",
        "n = 12",
        "total hip",
    ]
    labels = [axes.get_ylabel() for axes in seen(drawing) if axes.get_ylabel()]
    assert labels == [
        "integral vBMD,\nmg/cm³",
        "trabecular vBMD,\nmg/cm³",
        "areal BMD,\ng/cm²",
    ]
    assert drawing.figure.get_supylabel() == "scale: K₂HPO₄"
    assert "femoral neck, integral vBMD: men" in drawing.alt and "women −20" in drawing.alt
    assert set(drawing.data["measure"]) == {"vbmd_k2hpo4", "abmd_k2hpo4"} and len(drawing.data) == 48


def test_the_line_is_that_of_the_table_and_needs_six_people():
    rows = [each for each in cohort() if each["sex"] == "F" or each["scan"] in ("M30", "M40")]
    drawing = draw_density_by_age(everybody(rows), "k2hpo4")
    (line,) = seen(drawing)[0].lines
    assert line.get_xdata()[[0, -1]].tolist() == [30, 80]
    assert line.get_ydata()[[0, -1]] == pytest.approx([240, 140])
    assert "men" not in drawing.alt.partition("integral vBMD: ")[2].replace("women", "")
    assert [mark.get_text() for mark in drawing.figure.legends[0].get_texts()][-1] == "women, least squares"
    few = draw_density_by_age(everybody([each for each in rows if each["scan"] != "F30"]), "k2hpo4")
    assert not seen(few)[0].lines and "Too few people of each sex for lines" in few.alt and few.n == 7
    assert draw_density_by_age(everybody(rows[-5:]), "k2hpo4") is None


def test_people_of_90_or_more_are_drawn_hollow_at_90():
    rows = [*cohort(), measured("F90", "F", "90+", 130.0)]
    drawing = draw_density_by_age(everybody(rows), "k2hpo4")
    (axes,) = seen(drawing)
    (hollow,) = [
        part for part in axes.collections if len(part.get_offsets()) == 1 and not len(part.get_facecolor())
    ]
    assert hollow.get_offsets().tolist() == [[90, 130]] and axes.get_xlim()[1] > 90
    assert "90+" in axes.get_xlabel() and "90+" in set(drawing.data["age"])
    assert axes.lines[1].get_xdata()[-1] == 80


def test_each_scale_and_network_has_a_figure(tmp_path):
    rows = cohort() + cohort(measure="vbmd_caha") + cohort(network="unet", measure="vbmd_k2hpo4_michalski")
    rows += cohort(group="male")
    results = StudyResults(
        metrics=pd.DataFrame(columns=METRIC_COLUMNS),
        agreement=pd.DataFrame(),
        measurements=pd.DataFrame(rows),
        synthetic=True,
    )
    entries = draw_figures(results, tmp_path)
    assert [(entry["name"], entry["n"]) for entry in entries] == [
        ("density-by-age-vnet-k2hpo4", 12),
        ("density-by-age-vnet-caha", 12),
        ("density-by-age-unet-k2hpo4-michalski", 12),
    ]
    assert entries[1]["title"] == "Density against age, by region and sex, CaHA"
    assert all((tmp_path / f"{entry['name']}.png").exists() for entry in entries)
    assert len(read_table(tmp_path / entries[0]["csv"])) == 12
    assert draw_density_by_age(everybody(rows).iloc[:0], "k2hpo4") is None


def test_the_report_shows_everybody_by_region_and_sex(tmp_path):
    rows = cohort() + cohort(-3.0, compartment="trabecular") + cohort(compartment="cortical")
    rows += cohort(-1.0, measure="vbmd_caha") + [measured("F90", "F", "90+", 130.0, measure="vbmd_caha")]
    made = density_by_age_table(pd.DataFrame(rows), AgreementConfig())
    write_table(made, tmp_path / "density_by_age.csv")
    tables = {
        "calibration": pd.DataFrame(columns=list(CALIBRATION_COLUMNS)),
        "agreement": pd.DataFrame(columns=["group"]),
        "flow": pd.DataFrame(columns=["scan", "verdict", "stage"]),
        "density_by_age": read_table(tmp_path / "density_by_age.csv"),
    }
    (view,) = calibrated_section(tables)["views"]["by_age"]
    assert [line for line in view.lines if isinstance(line, str)] == [
        "Integral vBMD, mg/cm³, K₂HPO₄",
        "Trabecular vBMD, mg/cm³, K₂HPO₄",
        "Integral vBMD, mg/cm³, CaHA",
    ]
    cells = [[cell[0] for cell in line] for line in view.lines if not isinstance(line, str)]
    assert cells[2] == ["femoral neck", "women", "6", "30 to 80", "190.0", "−20.0"]
    assert [cell[1] for cell in cells[:3]] == ["everybody", "men", "women"] and cells[8][2] == "7"
    assert view.name == "density_by_age"
    del tables["density_by_age"]
    assert calibrated_section(tables)["views"]["by_age"] == []


def test_a_number_that_is_not_defined_has_its_reason_on_the_page():
    made = density_by_age_table(pd.DataFrame([measured("F1", "F", "90+", 200.0)]), AgreementConfig())
    rows = [each | {"scale": "k2hpo4"} for each in records(made)]
    line = density_by_age_view(rows).lines[1]
    assert "without a number" in str(line[3][0]) and "one person has no SD" in str(line[4][1])
    assert "fewer than three people" in str(line[5][0]) and line[5][1] == ""
