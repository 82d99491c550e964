"""The report of a large study: weight and loading time of its index, seconds and memory of the pages of scans.

Takes a finished study (the folder that holds `results/`, such as the demo's). For the index its people are repeated
under new ids until there are `--scans` of them, with pages and thumbnails, and Chromium opens the page. Pages are
written for the study's own scans, enlarged to the network's full window of 192 x 192 and 60 slices, in `--cores`
processes.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

from lib.atomic import read_json
from lib.imaging.grid import array_zyx
from lib.imaging.nifti import read_image, read_mask
from lib.stats.page import TABLES, ReportData, write_page
from lib.stats.scan_numbers import ScanPrediction
from lib.stats.scan_page import ScanPage, write_scan_page
from lib.stats.tables import path_key, read_table

REPEATED = ("metrics", "volumes", "flow", "acquisition")
FULL_ZYX = (60, 192, 192)
SPACING_MM_ZYX = (3.0, 0.8, 0.8)
SETTINGS = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def repeat_people(table: pd.DataFrame, times: int) -> pd.DataFrame:
    """Return a table whose scans and people come `times` times, each time under new ids."""
    copies = [table.assign(scan=table["scan"] + f"-{number}") for number in range(times)]
    if "subject" in table:
        copies = [copy.assign(subject=copy["subject"] + f"-{n}") for n, copy in enumerate(copies)]
    return pd.concat(copies, ignore_index=True)


def large_study(results: Path, folder: Path, times: int) -> ReportData:
    """Return what the page of the repeated study shows; pages and thumbnails are links in `folder`."""
    tables = {name: read_table(results / f"tables/{name}.csv") for name in TABLES}
    tables |= {name: repeat_people(tables[name], times) for name in REPEATED}
    pages = {}
    for page in sorted((results / "report/scans").glob("batch-*/*.html")):
        for number in range(times):
            target = folder / "report/scans" / page.parent.name / f"{page.stem}-{number}.html"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(page, target)
            os.symlink(
                page.with_name(f"{page.stem}-small.webp"), target.with_name(f"{target.stem}-small.webp")
            )
            pages[target.stem] = str(target)
    return ReportData(
        study="bench",
        synthetic=True,
        tables=tables,
        figures=read_json(results / "figures/figures.json")["figures"],
        figure_folder=str(results / "figures"),
        pages=pages,
        protocol=read_json(results / "cohort/protocol.json"),
        screened=[read_json(path) for path in sorted((results / "screened").glob("*.json"))] * times,
        runs=[read_json(path) for path in sorted((results / "models").glob("*/*/*/run.json"))],
        settings=SETTINGS,
    )


def loading_seconds(page: Path, repeats: int) -> float:
    """Return the median time from opening a page in Chromium until its table is there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        seconds = []
        for _ in range(repeats):
            opened = browser.new_context().new_page()
            started = time.perf_counter()
            opened.goto(page.as_uri(), wait_until="load")
            opened.wait_for_selector("#scan-rows tbody tr")
            seconds.append(time.perf_counter() - started)
        browser.close()
    return statistics.median(seconds)


def measure_index(results: Path, scans: int, repeats: int) -> dict:
    """Return weight, writing and loading time of the index of a study of at least `scans` predicted scans."""
    own = len(set(read_table(results / "tables/volumes.csv")["scan"]))
    with tempfile.TemporaryDirectory() as folder:
        data = large_study(results, Path(folder), -(-scans // own))
        page = Path(folder, "report/index.html")
        started = time.perf_counter()
        write_page(data, page)
        written = time.perf_counter() - started
        told = {"scans": len(data.pages), "index_mb": page.stat().st_size / 1e6, "write_s": written}
        return told | {"load_s": loading_seconds(page, repeats) if CHROMIUM else None}


def full_size(array_zyx: np.ndarray) -> np.ndarray:
    """Return an array enlarged to the full window."""
    return ndimage.zoom(
        array_zyx, [new / old for new, old in zip(FULL_ZYX, array_zyx.shape, strict=True)], order=1
    )


def write_one(results: Path, path: Path, folder: str) -> float:
    """Write the page of one scored prediction (path of its mask) at full size; return this process's peak in GB."""
    scan, key = path.parent.name, path_key(path.parent)
    noise = np.random.default_rng(0).normal(0, 20, FULL_ZYX)
    image = (
        full_size(array_zyx(read_image(results / f"cropped/{scan}/image.nii.gz")).astype(np.float32)) + noise
    )
    masks = [array_zyx(read_mask(file)) for file in (results / f"cropped/{scan}/mask.nii.gz", path)]
    reference, predicted = (full_size(mask.astype(np.float32)) >= 0.5 for mask in masks)
    cohort, model, members, _ = key.split("/")
    plan = {"cohort": cohort, "model": model, "members": members, "protocol": "test", "weights": "best"}
    measured = {name: read_json(results / f"{name}s/{key}.json") for name in ("volume", "overlap")}
    page = ScanPage(
        placement={
            "scan": scan,
            "subject": scan,
            "sex": "",
            "age": None,
            "site": "",
            "set": "test",
            "fold": -1,
        },
        image_zyx=image.astype(np.int16),
        spacing_mm_zyx=SPACING_MM_ZYX,
        reference_zyx=reference,
        predictions=[ScanPrediction(plan=plan, mask_zyx=predicted, **measured)],
        screened=read_json(results / f"screened/{scan}.json"),
        crop=read_json(results / f"cropped/{scan}/crop.json"),
        settings=SETTINGS,
    )
    write_scan_page(page, folder)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure_pages(results: Path, cores: int, pages: int) -> dict:
    """Return wall seconds a scan with all cores at work, weight of a page with its pictures, peak of a process."""
    masks = sorted((results / "masks").glob("*/*/ensemble/*/mask.nii.gz"))
    masks = [path for path in masks if (results / f"overlaps/{path_key(path.parent)}.json").exists()]
    chosen = [masks[number % len(masks)] for number in range(pages)]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(cores) as pool:
        started = time.perf_counter()
        peaks = list(pool.map(write_one, [results] * pages, chosen, [folder] * pages))
        seconds = (time.perf_counter() - started) / pages
        weight = sum(file.stat().st_size for file in Path(folder).iterdir()) / len(set(chosen)) / 1e6
    return {"pages": pages, "cores": cores, "s_a_scan": seconds, "mb_a_scan": weight, "peak_gb": max(peaks)}


def main() -> None:
    """Print one JSON line for the index and one for the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    results = options.study.resolve() / "results"
    print(json.dumps({"what": "index"} | measure_index(results, options.scans, options.repeats)))
    print(json.dumps({"what": "scan pages"} | measure_pages(results, options.cores, options.pages)))


if __name__ == "__main__":
    main()
