"""The report's section on bone mineral density: sentences and tables of densities, in the order of the page."""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import pandas as pd
from markupsafe import Markup

from lib.catalog.groups import ALL
from lib.catalog.level_flags import LEVEL_FLAGS
from lib.catalog.protocols import PROTOCOLS
from lib.pages.report_tables import Column, PageTable, number, p_value, page_table, words
from lib.pages.wording import joined
from lib.stats.density_plan import FEWEST_FOR_BOOTSTRAP, HU_LINEAR, METHOD_WORDS, NETWORK
from lib.stats.density_scale import scale_in_words, scale_of, without_scale
from lib.stats.formats import (
    DASH,
    fixed,
    records,
    show_codes,
    show_interval,
    show_limits,
    show_number,
)

DENSITY_DIGITS = 1
_R_DIGITS, _SLOPE_DIGITS, _SHARE_DIGITS, _DICE_DIGITS = 3, 3, 2, 3
NO_MEANS: Mapping[str, Sequence[str]] = MappingProxyType({})
VENDORS_TRAINED: Mapping[str, str] = {
    "yes": "trained the network",
    "no": "new to the network",
    "": "not known whether it trained",
}


def density_section(
    tables: Mapping[str, pd.DataFrame], means: Mapping[str, Sequence[str]] = NO_MEANS
) -> dict:
    """Return the variables of the section; empty without the tables of densities.

    Args:
        tables: tables by name; those of `lib.catalog.stages.DENSITY_TABLES` are read, with the scale in their names.
        means: structures of each mean (`classes.means`).

    Returns:
        `unit` (with the scale), `verdicts` (sentences on network and line by protocol), `views` (tables by subject),
        `many_vendors`.
    """
    if "bmd_agreement" not in tables:
        return {}
    unit = scale_in_words(scale_of(tables["bmd_agreement"]))
    rows = {
        name: [
            row | {"mean_name": joined(means.get(row.get("mean_of")) or [row.get("mean_of")])}
            for row in records(without_scale(tables[name]))
        ]
        for name in ("bmd_agreement", "vendors", "classes", "confusion", "levels_found")
    }
    agreement = first_group(rows["bmd_agreement"])
    levels = [row for row in first_group(rows["levels_found"]) if row["protocol"] != "test-single"]
    in_means = {name for structures in means.values() for name in structures}
    people = [row for row in agreement if row["kind"] == "person"]
    made = {
        "people": [people_view(people)] if people else [],
        "baselines": [baseline_view(people)] if people else [],
        "vertebrae": [vertebra_view(agreement)] if agreement else [],
        "vendors": [vendor_view(shown)] if (shown := _tested(first_group(rows["vendors"]))) else [],
        "classes": [class_view(shown)] if (shown := _of_network(first_group(rows["classes"]))) else [],
        "kappas": [kappa_view(shown)] if (shown := _together(first_group(rows["classes"]))) else [],
        "confusion": [confusion_view(shown)]
        if (shown := _of_network(first_group(rows["confusion"])))
        else [],
        "levels": [levels_view(levels, in_means)] if levels else [],
        "flags": [flags_view(shown)] if (shown := flag_counts(levels, in_means)) else [],
    }
    return {
        "unit": unit,
        "verdicts": verdicts(people),
        "views": made,
        "new_vendors": sorted({row["vendor"] for row in people if row["vendor_trained"] == "no"}),
        "trained_vendors": sorted({row["vendor"] for row in people if row["vendor_trained"] == "yes"}),
    }


