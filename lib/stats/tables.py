"""The tables of a study: rows of metrics, volumes and unscored predictions; reading and writing of tables.

The columns are a contract (docs/results-columns.md). Protocols are never pooled: `cv` pools the models of all folds,
each scored on its own held-out people; `test` scores the ensemble on test people.
"""

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from lib.ages import printed_age
from lib.atomic import whole_file
from lib.catalog.anatomies import REGIONS
from lib.catalog.groups import group_position
from lib.catalog.measures import columns_of, followed
from lib.catalog.protocols import PROTOCOL_ORDER
from lib.stats.undefined import undefined_text

PREDICTION_COLUMNS = ("group", "network", "members", "protocol", "weights")
PERSON_COLUMNS = ("subject", "sex", "age", "site", "fold")
# a row of a table is one of these: a prediction, a scan, a structure, and the person
ROW_COLUMNS = (*PREDICTION_COLUMNS, "scan", "structure", *PERSON_COLUMNS)
INTERVAL_COLUMNS = ("interval_low_mm3", "interval_high_mm3", "interval_percent")
# the order of columns is a contract; new measures of the catalog are added at the end
_METRIC_ORDER = (
    *ROW_COLUMNS,
    *("dsc", "dsc_native", "sensitivity", "specificity", "precision", "hd95_mm", "assd_mm", "nsd"),
    *("reference_mm3", "reference_native_mm3", "predicted_mm3", "re_percent", "otsu_threshold", "flags"),
    *("member_dice", "mean_entropy_bits", "repeat_of", "undefined"),
    *("reference_cut_mm3", "predicted_cut_mm3", "reference_lesser_trochanter_mm", "lesser_trochanter_mm"),
    *("hd_mm", "hd_reference_to_predicted_mm", "hd_predicted_to_reference_mm"),
    *("hd95_reference_to_predicted_mm", "hd95_predicted_to_reference_mm", "volume_error_mm3"),
    *("specificity_voxels", *(f"dsc_{region}" for region in REGIONS)),
    *("true_positive_voxels", "false_positive_voxels", "false_negative_voxels", "true_negative_voxels"),
    *("side", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm", "nsd_tolerance_mm"),
    *("member_range_percent", *INTERVAL_COLUMNS),
)
_VOLUME_ORDER = (
    *ROW_COLUMNS,
    *(
        "predicted_mm3",
        "predicted_full_mm3",
        "predicted_at_half_mm3",
        "otsu_threshold",
        "mean_value",
        "sd_value",
    ),
    *("truncated_distally", "length_mm", "density_phantom_in_view", "flags"),
    *("member_dice", "mean_entropy_bits", "undefined"),
    *("lesser_trochanter_mm", "shaft_below_trochanter_mm", "predicted_cut_mm3", "corrected_mm3", "repeat_of"),
    "final_mm3",
    *("member_range_percent", *INTERVAL_COLUMNS),
)
METRIC_COLUMNS = followed(_METRIC_ORDER, columns_of("metrics"))
VOLUME_COLUMNS = followed(_VOLUME_ORDER, columns_of("volumes"))
# columns of metrics.csv that are measured without the reference
METRICS_OF_VOLUME = ("flags", *columns_of("metrics", "volume"))
# predictions that should have been scored but were not: the rows missing in metrics.csv
UNSCORED_COLUMNS = (*ROW_COLUMNS, "repeat_of", "without_reason")
NOT_PREDICTED, NOT_COMPARED = "not predicted", "not compared with its reference"
TEXT_COLUMNS = {
    *(
        *PREDICTION_COLUMNS,
        "scan",
        "structure",
        "subject",
        "sex",
        "age",
        "site",
        "set",
        "flags",
        "undefined",
        "verdict",
    ),
    *(
        "stratum",
        "stage",
        "manufacturer",
        "model",
        "kernel",
        "contrast",
        "off_protocol",
        "reason",
        "explanation",
        "warnings",
    ),
    *("side", "repeat_of", "age_band", "compared_with", "review", "review_comment", "measure"),
    *(
        "pair",
        "level",
        "region",
        "compartment",
        "unit",
        "authors",
        "method",
        "data",
        "source",
        "footnote",
        "slice_thickness",
    ),
    *("kind", "subgroup", "others"),
    *("without_reason", "without_distance", "not_scored_reason", "limits_to_use", "partition", "scanners"),
    *("control", "other_network", "better", "wilcoxon_method", "stated", "best_of", "chosen", "chosen_by"),
    *("vendor", "vendor_trained", "vendor_a", "vendor_b", "test", "found", "scan_flags", "usable", "trains"),
    *("mean_of", "levels_used", "levels_left_out", "left_out_reason", "class", "reference_class"),
    *("predicted_class", "class_withheld", "withheld_reason"),
    *("age_90_or_older", "final_mask", "final_mask_from"),
}

# columns of reference and predicted volume of the whole mask
WHOLE_MASK = ("reference_mm3", "predicted_mm3")
NO_REPEATS: Mapping[str, str] = MappingProxyType({})


def metrics_table(
    predictions: Iterable[Mapping],
    overlaps: Mapping[str, Mapping],
    volumes: Mapping[str, Mapping],
    repeats: Mapping[str, str],
) -> pd.DataFrame:
    """Return METRIC_COLUMNS, a row for each scored structure of a prediction.

    Args:
        predictions: the planned predictions by structure: ROW_COLUMNS by name (see `by_structure`).
        overlaps: what was compared with the references, by key (see `structure_key`).
        volumes: what was measured of the masks, by key.
        repeats: scan -> the first scan that it repeats (see `first_scans`).
    """
    rows = []
    for prediction in predictions:
        key = structure_key(prediction)
        if prediction["protocol"] != "apply" and key in overlaps:
            overlap, volume = overlaps[key], volumes.get(key, {})
            measured = overlap | _of_volume(volume, *METRICS_OF_VOLUME)
            told = {
                "repeat_of": repeats.get(prediction["scan"], ""),
                "undefined": _undefined(METRIC_COLUMNS, overlap, volume),
            }
            rows.append(measured | table_row(prediction) | told)
    return in_reading_order(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)))


