"""Densities from files to the page: scripts of the rules, figures, section of the report, printed numbers."""

import html
import json
import re
import runpy
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from lib.calibrated import Calibration
from lib.catalog.measures import MEASURES, SUMMARIES
from lib.catalog.stages import CALIBRATED_FIGURES, DENSITY_FIGURES, DENSITY_TABLES
from lib.classes_settings import ClassesConfig
from lib.figures.density_figures import (
    draw_confusion,
    draw_density_calibration,
    draw_density_differences,
    draw_density_scatter,
    draw_structure_dice,
    vendor_words,
)
from lib.figures.gallery import TITLES, StudyResults, draw_figures
from lib.figures.style import STYLE
from lib.measured import read_measured
from lib.pages.density_section import density_section, flag_counts, levels_view, verdicts
from lib.pages.network_tables import published_scores_view
from lib.publications.article import score_rows
from lib.publications.fang_2021 import FANG_2021
from lib.publications.followed import followed_publication
from lib.stats.density_people import bmd_people_table
from lib.stats.density_plan import METHODS
from lib.stats.density_rows import bmd_table
from lib.stats.density_scale import without_scale
from lib.stats.density_tables import density_tables
from lib.stats.formats import records
from lib.stats.levels_found import levels_found_table
from lib.stats.scan_densities import scan_densities, scan_inputs
from lib.stats.tables import read_table, write_table
from tests.unit.density_cohort import (
    MEANS,
    REGRESSOR,
    SEGMENTATION,
    STRUCTURES,
    TARGETS,
    Cohort,
    plan,
    simulate,
    write_cohort,
)
from tests.unit.study_tables import people, tables
from tests.unit.test_report import SETTINGS, Checker, render, report, section_of, study_tables

ROOT = Path(__file__).parents[2]
SPINE = SETTINGS | {
    "anatomy": "lumbar-spine",
    "structures": {name: [number] for number, name in enumerate(STRUCTURES, start=1)},
    "regression": SETTINGS["regression"] | {"targets": TARGETS},
    "classes": SETTINGS["classes"] | {"means": {name: list(named) for name, named in MEANS.items()}},
}
NO_METRICS = pd.DataFrame(columns=["group", "network", "protocol", "structure", "scan", "subject", "repeat_of"]
                          + ["members", "dsc", "reference_mm3", "predicted_mm3"])  # fmt: skip


def run_script(rule: str, folder: Path, given: dict, made: dict, params: dict) -> None:
    """Run the script of a rule as Snakemake does, with these inputs, outputs (names of tables) and params."""

    class Files(dict):
        __getattr__ = dict.__getitem__

    outputs = Files({name: str(folder / f"results/tables/{name}.csv") for name in made})
    job = SimpleNamespace(
        log=[str(folder / f"{rule}.log")],
        input=Files(given),
        output=outputs,
        params=SimpleNamespace(**params),
    )
    runpy.run_path(str(ROOT / f"scripts/{rule}.py"), init_globals={"snakemake": job})


