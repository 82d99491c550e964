"""Classes of mean densities: confusion, sensitivity and predictive values, weighted kappa, area under the ROC curve.

    kappa      1 - sum(w O) / sum(w E), w = (i - j)^2 (quadratic) or |i - j| (linear), O the observed and E the
               expected counts of the 3 x 3 table (Cohen, Psychol Bull 1968;70:213); percentile interval of the
               bootstrap over people (`lib.stats.clustered`)
    shares     sensitivity, specificity, predictive values, with Wilson's interval (statsmodels)
    auc        share of pairs of a person with and one without the class that the predicted density puts in the right
               order; its interval inverts the score-like test of Newcombe (Stat Med 2006;25:559, method 5), which
               also holds for an area of 1

A class is a threshold on a continuous number: near a cut-off a disagreement is one of precision. So people within
5 mg/cm3 of a cut-off (by their reference) are counted, and how many of the disagreements are theirs.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from lib.catalog.groups import ALL
from lib.seeding import derive_seed
from lib.stats.clustered import percentile_interval, resampled_totals
from lib.stats.density_agreement import scored_densities
from lib.stats.density_people import (
    CLASSES,
    NORMAL,
    OSTEOPOROSIS,
    density_class,
    is_near_cut_off,
    one_a_person,
    trained_vendors,
    vendor_trained,
)
from lib.stats.density_plan import FEWEST_FOR_BOOTSTRAP, METHODS, DensityPlan
from lib.stats.formats import undefined_reasons
from lib.stats.undefined import NAN, NO_INTERVAL, Interval, counted_reasons, explain, interval_columns

LOW = "low"  # osteoporosis or osteopenia
SHARES = ("sensitivity", "specificity", "ppv", "npv")
KAPPAS = ("weighted_kappa_quadratic", "weighted_kappa_linear")
_KEYS = ("group", "network", "protocol", "method", "vendor", "vendor_trained", "mean_of")
CLASS_COLUMNS = (
    *(*_KEYS, "class", "n", "n_class", "n_predicted", "agree", "disagree"),
    *("near_cut_off", "disagree_near_cut_off", "withheld", "withheld_reason"),
    *(column for name in (*SHARES, "auc", *KAPPAS) for column in (name, f"{name}_ci_low", f"{name}_ci_high")),
    "undefined",
)
CONFUSION_COLUMNS = (*_KEYS, "reference_class", "predicted_class", "n", "n_near_cut_off")


def class_tables(
    people: pd.DataFrame, bmd: pd.DataFrame, plan: DensityPlan
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return CLASS_COLUMNS and CONFUSION_COLUMNS of scored means by group, network, protocol, method and vendor.

    Classes have a row for each of CLASSES and LOW, and one for all together (`all`: kappa, agreement, people whose
    class was withheld). A person with several scans has the class of their mean. The confusion has a row for each
    pair of classes, also with 0 people.

    Args:
        people: the result of `lib.stats.density_people.bmd_people_table`, without the scale in its names.
        bmd: that of `lib.stats.density_rows.bmd_table`, likewise.
        plan: means and cut-offs.
    """
    rows, counts = [], []
    for key, asked in _asked(people, bmd):
        known = asked[(asked["predicted_class"] != "") & (asked["reference_class"] != "")]
        persons = _classified(known, plan)
        lost = asked[~asked["subject"].isin(persons["subject"])]
        rows += _class_rows(key, persons, lost, plan)
        counts += _confusion_rows(key, persons)
    return (
        pd.DataFrame(rows, columns=list(CLASS_COLUMNS)),
        pd.DataFrame(counts, columns=list(CONFUSION_COLUMNS)),
    )


