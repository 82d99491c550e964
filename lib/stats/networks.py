"""The networks of a study side by side: shape, cost and scores; and the tables that compare them.

A person counts once, with the mean over their scans. The spread is given over people and, in cross-validation, over
the means of the folds, both with ddof 1; they answer different questions and are never pooled.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lib.catalog.measures import MEASURES
from lib.stats.jackknife import mean_interval
from lib.stats.network_costs import COST_COLUMNS, training_costs
from lib.stats.network_pairs import dimension_pair_table, network_pairs_table
from lib.stats.network_plan import NetworkPlan, person_values, subsets_of_networks
from lib.stats.selection import selection_table
from lib.stats.undefined import NAN, explain, interval_columns
from lib.stats.without_distance import WITHOUT_DISTANCE, without_distance

SHAPE = ("initial_maps", "levels", "bottleneck_dilation")
# measure of metrics.csv -> columns of its mean, of its SD over people and of its median; empty: no such column
SUMMARIZED: Mapping[str, tuple[str, str, str]] = {
    "precision": ("precision_mean", "precision_sd_people", ""),
    "sensitivity": ("sensitivity_mean", "sensitivity_sd_people", ""),
    "hd95_mm": ("hd95_mean_mm", "", "hd95_median_mm"),
    "assd_mm": ("assd_mean_mm", "", ""),
    "nsd": ("nsd_mean", "", ""),
    "auc_roc": ("auc_roc_mean", "", ""),
    "auc_pr": ("auc_pr_mean", "", ""),
    "dsc_raw": ("dsc_raw_mean", "", ""),
    "dsc_half": ("dsc_half_mean", "", ""),
}
AREAS = ("auc_roc", "auc_pr")
NETWORK_COLUMNS = (
    *("group", "network", "protocol", "structure", "dimensions", *SHAPE, *COST_COLUMNS),
    *("predict_seconds_per_scan", "n", "folds", "dsc_mean", "dsc_mean_ci_low", "dsc_mean_ci_high"),
    *("dsc_sd_people", "dsc_sd_folds", "hd95_n", WITHOUT_DISTANCE),
    *(name for names in SUMMARIZED.values() for name in names if name),
    *(f"{name}_pooled" for name in AREAS),
    *("component_gain", "undefined"),
)


def tables_of_networks(
    metrics: pd.DataFrame,
    runs: Iterable[Mapping],
    plan: NetworkPlan,
    seconds: Mapping[tuple[str, str, str], float],
    areas: Mapping[tuple[str, str, str, str], Mapping[str, float]],
) -> dict[str, pd.DataFrame]:
    """Return the tables that compare networks, by file name: networks, network_pairs, dimension_pair, selection.

    Args:
        metrics: tables/metrics.csv.
        runs: records of the trained folds (run.json).
        plan: the networks, and how they are compared.
        seconds: result of `lib.stats.network_costs.prediction_seconds`; may lack models.
        areas: result of `lib.stats.curves.areas_by_key`; may lack networks.
    """
    return {
        "networks": networks_table(metrics, runs, plan, seconds, areas),
        "network_pairs": network_pairs_table(metrics, plan),
        "dimension_pair": dimension_pair_table(metrics, plan),
        "selection": selection_table(metrics, plan),
    }


def networks_table(
    metrics: pd.DataFrame,
    runs: Iterable[Mapping],
    plan: NetworkPlan,
    seconds: Mapping[tuple[str, str, str], float],
    areas: Mapping[tuple[str, str, str, str], Mapping[str, float]],
) -> pd.DataFrame:
    """Return NETWORK_COLUMNS, a row for each network by group, protocol and structure.

    The arguments are those of `tables_of_networks`. The interval of the mean Dice is the jackknife over people.
    `component_gain` is the mean Dice minus that before the largest component is kept, of the same people.
    """
    costs, rows = training_costs(runs), []
    for key, subset in subsets_of_networks(metrics):
        for network in plan.in_order(subset["network"]):
            own = subset[subset["network"] == network]
            row = key | {"network": network} | _shape(plan.networks.get(network), plan.dimensions(network))
            row |= costs.get((key["group"], network), dict.fromkeys(COST_COLUMNS, NAN))
            row["predict_seconds_per_scan"] = _seconds(own, seconds)
            row |= _dice(own, key["protocol"], plan.confidence) | _scores(own)
            pooled = areas.get((key["group"], network, key["protocol"], key["structure"]), {})
            row |= {f"{name}_pooled": pooled.get(name, NAN) for name in AREAS}
            rows.append(_explained(row, own))
    return pd.DataFrame(rows, columns=list(NETWORK_COLUMNS))


def _shape(entry: Mapping | None, dimensions: int | None) -> dict[str, float]:
    """Return dimensions and SHAPE of an entry of config `networks`; SHAPE is NaN unless it is the short form."""
    unet = (entry or {}).get("unet")
    shape = {name: unet.get(name, 1) if unet else NAN for name in SHAPE}
    return {"dimensions": NAN if dimensions is None else dimensions} | shape


def _seconds(own: pd.DataFrame, seconds: Mapping[tuple[str, str, str], float]) -> float:
    """Return the mean seconds of a prediction over the scans of a network; NaN if those of any are not known."""
    models = own[["group", "network", "members"]].itertuples(index=False, name=None)
    return float(np.mean([seconds.get(of, NAN) for of in models]))


def _dice(own: pd.DataFrame, protocol: str, confidence: float) -> dict[str, float]:
    """Return mean Dice over people with interval, its SD over people, and over the means of folds."""
    dice = _values(own, "dsc")
    people = dice.to_numpy(float)
    interval = mean_interval(people, np.arange(len(people)), confidence, MEASURES["dsc"].scale)
    fold_of = own.groupby("subject")["fold"].first()[dice.index] if protocol == "cv" else pd.Series()
    folds = dice.groupby(fold_of.astype(int)).mean() if protocol == "cv" else pd.Series()
    return {
        "n": len(people),
        "folds": len(folds),
        "dsc_mean": _mean(dice),
        **interval_columns("dsc_mean", interval),
        "dsc_sd_people": _sd(dice),
        "dsc_sd_folds": _sd(folds),
    }


def _scores(own: pd.DataFrame) -> dict:
    """Return the columns of SUMMARIZED, and what keeping the largest component adds to the Dice."""
    row: dict = {"hd95_n": len(_values(own, "hd95_mm"))}
    row |= {WITHOUT_DISTANCE: without_distance(own)}
    for measure, (of_mean, of_sd, of_median) in SUMMARIZED.items():
        values = _values(own, measure)
        row[of_mean] = _mean(values)
        if of_sd:
            row[of_sd] = _sd(values)
        if of_median:
            row[of_median] = float(values.median())
    row["component_gain"] = _mean((_values(own, "dsc") - _values(own, "dsc_raw")).dropna())
    return row


def _values(own: pd.DataFrame, measure: str) -> pd.Series:
    """Return a measure of one network by person, those without a value left out."""
    values = person_values(own, measure)
    return values.iloc[:, 0].dropna() if len(values.columns) else pd.Series(dtype=float)


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else NAN


def _sd(values: pd.Series) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else NAN


def _explained(row: Mapping, own: pd.DataFrame) -> dict:
    """Return a row with the reasons of its empty numbers; `own` are the scans of the network."""
    why = dict.fromkeys(SHAPE, "not given as a U-Net by its short form")
    why |= {"dimensions": "not described in the configuration"}
    why |= dict.fromkeys((*COST_COLUMNS, "predict_seconds_per_scan"), "not recorded")
    why |= dict.fromkeys((f"{name}_pooled" for name in AREAS), "no probability was measured")
    why["dsc_sd_folds"] = "fewer than two folds" if row["protocol"] == "cv" else "no cross-validation"
    for measure, names in {**SUMMARIZED, "dsc_raw": ("dsc_raw_mean", "component_gain")}.items():
        measured = measure in own and own[measure].notna().any()
        why |= dict.fromkeys(names, "one person" if measured else "no scan defines it")
        if measure not in own:
            why |= dict.fromkeys(names, "not measured")
    why["dsc_mean_ci"] = "too few people, or their values are all the same"
    return explain(row, why, "one person" if row["n"] else "no scan defines it")
