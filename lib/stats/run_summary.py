"""The results of a study in one line, for the end of a run: scans, the primary scores, flags, the report."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from lib.catalog.groups import ALL, group_position
from lib.catalog.protocols import CARD_PROTOCOLS, FOLDED_PROTOCOLS, PROTOCOLS, told_protocol
from lib.stats.agreement_units import volumes_of
from lib.stats.density_plan import NETWORK
from lib.stats.density_scale import without_scale
from lib.stats.formats import volume_in_cm3
from lib.stats.scan_counts import ScanCounts, count_flagged, count_scans
from lib.stats.tables import read_table

# one of these is told, as on the first screen of the report (`told_protocol`)
TOLD_PROTOCOLS = (*CARD_PROTOCOLS, *FOLDED_PROTOCOLS)
_PEOPLE = {
    "cv": "Cross-validation",
    "later": "Later people",
    "external": "People of other institutions",
}


def summarize_results(
    results: Path, networks: Sequence[str], structures: Sequence[str] = (), *, partial: bool = False
) -> str:
    """Return the results of a study in one line; "" if no scan has been screened.

    If the verdicts on the scans have changed since the tables were made, the tables are not read: this run did not
    get so far.

    Args:
        results: the folder with the results.
        networks: names of the networks, the primary one first.
        structures: those that the report leads with; none: all.
        partial: whether the report leaves out what has failed.
    """
    screened = results / "cohort/scans.csv"
    if not screened.exists():
        return ""

    def table(name: str) -> pd.DataFrame | None:
        path = results / "tables" / f"{name}.csv"
        return read_table(path) if path.exists() else None

    scans, flow = read_table(screened), table("flow")
    # not by the times of the files: Snakemake does not remake what depends on a file whose content is the same
    is_current = flow is not None and _verdicts(flow) == _verdicts(scans)
    sentences = [scans_in_words(count_scans(flow if is_current else scans))]
    if is_current:
        sentences.append(scores_in_words(table("scores"), table("agreement"), networks, structures))
        sentences.append(densities_in_words(table("bmd_agreement")))
        if (volumes := table("volumes")) is not None and len(volumes):
            sentences.append(f"{count_flagged(volumes, networks) or 'None'} flagged.")
    page = results / "report/index.html"
    if is_current and page.exists():
        sentences.append(f"{'Partial report' if partial else 'Report'}: {page.absolute()}")
    return " ".join(filter(None, sentences))


def scans_in_words(counts: ScanCounts) -> str:
    """Return how many scans were used and refused and why: "34 scans: 33 used, 1 refused (missing_slices)."."""
    parts = [f"{counts.used} {'accepted' if counts.is_screening else 'used'}"]
    parts += [f"{count} {name}{f' ({why})' if why else ''}" for count, name, why in counts.not_used()]
    return f"{_plural(counts.listed, 'scan')}: {', '.join(parts)}."


def scores_in_words(
    scores: pd.DataFrame | None,
    agreement: pd.DataFrame | None,
    networks: Sequence[str],
    structures: Sequence[str] = (),
) -> str:
    """Return the scores of the primary network, of people whom it has not seen if there are any.

    Args:
        scores: `tables/scores.csv`; None: there is none.
        agreement: `tables/agreement.csv`.
        networks: names of the networks, the primary one first.
        structures: those that are told; none: all.
    """
    if scores is None:
        return ""
    rows = scores[(scores["measure"] == "dsc") & (scores["stratum"] == ALL)].dropna(subset="mean")
    if structures:
        rows = rows[rows["structure"].isin(list(structures))]
    rows = _told_rows(rows, networks, "n")
    if rows.empty:
        return "Nothing was scored."
    first = rows.iloc[0]
    told = [f"Dice {_range(rows.set_index('structure')['mean'], _dice)}"]
    if agreement is not None:
        integral = agreement[agreement["compartment"] == "integral"]
        same = volumes_of(integral[integral["stratum"] == ALL]).dropna(subset="mae_mm3")
        for name in ("group", "network", "protocol"):
            same = same[same[name] == first[name]]
        errors_mm3 = same[same["structure"].isin(rows["structure"])].set_index("structure")["mae_mm3"]
        if len(errors_mm3):
            told.append(f"mean volume error {_range(errors_mm3, volume_in_cm3)} cm³")
    people = int(rows["n"].max())
    named = f", {first['network']}" if len(set(scores["network"])) > 1 else ""
    return f"{_title(first['protocol'])} ({_people(people)}{named}): {', '.join(told)}."


def densities_in_words(agreement: pd.DataFrame | None) -> str:
    """Return how well the primary regression estimates people's mean densities.

    Args:
        agreement: `tables/bmd_agreement.csv`; None or without usable rows: "".
    """
    if agreement is None or agreement.empty:
        return ""
    of_people = (agreement["method"] == NETWORK) & (agreement["kind"] == "person")
    rows = without_scale(agreement[of_people & (agreement["vendor"] == ALL)]).dropna(subset="r2")
    rows = _told_rows(rows, list(dict.fromkeys(rows["network"])), "n_people")
    if rows.empty:
        return ""
    first = rows.iloc[0]
    return (
        f"Density, {_title(first['protocol']).lower()} ({_people(int(first['n_people']))}): "
        f"R² {first['r2']:.3f}, RMSE {first['rmse']:.1f} mg/cm³."
    )


def _verdicts(scans: pd.DataFrame) -> dict[str, str]:
    return dict(zip(scans["scan"], scans["verdict"], strict=True))


def _told_rows(rows: pd.DataFrame, networks: Sequence[str], people: str) -> pd.DataFrame:
    """Return the rows of the first group, of its first network, and of the protocol that is told.

    `people` is the column with numbers of people, and `networks` the order of networks; others follow by name.
    """
    rows = rows[rows["protocol"].isin(TOLD_PROTOCOLS)]
    known = [*networks, *sorted(set(rows["network"]) - set(networks))]
    for name, order in (("group", group_position), ("network", known.index)):
        if len(rows):
            rows = rows[rows[name] == min(rows[name], key=order)]
    most = rows.groupby("protocol")[people].max().astype(int).to_dict()
    return rows[rows["protocol"] == told_protocol(most, TOLD_PROTOCOLS)]


def _title(protocol: str) -> str:
    return _PEOPLE.get(protocol, PROTOCOLS[protocol].title)


def _range(values: pd.Series, show: Callable[[float], str]) -> str:
    """Return one value, or the lowest and the highest with the names of their structures."""
    if len(values) == 1:
        return show(values.iloc[0])
    low, high = values.idxmin(), values.idxmax()
    return f"{show(values[low])} ({low}) to {show(values[high])} ({high})"


def _dice(value: float) -> str:
    return f"{value:.3f}"


def _people(count: int) -> str:
    return f"{count} person" if count == 1 else f"{count:,} people"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"
