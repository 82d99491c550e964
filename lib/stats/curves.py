"""Precision-recall and ROC curves pooled over the voxels of many scans, from the counts in `measured/`."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from lib.stats.grouping import without_repeats
from lib.stats.tables import structure_key
from lib.stats.undefined import NAN, undefined_text
from lib.stats.voxel_levels import curve_of, measure_areas, pool_counts

CURVE_KEYS = ("group", "network", "protocol", "structure")
CURVE_COLUMNS = (*CURVE_KEYS, "threshold", "precision", "recall", "false_positive_rate")
AREAS = ("auc_pr", "auc_roc")
AREA_COLUMNS = (*CURVE_KEYS, "scans", *AREAS, "undefined")


def counts_of_predictions(metrics: pd.DataFrame, counts: Mapping[str, Mapping]) -> list[dict]:
    """Return the records of `pooled_curves` of scored predictions; repeated scans are left out.

    Args:
        metrics: rows of metrics.csv.
        counts: `VoxelCounts.to_json` of a scan by `structure_key`; predictions without them have no record.
    """
    rows = without_repeats(metrics).to_dict("records")
    keyed = ((structure_key(row), row) for row in rows)
    return [
        {name: row[name] for name in CURVE_KEYS} | dict(counts[key]) for key, row in keyed if key in counts
    ]


def pooled_curves(records: Iterable[Mapping]) -> pd.DataFrame:
    """Return CURVE_COLUMNS, the curves pooled over the voxels of all scans, for each of CURVE_KEYS.

    Args:
        records: CURVE_KEYS and `VoxelCounts.to_json` of a scan each.

    A row states precision, recall and false positive rate (share of the voxels outside the reference) of voxels of at
    least `threshold`, from high thresholds to low; NaN where it is not defined.
    """
    rows = [
        pd.DataFrame(dict(zip(CURVE_KEYS, key, strict=True)) | curve_of(pool_counts(scans)))
        for key, scans in _by_key(records)
    ]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(CURVE_COLUMNS))


def pooled_areas(records: Iterable[Mapping]) -> pd.DataFrame:
    """Return AREA_COLUMNS, the areas under the pooled curves of `pooled_curves`, for each of CURVE_KEYS."""
    rows = []
    for key, scans in _by_key(records):
        areas = measure_areas(pool_counts(scans))
        told = {"scans": len(scans), "undefined": undefined_text(areas.pop("undefined"))}
        known = {name: NAN if area is None else area for name, area in areas.items()}
        rows.append(dict(zip(CURVE_KEYS, key, strict=True)) | known | told)
    return pd.DataFrame(rows, columns=list(AREA_COLUMNS))


def areas_by_key(records: Iterable[Mapping]) -> dict[tuple, dict[str, float]]:
    """Return `auc_pr` and `auc_roc` of `pooled_areas` by the values of CURVE_KEYS."""
    rows = pooled_areas(records).to_dict("records")
    return {tuple(row[name] for name in CURVE_KEYS): {name: row[name] for name in AREAS} for row in rows}


def _by_key(records: Iterable[Mapping]) -> Iterator[tuple[tuple, list[Mapping]]]:
    """Yield the records of each of CURVE_KEYS, in the order of their first appearance."""
    found: dict[tuple, list[Mapping]] = {}
    for record in records:
        found.setdefault(tuple(record[name] for name in CURVE_KEYS), []).append(record)
    yield from found.items()
