"""The first screen of the report: what the study found in a sentence, its scans in numbers, two scans as pictures.

All of it is read off the tables. A value that is missing, infinite or out of its range is left out, never printed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from lib.catalog.groups import ALL, GROUP_NAMES, group_position
from lib.catalog.measures import WHOLE
from lib.catalog.protocols import told_protocol
from lib.catalog.scales import CALIBRATED_SCALES
from lib.pages.wording import counted, joined
from lib.stats.density_plan import HU_LINEAR, METHOD_WORDS, NETWORK, PHANTOM
from lib.stats.density_scale import scale_in_words, scale_of, without_scale
from lib.stats.formats import fixed, records, volume_in_cm3
from lib.stats.grouping import without_repeats

DICE_DIGITS, PERCENT_DIGITS, DENSITY_DIGITS = 3, 1, 1
# what the first screen says of the people of each protocol, after their number
SEEN: Mapping[str, str] = {
    "test": "never seen before",
    "external": "of other institutions, never seen before",
    "later": "who were not part of the training",
    "cv": "each predicted by a model that did not see them (cross-validation)",
}
_BESIDE_NETWORK = (HU_LINEAR, PHANTOM)  # methods whose errors stand beside those of the network
# regions of a calibrated bone that stand for all of it, the largest first
_WHOLE_REGIONS = (WHOLE, "proximal_femur", "total_hip")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scan that the first screen shows as a picture.

    Attributes:
        kind: why it is shown, such as "Typical".
        scan: its pseudonym.
        told: its numbers in words.
    """

    kind: str
    scan: str
    told: str


def found_sentences(
    headlines: Sequence[Mapping],
    tables: Mapping[str, pd.DataFrame],
    networks: Sequence[str],
    means: Mapping[str, Sequence[str]],
) -> list[Markup]:
    """Return what a study found, in sentences that need no knowledge of its methods.

    The first is of overlap and volume; studies with a regression of densities or with calibrated densities have one
    more of each. Numbers are of the first network and group, and of one protocol (`told_protocol`).

    Args:
        headlines: scores and agreement by model, protocol and structure (`lib.pages.report.headlines`).
        tables: the tables of the report by name.
        networks: the networks in the order of the configuration.
        means: structures of each mean of densities (`classes.means` of the configuration).
    """
    rows = primary_headlines(headlines, networks)
    several = len({row["network"] for row in headlines})
    led = {row["structure"] for row in rows}
    others = [name for name in tables["volumes"]["structure"].unique() if name not in led]
    sentences = [
        overlap_sentence(rows, several, others),
        regression_sentence(tables, means),
        calibrated_sentence(tables),
    ]
    return [sentence for sentence in sentences if sentence] or [nothing_scored(tables["volumes"])]


def primary_headlines(headlines: Sequence[Mapping], networks: Sequence[str]) -> list[Mapping]:
    """Return the headlines of the first network and, of it, of the protocol that is told; a row a structure."""
    known = list(dict.fromkeys(row["network"] for row in headlines))
    first = next((name for name in (*networks, *known) if name in known), "")
    own = [row for row in headlines if row["network"] == first and row["n"]]
    told = told_protocol(_most_people(own, "n"))
    return [row for row in own if row["protocol"] == told]


def overlap_sentence(rows: Sequence[Mapping], networks: int = 1, others: Sequence[str] = ()) -> Markup:
    """Return the sentence on Dice and volume error of some people; of several structures, from lowest to highest.

    Args:
        rows: headlines of one protocol and network, one for each structure.
        networks: number of networks of the study; of several ones the sentence names its own.
        others: structures of the study without a row, which are named.
    """
    if not rows:
        return Markup("")
    dice = _by_structure(rows, lambda row: _within(row["dsc"]["mean"], 0, 1))
    errors = _by_structure(rows, lambda row: _within(row.get("mae_mm3"), 0, math.inf))
    worst = _by_structure(rows, _worst_percent)
    parts = [
        _linked("dsc", "Dice") + _range_of(dice, lambda value: fixed(value, DICE_DIGITS), len(rows))
        if dice
        else Markup("no Dice defined"),
        _linked("mae", "volume error") + _volume_range(errors, len(rows)) + " on average" if errors else "",
        _largest(worst, len(rows)) if worst else "",
    ]
    by = f", by {rows[0]['network']}, the first of {networks} networks" if networks > 1 else ""
    elsewhere = Markup(' {}: <a href="#overlap">Overlap</a>.').format(joined(others)) if others else ""
    return Markup("In {}{}: {}.{}{}").format(
        _people(rows), by, Markup(", ").join(filter(None, parts)), elsewhere, _gaps(rows)
    )