def unscored_table(
    predictions: Iterable[Mapping],
    overlaps: Collection[str],
    volumes: Collection[str],
    repeats: Mapping[str, str],
) -> pd.DataFrame:
    """Return UNSCORED_COLUMNS, a row for each structure of a prediction that should have been scored but was not.

    Args:
        predictions: the planned predictions of accepted scans (see `metrics_table`); `apply` is not scored.
        overlaps: keys of the scored predictions.
        volumes: keys of the measured predictions.
        repeats: scan -> the first scan that it repeats.
    """
    rows = []
    for prediction in predictions:
        key = structure_key(prediction)
        if prediction["protocol"] != "apply" and key not in overlaps:
            why = NOT_COMPARED if key in volumes else NOT_PREDICTED
            told = {"repeat_of": repeats.get(prediction["scan"], ""), "without_reason": why}
            rows.append(table_row(prediction) | told)
    return in_reading_order(pd.DataFrame(rows, columns=list(UNSCORED_COLUMNS)))


def volumes_table(
    predictions: Iterable[Mapping],
    volumes: Mapping[str, Mapping],
    repeats: Mapping[str, str] = NO_REPEATS,
) -> pd.DataFrame:
    """Return VOLUME_COLUMNS, a row for each measured structure of a prediction (arguments as in `metrics_table`)."""
    rows = []
    for prediction in predictions:
        key = structure_key(prediction)
        if key in volumes:
            volume = volumes[key]
            told = {
                "repeat_of": repeats.get(prediction["scan"], ""),
                "undefined": _undefined(VOLUME_COLUMNS, volume),
            }
            rows.append(_of_volume(volume, *volume) | table_row(prediction) | told)
    return in_reading_order(pd.DataFrame(rows, columns=list(VOLUME_COLUMNS)))


def flat_prediction(prediction: Mapping) -> dict:
    """Return a planned prediction with the entries of `placement` (scan, subject, sex, age, ...) at its top level."""
    return {**prediction["placement"], **{name: prediction[name] for name in PREDICTION_COLUMNS}}


