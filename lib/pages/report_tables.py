"""The tables of the report: which columns each shows, how its numbers read, what its small print says.

A table of the page is a caption, columns and rows of cells. The files beside the page hold every column.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from lib.catalog.groups import ALL, GROUP_NAMES, STRATUM_NAMES
from lib.catalog.protocols import PROTOCOLS
from lib.pages.wording import SEX_NAMES, WEIGHTS
from lib.stats.formats import (
    DASH,
    gaps_told,
    scans_told,
    show_codes,
    show_interval,
    show_number,
    show_p_value,
    why_empty,
)
from lib.stats.precision import ENOUGH_FREEDOM
from lib.stats.scores import scores_by_group
from lib.stats.tables import PAPER_TABLE1, TABLE1_NUMBERS

Show = Callable[[Mapping], Markup | str]
# measures of precision.csv and spread.csv: words, unit and digits
MEASURES = {
    "predicted_mm3": ("Predicted volume", "mm³", 0),
    "predicted_cut_mm3": ("Predicted volume above the cut", "mm³", 0),
    "reference_mm3": ("Reference volume", "mm³", 0),
    "reference_cut_mm3": ("Reference volume above the cut", "mm³", 0),
    "hu_mean": ("Mean intensity in the mask", "HU", 1),
    "dsc": ("DSC", "", 4),
    "re_percent": ("Relative error of volume", "%", 2),
    "absolute_re_percent": ("Relative error without its sign", "%", 2),
}
# `limits_to_use` of agreement.csv, in the table of limits in mm3 and in that of limits in percent
LIMITS_ADVICE = {
    "percent": "spread changes with size: use the limits in %",
    "neither": "spread changes with size",
}
PERCENT_ADVICE = {"percent": "use these limits", "neither": "no one limit fits all sizes: see the figure"}
SUBGROUP_KINDS = {"sex": "Sex:", "site": "Site:", "scanner": "Scanner:"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table of the page.

    Attributes:
        head: what stands at its top.
        show: the text of a cell, from a row of the table.
        small: small print under it.
        note: small print under the head.
        numeric: numbers stand at the right.
    """

    head: str
    show: Show
    small: Show | None = None
    note: str = ""
    numeric: bool = True


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table of the page.

    Attributes:
        caption: what it is, in a few words.
        columns: its columns.
        lines: its rows: a text is a heading across all columns, else a cell (text, small print) for each column.
        name: the table file that holds all of it, by the names of `lib.pages.report.TABLES`; empty: none.
    """

    caption: str
    columns: Sequence[Column]
    lines: Sequence[str | Sequence[tuple[Markup | str, Markup | str]]] = field(default_factory=tuple)
    name: str = ""


def page_table(
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Mapping],
    *,
    name: str = "",
    group: Callable[[Mapping], str] | None = None,
) -> PageTable:
    """Return the table of the page for some rows; a heading stands before rows whose `group` differs."""
    lines: list = []
    heading = ""
    for row in rows:
        if group and group(row) != heading:
            heading = group(row)
            lines.append(heading)
        lines.append([(column.show(row), column.small(row) if column.small else "") for column in columns])
    return PageTable(caption=caption, columns=columns, lines=lines, name=name)


def number(name: str, digits: int, **words: str) -> Show:
    """Return what shows a number of a row (`why`: the words for one that is not defined)."""
    why = words.get("why", "not defined for this sample")
    return lambda row: show_number(row[name], digits, why=why_empty(row, name, why))


def p_value(name: str) -> Show:
    """Return what shows a p-value of a row."""
    return lambda row: show_p_value(row[name], why=why_empty(row, name, "too few people"))


def text(name: str) -> Show:
    """Return what shows a text of a row."""
    return lambda row: DASH if row[name] in (None, "") else str(row[name])


def estimate(head: str, name: str, digits: int) -> Column:
    """Return a column of a number with its interval as small print."""
    return Column(head=head, show=number(name, digits), small=lambda row: show_interval(row, name, digits))


def plain(head: str, name: str, digits: int, note: str = "") -> Column:
    """Return a column of a number."""
    return Column(head=head, show=number(name, digits), note=note)


def distance(head: str, name: str, digits: int, note: str = "") -> Column:
    """Return a column of a distance between surfaces, with its interval and how many scans have none."""

    def small(row: Mapping) -> Markup:
        lacking = row["scans"] - row["hd95_mm_scans"]
        lines = [] if row.get(f"{name}_ci_low") is None else [show_interval(row, name, digits)]
        return Markup("<br>").join([*lines, *([f"{lacking} of {row['scans']} without"] if lacking else [])])

    return Column(head=head, show=number(name, digits), small=small, note=note)


def deviation(value: float | None, digits: int, *, why: str = "one scan has no SD") -> Markup | str:
    """Return an SD as small print, or a dash that says why there is none."""
    shown = show_number(value, digits, why=why)
    return shown if isinstance(shown, Markup) else f"± {shown}"


def words(head: str, show: Show | str) -> Column:
    """Return a column of text: a function of the row, or the name of its text."""
    return Column(head=head, show=text(show) if isinstance(show, str) else show, numeric=False)


COUNT = Column(
    head="n",
    show=lambda row: str(row["n"]),
    small=lambda row: Markup("<br>").join(filter(None, (scans_of(row), gaps_told(row)))),
)
MEAN_DICE = Column(
    head="DSC",
    show=number("dsc_mean", 4),
    small=lambda row: spread_with_interval(deviation(row["dsc_sd"], 4), row, "dsc_mean", 4),
)
PEOPLE = words("People", lambda row: people_name(row))


def scans_of(row: Mapping) -> str:
    """Return the number of scans of a row where people have several, else nothing."""
    return f"{row['scans']} scans" if row["scans"] != row["n"] else ""


def people_name(row: Mapping) -> str:
    """Return who the people of a row are: those of its stratum, else those of its group."""
    if row["stratum"] != ALL:
        return STRATUM_NAMES[row["stratum"]]
    return GROUP_NAMES.get(row["group"], row["group"])


def models_name(row: Mapping, *, several: bool) -> str:
    """Return the group of models, and the network where a study has several."""
    return row["group"] + (f" · {row['network']}" if several else "")


def protocol_group(rows: Sequence[Mapping]) -> Callable[[Mapping], str]:
    """Return the heading of a row: protocol and models."""
    several = len({row["network"] for row in rows}) > 1
    return lambda row: f"{PROTOCOLS[row['protocol']].title} · {models_name(row, several=several)}"


def shown_agreement(rows: Iterable[Mapping]) -> list[Mapping]:
    """Return everybody's row and, of the group of all, those of men and of women."""
    return [row for row in rows if ALL in (row["stratum"], row["group"])]


