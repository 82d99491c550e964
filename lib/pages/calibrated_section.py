"""The report's section on calibrated density: how scans were calibrated, densities by age, and their agreement."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from lib.catalog.bone_parts import PROJECTED
from lib.catalog.calibration import CALIBRATION_FLAGS, FLAGGED, METHODS, OK, PHANTOM, REFUSALS, REFUSED
from lib.catalog.groups import ALL, SEX_NAMES, group_position
from lib.catalog.measures import printed_unit, unit_form
from lib.catalog.protocols import PROTOCOLS
from lib.catalog.scales import CALIBRATED_SCALES
from lib.pages.report_tables import Column, PageTable, deviation, number, page_table, text, words
from lib.stats.calibration_tables import FEWEST_SCANS
from lib.stats.formats import (
    DASH,
    fixed,
    records,
    show_codes,
    show_interval,
    show_limits,
    show_number,
    why_empty,
)
from lib.stats.scan_counts import used_scans

_SLOPE_DIGITS, _HU_DIGITS, _R_DIGITS = 4, 1, 3
DENSITIES = ("vbmd", "abmd")  # measures whose agreement this section shows; agreement.csv has all
HIDDEN = ("other",)  # compartments
# compartments of the table by age, in the order of its parts; density_by_age.csv has all
_BY_AGE = {"integral": "Integral vBMD", "trabecular": "Trabecular vBMD", PROJECTED: "Areal BMD"}
_ONE_LINE = ["scanner", "kvp", "method", "phantom", "scale"]  # scans with these in common have one usual line
_LIMITS = ("slope_low", "slope_high", "intercept_low_hu", "intercept_high_hu")


def calibrated_section(tables: Mapping[str, pd.DataFrame]) -> dict:
    """Return the variables of the section; empty without `calibration.csv`.

    Returns:
        `verdicts` (scans by verdict), `without` (number of used scans that ask for no calibration), `methods` (in
        words), `voltages` (in words, if they differ), `views` (tables by subject).
    """
    if "calibration" not in tables:
        return {}
    rows = records(tables["calibration"])
    by_age = records(tables.get("density_by_age", pd.DataFrame()))
    return {
        "verdicts": {
            verdict: sum(row["verdict"] == verdict for row in rows) for verdict in (OK, FLAGGED, REFUSED)
        },
        "without": int((~used_scans(tables["flow"]).isin(tables["calibration"]["scan"])).sum()),
        "methods": {
            name: METHODS[name].replace("`", "") for name in dict.fromkeys(row["method"] for row in rows)
        },
        "voltages": voltages_in_words(rows),
        "views": {
            "scanners": _some(scanner_view, rows),
            "findings": _some(findings_view, [row for row in rows if row["reason"] or row["flags"]]),
            "by_age": _some(
                density_by_age_view,
                density_by_age_rows(by_age),
            ),
            "agreement": _some(agreement_view, density_rows(records(tables["agreement"]))),
        },
    }


def voltages_in_words(rows: Sequence[Mapping]) -> str:
    """Return how many images were made with each tube voltage; empty if all were made with one."""
    counts = Counter(_kilovolts(row) for row in rows if not row["same_image_as"])
    if len(counts.keys() - {DASH}) < 2:
        return ""
    stated = sorted(counts.keys() - {DASH}, key=float)
    told = [f"{kvp} kV in {counts[kvp]} scan{'s' * (counts[kvp] > 1)}" for kvp in stated]
    return ", ".join([*told, *([f"not stated in {counts[DASH]}"] if counts[DASH] else [])])


def density_rows(agreement: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of agreement.csv of densities of everybody, with `scale` and `kind` of each measure."""
    found = []
    for row in agreement:
        kind, _, scale = row["measure"].partition("_")
        shown = kind in DENSITIES and scale in CALIBRATED_SCALES and row["compartment"] not in HIDDEN
        if shown and row["stratum"] == ALL and row["group"] == ALL:
            found.append(row | {"scale": scale, "kind": kind})
    return found


