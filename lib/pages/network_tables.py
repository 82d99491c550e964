"""The report's tables of a study with several networks: costs and scores, tests, and the choice of the best ones.

Each table has the rows of one or several protocols; groups, protocols and structures are headings.
"""

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from lib.catalog.measures import MEASURES, SUMMARIES, Form
from lib.pages.report_tables import (
    Column,
    PageTable,
    Show,
    deviation,
    number,
    p_value,
    page_table,
    plain,
    protocol_group,
    without_text,
    words,
)
from lib.stats.formats import DASH, fixed, show_interval, show_number, why_empty

DICE_DIGITS = MEASURES["dsc"].form
_DISTANCE_DIGITS = MEASURES["hd95_mm"].form
_AREA_DIGITS = MEASURES["auc_pr"].form
_LONG_NAME = 24  # characters
_SEES = {2: "slices (2-D)", 3: "volumes (3-D)"}


def network_costs_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of networks.csv: what each network is and takes."""
    first = {(row["group"], row["network"]): row for row in reversed(rows)}
    shown = [row for row in rows if first[row["group"], row["network"]] is row]
    columns = (
        _named("Network", "network"),
        words("Sees", lambda row: DASH if row["dimensions"] is None else _SEES[int(row["dimensions"])]),
        _count("Parameters", "parameters"),
        _count("Updates", "updates", "a fold"),
        _count("Training, s", "train_seconds", "a fold"),
        _count("Memory, MB", "peak_memory_mb", "largest"),
        plain("Prediction, s", "predict_seconds_per_scan", 2),
    )
    return page_table("What each network takes", columns, shown, name="networks", group=_groups(shown))


def network_scores_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of networks.csv: the scores of each network, the area under precision-recall before ROC."""
    columns = (
        _named("Network", "network"),
        Column(head="n", show=lambda row: str(row["n"])),
        Column(
            head=MEASURES["dsc"].heading,
            note="mean ± SD over people",
            show=number("dsc_mean", DICE_DIGITS),
            small=lambda row: Markup("{}<br>{}").format(
                deviation(row["dsc_sd_people"], DICE_DIGITS, why="one person has no SD"),
                show_interval(row, "dsc_mean", DICE_DIGITS),
            ),
        ),
        plain("SD of fold means", "dsc_sd_folds", DICE_DIGITS),
        _mean_and_sd("Precision", "precision"),
        _mean_and_sd("Recall", "sensitivity"),
        Column(
            head=MEASURES["hd95_mm"].heading,
            note="mean",
            show=number("hd95_mean_mm", _DISTANCE_DIGITS),
            small=_median_distance,
        ),
        Column(
            head=MEASURES["assd_mm"].heading,
            note="mean",
            show=number("assd_mean_mm", MEASURES["assd_mm"].form),
            small=without_text,
        ),
        _area("AUC-PR", "auc_pr"),
        _area("AUC-ROC", "auc_roc"),
        Column(
            head="DSC, all pieces",
            note="gain by the largest alone",
            show=number("dsc_raw_mean", DICE_DIGITS),
            small=lambda row: _signed(row["component_gain"]),
        ),
        plain("DSC at 0.5", "dsc_half_mean", DICE_DIGITS),
    )
    return page_table("Scores of each network", columns, rows, name="networks", group=protocol_group_of(rows))


def network_pairs_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of network_pairs.csv: each network against the control, on the same people."""
    columns = (
        _named("Network", "network"),
        _named("Control", "control"),
        *_tested("Difference of DSC"),
        Column(
            head="Holm p",
            show=p_value("holm_p_value"),
            small=lambda row: f"of {row['family']} tests" if row["family"] > 1 else "one test",
        ),
    )
    return page_table(
        "Each network against the control", columns, rows, name="network_pairs", group=protocol_group_of(rows)
    )


def dimension_pair_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of dimension_pair.csv: the stated 2-D and 3-D network."""
    group = protocol_group_of(rows)
    people: dict[str, int] = {}
    for row in rows:
        people[group(row)] = max(row["n"], people.get(group(row), 0))

    def without(row: Mapping) -> str:
        lacking = people[group(row)] - row["n"]
        return f"{lacking} of {people[group(row)]} people without: an empty prediction" if lacking else ""

    columns = (
        words("Measure", lambda row: MEASURES[row["measure"]].heading),
        _named("Networks", "network", "other_network", between=" − "),
        _named("Better", "better"),
        *_tested("Difference", without),
    )
    return page_table(
        "The stated pair, 2-D against 3-D",
        columns,
        rows,
        name="dimension_pair",
        group=protocol_group_of(rows),
    )


