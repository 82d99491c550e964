"""Measurements as tables: tidy, one quantity a row, and wide, one predicted scan a row."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from lib.bone_densities import flat_densities
from lib.catalog.measures import QUANTITIES, QUANTITY_COLUMNS, QUANTITY_KEYS, Quantity
from lib.stats.formats import undefined_reasons
from lib.stats.primary import primary_rows
from lib.stats.tables import ROW_COLUMNS, in_reading_order, structure_key, table_row
from lib.stats.undefined import undefined_text

MEASUREMENT_COLUMNS = (
    *(*ROW_COLUMNS, *QUANTITY_COLUMNS),
    *("reference", "predicted", "undefined", "repeat_of"),
)
VALUE_KEYS = (
    *("scan", "subject", "sex", "age", "site", "group", "network", "members", "protocol"),
    *("source", "flags", "repeat_of"),
)
NO_REFERENCE = "not compared with a reference"
NOT_CORRECTED = "not measured of a corrected mask"
CORRECTED, PREDICTED = "corrected", "predicted"
_COLUMN_KEYS = ["structure", *QUANTITY_KEYS, "unit"]
_VALUE_COLUMNS = ["column", "structure", *QUANTITY_KEYS, "predicted", "undefined"]
_BY_KEY = {tuple(getattr(quantity, name) for name in QUANTITY_KEYS): quantity for quantity in QUANTITIES}


def measurements_table(
    predictions: Iterable[Mapping],
    overlaps: Mapping[str, Mapping],
    volumes: Mapping[str, Mapping],
    repeats: Mapping[str, str],
    value_unit: str,
    densities: Mapping[str, Mapping] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return MEASUREMENT_COLUMNS: a row for each quantity (QUANTITIES) of a structure of a measured prediction.

    A quantity that a study does not measure has no row. `value_unit` is the unit of the modality's values, empty if
    they have none; `densities` is the section of this name of `measured/`, by the keys of `volumes`; the other
    arguments are those of `lib.stats.tables.metrics_table`.
    """
    rows = []
    for prediction in predictions:
        key = structure_key(prediction)
        if key not in volumes:
            continue
        volume = _with_densities(volumes[key], densities.get(key))
        scored = prediction["protocol"] != "apply"
        overlap = overlaps.get(key) if scored else None
        told = table_row(prediction) | {"repeat_of": repeats.get(prediction["scan"], "")}
        for quantity in QUANTITIES:
            if row := _measured(quantity, volume, overlap):
                rows.append(told | row | {"unit": quantity.unit_in(value_unit)})
    return in_reading_order(pd.DataFrame(rows, columns=list(MEASUREMENT_COLUMNS)))


def people_table(
    measurements: pd.DataFrame,
    volumes: pd.DataFrame,
    corrected: Mapping[str, Mapping[str, Mapping]],
    networks: Sequence[str] = (),
) -> pd.DataFrame:
    """Return one row for each predicted scan: VALUE_KEYS, and a column for each quantity of each structure.

    The values are those of the scan's corrected mask if there is one (`source` is `corrected`), else those of its
    primary prediction (`lib.stats.primary`).

    Args:
        measurements: result of `measurements_table`.
        volumes: `tables/volumes.csv` with all flags.
        corrected: measures of corrected masks, by scan and structure.
        networks: the networks in the order of the configuration.
    """
    primary = primary_rows(volumes, networks)
    keys = ["group", "network", "members", "scan"]
    chosen = measurements.merge(primary[keys].drop_duplicates(), on=keys)
    chosen = chosen.assign(column=_columns(chosen))
    values, rows = dict(list(chosen.groupby("scan", sort=False))), []
    for scan, found in primary.groupby("scan", sort=False):
        flags = dict.fromkeys(flag for text in found["flags"] for flag in text.split())
        row = found.iloc[0][[name for name in VALUE_KEYS if name in found]].to_dict()
        row |= {"source": CORRECTED if scan in corrected else PREDICTED, "flags": " ".join(flags)}
        rows.append(row | _values_of(values.get(scan, chosen.head(0)), corrected.get(scan)))
    table = pd.DataFrame(rows, columns=[*VALUE_KEYS, *_in_order(chosen), "undefined"])
    return table.sort_values("scan", kind="stable", ignore_index=True)


def _with_densities(volume: Mapping, section: Mapping | None) -> Mapping:
    """Return what is measured of a mask together with its densities, if there are any."""
    if section is None:
        return volume
    density = flat_densities(section)
    return {**volume, **density, "undefined": {**volume.get("undefined", {}), **density["undefined"]}}


def _measured(quantity: Quantity, volume: Mapping, overlap: Mapping | None) -> dict | None:
    """Return a quantity's part of a row, without its unit; None if nothing and no reason was measured."""
    record = volume if overlap is None else {**volume, **overlap}
    reasons = {**volume.get("undefined", {}), **(overlap or {}).get("undefined", {})}
    predicted, reference = record.get(quantity.predicted), None
    why = {"predicted": reasons.get(quantity.predicted, "") if predicted is None else ""}
    if predicted is None and not why["predicted"]:
        return None
    if quantity.reference:
        reference = None if overlap is None else record.get(quantity.reference)
        unknown = NO_REFERENCE if overlap is None else reasons.get(quantity.reference, "not measured")
        why["reference"] = unknown if reference is None else ""
    else:
        why["reference"] = "not measured of a reference"
    told = {"reference": reference, "predicted": predicted, "undefined": undefined_text(why)}
    return {name: getattr(quantity, name) for name in QUANTITY_KEYS} | told


def _values_of(measured: pd.DataFrame, corrected: Mapping[str, Mapping] | None) -> dict:
    """Return the values of a scan by column, and `undefined`, the reasons of empty ones."""
    values, why = {}, {}
    for row in measured[_VALUE_COLUMNS].to_dict("records"):
        value = row["predicted"]
        if corrected is not None:
            value = corrected.get(row["structure"], {}).get(_quantity_of(row).corrected)
        values[row["column"]] = value
        if value is None or pd.isna(value):
            own = undefined_reasons(row["undefined"]).get("predicted", "")
            why[row["column"]] = own if corrected is None else NOT_CORRECTED
    return values | {"undefined": undefined_text(why)}


def _quantity_of(row: Mapping) -> Quantity:
    return _BY_KEY[tuple(row[name] for name in QUANTITY_KEYS)]


def _columns(measurements: pd.DataFrame) -> list[str]:
    """Return the column of the wide table to which each row belongs."""
    # few names for many rows
    names = {
        tuple(
            row[name] for name in _COLUMN_KEYS
        ): f"{row['structure']}_{_quantity_of(row).column(row['unit'])}"
        for row in measurements[_COLUMN_KEYS].drop_duplicates().to_dict("records")
    }
    rows = zip(*(measurements[name] for name in _COLUMN_KEYS), strict=True)
    return [names[key].replace("-", "_") for key in rows]


def _in_order(measurements: pd.DataFrame) -> list[str]:
    """Return the columns of the wide table: structures in the order of rows, quantities in that of the catalog."""
    structures = list(dict.fromkeys(measurements["structure"]))
    found = {
        (structures.index(row["structure"]), QUANTITIES.index(_quantity_of(row))): row["column"]
        for row in measurements[[*_COLUMN_KEYS, "column"]].drop_duplicates().to_dict("records")
    }
    return [found[place] for place in sorted(found)]
