"""Precision-recall and ROC curves pooled over the voxels of many scans, from the counts in `measured/`."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from lib.stats.undefined import NAN, undefined_text
from lib.stats.voxel_levels import curve_of, measure_areas, pool_counts

CURVE_KEYS = ("group", "network", "protocol", "structure")
CURVE_COLUMNS = (*CURVE_KEYS, "threshold", "precision", "recall", "false_positive_rate")
AREA_COLUMNS = (*CURVE_KEYS, "scans", "auc_pr", "auc_roc", "undefined")


def pooled_curves(records: Iterable[Mapping]) -> pd.DataFrame:
    """Return CURVE_COLUMNS, the curves pooled over the voxels of all scans, for each of CURVE_KEYS.

    Args:
        records: CURVE_KEYS and the counts `inside` and `outside` of a scan each.

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


def _by_key(records: Iterable[Mapping]) -> Iterator[tuple[tuple, list[Mapping]]]:
    """Yield the records of each of CURVE_KEYS, in the order of their first appearance."""
    found: dict[tuple, list[Mapping]] = {}
    for record in records:
        found.setdefault(tuple(record[name] for name in CURVE_KEYS), []).append(record)
    yield from found.items()
