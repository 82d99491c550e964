"""The line through the rods of a calibration phantom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.certificates import Rod

# Mindways, QCT PRO user guide (2011), as quoted by Ogo: from the line of a rod's HU less its water to that of K2HPO4
# in solution. We read them so: a milligram of K2HPO4 displaces 0.2174 mg of water, and water (1000 mg/cm3) has 0 HU.
WATER_SLOPE, WATER_INTERCEPT_HU = -0.2174, 999.6
_AT_MG_CM3 = 100.0  # density whose uncertainty is given
_FEWEST_FOR_ERRORS = 4  # three rods leave one degree of freedom


@dataclass(frozen=True, kw_only=True)
class RodLine:
    """HU = slope density + intercept, by least squares.

    Attributes:
        slope: HU per mg/cm3.
        intercept_hu: HU of density 0.
        slope_se: standard error of the slope; None of fewer than four rods, as the others.
        intercept_se: standard error of the intercept.
        density_se_at_100: standard error of a density of 100 mg/cm3.
        r2: explained share of the variance of what was fitted (HU, less water).
        residuals_hu: of each rod, what it shows less what the line expects.
        residual_sd: their SD with n - 2 degrees of freedom, mg/cm3.
    """

    slope: float
    intercept_hu: float
    slope_se: float | None
    intercept_se: float | None
    density_se_at_100: float | None
    r2: float
    residuals_hu: np.ndarray
    residual_sd: float


def fit_rods(hu: Sequence[float], rods: Sequence[Rod]) -> RodLine:
    """Fit the line of density to the HU of at least three rods.

    With a column of water (Mindways): HU - water = s density + b, then slope = s - 0.2174 and intercept = b + 999.6.
    Without it: HU = slope density + intercept. All rods weigh the same.

    Args:
        hu: of each rod.
        rods: their densities, and water or none.

    Raises:
        ValueError: fewer than three rods, or all of one density.
    """
    x = np.array([rod.density_mg_cm3 for rod in rods], float)
    with_water = rods[0].water_mg_cm3 is not None
    y = np.asarray(hu, float) - (np.array([rod.water_mg_cm3 for rod in rods], float) if with_water else 0.0)
    n, deviations = len(x), x - x.mean()
    spread = float(deviations @ deviations)
    if n < 3 or spread == 0:
        raise ValueError(f"a line needs three rods of different densities; got {n} with {x.tolist()}")
    fitted = float(deviations @ y) / spread
    base = float(y.mean() - fitted * x.mean())
    residuals = y - (fitted * x + base)
    variance = float(residuals @ residuals) / (n - 2)
    slope = fitted + (WATER_SLOPE if with_water else 0.0)
    errors = {
        "slope_se": (variance / spread) ** 0.5,
        "intercept_se": (variance * (1 / n + x.mean() ** 2 / spread)) ** 0.5,
        "density_se_at_100": (variance * (1 / n + (_AT_MG_CM3 - x.mean()) ** 2 / spread)) ** 0.5
        / abs(slope or 1),
    }
    total = float(((y - y.mean()) ** 2).sum())
    return RodLine(
        slope=slope,
        intercept_hu=base + (WATER_INTERCEPT_HU if with_water else 0.0),
        **(errors if n >= _FEWEST_FOR_ERRORS else dict.fromkeys(errors)),
        r2=1.0 - float(residuals @ residuals) / total if total else 1.0,
        residuals_hu=residuals,
        residual_sd=variance**0.5 / abs(slope or 1),
    )
