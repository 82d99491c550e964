"""The tables of the report: their columns, the format of their numbers, their small print.

A table of the page has a caption, columns and rows of cells. The table files hold all columns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup

from lib.catalog.groups import ALL, GROUP_NAMES, SEX_NAMES, STRATUM_NAMES
from lib.catalog.measures import ENOUGH_FREEDOM, MEASURES, SUMMARIES, Form, score_names
from lib.catalog.protocols import PROTOCOLS, SETS
from lib.pages.wording import WEIGHTS, joined
from lib.publications.zhao_2020 import FEMUR, PRINTED_TABLE1
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
from lib.stats.grouping import scores_by_group
from lib.stats.paper import TABLE1_NUMBERS
from lib.stats.without_distance import WITHOUT_DISTANCE

Show = Callable[[Mapping], Markup | str]
# small print of reference volumes in tables of agreement, as in Zhao's Table 1
OF_POPULATION = "mean ± SD, ddof 0"
# `limits_to_use` of agreement.csv, as worded in the table of limits in mm3 and in that of limits in percent
LIMITS_ADVICE = {
    "percent": "spread changes with size: use the limits in %",
    "neither": "spread changes with size",
}
PERCENT_ADVICE = {"percent": "use these limits", "neither": "no one limit fits all sizes: see the figure"}
SCORE_HEADS = {"dsc_native": "DSC, native grid"}  # longer than the heading in the catalog
SUBGROUP_KINDS = {"sex": "Sex:", "site": "Site:", "scanner": "Scanner:"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table of the page.

    Attributes:
        head: heading of the column.
        show: function from a row of the table to the text of the cell.
        small: function from a row of the table to the small print of the cell.
        note: small print under the heading.
        numeric: whether cells are aligned to the right.
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
        caption: short title.
        columns: its columns.
        lines: its rows: a heading across all columns (text), or a cell (text, small print) for each column.
        name: the table file with all its columns, a name of `lib.pages.report.TABLES`; empty if there is none.
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
    """Return the table of the page for some rows, with a heading wherever `group` changes."""
    lines: list = []
    heading = ""
    for row in rows:
        if group and group(row) != heading:
            heading = group(row)
            lines.append(heading)
        lines.append([(column.show(row), column.small(row) if column.small else "") for column in columns])
    return PageTable(caption=caption, columns=columns, lines=lines, name=name)


def number(name: str, digits: int | Form, **words: str) -> Show:
    """Return a function that shows a number of a row; `why` is the explanation of an undefined number."""
    why = words.get("why", "not defined for this sample")
    return lambda row: show_number(row[name], digits, why=why_empty(row, name, why))


def p_value(name: str) -> Show:
    """Return a function that shows a p-value of a row."""
    return lambda row: show_p_value(row[name], why=why_empty(row, name, "too few people"))


def text(name: str) -> Show:
    """Return a function that shows a text of a row."""
    return lambda row: DASH if row[name] in (None, "") else str(row[name])


def estimate(name: str, head: str = "") -> Column:
    """Return a column of one of SUMMARIES with its interval as small print; `head` replaces its heading."""
    told = SUMMARIES[name]
    return Column(
        head=head or told.heading,
        show=number(name, told.form),
        small=lambda row: show_interval(row, name, told.form),
    )


def summary(name: str) -> Column:
    """Return a column of one of SUMMARIES."""
    return plain(SUMMARIES[name].heading, name, SUMMARIES[name].form)


def plain(head: str, name: str, digits: int | Form) -> Column:
    """Return a column of a number."""
    return Column(head=head, show=number(name, digits))


def lowest(measure: str) -> Column:
    """Return a column of the lowest value of one of MEASURES."""
    return plain(MEASURES[measure].worst, f"{measure}_min", MEASURES[measure].form)


def distance(measure: str, kind: str, note: str = "") -> Column:
    """Return a column of the mean or median (`kind`) of a distance, its interval, and the scans without it."""
    name, form = f"{measure}_{kind}", MEASURES[measure].form

    def small(row: Mapping) -> Markup:
        lines = [] if row.get(f"{name}_ci_low") is None else [show_interval(row, name, form)]
        return Markup("<br>").join(filter(None, [*lines, without_text(row)]))

    return Column(head=MEASURES[measure].heading, show=number(name, form), small=small, note=note)


def without_text(row: Mapping) -> Markup | str:
    """Return the words for the scans of a row that have no distance, as small print; empty if all have one."""
    told = row.get(WITHOUT_DISTANCE)
    return Markup('<span class="why">{}</span>').format(told) if told else ""


def deviation(value: float | None, digits: int | Form, *, why: str = "one scan has no SD") -> Markup | str:
    """Return an SD as small print, or a dash with the reason why it is not defined."""
    shown = show_number(value, digits, why=why)
    return shown if isinstance(shown, Markup) else f"± {shown}"


def reference_volume(*, why: str, why_no_sd: str, note: str) -> Column:
    """Return a column of the mean and SD of reference volumes, with the reasons why they may not be defined."""
    told = SUMMARIES["reference_mean_mm3"]
    return Column(
        head=told.heading,
        note=note,
        show=number("reference_mean_mm3", told.form, why=why),
        small=lambda row: deviation(row["reference_sd_mm3"], told.form, why=why_no_sd),
    )


def words(head: str, show: Show | str) -> Column:
    """Return a column of text: a function of the row, or the name of its text."""
    return Column(head=head, show=text(show) if isinstance(show, str) else show, numeric=False)


COUNT = Column(
    head="n",
    show=lambda row: str(row["n"]),
    small=lambda row: Markup("<br>").join(filter(None, (scans_of(row), gaps_told(row)))),
)
DICE_DIGITS = MEASURES["dsc"].form
MEAN_DICE = Column(
    head=MEASURES["dsc"].heading,
    show=number("dsc_mean", DICE_DIGITS),
    small=lambda row: spread_with_interval(
        deviation(row["dsc_sd"], DICE_DIGITS), row, "dsc_mean", DICE_DIGITS
    ),
)
PEOPLE = words("People", lambda row: people_name(row))


def scans_of(row: Mapping) -> str:
    """Return the number of scans of a row if people have several scans, else ""."""
    return f"{row['scans']} scans" if row["scans"] != row["n"] else ""


def people_name(row: Mapping) -> str:
    """Return the name of the people of a row: of its stratum, else of its group."""
    if row["stratum"] != ALL:
        return STRATUM_NAMES.get(row["stratum"], row["stratum"].replace("=", " ", 1))
    return GROUP_NAMES.get(row["group"], row["group"])


def models_of(rows: Sequence[Mapping]) -> Callable[[Mapping], str]:
    """Return a function from a row to the group of its models; network and structure follow if there are several."""
    several = [name for name in ("network", "structure") if len({row[name] for row in rows}) > 1]
    return lambda row: " · ".join([row["group"], *(row[name] for name in several)])


def protocol_group(rows: Sequence[Mapping]) -> Callable[[Mapping], str]:
    """Return a function from a row to its heading: protocol and models."""
    models = models_of(rows)
    return lambda row: f"{PROTOCOLS[row['protocol']].title} · {models(row)}"


def structure_columns(rows: Sequence[Mapping]) -> tuple[Column, ...]:
    """Return the column of the structure; none if the rows have one structure only."""
    return (words("Structure", "structure"),) if len({row["structure"] for row in rows}) > 1 else ()


def shown_agreement(rows: Iterable[Mapping]) -> list[Mapping]:
    """Return the rows of all people of each group and, for the group of everybody, also those of men and women."""
    return [row for row in rows if ALL in (row["stratum"], row["group"])]


def headline_tables(headlines: Sequence[Mapping], protocols: Sequence[str]) -> list[PageTable]:
    """Return a table for each of some protocols: networks and structures beside each other.

    `headlines` are the rows of `lib.pages.report.headlines`.
    """
    scores = [column for name in ("dsc", "hd95_mm", "nsd") for column in score_columns(name)]
    several = {name: len({row[name] for row in headlines}) > 1 for name in ("network", "structure")}
    columns = (
        *((words("Network", "network"),) if several["network"] or not several["structure"] else ()),
        *structure_columns(headlines),
        COUNT,
        *scores,
        *map(estimate, ("mae_mm3", "bias_mm3", "r2", "ccc")),
    )
    structures = joined(dict.fromkeys(row["structure"] for row in headlines)) if headlines else ""
    every = "all networks" if several["network"] else structures
    return [
        page_table(f"{PROTOCOLS[name].title}: {every}", columns, rows, name="agreement")
        for name in protocols
        if (rows := [row for row in headlines if row["protocol"] == name])
    ]


def score_tables(rows: Sequence[Mapping]) -> list[PageTable]:
    """Return the tables of scores: means with SD and, with enough people, intervals.

    Scores that no table of scans lists are in tables/scores.csv alone, and so are those of other thresholds that the
    study does not have.
    """
    rows = shown_agreement(scores_by_group(rows))

    def count_of(name: str) -> Column:
        return Column(head="n", show=lambda row: str(row[name]["n"]), small=lambda row: scans_of(row[name]))

    def table_of(caption: str, section: str, counted: str) -> PageTable | None:
        known = ((name, MEASURES[name]) for name in score_names())
        scores = [
            name
            for name, measure in known
            if measure.section == section
            and measure.listed
            and (section != "choices" or any(row[name]["mean"] is not None for row in rows))
        ]
        if not scores:
            return None
        columns = (PEOPLE, count_of(counted), *(column for name in scores for column in score_columns(name)))
        return page_table(caption, columns, rows, name="scores", group=protocol_group(rows))

    made = (
        table_of("Overlap", "overlap", "dsc"),
        table_of("Surface distances", "distance", "hd95_mm"),
        table_of("Other thresholds, all components", "choices", "dsc_raw"),
    )
    return [table for table in made if table is not None]


def score_columns(name: str) -> Iterator[Column]:
    """Yield the column of a score's mean and, if the catalog names one, that of its worst scan."""
    measure = MEASURES[name]
    yield Column(
        head=SCORE_HEADS.get(name, measure.heading),
        show=lambda row: show_number(row[name]["mean"], measure.form),
        small=lambda row: spread_of(row[name], measure.form),
    )
    if measure.worst:
        yield Column(head=measure.worst, show=lambda row: show_number(row[name]["worst"], measure.form))