def first_group(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of the first group, which is everybody where there are several."""
    groups = list(dict.fromkeys(row["group"] for row in rows))
    chosen = ALL if ALL in groups else (groups or [""])[0]
    return [row for row in rows if row["group"] == chosen]


def verdicts(people: Sequence[Mapping]) -> list[str]:
    """Return, for each network, protocol and vendor, the sentence that compares the network with the line on HU.

    They are of the first mean of people, without scans with contrast medium. Fewer than FEWEST_FOR_BOOTSTRAP people,
    who have no interval, have no sentence.
    """
    shown = _first_mean([row for row in people if row["contrast"] == "no"])
    lines = {_place(row): row for row in shown if row["method"] == HU_LINEAR}
    several = len({row["network"] for row in shown}) > 1
    return [
        _verdict(row, lines.get(_place(row)), several)
        for row in shown
        if row["method"] == NETWORK and row["n_people"] >= FEWEST_FOR_BOOTSTRAP
    ]


def people_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of person means read by the network: by protocol, mean and vendor."""
    shown = [row for row in rows if row["method"] == NETWORK]
    columns = (
        VENDOR,
        MEAN,
        _count(),
        Column(
            head="Reference",
            note="mean ± SD",
            show=number("reference_mean", DENSITY_DIGITS),
            small=lambda row: _plus_minus(row["reference_sd"]),
        ),
        *_agreement_columns(),
    )
    group = _protocol_heading(shown)
    return page_table("Mean density of people", columns, shown, name="bmd_agreement", group=group)


def baseline_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of all methods beside each other, of the first mean, without contrast medium.

    A method without a value for a vendor has no row of that vendor; why it has none stands in the row of all vendors.
    """
    shown = [
        row
        for row in _first_mean([row for row in rows if row["contrast"] == "no"])
        if row["n_people"] or row["vendor"] == ALL or row["method"] == NETWORK
    ]
    columns = (
        VENDOR,
        words("Method", lambda row: METHOD_WORDS[row["method"]]),
        _count(),
        _estimated("r", "pearson_r", _R_DIGITS),
        _estimated("Bias", "bias", DENSITY_DIGITS),
        _estimated("RMSE", "rmse", DENSITY_DIGITS),
        _estimated("Slope", "slope", _SLOPE_DIGITS),
        Column(
            head="RMSE − line’s",
            note="negative: better than the line",
            show=lambda row: DASH if row["method"] == HU_LINEAR else _signed(row, "rmse_difference"),
            small=lambda row: (
                "" if row["method"] == HU_LINEAR else show_interval(row, "rmse_difference", DENSITY_DIGITS)
            ),
        ),
    )
    caption = "The network beside other methods"
    ordered = sorted(shown, key=lambda row: list(dict.fromkeys(map(_place, shown))).index(_place(row)))
    return page_table(caption, columns, ordered, name="bmd_agreement", group=_protocol_heading(shown))


def vertebra_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of single structures read by the network, with components and correlation within people."""
    shown = [row for row in rows if row["kind"] == "vertebra" and row["method"] == NETWORK]
    columns = (
        VENDOR,
        words(
            "Structure", lambda row: "all, each as a pair" if row["structure"] == ALL else row["structure"]
        ),
        _count(),
        Column(head="Structures", show=lambda row: str(row["n_vertebrae"])),
        *_agreement_columns(),
        _estimated("r within people", "within_person_r", _R_DIGITS),
        Column(
            head="SD",
            note="between, within people",
            show=lambda row: Markup("{}, {}").format(
                *(number(name, DENSITY_DIGITS)(row) for name in ("sd_between_people", "sd_within_people"))
            ),
        ),
    )
    return page_table(
        "Single structures, read by the network", columns, shown, name="bmd_agreement",
        group=_protocol_heading(shown),
    )  # fmt: skip


def vendor_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of differences between vendors: all together, then pairs."""
    names = {"bias": "bias", "slope": "slope", "dsc": "Dice"}
    digits = {"bias": DENSITY_DIGITS, "slope": _SLOPE_DIGITS, "dsc": _DICE_DIGITS}
    columns = (
        words("Measure", lambda row: names[row["measure"]]),
        words("Method", lambda row: METHOD_WORDS.get(row["method"], "masks")),
        words(
            "Vendors",
            lambda row: (
                "all together" if row["vendor_a"] == ALL else f"{row['vendor_a']} − {row['vendor_b']}"
            ),
        ),
        Column(
            head="n",
            show=lambda row: str(row["n_a"]) if row["vendor_a"] == ALL else f"{row['n_a']}, {row['n_b']}",
        ),
        Column(
            head="Difference",
            show=lambda row: (
                DASH if row["vendor_a"] == ALL else number("difference", digits[row["measure"]])(row)
            ),
            small=lambda row: (
                "" if row["vendor_a"] == ALL else show_interval(row, "difference", digits[row["measure"]])
            ),
        ),
        words("Test", "test"),
        Column(head="p", show=p_value("p_value")),
        Column(
            head="Holm p", show=lambda row: DASH if row["vendor_a"] == ALL else p_value("holm_p_value")(row)
        ),
    )
    return page_table(
        "Differences between vendors", columns, rows, name="vendors", group=_protocol_heading(rows)
    )


def kappa_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of agreement on classes: kappa, disagreements near a cut-off, withheld classes."""
    columns = (
        VENDOR,
        MEAN,
        words("Method", lambda row: METHOD_WORDS[row["method"]]),
        Column(head="n", show=lambda row: str(row["n"])),
        _estimated("Kappa, quadratic weights", "weighted_kappa_quadratic", _SHARE_DIGITS),
        _estimated("Kappa, linear weights", "weighted_kappa_linear", _SHARE_DIGITS),
        Column(
            head="Disagree",
            note="of them near a cut-off",
            show=lambda row: f"{row['disagree']:.0f}",
            small=lambda row: f"{row['disagree_near_cut_off']:.0f} near",
        ),
        Column(head="Near a cut-off", note="people", show=lambda row: f"{row['near_cut_off']:.0f}"),
        Column(
            head="Withheld",
            show=lambda row: f"{row['withheld']:.0f}",
            small=lambda row: (row["withheld_reason"] or "").replace("_", " "),
        ),
    )
    return page_table("Classes of people", columns, rows, name="classes", group=_protocol_heading(rows))


def class_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of single classes, by the network: shares with Wilson's intervals, area under the curve."""
    shown = [row for row in rows if row["class"] != ALL and row["vendor"] != ALL]
    columns = (
        VENDOR,
        MEAN,
        words("Class", lambda row: "low density" if row["class"] == "low" else row["class"]),
        Column(head="n", note="of people", show=lambda row: f"{row['n_class']} of {row['n']}"),
        _estimated("Sensitivity", "sensitivity", _SHARE_DIGITS),
        _estimated("Specificity", "specificity", _SHARE_DIGITS),
        _estimated("PPV", "ppv", _SHARE_DIGITS),
        _estimated("NPV", "npv", _SHARE_DIGITS),
        _estimated("AUC", "auc", _SHARE_DIGITS),
    )
    return page_table(
        "Each class, by the network", columns, shown, name="classes", group=_protocol_heading(shown)
    )


def confusion_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the confusion of classes by the network: a row for each vendor and class of the reference."""
    predicted = list(dict.fromkeys(row["predicted_class"] for row in rows))
    keys = (
        "group",
        "network",
        "protocol",
        "vendor",
        "vendor_trained",
        "mean_of",
        "mean_name",
        "reference_class",
    )
    by_class: dict[tuple, dict] = {}
    for row in rows:
        if row["vendor"] != ALL:
            key = tuple(row.get(name) for name in keys)
            by_class.setdefault(key, dict(zip(keys, key, strict=True)))[row["predicted_class"]] = row["n"]
    columns = (
        VENDOR,
        MEAN,
        words("By the reference", "reference_class"),
        *(Column(head=f"predicted {name}", show=_cell(name)) for name in predicted),
    )
    shown = list(by_class.values())
    return page_table(
        "Class by the reference and by the network",
        columns,
        shown,
        name="confusion",
        group=_protocol_heading(shown),
    )


def levels_view(rows: Sequence[Mapping], in_means: Collection[str] = ()) -> PageTable:
    """Return the table of structures found, by network, protocol and structure.

    `in_means` are the structures that a mean names; without any, all may count.
    """
    keys = ("group", "network", "protocol", "structure")
    counted: dict[tuple, list[Mapping]] = {}
    for row in rows:
        counted.setdefault(tuple(row[name] for name in keys), []).append(row)
    shown = [
        dict(zip(keys, key, strict=True))
        | {"n": len(own), "dsc": _mean(row["dsc"] for row in own)}
        | {name: sum(row[name] == "yes" for row in own) for name in ("found", "usable")}
        | {"flagged": sum(bool(row["flags"] or row["scan_flags"]) for row in own)}
        for key, own in counted.items()
    ]
    columns = (
        words("Structure", "structure"),
        Column(head="Scans", show=lambda row: str(row["n"])),
        Column(head="Found", show=lambda row: str(row["found"])),
        Column(
            head="Usable",
            note="counts in means",
            show=lambda row: (
                str(row["usable"])
                if not in_means or row["structure"] in in_means
                else show_number(None, why="no mean names this structure")
            ),
        ),
        Column(head="With a level flag", note="itself or its scan", show=lambda row: str(row["flagged"])),
        Column(
            head="Dice",
            note="mean",
            show=lambda row: show_number(row["dsc"], _DICE_DIGITS, why="no reference mask"),
        ),
    )
    return page_table("Structures found", columns, shown, name="levels_found", group=_protocol_heading(shown))


def flag_counts(rows: Sequence[Mapping], in_means: Collection[str] = ()) -> list[dict]:
    """Return each flag with the numbers of structures and scans that have it, and of classes withheld with it.

    `unusable` counts structures that a mean names (`in_means`; without any, all) and that are left out of it.
    """
    counts: dict[str, dict] = {}
    for row in rows:
        for name in (row["flags"] or "").split() + (row["scan_flags"] or "").split():
            told = counts.setdefault(
                name,
                {"flag": name, "structures": set(), "scans": set(), "unusable": set(), "withheld": set()},
            )
            scan = row["scan"]
            told["structures"].add((scan, row["structure"]))
            told["scans"].add(scan)
            if row["usable"] == "no" and (not in_means or row["structure"] in in_means):
                told["unusable"].add((scan, row["structure"]))
            if row["class_withheld"]:
                told["withheld"].add(scan)
    return [
        {name: value if name == "flag" else len(value) for name, value in counts[flag].items()}
        for flag in sorted(counts)
    ]


def flags_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the table of `flag_counts`."""
    columns = (
        words("Flag", lambda row: show_codes(row["flag"])),
        words("When", lambda row: LEVEL_FLAGS[row["flag"]].meaning if row["flag"] in LEVEL_FLAGS else DASH),
        Column(head="Scans", show=lambda row: str(row["scans"])),
        Column(head="Structures", show=lambda row: str(row["structures"])),
        Column(head="Left out of means", note="structures", show=lambda row: str(row["unusable"])),
        Column(head="Class withheld", note="scans", show=lambda row: str(row["withheld"])),
    )
    return page_table("Flags of structures and scans", columns, rows, name="levels_found")


MEAN = words("Mean of", lambda row: row.get("mean_name") or row["mean_of"])


def vendor_remark(row: Mapping) -> str:
    """Return whether a row's vendor trained, and whether its scans have contrast medium, as small print."""
    told = "" if row["vendor"] == ALL else VENDORS_TRAINED[row["vendor_trained"] or ""]
    return ", ".join(filter(None, (told, "with contrast medium" if row.get("contrast") == "yes" else "")))


VENDOR = Column(
    head="Vendor",
    show=lambda row: "all vendors" if row["vendor"] == ALL else row["vendor"] or "not stated",
    small=vendor_remark,
    numeric=False,
)


def _agreement_columns() -> tuple[Column, ...]:
    return (
        _estimated("r", "pearson_r", _R_DIGITS),
        _estimated("Bias", "bias", DENSITY_DIGITS),
        Column(
            head="95 % limits",
            show=lambda row: show_limits(row, DENSITY_DIGITS),
        ),
        _estimated("RMSE", "rmse", DENSITY_DIGITS),
        _estimated("Slope", "slope", _SLOPE_DIGITS),
        _estimated("CCC", "ccc", _R_DIGITS),
    )


def _estimated(head: str, name: str, digits: int) -> Column:
    """Return a column of a number with its interval as small print."""
    return Column(
        head=head,
        show=number(name, digits),
        small=lambda row: "" if row[name] is None else show_interval(row, name, digits),
    )


def _count() -> Column:
    """Return the column of the number of people, with the rows that do not count and why."""

    def lost(row: Mapping) -> Markup | str:
        if not row["left_out"]:
            return ""
        told = Markup('<span class="why">{} left out: {}</span>')
        return told.format(row["left_out"], row["left_out_reason"])

    return Column(head="n", note="people", show=lambda row: str(row["n_people"]), small=lost)


def _protocol_heading(rows: Sequence[Mapping]) -> Callable[[Mapping], str]:
    """Return a function from a row to its heading: protocol, who that is, and the network if there are several."""
    several = len({row["network"] for row in rows}) > 1

    def heading(row: Mapping) -> str:
        protocol = PROTOCOLS[row["protocol"]]
        who = protocol.on_figures[:1].upper() + protocol.on_figures[1:]
        return who + (f" · {row['network']}" if several else "")

    return heading


def _verdict(row: Mapping, line: Mapping | None, several: bool) -> str:
    """Return the sentence on one vendor: which of network and line has the smaller error, and by how much."""
    vendor = "all vendors together" if row["vendor"] == ALL else row["vendor"] or "vendor not stated"
    trained = VENDORS_TRAINED[row["vendor_trained"] or ""]
    who = vendor if row["vendor"] == ALL else f"{vendor} ({trained})"
    network = f", {row['network']}" if several else ""
    start = f"{PROTOCOLS[row['protocol']].title}{network}, {who}, n = {row['n_people']}: "
    if line is None or row["rmse_difference"] is None:
        return f"{start}the line on HU has no value here, so that the network cannot be compared with it."
    errors = f"RMSE {row['rmse']:.1f} mg/cm³ by the network, {line['rmse']:.1f} by the line on HU"
    difference = row["rmse_difference"]
    better = "the network" if difference < 0 else "the line"
    ends = [row[f"rmse_difference_ci_{end}"] for end in ("low", "high")]
    if any(end is None for end in ends):
        return (
            f"{start}{errors}; {better} is better by {abs(difference):.1f}, too few people for an interval."
        )
    interval = " to ".join(fixed(end, DENSITY_DIGITS) for end in ends)
    told = f"difference {fixed(difference, DENSITY_DIGITS)} (interval {interval})"
    if ends[0] <= 0 <= ends[1]:
        return f"{start}{errors}; {told}: neither is shown to be better."
    return f"{start}{errors}; {told}: {better} is better by {abs(difference):.1f} mg/cm³."


def _place(row: Mapping) -> tuple:
    """Return what the methods of a comparison share."""
    return tuple(row[name] for name in ("network", "protocol", "vendor", "contrast", "mean_of"))


def _first_mean(rows: Sequence[Mapping]) -> list[Mapping]:
    means = list(dict.fromkeys(row["mean_of"] for row in rows))
    return [row for row in rows if row["mean_of"] == means[0]] if means else []


def _of_network(rows: Sequence[Mapping]) -> list[Mapping]:
    return [row for row in rows if row["method"] == NETWORK]


def _together(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of all classes together, by the network and the line on HU."""
    return [row for row in rows if row["class"] == ALL and row["method"] in (NETWORK, HU_LINEAR)]


def _tested(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of differences between vendors of the first mean, by network, line and masks."""
    return [row for row in _first_mean(rows) if row["method"] in (NETWORK, HU_LINEAR, "")]


def _signed(row: Mapping, name: str) -> Markup | str:
    value = row[name]
    return number(name, DENSITY_DIGITS)(row) if value is None else fixed(value, DENSITY_DIGITS, sign="+")


def _plus_minus(value: float | None) -> Markup | str:
    return "" if value is None else f"± {value:.{DENSITY_DIGITS}f}"


def _cell(name: str) -> Callable[[Mapping], str]:
    return lambda row: str(row[name])


def _mean(values: object) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
