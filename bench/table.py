"""Put measured results into the table of README.md: python bench/table.py [--keep DIR] [RESULTS.jsonl ...]

Without a file it uses all of bench/results. --keep first copies the results of gpu.py in DIR to
bench/results/cuda.jsonl. No number of that table is written by hand.
"""

import argparse
import json
import operator
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FACTS = ("date", "machine", "threads", "torch", "monai", "simpleitk", "dcm2niix")
COLUMNS = ("what", "size", "precision", "ours", "peer", "peer / ours", "goal", "further")
OWN_COLUMN = {"part", "what", "size", "device", "precision", "peer", "ratio", "goals", "quick", *FACTS}
OWN_COLUMN |= {f"{who}_{unit}" for who in ("ours", "peer") for unit in ("s", "gb")}
RELATIONS = {">=": operator.ge, "<=": operator.le}


def main() -> None:
    """Replace the text between the marks in README.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="folder with results of gpu.py to put into the table"
    )
    given = parser.parse_args()
    if given.keep:
        keep(given.keep / "results.jsonl", BENCH / "results/cuda.jsonl")
    paths = given.files or sorted((BENCH / "results").glob("*.jsonl"))
    rows = [row for path in paths for row in read_rows(path)]
    readme = BENCH / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{render(rows)}\n{END}{after}", encoding="utf-8")


def keep(results: Path, target: Path) -> None:
    """Copy the results of a run on a GPU; those of another device or of tiny sizes are refused."""
    if any(row["device"] != "cuda" or row.get("quick") for row in read_rows(results)):
        sys.exit(f"{results} holds results of a CPU or of --quick: expected those of a full run on a GPU")
    shutil.copyfile(results, target)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read results, one JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def render(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return Markdown with date, machine, versions and table of each run."""
    parts = []
    for (date, machine, *versions), of_run in groupby(rows, key=lambda row: [row.get(key) for key in FACTS]):
        named = [f"{name} {version}" for name, version in zip(FACTS[2:], versions, strict=True) if version]
        parts.append(f"{', '.join([date, machine, *named])}\n")
        parts += [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(_cells(row)) for row in of_run), ""]
    return "\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    further = [
        f"{key} {_number(key, value)}"
        for key, value in row.items()
        if key not in OWN_COLUMN and value is not None
    ]
    return [
        row["what"],
        row["size"],
        row["precision"] or "–",
        _quantity(row, "ours"),
        _peer(row),
        "–" if row["ratio"] is None else f"{row['ratio']:.2f}",
        ", ".join(_goal(row, *goal) for goal in row.get("goals", [])) or "–",
        ", ".join(further) or "–",
    ]


def _peer(row: Mapping[str, Any]) -> str:
    """Return the peer's measurement, with its name where it is not MONAI."""
    quantity, name = _quantity(row, "peer"), row.get("peer")
    return f"{quantity} ({name})" if name else quantity


def _quantity(row: Mapping[str, Any], who: str) -> str:
    """Return a measurement with units: time, memory or both."""
    measured = ((row.get(f"{who}_{unit}"), name) for unit, name in (("s", "s"), ("gb", "GB")))
    return ", ".join(f"{value:.3g} {name}" for value, name in measured if value is not None) or "–"


def _goal(row: Mapping[str, Any], key: str, relation: str, bound: float) -> str:
    """Return the goals and whether they are met."""
    met = RELATIONS[relation](row[key], bound)
    return f"{key} {relation} {_number(key, bound)}: {'met' if met else 'missed'}"


def _number(key: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0%}" if "share" in key else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