def score_tables(rows: Sequence[Mapping]) -> list[PageTable]:
    """Return overlap, then surface distances: means with SD and, with enough people, the interval of the mean."""
    rows = shown_agreement(scores_by_group(rows))

    def mean_of(head: str, name: str, digits: int) -> Column:
        return Column(
            head=head,
            show=lambda row: show_number(row[name]["mean"], digits),
            small=lambda row: spread_of(row[name], digits),
        )

    def worst_of(head: str, name: str, digits: int) -> Column:
        return Column(head=head, show=lambda row: show_number(row[name]["worst"], digits))

    def count_of(name: str) -> Column:
        return Column(head="n", show=lambda row: str(row[name]["n"]), small=lambda row: scans_of(row[name]))

    overlap = (
        *(PEOPLE, count_of("dsc"), mean_of("DSC", "dsc", 4), worst_of("lowest DSC", "dsc", 4)),
        *(mean_of("DSC, native grid", "dsc_native", 4), mean_of("SN", "sensitivity", 4)),
        *(mean_of("SP", "specificity", 4), mean_of("Precision", "precision", 4)),
    )
    distances = (
        *(PEOPLE, count_of("hd95_mm"), mean_of("HD, mm", "hd_mm", 2), worst_of("largest HD, mm", "hd_mm", 2)),
        *(mean_of("HD95, mm", "hd95_mm", 2), mean_of("ASSD, mm", "assd_mm", 2), mean_of("NSD", "nsd", 3)),
    )
    group = protocol_group(rows)
    return [
        page_table("Overlap", overlap, rows, name="scores", group=group),
        page_table("Surface distances", distances, rows, name="scores", group=group),
    ]