def regression_sentence(tables: Mapping[str, pd.DataFrame], means: Mapping[str, Sequence[str]]) -> Markup:
    """Return the sentences on the density that a network reads, of the first mean of people; empty without one.

    Beside the network stand the line on HU and the phantoms, if there are some. Biases of vendors follow, because
    they cancel in that of everybody.
    """
    if "bmd_agreement" not in tables:
        return Markup("")
    unit = scale_in_words(scale_of(tables["bmd_agreement"]))
    people = [
        row
        for row in records(without_scale(tables["bmd_agreement"]))
        if (row["kind"], row["contrast"]) == ("person", "no") and row["n_people"]
    ]
    own = [row for row in people if row["method"] == NETWORK]
    row = _first_protocol([row for row in own if row["vendor"] == ALL], "n_people")
    if row is None:
        return Markup("")
    bias, rmse = _within(row["bias"]), _within(row["rmse"], 0, math.inf)
    told = [
        "" if bias is None else _linked("bias", "bias") + fixed(bias, DENSITY_DIGITS, sign="+"),
        "" if rmse is None else _linked("rmse", "root mean square error") + fixed(rmse, DENSITY_DIGITS),
    ]
    if not any(told):
        return Markup("")
    alike = [
        other
        for other in people
        if all(other[name] == row[name] for name in ("group", "protocol", "network", "mean_of"))
    ]
    return Markup("Bone density read by the network (mean of {}), {} {}: {} {}{}.{}").format(
        joined(means.get(row["mean_of"]) or [row["mean_of"]]),
        counted(int(row["n_people"]), "person", "people"),
        SEEN[row["protocol"]],
        Markup(", ").join(filter(None, told)),
        unit,
        _errors_of_others(alike, row["n_people"]),
        _biases_of_vendors([other for other in alike if other["method"] == NETWORK]),
    )


def _errors_of_others(rows: Sequence[Mapping], people: int) -> str:
    """Return the RMSE of the line on HU and of phantoms in brackets, with their people if these are not all."""
    told = []
    for method in _BESIDE_NETWORK:
        for row in rows:
            if (row["method"], row["vendor"]) == (method, ALL) and _within(
                row["rmse"], 0, math.inf
            ) is not None:
                of = (
                    ""
                    if row["n_people"] == people
                    else f" in {counted(int(row['n_people']), 'person', 'people')}"
                )
                told.append(f"{METHOD_WORDS[method]} {fixed(row['rmse'], DENSITY_DIGITS)}{of}")
    return f" (other methods: {', '.join(told)})" if told else ""


def _biases_of_vendors(rows: Sequence[Mapping]) -> str:
    """Return the bias of each of several vendors and which is new to the network; empty for one vendor."""
    shown = [row for row in rows if row["vendor"] not in (ALL, "") and _within(row["bias"]) is not None]
    if len(shown) < 2:
        return ""
    told = [
        f"{fixed(row['bias'], DENSITY_DIGITS, sign='+')} {row['vendor']}"
        + (" (new to the network)" if row["vendor_trained"] == "no" else "")
        for row in shown
    ]
    return f" Bias by vendor: {', '.join(told)}."


def calibrated_sentence(tables: Mapping[str, pd.DataFrame]) -> Markup:
    """Return the sentence on calibrated density of the whole bone, on the scale of most people; empty without one."""
    rows = [
        row | {"scale": row["measure"].removeprefix("vbmd_")}
        for row in records(tables["agreement"])
        if row["measure"].startswith("vbmd_") and row["compartment"] == "integral" and row["stratum"] == ALL
    ]
    rows = [row for row in rows if row["scale"] in CALIBRATED_SCALES and row["n"]]
    region = next((name for name in _WHOLE_REGIONS if any(row["region"] == name for row in rows)), "")
    rows = sorted((row for row in rows if row["region"] == region), key=lambda row: -row["n"])
    row = _first_protocol(rows, "n")
    bias = None if row is None else _within(row["bias"])
    if bias is None:
        return Markup("")
    others = {other["scale"] for other in rows} - {row["scale"]}
    return Markup(
        "Integral density of {} in {} {}, measured in the predicted instead of the reference mask: "
        "{}{} mg/cm³ ({}).{}"
    ).format(
        "the whole structure" if region == WHOLE else f"the {region.replace('_', ' ')}",
        counted(row["n"], "person", "people"),
        SEEN[row["protocol"]],
        _linked("bias", "bias"),
        fixed(bias, DENSITY_DIGITS, sign="+"),
        CALIBRATED_SCALES[row["scale"]],
        Markup(' Other scales: <a href="#calibration">Calibrated density</a>.') if others else "",
    )


def nothing_scored(volumes: pd.DataFrame) -> Markup:
    """Return the sentence of a study without any score."""
    measured = volumes["scan"].nunique()
    if not measured:
        return Markup("No scan has been predicted yet, so there are no results.")
    return Markup(
        "{} measured, and nothing could be scored: no measured person has a reference that the models did not see. "
        "This report does not tell how accurate these masks are."
    ).format(counted(measured, "scan was", "scans were"))


