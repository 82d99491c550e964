"""Trabecular densities of the synthetic lumbar spines, and what a reader writes into the cohort table.

Only the standard library is imported: the workflow reads the table while Snakemake parses.
"""

import random
from collections.abc import Mapping

from lib.seeding import derive_seed

LEVELS = ("L1", "L2", "L3", "L4", "L5")
READ_LEVELS = LEVELS[:4]
"""Levels whose density the cohort table holds."""

# person mean at 25 and at 85 years, mg/cm3
_MEAN_MG_CM3 = {"F": (175.0, 75.0), "M": (165.0, 95.0)}
_BETWEEN_PEOPLE_MG_CM3, _BETWEEN_LEVELS_MG_CM3, _READER_MG_CM3 = 28.0, 5.0, 2.0
_LEVEL_MG_CM3 = {"T12": 6.0, "L1": 4.0, "L2": 1.0, "L3": -2.0, "L4": -3.0, "L5": -2.0, "L6": -2.0}
_LEAST_MG_CM3, _MOST_MG_CM3 = 20.0, 260.0
_HARD_SHARE = 0.6


def level_densities(person_seed: int, sex: str, age: int, variant: str = "standard") -> Mapping[str, float]:
    """Return the trabecular density of each vertebra of a person, K2HPO4-equivalent, mg/cm3.

    It is the mean over the vertebral body eroded by 5 mm. People of one age and sex differ by 28 mg/cm3 (SD), the
    vertebrae of a person by 5 around a course from L1 to L4; "hard" people have 0.6 of the density.
    """
    draw = random.Random(derive_seed(person_seed, "density"))
    young, old = _MEAN_MG_CM3[sex]
    mean = young + (old - young) * (age - 25) / 60 + draw.gauss(0, _BETWEEN_PEOPLE_MG_CM3)
    mean *= _HARD_SHARE if variant == "hard" else 1.0
    drawn = {
        level: mean + shift + draw.gauss(0, _BETWEEN_LEVELS_MG_CM3) for level, shift in _LEVEL_MG_CM3.items()
    }
    return {level: min(max(value, _LEAST_MG_CM3), _MOST_MG_CM3) for level, value in drawn.items()}


def read_densities(densities: Mapping[str, float], scan_seed: int) -> Mapping[str, float]:
    """Return the densities of L1 to L4 as a reader measures them: with an error of 2 mg/cm3 (SD)."""
    draw = random.Random(derive_seed(scan_seed, "reader"))
    return {level: densities[level] + draw.gauss(0, _READER_MG_CM3) for level in READ_LEVELS}