def spread_of(score: Mapping, digits: int | Form) -> Markup:
    """Return SD and interval (if defined) of a mean as small print, then the remarks on its scans."""
    spread = spread_with_interval(deviation(score["sd"], digits), score, "mean", digits)
    return Markup("<br>").join([spread, *scans_told(score)])


def spread_with_interval(spread: Markup | str, row: Mapping, name: str, digits: int | Form) -> Markup:
    """Return small print with the interval of `name` below it, if defined."""
    if row.get(f"{name}_ci_low") is None:
        return Markup("{}").format(spread)
    return Markup("{}<br>{}").format(spread, show_interval(row, name, digits))


def agreement_tables(rows: Sequence[Mapping]) -> list[PageTable]:
    """Return the tables of errors and concordance, and of bias and limits, each pooled and by sex."""
    rows = shown_agreement(rows)
    group = protocol_group(rows)
    volume = reference_volume(
        why="not defined for this sample", why_no_sd="one person has no SD", note=OF_POPULATION
    )
    error = MEASURES["re_percent"]
    relative = Column(
        head=error.heading,
        note="min to max",
        show=lambda row: Markup("{} to {}").format(
            show_number(row["re_min_percent"], error.form), show_number(row["re_max_percent"], error.form)
        ),
    )
    errors = (
        *(PEOPLE, COUNT, volume, *map(estimate, ("ccc", "r2", "mae_mm3", "rmse_mm3"))),
        *(relative, estimate("icc")),
    )
    pearson = replace(summary("pearson_r"), note="p", small=p_value("pearson_p_value"))
    percent = (
        *(PEOPLE, COUNT, estimate("re_mean_percent"), summary("re_sd_percent")),
        *map(estimate, ("loa_low_percent", "loa_high_percent", "mape_percent")),
        Column(
            head="Spread changes",
            note="p",
            show=p_value("growing_spread_p_value"),
            small=lambda row: PERCENT_ADVICE.get(row["limits_to_use"], ""),
        ),
    )
    limits = (
        *(PEOPLE, COUNT, estimate("bias_mm3")),
        replace(
            summary("difference_sd_mm3"),
            small=lambda row: Markup('<span class="why">{}</span>').format(
                LIMITS_ADVICE.get(row["limits_to_use"], "")
            ),
        ),
        *map(estimate, ("loa_low_mm3", "loa_high_mm3", "proportional_bias", "slope", "intercept_mm3")),
        pearson,
    )
    return [
        page_table("Errors and concordance of volumes", errors, rows, name="agreement", group=group),
        page_table("Bias and 95 % limits of agreement", limits, rows, name="agreement", group=group),
        page_table("Agreement in percent of the reference", percent, rows, name="agreement", group=group),
    ]