def by_structure(predictions: Iterable[Mapping], structures: Iterable[str]) -> list[dict]:
    """Return each prediction once for each structure, with its name."""
    names = list(structures)
    return [dict(prediction) | {"structure": name} for prediction in predictions for name in names]


def prediction_key(prediction: Mapping) -> str:
    """Return group/network/members/scan, the common part of the paths of a prediction's files."""
    return "/".join(str(prediction[name]) for name in ("group", "network", "members", "scan"))


def structure_key(prediction: Mapping) -> str:
    """Return group/network/members/scan/structure, the key of `lib.measured.read_measured`."""
    return f"{prediction_key(prediction)}/{prediction['structure']}"


def by_scan(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return files `.../{scan}/name` by scan."""
    return {Path(path).parent.name: str(path) for path in paths}


def by_stem(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return files `.../{scan}.json` and the like by scan."""
    return {Path(path).stem: str(path) for path in paths}


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of this project: identifiers remain text (`007`, `NA`), an empty number is NaN."""
    kinds = dict.fromkeys(TEXT_COLUMNS, str)
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""], encoding="utf-8")
    text = [name for name in table.columns if name in TEXT_COLUMNS]
    return table.assign(**{name: table[name].fillna("") for name in text})


def read_header(path: str | Path) -> list[str]:
    """Return the columns of a table on file; none of an empty file."""
    with open(path, newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table atomically as CSV; numbers have ten significant digits."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def _of_volume(volume: Mapping, *names: str) -> dict:
    flags = " ".join(dict.fromkeys(volume.get("flags", ())))
    return {name: volume.get(name) for name in names} | ({"flags": flags} if "flags" in names else {})


def with_corrected(volumes: pd.DataFrame, corrected: Mapping[str, Mapping[str, Mapping]]) -> pd.DataFrame:
    """Return a table of volumes with those of corrected masks (scan -> structure -> measures), flagged `corrected`.

    `final_mm3` is the volume of the corrected mask, if any, else the predicted volume.
    """
    rows = zip(volumes["scan"], volumes["structure"], strict=True)
    found = [corrected.get(scan, {}).get(structure, {}).get("corrected_mm3") for scan, structure in rows]
    corrected_mm3 = pd.Series(found, index=volumes.index, dtype=float)
    final_mm3 = corrected_mm3.fillna(volumes["predicted_mm3"])
    volumes = with_flag(volumes, "corrected", corrected)
    return volumes.assign(corrected_mm3=corrected_mm3, final_mm3=final_mm3)


def with_flag(table: pd.DataFrame, flag: str, scans: Collection[str]) -> pd.DataFrame:
    """Return a table of predictions with a further flag for these scans."""
    flags = table["flags"].where(~table["scan"].isin(scans), table["flags"] + f" {flag}")
    return table.assign(flags=flags.str.strip())


def _undefined(columns: Sequence[str], *records: Mapping) -> str:
    """Return as text the reasons for all `columns` that are undefined in the records of a prediction."""
    reasons: dict[str, str] = {}
    for record in records:
        for name, reason in record.get("undefined", {}).items():
            if name in columns:
                reasons.setdefault(name, reason)
    return undefined_text(reasons)


def table_row(prediction: Mapping) -> dict:
    """Return the person and the models of a prediction; the fold is given only if its own model predicted."""
    fold = prediction["fold"] if str(prediction["members"]).startswith("fold-") else None
    return {name: prediction[name] for name in ROW_COLUMNS} | {
        "age": printed_age(prediction["age"]),
        "fold": fold,
    }


def in_reading_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by group and protocol in reading order, then by scan; structures keep their order."""
    keys = pd.DataFrame(
        {
            "group": table["group"].map(group_position),
            "network": table["network"],
            "protocol": table["protocol"].map(PROTOCOL_ORDER.index),
            "scan": table["scan"],
        }
    )
    table = table.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)
    return table.assign(fold=table["fold"].astype("Int64"))
