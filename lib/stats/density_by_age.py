"""Calibrated density against age, by region and sex: one value for each person, and least-squares lines.

A row whose protocol is `all` holds everybody whom a network measured, each by the primary prediction of the scan
(`lib.stats.primary`); the other rows hold the people of one protocol. Scales are never pooled: each is a measure of
its own. Lines describe these people; they are not changes within a person.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from lib.ages import OLDEST_PRINTED_AGE, age_years
from lib.catalog.bone_parts import PREDICTED, TABLE_REGIONS
from lib.catalog.groups import ALL
from lib.catalog.measures import QUANTITY_COLUMNS, QUANTITY_KEYS
from lib.catalog.protocols import PROTOCOL_ORDER
from lib.catalog.scales import CALIBRATED_SCALES
from lib.report_settings import AgreementConfig
from lib.stats.density_precision import with_first_protocol
from lib.stats.formats import undefined_reasons
from lib.stats.grouping import first_or_own, subsets_by_name
from lib.stats.lines import fit_line
from lib.stats.primary import primary_rows
from lib.stats.undefined import NAN, counted_reasons, explain, interval_columns

DENSITIES = ("vbmd", "abmd")
FEWEST_FOR_LINE = 3
SEXES = (ALL, "M", "F")
DENSITY_BY_AGE_COLUMNS = (
    *("group", "network", "protocol", "structure", *QUANTITY_COLUMNS, "sex", "n", "scans", "mean", "sd"),
    *("n_with_age", "age_mean", "age_from", "age_to"),
    *("slope_per_decade", "slope_per_decade_ci_low", "slope_per_decade_ci_high"),
    *("at_mean_age", "at_mean_age_ci_low", "at_mean_age_ci_high", "undefined"),
)
_OF_NETWORK = ("group", "network", "structure")
_ONE_PREDICTION = (*_OF_NETWORK, "protocol", *QUANTITY_KEYS)
_MEASURES = frozenset(f"{kind}_{scale}" for kind in DENSITIES for scale in CALIBRATED_SCALES)


def density_by_age_table(measurements: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return DENSITY_BY_AGE_COLUMNS: a row for each density of a region and compartment, of everybody and by sex.

    Args:
        measurements: MEASUREMENT_COLUMNS of `lib.stats.measurements`.
        config: its confidence is that of the intervals.
    """
    rows = []
    for key, of_network in subsets_by_name(densities_of_people(measurements), *_OF_NETWORK):
        for protocol in (ALL, *PROTOCOL_ORDER):
            of_protocol = of_network[of_network["protocol"] == protocol]
            for quantity, people in of_protocol.groupby(QUANTITY_COLUMNS, sort=False):
                told = key | {"protocol": protocol} | dict(zip(QUANTITY_COLUMNS, quantity, strict=True))
                rows += [told | row for row in _rows_by_sex(people, config.confidence)]
    return pd.DataFrame(rows, columns=list(DENSITY_BY_AGE_COLUMNS))


def densities_of_people(measurements: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each person and calibrated density, by group, network, protocol (or `all`) and structure.

    `density` is that of the predicted mask, the mean over the scans of both hips of a person; a repeated scan only
    replaces a first scan without this density. `age_years` is NaN if it is unknown, and infinite if it is only known
    to be 90 or more; `scans` counts those with the density; `why` tells why there is none.
    """
    rows = measurements[measurements["measure"].isin(_MEASURES)]
    rows = rows[rows["region"].isin(TABLE_REGIONS.values())]
    rows = with_first_protocol(rows.assign(first_scan=first_or_own(rows)))
    everybody = primary_rows(rows, per=(*_OF_NETWORK, *QUANTITY_KEYS, "scan")).assign(protocol=ALL)
    rows = pd.concat([everybody, rows], ignore_index=True)
    worse = rows[PREDICTED].isna() * 2 + (rows["first_scan"] != rows["scan"])
    ranked = rows.assign(worse=worse).sort_values("worse", kind="stable")
    kept = ranked.drop_duplicates([*_ONE_PREDICTION, "first_scan"]).sort_index()
    kept = kept.assign(
        age_years=kept["age"].map(_age_number).astype(float),
        density=kept[PREDICTED].astype(float),
        # up to the colon: what follows is of the one scan, such as its number of voxels
        why=[undefined_reasons(text).get(PREDICTED, "").partition(": ")[0] for text in kept["undefined"]],
    )
    people = kept.groupby([*_ONE_PREDICTION, "unit", "subject"], sort=False, as_index=False)
    return people.agg(
        sex=("sex", "first"),
        age_years=("age_years", "mean"),
        density=("density", "mean"),
        scans=("density", "count"),
        why=("why", "first"),
    )


def has_line(ages: np.ndarray) -> bool:
    """Return whether people of these known ages (n,) get a line: at least three of them, not all of one age."""
    return len(ages) >= FEWEST_FOR_LINE and bool(np.ptp(ages) > 0)


def _age_number(age: object) -> float:
    years = age_years(age)
    if years is None:
        return NAN
    return math.inf if years >= OLDEST_PRINTED_AGE else years


def _rows_by_sex(people: pd.DataFrame, confidence: float) -> Iterator[dict]:
    for sex in SEXES:
        chosen = people if sex == ALL else people[people["sex"] == sex]
        if len(chosen):
            yield {"sex": sex} | _numbers(chosen, confidence)


def _numbers(people: pd.DataFrame, confidence: float) -> dict:
    """Return the numbers of a row, with the reasons of those that are undefined."""
    known = people[people["density"].notna()]
    values = known["density"]
    aged = known[np.isfinite(known["age_years"])]
    ages = aged["age_years"].to_numpy()
    middle = ages.mean() if len(ages) else NAN
    # centred: the intercept is the density at the mean age
    line = fit_line((ages - middle) / 10, aged["density"].to_numpy(), confidence)
    numbers = {
        **{"n": len(known), "scans": int(known["scans"].sum())},
        **{"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "n_with_age": len(aged)},
        "age_mean": float(middle),
        "age_from": float(ages.min()) if len(ages) else NAN,
        "age_to": float(ages.max()) if len(ages) else NAN,
        "slope_per_decade": line.slope,
        **interval_columns("slope_per_decade", line.slope_ci),
        "at_mean_age": line.intercept,
        **interval_columns("at_mean_age", line.intercept_ci),
    }
    nothing = counted_reasons(people["why"]) if known.empty else ""
    why = {"mean": nothing, "sd": nothing or "one person has no SD"}
    why |= dict.fromkeys(("age_mean", "age_from", "age_to"), nothing or _no_age(known))
    return explain(numbers, why, nothing or _no_line(ages))


def _no_age(known: pd.DataFrame) -> str:
    old = np.isinf(known["age_years"])
    if old.all():
        return f"ages are {OLDEST_PRINTED_AGE} or more, without a number"
    return "ages are not known" + (f", or {OLDEST_PRINTED_AGE} or more without a number" if old.any() else "")


def _no_line(ages: np.ndarray) -> str:
    if len(ages) < FEWEST_FOR_LINE:
        return "fewer than three people with an age in numbers"
    return "" if has_line(ages) else "all people have the same age"
