"""Agreement of predicted with reference densities: by method, protocol and vendor, of vertebrae and of person means.

Scans with contrast medium have rows of their own, people of cross-validation are never pooled with others, and rows
of all vendors together (`all`) stand beside those of each vendor. Of vertebrae, the numbers are inflated by the
spread between people; those of person means come first.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lib.catalog.groups import ALL, group_position
from lib.catalog.protocols import PROTOCOL_ORDER
from lib.seeding import derive_seed
from lib.stats.clustered import (
    ESTIMATES,
    Bootstrap,
    PersonSums,
    estimates_with_intervals,
    numbered,
    person_sums,
    reasons_of_estimates,
    rmse_difference,
)
from lib.stats.density_people import trained_vendors, vendor_trained, without_repeated
from lib.stats.density_plan import HU_LINEAR, METHODS, DensityPlan
from lib.stats.density_scale import scaled_columns, with_scale
from lib.stats.formats import show_codes, undefined_reasons
from lib.stats.undefined import NAN, NO_INTERVAL, counted_reasons, explain, interval_columns

VERTEBRA, PERSON = "vertebra", "person"
DIFFERENCE = "rmse_difference"  # RMSE of the method minus that of hu_linear
# numbers in the unit of densities
DENSITY_NUMBERS = (
    *("reference_mean", "reference_sd", "bias", "sd", "loa_low", "loa_high", "rmse", "mae", "intercept"),
    *("calibration_in_the_large", "sd_between_people", "sd_within_people", DIFFERENCE),
)
BMD_AGREEMENT_COLUMNS = (
    *("group", "network", "protocol", "method", "vendor", "vendor_trained", "contrast", "kind", "structure"),
    *("mean_of", "n_people", "n_vertebrae", "left_out", "left_out_reason", "reference_mean", "reference_sd"),
    *(column for name in ESTIMATES for column in (name, f"{name}_ci_low", f"{name}_ci_high")),
    *(DIFFERENCE, f"{DIFFERENCE}_ci_low", f"{DIFFERENCE}_ci_high", "undefined"),
)
_MODELS = ["group", "network", "protocol", "contrast"]


def bmd_agreement_table(bmd: pd.DataFrame, people: pd.DataFrame, plan: DensityPlan) -> pd.DataFrame:
    """Return BMD_AGREEMENT_COLUMNS, whose densities carry the scale.

    Args:
        bmd: the result of `lib.stats.density_rows.bmd_table`, without the scale in its names.
        people: that of `lib.stats.density_people.bmd_people_table`, without the scale.
        plan: structures, means, and how intervals are computed.
    """
    trained = trained_vendors(bmd)
    vertebrae = bmd.assign(vertebrae=1)
    vertebrae = vertebrae.assign(counts=vertebrae["usable"] == "yes")
    means = people.assign(vertebrae=people["levels_used"].str.split().str.len(), counts=True)
    means = means.assign(reference_known=_people_with_reference(bmd, means))
    vertebrae = vertebrae.assign(reference_known=vertebrae["reference"].notna())
    rows = []
    for key, of_key in _models_of(vertebrae):
        of_means, models = _same(means, key), (key["group"], key["network"])
        for vendor in _vendors_of(of_key):
            told = key | {"vendor": vendor, "vendor_trained": vendor_trained(trained, models, vendor)}
            for place, subset in _places(_of_vendor(of_means, vendor), _of_vendor(of_key, vendor), plan):
                rows += _rows(told | place, subset, plan)
    columns = scaled_columns(BMD_AGREEMENT_COLUMNS, DENSITY_NUMBERS, plan.scale)
    return pd.DataFrame([with_scale(row, DENSITY_NUMBERS, plan.scale) for row in rows], columns=columns)


def scored_densities(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of densities that are compared with a reference: no repeats, no prediction of `apply`."""
    return without_repeated(table[table["protocol"] != "apply"])