def spread_of(score: Mapping, digits: int) -> Markup:
    """Return SD and interval of a mean as small print, the interval where there is one; then what its scans tell."""
    spread = spread_with_interval(deviation(score["sd"], digits), score, "mean", digits)
    return Markup("<br>").join([spread, *scans_told(score)])


def spread_with_interval(spread: Markup | str, row: Mapping, name: str, digits: int) -> Markup:
    """Return small print with the interval of `name` below it, where there is one."""
    if row.get(f"{name}_ci_low") is None:
        return Markup("{}").format(spread)
    return Markup("{}<br>{}").format(spread, show_interval(row, name, digits))


def agreement_tables(rows: Sequence[Mapping]) -> list[PageTable]:
    """Return errors and concordance, then bias and limits, each within sex beside pooled."""
    rows = shown_agreement(rows)
    group = protocol_group(rows)
    volume = Column(
        head="Reference, mm³",
        note="mean ± SD",
        show=number("reference_mean_mm3", 0),
        small=lambda row: deviation(row["reference_sd_mm3"], 0, why="one person has no SD"),
    )
    relative = Column(
        head="RE, %",
        note="min to max",
        show=lambda row: Markup("{} to {}").format(
            show_number(row["re_min_percent"], 2), show_number(row["re_max_percent"], 2)
        ),
    )
    errors = (
        *(PEOPLE, COUNT, volume, estimate("CCC", "ccc", 4), estimate("R²", "r2", 4)),
        *(estimate("MAE, mm³", "mae_mm3", 0), estimate("RMSE, mm³", "rmse_mm3", 0)),
        *(relative, estimate("ICC", "icc", 4)),
    )
    pearson = Column(
        head="Pearson r",
        note="p",
        show=number("pearson_r", 4),
        small=p_value("pearson_p_value"),
    )
    percent = (
        *(PEOPLE, COUNT, estimate("Mean RE, %", "re_mean_percent", 2), plain("SD, %", "re_sd_percent", 2)),
        *(
            estimate("Lower limit, %", "loa_low_percent", 2),
            estimate("Upper limit, %", "loa_high_percent", 2),
        ),
        estimate("MAPE, %", "mape_percent", 2),
        Column(
            head="Spread changes",
            note="p",
            show=p_value("growing_spread_p_value"),
            small=lambda row: PERCENT_ADVICE.get(row["limits_to_use"], ""),
        ),
    )
    limits = (
        *(PEOPLE, COUNT, estimate("Bias, mm³", "bias_mm3", 0)),
        Column(
            head="SD, mm³",
            show=number("difference_sd_mm3", 0),
            small=lambda row: Markup('<span class="why">{}</span>').format(
                LIMITS_ADVICE.get(row["limits_to_use"], "")
            ),
        ),
        *(estimate("Lower limit, mm³", "loa_low_mm3", 0), estimate("Upper limit, mm³", "loa_high_mm3", 0)),
        *(estimate("Trend", "proportional_bias", 3), estimate("Slope", "slope", 3)),
        *(estimate("Intercept, mm³", "intercept_mm3", 0), pearson),
    )
    return [
        page_table("Errors and concordance of volumes", errors, rows, name="agreement", group=group),
        page_table("Bias and 95 % limits of agreement", limits, rows, name="agreement", group=group),
        page_table("Agreement in percent of the reference", percent, rows, name="agreement", group=group),
    ]


