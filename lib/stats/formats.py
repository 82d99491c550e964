"""Formats of numbers and missing values in the report."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal

import pandas as pd
from markupsafe import Markup

from lib.catalog.measures import Form

DASH = "–"
MM3_PER_CM3 = 1000.0
# a distance, or the tolerance of NSD, that is no longer than a voxel (`lib.stats.grid_limits.bound_to_grid`)
WITHIN_VOXEL = "within a voxel"
WITHIN_VOXEL_MEANING = (
    "the distance, or the tolerance of NSD, is no longer than a voxel’s longest side, so the grid decides the value: "
    "it tells no finer difference between models and changes with the grid."
)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# text of the column `undefined` (lib.stats.tables): "name, name: reason; name: reason"
UNDEFINED = re.compile(r"(\w+(?:, \w+)*): (.+?)(?=; \w+(?:, \w+)*: |$)")


def fixed(value: float, digits: int | Form, *, sign: str = "") -> str:
    """Format a number with thousands separators and a true minus; a number that rounds to 0 has no sign.

    Args:
        value: the number.
        digits: decimal places; a Form also has the factor to the printed unit.
        sign: `+` to give positive numbers a sign, too.
    """
    form = digits if isinstance(digits, Form) else Form(digits)
    text = f"{value * form.factor:{sign},.{form.digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if re.search("[1-9]", text) else text.lstrip("+-")


def volume_in_cm3(volume_mm3: float) -> str:
    """Format a volume in cm³ with one decimal, below 1 cm³ with two; without the unit."""
    value = volume_mm3 / MM3_PER_CM3
    return fixed(value, 1 if abs(value) >= 1 else 2)


def show_setting(value: object) -> str:
    """Format a setting: 0.00001 instead of 1e-05, below a millionth 2 × 10⁻⁸; other types are unchanged."""
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    digits = Decimal(f"{value:.10g}")
    if digits and abs(digits) < Decimal("1e-6"):
        mantissa, exponent = f"{value:.9e}".split("e")
        factor = f"{float(mantissa):g} × 10".replace("-", "\N{MINUS SIGN}")
        return factor + str(int(exponent)).translate(_SUPERSCRIPTS)
    return f"{digits.normalize():f}".replace("-", "\N{MINUS SIGN}")


def show_number(
    value: object, digits: int | Form = 2, *, why: str = "not defined for this sample"
) -> Markup | str:
    """Format a number with thousands separators and a true minus; an undefined one as an en dash with the reason."""
    if value is None or pd.isna(value):
        return Markup('<span class="none" title="{0}">{1}<span class="unseen"> ({0})</span></span>').format(
            why, DASH
        )
    return fixed(float(value), digits)


def show_interval(row: Mapping, name: str, digits: int | Form = 2, scale: float = 1.0) -> Markup | str:
    """Format `name`_ci_low to `name`_ci_high of a row and, if there is one, below it the interval with folds.

    If there is no interval, return an en dash with the reason.
    """
    ends = _show_ends(row, f"{name}_ci", digits, scale)
    if not ends:
        return show_number(None, why=f"no interval: {why_empty(row, f'{name}_ci', 'too few people')}")
    with_folds = _show_ends(row, f"{name}_fold_ci", digits, scale)
    return Markup("{}<br>with folds {}").format(ends, with_folds) if with_folds else ends


def show_limits(row: Mapping, digits: int | Form) -> Markup | str:
    """Format both limits of agreement of a row; an en dash with the reason if one is not defined."""
    ends = [row["loa_low"], row["loa_high"]]
    if any(end is None or pd.isna(end) for end in ends):
        return show_number(None, why=why_empty(row, "loa_low", "too few people"))
    return " to ".join(fixed(end, digits) for end in ends)


def scans_told(score: Mapping) -> list[Markup | str]:
    """Return the numbers of scans of a score without a value and with a value determined by the grid, as texts."""
    lines: list[Markup | str] = []
    total = score["scans"] + score["scans_without"]
    if score["scans_without"]:
        without = Markup('<span class="why">{} of {} without: {}</span>')
        lines.append(without.format(score["scans_without"], total, score["without_reason"]))
    if score["scans_within_voxel"]:
        lines.append(f"{score['scans_within_voxel']:.0f} of {score['scans']} {WITHIN_VOXEL}")
    return lines


def gaps_told(row: Mapping) -> Markup | str:
    """Return the number of scans of a row that should have been scored but were not, with reasons; empty if none."""
    count = row.get("not_scored")
    if not count:
        return ""
    told = Markup('<span class="why">{} {} not scored: {}</span>')
    return told.format(count, "scan" if count == 1 else "scans", row["not_scored_reason"])


def show_percent(share: float) -> str:
    """Format a share as percent without rounding: 0.975 is 97.5."""
    return f"{100 * share:.6g}"


def show_p_value(value: object, *, why: str = "too few people") -> Markup | str:
    """Format a p-value in the usual style of papers."""
    if value is None or pd.isna(value):
        return show_number(None, why=f"no test: {why}")
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def show_range(values: list[float], digits: int) -> str:
    """Format the range of some numbers; a single number if both ends read the same."""
    low, high = (fixed(end(values), digits).replace(",", "") for end in (min, max))
    return low if low == high else f"{low} to {high}"


def show_text(value: object) -> str:
    """Format a value from a header or a log."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return show_setting(value)
    return "not stated" if value in (None, "", "unknown") else str(value)


def show_codes(codes: str) -> str:
    """Format codes such as `bone_at_border padded` as words."""
    return ", ".join(code.replace("_", " ") for code in codes.split())


def records(table: pd.DataFrame) -> list[dict]:
    """Return the rows of a table as dictionaries with None for missing values."""
    return [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in table.astype(object).where(table.notna(), None).to_dict("records")
    ]


def why_empty(row: Mapping, name: str, otherwise: str) -> str:
    """Return the reason why a number of a row is empty, from its `undefined` (text, or reasons by name)."""
    told = row.get("undefined") or ""
    return (told if isinstance(told, Mapping) else undefined_reasons(told)).get(name, otherwise)


def _show_ends(row: Mapping, name: str, digits: int | Form, scale: float) -> str:
    ends = [row.get(f"{name}_{end}") for end in ("low", "high")]
    if any(end is None or pd.isna(end) for end in ends):
        return ""
    # an R2 below 0: predicting the mean would be better; how far below adds no information
    return " to ".join(
        "below 0" if name.startswith("r2_") and end < 0 else str(show_number(end * scale, digits))
        for end in ends
    )


def undefined_reasons(text: str) -> dict[str, str]:
    """Return the reasons for undefined values by name, from the text of `undefined`."""
    return {name: reason for names, reason in UNDEFINED.findall(text) for name in names.split(", ")}
