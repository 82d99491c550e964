"""The methods paragraphs on densities: calibration, regions, a second network; and the references as BibTeX."""

import html
import re
import urllib.parse

import pandas as pd
import pytest

from lib.pages.density_methods import calibration_methods, densenet_text, regression_methods
from lib.pages.references import REFERENCES
from lib.publications.work import Work
from tests.unit.study_tables import people, tables
from tests.unit.test_density_pages import SPINE
from tests.unit.test_report import SETTINGS, render, report, study_tables

SMALL = {"growth": 8, "initial_maps": 16, "blocks": [2, 4, 4, 2], "bottleneck": 4, "dimensions": 3}


def run(**changes):
    """The record of a trained DenseNet, as far as the methods read it."""
    train = SPINE["regression"]["train"]
    crop = SPINE["regression"]["crop"] | {"size": [32, 32, 32], "voxel_mm": 1.9}
    known = {"network": "densenet", "architecture": SMALL, "parameters": 110597, "structures": ["L1", "L2"]}
    return known | {"crop": crop, "train": train} | changes


def calibration(*rows):
    return pd.DataFrame(
        [dict(zip(("verdict", "method", "scale", "phantom"), row, strict=True)) for row in rows]
    )


CALIBRATED = calibration(
    ("ok", "phantom", "k2hpo4", "A"),
    ("flagged", "phantom", "k2hpo4", "A"),
    ("ok", "phantom", "caha", "B"),
    ("refused", "phantom", "k2hpo4", "A"),
    ("ok", "asynchronous", "k2hpo4", ""),
    ("ok", "michalski2020", "k2hpo4_michalski", ""),
    ("ok", "none", "", ""),
)
WATER = pd.DataFrame({"water_mg_cm3": [1012.25, float("nan")]})


def paragraphs(folder, extra, **values):
    """The methods of a study with these further tables as plain text, and its page."""
    metrics, volumes, _ = tables(14, 3)
    fine = {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"}
    placed = people(14, 3)
    made = study_tables(metrics, volumes, [person | fine for person in placed], placed)
    made = {name: table for name, table in made.items() if name not in ("table1", "table2")}
    page = render(report(made | extra, **values), folder)
    block = page[page.index('id="methods-text">') :].split(">", 1)[1].split("</blockquote>")[0]
    plain = re.sub(r" \[[\d,]+\]", "", re.sub(r"<[^>]+>", "", block))
    return re.sub(r"\s+", " ", html.unescape(plain)).strip(), page


def test_calibrations_are_counted_by_method_and_scale():
    made = calibration_methods({"calibration": CALIBRATED, "calibration_rods": WATER})
    assert [(one["method"], one["scans"], one["scale"]) for one in made["by_method"]] == [
        ("phantom", 2, "K₂HPO₄"),
        ("phantom", 1, "CaHA"),
        ("asynchronous", 1, "K₂HPO₄"),
        ("michalski2020", 1, "K₂HPO₄ of Michalski et al. 2020"),
    ]
    assert made["has_rods"] and made["has_water"] and not made["is_regional"]
    assert calibration_methods({}) == {}
    dry = calibration_methods({"calibration": CALIBRATED, "calibration_rods": WATER.tail(1)})
    assert not dry["has_water"]


def test_regression_is_told_from_the_records_of_its_models():
    made = regression_methods([run(fold=0), run(fold=1)])
    assert made["structures"] == "L1 and L2" and list(made["networks"]) == ["densenet"]
    assert made["networks"]["densenet"] == (
        "3-D, 110,597 parameters; dense blocks of 2, 4, 4 and 2 layers, 8 feature maps a layer after 16 of the first "
        "convolution"
    )
    assert densenet_text(SMALL | {"dimensions": 2}, None).startswith("2-D, dense blocks")
    assert regression_methods([]) == {}


def test_methods_of_a_study_without_densities_say_nothing_of_them(tmp_path):
    said, page = paragraphs(tmp_path, {})
    assert "density" not in said and "Michalski" not in page.split('class="references"')[1].split("</ol>")[0]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "below the surface with less than 350 mg/cm³, and cortical bone what lies within 7 mm of it"),
        ({"peel_mm": 2.5}, "at least 2.5 mm below the surface"),
        ({}, "the box of the neck was 15 mm wide. No density is given for bone beside metal."),
    ],
)
def test_methods_tell_how_regions_were_measured(tmp_path, config, words):
    settings = SETTINGS | {"density": SETTINGS["density"] | config}
    by_age = pd.DataFrame({"protocol": [], "measure": [], "stratum": [], "group": []})
    extra = {"calibration_rods": WATER, "density_by_age": by_age}
    said, _ = calibrated_paragraphs(tmp_path, extra, settings=settings)
    assert words in said
    assert not re.search(r"\(\s|\)\w|\s[.,;)]|[.,;]{2}|[a-z]\.[A-Z]", said)