def cut_table(whole: Iterable[Mapping], cut: Sequence[Mapping]) -> PageTable:
    """Return agreement of the whole mask beside that of the part above the fixed distal cut."""
    keys = ("group", "network", "protocol", "stratum")
    by_key = {tuple(row[key] for key in keys): row for row in whole}
    rows = [
        row | {"whole": by_key.get(tuple(row[key] for key in keys), {}), "cut": row}
        for row in shown_agreement(cut)
    ]

    def part(which: str, head: str, name: str, digits: int) -> Column:
        return Column(
            head=head,
            note=which,
            show=lambda row: show_number(row[which].get(name), digits),
            small=lambda row: show_interval(row[which], name, digits),
        )

    chosen = (("MAE, mm³", "mae_mm3", 0), ("Bias, mm³", "bias_mm3", 0), ("R²", "r2", 4), ("CCC", "ccc", 4))
    whole_count = Column(head="n", note="whole", show=lambda row: str(row["whole"].get("n", DASH)))
    cut_count = Column(head="n", note="cut", show=lambda row: str(row["n"]))
    columns = (
        PEOPLE,
        whole_count,
        cut_count,
        *(part(which, *one) for one in chosen for which in ("whole", "cut")),
    )
    caption = "Whole mask, and the part above the fixed distal cut"
    return page_table(caption, columns, rows, name="agreement_cut", group=protocol_group(rows))


def fold_view(rows: Sequence[Mapping]) -> PageTable:
    """Return each fold's model on the people it never saw."""
    several = len({row["network"] for row in rows}) > 1
    columns = (
        *(words("Fold", "fold"), Column(head="n", show=lambda row: str(row["n"]))),
        *(estimate("DSC", "dsc_mean", 4), estimate("MAE, mm³", "mae_mm3", 0)),
        *(estimate("RMSE, mm³", "rmse_mm3", 0), estimate("R²", "r2", 4)),
        *(
            estimate("Bias, mm³", "bias_mm3", 0),
            plain("RE min, %", "re_min_percent", 2),
            plain("RE max, %", "re_max_percent", 2),
        ),
    )
    caption = "Fold by fold: each model on the people it never saw"
    return page_table(
        caption, columns, rows, name="folds", group=lambda row: models_name(row, several=several)
    )


def measured(name: str) -> Show:
    """Return what shows a number with the digits of the row's measure."""
    return lambda row: show_number(
        row[name], MEASURES[row["measure"]][2], why=why_empty(row, name, "not defined for this sample")
    )


def spread_view(rows: Sequence[Mapping]) -> PageTable:
    """Return how far folds differ, beside what people alone would make of equally good folds."""
    several = len({row["network"] for row in rows}) > 1
    columns = (
        words("Measure", measure_name),
        words("Models", lambda row: models_name(row, several=several)),
        Column(head="People", show=lambda row: str(row["people"])),
        Column(head="Folds", show=lambda row: str(row["folds"])),
        Column(
            head="Mean",
            note="interval with folds",
            show=measured("mean"),
            small=lambda row: show_interval(row, "mean_fold", MEASURES[row["measure"]][2]),
        ),
        Column(
            head="Means of folds",
            show=lambda row: Markup("{} to {}").format(
                measured("fold_mean_low")(row), measured("fold_mean_high")(row)
            ),
        ),
        Column(head="SD of fold means", show=measured("sd_of_fold_means")),
        Column(head="… expected from people alone", show=measured("sd_expected_by_people")),
        Column(head="SD between people", show=measured("sd_between_people")),
        Column(head="SD between folds", show=measured("sd_between_folds")),
    )
    return page_table("Spread of folds against spread of people", columns, rows, name="spread")


def paired_view(rows: Sequence[Mapping]) -> PageTable:
    """Return models of one group against the model of everybody, on the same people."""
    columns = (
        words("Protocol", lambda row: PROTOCOLS[row["protocol"]].title),
        words("Models compared", lambda row: f"{row['group']} against all, {row['network']}"),
        Column(head="n", show=lambda row: str(row["n"])),
        plain("MAE, own group", "first_mae_mm3", 0),
        plain("MAE, everybody", "second_mae_mm3", 0),
        Column(
            head="Difference, mm³",
            note="own − everybody",
            show=number("difference_mm3", 0),
            small=lambda row: show_interval(row, "difference_mm3", 0),
        ),
        Column(head="Wilcoxon p", note="these models", show=p_value("wilcoxon_p_value")),
        Column(
            head="Updates a fold",
            note="own / everybody",
            show=lambda row: Markup("{} / {}").format(
                *(
                    show_number(row.get(f"{which}_updates"), 0, why="not recorded")
                    for which in ("first", "second")
                )
            ),
        ),
    )
    caption = "Models of one group against the model of everybody, on the same people"
    return page_table(caption, columns, rows, name="paired")


