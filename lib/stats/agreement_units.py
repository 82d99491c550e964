"""Names of the numbers of an agreement with their unit, for tables of one quantity."""

import re
from collections.abc import Mapping

import pandas as pd

from lib.catalog.measures import QUANTITY_COLUMNS, WHOLE

# numbers in the unit of the values that are compared; the others are shares, factors or percent
_IN_UNIT = (
    *("reference_mean", "reference_sd", "mae", "rmse", "intercept", "bias", "difference_sd"),
    *("loa_low", "loa_high"),
)
_NAME = re.compile(rf"({'|'.join(_IN_UNIT)})((?:_fold)?_ci(?:_low|_high)?)?")
_NAME_IN_TEXT = re.compile(rf"\b({'|'.join(_IN_UNIT)})((?:_fold)?_ci)?(?=, \w|: )")


def name_in(unit: str, name: str) -> str:
    """Return the name of a number with its unit: `mae` is `mae_mm3`; a name without a unit remains."""
    found = _NAME.fullmatch(name)
    return f"{found[1]}_{unit}{found[2] or ''}" if found else name


def named_text(unit: str, text: str) -> str:
    """Return the text of a column `undefined` with the unit in the names of numbers."""
    return _NAME_IN_TEXT.sub(lambda found: f"{found[1]}_{unit}{found[2] or ''}", text)


def with_unit(unit: str, row: Mapping) -> dict:
    """Return a row of an agreement with the unit in the names of its numbers, and in its `undefined`."""
    named = {name_in(unit, name): value for name, value in row.items()}
    return named | {"undefined": named_text(unit, row["undefined"])}


def volumes_of(agreement: pd.DataFrame, region: str = WHOLE) -> pd.DataFrame:
    """Return the rows on volumes of a region, with the unit in the names of their numbers (`mae_mm3`)."""
    volumes = agreement[(agreement["measure"] == "volume") & (agreement["region"] == region)]
    named = volumes.rename(columns=lambda name: name_in("mm3", name))
    told = [named_text("mm3", text) for text in volumes["undefined"]]
    return named.assign(undefined=told).drop(columns=QUANTITY_COLUMNS).reset_index(drop=True)
