"""Mass attenuation coefficients of tissues and minerals, from tables of NIST."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

# NIST Standard Reference Database 126 (Hubbell and Seltzer), ICRU-44 tissues; compounds by their composition. cm2/g
ENERGIES_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
COEFFICIENTS_CM2_G: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "adipose": (0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688, 0.1500),
        "air": (0.3538, 0.2485, 0.2080, 0.1875, 0.1662, 0.1541, 0.1356),
        "blood": (0.3852, 0.2715, 0.2278, 0.2057, 0.1827, 0.1695, 0.1492),
        "cortical": (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
        "muscle": (0.3783, 0.2685, 0.2262, 0.2048, 0.1823, 0.1693, 0.1492),
        "k2hpo4": (1.975, 0.9327, 0.5573, 0.3890, 0.2508, 0.1972, 0.1480),
        "caha": (2.099, 0.9877, 0.5867, 0.4067, 0.2589, 0.2019, 0.1501),
        "triglyceride": (0.2815, 0.2293, 0.2072, 0.1945, 0.1789, 0.1683, 0.1499),
        "water": (0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505),
    }
)


def coefficient_cm2_g(material: str, kev: float) -> float:
    """Return the mass attenuation coefficient of a material, interpolated linearly between the energies of the table.

    Raises:
        ValueError: the energy is outside of the table, 30 to 150 keV.
    """
    if not ENERGIES_KEV[0] <= kev <= ENERGIES_KEV[-1]:
        raise ValueError(f"the tables hold {ENERGIES_KEV[0]:g} to {ENERGIES_KEV[-1]:g} keV; got {kev:g}")
    return float(np.interp(kev, ENERGIES_KEV, COEFFICIENTS_CM2_G[material]))