def cut_table(whole: Iterable[Mapping], cut: Sequence[Mapping]) -> PageTable:
    """Return a table of agreement of the whole mask and of the part above the fixed distal cut."""
    keys = ("group", "network", "protocol", "stratum", "structure")
    by_key = {tuple(row[key] for key in keys): row for row in whole}
    rows = [
        row | {"whole": by_key.get(tuple(row[key] for key in keys), {}), "cut": row}
        for row in shown_agreement(cut)
    ]

    def part(which: str, name: str) -> Column:
        told = SUMMARIES[name]
        return Column(
            head=told.heading,
            note=which,
            show=lambda row: show_number(row[which].get(name), told.form),
            small=lambda row: show_interval(row[which], name, told.form),
        )

    chosen = ("mae_mm3", "bias_mm3", "r2", "ccc")
    whole_count = Column(head="n", note="whole", show=lambda row: str(row["whole"].get("n", DASH)))
    cut_count = Column(head="n", note="cut", show=lambda row: str(row["n"]))
    columns = (
        PEOPLE,
        whole_count,
        cut_count,
        *(part(which, name) for name in chosen for which in ("whole", "cut")),
    )
    caption = "Whole mask, and the part above the fixed distal cut"
    return page_table(caption, columns, rows, name="agreement", group=protocol_group(rows))