def precision_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the precision of repeated scans: RMS-SD, RMS-CV and least significant change."""

    def interval_of(name: str) -> Show:
        return lambda row: show_interval(row, name, MEASURES[row["measure"]][2])

    freedom = Column(
        head="df",
        show=lambda row: str(row["degrees_of_freedom"]),
        small=lambda row: "" if row.get("enough", True) else f"below {ENOUGH_FREEDOM}",
    )

    columns = (
        words("Measure", measure_name),
        Column(head="People", show=lambda row: str(row["people"]), small=lambda row: f"{row['scans']} scans"),
        freedom,
        Column(head="Mean", show=measured("mean")),
        Column(head="RMS-SD", show=measured("rms_sd"), small=interval_of("rms_sd")),
        estimate("RMS-CV, %", "rms_cv_percent", 2),
        Column(head="LSC", show=measured("lsc"), small=interval_of("lsc")),
        estimate("LSC, %", "lsc_percent", 2),
    )
    caption = "Precision of repeated scans"
    return page_table(caption, columns, rows, name="precision", group=protocol_group(rows))


def reader_view(rows: Sequence[Mapping]) -> PageTable:
    """Return the two readers and the model against one another, on the same people."""
    columns = (
        *(words("Pair", lambda row: row["pair"].replace(" - ", " − ")), COUNT),
        MEAN_DICE,
        *(plain("lowest DSC", "dsc_min", 4), distance("HD95, mm", "hd95_mm_mean", 2)),
        *(distance("ASSD, mm", "assd_mm_mean", 2), plain("NSD", "nsd_mean", 3)),
        estimate("MAE, mm³", "mae_mm3", 0),
        estimate("Bias, mm³", "bias_mm3", 0),
        Column(
            head="95 % limits, mm³",
            show=lambda row: Markup("{} to {}").format(
                show_number(row["loa_low_mm3"], 0), show_number(row["loa_high_mm3"], 0)
            ),
            small=lambda row: Markup("{}; {}").format(
                show_interval(row, "loa_low_mm3", 0), show_interval(row, "loa_high_mm3", 0)
            ),
        ),
        *(estimate("R²", "r2", 4), estimate("CCC", "ccc", 4)),
    )
    caption = "Two readers beside the model"
    return page_table(caption, columns, rows, name="readers", group=protocol_group(rows))


def coverage_view(rows: Sequence[Mapping]) -> PageTable:
    """Return how often the intervals of volumes held the reference, and how wide they are."""

    def share(row: Mapping) -> Markup | str:
        if not row["n"]:
            return show_number(None, why=why_empty(row, "coverage", "no interval"))
        return f"{row['covered']} of {row['n']}"

    columns = (
        words("Protocol", lambda row: PROTOCOLS[row["protocol"]].title),
        Column(head="People", show=lambda row: str(row["people"])),
        Column(
            head="Reference in the interval",
            show=share,
            small=lambda row: (
                show_interval(row, "coverage", 1, 100) + " %"
                if row["n"]
                else Markup('<span class="why">{}</span>').format(why_empty(row, "coverage", ""))
            ),
        ),
        plain("Median interval, ± %", "interval_percent_median", 2),
        Column(head="Unusually wide", show=lambda row: str(row["wide"])),
    )
    several = len({row["network"] for row in rows}) > 1
    caption = "Intervals of single volumes: how often they held the reference"
    return page_table(
        caption, columns, rows, name="coverage", group=lambda row: models_name(row, several=several)
    )


def level_view(rows: Sequence[Mapping]) -> PageTable:
    """Return Dice by part of the femur, of the first group."""
    columns = (
        *(words("Part of the femur", "level"), Column(head="n", show=lambda row: str(row["n"]))),
        MEAN_DICE,
        plain("lowest DSC", "dsc_min", 4),
    )
    rows = of_first_cohort(rows)
    return page_table(
        "Overlap by part of the femur", columns, rows, name="levels", group=protocol_group(rows)
    )


def table1_view(rows: Sequence[Mapping]) -> PageTable:
    """Return Table 1: our rows, each group's paper row (where the table holds the paper) after its last one."""
    with_paper: list[Mapping] = []
    for position, row in enumerate(rows):
        with_paper.append(row)
        last = position + 1 == len(rows) or rows[position + 1]["group"] != row["group"]
        if last and row["group"] in PAPER_TABLE1 and "paper_r2" in row:
            numbers = dict(zip(TABLE1_NUMBERS, PAPER_TABLE1[row["group"]], strict=True))
            with_paper.append(numbers | {"group": row["group"], "n": None, "protocol": "paper"})
    several = len({row["network"] for row in rows}) > 1
    columns = (
        words("Group", lambda row: row["group"].capitalize()),
        Column(
            head="Source",
            show=lambda row: table1_source(row, several=several),
            small=lambda row: (
                "other people, one model" if row["protocol"] == "paper" else WEIGHTS[row["weights"]]
            ),
            numeric=False,
        ),
        Column(
            head="n",
            show=lambda row: (
                show_number(None, why="not stated in the paper") if row["n"] is None else str(row["n"])
            ),
            small=lambda row: gaps_told(row),
        ),
        Column(
            head="Volume in ground truth (mm³)",
            show=lambda row: Markup("{} ± {}").format(
                show_number(row["reference_mean_mm3"]), show_number(row["reference_sd_mm3"])
            ),
        ),
        *(plain("MAE (mm³)", "mae_mm3", 2), plain("RMSE (mm³)", "rmse_mm3", 2), plain("R² score", "r2", 4)),
        Column(
            head="RE (%) (min, max)",
            show=lambda row: Markup("({}, {})").format(
                show_number(row["re_min_percent"], 4), show_number(row["re_max_percent"], 4)
            ),
        ),
    )
    return page_table("Table 1. Volumes of the test people", columns, with_paper, name="table1")


