"""Studies that the golden comparison runs with a tree: phantom, whole chain, finished models on other scans."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk
import yaml
from jsonschema import Draft202012Validator

from tests.study import Study, make_unusual, read_rows, write_rows

HERE = Path(__file__).parent
STUDIES = ("phantom", "study", "recipe", "external")
CORRECTED, REJECTED = "P002", "P007"
# scans for the finished models: one that they were trained on, one of the hard variant, one without a reference
GIVEN = ("P001", "H01", "U01")
# a recipe for the other branches of the training code, run on the crops of the study
RECIPE = (
    "train={precision: float32, loss: dice_cross_entropy, accumulate: 2, weight_average: 0.9, schedule: constant,"
    " early_stop_epochs: 2, augment: {mirror_axes: [y]}}"
)
SOURCE = ("cohort=source/cohort.csv", "review=source/review.csv")
BEFORE_TRAINING = ("screened", "converted", "resampled", "cropped", "cohort", "folds")
# equal bits need the same number of threads; without a fixed secret, pseudonyms would differ
THREADS = "1"
SECRET = bytes(range(32))


class StudyFailedError(Exception):
    """Raised when a study ends with an error."""


def spell(tree: Path) -> dict:
    """Return the study's settings with the key names of a tree.

    Raises:
        StudyFailedError: its schema accepts no spelling.
    """
    document = yaml.safe_load((HERE / "study.yaml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((tree / "config.yaml").read_text(encoding="utf-8"))
    schema = yaml.safe_load((tree / "schemas/config.schema.yaml").read_text(encoding="utf-8"))
    for spelling in document["spellings"]:
        settings = document["settings"] | spelling
        problems = [
            error.message for error in Draft202012Validator(schema).iter_errors(_merged(defaults, settings))
        ]
        if not problems:
            return settings
    raise StudyFailedError(
        f"the settings of {tree} accept no spelling of tests/golden/study.yaml: {'; '.join(problems)}. "
        "Add a spelling in its words"
    )


def _merged(settings: Mapping, changes: Mapping) -> dict:
    both = dict(settings)
    for key, value in changes.items():
        both[key] = _merged(both.get(key) or {}, value) if isinstance(value, Mapping) else value
    return both


def make_studies(tree: Path, folder: Path, cores: int) -> None:
    """Make every study of `STUDIES` below a folder with the code of a tree.

    Raises:
        StudyFailedError: a run failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    overlay = folder / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(spell(tree), sort_keys=False), encoding="utf-8")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), THREADS)
    studies = [
        Study(
            folder / name,
            overlay=str(overlay),
            options=("--cores", str(cores), "--max-threads", THREADS),
            environment=os.environ | one_thread,
            code=tree,
        )
        for name in STUDIES
    ]
    phantom, study, recipe, external = studies
    make_phantom(phantom)
    make_study(study, phantom.folder / "results/phantom")
    make_recipe(recipe, study.folder)
    make_external(external, study.folder)


def make_phantom(phantom: Study) -> None:
    """Make the synthetic scans alone."""
    table = "results/phantom/cohort.csv"
    _run(phantom, table)
    scans = [row["scan"] for row in read_rows(phantom.folder / table)]
    _run(phantom, *(f"results/phantom/{scan}/mask.nii.gz" for scan in scans))


def make_study(study: Study, scans: Path) -> None:
    """Take synthetic scans and a review through the whole chain."""
    source = study.folder / "source"
    shutil.copytree(scans, source)
    make_unusual(source)
    _review(source)
    (study.folder / "study.secret").write_bytes(SECRET)
    _run(replace(study, settings=SOURCE))


def make_recipe(recipe: Study, study: Path) -> None:
    """Train on a study's crops with another recipe; the files copied from the study are removed at the end."""
    for name in ("source", ".snakemake/metadata", *(f"results/{name}" for name in BEFORE_TRAINING)):
        shutil.copytree(study / name, recipe.folder / name)
    for name in ("study.secret", "results/study.json"):
        shutil.copy2(study / name, recipe.folder / name)
    _run(replace(recipe, settings=(*SOURCE, RECIPE)), "trained")
    for name in BEFORE_TRAINING:
        shutil.rmtree(recipe.folder / "results" / name)


def make_external(external: Study, study: Path) -> None:
    """Predict a few scans of a study with its finished models, and compare with that study."""
    external.folder.mkdir()
    shutil.copy(study / "study.secret", external.folder)
    rows = read_rows(study / "source/cohort.csv")
    write_rows(study / "source/given.csv", [row for row in rows if row["scan"] in GIVEN])
    settings = (
        f"cohort=../{study.name}/source/given.csv",
        f"model=../{study.name}/results/models/all/vnet",
        f"other=../{study.name}",
    )
    _run(replace(external, settings=settings), "report", "compare", "results/tables/people.csv")


def _review(source: Path) -> None:
    """Reject a scan, and correct the mask of another."""
    mask = sitk.ReadImage(str(source / CORRECTED / "mask.nii.gz"))
    sitk.WriteImage(sitk.BinaryErode(mask, (1, 1, 0)), str(source / "corrected.nii.gz"))
    seen = {"comment": "", "seen_mm3": ""}
    rows = [
        {"scan": REJECTED, "verdict": "rejected", **seen, "corrected_mask": ""},
        {"scan": CORRECTED, "verdict": "needs-edit", **seen, "corrected_mask": "corrected.nii.gz"},
    ]
    write_rows(source / "review.csv", rows)


def _run(study: Study, *targets: str) -> None:
    """Run a study in a process group of its own, which ends with this process."""
    study.folder.mkdir(exist_ok=True)
    log = study.folder.parent / f"{study.folder.name}.log"
    with open(log, "a", encoding="utf-8") as printed:
        running = subprocess.Popen(
            study.command(*targets),
            cwd=study.code, env=study.environment, stdout=printed, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            running.wait()
        except BaseException:  # when this program is ended, its jobs are too
            os.killpg(running.pid, signal.SIGTERM)
            running.wait()
            raise
    if running.returncode:
        raise StudyFailedError(
            f"the study {study.folder.name} failed; the end of {log}:\n{log.read_text()[-3000:]}"
        )
