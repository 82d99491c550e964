"""Studies in a folder of their own, run as a user runs them."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from canaries import plant_source

from tests.study import ROOT, Study, make_unusual

# in addition to studies/ci.yaml: people without a reference, and models of each sex
MORE_PEOPLE = "phantom={people: 10, unlabelled_people: 1}"
EVERY_GROUP = {"all": {}, "male": {"sex": "M"}, "female": {"sex": "F"}}
OLD_PEOPLE = {"P003": "93", "P005": "90"}  # years


def pytest_addoption(parser) -> None:
    """Add the option to rewrite the kept numbers of the small study."""
    parser.addoption("--refresh-numbers", action="store_true", help="write tests/golden/expected.csv")


@pytest.fixture(scope="session")
def phantom(tmp_path_factory) -> Path:
    """Return a folder with the series and the table of the small synthetic cohort, as a source of data."""
    study = Study(tmp_path_factory.mktemp("phantom"), settings=(MORE_PEOPLE,))
    study.run("--until", "make_phantom_scan")
    study.run("results/phantom/cohort.csv")
    return study.folder / "results/phantom"


@pytest.fixture(scope="session")
def finished(phantom, tmp_path_factory) -> Study:
    """Return a study of the small cohort, with canaries in its source, that has run to the report.

    Tests must leave it as it is.
    """
    folder = tmp_path_factory.mktemp("finished")
    # a user's folders hold no time stamps of Snakemake's
    shutil.copytree(phantom, folder / "source", ignore=shutil.ignore_patterns(".snakemake_timestamp"))
    plant_source(folder / "source", ages=OLD_PEOPLE)
    make_unusual(folder / "source")
    settings = yaml.safe_load((ROOT / "studies/ci.yaml").read_text()) | {"groups": EVERY_GROUP}
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(settings, sort_keys=False))
    study = Study(folder, overlay=str(overlay), settings=("cohort=source/cohort.csv",))
    study.run()
    return study


@pytest.fixture
def study(finished, tmp_path) -> Study:
    """Return a copy of the finished study, to change."""
    shutil.copytree(finished.folder, tmp_path / "study", copy_function=_link, symlinks=True)
    return Study(tmp_path / "study", finished.overlay, finished.settings)


def _link(source: str, target: str) -> None:
    """Link files that are large and never written in place; copy others with their times, which Snakemake uses."""
    if source.endswith((".nii.gz", ".pt", ".png", ".svg", ".webp", ".dcm")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