def table1_source(row: Mapping, *, several: bool) -> str:
    """Return whose row of Table 1 it is."""
    if row["protocol"] == "paper":
        return "Zhao 2020"
    return PROTOCOLS[row["protocol"]].title + (f", {row['network']}" if several else "")


def table2_view(rows: Sequence[Mapping]) -> PageTable:
    """Return Table 2: published approaches, our row last."""
    columns = (
        *(words(name.capitalize(), name) for name in ("authors", "method", "data", "sex")),
        words("Slices", "slice_thickness"),
        *(Column(head=head, show=published(name)) for head, name in (("DSC", "dsc"), ("SN", "sensitivity"))),
        *(Column(head="SP", show=published("specificity")), words("Source", "source")),
        words("Remark", lambda row: row["footnote"] or ""),
    )
    return page_table("Table 2. Published approaches and this study", columns, rows, name="table2")


def published(name: str) -> Show:
    """Return what shows a published number: digits as the source prints them, a dash where it states none."""

    def show(row: Mapping) -> Markup | str:
        value = row[name]
        if value in (None, ""):
            return show_number(None, why="not stated")
        return str(value) if isinstance(value, str) else f"{value:.4f}".rstrip("0")

    return show


def age_view(rows: Sequence[Mapping]) -> PageTable:
    """Return scores by age band, of the first group."""
    columns = (
        *(words("Age, years", "age_band"), words("Site", "site"), COUNT),
        MEAN_DICE,
        *(plain("lowest DSC", "dsc_min", 4), distance("HD95, mm", "hd95_mm_median", 2, "median")),
        *(estimate("MAE, mm³", "mae_mm3", 0), estimate("mean RE, %", "re_mean_percent", 2)),
    )
    rows = of_first_cohort(rows)
    return page_table("Scores by age", columns, rows, name="ages", group=protocol_group(rows))


def subgroup_view(rows: Sequence[Mapping]) -> PageTable:
    """Return each sex, site and scanner against the others, of the first group."""
    columns = (
        words("Subgroup", lambda row: f"{SUBGROUP_KINDS[row['kind']]} {sex_or(row['subgroup'])}"),
        words("Against", lambda row: sex_or(row["others"])),
        words("Measure", measure_name),
        Column(head="n", note="inside / others", show=lambda row: f"{row['n']} / {row['n_others']}"),
        *(
            Column(head="Mean", show=measured("mean")),
            Column(head="Mean of others", show=measured("mean_others")),
        ),
        Column(
            head="Difference",
            show=measured("difference"),
            small=lambda row: show_interval(row, "difference", MEASURES[row["measure"]][2]),
        ),
    )
    rows = of_first_cohort(rows)
    return page_table(
        "Subgroups against the others", columns, rows, name="subgroups", group=protocol_group(rows)
    )


