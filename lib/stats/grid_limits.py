"""Distances that the grid of voxels determines, because they are no longer than a voxel."""

from collections.abc import Mapping

import pandas as pd

from lib.catalog.measures import MEASURES

SPACING_COLUMNS = ["spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]
# the column that is compared with a voxel's longest side: the measure itself, or its tolerance
BOUND_TO_GRID: Mapping[str, str] = {
    name: measure.grid_limit for name, measure in MEASURES.items() if measure.grid_limit
}


def bound_to_grid(people: pd.DataFrame) -> dict[str, pd.Series]:
    """Return, for each measure of BOUND_TO_GRID in a table, which scans have a value within a voxel's longest side.

    The result is empty for a table of an older run without SPACING_COLUMNS.
    """
    if not set(SPACING_COLUMNS) <= set(people):
        return {}
    longest_mm = people[SPACING_COLUMNS].astype(float).max(axis=1)
    return {
        measure: people[measure].notna() & (people[name].astype(float) <= longest_mm)
        for measure, name in BOUND_TO_GRID.items()
        if {measure, name} <= set(people)
    }
