"""What stops before anything runs, and what it tells the user."""

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
    message = Study(tmp_path).refuse(settings=("seeed=3", "cohorts=[boys]"))
    assert "unknown key 'seeed'; did you mean seed?" in message
    assert 'expected one of "all", "male", "female"' in message
    assert "Traceback" not in message


def test_wrong_table_is_listed_as_a_whole(tmp_path):
    (tmp_path / "cohort.csv").write_text("scan,image,sex,subject\nA,gone,F,P\nA,gone,x,Q\n")
    message = Study(tmp_path).refuse(settings=("cohort=cohort.csv", "cohorts=[all]"))
    assert "4 problems; nothing was run" in message
    for words in ("row 2, column image", "row 3, column scan", "row 3, column image", "row 3, column sex"):
        assert words in message
    assert not (tmp_path / "results").exists()


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