def fold_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of each fold's model on the people it was not trained on."""
    columns = (
        *(words("Fold", "fold"), Column(head="n", show=lambda row: str(row["n"]))),
        replace(MEAN_DICE, small=lambda row: show_interval(row, "dsc_mean", DICE_DIGITS)),
        *map(estimate, ("mae_mm3", "rmse_mm3", "r2", "bias_mm3")),
        *map(summary, ("re_min_percent", "re_max_percent")),
    )
    caption = "Fold by fold: each model on the people it never saw"
    return page_table(caption, columns, rows, name="folds", group=models_of(rows))


def measured(name: str) -> Show:
    """Return a function that shows a number with the digits of the row's measure."""
    return lambda row: show_number(
        row[name], MEASURES[row["measure"]].form, why=why_empty(row, name, "not defined for this sample")
    )


def spread_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of the spread of fold means and of the spread expected from people alone if folds are equal."""
    columns = (
        words("Measure", measure_name),
        words("Models", models_of(rows)),
        Column(head="People", show=lambda row: str(row["people"])),
        Column(head="Folds", show=lambda row: str(row["folds"])),
        Column(
            head="Mean",
            note="interval with folds",
            show=measured("mean"),
            small=lambda row: show_interval(row, "mean_fold", MEASURES[row["measure"]].form),
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
    """Return a table of models of one group against the model of everybody, on the same people."""
    columns = (
        words("Protocol", lambda row: PROTOCOLS[row["protocol"]].title),
        words("Models compared", lambda row: f"{row['group']} against all, {row['network']}"),
        *structure_columns(rows),
        Column(head="n", show=lambda row: str(row["n"])),
        plain("MAE, own group", "first_mae_mm3", SUMMARIES["mae_mm3"].form),
        plain("MAE, everybody", "second_mae_mm3", SUMMARIES["mae_mm3"].form),
        replace(estimate("difference_mm3"), note="own − everybody"),
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


def precision_view(rows: Sequence[Mapping], value_unit: str) -> PageTable:
    """Return a table of the precision of repeated scans: RMS-SD, RMS-CV and least significant change.

    `value_unit` is the unit of the modality's values.
    """

    def interval_of(name: str) -> Show:
        return lambda row: show_interval(row, name, MEASURES[row["measure"]].form)

    freedom = Column(
        head="df",
        show=lambda row: str(row["degrees_of_freedom"]),
        small=lambda row: "" if row.get("enough", True) else f"below {ENOUGH_FREEDOM}",
    )

    columns = (
        words("Measure", lambda row: measure_name(row, value_unit)),
        Column(head="People", show=lambda row: str(row["people"]), small=lambda row: f"{row['scans']} scans"),
        freedom,
        Column(head="Mean", show=measured("mean")),
        Column(head="RMS-SD", show=measured("rms_sd"), small=interval_of("rms_sd")),
        estimate("rms_cv_percent"),
        Column(head="LSC", show=measured("lsc"), small=interval_of("lsc")),
        estimate("lsc_percent"),
    )
    caption = "Precision of repeated scans"
    return page_table(caption, columns, rows, name="precision", group=protocol_group(rows))


def reader_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of the pairwise agreement of two readers and the model, on the same people."""
    limits = (estimate("loa_low_mm3"), estimate("loa_high_mm3"))
    columns = (
        *(words("Pair", lambda row: row["pair"].replace(" - ", " − ")), COUNT),
        MEAN_DICE,
        *(lowest("dsc"), distance("hd95_mm", "mean"), distance("assd_mm", "mean")),
        plain(MEASURES["nsd"].heading, "nsd_mean", MEASURES["nsd"].form),
        *(estimate("mae_mm3"), estimate("bias_mm3")),
        Column(
            head="95 % limits, cm³",
            show=lambda row: Markup("{} to {}").format(*(column.show(row) for column in limits)),
            small=lambda row: Markup("{}; {}").format(*(column.small(row) for column in limits)),
        ),
        *(estimate("r2"), estimate("ccc")),
    )
    caption = "Two readers beside the model"
    return page_table(caption, columns, rows, name="readers", group=protocol_group(rows))


