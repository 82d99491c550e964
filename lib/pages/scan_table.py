"""The table of scans of the report, as compact data that the page's script shows, filters and sorts."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from lib.catalog.anatomies import LEVELS
from lib.catalog.protocols import PROTOCOLS
from lib.stats.formats import records, undefined_reasons
from lib.stats.primary import in_primary_order

KEYS = ("group", "network", "members", "scan")


@dataclass(frozen=True)
class ScanNumber:
    """A number of the table of scans: its column in the tables, its head, its digits, shown at once or on demand."""

    name: str
    head: str
    digits: int
    at_once: bool = False


NUMBERS = (
    ScanNumber("dsc", "DSC", 4, at_once=True),
    ScanNumber("hd95_mm", "HD95, mm", 2, at_once=True),
    ScanNumber("assd_mm", "ASSD, mm", 2),
    ScanNumber("predicted_mm3", "Predicted, mm³", 0, at_once=True),
    ScanNumber("interval_low_mm3", "Interval from, mm³", 0),
    ScanNumber("interval_high_mm3", "Interval to, mm³", 0),
    ScanNumber("interval_percent", "Interval, ± %", 2),
    ScanNumber("reference_mm3", "Reference, mm³", 0),
    ScanNumber("re_percent", "RE, %", 2, at_once=True),
    ScanNumber("member_dice", "Member DSC", 4, at_once=True),
    ScanNumber("dsc_native", "DSC native", 4),
    ScanNumber("sensitivity", "SN", 4),
    ScanNumber("specificity", "SP", 4),
    ScanNumber("precision", "Precision", 4),
    ScanNumber("hd_mm", "HD, mm", 2),
    ScanNumber("nsd", "NSD", 3),
    *(ScanNumber(f"dsc_{level}", f"DSC {level}", 4) for level in LEVELS),
    ScanNumber("otsu_threshold", "Otsu threshold", 3),
)


def scan_data(
    tables: Mapping[str, pd.DataFrame],
    *,
    study: str,
    networks: Sequence[str],
    pages: Mapping[str, str],
    reviews: Mapping[str, Mapping],
) -> dict:
    """Return what the page's script needs of every predicted scan.

    Args:
        tables: metrics and volumes, by name.
        study: the study's name.
        networks: the networks in the order of the configuration.
        pages: link from the report to each scan's page `{folder}/{scan}.html`.
        reviews: scan -> verdict and comment of the review that this run used.

    Returns:
        `rows` hold, as the lists of `row_names` say, one prediction each, ordered so that the first row of a scan is
        its primary prediction: first group, first network, then PRIMARY_PROTOCOLS. Scans, sets (group, network,
        protocol), folders of pages and reasons for undefined numbers are named by their position.
    """
    table = in_primary_order(_predictions(tables), networks)
    scans, sets, reasons, folders = _Positions(), _Positions(), _Positions(), _Positions()
    rows = []
    for row in records(table):
        scan = scans.of((row["scan"], row["sex"], row["age"], row["site"]))
        chosen = sets.of((row["group"], row["network"], row["protocol"]))
        fold = "" if row["fold"] is None else int(row["fold"])
        numbers = [_shortened(row[number.name]) for number in NUMBERS]
        rows.append([scan, chosen, fold, row["flags"], reasons.of(row["undefined"]), *numbers])
    people = [[*person, _folder_of(person[0], pages, folders)] for person in scans.values]
    return {
        "study": study,
        "digest": _digest(rows, people),
        "numbers": [vars(number) for number in NUMBERS],
        "protocols": {name: protocol.title for name, protocol in PROTOCOLS.items()},
        "sets": sets.values,
        "folders": folders.values,
        "scans": people,
        "reasons": [undefined_reasons(text) for text in reasons.values],
        "rows": rows,
        "reviews": {
            scan: dict(review)
            for scan, review in reviews.items()
            if review.get("verdict") or review.get("comment")
        },
    }


def script_json(value: object) -> Markup:
    """Return JSON that cannot end the script element which holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


class _Positions:
    """Values in the order in which they first come, each with its position."""

    def __init__(self) -> None:
        self._position: dict = {}

    def of(self, value: object) -> int:
        return self._position.setdefault(value, len(self._position))

    @property
    def values(self) -> list:
        return list(self._position)


def _predictions(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return volumes with the scores of those predictions that have any."""
    metrics, volumes = tables["metrics"], tables["volumes"]
    own = [name for name in metrics.columns if name in KEYS or name not in volumes.columns]
    table = volumes.merge(metrics[[*own, "undefined"]], on=list(KEYS), how="left", suffixes=("", "_scored"))
    scored = table["undefined_scored"].fillna("")
    table["undefined"] = scored.where(scored != "", table["undefined"])
    return table


def _shortened(value: float | None) -> float | None:
    """Return a number with seven significant digits: more than is shown, less than half the bytes."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.7g}")


def _folder_of(scan: str, pages: Mapping[str, str], folders: _Positions) -> int:
    return folders.of(pages[scan].rpartition("/")[0]) if scan in pages else -1


def _digest(rows: Sequence[list], people: Sequence[list]) -> str:
    """Return a digest of what a reviewer sees: each scan and the volume of its primary prediction."""
    volume = 5 + [number.name for number in NUMBERS].index("predicted_mm3")
    seen: dict[str, float] = {}
    for row in rows:
        seen.setdefault(people[row[0]][0], row[volume])
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:12]
