"""Inputs of the scan pages and the figure captions."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

from lib.catalog.protocols import PRIMARY_PROTOCOLS, PROTOCOLS
from lib.cohort.predictions import Prediction
from snakemake.iocontainers import OutputFiles, Wildcards


def scan_page_folders() -> list[str]:
    """Return the folder of pages of every batch that has a prediction."""
    batches = sorted({row.placement.batch for row in predictions()})
    return [f"results/report/scans/batch-{batch}" for batch in batches]


@cache
def _shown_by_batch(draw: Draw) -> Mapping[int, list[Prediction]]:
    groups, batches = list(GROUPS), defaultdict(list)
    for row in predictions():
        batches[row.placement.batch].append(row)
    for rows in batches.values():
        rows.sort(
            key=lambda row: (
                groups.index(row.group),
                NETWORKS.index(row.network),
                PRIMARY_PROTOCOLS.index(row.protocol),
            )
        )
    return batches


def shown_predictions(wildcards: Wildcards) -> list[Prediction]:
    """Return the predictions of a batch, the primary one of each scan before its others."""
    return _shown_by_batch(draw())[int(wildcards.batch)]


def shown_scans(wildcards: Wildcards) -> list[dict]:
    """Return placement, review and predictions of each scan of a batch, as plain values for its page."""
    scans, seen = {}, set(seen_in_training(wildcards))
    for row in shown_predictions(wildcards):
        scan = row.placement.scan
        page = scans.setdefault(
            scan, {"placement": asdict(row.placement), "review": REVIEWS.get(scan, {}), "predictions": []}
        )
        named = ("group", "network", "members", "protocol", "weights")
        plan = {"scan": scan, "seen_in_training": row.path in seen}
        page["predictions"].append(plan | {name: getattr(row, name) for name in named})
    return list(scans.values())


def of_shown_scans(pattern: str, chosen: Callable[[str], object] = lambda scan: True) -> FilesOf:
    """Return the function that lists a file of each `chosen` scan of a batch."""
    return lambda wildcards: there(
        pattern.format(scan=scan)
        for scan in dict.fromkeys(row.placement.scan for row in shown_predictions(wildcards))
        if chosen(scan)
    )


def of_shown_predictions(pattern: str) -> FilesOf:
    """Return the function that lists a file of each prediction of a batch."""
    return lambda wildcards: there(pattern.format(path=row.path) for row in shown_predictions(wildcards))


def projections_of_shown_scans(wildcards: Wildcards) -> list[str]:
    """Return the projected femur of the first prediction of each calibrated scan of a batch; none without densities."""
    if not regional_density_settings():
        return []
    first = {}
    for row in shown_predictions(wildcards):
        first.setdefault(row.placement.scan, row.path)
    return there(
        f"results/projected/{path}.webp" for scan, path in first.items() if SCANS[scan].is_calibrated
    )


def calibrations_of_shown_scans(wildcards: Wildcards) -> list[str]:
    """Return the calibration of each calibrated scan of a batch; none where its densities are measured by region."""
    if regional_density_settings():
        return []
    return of_shown_scans("results/calibrated/{scan}.json", lambda scan: SCANS[scan].is_calibrated)(wildcards)


def estimates_of_shown_scans(wildcards: Wildcards) -> list[str]:
    """Return the folders with the estimates of a batch, by all members; none without a regression."""
    own = f"batch-{wildcards.batch}"
    return there(folder for folder in estimate_batches() if Path(folder).name == own)


def known_of_shown_scans(wildcards: Wildcards) -> dict[str, dict]:
    """Return what the cohort table knows of densities of a batch, by scan: references, and structures left out."""
    scans = dict.fromkeys(row.placement.scan for row in shown_predictions(wildcards))
    return {
        "references": {scan: dict(SCANS[scan].targets) for scan in scans if SCANS[scan].targets},
        "absent": {scan: list(SCANS[scan].levels_absent) for scan in scans if SCANS[scan].levels_absent},
    }


def shown_densities() -> dict:
    """Return what the densities of a page are made with, as plain values; empty without a regression."""
    return density_settings() | {"classes": dict(config["classes"])} if REGRESSIONS else {}


def captions() -> dict[str, str]:
    """Return the caption of each kind of figure, by kind, as on the study's page."""
    texts = {path.stem: path.read_text(encoding="utf-8").strip() for path in page_files("captions/*.rst")}
    if STUDY.publication is None:
        return texts
    return {kind: text + STUDY.publication.after_figure(kind) for kind, text in texts.items()}


def figure_labels(wildcards: Wildcards, output: OutputFiles) -> dict[str, str]:
    """Return the labels that distinguish a figure from the others of its category."""
    entries = json.loads(Path(output.figures, "figures.json").read_text(encoding="utf-8"))["figures"]
    entry = next(entry for entry in entries if entry["name"] == wildcards.figure)
    people = PROTOCOLS[entry["protocol"]].title if entry["protocol"] else ""
    labels = {"figure": entry["title"], "people": people, "network": entry["network"]}
    return labels | (
        {"structure": entry["structure"]} if any(other["structure"] for other in entries) else {}
    )
