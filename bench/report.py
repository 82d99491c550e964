"""Measure the report of a large study: size and loading time of its index; time and memory of making all of it.

Takes a finished demo (the folder that holds `results/`). For the index its people are repeated under new ids until
there are `--scans` of them, with pages and thumbnails, and Chromium opens the page. Then Snakemake makes the whole
report (tables, figures, pages of scans, index) of a study of `--run` people with masks of 192 x 192 x 60 voxels (see
`made_study.py`) on `--cores` cores.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.made_study import make_study
from lib.atomic import read_json
from lib.pages.report import TABLES, ReportData, write_page
from lib.stats.tables import read_table

ROOT = Path(__file__).parents[1]
REPEATED = ("metrics", "volumes", "flow", "acquisition")
SETTINGS = yaml.safe_load((ROOT / "config.yaml").read_text())
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def repeat_people(table: pd.DataFrame, times: int) -> pd.DataFrame:
    """Return a table with its scans and people repeated `times` times under new ids."""
    copies = [table.assign(scan=table["scan"] + f"-{number}") for number in range(times)]
    if "subject" in table:
        copies = [copy.assign(subject=copy["subject"] + f"-{n}") for n, copy in enumerate(copies)]
    return pd.concat(copies, ignore_index=True)


def large_study(results: Path, folder: Path, times: int) -> ReportData:
    """Return the content of the repeated study's page; pages and thumbnails are links in `folder`."""
    tables = {name: read_table(results / f"tables/{name}.csv") for name in TABLES}
    tables |= {name: repeat_people(tables[name], times) for name in REPEATED}
    pages = {}
    for page in sorted((results / "report/scans").glob("batch-*/*.html")):
        for number in range(times):
            target = folder / "report/scans" / page.parent.name / f"{page.stem}-{number}.html"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(page, target)
            for picture in ("small", "contours"):
                made = page.with_name(f"{page.stem}-{picture}.webp")
                os.symlink(made, target.with_name(f"{target.stem}-{picture}.webp"))
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
    """Return the median time from opening a page in Chromium until its table is shown."""
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
    """Return size, writing time and loading time of the index of a study of at least `scans` predicted scans."""
    own = len(set(read_table(results / "tables/volumes.csv")["scan"]))
    with tempfile.TemporaryDirectory() as folder:
        data = large_study(results, Path(folder), -(-scans // own))
        page = Path(folder, "report/index.html")
        started = time.perf_counter()
        write_page(data, page)
        written = time.perf_counter() - started
        told = {"scans": len(data.pages), "index_mb": page.stat().st_size / 1e6, "write_s": written}
        return told | {"load_s": loading_seconds(page, repeats) if CHROMIUM else None}


def peak_of_tree(process: psutil.Process) -> float:
    """Return the memory in GB that a process and its descendants use now."""
    held = 0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            held += one.memory_info().rss
    return held / 1e9


def measure_run(demo: Path, scans: int, cores: int) -> dict:
    """Return seconds and memory of Snakemake making the whole report of a study of at least `scans` people."""
    with tempfile.TemporaryDirectory() as folder:
        table = make_study(demo, Path(folder), scans)
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--directory", folder]
        command += ["--configfile", "studies/demo.yaml", "--rerun-triggers", "mtime", "--quiet", "all"]
        command += ["--config", f"cohort={table}"]
        started, peak = time.perf_counter(), 0.0
        with subprocess.Popen(command, cwd=ROOT) as running:
            tree = psutil.Process(running.pid)
            while running.poll() is None:
                peak = max(peak, peak_of_tree(tree))
                time.sleep(0.2)
        seconds = time.perf_counter() - started
        if running.returncode:
            raise SystemExit("Snakemake failed; see its output above")
        report = Path(folder, "results/report")
        jobs = list(Path(folder, "results/benchmarks").rglob("*.tsv"))
        pages = list(report.glob("scans/batch-*/*.html"))
        weight = sum(file.stat().st_size for file in report.rglob("*") if file.is_file()) / 1e6
        told = {"scans": len(pages), "cores": cores, "jobs": len(jobs), "seconds": seconds, "peak_gb": peak}
        return told | {"report_mb": weight, "index_mb": (report / "index.html").stat().st_size / 1e6}


def main() -> None:
    """Print one JSON line for the index and one for the whole report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a finished study")
    parser.add_argument("--scans", type=int, default=1000, help="scans of the index that is opened")
    parser.add_argument("--run", type=int, default=400, help="scans of the report that is made as a whole")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    results = options.study.resolve() / "results"
    print(json.dumps({"what": "index"} | measure_index(results, options.scans, options.repeats)))
    print(json.dumps({"what": "whole report"} | measure_run(results, options.run, options.cores)))


if __name__ == "__main__":
    main()
