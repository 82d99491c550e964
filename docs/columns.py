"""Write docs/results-columns.md: every column of every table, from the code and the sentences of columns.yaml.

python docs/columns.py
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from lib.catalog.bone_parts import GEOMETRY, PROJECTED, TABLE_REGIONS  # noqa: E402
from lib.catalog.measures import QUANTITIES, Quantity  # noqa: E402
from lib.catalog.modalities import MODALITIES  # noqa: E402
from lib.catalog.scales import CALIBRATED_SCALES  # noqa: E402
from lib.cohort.acquisitions import acquisition_columns  # noqa: E402
from lib.cohort.review import REVIEW_COLUMNS  # noqa: E402
from lib.cohort.scans import DIGEST_COLUMNS, FOLD_COLUMNS, SCAN_COLUMNS  # noqa: E402
from lib.cohort.table import COLUMNS as COHORT_COLUMNS  # noqa: E402
from lib.commands.parts.merge import PART_COLUMNS  # noqa: E402
from lib.learning.history import history_columns  # noqa: E402
from lib.model_record import REGRESS, SEGMENT  # noqa: E402
from lib.report_settings import AgreementConfig  # noqa: E402
from lib.stats.calibration_tables import CALIBRATION_COLUMNS, ROD_COLUMNS  # noqa: E402
from lib.stats.cohort_people import PEOPLE_KEYS  # noqa: E402
from lib.stats.comparison import SUMMARY_COLUMNS  # noqa: E402
from lib.stats.data_dictionary import (  # noqa: E402
    DICTIONARY,
    DICTIONARY_COLUMNS,
    PAGE_SCALE,
    Sentences,
    explain_column,
    read_sentences,
)
from lib.stats.density_agreement import BMD_AGREEMENT_COLUMNS, DENSITY_NUMBERS  # noqa: E402
from lib.stats.density_by_age import DENSITY_BY_AGE_COLUMNS  # noqa: E402
from lib.stats.density_classes import CLASS_COLUMNS, CONFUSION_COLUMNS  # noqa: E402
from lib.stats.density_people import BMD_PEOPLE_COLUMNS, MEANS  # noqa: E402
from lib.stats.density_precision import DENSITY_PRECISION_COLUMNS  # noqa: E402
from lib.stats.density_rows import BMD_COLUMNS, DENSITIES  # noqa: E402
from lib.stats.density_scale import scaled_columns  # noqa: E402
from lib.stats.density_vendors import VENDOR_COLUMNS  # noqa: E402
from lib.stats.flow import FLOW_COLUMNS  # noqa: E402
from lib.stats.geometry_table import GEOMETRY_COLUMNS  # noqa: E402
from lib.stats.levels_found import LEVELS_FOUND_COLUMNS  # noqa: E402
from lib.stats.measurements import MEASUREMENT_COLUMNS  # noqa: E402
from lib.stats.network_pairs import DIMENSION_PAIR_COLUMNS, NETWORK_PAIR_COLUMNS  # noqa: E402
from lib.stats.networks import NETWORK_COLUMNS  # noqa: E402
from lib.stats.paper import TABLE2_COLUMNS, table1  # noqa: E402
from lib.stats.partitions import PARTITION_COLUMNS  # noqa: E402
from lib.stats.selection import SELECTION_COLUMNS  # noqa: E402
from lib.stats.summary import summary_tables  # noqa: E402
from lib.stats.tables import METRIC_COLUMNS, UNSCORED_COLUMNS, VOLUME_COLUMNS  # noqa: E402

PAGE = DOCS / "results-columns.md"


def table_columns() -> dict[str, Sequence[str]]:
    """Return the columns of each table by its path. Those of the statistics are the columns of empty tables."""
    empty = {
        name: pd.DataFrame(columns=list(columns))
        for name, columns in {
            "metrics": METRIC_COLUMNS,
            "unscored": UNSCORED_COLUMNS,
            "volumes": VOLUME_COLUMNS,
            "measurements": MEASUREMENT_COLUMNS,
            "acquisition": acquisition_columns("CT"),
        }.items()
    }
    made = summary_tables(empty, {}, [], AgreementConfig())
    first = table1(made["agreement"], empty["metrics"], empty["unscored"], published=True)
    return {
        "cohort.csv": COHORT_COLUMNS,
        "cohort/scans.csv": SCAN_COLUMNS,
        "cohort/digests.csv": DIGEST_COLUMNS,
        "folds/folds.csv": FOLD_COLUMNS,
        "tables/volumes.csv": VOLUME_COLUMNS,
        "tables/metrics.csv": METRIC_COLUMNS,
        "tables/measurements.csv": MEASUREMENT_COLUMNS,
        "tables/geometry.csv": GEOMETRY_COLUMNS,
        "tables/density_precision.csv": DENSITY_PRECISION_COLUMNS,
        "tables/density_by_age.csv": DENSITY_BY_AGE_COLUMNS,
        "tables/people.csv": [
            *PEOPLE_KEYS,
            *_columns_of_quantities(),
            "undefined",
        ],
        "tables/unscored.csv": UNSCORED_COLUMNS,
        "tables/flow.csv": FLOW_COLUMNS,
        "tables/acquisition.csv": _columns_of_modalities(),
        "tables/partitions.csv": PARTITION_COLUMNS,
        **{f"tables/{name}.csv": list(table.columns) for name, table in made.items()},
        "tables/networks.csv": NETWORK_COLUMNS,
        "tables/network_pairs.csv": NETWORK_PAIR_COLUMNS,
        "tables/dimension_pair.csv": DIMENSION_PAIR_COLUMNS,
        "tables/selection.csv": SELECTION_COLUMNS,
        "tables/bmd.csv": scaled_columns(BMD_COLUMNS, DENSITIES, PAGE_SCALE),
        "tables/bmd_people.csv": scaled_columns(BMD_PEOPLE_COLUMNS, MEANS, PAGE_SCALE),
        "tables/bmd_agreement.csv": scaled_columns(BMD_AGREEMENT_COLUMNS, DENSITY_NUMBERS, PAGE_SCALE),
        "tables/vendors.csv": VENDOR_COLUMNS,
        "tables/classes.csv": CLASS_COLUMNS,
        "tables/confusion.csv": CONFUSION_COLUMNS,
        "tables/levels_found.csv": LEVELS_FOUND_COLUMNS,
        "tables/calibration.csv": CALIBRATION_COLUMNS,
        "tables/calibration_rods.csv": ROD_COLUMNS,
        "tables/table1.csv": list(first.columns),
        "tables/table2.csv": TABLE2_COLUMNS,
        DICTIONARY: DICTIONARY_COLUMNS,
        "models/{group}/{network}/fold-{k}/history.csv": [
            *dict.fromkeys(name for task in (SEGMENT, REGRESS) for name in history_columns(task))
        ],
        "comparison/summary.csv": SUMMARY_COLUMNS,
        "review.csv": REVIEW_COLUMNS,
        "parts.csv": PART_COLUMNS,
    }


def _columns_of_quantities() -> list[str]:
    """Return the columns of people.csv that hold quantities; those without a unit in some modality last."""
    units = dict.fromkeys(modality.unit for modality in MODALITIES.values())
    names = [_column_of(quantity, unit) for unit in units for quantity in QUANTITIES]
    return [f"{{structure}}_{name}" for name in dict.fromkeys(names)]


def _column_of(quantity: Quantity, unit: str) -> str:
    """Return the column of a quantity; one for all regions, compartments and scales of a calibrated femur."""
    of_geometry = {measure for _, measure, _ in GEOMETRY.values()}
    if quantity.region not in TABLE_REGIONS.values() or quantity.measure in of_geometry:
        return quantity.column(unit)
    scale = next((name for name in CALIBRATED_SCALES if quantity.measure.endswith(f"_{name}")), "")
    compartment = quantity.compartment if quantity.compartment == PROJECTED else "{compartment}"
    measure = quantity.measure.removesuffix(scale) + ("{scale}" if scale else "")
    return replace(quantity, region="{region}", compartment=compartment, measure=measure).column(unit)


def _columns_of_modalities() -> list[str]:
    """Return the columns of acquisition.csv for CT, with those of other modalities in front of the last two."""
    columns = acquisition_columns("CT")
    others = [name for kind in MODALITIES for name in acquisition_columns(kind) if name not in columns]
    return [*columns[:-2], *others, *columns[-2:]]


def columns_page() -> str:
    """Return the page: the tables in their order, each with its rows and columns.

    Raises:
        ValueError: a column has no sentence, or a sentence no column.
    """
    sentences, tables = read_sentences(), table_columns()
    if problems := find_problems(sentences, tables):
        raise ValueError("docs/columns.yaml: " + "; ".join(problems))
    parts = [_HEAD]
    for table, columns in tables.items():
        rows = [f"| `{column}` | {explain_column(table, column, sentences)} |" for column in columns]
        parts.append(
            "\n".join(
                [f"## {table}", "", sentences.tables[table], "", "| column | holds |", "| --- | --- |", *rows]
            )
        )
    return "\n\n".join(parts) + "\n"


def find_problems(sentences: Sentences, tables: Mapping[str, Sequence[str]]) -> list[str]:
    """Return in words which columns lack a sentence, and which sentences belong to no column or table."""
    problems = [f"{table} has no `row`" for table in tables if table not in sentences.tables]
    problems += [f"there is no table {table}" for table in sentences.tables if table not in tables]
    problems += [
        f"{table}: column {column} has no sentence"
        for table, columns in tables.items()
        for column in columns
        if not explain_column(table, column, sentences)
    ]
    problems += [
        f"{table} has no column {column}"
        for table, own in sentences.own.items()
        for column in own
        if column not in tables.get(table, ())
    ]
    every = {column for columns in tables.values() for column in columns}
    problems += [
        f"{table or 'types and units'}: no column {column}"
        for table, column in {**sentences.types, **sentences.units}
        if column not in (tables.get(table, ()) if table else every)
    ]
    return problems + [
        f"no table has a column {column}" for column in sentences.shared if column not in every
    ]


_HEAD = """# Columns of every table

Each table is a CSV file (UTF-8, commas, a point as the decimal mark). Paths are relative to `results/`, but for
`cohort.csv` and `review.csv`, which are yours, and `parts.csv`, which a [merge](large-cohorts.md) writes.

- An **empty cell** has a reason: the column `undefined` names it for each empty value, as `name: reason`. The two
  ends of an interval have one name there, which ends in `_ci`.
- Columns that end in `_ci_low` and `_ci_high` are the ends of an interval at `report.confidence`. `_fold_ci_low` and
  `_fold_ci_high` are those of a further interval, which leaves out a fold at a time. [Methods](methods.md#intervals)
  says for whom each of them holds.
- The **unit** is part of the name: `_mm`, `_mm3`, `_percent`, `_bits`, `_mb`. Volumes are mm³, ages years.
  Intensities of CT are HU; those of MR have no unit.

This page is made by `python docs/columns.py` from the code and `docs/columns.yaml`; a test holds them together."""


if __name__ == "__main__":
    PAGE.write_text(columns_page(), encoding="utf-8")
