"""What a simple line would read: baselines beside which a network that reads densities must stand.

A density of QCT is itself a linear function of the HU in the same voxels, so a high correlation of a network with it
says little by itself.

    hu_linear         reference = a + b HU, with the mean HU of the eroded body; one line for all structures, vendors
    hu_linear_vendor  the same with a line for each vendor; it shows what calibration of each device would buy
    age_sex           mean reference of a person = a + b age + c (1 for men): the floor

All are ordinary least squares (statsmodels) over training vertebrae or people that are usable and have a reference.
A person of cross-validation is predicted by lines that were fitted without their own fold; everybody else by lines
of all training people.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lib.stats.density_plan import AGE_SEX, HU_LINEAR, HU_LINEAR_VENDOR
from lib.stats.undefined import NAN

# fewest training vertebrae of a line, and fewest training people of the floor
FEWEST_FOR_LINE, FEWEST_FOR_AGE_SEX = 3, 5
NO_TRAINING = "no training vertebra with a reference and a mean HU"
NO_HU = "the mean HU of the eroded body is not known"
# values (rows,) and reasons (rows,) of rows from the training rows of their lines
Fit = Callable[[pd.DataFrame, pd.DataFrame], tuple[np.ndarray, np.ndarray]]


def predict_baseline(rows: pd.DataFrame, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the density by a baseline of each row (rows,), NaN if there is none, and the reason why (rows,).

    Args:
        rows: one for each vertebra of one group and network: subject, protocol, fold (of the person in
            cross-validation, else NaN), trains (whether it trains), sex, age (years), vendor, reference, hu_mean,
            usable.
        method: a key of BASELINES.
    """
    values, reasons = np.full(len(rows), NAN), np.full(len(rows), "", object)
    training = rows[rows["trains"] & rows["usable"] & rows["reference"].notna()]
    # own fold of a person of cross-validation; -1: anybody else, for whom nobody is left out
    left_out = np.where(rows["protocol"] == "cv", rows["fold"].fillna(-1), -1).astype(int)
    for fold in np.unique(left_out):
        chosen = left_out == fold
        fitted_on = training[training["fold"] != fold] if fold >= 0 else training
        values[chosen], reasons[chosen] = BASELINES[method](fitted_on, rows[chosen])
    return values, reasons


def _hu_linear(training: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return _line_of_hu(training, rows, "")


def _hu_linear_vendor(training: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    values, reasons = np.full(len(rows), NAN), np.full(len(rows), "", object)
    for vendor in rows["vendor"].unique():
        chosen = (rows["vendor"] == vendor).to_numpy()
        if not vendor:
            reasons[chosen] = "the vendor is not stated"
            continue
        own = training[training["vendor"] == vendor]
        values[chosen], reasons[chosen] = _line_of_hu(own, rows[chosen], f" of the vendor {vendor}")
    return values, reasons


def _line_of_hu(training: pd.DataFrame, rows: pd.DataFrame, whose: str) -> tuple[np.ndarray, np.ndarray]:
    """Return values and reasons of rows by the line of reference on HU of training rows."""
    known = training.dropna(subset=["hu_mean"])
    hu = known["hu_mean"].to_numpy(float)
    wanted = rows["hu_mean"].to_numpy(float)
    if len(known) < FEWEST_FOR_LINE or np.ptp(hu) == 0:
        few = f"fewer than {FEWEST_FOR_LINE} training vertebrae with different mean HU{whose}"
        why = few if len(known) else NO_TRAINING + whose
        return np.full(len(rows), NAN), np.full(len(rows), why, object)
    origin = hu.mean()
    design = np.column_stack([np.ones(len(hu)), hu - origin])
    intercept, slope = _fitted(known["reference"].to_numpy(float), design)
    return intercept + slope * (wanted - origin), np.where(np.isnan(wanted), NO_HU, "").astype(object)


def _age_sex(training: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    people = training.dropna(subset=["age"]).query("sex != ''")
    people = people.groupby("subject").agg({"reference": "mean", "age": "mean", "sex": "first"})
    if len(people) < FEWEST_FOR_AGE_SEX:
        why = f"fewer than {FEWEST_FOR_AGE_SEX} training people with a reference, age and sex"
        return np.full(len(rows), NAN), np.full(len(rows), why, object)
    ages, origin = rows["age"].to_numpy(float), people["age"].mean()
    # a column that does not vary is left out: it cannot be told from the constant
    varies = [True, people["age"].nunique() > 1, people["sex"].nunique() > 1]

    def design(age: np.ndarray, sex: pd.Series) -> np.ndarray:
        return np.column_stack([np.ones(len(age)), age - origin, sex == "M"]).astype(float)[:, varies]

    known = design(people["age"].to_numpy(float), people["sex"])
    coefficients = _fitted(people["reference"].to_numpy(float), known)
    unknown_sex = ~rows["sex"].isin(people["sex"]).to_numpy()
    reasons = np.where(unknown_sex, "no training person of this sex, or it is not stated", "").astype(object)
    reasons[np.isnan(ages)] = "the age is not stated"
    return np.where(reasons == "", design(ages, rows["sex"]) @ coefficients, NAN), reasons


def _fitted(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Return the coefficients (columns,) of an ordinary least squares fit of values (rows,)."""
    from statsmodels.regression.linear_model import OLS  # imported here because pages of scans fit nothing

    return OLS(values, design).fit().params


BASELINES: dict[str, Fit] = {
    HU_LINEAR: _hu_linear,
    HU_LINEAR_VENDOR: _hu_linear_vendor,
    AGE_SEX: _age_sex,
}
