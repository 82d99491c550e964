"""The scale of densities, which the names of their columns carry: K2HPO4- or CaHA-equivalent mg/cm3.

Tables on file have `bias_k2hpo4_mg_cm3`; figures and pages read them without the scale (`without_scale`), so that
they do not depend on it.
"""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

import pandas as pd

from lib.errors import ConfigError

UNIT = "mg_cm3"
# name in columns -> as pages print it
SCALES: Mapping[str, str] = MappingProxyType(
    {"k2hpo4": "K₂HPO₄-equivalent mg/cm³", "caha": "CaHA-equivalent mg/cm³"}
)
ENDINGS = tuple(f"_{scale}_{UNIT}" for scale in SCALES)
_SCALED = re.compile(rf"_({'|'.join(SCALES)})_{UNIT}(?=_ci_low|_ci_high|_ci\b|\W|$)")


def scale_of_columns(columns: Collection[str]) -> str:
    """Return the scale of columns of reference densities, a key of SCALES.

    Raises:
        ConfigError: a column names no scale, or they name different ones.
    """
    scales = {column: found[1] for column in columns if (found := _SCALED.search(column))}
    if missing := [column for column in columns if column not in scales]:
        raise ConfigError(
            f"regression.targets: {', '.join(missing)} does not tell the scale of its densities. Names of these "
            f"columns end in {' or '.join(ENDINGS)}"
        )
    if len(set(scales.values())) != 1:
        raise ConfigError(
            f"regression.targets: columns of one scale are needed, got {', '.join(columns) or 'none'}; no fixed "
            "factor turns one scale into another"
        )
    return next(iter(scales.values()))


def with_scale(row: Mapping, densities: Collection[str], scale: str) -> dict:
    """Return a row whose `densities` (names without ends of intervals) carry the scale and the unit."""

    def named(name: str) -> str:
        stem, end = re.fullmatch(r"(.+?)(_ci_low|_ci_high|_ci)?", name).groups()
        return f"{stem}_{scale}_{UNIT}{end or ''}" if stem in densities else name

    return {named(name): value for name, value in row.items()}


def scaled_columns(columns: Collection[str], densities: Collection[str], scale: str) -> list[str]:
    """Return names of columns of which `densities` carry the scale and the unit."""
    return list(with_scale(dict.fromkeys(columns), densities, scale))


def scale_of(table: pd.DataFrame) -> str:
    """Return the scale of the densities of a table on file, a key of SCALES; empty: it has none."""
    found = (_SCALED.search(name) for name in table.columns)
    return next((match[1] for match in found if match), "")


def without_scale(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table on file without the scale in names of columns and in its reasons (`undefined`)."""
    bare = table.rename(columns=lambda name: _SCALED.sub("", name))
    if "undefined" in bare:
        bare["undefined"] = [_SCALED.sub("", text) for text in bare["undefined"]]
    return bare