def scanner_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of scanners: how many scans, and slope and intercept in the middle and at their limits.

    Each method, phantom, tube voltage and scale has a row of its own, because the line depends on all of them. Scans
    of one image, such as the two hips of a CT, count once.
    """
    used = [row for row in rows if row["slope_hu_per_mg_cm3"] is not None and not row["same_image_as"]]
    scanners = []
    for key, scans in pd.DataFrame(used).groupby(_ONE_LINE, sort=False, dropna=False) if used else ():
        slopes, intercepts = scans["slope_hu_per_mg_cm3"], scans["intercept_hu"]
        scanners.append(
            dict(zip(_ONE_LINE, key, strict=True))
            | {"scans": len(scans), "slope": float(slopes.median()), "intercept": float(intercepts.median())}
            | {name: scans.iloc[0][name] for name in _LIMITS}
        )
    columns = (
        words("Scanner", "scanner"),
        Column(head="Tube voltage", note="kV", show=_kilovolts),
        words("Calibration", lambda row: row["phantom"] if row["method"] == PHANTOM else row["method"]),
        words("Scale", lambda row: CALIBRATED_SCALES[row["scale"]]),
        Column(head="Scans", note="one for each image", show=text("scans")),
        _limited("Slope", "HU for each mg/cm³", ("slope", "slope_low", "slope_high"), _SLOPE_DIGITS),
        _limited("Intercept", "HU", ("intercept", "intercept_low_hu", "intercept_high_hu"), _HU_DIGITS),
    )
    return page_table("Calibration of each scanner: medians", columns, scanners, name="calibration")


def findings_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of refusals and flags with what to do, most frequent first."""
    counts: dict[str, list[str]] = {}
    for row in rows:
        for code in filter(None, [row["reason"], *(row["flags"] or "").split()]):
            counts.setdefault(code, []).append(row["scan"])
    known = {**REFUSALS, **CALIBRATION_FLAGS}
    ordered = sorted(counts.items(), key=lambda item: (item[0] not in REFUSALS, -len(item[1])))
    told = [{"code": code, "scans": scans} for code, scans in ordered]
    columns = (
        words("Finding", lambda row: show_codes(row["code"])),
        words("Consequence", lambda row: "no density" if row["code"] in REFUSALS else "used"),
        Column(
            head="Scans",
            show=lambda row: str(len(row["scans"])),
            small=lambda row: Markup('<span class="why">{}</span>').format(_some_names(row["scans"])),
        ),
        words("Meaning", lambda row: known[row["code"]].meaning.replace("`", "")),
        words("What to do", lambda row: known[row["code"]].action.replace("`", "")),
    )
    return page_table("Refused and flagged calibrations", columns, told, name="calibration")


