"""Differences between vendors: of bias, of slope, and of Dice.

    bias   differences predicted - reference of person means: one-way analysis of variance that allows unequal
           variances (Welch, Biometrika 1951;38:330; statsmodels), then Welch's t of each pair (scipy)
    slope  of predicted on reference person means: analysis of covariance with an interaction of reference and vendor
           (ordinary least squares; statsmodels), F test of the interaction, then the difference of each pair
    dsc    mean Dice of a person's structures, as for the bias

p values of the pairs of one measure are corrected by Holm. Only vendors within one protocol are compared.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.oneway import anova_oneway

from lib.catalog.groups import ALL
from lib.stats.density_agreement import scored_densities
from lib.stats.density_people import one_a_person
from lib.stats.density_plan import METHODS, NETWORK, DensityPlan
from lib.stats.signed_rank import holm
from lib.stats.subgroups import welch_interval
from lib.stats.undefined import NAN, explain, interval_columns

BIAS, SLOPE, DICE = "bias", "slope", "dsc"
VENDOR_COLUMNS = (
    *("group", "network", "protocol", "method", "mean_of", "measure", "unit", "test", "vendor_a", "vendor_b"),
    *("n_a", "n_b", "value_a", "value_b", "difference", "difference_ci_low", "difference_ci_high"),
    *("statistic", "p_value", "holm_p_value", "family", "undefined"),
)
FEWEST_FOR_SLOPE = 3
_KEYS = ["group", "network", "protocol", "method", "mean_of"]
Compare = Callable[[pd.DataFrame, float], tuple[dict, list[dict]]]


def vendor_table(people: pd.DataFrame, bmd: pd.DataFrame, plan: DensityPlan) -> pd.DataFrame:
    """Return VENDOR_COLUMNS: for each measure a row of all vendors together, then one for each pair.

    `difference` is vendor_a - vendor_b, in the unit of its row. A vendor needs two people, three for a slope; scans
    with contrast medium do not count. Of Dice there is one comparison a mean, whose `method` is empty.

    Args:
        people: the result of `lib.stats.density_people.bmd_people_table`, without the scale in its names.
        bmd: that of `lib.stats.density_rows.bmd_table`, likewise.
        plan: means, level of the intervals.
    """
    means = scored_densities(people)
    means = means[(means["contrast"] == "no") & (means["vendor"] != "")]
    means = means.dropna(subset=["reference", "predicted"])
    rows = []
    for key, subset in _comparisons(means, bmd):
        persons = one_a_person(subset)
        measures = (
            {DICE: _compare_dice} if key["method"] == "" else {BIAS: _compare_bias, SLOPE: _compare_slopes}
        )
        for measure, compare in measures.items():
            told = key | {"measure": measure, "unit": f"{plan.scale}_mg_cm3" if measure == BIAS else ""}
            rows += _family(told, persons, compare, plan.confidence)
    return pd.DataFrame(rows, columns=list(VENDOR_COLUMNS))


def _comparisons(means: pd.DataFrame, bmd: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield key and rows of each comparison of several vendors; without a method: those of Dice."""
    order = {method: place for place, method in enumerate(METHODS)}
    dice = bmd[bmd["method"] == NETWORK].groupby(["group", "network", "members", "scan"])["mask_dsc"].mean()
    keyed = sorted(means.groupby(_KEYS, sort=False), key=lambda pair: order[pair[0][3]])
    for key, subset in keyed:
        if subset["vendor"].nunique() > 1:
            yield dict(zip(_KEYS, key, strict=True)), subset
    for key, subset in means[means["method"] == NETWORK].groupby(_KEYS, sort=False):
        places = pd.MultiIndex.from_frame(subset[["group", "network", "members", "scan"]])
        scored = subset.assign(mask_dsc=dice.reindex(places).to_numpy(float)).dropna(subset=["mask_dsc"])
        if scored["vendor"].nunique() > 1:
            yield dict(zip(_KEYS, key, strict=True)) | {"method": ""}, scored


def _family(key: Mapping, persons: pd.DataFrame, compare: Compare, confidence: float) -> list[dict]:
    """Return the rows of one measure, with Holm's correction over its pairs."""
    together, pairs = compare(persons, confidence)
    together |= {"vendor_a": ALL, "vendor_b": "", "n_a": len(persons), "n_b": 0, "family": 0}
    corrected = holm([pair["p_value"] for pair in pairs])
    family = int(np.isfinite([pair["p_value"] for pair in pairs]).sum())
    rows = [
        together,
        *(pair | {"holm_p_value": p, "family": family} for pair, p in zip(pairs, corrected, strict=True)),
    ]
    numbers = dict.fromkeys(
        ("value_a", "value_b", "difference", "difference_ci_low", "difference_ci_high", "holm_p_value"), NAN
    )
    why = dict.fromkeys(numbers, "all vendors together") | {"difference_ci": "all vendors together"}
    few = "a vendor has too few people, or their values are all the same"
    return [explain(dict(key) | numbers | row, why if row["vendor_a"] == ALL else {}, few) for row in rows]


