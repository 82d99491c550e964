"""Internal calibration by tables of attenuation (Michalski et al. 2020, Med Eng Phys 78)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.density.attenuation import ENERGIES_KEV, coefficient_cm2_g

_STEP_KEV = 0.5


@dataclass(frozen=True, kw_only=True)
class TissueCurve:
    """Density of bone from HU, by the HU of the person's tissues.

    Attributes:
        kev: energy whose coefficients fit the tissues' HU best.
        r2: of that fit.
        attenuation_slope: mass attenuation coefficient = slope HU + intercept, cm2/g.
        attenuation_intercept: see there.
        density_slope: density of mass = slope HU + intercept, g/cm3.
        density_intercept: see there.
        triglyceride_cm2_g: coefficient of the marrow at this energy.
        k2hpo4_cm2_g: coefficient of the mineral.
    """

    kev: float
    r2: float
    attenuation_slope: float
    attenuation_intercept: float
    density_slope: float
    density_intercept: float
    triglyceride_cm2_g: float
    k2hpo4_cm2_g: float


def fit_tissues(tissues_hu: Mapping[str, float]) -> TissueCurve:
    """Return the curve of a person's tissues.

    1. For energies of 30 to 150 keV in steps of 0.5, the coefficients of the tissues are regressed on their HU; the
       energy with the largest R2 is taken. (The authors go from 1 to 200 keV; CT has no others than these.)
    2. The line of HU to coefficient at that energy.
    3. The density of each tissue, (HU / 1000 + 1) times the coefficient of water over its own, gives a line of HU to
       density.

    `Calibration.density_mg_cm3` takes the share of K2HPO4 in a mixture with triglyceride from both.

    Args:
        tissues_hu: HU of at least four of adipose, air, blood, cortical and muscle.

    Raises:
        ValueError: fewer tissues.
    """
    if len(tissues_hu) < 4:
        raise ValueError(f"four tissues are needed; got {', '.join(tissues_hu)}")
    hu = np.array(list(tissues_hu.values()), float)
    fits = []
    for kev in np.arange(ENERGIES_KEV[0], ENERGIES_KEV[-1] + 0.5 * _STEP_KEV, _STEP_KEV):
        coefficients = np.array([coefficient_cm2_g(tissue, float(kev)) for tissue in tissues_hu])
        fits.append((np.corrcoef(hu, coefficients)[0, 1] ** 2, float(kev), coefficients))
    r2, kev, coefficients = max(fits, key=lambda fit: fit[0])
    attenuation = np.polyfit(hu, coefficients, 1)
    density = np.polyfit(hu, (hu / 1000 + 1) * coefficient_cm2_g("water", kev) / coefficients, 1)
    return TissueCurve(
        kev=kev,
        r2=float(r2),
        attenuation_slope=float(attenuation[0]),
        attenuation_intercept=float(attenuation[1]),
        density_slope=float(density[0]),
        density_intercept=float(density[1]),
        triglyceride_cm2_g=coefficient_cm2_g("triglyceride", kev),
        k2hpo4_cm2_g=coefficient_cm2_g("k2hpo4", kev),
    )