def coverage_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of the coverage and width of the intervals of single volumes."""

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
        plain("Median interval, ± %", "interval_percent_median", MEASURES["interval_percent"].form),
        Column(head="Unusually wide", show=lambda row: str(row["wide"])),
    )
    caption = "Intervals of single volumes: how often they held the reference"
    return page_table(caption, columns, rows, name="coverage", group=models_of(rows))


def level_view(rows: Sequence[Mapping], bone: str) -> PageTable:
    """Return a table of Dice by region of the bone, for the first group; `bone` is its name in words."""
    columns = (
        *(words(f"Part of {bone}", "level"), Column(head="n", show=lambda row: str(row["n"]))),
        MEAN_DICE,
        lowest("dsc"),
    )
    rows = of_first_cohort(rows)
    return page_table(f"Overlap by part of {bone}", columns, rows, name="levels", group=protocol_group(rows))


def table1_view(rows: Sequence[Mapping]) -> PageTable:
    """Return Table 1: the study's rows, and after those of each group the paper's row, if the table holds it."""
    with_paper: list[Mapping] = []
    for position, row in enumerate(rows):
        with_paper.append(row)
        last = position + 1 == len(rows) or rows[position + 1]["group"] != row["group"]
        if last and row["group"] in PRINTED_TABLE1 and "paper_r2" in row:
            numbers = dict(zip(TABLE1_NUMBERS, PRINTED_TABLE1[row["group"]], strict=True))
            with_paper.append(
                numbers | {"group": row["group"], "structure": FEMUR, "n": None, "protocol": "paper"}
            )
    several = len({row["network"] for row in rows}) > 1
    columns = (
        words("Group", lambda row: row["group"].capitalize()),
        *structure_columns(rows),
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
    people = "cross-validated" if rows[0]["protocol"] == "cv" else "test"
    return page_table(f"Table 1. Volumes of the {people} people", columns, with_paper, name="table1")


def table1_source(row: Mapping, *, several: bool) -> str:
    """Return the source of a row of Table 1."""
    if row["protocol"] == "paper":
        return "Zhao 2020"
    return PROTOCOLS[row["protocol"]].title + (f", {row['network']}" if several else "")


def table2_view(rows: Sequence[Mapping]) -> PageTable:
    """Return Table 2: published approaches, then the study's row."""
    columns = (
        *(words(name.capitalize(), name) for name in ("authors", "method", "data", "sex")),
        words("Slices", "slice_thickness"),
        *(Column(head=head, show=published(name)) for head, name in (("DSC", "dsc"), ("SN", "sensitivity"))),
        *(Column(head="SP", show=published("specificity")), words("Source", "source")),
        words("Remark", lambda row: row["footnote"] or ""),
        *structure_columns(rows),
    )
    return page_table("Table 2. Published approaches and this study", columns, rows, name="table2")