def _models_of(table: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield group, network, protocol and contrast by name with their scored rows, in reading order."""
    keyed = [(key, subset) for key, subset in scored_densities(table).groupby(_MODELS, sort=False)]
    for key, subset in sorted(
        keyed, key=lambda pair: (group_position(pair[0][0]), PROTOCOL_ORDER.index(pair[0][2]), pair[0][3])
    ):
        if subset["reference"].notna().any():
            yield dict(zip(_MODELS, key, strict=True)), subset


def _same(table: pd.DataFrame, key: Mapping[str, str]) -> pd.DataFrame:
    scored = scored_densities(table)
    return scored[(scored[list(key)] == pd.Series(key)).all(axis=1)]


def _vendors_of(table: pd.DataFrame) -> list[str]:
    """Return the vendors of a table with a reference, after ALL if there are several."""
    vendors = sorted(set(table.loc[table["reference"].notna(), "vendor"]))
    return [ALL, *vendors] if len(vendors) > 1 else vendors


def _of_vendor(table: pd.DataFrame, vendor: str) -> pd.DataFrame:
    return table if vendor == ALL else table[table["vendor"] == vendor]


def _places(
    means: pd.DataFrame, vertebrae: pd.DataFrame, plan: DensityPlan
) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield kind, structure and mean by name with their rows: person means, all vertebrae, then each structure."""
    for name in plan.classes.means:
        yield {"kind": PERSON, "structure": "", "mean_of": name}, means[means["mean_of"] == name]
    yield {"kind": VERTEBRA, "structure": ALL, "mean_of": ""}, vertebrae
    for structure in plan.structures:
        yield (
            {"kind": VERTEBRA, "structure": structure, "mean_of": ""},
            vertebrae[vertebrae["structure"] == structure],
        )


def _people_with_reference(bmd: pd.DataFrame, means: pd.DataFrame) -> np.ndarray:
    """Return whether the scan of each mean has any reference (rows,)."""
    known = set(bmd.loc[bmd["reference"].notna(), "scan"])
    return means["scan"].isin(known).to_numpy()


def _rows(key: Mapping[str, str], subset: pd.DataFrame, plan: DensityPlan) -> list[dict]:
    """Return the row of each method; `subset` are vertebrae of a vendor, or means of one name."""
    by_method = {method: subset[subset["method"] == method] for method in METHODS}
    pairs = {method: _pairs(table) for method, table in by_method.items()}
    seed = derive_seed(plan.seed, "density", *key.values())
    how = Bootstrap(samples=plan.samples, seed=seed, confidence=plan.confidence)
    rows = []
    for method, own in pairs.items():
        asked = by_method[method]
        if asked["reference_known"].any():
            row = dict(key) | {"method": method} | _counts(asked, own)
            row = _numbers(row, own, pairs[HU_LINEAR], how)
            rows.append(_explained(*row, plan.scale))
    return rows


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that count and have both values."""
    return table[table["counts"]].dropna(subset=["reference", "predicted"])


def _counts(asked: pd.DataFrame, own: pd.DataFrame) -> dict[str, object]:
    """Return numbers of people and vertebrae, and of rows with a reference that do not count, with reasons."""
    lost = asked[asked["reference_known"] & ~asked.index.isin(own.index)]
    x = own["reference"].to_numpy(float)
    return {
        "n_people": own["subject"].nunique(),
        "n_vertebrae": int(own["vertebrae"].sum()),
        "left_out": len(lost),
        "left_out_reason": counted_reasons(_why_lost(row) for row in lost.to_dict("records")),
        "reference_mean": float(x.mean()) if len(x) else NAN,
        "reference_sd": float(x.std(ddof=1)) if len(x) > 1 else NAN,
    }


def _why_lost(row: Mapping) -> str:
    """Return why a row with a reference does not count."""
    if not row["counts"] and row.get("flags"):
        return show_codes(row["flags"])
    reasons = undefined_reasons(row["undefined"])
    return reasons.get("predicted") or reasons.get("reference") or "not usable"


def _numbers(
    row: dict, own: pd.DataFrame, line: pd.DataFrame, how: Bootstrap
) -> tuple[dict[str, object], dict[str, str]]:
    """Return a row with estimates and intervals of its pairs, and reasons; `line` are the pairs of hu_linear."""
    n, why = row["n_people"], {"reference_mean": "nobody has both values", "reference_sd": "one value"}
    estimates, intervals = dict.fromkeys(ESTIMATES, NAN), dict.fromkeys(ESTIMATES, NO_INTERVAL)
    if n >= 2:
        estimates, intervals = estimates_with_intervals(_sums(own), how)
    elif n == 1:
        difference = own["predicted"] - own["reference"]
        estimates |= {"bias": float(difference.mean()), "mae": float(difference.abs().mean())}
        estimates |= {"rmse": float(np.sqrt((difference**2).mean()))}
        estimates["calibration_in_the_large"] = -estimates["bias"]
    for name in ESTIMATES:
        row |= {name: estimates[name]} | interval_columns(name, intervals[name])
    why |= reasons_of_estimates(estimates, n, len(own))
    difference, interval, why[DIFFERENCE] = _against_line(row["method"], own, line, how)
    why[f"{DIFFERENCE}_ci"] = why[DIFFERENCE] or why["rmse_ci"]
    row |= {DIFFERENCE: difference} | interval_columns(DIFFERENCE, interval)
    return row, why


def _against_line(
    method: str, own: pd.DataFrame, line: pd.DataFrame, how: Bootstrap
) -> tuple[float, tuple[float, float], str]:
    """Return the RMSE of a method minus that of hu_linear on the same pairs, its interval, and why there is none."""
    if method == HU_LINEAR:
        return NAN, NO_INTERVAL, "it is the line that others are compared with"
    keys = [name for name in ("scan", "structure", "mean_of", "levels_used") if name in own]
    both = own.merge(line[[*keys, "predicted"]], on=keys, suffixes=("", "_line"))
    people = both["subject"].nunique()
    if people < 2:
        return (
            NAN,
            NO_INTERVAL,
            f"fewer than two people with this method and {HU_LINEAR} of the same structures",
        )
    sums = [_sums(both.assign(predicted=both[name])) for name in ("predicted", "predicted_line")]
    return *rmse_difference(*sums, how), ""


def _sums(pairs: pd.DataFrame) -> PersonSums:
    values = (pairs[name].to_numpy(float) for name in ("reference", "predicted"))
    return person_sums(*values, numbered(pairs["subject"]))


def _explained(row: Mapping, why: Mapping[str, str], scale: str) -> dict[str, object]:
    """Return a row with the reasons of its empty numbers, under the names that carry the scale."""
    named: Sequence[str] = scaled_columns(list(why), DENSITY_NUMBERS, scale)
    told = explain(
        with_scale(row, DENSITY_NUMBERS, scale), dict(zip(named, why.values(), strict=True)), "not defined"
    )
    return dict(row) | {"undefined": told["undefined"]}