def density_by_age_rows(by_age: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of density_by_age.csv of everybody in the first group, with `scale`, one compartment a part."""
    first = min((row["group"] for row in by_age), key=group_position, default=ALL)
    found = [
        row | {"scale": row["measure"].partition("_")[2]}
        for row in by_age
        if row["group"] == first and row["protocol"] == ALL and row["compartment"] in _BY_AGE
    ]
    networks = list(dict.fromkeys(row["network"] for row in found))
    scales, parts = list(CALIBRATED_SCALES), list(_BY_AGE)

    def place(row: Mapping) -> tuple[int, int, int]:
        return networks.index(row["network"]), scales.index(row["scale"]), parts.index(row["compartment"])

    return sorted(found, key=place)


def density_by_age_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of densities by region and sex: mean and SD, and the slope for a decade of age."""
    columns = (
        words("Region", lambda row: show_codes(row["region"])),
        words("Sex", lambda row: SEX_NAMES.get(row["sex"], "everybody")),
        Column(head="n", note="people", show=text("n")),
        Column(head="Age", note="years, without 90+", show=_ages),
        Column(head="Density", note="mean ± SD", show=_in_unit("mean"), small=_deviation_in_unit),
        Column(
            head="Slope", note="for 10 years", show=_in_unit("slope_per_decade"),
            small=_interval_in_unit("slope_per_decade"),
        ),
    )  # fmt: skip
    several = len({row["network"] for row in rows}) > 1

    def heading(row: Mapping) -> str:
        unit = f"{printed_unit(row['unit'])}, {CALIBRATED_SCALES[row['scale']]}"
        return f"{_BY_AGE[row['compartment']]}, {unit}" + (f": {row['network']}" if several else "")

    caption = "Density by region and sex, and with age"
    return page_table(caption, columns, rows, name="density_by_age", group=heading)


def agreement_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of predicted against reference masks: the same densities in both."""
    columns = (
        words("Region", lambda row: show_codes(row["region"])),
        words("Compartment", lambda row: "areal" if row["compartment"] == PROJECTED else row["compartment"]),
        words("Unit", lambda row: f"{printed_unit(row['unit'])}, {CALIBRATED_SCALES[row['scale']]}"),
        Column(head="n", note="people", show=text("n")),
        Column(head="Reference", note="mean", show=_in_unit("reference_mean")),
        Column(head="Bias", show=_in_unit("bias"), small=_interval_in_unit("bias")),
        Column(head="Limits of agreement", show=lambda row: show_limits(row, unit_form(row["unit"]))),
        Column(head="RMSE", show=_in_unit("rmse"), small=_interval_in_unit("rmse")),
        Column(head="CCC", show=number("ccc", _R_DIGITS)),
    )
    several = len({row["network"] for row in rows}) > 1

    def heading(row: Mapping) -> str:
        return PROTOCOLS[row["protocol"]].title + (f": {row['network']}" if several else "")

    ordered = sorted(rows, key=lambda row: list(PROTOCOLS).index(row["protocol"]))
    caption = "Density in the predicted and in the reference mask"
    return page_table(caption, columns, ordered, name="agreement", group=heading)


def _some(view, rows: Sequence[Mapping]) -> list[PageTable]:
    return [view(rows)] if rows else []


def _some_names(scans: Sequence[str], most: int = 6) -> str:
    more = f" and {len(scans) - most} more" if len(scans) > most else ""
    return ", ".join(scans[:most]) + more


def _kilovolts(row: Mapping) -> str:
    return DASH if pd.isna(row["kvp"]) or row["kvp"] == "" else f"{float(row['kvp']):g}"


def _limited(head: str, note: str, names: tuple[str, str, str], digits: int) -> Column:
    """Return a column of a median with its control limits as small print."""
    middle, low, high = names
    few = f"fewer than {FEWEST_SCANS} scans"

    def limits(row: Mapping) -> str:
        if pd.isna(row[low]):
            return f"no limits: {few if row['method'] == PHANTOM else 'no phantom in these scans'}"
        return f"limits {fixed(row[low], digits)} to {fixed(row[high], digits)}"

    return Column(head=head, note=note, show=lambda row: fixed(row[middle], digits), small=limits)


def _in_unit(name: str):
    """Return a function that shows a number of a row, or why it is not defined."""
    why = "not defined for this sample"
    return lambda row: show_number(row[name], unit_form(row["unit"]), why=why_empty(row, name, why))


def _deviation_in_unit(row: Mapping) -> str:
    return deviation(row["sd"], unit_form(row["unit"]), why=why_empty(row, "sd", "one person has no SD"))


def _ages(row: Mapping) -> str:
    if row["age_from"] is None:
        return show_number(None, 0, why=why_empty(row, "age_from", "not known"))
    return f"{row['age_from']:.0f} to {row['age_to']:.0f}"


def _interval_in_unit(name: str):
    return lambda row: "" if row[name] is None else show_interval(row, name, unit_form(row["unit"]))
