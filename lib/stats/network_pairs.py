"""Differences of two networks on the same people: each against the control, and the pair stated before the run."""

from collections.abc import Mapping

import pandas as pd

from lib.catalog.measures import MEASURES
from lib.stats.network_plan import KEYS, NetworkPlan, person_values, shared_values, subsets_of_networks
from lib.stats.signed_rank import fewest_for_interval, holm, signed_rank
from lib.stats.undefined import explain, interval_columns

CONTROL_MEASURE = "dsc"
PAIR_MEASURES = ("dsc", "hd95_mm", "assd_mm")
_TESTED = (
    *("n", "median_difference", "median_difference_ci_low", "median_difference_ci_high"),
    *("wilcoxon_p_value", "wilcoxon_method"),
)
NETWORK_PAIR_COLUMNS = (
    *(*KEYS, "network", "control", "measure"),
    *(*_TESTED, "holm_p_value", "family", "wins", "ties", "losses", "stated", "undefined"),
)
DIMENSION_PAIR_COLUMNS = (
    *(*KEYS, "measure", "network", "other_network", "better"),
    *(*_TESTED, "wins", "ties", "losses", "stated", "undefined"),
)
NEITHER = "neither"


def network_pairs_table(metrics: pd.DataFrame, plan: NetworkPlan) -> pd.DataFrame:
    """Return NETWORK_PAIR_COLUMNS: each network against the control, by group, protocol and structure.

    The difference is the Dice of the network minus that of the control, of people whom both predicted, each with the
    mean over their scans. Holm's correction holds for the rows of one group, protocol and structure, whose number is
    `family`. Without the control among the networks there are no rows.
    """
    rows = []
    for key, subset in subsets_of_networks(metrics):
        values = person_values(subset, CONTROL_MEASURE)
        others = [name for name in plan.in_order(values) if name != plan.control]
        if plan.control not in values:
            continue
        measure = {"control": plan.control, "measure": CONTROL_MEASURE}
        family = [
            {"network": name} | measure | compare_networks(values, name, plan.control, plan)
            for name in others
        ]
        corrected = holm([row["wilcoxon_p_value"] for row in family])
        for row, p_value in zip(family, corrected, strict=True):
            told = {"holm_p_value": p_value, "family": len(family), "stated": plan.stated["control"]}
            rows.append(explain_test(key | row | told, plan))
    return pd.DataFrame(rows, columns=list(NETWORK_PAIR_COLUMNS))


def dimension_pair_table(metrics: pd.DataFrame, plan: NetworkPlan) -> pd.DataFrame:
    """Return DIMENSION_PAIR_COLUMNS: the stated 2-D and 3-D network, a row for each of PAIR_MEASURES.

    The difference is the first network of the pair minus the second. The stated test is that of Dice; those of the
    distances are given beside it, without a correction. `better` names the network that the estimate favours, whether
    or not the interval holds 0. Without a pair, or without its networks, there are no rows.
    """
    rows = []
    for key, subset in subsets_of_networks(metrics) if plan.asked.pair else ():
        first, second = plan.asked.pair
        if not {first, second} <= set(subset["network"]):
            continue
        for name in PAIR_MEASURES:
            tested = compare_networks(person_values(subset, name), first, second, plan, name)
            row = {"measure": name, "network": first, "other_network": second, "stated": plan.stated["pair"]}
            row["better"] = _better(tested["median_difference"], name, plan.asked.pair)
            rows.append(explain_test(key | row | tested, plan))
    return pd.DataFrame(rows, columns=list(DIMENSION_PAIR_COLUMNS))


def compare_networks(
    values: pd.DataFrame, first: str, second: str, plan: NetworkPlan, measure: str = CONTROL_MEASURE
) -> dict:
    """Return the test of the values of two networks by person, and wins, ties and losses of the first (people).

    A win is a higher value, or a lower one where the measure is a distance.
    """
    tested = signed_rank(*shared_values(values, first, second), plan.confidence)
    wins, losses = tested.positive, tested.negative
    if MEASURES[measure].better == "less":
        wins, losses = losses, wins
    return {
        "n": tested.n,
        "median_difference": tested.median,
        **interval_columns("median_difference", tested.interval),
        "wilcoxon_p_value": tested.p_value,
        "wilcoxon_method": tested.method,
        "wins": wins,
        "ties": tested.zero,
        "losses": losses,
    }


def explain_test(row: Mapping, plan: NetworkPlan) -> dict:
    """Return a row with the reasons of its empty numbers."""
    few = fewest_for_interval(plan.confidence)
    return explain(
        row,
        {"median_difference_ci": f"fewer than {few} people"} if row["n"] else {},
        "nobody has a value of both networks",
    )


def _better(difference: float, measure: str, pair: tuple[str, str]) -> str:
    """Return the network with the better values; NEITHER if they do not differ or are not known."""
    gain = -difference if MEASURES[measure].better == "less" else difference
    return pair[0] if gain > 0 else pair[1] if gain < 0 else NEITHER