def _compare_bias(persons: pd.DataFrame, confidence: float) -> tuple[dict, list[dict]]:
    return _compare_means(persons.assign(value=persons["predicted"] - persons["reference"]), confidence)


def _compare_dice(persons: pd.DataFrame, confidence: float) -> tuple[dict, list[dict]]:
    return _compare_means(persons.assign(value=persons["mask_dsc"]), confidence)


def _compare_means(persons: pd.DataFrame, confidence: float) -> tuple[dict, list[dict]]:
    """Return Welch's analysis of variance of `value` over all vendors, and Welch's t of each pair."""
    groups = {vendor: own["value"].to_numpy(float) for vendor, own in persons.groupby("vendor")}
    large = [values for values in groups.values() if len(values) > 1 and np.ptp(values) > 0]
    statistic, p_value = NAN, NAN
    if len(large) > 1:
        found = anova_oneway(large, use_var="unequal", welch_correction=True)
        statistic, p_value = float(found.statistic), float(found.pvalue)
    together = {"test": "Welch's analysis of variance", "statistic": statistic, "p_value": p_value}
    return together, [
        {"vendor_a": first, "vendor_b": second, "n_a": len(groups[first]), "n_b": len(groups[second])}
        | {"test": "Welch's t", **_welch(groups[first], groups[second], confidence)}
        for first, second in combinations(groups, 2)
    ]


def _welch(first: np.ndarray, second: np.ndarray, confidence: float) -> dict[str, float]:
    """Return means, their difference with Welch's interval, t and p."""
    interval = welch_interval(first, second, confidence)
    tested = stats.ttest_ind(first, second, equal_var=False) if np.isfinite(interval[0]) else None
    return {
        "value_a": float(first.mean()),
        "value_b": float(second.mean()),
        "difference": float(first.mean() - second.mean()),
        **interval_columns("difference", interval),
        "statistic": NAN if tested is None else float(tested.statistic),
        "p_value": NAN if tested is None else float(tested.pvalue),
    }


def _compare_slopes(persons: pd.DataFrame, confidence: float) -> tuple[dict, list[dict]]:
    """Return the test of the interaction of reference and vendor, and the difference of each pair of slopes."""
    counts = persons.groupby("vendor")["reference"].agg(["size", np.ptp])
    fine = list(counts.index[(counts["size"] >= FEWEST_FOR_SLOPE) & (counts["ptp"] > 0)])
    together: dict = {"test": "analysis of covariance", "statistic": NAN, "p_value": NAN}
    fit = None
    if len(fine) > 1:
        known = persons[persons["vendor"].isin(fine)]
        inside = np.column_stack([known["vendor"] == vendor for vendor in fine]).astype(float)
        x = known["reference"].to_numpy(float) - known["reference"].mean()
        # an intercept, then a slope, for each vendor
        fit = OLS(known["predicted"].to_numpy(float), np.column_stack([inside, inside * x[:, None]])).fit()
    if fit is not None and fit.df_resid > 0 and fit.ssr > 1e-18 * fit.uncentered_tss:
        found = fit.f_test(np.array([_contrast(fine, fine[0], other) for other in fine[1:]]))
        together |= {"statistic": float(np.squeeze(found.fvalue)), "p_value": float(np.squeeze(found.pvalue))}
    else:
        fit = None
    pairs = []
    for first, second in combinations(sorted(persons["vendor"].unique()), 2):
        sizes = {f"n_{end}": int((persons["vendor"] == v).sum()) for end, v in (("a", first), ("b", second))}
        told = {"vendor_a": first, "vendor_b": second, "test": "t of the difference of slopes", **sizes}
        pairs.append(told | _slopes(fit, fine, (first, second), confidence))
    return together, pairs


def _slopes(fit: object, fine: list[str], pair: tuple[str, str], confidence: float) -> dict[str, float]:
    """Return the slopes of a pair of vendors, their difference with its interval, t and p; NaN if not fitted."""
    if fit is None or not set(pair) <= set(fine):
        names = ("value_a", "value_b", "difference", "statistic", "p_value")
        return dict.fromkeys(names, NAN) | interval_columns("difference", (NAN, NAN))
    tested = fit.t_test(_contrast(fine, *pair))
    low, high = np.ravel(tested.conf_int(1 - confidence))
    slopes = {end: float(fit.params[len(fine) + fine.index(v)]) for end, v in zip("ab", pair, strict=True)}
    return {
        "value_a": slopes["a"],
        "value_b": slopes["b"],
        "difference": slopes["a"] - slopes["b"],
        **interval_columns("difference", (float(low), float(high))),
        "statistic": float(np.squeeze(tested.tvalue)),
        "p_value": float(np.squeeze(tested.pvalue)),
    }


def _contrast(vendors: list[str], first: str, second: str) -> np.ndarray:
    """Return the weights of coefficients (intercepts, then slopes) for slope of first minus slope of second."""
    weights = np.zeros(2 * len(vendors))
    weights[len(vendors) + vendors.index(first)] = 1
    weights[len(vendors) + vendors.index(second)] = -1
    return weights
