"""Review of the masks by people: `review.csv`, as written by the report's page. Standard library only.

One row for each scan: `scan,verdict,comment,seen_mm3,corrected_mask`. A rejected scan is excluded from the study, one
that needs an edit is flagged, a comment is shown. `corrected_mask` names a corrected prediction, which is measured
beside the original and never scored: a prediction corrected by a person does not describe the network.
"""

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lib.cohort.sheet import read_sheet, read_text
from lib.cohort.table import Problem, header_problems, plain_text, raise_problems

REVIEW_COLUMNS = ("scan", "verdict", "comment", "seen_mm3", "corrected_mask")
VERDICTS = ("accepted", "rejected", "needs-edit")
# a relative difference from the volume seen above this means that the mask has changed
SAME_MASK_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Review:
    """The review of one scan.

    Attributes:
        verdict: one of VERDICTS; empty if there is only a comment or a corrected mask.
        comment: in the person's words.
        seen_mm3: volume of the predicted mask that the person saw; None if unknown.
        corrected_mask: path as the run sees it; empty if nothing was corrected.
    """

    scan: str
    verdict: str = ""
    comment: str = ""
    seen_mm3: float | None = None
    corrected_mask: str = ""


def read_review(table: str | Path, scans: Collection[str]) -> dict[str, Review]:
    """Read and check a review; return its rows by scan id.

    Paths inside it are relative to its own folder. Comma, semicolon and tab are accepted as separators.

    Args:
        table: path of the review.
        scans: ids of the cohort table.

    Raises:
        TableError: the table cannot be read or has problems; the text lists every one with row and column.
    """
    table = Path(table)
    sheet = read_sheet(read_text(table, "review", "review"), f"review {table.name}")
    raise_problems(table, header_problems(sheet, ("scan", "verdict"), REVIEW_COLUMNS), "review")
    problems: list[Problem] = []
    rows = {line: _review(line, record, table.parent, problems) for line, record in sheet.records}
    problems += _problems_of_scans({line: row.scan for line, row in rows.items()}, scans)
    raise_problems(table, problems, "review")
    return {row.scan: row for row in rows.values()}


def rejected(reviews: Mapping[str, Review]) -> dict[str, str]:
    """Return the comments on the scans that were rejected, by scan."""
    return {scan: row.comment for scan, row in reviews.items() if row.verdict == "rejected"}


def in_words(reviews: Mapping[str, Review]) -> dict[str, dict]:
    """Return verdict, comment and seen volume by scan, as plain values without a path."""
    return {
        scan: {"verdict": row.verdict, "comment": row.comment, "seen_mm3": row.seen_mm3}
        for scan, row in reviews.items()
    }


def other_masks(reviews: Mapping[str, Mapping], volumes_mm3: Mapping[str, float]) -> list[str]:
    """Return the scans whose mask has changed since the review: the volume differs by more than 1 %.

    Args:
        reviews: as `in_words` returns them.
        volumes_mm3: current volume of each scan's primary prediction; a scan without one is left out.
    """
    return [
        scan
        for scan, row in reviews.items()
        if row["seen_mm3"] is not None
        and scan in volumes_mm3
        and abs(volumes_mm3[scan] - row["seen_mm3"]) > SAME_MASK_SHARE * row["seen_mm3"]
    ]


def _review(line: int, record: Mapping[str, str], folder: Path, problems: list[Problem]) -> Review:
    """Turn one record into a Review; add its errors to `problems`."""

    def parse(column: str, allowed: str, convert: Callable, default: object) -> object:
        text = record.get(column, "")
        try:
            return convert(text) if text else default
        except ValueError:
            problems.append(Problem(line, column, text, allowed))
            return default

    if not record.get("scan"):
        problems.append(Problem(line, "scan", "", "every row needs a scan id of the cohort table"))
    return Review(
        scan=record.get("scan", ""),
        verdict=parse("verdict", f"use {', '.join(VERDICTS)}, or leave it empty", _verdict, ""),
        comment=plain_text(record.get("comment", "")),
        seen_mm3=parse("seen_mm3", "use a volume in mm3 (0 or more), or leave it empty", _volume, None),
        corrected_mask=parse(
            "corrected_mask",
            "this file does not exist (relative to the review's folder), or its path contains a brace",
            lambda text: _file(folder / text),
            "",
        ),
    )


def _verdict(text: str) -> str:
    if text not in VERDICTS:
        raise ValueError(text)
    return text


def _volume(text: str) -> float:
    volume_mm3 = float(text.replace(",", "."))  # spreadsheets write a decimal comma in some countries
    if not (math.isfinite(volume_mm3) and volume_mm3 >= 0):
        raise ValueError(text)
    return volume_mm3


def _file(path: Path) -> str:
    # Snakemake takes braces for wildcards
    if not os.path.isfile(path) or not {"{", "}"}.isdisjoint(str(path)):
        raise ValueError(path)
    return str(path)


def _problems_of_scans(listed: Mapping[int, str], scans: Collection[str]) -> Iterable[Problem]:
    """Yield scans (by row) that are not in the cohort table or appear twice."""
    lines: dict[str, int] = {}
    for line, scan in listed.items():
        first = lines.setdefault(scan, line)
        if scan and first != line:
            yield Problem(line, "scan", scan, f"one row for each scan: see row {first}")
        if scan and scan not in scans:
            yield Problem(line, "scan", scan, "the cohort table has no such scan")