def through_scripts(cohort: Cohort, folder: Path) -> dict[str, str]:
    """Write the files of a cohort, run the scripts of its tables, and return the tables' paths by name."""
    given = write_cohort(cohort, folder)
    density = {"targets": TARGETS, "segmentation": SEGMENTATION, "regressors": [REGRESSOR]}
    planned = {"structures": list(STRUCTURES), "groups": {"all": {}}, "networks": [SEGMENTATION]}
    known = {"references": cohort.references, "absent": cohort.absent, "seen": [], "heldout_weights": "best"}
    run_script("gather_bmd", folder, given, ("bmd", "levels_found"), planned | known | {"density": density})
    run_script(
        "summarize_bmd",
        folder,
        {"bmd": str(folder / "results/tables/bmd.csv")},
        DENSITY_TABLES[2:],
        {"density": density | {"confidence": 0.95, "seed": 3}, "classes": SPINE["classes"]},
    )
    return {name: str(folder / f"results/tables/{name}.csv") for name in DENSITY_TABLES}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Tables of a cohort with two trained vendors and a new one, and with flags."""
    cohort = simulate(train=12, test=12, bias={"philips": -9.0})
    first, second, third, fourth, *_ = cohort.scans("test", "siemens")
    cohort.flag(first, "L2", "fracture_suspected")
    cohort.flag(second, "L4", "level_missing")
    cohort.flag(third, "scan", "transitional", withheld="transitional")
    cohort.flag(fourth, "scan", "contrast", withheld="contrast")
    folder = tmp_path_factory.mktemp("spine")
    return through_scripts(cohort, folder)


@pytest.fixture(scope="module")
def density(paths):
    return {name: read_table(path) for name, path in paths.items()}


def page_of(density, paths, folder, **values):
    """The text of the page of a spine study with these tables of densities."""
    metrics, volumes, _ = tables(14, 3)
    placed = people(14, 3)
    fine = {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"}
    made = study_tables(metrics, volumes, [person | fine for person in placed], placed)
    kept = {name: table for name, table in made.items() if name not in ("table1", "table2")}
    data = report(kept | density, settings=SPINE, runs=[], **{"table_paths": paths} | values)
    return render(data, folder)


def spoken(text):
    """The words of a page without tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def test_scripts_make_every_table_from_files(density):
    assert set(density) == set(DENSITY_TABLES) and all(len(table) for table in density.values())
    bmd = density["bmd"]
    assert len(bmd) == (2 * 12 + 3 * 12) * 4 * 4
    new = bmd[(bmd["vendor"] == "philips") & (bmd["method"] == "network")]
    error = new["predicted_k2hpo4_mg_cm3"] - new["reference_k2hpo4_mg_cm3"]
    assert error.mean() == pytest.approx(-9, abs=1) and set(new["trains"]) == {"no"}
    assert new["predicted_sd_k2hpo4_mg_cm3"].eq(1.5).all()  # an ensemble
    of_training = bmd[(bmd["protocol"] == "cv") & (bmd["method"] == "network")]
    assert of_training["predicted_sd_k2hpo4_mg_cm3"].isna().all()


def test_models_that_saw_a_person_are_never_scored(tmp_path):
    cohort = simulate(train=5, test=6, vendors=("ge",))
    given = write_cohort(cohort, tmp_path)
    seen = [f"all/{SEGMENTATION}/ensemble/{scan}" for scan in cohort.scans("test")[:2]]
    density = {"targets": TARGETS, "segmentation": SEGMENTATION, "regressors": [REGRESSOR]}
    planned = {"structures": list(STRUCTURES), "groups": {"all": {}}, "networks": [SEGMENTATION]}
    known = {"references": cohort.references, "absent": {}, "seen": seen, "heldout_weights": "best"}
    run_script("gather_bmd", tmp_path, given, ("bmd", "levels_found"), planned | known | {"density": density})
    bmd = read_table(tmp_path / "results/tables/bmd.csv")
    counts = bmd[bmd["method"] == "network"].groupby("protocol")["scan"].nunique()
    assert counts.to_dict() == {"apply": 2, "cv": 5, "test": 4}