def shown_cases(
    metrics: pd.DataFrame, rows: Sequence[Mapping], drawn: Iterable[str], words: str = "Dice"
) -> list[Case]:
    """Return the scan of median Dice and that of the lowest, of the people of the first sentence.

    Of several structures a scan counts with the mean over those of `rows`. Repeated scans are left out.

    Args:
        metrics: the scored predictions.
        rows: the headlines of the first sentence (`primary_headlines`).
        drawn: scans with a page.
        words: the name of the measure.
    """
    if not rows:
        return []
    keys = ["group", "network", "protocol"]
    scored = without_repeats(metrics).dropna(subset=["dsc"])
    for name in keys:
        scored = scored[scored[name] == rows[0][name]]
    scored = scored[scored["structure"].isin([row["structure"] for row in rows])]
    scored = scored[scored["scan"].isin(list(drawn))]
    dice = scored.groupby("scan")["dsc"].mean().sort_index().sort_values(kind="stable")
    if dice.empty:
        return []
    error = scored.groupby("scan")["re_percent"].agg(lambda values: values.iloc[0])
    several = f"mean {words} of {joined(row['structure'] for row in rows)}"
    named = several if len(rows) > 1 else words

    def case(kind: str, scan: str) -> Case:
        told = f"{named} {fixed(dice[scan], DICE_DIGITS)}"
        known = _within(error[scan]) if len(rows) == 1 else None
        told += "" if known is None else f", volume {fixed(known, PERCENT_DIGITS, sign='+')} %"
        return Case(kind=kind, scan=scan, told=told)

    if len(dice) == 1:
        return [case("The scored scan", dice.index[0])]
    return [
        case("Typical (median Dice)", dice.index[len(dice) // 2]),
        case("Worst (lowest Dice)", dice.index[0]),
    ]


def _first_protocol(rows: Sequence[Mapping], count: str) -> Mapping | None:
    """Return the first row of the protocol that is told, of the first group; None if there is none."""
    groups = sorted({row["group"] for row in rows}, key=group_position)
    own = [row for row in rows if row["group"] == groups[0] and row[count]]
    told = told_protocol(_most_people(own, count))
    return next((row for row in own if row["protocol"] == told), None)


def _most_people(rows: Sequence[Mapping], count: str) -> dict[str, int]:
    """Return the largest number of people in the rows of each protocol."""
    most: dict[str, int] = {}
    for row in rows:
        most[row["protocol"]] = max(most.get(row["protocol"], 0), int(row[count]))
    return most


def _people(rows: Sequence[Mapping]) -> str:
    """Return the number of people of some rows with what is said of them."""
    counts, row = sorted({int(row["n"]) for row in rows}), rows[0]
    number = (
        f"{counts[0]} to {counts[-1]} people" if len(counts) > 1 else counted(counts[0], "person", "people")
    )
    of = "" if row["group"] == ALL else f" ({GROUP_NAMES.get(row['group'], row['group'])})"
    return f"{number}{of} {SEEN[row['protocol']]}"


def _gaps(rows: Sequence[Mapping]) -> str:
    """Return a sentence on scans that should have been scored but were not; empty if there are none."""
    lost = max(int(row.get("not_scored") or 0) for row in rows)
    told = counted(lost, "scan could not be scored and is", "scans could not be scored and are")
    return f" {told} not in these numbers." if lost else ""


def _within(value: object, low: float = -math.inf, high: float = math.inf) -> float | None:
    """Return a finite number from `low` to `high`; None for anything else."""
    if value is None or not math.isfinite(value) or not low <= value <= high:
        return None
    return float(value)


def _by_structure(rows: Sequence[Mapping], value_of) -> dict[str, float]:
    """Return a known value of each structure, from the lowest to the highest."""
    known = {row["structure"]: value for row in rows if (value := value_of(row)) is not None}
    return dict(sorted(known.items(), key=lambda item: item[1]))


def _worst_percent(row: Mapping) -> float | None:
    """Return the relative volume error in percent that is farthest from 0."""
    ends = [_within(row.get(f"re_{end}_percent")) for end in ("min", "max")]
    return max((end for end in ends if end is not None), key=abs, default=None)


def _range_of(values: Mapping[str, float], show, structures: int) -> str:
    """Return a value or, of several structures, the lowest and the highest with their structures."""
    (low_name, low), (high_name, high) = list(values.items())[0], list(values.items())[-1]
    if structures == 1:
        return show(low)
    if low_name == high_name:
        return f"{show(low)} ({low_name})"
    return f"{show(low)} ({low_name}) to {show(high)} ({high_name})"


def _volume_range(values: Mapping[str, float], structures: int) -> str:
    return f"{_range_of(values, volume_in_cm3, structures)} cm³"


def _largest(values: Mapping[str, float], structures: int) -> str:
    """Return the error that is farthest from 0, with its structure if there are several."""
    name, value = max(values.items(), key=lambda item: abs(item[1]))
    of = f" ({name})" if structures > 1 else ""
    return f"{fixed(value, PERCENT_DIGITS, sign='+')} % at worst{of}"


def _linked(term: str, words: str) -> Markup:
    """Return words that link to the definition of a term, with the blank after them."""
    return Markup('<a class="term" href="#def-{}">{}</a> ').format(term, words)
