"""The landmarks and axes of each femur whose density was measured, as a table."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from lib.catalog.bone_parts import PREDICTED, REFERENCE
from lib.stats.tables import ROW_COLUMNS, in_reading_order, structure_key, table_row
from lib.stats.undefined import undefined_text

# name in the section `density` of `measured/` -> beginning of its three columns, and their unit
_PLACES = {
    "head_center_xyz_mm": ("head_center", "_mm"),
    "neck_axis_xyz": ("neck_axis", ""),
    "isthmus_xyz_mm": ("isthmus", "_mm"),
    "lesser_trochanter_xyz_mm": ("lesser_trochanter", "_mm"),
    "shaft_axis_xyz": ("shaft_axis", ""),
}
_NUMBERS = (
    *("head_radius_mm", "isthmus_mm2", "neck_axis_length_mm", "neck_shaft_degrees", "anteversion_degrees"),
    "shaft_mm",
)
PLACES = tuple(f"{name}_{axis}{unit}" for name, unit in _PLACES.values() for axis in "xyz")
GEOMETRY_COLUMNS = (*ROW_COLUMNS, "mask", *_NUMBERS, *PLACES, "flags", "undefined")


def geometry_table(predictions: Iterable[Mapping], sections: Mapping[str, Mapping]) -> pd.DataFrame:
    """Return GEOMETRY_COLUMNS: a row for the predicted mask of each measured prediction, and one for the reference.

    Args:
        predictions: flat predictions by structure (`lib.stats.tables.by_structure`).
        sections: section `density` of `measured/`, by `structure_key`.
    """
    rows = [
        table_row(prediction) | row
        for prediction in predictions
        for row in _rows_of(sections.get(structure_key(prediction), {}))
    ]
    return in_reading_order(pd.DataFrame(rows, columns=list(GEOMETRY_COLUMNS)))


def _rows_of(section: Mapping) -> Iterator[dict]:
    for mask in (PREDICTED, REFERENCE):
        if mask not in section:
            continue
        geometry = section[mask]["geometry"]
        row = {"mask": mask} | {name: geometry[name] for name in _NUMBERS}
        for name, (column, unit) in _PLACES.items():
            place = geometry[name] or (None,) * 3
            row |= {f"{column}_{axis}{unit}": value for axis, value in zip("xyz", place, strict=True)}
        yield row | {"flags": " ".join(geometry["flags"]), "undefined": undefined_text(geometry["undefined"])}