def sex_or(name: str) -> str:
    """Return the words for a sex, or the name of another subgroup as it is."""
    return SEX_NAMES.get(name, name)


def partition_view(rows: Sequence[Mapping]) -> PageTable:
    """Return who the people of each partition are."""

    def sexes(row: Mapping) -> str:
        unknown = f" / {row['sex_unknown']} unknown" if row["sex_unknown"] else ""
        return f"{row['women']} / {row['men']}{unknown}"

    columns = (
        *(words("Partition", "partition"), COUNT, Column(head="Sex", note="women / men", show=sexes)),
        Column(
            head="Age, years",
            note="mean ± SD",
            show=number("age_mean", 1, why="no age is known"),
            small=lambda row: deviation(row["age_sd"], 1, why="one person has no SD"),
        ),
        Column(
            head="Reference, mm³",
            note="mean ± SD",
            show=number("reference_mean_mm3", 0, why="no reference has been compared"),
            small=lambda row: deviation(row["reference_sd_mm3"], 0, why="one scan has no SD"),
        ),
        Column(
            head="Not scored",
            note="scans",
            show=lambda row: str(row["not_scored"]),
            small=lambda row: row["not_scored_reason"] or "",
        ),
        words("Scanners, scans", "scanners"),
    )
    return page_table("People of each partition", columns, rows, name="partitions")


def training_view(rows: Sequence[Mapping]) -> PageTable:
    """Return what was trained, a row for each group and network."""
    columns = (
        words("Models", lambda row: f"{row['group']}/{row['network']}"),
        Column(head="Folds", show=lambda row: str(row["folds"])),
        plain("Parameters", "parameters", 0),
        *(Column(head="Training scans", show=text("scans")), Column(head="Updates", show=text("updates"))),
        *(Column(head="Best validation DSC", show=text("dice")), plain("Hours", "hours", 2)),
        words("Device", lambda row: f"{row['device']}, {row['precision']}"),
    )
    return page_table("What was trained", columns, rows)


def flag_view(rows: Sequence[Mapping], pages: Mapping[str, str]) -> PageTable:
    """Return predictions with flags; `pages` are links to the scans' pages."""

    def scan(row: Mapping) -> Markup | str:
        return (
            Markup('<a href="{}">{}</a>').format(pages[row["scan"]], row["scan"])
            if row["scan"] in pages
            else row["scan"]
        )

    def reasoned(head: str, name: str, digits: int) -> Column:
        return Column(
            head=head,
            show=lambda row: show_number(row[name], digits, why=row["undefined"].get(name, "not measured")),
        )

    columns = (
        *(
            words("Scan", scan),
            words("Models", lambda row: f"{row['group']}/{row['network']}/{row['members']}"),
        ),
        words("Flags", lambda row: show_codes(row["flags"])),
        plain("Otsu threshold", "otsu_threshold", 3),
        Column(head="Volume, mm³", show=number("predicted_mm3", 0), small=volume_bounds),
        plain("at 0.5, mm³", "predicted_at_half_mm3", 0),
        *(reasoned("Member DSC", "member_dice", 4), reasoned("Mean entropy, bits", "mean_entropy_bits", 3)),
    )
    return page_table("Predictions with flags", columns, rows, name="volumes")


def volume_bounds(row: Mapping) -> Markup | str:
    """Return the interval of a predicted volume as small print; nothing where there is none."""
    low, high = (row.get(f"interval_{end}_mm3") for end in ("low", "high"))
    return "" if high is None else f"{show_number(low, 0)} to {show_number(high, 0)}"


def of_first_cohort(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of the first group of a table."""
    return [row for row in rows if row["group"] == rows[0]["group"]]


def measure_name(row: Mapping) -> str:
    """Return the words for the measure of a row, with its unit."""
    name, unit, _ = MEASURES[row["measure"]]
    return f"{name}, {unit}" if unit else name
