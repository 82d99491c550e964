"""Runs that are refused before any job, and their messages."""

import subprocess
import sys

import pytest

from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow


def test_plain_snakemake_says_what_to_set_and_names_the_demo(tmp_path):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    message = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "set `cohort`" in message and "make demo" in message
    assert "Traceback" not in message


def test_wrong_settings_are_all_named(tmp_path):
    message = Study(tmp_path).refuse(settings=("seeed=3", "groups={all: {sex: X}}"))
    assert "unknown key 'seeed'; did you mean seed?" in message
    assert 'groups.all.sex: "X"; expected one of "M", "F"' in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "{scale: percentile}",
            "intensity.low must lie between 0 and 100 for the scale percentile; got -1000.0",
        ),
        ("{low: 500, high: 500}", "intensity.high must be more than intensity.low; got 500"),
        ("{low_hu: -900}", "intensity: unknown key 'low_hu'; it is now low, beside scale: range"),
    ],
)
def test_an_intensity_scale_that_cannot_be_used_is_refused_before_any_job(tmp_path, setting, told):
    message = Study(tmp_path).refuse(settings=(f"intensity={setting}",))
    assert told in message and "Traceback" not in message


def test_guards_of_the_threshold_that_cannot_be_used_are_refused_before_any_job(tmp_path):
    message = Study(tmp_path).refuse(settings=("mask={low: 0.9, high: 0.2}",))
    assert "mask.low and mask.high must be 0 <= low < high <= 1; got 0.9, 0.2" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("otsu={low: 0.3}",), "unknown key 'otsu'; it is now mask"),
        (("structures={L1: [1], L2: [2]}",), "the anatomy proximal-femur has femur; got L1, L2"),
        (
            ("anatomy=generic", "structures={L1: [1], L2: [1]}"),
            "structures.L2: the value 1 is listed twice, also for L1",
        ),
        (("anatomy=generic", "structures={L1: [1], L2: [2]}"), "set argmax"),
        (("anatomy=generic",), "crop.method: the anatomy generic has centre, none; got hip"),
        (("model_frame={slice_axis: y}",), "crop.method: hip cuts axial slices"),
        (
            ("model_frame={slice_axis: y}", "crop={method: none}"),
            "resample.method: fourier makes axial slices of another thickness",
        ),
        (("screening={modality: MR}",), "crop.method: hip finds bone in a CT, not in MR"),
        (
            ("screening={modality: MR}", "crop={method: none}"),
            "intensity.scale: range needs values of one scale",
        ),
        (("acquisition_protocol={tr_ms: 37}",), "unknown key 'tr_ms'"),
        (("report={strata: [vendors]}",), "no table has a column 'vendors'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_any_job(tmp_path, settings, told):
    message = Study(tmp_path).refuse(settings=settings)
    assert told in message and "Traceback" not in message


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("grid={levels: [3]}", "grid.dimensions, grid.initial_maps: no values"),
        ("only_networks=[unet]", "no network is called unet; the study's networks: vnet"),
    ],
)
def test_networks_that_cannot_be_used_are_refused_before_any_job(tmp_path, setting, told):
    message = Study(tmp_path).refuse(settings=(setting,))
    assert told in message and "Traceback" not in message


def test_wrong_table_is_listed_as_a_whole(tmp_path):
    (tmp_path / "cohort.csv").write_text("scan,image,sex,subject\nA,gone,F,P\nA,lost,x,Q\n")
    message = Study(tmp_path).refuse(settings=("cohort=cohort.csv", "groups={all: {}}"))
    assert "4 problems; nothing was run" in message
    for words in ("row 2, column image", "row 3, column scan", "row 3, column image", "row 3, column sex"):
        assert words in message
    assert not (tmp_path / "results").exists()


def test_a_section_that_stands_twice_in_an_overlay_is_refused(tmp_path):
    overlay = tmp_path / "hips.yaml"
    overlay.write_text("train: {epochs: 300}\nscreening: {min_length_mm: 60}\ntrain: {device: cpu}\n")
    message = Study(tmp_path, overlay=str(overlay)).refuse()
    assert "hips.yaml, line 3: train is already in line 1" in message and "Traceback" not in message


def test_a_decimal_comma_in_an_overlay_is_explained(tmp_path):
    overlay = tmp_path / "hips.yaml"
    overlay.write_text("screening: {min_length_mm: 60,5}\n1: x\n")
    message = Study(tmp_path, overlay=str(overlay)).refuse()
    assert "screening: unknown key 5; decimals are written with a point" in message
    assert "top level: unknown key 1" in message
    assert "Traceback" not in message and "TypeError" not in message


def test_a_table_that_is_not_there_says_where_it_was_looked_for(tmp_path):
    message = Study(tmp_path).refuse(settings=("cohort=tables/cohort.csv",))
    assert f"it was looked for at {tmp_path}/tables/cohort.csv" in message and "Traceback" not in message


def test_a_name_that_looks_like_a_number_is_a_name(tmp_path):
    (tmp_path / "7").write_text("scan,image\nA,a\n")
    (tmp_path / "a").mkdir()
    study = Study(tmp_path, settings=("cohort=7", "study=001"))
    assert study.planned("results/screened/A.json") == {"screen_scan": 1}


def test_missing_models_are_a_clear_error(tmp_path):
    message = Study(tmp_path).refuse(settings=("model=nowhere",))
    assert "nowhere holds no finished model" in message


@pytest.mark.parametrize("tool", ["ruff check", "ruff format --check", "snakefmt --check"])
def test_code_is_clean(tool):
    program, *arguments = tool.split()
    places = ["Snakefile", "rules"] if program == "snakefmt" else ["."]
    ended = subprocess.run(
        [sys.executable, "-m", program, *arguments, *places], cwd=ROOT, text=True, capture_output=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_snakemake_finds_nothing_to_complain_about(tmp_path):
    ended = Study(tmp_path).call("--lint")
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("crop_ct",),
        ("--forcerun", "crop_ct"),
        ("--until", "crop_ct"),
        ("--set-threads", "crop_ct=2"),
        ("--set-resources", "crop_ct:mem_mb=500"),
    ],
    ids=lambda words: words[0],
)
def test_an_old_rule_is_refused_with_the_new_one(tmp_path, arguments):
    message = Study(tmp_path).refuse(*arguments)
    assert "rule crop_ct is now called crop_image" in message and "Traceback" not in message
    assert not (tmp_path / "results").exists()