def test_the_section_tells_vendors_scale_line_classes_and_flags(density, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page_of(density, paths, tmp_path)
    Checker().feed(text)
    section = spoken(section_of(text, "density"))
    for words in (
        "mg/cm³ K₂HPO₄-equivalent",
        "itself a linear function of the HU in the same voxels",
        "Trained by scans of ge, siemens",
        "New to the network: philips",
        "philips new to the network",
        "ge trained the network",
        "Mean density of people",
        "Is the network better than a line?",
        "Kappa, quadratic weights",
        "transitional",
        "fracture suspected",
        "with contrast medium",
    ):
        assert words in section, words
    assert "nan" not in section.lower().split() and "None" not in section.split()


def test_a_study_without_a_regression_has_no_such_section(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page_of({}, {}, tmp_path)
    assert "Bone mineral density" not in text and 'id="density"' not in text
    assert density_section({"metrics": pd.DataFrame()}) == {}


def test_the_sentence_says_which_is_better_only_if_the_interval_says_so(density):
    rows = records(without_scale(density["bmd_agreement"]))
    people_rows = [row for row in rows if row["kind"] == "person"]
    told = {sentence.split(":")[0]: sentence for sentence in verdicts(people_rows)}
    (new,) = (sentence for name, sentence in told.items() if "philips" in name)
    assert (
        new.startswith("Test, philips (new to the network), n = 12: RMSE ") and "the network is better" in new
    )
    own = next(row for row in people_rows if row["vendor"] == "ge" and row["protocol"] == "test")
    even = own | {"rmse_difference": 0.2, "rmse_difference_ci_low": -0.3, "rmse_difference_ci_high": 0.7}
    line = own | {"method": "hu_linear"}
    assert verdicts([even, line])[0].endswith("(interval −0.3 to 0.7): neither is shown to be better.")
    worse = even | {"rmse_difference_ci_low": 0.1}
    assert verdicts([worse, line])[0].endswith("(interval 0.1 to 0.7): the line is better by 0.2 mg/cm³.")
    few = even | {"rmse_difference_ci_low": None, "rmse_difference_ci_high": None}
    assert "too few people for an interval" in verdicts([few, line])[0]
    assert "no value here" in verdicts([own | {"rmse_difference": None}, line])[0]


def test_only_structures_that_a_mean_names_count_in_means():
    shared = {"group": "all", "network": "unet", "protocol": "test", "scan_flags": "", "class_withheld": ""}
    rows = [
        shared
        | {"scan": "A", "structure": "L1", "found": "yes", "usable": "no", "flags": "metal", "dsc": 0.9},
        shared
        | {"scan": "A", "structure": "sacrum", "found": "yes", "usable": "no", "flags": "metal", "dsc": 0.9},
    ]
    (flag,) = flag_counts(rows, {"L1"})
    assert (flag["structures"], flag["unusable"]) == (2, 1)
    assert flag_counts(rows)[0]["unusable"] == 2
    view = levels_view(rows, {"L1"})
    usable = [str(line[3][0]) for line in view.lines if not isinstance(line, str)]
    assert usable[0] == "0" and "no mean names this structure" in usable[1]


def test_flags_of_single_models_are_not_counted(density):
    section = density_section(density, SPINE["classes"]["means"])
    (view,) = section["views"]["flags"]
    single = density["levels_found"].assign(protocol="test-single", flags="hardware")
    both = density | {"levels_found": pd.concat([density["levels_found"], single])}
    (same,) = density_section(both, SPINE["classes"]["means"])["views"]["flags"]
    assert same.lines == view.lines


def test_means_are_named_by_their_structures(density):
    (view,) = density_section(density, SPINE["classes"]["means"])["views"]["people"]
    named = {str(line[1][0]) for line in view.lines if not isinstance(line, str)}
    assert named == {"L1, L2, L3 and L4", "L1 and L2"}
    (raw,) = density_section(density)["views"]["people"]
    assert {str(line[1][0]) for line in raw.lines if not isinstance(line, str)} == {"paper", "iscd"}


def test_few_people_have_no_sentence_of_network_and_line(density):
    rows = records(without_scale(density["bmd_agreement"]))
    people_rows = [row for row in rows if row["kind"] == "person"]
    assert verdicts(people_rows) and verdicts([row | {"n_people": 5} for row in people_rows]) == []


def test_flags_are_counted_with_what_they_cost(density):
    rows = records(density["levels_found"])
    counts = {row["flag"]: row for row in flag_counts(rows)}
    assert counts["fracture_suspected"] == {
        "flag": "fracture_suspected", "structures": 1, "scans": 1, "unusable": 1, "withheld": 0,
    }  # fmt: skip
    assert (counts["transitional"]["structures"], counts["transitional"]["withheld"]) == (4, 1)


def test_printed_numbers_stand_beside_real_people_only(density, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert followed_publication(SPINE) is FANG_2021
    real = spoken(section_of(page_of(density, paths, tmp_path), "density"))
    assert "Printed by Fang et al. 2021" in real and "> 0.98" in real and "0.782" in real
    assert "It does not state the vendors, which of them trained" in real
    made_up = spoken(section_of(page_of(density, paths, tmp_path, synthetic=True), "density"))
    assert "Numbers printed by Fang et al. (2021) are not shown" in made_up and "0.782" not in made_up


def test_the_abstract_of_fang_is_told_as_printed():
    rows = score_rows(FANG_2021)
    told = [(row["data"], row["measure"], row["printed"]) for row in rows]
    assert told == [
        ("test set 1, 463 people", "dsc", "0.823"),
        ("test set 2, 200 people", "dsc", "0.786"),
        ("test set 3, 200 people", "dsc", "0.782"),
        ("each of the three test sets", "pearson_r", "> 0.98"),
    ]
    assert all(row["measure"] in {**MEASURES, **SUMMARIES} and row["spread"] is None for row in rows)
    assert all(float(row["printed"].lstrip("> ")) == row["mean"] for row in rows)
    shown = [line[5][0] for line in published_scores_view(rows).lines]
    assert shown == ["0.823", "0.786", "0.782", "> 0.98"]
    assert asdict(FANG_2021)["choices"] == ()


@pytest.fixture(scope="module")
def drawn(density):
    """Tables of one mean and of the test, without the scale."""
    bare = {name: without_scale(table) for name, table in density.items()}
    of_test = {name: table[table["protocol"] == "test"] for name, table in bare.items()}
    return {
        name: table[(table["mean_of"] == "paper")] if "mean_of" in table else table
        for name, table in of_test.items()
    }


def test_every_figure_of_densities_is_drawn_and_listed(density, tmp_path):
    results = StudyResults(metrics=NO_METRICS, agreement=pd.DataFrame(), densities=density, synthetic=True)
    entries = draw_figures(results, tmp_path)
    kinds = [name for name in TITLES if name.startswith(DENSITY_FIGURES) and name not in CALIBRATED_FIGURES]
    for protocol in ("cv", "test"):
        assert [entry["kind"] for entry in entries if entry["protocol"] == protocol] == kinds
    assert all(entry["width"] <= 560 for entry in entries)  # readable on a page of 420 pixels
    assert all(
        (tmp_path / f"{entry['name']}.png").exists() and "nan" not in entry["alt"] for entry in entries
    )


def test_points_of_the_scatter_are_the_means_of_the_table(drawn):
    people_rows = drawn["bmd_people"][drawn["bmd_people"]["contrast"] == "no"]
    agreement = drawn["bmd_agreement"][drawn["bmd_agreement"]["contrast"] == "no"]
    with mpl.rc_context(STYLE):
        drawing = draw_density_scatter(people_rows, agreement, "mg/cm³")
    titles = [axes.get_title(loc="left") for axes in drawing.figure.axes if axes.get_title(loc="left")]
    assert titles == ["ge (trained), n = 12", "philips (new vendor), n = 12", "siemens (trained), n = 11"]
    network = people_rows[(people_rows["method"] == "network") & (people_rows["vendor"] == "ge")]
    points = np.asarray(drawing.figure.axes[0].collections[-1].get_offsets())
    assert np.sort(points[:, 1]) == pytest.approx(np.sort(network["predicted"]))
    low, high = drawing.figure.axes[0].get_xlim()
    assert drawing.figure.axes[0].get_ylim() == (low, high)


def test_lines_of_the_differences_are_those_of_the_table(drawn):
    agreement = drawn["bmd_agreement"][drawn["bmd_agreement"]["contrast"] == "no"]
    with mpl.rc_context(STYLE):
        drawing = draw_density_differences(drawn["bmd_people"], agreement, "mg/cm³")
    row = agreement[(agreement["vendor"] == "ge") & (agreement["method"] == "network")].iloc[0]
    levels = [line.get_ydata()[0] for line in drawing.figure.axes[0].lines]
    assert {round(value, 6) for value in row[["loa_low", "bias", "loa_high"]]} < {round(v, 6) for v in levels}


def test_the_calibration_names_every_vendor_and_its_training(drawn):
    agreement = drawn["bmd_agreement"][drawn["bmd_agreement"]["contrast"] == "no"]
    with mpl.rc_context(STYLE):
        drawing = draw_density_calibration(agreement, "mg/cm³")
    names = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert names == ["all vendors", "ge\n(trained)", "philips\n(new vendor)", "siemens\n(trained)"]
    assert "age_sex" not in set(drawing.data["method"])


def test_every_method_of_the_tables_can_be_drawn(drawn):
    agreement = drawn["bmd_agreement"][drawn["bmd_agreement"]["contrast"] == "no"]
    row = agreement[agreement["method"] == "network"].iloc[[0]]
    with mpl.rc_context(STYLE):
        drawing = draw_density_calibration(
            pd.concat([row.assign(method=method) for method in METHODS]), "mg/cm³"
        )
    assert set(drawing.data["method"]) == set(METHODS) - {"age_sex"}
    assert "calibration of the scan" in {text.get_text() for text in drawing.figure.legends[0].get_texts()}


def test_counts_of_the_confusion_are_printed(drawn):
    confusion = drawn["confusion"][drawn["confusion"]["method"] == "network"]
    with mpl.rc_context(STYLE):
        drawing = draw_confusion(confusion)
    printed = [int(text.get_text()) for text in drawing.figure.axes[0].texts]
    assert printed == confusion.loc[confusion["vendor"] == "ge", "n"].tolist()


def test_dice_needs_a_reference_mask(drawn):
    with mpl.rc_context(STYLE):
        drawing = draw_structure_dice(drawn["levels_found"], {"ge": "yes", "philips": "no"})
        assert draw_structure_dice(drawn["levels_found"].assign(dsc=np.nan), {}) is None
    assert drawing.n == 36 and set(drawing.data["structure"]) == set(STRUCTURES)
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert labels == ["ge (trained)", "philips (new vendor)", "siemens"]


def test_a_vendor_that_is_not_stated_is_said_so():
    assert vendor_words("", "") == "vendor not stated" and vendor_words("ge", "no") == "ge (new vendor)"


def test_nothing_to_draw_is_no_figure(drawn):
    empty = {name: table.iloc[:0] for name, table in drawn.items()}
    assert draw_density_scatter(empty["bmd_people"], empty["bmd_agreement"], "") is None
    assert draw_density_differences(empty["bmd_people"], empty["bmd_agreement"], "") is None
    assert draw_density_calibration(empty["bmd_agreement"], "") is None
    assert draw_confusion(empty["confusion"]) is None


def test_a_study_without_means_has_single_structures_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cohort = simulate(train=5, test=7, vendors=("ge",))
    settings = plan(classes=ClassesConfig())
    bmd = bmd_table(cohort.planned, cohort.inputs, settings)
    found = levels_found_table(cohort.planned, STRUCTURES, (cohort.levels, cohort.overlaps), cohort.vendors)
    made = {"bmd": bmd, "levels_found": found} | density_tables(bmd, settings)
    assert set(made["bmd_agreement"]["kind"]) == {"vertebra"}
    assert all(made[name].empty for name in ("bmd_people", "vendors", "classes", "confusion"))
    for name, table in made.items():
        write_table(table, tmp_path / f"{name}.csv")
    again = {name: read_table(tmp_path / f"{name}.csv") for name in made}
    entries = draw_figures(
        StudyResults(metrics=NO_METRICS, agreement=pd.DataFrame(), densities=again), tmp_path / "f"
    )
    assert {entry["kind"] for entry in entries} == {"density_dice"}
    section = spoken(section_of(page_of(again, {}, tmp_path), "density"))
    assert (
        "No mean density could be compared" in section and "Single structures, read by the network" in section
    )
    assert "Classes of people" not in section


@pytest.mark.parametrize("missing", ["references", "estimates", "levels"])
def test_what_is_missing_everywhere_leaves_a_readable_page(missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cohort = simulate(train=5, test=2, vendors=("ge", "philips"))
    getattr(cohort, missing).clear()
    made = {name: read_table(path) for name, path in through_scripts(cohort, tmp_path).items()}
    assert made["bmd_agreement"].empty == (missing == "references")
    section = spoken(section_of(page_of(made, {}, tmp_path), "density"))
    assert ("No mean density could be compared" in section) == (missing == "references")
    assert "nan" not in section.lower().split()
    lost = made["bmd"][made["bmd"]["method"] == "network"]["predicted_k2hpo4_mg_cm3"]
    assert lost.isna().all() == (missing != "references")


def test_methods_tell_of_the_network_that_reads_densities(density, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = {
        "network": "densenet",
        "architecture": {"growth": 8, "initial_maps": 16, "blocks": [2, 4], "dimensions": 3},
        "structures": list(STRUCTURES),
        "crop": SPINE["regression"]["crop"],
        "train": SPINE["regression"]["train"],
    }
    page = page_of(density, paths, tmp_path, regressions=[record])
    said = spoken(page.split('id="methods-text">')[1].split("</blockquote>")[0])
    assert "Bone mineral density of L1, L2, L3 and L4 (" in said
    assert "densenet: 3-D, dense blocks of 2 and 4 layers" in said
    assert "the masks of the fold models that had not seen them" in said
    assert "100 epochs, with Huber's loss" in said
    assert "5 mm inside of its surface" in said and "osteoporosis below 80 mg/cm³" in said
    assert "HU were converted" not in said  # no scan is calibrated
    assert not re.search(r"\(\s|\)\w|[.,;]{2}|[a-z]\.[A-Z]", said)
    assert "second network" not in spoken(page_of(density, paths, tmp_path))


def test_a_page_has_the_densities_that_the_tables_have(tmp_path):
    """Of one scan alone, from its files, as of the cohort."""
    cohort = simulate(train=6, test=6)
    trained, flagged, tested = cohort.scans("train")[0], *cohort.scans("test", "philips")[:2]
    cohort.flag(flagged, "L2", "fracture_suspected")
    line = Calibration(method="phantom", scale="k2hpo4", slope_hu_per_mg_cm3=1.3365, intercept_hu=-6.579)
    given = write_cohort(cohort, tmp_path)
    (tmp_path / f"{tested}.json").write_text(json.dumps(line.to_json()))
    bmd = without_scale(
        bmd_table(cohort.planned, replace(cohort.inputs, calibrations={tested: line}), plan())
    )
    people = without_scale(bmd_people_table(bmd, plan()))
    settings = {"targets": TARGETS, "segmentation": SEGMENTATION, "regressors": [REGRESSOR]}
    settings["classes"] = {"means": MEANS}
    inputs = scan_inputs(
        {"references": cohort.references, "absent": {}},
        (given["estimates"], [str(tmp_path / f"{tested}.json")]),
        read_measured(given["measured"], "levels", "overlap"),
    )
    for scan, methods in ((trained, ["network"]), (flagged, ["network"]), (tested, ["network", "phantom"])):
        (placement,) = (asdict(row) for row in cohort.placed if row.scan == scan)
        plans = [row for row in cohort.planned if row["scan"] == scan]
        read = scan_densities({"placement": placement, "predictions": plans}, inputs, settings)
        for found, table in ((read.structures, bmd), (read.means, people)):
            wanted = table[(table["scan"] == scan) & table["method"].isin(methods)]
            wanted = wanted.assign(vendor="").sort_values("method", kind="stable")
            assert len(found) == len(wanted) > 0
            assert list(found) == records(wanted), scan
    assert read.calibration == line
