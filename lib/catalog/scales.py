"""Scales of bone density. A density belongs to the material of its calibration phantom. Standard library only.

No factor converts one scale into the other: the ratio of K2HPO4 to CaHA densities depends on the base material of the
phantom and on the X-ray spectrum.
"""

import re
from collections.abc import Iterable, Mapping

UNIT = "mg/cm3"
# name of each scale -> its material in words
SCALES: Mapping[str, str] = {"k2hpo4": "K₂HPO₄", "caha": "CaHA"}
# of calibrations by a person's own tissues, which are never pooled with those by a phantom
MICHALSKI_SCALE = "k2hpo4_michalski"
REFERENCED_SCALES: Mapping[str, str] = {scale: f"{scale}_referenced" for scale in SCALES}
# every scale of a calibration -> in words
CALIBRATED_SCALES: Mapping[str, str] = {
    **SCALES,
    MICHALSKI_SCALE: "K₂HPO₄ of Michalski et al. 2020",
    **{own: f"{SCALES[scale]} by reference tissues" for scale, own in REFERENCED_SCALES.items()},
}
# name of each scale -> end of a column that holds its densities
ENDINGS: Mapping[str, str] = {scale: f"_{scale}_mg_cm3" for scale in SCALES}
_DENSITY_WORDS = frozenset(("bmd", "vbmd", "qct", "density"))
_UNIT_WORDS = frozenset(
    ("mg", "cm3", "ccm", "cc", "ml", "mgcm3", "mgccm", "mgml", "ha", "hap", *SCALES, "khpo4")
)
# why networks give no density of real people
OF_SYNTHETIC_PEOPLE = "the models learned the density of synthetic people, and this scan is of a real one"


def scale_of_column(column: str) -> str:
    """Return the scale of the densities in a column, by the end of its name; empty if the name tells none."""
    return next((scale for scale, ending in ENDINGS.items() if column.endswith(ending)), "")


def names_with_scale(column: str) -> str:
    """Return in words how a column that does not tell its scale may be called, by its name without the unit."""
    words = _words(column)
    while len(words) > 1 and words[-1].lower() in _UNIT_WORDS:
        words.pop()
    return " or ".join("_".join(words) + ending for ending in ENDINGS.values())


def is_density_without_scale(column: str, structures: Iterable[str]) -> bool:
    """Return whether a column can only hold the bone density of one of some structures, and does not tell its scale.

    Columns such as `bmd_l1`, `BMD L1 (mg/cm3)` and `vbmd_l1_mg_cm3` do; `bmd_dxa` and `bmd_l1_t_score` do not.
    """
    words = set(_words(column.lower())) - _UNIT_WORDS
    named = (set(_words(name.lower())) for name in structures)
    of_density = any(words > own and words - own <= _DENSITY_WORDS for own in named)
    return of_density and not scale_of_column(column)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name)
