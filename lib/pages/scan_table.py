"""The table of scans of the report as compact data, which the page's script shows, filters and sorts."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from lib.catalog.anatomies import LEVELS
from lib.catalog.measures import MEASURES, followed
from lib.catalog.protocols import PROTOCOLS
from lib.stats.formats import records, undefined_reasons
from lib.stats.primary import in_primary_order

KEYS = ("group", "network", "members", "scan", "structure")


# the first numbers of the table of scans; the catalog's other numbers follow
NUMBERS = followed(
    (
        *("dsc", "hd95_mm", "assd_mm", "predicted_mm3", "interval_low_mm3", "interval_high_mm3"),
        *("interval_percent", "reference_mm3", "re_percent", "member_dice", "dsc_native", "sensitivity"),
        *("specificity", "precision", "hd_mm", "nsd"),
    ),
    (name for name, measure in MEASURES.items() if measure.listed),
)
_OF_LEVELS = [f"dsc_{level}" for level in LEVELS]  # not shown for bones without these parts


def scan_data(
    tables: Mapping[str, pd.DataFrame],
    *,
    study: str,
    networks: Sequence[str],
    pages: Mapping[str, str],
    reviews: Mapping[str, Mapping],
    structures: Sequence[str] = (),
) -> dict:
    """Return the data of all predicted scans for the page's script.

    Args:
        tables: metrics and volumes, by name.
        study: the study's name.
        networks: the networks in the order of the configuration.
        pages: link from the report to each scan's page `{folder}/{scan}.html`.
        reviews: scan -> verdict and comment of the review that this run used.
        structures: those that the report leads with; empty: all.

    Returns:
        `rows` holds a structure of a prediction each, with the values named in `row_names`. The first row of a scan
        is of its primary prediction: first group, first network, then PRIMARY_PROTOCOLS. Scans, sets (group, network,
        protocol, structure), folders of pages and reasons for undefined numbers are given by their position in a
        list. `worst` holds the position of one row of each scan (see `_worst_rows`).
    """
    table = in_primary_order(_predictions(tables), networks)
    scans, sets, reasons, folders = _Positions(), _Positions(), _Positions(), _Positions()
    names = [name for name in NUMBERS if name not in _OF_LEVELS or table[name].notna().any()]
    rows = []
    for row in records(table):
        scan = scans.of((row["scan"], row["sex"], row["age"], row["site"]))
        chosen = sets.of((row["group"], row["network"], row["protocol"], row["structure"]))
        fold = "" if row["fold"] is None else int(row["fold"])
        numbers = [_shortened(row[name]) for name in names]
        rows.append([scan, chosen, fold, row["flags"], reasons.of(row["undefined"]), *numbers])
    people = [[*person, _folder_of(person[0], pages, folders)] for person in scans.values]
    return {
        "study": study,
        "digest": _digest(rows, people),
        "numbers": [_described(name) for name in names],
        "protocols": {name: protocol.title for name, protocol in PROTOCOLS.items()},
        "sets": sets.values,
        "folders": folders.values,
        "scans": people,
        "reasons": [undefined_reasons(text) for text in reasons.values],
        "rows": rows,
        "worst": _worst_rows(table, structures),
        "reviews": {
            scan: dict(review)
            for scan, review in reviews.items()
            if review.get("verdict") or review.get("comment")
        },
    }


def script_json(value: object) -> Markup:
    """Return JSON in which no text can end the surrounding script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _described(name: str) -> dict:
    """Return the description of a number: column name, labels, form, whether it is shown at first."""
    measure = MEASURES[name]
    words = {"head": measure.heading, "title": measure.in_words}
    form = {"digits": measure.digits, "factor": measure.factor}
    return {"name": name} | words | form | {"at_once": measure.listed == "at once"}


class _Positions:
    """Values in order of first appearance, each with its position."""

    def __init__(self) -> None:
        self._position: dict = {}

    def of(self, value: object) -> int:
        return self._position.setdefault(value, len(self._position))

    @property
    def values(self) -> list:
        return list(self._position)


def _predictions(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return volumes with the scores of the predictions, where there are any."""
    metrics, volumes = tables["metrics"], tables["volumes"]
    own = [name for name in metrics.columns if name in KEYS or name not in volumes.columns]
    table = volumes.merge(metrics[[*own, "undefined"]], on=list(KEYS), how="left", suffixes=("", "_scored"))
    scored = table["undefined_scored"].fillna("")
    table["undefined"] = scored.where(scored != "", table["undefined"])
    return table


def _worst_rows(table: pd.DataFrame, structures: Sequence[str]) -> list[int]:
    """Return the position of the worst structure in the primary prediction of each scan: that of the lowest Dice.

    Without any Dice it is the structure of most flags, of these that of the lowest agreement of the models.

    Args:
        table: predictions in primary order.
        structures: those that count, where a prediction has one of them; empty: all.
    """
    prediction = ["group", "network", "protocol"]
    primary = table.groupby("scan")[prediction].transform("first")
    own = table.assign(place=range(len(table)), named=table["structure"].isin(list(structures)))
    own = own[(own[prediction] == primary).all(axis=1)]
    own = own[own["named"] | ~own.groupby("scan")["named"].transform("any")]
    own = own.assign(flagged=own["flags"].str.split().str.len())
    worst_first = own.sort_values(
        ["dsc", "flagged", "member_dice", "place"], ascending=[True, False, True, True], na_position="last"
    )
    return sorted(worst_first.drop_duplicates("scan")["place"])


def _shortened(value: float | None) -> float | None:
    """Return a number rounded to seven significant digits, more than are shown, in less than half the bytes."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.7g}")


def _folder_of(scan: str, pages: Mapping[str, str], folders: _Positions) -> int:
    return folders.of(pages[scan].rpartition("/")[0]) if scan in pages else -1


def _digest(rows: Sequence[list], people: Sequence[list]) -> str:
    """Return a digest of the scans and the volumes of their primary predictions, which a reviewer sees."""
    volume = 5 + NUMBERS.index("predicted_mm3")
    seen: dict[str, float] = {}
    for row in rows:
        seen.setdefault(people[row[0]][0], row[volume])
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:12]