def weighted_kappa(confusion: np.ndarray, power: int) -> np.ndarray:
    """Return Cohen's weighted kappa of confusions (..., k, k) with the weights |i - j|^power; NaN if E is 0."""
    k = confusion.shape[-1]
    weights = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float) ** power
    total = confusion.sum(axis=(-2, -1))
    expected = confusion.sum(axis=-1)[..., :, None] * confusion.sum(axis=-2)[..., None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        disorder = np.sum(weights * expected, axis=(-2, -1)) / total
        return 1 - np.sum(weights * confusion, axis=(-2, -1)) / np.where(disorder > 0, disorder, NAN)


def area_under_roc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the share of pairs in which the positive (n,) exceeds the negative (m,), ties counting half."""
    if not (len(positive) and len(negative)):
        return NAN
    found = stats.mannwhitneyu(positive, negative, method="asymptotic")
    return float(found.statistic) / (len(positive) * len(negative))


def area_interval(area: float, positive: int, negative: int, confidence: float) -> Interval:
    """Return the interval of an area under the ROC curve of so many positive and negative people (Newcombe 2006)."""
    if not np.isfinite(area) or min(positive, negative) < 2:
        return NO_INTERVAL
    z, half = stats.norm.ppf(0.5 + confidence / 2), (positive + negative) / 2

    def too_far(true: float) -> float:
        spread = (half - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        variance = true * (1 - true) * (1 + spread) / (positive * negative)
        return abs(area - true) - z * np.sqrt(variance)

    # an area of 0 or 1 solves the equation itself; the wanted end lies on its other side
    low = optimize.brentq(too_far, 0.0, min(area, 1 - 1e-12)) if area > 0 else 0.0
    high = optimize.brentq(too_far, max(area, 1e-12), 1.0) if area < 1 else 1.0
    return float(low), float(high)


def _asked(people: pd.DataFrame, bmd: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield _KEYS by name with the scored means of people who have a reference, in reading order."""
    trained, referred = trained_vendors(bmd), set(bmd.loc[bmd["reference"].notna(), "scan"])
    scored = scored_densities(people)
    scored = scored[scored["scan"].isin(referred)]
    names = ["group", "network", "protocol"]
    for key, of_key in scored.groupby(names, sort=False):
        vendors = sorted(set(of_key["vendor"]))
        for vendor in [ALL, *vendors] if len(vendors) > 1 else vendors:
            told = vendor_trained(trained, key[:2], vendor)
            of_vendor = of_key if vendor == ALL else of_key[of_key["vendor"] == vendor]
            for mean in dict.fromkeys(of_vendor["mean_of"]):
                for method in METHODS:
                    chosen = (of_vendor["mean_of"] == mean) & (of_vendor["method"] == method)
                    values = (*key, method, vendor, told, mean)
                    yield dict(zip(_KEYS, values, strict=True)), of_vendor[chosen]


def _classified(known: pd.DataFrame, plan: DensityPlan) -> pd.DataFrame:
    """Return one row a person with reference, predicted and their classes."""
    persons = one_a_person(known)
    return persons.assign(
        reference_class=[density_class(value, plan.classes) for value in persons["reference"]],
        predicted_class=[density_class(value, plan.classes) for value in persons["predicted"]],
        near=[is_near_cut_off(value, plan.classes) for value in persons["reference"]],
    )


def _confusion_of(persons: pd.DataFrame) -> np.ndarray:
    """Return a one-hot confusion of each person (people, 3, 3): reference by predicted class."""
    places = [
        [CLASSES.index(name) for name in persons[f"{side}_class"]] for side in ("reference", "predicted")
    ]
    each = np.zeros((len(persons), len(CLASSES), len(CLASSES)))
    each[np.arange(len(persons)), *places] = 1
    return each


def _confusion_rows(key: Mapping, persons: pd.DataFrame) -> list[dict]:
    rows = []
    for reference in CLASSES:
        for predicted in CLASSES:
            there = (persons["reference_class"] == reference) & (persons["predicted_class"] == predicted)
            count = {"n": int(there.sum()), "n_near_cut_off": int(persons.loc[there, "near"].sum())}
            rows.append(dict(key) | {"reference_class": reference, "predicted_class": predicted} | count)
    return rows


def _class_rows(key: Mapping, persons: pd.DataFrame, lost: pd.DataFrame, plan: DensityPlan) -> list[dict]:
    rows = [_together(key, persons, lost, plan)]
    for name in (OSTEOPOROSIS, "osteopenia", NORMAL, LOW):
        truth, call = (_is_of(persons[f"{side}_class"], name) for side in ("reference", "predicted"))
        agree = int((truth == call).sum())
        row = dict(key) | {"class": name, "n": len(persons), "n_class": int(truth.sum())}
        row |= {"n_predicted": int(call.sum()), "agree": agree, "disagree": len(persons) - agree}
        row |= {"near_cut_off": NAN, "disagree_near_cut_off": NAN, "withheld": NAN, "withheld_reason": ""}
        row |= _shares(truth, call, plan.confidence) | _area(persons, truth, name, plan.confidence)
        for kappa in KAPPAS:
            row |= {kappa: NAN} | interval_columns(kappa, NO_INTERVAL)
        rows.append(explain(row, _why(name), "nobody of that kind"))
    return rows


def _why(name: str) -> dict[str, str]:
    why = dict.fromkeys((*KAPPAS, *(f"{kappa}_ci" for kappa in KAPPAS)), "of all classes together")
    why |= dict.fromkeys(("near_cut_off", "disagree_near_cut_off", "withheld"), "of all classes together")
    no_area = "given for osteoporosis and low density" if name not in (OSTEOPOROSIS, LOW) else ""
    if no_area:
        why |= dict.fromkeys(("auc", "auc_ci"), no_area)
    else:
        why |= {
            "auc": "nobody with or nobody without it",
            "auc_ci": "fewer than two people with or without it",
        }
    return why


def _is_of(classes: pd.Series, name: str) -> np.ndarray:
    return (classes != NORMAL if name == LOW else classes == name).to_numpy(bool)


def _shares(truth: np.ndarray, call: np.ndarray, confidence: float) -> dict[str, float]:
    """Return sensitivity, specificity and predictive values with Wilson's intervals."""
    of = {
        "sensitivity": call[truth],
        "specificity": ~call[~truth],
        "ppv": truth[call],
        "npv": ~truth[~call],
    }
    row: dict[str, float] = {}
    for name, hits in of.items():
        interval: Interval = NO_INTERVAL
        if len(hits):
            interval = proportion_confint(hits.sum(), len(hits), alpha=1 - confidence, method="wilson")
        row |= {name: float(hits.mean()) if len(hits) else NAN} | interval_columns(name, interval)
    return row


def _area(persons: pd.DataFrame, truth: np.ndarray, name: str, confidence: float) -> dict[str, float]:
    """Return the area under the ROC curve of the predicted density for a class, with its interval."""
    area, interval = NAN, NO_INTERVAL
    if name in (OSTEOPOROSIS, LOW):
        low = -persons["predicted"].to_numpy(float)
        area = area_under_roc(low[truth], low[~truth])
        interval = area_interval(area, int(truth.sum()), int((~truth).sum()), confidence)
    return {"auc": area} | interval_columns("auc", interval)


def _together(key: Mapping, persons: pd.DataFrame, lost: pd.DataFrame, plan: DensityPlan) -> dict:
    """Return the row of all classes together."""
    differ = (persons["reference_class"] != persons["predicted_class"]).to_numpy(bool)
    near, n = persons["near"].to_numpy(bool), len(persons)
    row = dict(key) | {"class": ALL, "n": n, "n_class": n, "n_predicted": n}
    row |= {"agree": int((~differ).sum()), "disagree": int(differ.sum()), "near_cut_off": int(near.sum())}
    row |= {"disagree_near_cut_off": int((near & differ).sum()), "withheld": lost["subject"].nunique()}
    row["withheld_reason"] = counted_reasons(_why_withheld(scan) for scan in lost.to_dict("records"))
    for name in (*SHARES, "auc"):
        row |= {name: NAN} | interval_columns(name, NO_INTERVAL)
    row |= _kappas(persons, derive_seed(plan.seed, "classes", *list(key.values())[:3], key["vendor"]), plan)
    why = dict.fromkeys((*SHARES, "auc", *(f"{name}_ci" for name in (*SHARES, "auc"))), "of a single class")
    why |= dict.fromkeys(KAPPAS, "all people are of one class" if n else "no class was given")
    few = f"fewer than {FEWEST_FOR_BOOTSTRAP} people"
    same = (
        "samples of people do not vary it; nobody disagrees" if not differ.any() else "not defined in samples"
    )
    return explain(
        row, why | {f"{name}_ci": few if n < FEWEST_FOR_BOOTSTRAP else same for name in KAPPAS}, ""
    )


def _kappas(persons: pd.DataFrame, seed: int, plan: DensityPlan) -> dict[str, float]:
    """Return both weighted kappas with their intervals."""
    row: dict[str, float] = {}
    each = _confusion_of(persons)
    for name, power in zip(KAPPAS, (2, 1), strict=True):
        interval, kappa = NO_INTERVAL, NAN
        if len(persons):
            drawn = resampled_totals(each.reshape(len(each), -1), plan.samples, seed)
            point, sampled, _ = (
                weighted_kappa(totals.reshape(-1, *each.shape[1:]), power) for totals in drawn.each
            )
            kappa = float(point[0])
            interval = percentile_interval(sampled, len(persons), plan.confidence)
        row |= {name: kappa} | interval_columns(name, interval)
    return row


def _why_withheld(scan: Mapping) -> str:
    reasons = undefined_reasons(scan["undefined"])
    return scan["class_withheld"] or reasons.get("predicted") or reasons.get("reference") or "no class"