def test_methods_tell_a_line_to_dxa(tmp_path):
    line = {"slope": 1.05, "intercept": -0.02, "scale": "k2hpo4", "source": "40 women with both"}
    areal = SETTINGS["density"]["areal"] | {"t_score": line}
    by_age = pd.DataFrame({"protocol": [], "measure": [], "stratum": [], "group": []})
    said, page = calibrated_paragraphs(
        tmp_path,
        {"density_by_age": by_age},
        settings=SETTINGS | {"density": SETTINGS["density"] | {"areal": areal}},
    )
    assert "(slope 1.05, intercept −0.02 g/cm²; 40 women with both)" in said
    assert "Looker AC" in page


def test_methods_tell_how_scans_were_calibrated(tmp_path):
    said, page = calibrated_paragraphs(tmp_path, {"calibration_rods": WATER})
    assert (
        "by a calibration of each scan: 2 scans (K₂HPO₄) by the rods of the density phantom in the scan; 1 scan "
        "(CaHA) by the rods" in said
    )
    assert "a disc of 0.6 of its radius" in said and "to HU less the density of water" in said
    assert "fewer than 3 rods, a residual of more than 8 mg/cm³" in said
    assert "proximal femur was divided" not in said  # no region was measured
    assert "Michalski AS" in page


def calibrated_paragraphs(folder, extra, **values):
    """The methods of a study with calibrated scans; the section of calibrated density is left out."""
    return paragraphs(folder, {"calibration": whole(CALIBRATED)} | extra, **values)


def whole(rows):
    """Rows of calibration.csv with all columns that the report reads."""
    empty = ("scanner", "scan_order", "kvp", "same_image_as", "reason", "flags", "found", "calibration_scan")
    numbers = (
        "slope_hu_per_mg_cm3",
        "intercept_hu",
        "slope_low",
        "slope_high",
        "intercept_low_hu",
        "intercept_high_hu",
    )
    rows = rows.assign(scan=[f"S{n}" for n in range(len(rows))], **dict.fromkeys(empty, ""))
    return rows.assign(**dict.fromkeys(numbers, float("nan")), kvp=120.0)


def test_every_work_has_an_entry_of_bibtex():
    for key, work in REFERENCES.items():
        entry = work.bibtex(key)
        assert entry.startswith(("@article{", "@inproceedings{", "@book{", "@misc{")) and entry.endswith(
            "\n}"
        )
        assert entry.count("{") == entry.count("}"), key
        assert str(work).endswith(".") and ".." not in str(work)
    assert len({entry.doi for entry in REFERENCES.values() if entry.doi}) == sum(
        bool(entry.doi) for entry in REFERENCES.values()
    )


def test_a_work_is_written_for_readers_and_for_bibtex():
    work = Work(
        authors="van der Maaten L, Ba J, et al",
        title="A & B",
        journal="Graphics & Tools",
        year=2003,
        volume="8(2)",
        pages="1-15",
        doi="10.1/a_b",
    )
    assert str(work) == "van der Maaten L, Ba J, et al. A & B. Graphics & Tools 2003;8(2):1-15. doi:10.1/a_b."
    assert work.bibtex("key") == (
        "@article{key,\n"
        "  author = {van der Maaten, L. and Ba, J. and others},\n"
        "  title = {{A \\& B}},\n"
        "  journal = {Graphics \\& Tools},\n"
        "  year = {2003},\n"
        "  volume = {8},\n"
        "  number = {2},\n"
        "  pages = {1--15},\n"
        "  doi = {10.1/a_b},\n"
        "}"
    )
    preprint = Work(authors="Zhao C", title="T", year=2020, arxiv="2006.05513")
    assert str(preprint) == "Zhao C. T. 2020. arXiv:2006.05513."
    assert preprint.bibtex("z").startswith("@misc{z,")


def test_the_page_offers_the_cited_works_as_bibtex(tmp_path):
    _, page = paragraphs(tmp_path, {})
    (link,) = re.findall(
        r'download="references.bib" href="data:application/x-bibtex;charset=utf-8,([^"]+)"', page
    )
    text = urllib.parse.unquote(html.unescape(link))
    listed = page[page.index('<ol class="references"') :].split("</ol>")[0].count("<li>")
    assert text.count("\n@") + 1 == listed and "@article{snakemake," in text
