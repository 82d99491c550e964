"""Studies in a folder of their own, run as a user runs them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from canaries import plant_source
from filelock import FileLock

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

    def make(folder: Path) -> None:
        study = Study(folder, settings=(MORE_PEOPLE,))
        study.run("--until", "make_phantom_scan")
        study.run("results/phantom/cohort.csv")

    return _made_once(tmp_path_factory, "phantom", make) / "results/phantom"


@pytest.fixture(scope="session")
def finished(phantom, tmp_path_factory) -> Study:
    """Return a study of the small cohort, with canaries in its source, that has run to the report.

    Tests must leave it as it is.
    """

    def study_in(folder: Path) -> Study:
        return Study(folder, overlay=str(folder / "overlay.yaml"), settings=("cohort=source/cohort.csv",))

    def make(folder: Path) -> None:
        # a user's folders hold no time stamps of Snakemake's
        shutil.copytree(phantom, folder / "source", ignore=shutil.ignore_patterns(".snakemake_timestamp"))
        plant_source(folder / "source", ages=OLD_PEOPLE)
        make_unusual(folder / "source")
        settings = yaml.safe_load((ROOT / "studies/ci.yaml").read_text()) | {"groups": EVERY_GROUP}
        (folder / "overlay.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        study_in(folder).run()

    return study_in(_made_once(tmp_path_factory, "finished", make))


def _made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that one of pytest's workers has filled by `make`; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(folder.with_suffix(".lock")):
        if not folder.with_suffix(".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            folder.with_suffix(".made").touch()
    return folder


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
