"""The densities of one scan for its page: what networks and its calibration read, beside the reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lib.calibrated import Calibration
from lib.catalog.calibration import CALIBRATION_FLAGS, FLAGGED, METHODS, REFUSALS, REFUSED
from lib.catalog.level_flags import LEVEL_FLAGS
from lib.catalog.scales import CALIBRATED_SCALES
from lib.pages.scan_numbers import note_letters
from lib.stats.density_plan import NETWORK, PHANTOM
from lib.stats.density_scale import scale_in_words
from lib.stats.formats import DASH, fixed, why_empty
from lib.stats.scan_densities import ScanDensities

_DIGITS = 1  # of a density in mg/cm3


@dataclass(frozen=True)
class _Column:
    """A column of the table: what stands in its head, and which rows and value it shows."""

    head: str
    note: str
    value: str  # reference or predicted
    method: str
    network: str

    def find(self, rows: Sequence[Mapping]) -> Mapping:
        """Return the row of this column among those of one structure or mean."""
        return next(row for row in rows if (row["method"], row["network"]) == (self.method, self.network))


@dataclass
class _Reasons:
    """The reasons for empty values, each with the letter of its note."""

    letters: dict[str, str] = field(default_factory=dict)

    def note(self, reason: str) -> str:
        """Return the letter of a reason."""
        return self.letters.setdefault(reason, note_letters(len(self.letters)))


def scan_density_section(read: ScanDensities) -> dict:
    """Return the variables of the section; empty in a study without a regression where the scan has no calibration.

    Returns:
        `of` (the prediction in words; empty: there is none), `scale` in words, `columns` (`head`, `note`), `rows` by
        structure and `means` (`name`, `small`, `cells`), `reasons` (by letter, why values are empty), `calibration`
        (sentences on how the scan was calibrated) and `warnings` (why it was not, and flags). A cell has its `text`,
        lines of small print (`small`), and the letters of reasons for an empty value (`note`) and for no class
        (`class_note`).
    """
    if read.plan is None and read.calibration is None:
        return {}
    reasons, columns = _Reasons(), _columns(read)
    structures, means = _by(read.structures, "structure"), _by(read.means, "mean_of")
    rows = [
        {"name": name, "small": "", "cells": [_cell(column, of_name, reasons) for column in columns]}
        for name, of_name in structures.items()
    ]
    found = read.prediction
    return {
        "of": " / ".join(found[name] for name in ("group", "network", "members")) if found else "",
        "scale": scale_in_words(read.plan.scale) if read.plan else "",
        "columns": [{"head": column.head, "note": column.note} for column in columns],
        "rows": rows,
        "means": [_mean_row(read, (name, of_name), columns, reasons) for name, of_name in means.items()],
        "reasons": {letter: reason for reason, letter in reasons.letters.items()},
        "calibration": calibration_sentence(read.calibration),
        "warnings": _warnings(read.calibration),
    }


def structures_in_words(names: Sequence[str], order: Sequence[str]) -> str:
    """Return names as `L1 to L4` if they follow one another in `order`, else as `L1, L2 and L4`."""
    if len(names) < 2:
        return "".join(names)
    places = [order.index(name) for name in names]
    if len(names) > 2 and places == list(range(places[0], places[0] + len(names))):
        return f"{names[0]} to {names[-1]}"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def calibration_sentence(calibration: Calibration | None) -> str:
    """Return how a scan was calibrated, with its line; empty without a calibration that can be used."""
    if calibration is None or not calibration.is_usable:
        return ""
    how = METHODS[calibration.method].replace("`", "").partition(";")[0]
    told = f"Calibration of the scan: {how}" + (f" ({calibration.phantom})" if calibration.phantom else "")
    if calibration.slope_hu_per_mg_cm3 is not None:
        slope, intercept = fixed(calibration.slope_hu_per_mg_cm3, 4), fixed(abs(calibration.intercept_hu), 1)
        sign = "+" if calibration.intercept_hu >= 0 else "\N{MINUS SIGN}"
        told += f". Its line: HU = {slope} × density in mg/cm³ {sign} {intercept}"
    return f"{told}; scale {CALIBRATED_SCALES[calibration.scale]}."


def _columns(read: ScanDensities) -> list[_Column]:
    """Return the columns of a scan: the reference, a column for each network, and the calibration if it has one."""
    if not read.structures:
        return []
    (first, *_) = networks = list(dict.fromkeys(row["network"] for row in read.structures))
    columns = [_Column("Reference", "QCT", "reference", NETWORK, first)]
    for network in networks:
        of_network = (row for row in read.structures if (row["method"], row["network"]) == (NETWORK, network))
        spread = any(row["predicted_sd"] is not None for row in of_network)
        how = "mean ± SD of the folds" if spread else "one model"
        columns.append(_Column("Network", f"{network}, {how}", "predicted", NETWORK, network))
    if read.calibration is not None:
        by = f"{read.calibration.method}, mean HU of the eroded body"
        columns.append(_Column("Calibration of the scan", by, "predicted", PHANTOM, first))
    return columns


def _by(rows: Sequence[Mapping], name: str) -> dict[str, list[Mapping]]:
    """Return rows by their value of a column, in the order of its first use."""
    found: dict[str, list[Mapping]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _cell(column: _Column, rows: Sequence[Mapping], reasons: _Reasons) -> dict:
    """Return the cell of a structure or of a mean, without its class."""
    row = column.find(rows)
    value, sd = row[column.value], row.get("predicted_sd")
    if value is None:
        why = why_empty(row, column.value, "not known")
        return {"text": DASH, "small": [], "note": reasons.note(_in_words(why)), "class_note": ""}
    text = fixed(value, _DIGITS)
    if column.value == "predicted" and sd is not None:
        text += f" ± {fixed(sd, _DIGITS)}"
    return {"text": text, "small": [], "note": "", "class_note": ""}


def _mean_row(
    read: ScanDensities, mean: tuple[str, Sequence[Mapping]], columns: Sequence[_Column], reasons: _Reasons
) -> dict:
    """Return the row of a mean: of each column the mean, its class, and the structures if it lacks some."""
    (name, rows), order = mean, read.plan.structures
    named = read.plan.classes.means[name]
    first = columns[0].find(rows)
    cells = []
    for column in columns:
        cell, row = _cell(column, rows, reasons), column.find(rows)
        if not cell["note"]:
            classified = row[f"{column.value}_class"]
            cell["small"].append(classified or "no class")
            if not classified:
                cell["class_note"] = reasons.note(_in_words(row["class_withheld"]))
            if row["levels_left_out"]:
                cell["small"].append(f"of {structures_in_words(row['levels_used'].split(), order)}")
            others = row["levels_used"] != first["levels_used"]
            if others and row["reference"] is not None:
                cell["small"].append(f"their reference: {fixed(row['reference'], _DIGITS)}")
        cells.append(cell)
    return {"name": f"Mean of {structures_in_words(named, order)}", "small": name, "cells": cells}


def _in_words(reason: str) -> str:
    """Return a reason as a sentence part; a flag of a level with its meaning."""
    flag = LEVEL_FLAGS.get(reason)
    return reason if flag is None else f"flag {reason.replace('_', ' ')}: {flag.meaning.rstrip('.')}"


def _warnings(calibration: Calibration | None) -> list[str]:
    """Return why a calibration was refused, or its flags, each with what to do."""
    if calibration is None:
        return []
    if calibration.verdict == REFUSED:
        finding = REFUSALS[calibration.reason]
        return [
            f"The calibration of the scan was refused: {finding.meaning} {finding.action}".replace("`", "")
        ]
    found = [CALIBRATION_FLAGS[flag] for flag in calibration.flags if calibration.verdict == FLAGGED]
    return [f"{finding.meaning} {finding.action}".replace("`", "") for finding in found]
