"""The columns of the cohort table that hold reference densities (`regression.targets`). Standard library only."""

from collections.abc import Iterable, Mapping

from lib.catalog.scales import SCALES, names_with_scale, scale_of_column
from lib.errors import ConfigError

LOWEST_DENSITY, HIGHEST_DENSITY = -50.0, 400.0  # of a reference, mg/cm3


def check_targets(targets: Mapping[str, str], structures: Iterable[str]) -> str:
    """Return the scale of a study's reference densities; empty if it has none.

    Args:
        targets: structure -> column of the cohort table (`regression.targets`).
        structures: names of the study's structures.

    Raises:
        ConfigError: a target is no structure of the study, a column does not tell its scale or stands twice, or the
            columns are of two scales.
    """
    structures, scales = list(structures), {}
    for name, column in targets.items():
        if name not in structures:
            raise ConfigError(
                f"regression.targets.{name}: the study has no structure of this name; its structures: "
                f"{', '.join(structures)}"
            )
        if not scale_of_column(column):
            raise ConfigError(
                f"regression.targets.{name}: the column {column} does not tell the scale of its densities. Call it "
                f"{names_with_scale(column)}, here and in the cohort table"
            )
        if owner := next((other for other in targets if other != name and targets[other] == column), ""):
            raise ConfigError(
                f"regression.targets: {owner} and {name} have one column, {column}; each needs its own"
            )
        scales.setdefault(scale_of_column(column), column)
    if len(scales) > 1:
        named = " and ".join(f"{column} ({SCALES[scale]})" for scale, column in scales.items())
        raise ConfigError(
            f"regression.targets: {named} are of two scales. Name columns of one scale: no factor converts K₂HPO₄ "
            "into CaHA densities"
        )
    return next(iter(scales), "")