def published(name: str) -> Show:
    """Return a function that shows a published number with the digits of its source, or a dash if not stated."""

    def show(row: Mapping) -> Markup | str:
        value = row[name]
        if value in (None, ""):
            return show_number(None, why="not stated")
        return str(value) if isinstance(value, str) else f"{value:.4f}".rstrip("0")

    return show


def age_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of scores by age band, for the first group."""
    columns = (
        *(words("Age, years", "age_band"), words("Site", "site"), COUNT),
        MEAN_DICE,
        *(lowest("dsc"), distance("hd95_mm", "median", "median")),
        *(estimate("mae_mm3"), estimate("re_mean_percent", "mean RE, %")),
    )
    rows = of_first_cohort(rows)
    return page_table("Scores by age", columns, rows, name="ages", group=protocol_group(rows))


def subgroup_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of each sex, site and scanner against the others, for the first group."""
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
            small=lambda row: show_interval(row, "difference", MEASURES[row["measure"]].form),
        ),
    )
    rows = of_first_cohort(rows)
    return page_table(
        "Subgroups against the others", columns, rows, name="subgroups", group=protocol_group(rows)
    )


def sex_or(name: str) -> str:
    """Return the label of a sex, or the name of another subgroup unchanged."""
    return SEX_NAMES.get(name, name)


def partition_name(partition: str) -> str:
    """Return the name of a partition as the page writes it: `cross-validated` for train, `fold 0` for fold-0."""
    return SETS.get(partition, partition.replace("-", " "))


def partition_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of the people of each partition."""

    def sexes(row: Mapping) -> str:
        unknown = f" / {row['sex_unknown']} unknown" if row["sex_unknown"] else ""
        return f"{row['women']} / {row['men']}{unknown}"

    columns = (
        *(
            words("Partition", lambda row: partition_name(row["partition"])),
            *structure_columns(rows),
            COUNT,
            Column(head="Sex", note="women / men", show=sexes),
        ),
        Column(
            head="Age, years",
            note="mean ± SD",
            show=number("age_mean", 1, why="no age is known"),
            small=lambda row: deviation(row["age_sd"], 1, why="one person has no SD"),
        ),
        reference_volume(
            why="no reference has been compared", why_no_sd="one scan has no SD", note="mean ± SD, ddof 1"
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
    """Return a table of the training of each group and network."""
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
    """Return a table of predictions with flags; `pages` are links to the scans' pages."""

    def scan(row: Mapping) -> Markup | str:
        return (
            Markup('<a href="{}">{}</a>').format(pages[row["scan"]], row["scan"])
            if row["scan"] in pages
            else row["scan"]
        )

    def reasoned(name: str) -> Column:
        measure = MEASURES[name]

        def show(row: Mapping) -> Markup | str:
            return show_number(row[name], measure.form, why=row["undefined"].get(name, "not measured"))

        return Column(head=measure.heading, show=show)

    threshold, volume, at_half = (
        MEASURES[name] for name in ("otsu_threshold", "predicted_mm3", "predicted_at_half_mm3")
    )

    columns = (
        *(
            words("Scan", scan),
            words("Models", lambda row: f"{row['group']}/{row['network']}/{row['members']}"),
            *structure_columns(rows),
        ),
        words("Flags", lambda row: show_codes(row["flags"])),
        plain(threshold.heading, "otsu_threshold", threshold.form),
        Column(head="Volume, cm³", show=number("predicted_mm3", volume.form), small=volume_bounds),
        plain(at_half.heading, "predicted_at_half_mm3", at_half.form),
        *(reasoned("member_dice"), reasoned("mean_entropy_bits")),
    )
    return page_table("Predictions with flags", columns, rows, name="volumes")


def volume_bounds(row: Mapping) -> Markup | str:
    """Return the interval of a predicted volume as small print, or "" if it has none."""
    low, high = (row.get(f"interval_{end}_mm3") for end in ("low", "high"))
    form = MEASURES["interval_low_mm3"].form
    return "" if high is None else f"{show_number(low, form)} to {show_number(high, form)}"


def of_first_cohort(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of the first group of a table."""
    return [row for row in rows if row["group"] == rows[0]["group"]]


def measure_name(row: Mapping, value_unit: str = "") -> str:
    """Return the name of a row's measure with its unit; `value_unit` is that of the modality's values."""
    return MEASURES[row["measure"]].in_unit(value_unit).row_name