def selection_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of selection.csv: the best networks, with what they owe to having been chosen."""
    columns = (
        words("Best of", lambda row: f"{row['best_of']} ({row['candidates']})"),
        words("Chosen", _chosen),
        Column(head="n", show=lambda row: str(row["n"])),
        plain("DSC of the chosen", "dsc", DICE_DIGITS),
        plain("Optimism", "optimism", DICE_DIGITS),
        Column(
            head="DSC, corrected",
            show=number("dsc_corrected", DICE_DIGITS),
            small=lambda row: show_interval(row, "dsc_corrected", DICE_DIGITS),
        ),
        Column(head="Chosen in", note="of the samples", show=_share_of_samples),
    )
    return page_table(
        "The best networks, chosen again in each sample",
        columns,
        rows,
        name="selection",
        group=protocol_group_of(rows),
    )


def published_scores_view(rows: Sequence[Mapping]) -> PageTable:
    """Return a table of what an article printed (`lib.publications.article.score_rows`)."""
    columns = (
        words("Version", "version"),
        words("People", "data"),
        words("Protocol", "protocol"),
        words("Networks", "networks"),
        words("Measure", lambda row: {**SUMMARIES, **MEASURES}[row["measure"]].heading),
        Column(
            head="Printed",
            show=lambda row: row["printed"] or f"{row['mean']:.2f}",
            small=lambda row: "" if row["spread"] is None else f"± {row['spread']:.2f}",
        ),
        words("Source", lambda row: row["source"]),
    )
    return page_table(f"Printed by {rows[0]['publication']}", columns, rows)


def protocol_group_of(rows: Sequence[Mapping]) -> Callable[[Mapping], str]:
    """Return the heading of a row: protocol and group, and the structure if there are several."""
    return protocol_group([row | {"network": ""} for row in rows])


def _groups(rows: Sequence[Mapping]) -> Callable[[Mapping], str] | None:
    """Return the heading of a row: its group; none if there is one group."""
    return (lambda row: row["group"]) if len({row["group"] for row in rows}) > 1 else None


def _named(head: str, *columns: str, between: str = "") -> Column:
    """Return a column of names of networks."""
    return words(head, lambda row: Markup(between).join(_name(row[column]) for column in columns))


def _chosen(row: Mapping) -> Markup | str:
    return Markup(" against ").join(map(_name, row["chosen"].split(" against "))) if row["chosen"] else DASH


def _name(text: str) -> Markup:
    """Return the name of a network, in one line unless it is long."""
    return Markup('<span class="name">{}</span>' if len(text) <= _LONG_NAME else "{}").format(text)


def _count(head: str, name: str, note: str = "") -> Column:
    return Column(head=head, note=note, show=number(name, 0))


def _mean_and_sd(head: str, name: str) -> Column:
    digits = MEASURES[name].form
    return Column(
        head=head,
        note="mean ± SD",
        show=number(f"{name}_mean", digits),
        small=lambda row: deviation(row[f"{name}_sd_people"], digits, why="one person has no SD"),
    )


def _area(head: str, name: str) -> Column:
    return Column(
        head=head,
        note="mean; pooled voxels below",
        show=number(f"{name}_mean", _AREA_DIGITS),
        small=lambda row: show_number(
            row[f"{name}_pooled"], _AREA_DIGITS, why=why_empty(row, f"{name}_pooled", "not measured")
        ),
    )


def _median_distance(row: Mapping) -> Markup:
    told = Markup("median {}").format(show_number(row["hd95_median_mm"], _DISTANCE_DIGITS))
    return Markup("<br>").join(filter(None, [told, without_text(row)]))


def _tested(head: str, without: Show | None = None) -> tuple[Column, ...]:
    """Return the columns of a test; each row has the digits of its measure.

    `without` tells the people of a row who have no value.
    """

    def digits(row: Mapping) -> Form:
        return MEASURES[row["measure"]].form

    return (
        Column(head="n", show=lambda row: str(row["n"]), small=without),
        Column(
            head=head,
            note="Hodges-Lehmann",
            show=lambda row: number("median_difference", digits(row))(row),
            small=lambda row: show_interval(row, "median_difference", digits(row)),
        ),
        words("Wins, ties, losses", lambda row: f"{row['wins']}, {row['ties']}, {row['losses']}"),
        Column(
            head="Wilcoxon p", show=p_value("wilcoxon_p_value"), small=lambda row: f"stated {row['stated']}"
        ),
    )


def _signed(value: float | None) -> Markup | str:
    return show_number(None) if value is None else fixed(value, DICE_DIGITS, sign="+")


def _share_of_samples(row: Mapping) -> Markup | str:
    share = row["chosen_share"]
    return (
        show_number(None, why=why_empty(row, "chosen_share", "no sample"))
        if share is None
        else f"{share:.0%}"
    )
