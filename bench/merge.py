"""Measure how the cost of merging grows: time, CPU time and memory of merging 20 parts of made-up tables.

Each scan has a volume of one ensemble; a share of them has a reference.
"""

import argparse
import csv
import json
import random
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scale import run_measured

from lib.cohort.acquisitions import acquisition_columns
from lib.cohort.scans import DIGEST_COLUMNS, SCAN_COLUMNS, write_records
from lib.commands.parts.results import DIGESTS, NOTES, PROTOCOL, REPORT, RUN, STUDY, TABLES
from lib.stats.cohort_people import PEOPLE_KEYS
from lib.stats.flow import FLOW_COLUMNS
from lib.stats.measurements import MEASUREMENT_COLUMNS
from lib.stats.tables import METRIC_COLUMNS, UNSCORED_COLUMNS, VOLUME_COLUMNS

PARTS = 20
# rows of a prediction in measurements.csv: a femur in CT has six
REGIONS = ("whole", "head", "neck", "trochanter", "shaft", "above_cut")
COLUMNS = {"scans": SCAN_COLUMNS, "volumes": VOLUME_COLUMNS, "metrics": METRIC_COLUMNS, "flow": FLOW_COLUMNS}
COLUMNS |= {"acquisition": acquisition_columns("CT"), "unscored": UNSCORED_COLUMNS}
COLUMNS |= {
    "measurements": MEASUREMENT_COLUMNS,
    "people": (*PEOPLE_KEYS, "femur_whole_volume_mm3", "undefined"),
}
WORDS = {
    "group": "all", "network": "vnet", "members": "ensemble", "protocol": "external", "weights": "best",
    "site": "north", "structure": "femur", "region": "whole", "compartment": "integral", "measure": "volume",
    "unit": "mm3", "source": "predicted",
    "verdict": "ok", "stage": "predicted", "manufacturer": "SIEMENS", "kernel": "B30s", "side": "left", "fold": "",
    "set": "external",
    "flags": "no_lesser_trochanter", "undefined": "lesser_trochanter_mm: no lesser trochanter stands out",
    "truncated_distally": "True", "repeat_of": "", "reason": "", "warnings": "", "explanation": "", "review": "",
    "review_comment": "", "off_protocol": "",
}  # fmt: skip


def make_part(folder: Path, first: int, scans: int, referenced: bool) -> None:
    """Write the tables of a finished part of `scans` scans, each of a person."""
    results, generator = folder / "results", random.Random(first)
    for table, columns in COLUMNS.items():
        path = results / TABLES[table]
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            there = table != "unscored" and (table != "metrics" or referenced)
            for scan in range(first, first + scans) if there else ():
                told = WORDS | {
                    "scan": f"S{scan:06d}",
                    "subject": f"P{scan:06d}",
                    "sex": "MF"[scan % 2],
                    "age": 70,
                }
                size = 90_000 + 20_000 * generator.random()
                told |= {"reference_mm3": size, "predicted_mm3": size + 1000 * generator.gauss(0, 1)}
                told |= {"reference": size if referenced else "", "predicted": told["predicted_mm3"]}
                for region in REGIONS if table == "measurements" else REGIONS[:1]:
                    of_region = told | {"region": region}
                    writer.writerow([of_region.get(name, f"{generator.random():.10g}") for name in columns])
    voxels = ({"scan": f"S{scan:06d}", "voxels": f"{scan:032x}"} for scan in range(first, first + scans))
    write_records(voxels, DIGEST_COLUMNS, results / DIGESTS)
    settings = {"seed": 1, "report.confidence": 0.95}
    for path, content in {
        RUN: {"settings": settings, "software": {}, "code": {}, "models": {"all/vnet/fold-0": "0"}},
        STUDY: {"synthetic": False, "model": ""}, PROTOCOL: {"source": "configuration", "fields": []},
        NOTES: {"notes": []}, REPORT: {},
    }.items():  # fmt: skip
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_text(json.dumps(content))


def measure_merge(folder: Path, scans: int, referenced: bool) -> dict:
    """Return seconds and memory of merging PARTS parts that hold `scans` scans together."""
    parts = [folder / f"part-{number:02d}" for number in range(1, PARTS + 1)]
    for number, part in enumerate(parts):
        make_part(part, number * scans // PARTS, scans // PARTS, referenced)
    command = [sys.executable, "-m", "lib.commands.parts.merge", str(folder / "merged"), *map(str, parts)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak_gb, _ = run_measured(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = {"what": "merge", "scans": scans, "referenced": referenced}
    return told | {"cpu_seconds": cpu_seconds, "seconds": seconds, "peak_gb": peak_gb}


def main() -> None:
    """Print a JSON line for each size, without and with references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, nargs="+", default=[5000, 20000, 100000])
    options = parser.parse_args()
    for scans in options.scans:
        for referenced in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                print(json.dumps(measure_merge(Path(folder), scans, referenced)), flush=True)


if __name__ == "__main__":
    main()
