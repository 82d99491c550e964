"""The scale of densities, which the names of their columns carry: K2HPO4- or CaHA-equivalent mg/cm3.

Tables on file have `bias_k2hpo4_mg_cm3`; figures and pages read them without the scale (`without_scale`), so that
they do not depend on it.
"""

import re
from collections.abc import Collection, Mapping

import pandas as pd

from lib.catalog.scales import ENDINGS, SCALES

# the end of a column's name, and which scale it tells
_SCALED = re.compile(rf"_({'|'.join(SCALES)})_mg_cm3(?=_ci_low|_ci_high|_ci\b|\W|$)")


def scale_in_words(scale: str) -> str:
    """Return the unit of densities of a scale as pages print it, such as `mg/cm³ K₂HPO₄-equivalent`."""
    return f"mg/cm³ {SCALES[scale]}-equivalent" if scale else "mg/cm³"


def with_scale(row: Mapping, densities: Collection[str], scale: str) -> dict:
    """Return a row whose `densities` (names without ends of intervals) carry the scale and the unit."""

    def named(name: str) -> str:
        stem, end = re.fullmatch(r"(.+?)(_ci_low|_ci_high|_ci)?", name).groups()
        return f"{stem}{ENDINGS[scale]}{end or ''}" if stem in densities else name

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
