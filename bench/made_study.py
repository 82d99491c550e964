"""Make a study of any size from a demo, finished up to its masks and measures, to benchmark the later rules.

Its people are copies of the demo's scored people under new ids; each copy keeps the set and the fold of its original.
Images and masks are enlarged to the network's full window and shared as hard links. Files get time stamps in the
order in which the workflow makes them, so that Snakemake (`--rerun-triggers mtime`) runs only the later rules.
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy import ndimage

from lib.catalog.stages import STAGES
from lib.imaging.grid import array_zyx
from lib.imaging.nifti import read_image, write_image
from lib.stats.tables import read_table

FULL_ZYX = (60, 192, 192)
SPACING_MM_ZYX = (3.0, 0.8, 0.8)
BATCH = 16
# the order in which the workflow makes folders of results/; measurements and masks come from one job
FOLDERS = list(dict.fromkeys(stage.file.split("/")[0] for stage in STAGES.values()))
FOLDERS.insert(FOLDERS.index("measured"), "masks")


def full_size(array_zyx: np.ndarray) -> np.ndarray:
    """Return an array enlarged to the full window by linear interpolation."""
    factors = [new / old for new, old in zip(FULL_ZYX, array_zyx.shape, strict=True)]
    return ndimage.zoom(array_zyx.astype(np.float32), factors, order=1)


def make_study(demo: Path, folder: Path, people: int) -> Path:
    """Make a study of at least `people` people in `folder` from a demo's `results/`; return its cohort table."""
    results = folder / "results"
    metrics = read_table(demo / "tables/metrics.csv")
    scored = metrics[(metrics["group"] == "all") & metrics["protocol"].isin(["cv", "test", "test-single"])]
    templates = list(dict.fromkeys(scored.loc[scored["repeat_of"] == "", "scan"]))
    copies = {
        scan: [f"{scan}-{number}" for number in range(-(-people // len(templates)))] for scan in templates
    }
    members = {scan: sorted(rows["members"].unique()) for scan, rows in scored.groupby("scan")}
    for scan in templates:
        enlarge(demo, folder / "enlarged" / scan, scan, members[scan])
        for copy in copies[scan]:
            copy_scan(demo, results, (scan, copy), members[scan])
    shutil.copytree(demo / "models", results / "models")
    folds = write_placements(demo, results, copies)
    for scan, rows in folds.assign(template=folds["scan"].str.rsplit("-", n=1).str[0]).groupby("template"):
        for batch in rows["batch"].unique():
            for member in members[scan]:
                (results / f"predictions/all/vnet/{member}/batch-{batch}").mkdir(parents=True, exist_ok=True)
    table = write_cohort(demo, folder, copies)
    stamp_stages(table, results)
    return table


def enlarge(demo: Path, pool: Path, scan: str, members: Sequence[str]) -> None:
    """Write image, reference and predicted masks of one scan of the demo at full size into `pool`."""
    pool.mkdir(parents=True)
    image = full_size(array_zyx(read_image(demo / f"cropped/{scan}/image.nii.gz")))
    noise = np.random.default_rng(0).normal(0, 20, FULL_ZYX)
    _write(image + noise, pool / "image.nii.gz", np.int16)
    masks = {"reference": demo / f"cropped/{scan}/labels.nii.gz"}
    masks |= {member: demo / f"masks/all/vnet/{member}/{scan}/labels.nii.gz" for member in members}
    for name, path in masks.items():
        _write(full_size(array_zyx(read_image(path))) >= 0.5, pool / f"{name}.nii.gz", np.uint8)


def copy_scan(demo: Path, results: Path, names: tuple[str, str], members: Sequence[str]) -> None:
    """Copy all results of a scan of the demo to a new id; the pair is (old id, new id)."""
    scan, copy = names
    pool = results.parent / "enlarged" / scan
    for kind in (
        "screened",
        *(f"measured/all/vnet/{member}" for member in members),
    ):
        _copy_text(demo / f"{kind}/{scan}.json", results / f"{kind}/{copy}.json", names)
    for file in ("converted/{}/image.json", "cropped/{}/crop.json", "crops/{}.webp"):
        _copy_text(demo / file.format(scan), results / file.format(copy), names)
    for file, source in (("image", "image"), ("labels", "reference")):
        _link(pool / f"{source}.nii.gz", results / f"cropped/{copy}/{file}.nii.gz")
    for member in members:
        _link(pool / f"{member}.nii.gz", results / f"masks/all/vnet/{member}/{copy}/labels.nii.gz")


def write_placements(demo: Path, results: Path, copies: dict[str, list[str]]) -> pd.DataFrame:
    """Write cohort/scans.csv and folds/folds.csv of the copies; return the latter."""
    for name in ("cohort/scans.csv", "folds/folds.csv"):
        table = _repeated(pd.read_csv(demo / name, dtype=str, keep_default_na=False), copies)
        if "batch" in table:
            table = table.sort_values(["set", "fold", "scan"], kind="stable").reset_index(drop=True)
            within = table.groupby(["set", "fold"]).cumcount() // BATCH
            table["batch"] = pd.factorize(table["set"] + table["fold"] + "/" + within.astype(str))[0]
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(results / name, index=False)
    return table


def write_cohort(demo: Path, folder: Path, copies: dict[str, list[str]]) -> Path:
    """Write the cohort table; each scan's series and mask are links into the demo's source."""
    table = _repeated(pd.read_csv(demo / "phantom/cohort.csv", dtype=str, keep_default_na=False), copies)
    source = folder / "source"
    source.mkdir()
    for scan, names in copies.items():
        for copy in names:
            (source / copy).symlink_to((demo / "phantom" / scan).resolve())
    table = table.assign(image=table["scan"] + "/dicom", mask=table["scan"] + "/mask.nii.gz")
    table.to_csv(source / "cohort.csv", index=False)
    return source / "cohort.csv"


def stamp_stages(table: Path, results: Path) -> None:
    """Set the time stamps of the cohort table and all files by stage, a second apart; the last one is now."""
    last = time.time()
    os.utime(table, (0, 0))
    for position, made in enumerate(FOLDERS):
        moment = last - (len(FOLDERS) - position)
        for path in (results / made).rglob("*"):
            if path.is_dir() and path.name.startswith("batch-"):
                (path / ".snakemake_timestamp").touch()
                os.utime(path / ".snakemake_timestamp", (moment, moment))
            os.utime(path, (moment, moment))


def _repeated(table: pd.DataFrame, copies: dict[str, list[str]]) -> pd.DataFrame:
    rows = table[table["scan"].isin(list(copies))]
    parts = [
        rows[rows["scan"] == scan].assign(scan=copy, subject=copy) for scan in copies for copy in copies[scan]
    ]
    return pd.concat(parts, ignore_index=True)


def _write(array_zyx: np.ndarray, path: Path, kind: type) -> None:
    image = sitk.GetImageFromArray(array_zyx.astype(kind))
    image.SetSpacing(SPACING_MM_ZYX[::-1])
    write_image(image, path)


def _copy_text(source: Path, target: Path, names: tuple[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".json":
        scan, copy = names
        target.write_text(
            source.read_text(encoding="utf-8").replace(f'"{scan}"', f'"{copy}"'), encoding="utf-8"
        )
    else:
        shutil.copy(source, target)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)
