"""The words of a study that is not of the proximal femur in CT: no page of it tells of HU, CT, femur or hip."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.catalog.anatomies import ANATOMIES, LEVELS
from lib.catalog.measures import MEASURES
from lib.catalog.modalities import MODALITIES
from lib.figures.contours import grey_levels
from lib.figures.gallery import TITLES
from lib.learning.card import model_card
from lib.learning.finished import describe_fold
from lib.pages.report import cut_in_words
from lib.pages.report_tables import level_view, precision_view
from lib.pages.scan_page import draw_pictures, write_scan_page
from lib.pages.templates import REPORT_FOLDER
from lib.pages.wording import told_flags
from lib.stats.measurements import measurements_table, people_table
from lib.stats.tables import structure_key, volumes_table
from tests.unit.study_tables import measured, people, predictions, tables
from tests.unit.test_card import CROPS, FACTS
from tests.unit.test_card import PEOPLE as CARD_PEOPLE
from tests.unit.test_report import SETTINGS, render, report, study_tables
from tests.unit.test_scan_page import SETTINGS as PAGE_SETTINGS
from tests.unit.test_scan_page import crop, scan_page, screened

OF_CT_OR_FEMUR = re.compile(
    r"\bHU\b|Hounsfield|\bCT\b|kVp?\b|[Vv]oltage|\bKernel\b|reconstruction kernel|\b[Aa]ir\b|Zhao|"
    r"[Ff]emur|[Ff]emoral|[Hh]ip\b|[Tt]rochanter"
)
MR = {"anatomy": "generic", "structures": {"tibia": "any"}, "screening": {"modality": "MR"}}
MR_SETTINGS = SETTINGS | {
    **MR,
    "resample": SETTINGS["resample"] | {"method": "none"},
    "crop": SETTINGS["crop"] | {"method": "centre"},
    "model_frame": {"slice_axis": "acquired"},
    "intensity": {"scale": "percentile", "low": 0.5, "high": 99.5},
}
OF_FEMUR_IN_CT = ("table1", "table2")  # captions of what other studies do not have
ACQUIRED = {"manufacturer": "TinyScan", "model": "T", "field_tesla": 3.0, "sequence": "GR", "variant": "SP"}
ACQUIRED |= {"tr_ms": 37.0, "te_ms": 4.92, "fat_suppressed": None, "plane": "coronal"}


def foreign(text):
    """Return the words of a text that belong to another study."""
    return [text[max(found.start() - 40, 0) : found.end() + 20] for found in OF_CT_OR_FEMUR.finditer(text)]


def mr_report():
    metrics, volumes, _ = tables(14, 3)
    levels = [f"dsc_{level}" for level in LEVELS]
    metrics = metrics.assign(structure="tibia", **dict.fromkeys(levels, np.nan))
    placed = people(14, 3)
    fine = {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"}
    made = study_tables(metrics, volumes.assign(structure="tibia"), [row | fine for row in placed], placed)
    made = {name: table for name, table in made.items() if name not in ("table1", "table2")}
    told = {"site": "", "verdict": "ok", "off_protocol": ""} | ACQUIRED
    made["acquisition"] = pd.DataFrame(
        [told | {"scan": row["scan"], "subject": row["scan"]} for row in placed]
    )
    figures = [
        {
            "name": kind,
            "kind": kind,
            "network": "",
            "protocol": "",
            "title": title,
            "n": 4,
            "width": 9,
            "height": 9,
        }
        for kind, title in TITLES.items()
        if kind != "levels"
    ]
    geometry = {
        "spacing_mm_xyz": [0.8, 3.0, 0.8],
        "length_mm": 110.0,
        "stored_axes": "LIP",
        "acquired_axis": "y",
    }
    seen = screened(scan="P000", geometry=geometry, acquisition=ACQUIRED)
    protocol = {"source": "majority", "fields": []}
    values = {"settings": MR_SETTINGS, "figures": figures, "screened": [seen], "protocol": protocol}
    return report(made, study="knees", runs=[], **values)


def mr_page(**changes):
    geometry = {"size_xyz": [96, 12, 96], "spacing_mm_xyz": [0.8, 3.0, 0.8], "source": "dicom"}
    geometry |= {"acquired_axis": "y"}
    values = {
        "settings": PAGE_SETTINGS | MR | {"resample": {"method": "none"}},
        "screened": screened(acquisition=ACQUIRED, geometry=geometry),
        "crop": crop(side="", source="middle", intensity={"low": 100.0, "high": 300.0}),
    }
    return scan_page(**values | changes)


def test_the_report_of_an_mr_study_tells_of_its_own_bone_and_modality(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = render(mr_report(), tmp_path)
    assert foreign(text) == []
    assert "Automatic segmentation of tibia in MR" in text
    for words in (
        "Tables 1 and 2",
        "This is not the protocol",
        "docs/zhao-2020.md",
        "arXiv:2006.05513",
        "Gantry",
    ):
        assert words not in text
    assert "dsc_neck" not in text and "dsc_native" in text  # columns of the table of scans


def test_the_page_of_an_mr_scan_tells_its_own_range_and_sequence(tmp_path):
    write_scan_page(mr_page(), tmp_path)
    text = (tmp_path / "P001.html").read_text(encoding="utf-8")
    assert foreign(text) == []
    assert "Grey levels from 100 to 300 (arbitrary units)" in text
    for words in ("TE 4.92 ms", "Field 3 T", "Plane coronal", "Voxels as scanned", "the middle of the bone"):
        assert words in text
    assert "slices resampled" not in text.lower() and "Kernel" not in text


def test_pictures_of_an_mr_scan_show_its_own_range():
    halves = np.where(np.arange(96) < 60, 100, 300)
    image = np.tile(halves, (12, 96, 1)).astype(np.int16)
    for page in (mr_page(image_zyx=image), scan_page(image_zyx=image)):
        sheet = np.asarray(draw_pictures(page)["slices"][0])
        dark, bright = grey_levels(halves[[0, -1]], page.window)
        assert (sheet[20, 2], sheet[20, -2]) == (dark, bright)
        assert (dark, bright) == ((0, 255) if page.modality.unit == "" else (71, 112))


@pytest.mark.parametrize(
    "path", sorted((REPORT_FOLDER / "captions").glob("*.rst")), ids=lambda path: path.stem
)
def test_captions_hold_for_every_study(path):
    if path.stem in OF_FEMUR_IN_CT:
        assert re.search("Zhao", path.read_text(encoding="utf-8"))
    else:
        assert foreign(path.read_text(encoding="utf-8")) == []


def test_flags_are_told_in_the_words_of_the_anatomy_and_the_modality():
    told = told_flags(MR_SETTINGS)
    assert foreign(" ".join(told.values())) == []
    assert "padded with zeros there" in told["padded"] and "position of the window" in told["crop_uncertain"]
    assert not {"cut_not_reached", "no_lesser_trochanter"} & told.keys()
    hips = told_flags(SETTINGS | {"measure": {"distal_cut_mm": 20.0}})
    assert hips.keys() - told.keys() == {"cut_not_reached", "no_lesser_trochanter"}
    assert "padded with air there" in hips["padded"] and "position of the hip" in hips["crop_uncertain"]
    assert "the plane 20.0 mm below the lesser trochanter" in hips["cut_not_reached"]


def test_a_cut_that_the_anatomy_does_not_have_is_not_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_cut = {"measure": SETTINGS["measure"] | {"distal_cut_mm": 20.0}}
    assert cut_in_words(SETTINGS | with_cut) == "20 mm below the lesser trochanter"
    assert cut_in_words(SETTINGS) == cut_in_words(MR_SETTINGS | with_cut) == ""
    text = render(replace(mr_report(), settings=MR_SETTINGS | with_cut), tmp_path)
    assert "Volumes were also compared above a plane" not in text and "distal cut or to" not in text


@pytest.mark.parametrize(("anatomy", "bone"), [("proximal-femur", "femur"), ("generic", "bone")])
def test_parts_are_those_of_the_bone_of_the_anatomy(anatomy, bone):
    assert ANATOMIES[anatomy].bone == bone
    assert level_view([], f"the {bone}").caption == f"Overlap by part of the {bone}"


def card(**changes):
    return model_card(describe_fold(FACTS | changes, people=CARD_PEOPLE, crops=CROPS, folds_sha256="ab" * 32))


def test_the_card_of_an_mr_model_tells_its_slices_and_window():
    preprocessing = FACTS["preprocessing"] | {"crop": {"method": "centre", "size": [192, 160]}}
    values = {"modality": "MR", "structures": ["tibia"], "slice_axis": "y", "preprocessing": preprocessing}
    values["intensity"] = {"scale": "percentile", "low": 0.5, "high": 99.5}
    text = card(**values, anatomy="generic")
    assert foreign(text) == []
    assert "| input | MR, coronal slices |" in text
    assert (
        "| window | 192 x 160 voxels (x, z) around the middle of the image or a given centre, all slices;"
        in text
    )
    hips = card(**values, anatomy="proximal-femur")
    assert "| input | MR, one hip in coronal slices; a right hip is mirrored to a left one first |" in hips
    whole = card(**values | {"preprocessing": preprocessing | {"crop": {"method": "none", "size": [9, 9]}}})
    assert "| window | none: whole slices, all slices;" in whole


def test_intensities_have_the_unit_of_the_modality():
    assert (MEASURES["mean_value"].in_unit("HU").unit, MEASURES["mean_value"].in_unit("").unit) == ("HU", "")
    assert MEASURES["predicted_mm3"].in_unit("HU").unit == "cm³"
    row = {"measure": "mean_value", "people": 2, "scans": 4, "degrees_of_freedom": 2, "undefined": ""}
    numbers = ("mean", "rms_sd", "lsc", "rms_cv_percent", "lsc_percent")
    row |= {f"{name}{end}": 1.0 for name in numbers for end in ("", "_ci_low", "_ci_high")}
    row |= {"group": "all", "network": "vnet", "protocol": "cv", "structure": "tibia"}
    heads = [
        line[0][0]
        for unit in ("HU", "")
        for line in precision_view([row], unit).lines
        if not isinstance(line, str)
    ]
    assert heads == ["Mean intensity in the mask, HU", "Mean intensity in the mask"]


@pytest.mark.parametrize(
    ("modality", "column"), [("CT", "femur_whole_mean_value_hu"), ("MR", "femur_whole_mean_value")]
)
def test_tables_name_the_unit_of_the_modality(modality, column):
    planned = predictions(people(6, 1))
    records = {structure_key(row): measured(row, np.random.default_rng(1)) for row in planned}
    overlaps, volumes = ({key: pair[place] for key, pair in records.items()} for place in (0, 1))
    unit = MODALITIES[modality].unit
    tidy = measurements_table(planned, overlaps, volumes, {}, unit)
    assert set(tidy.loc[tidy["measure"] == "mean_value", "unit"]) == {unit}
    assert set(tidy.loc[tidy["measure"] == "volume", "unit"]) == {"mm3"}
    wide = people_table(tidy, volumes_table(planned, volumes), {}, ["vnet"])
    assert column in wide and [name for name in wide if "mean_value" in name] == [column]
