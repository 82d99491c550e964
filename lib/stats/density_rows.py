"""The densities of single structures: a row for each prediction, structure and method, with its baselines."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lib.ages import age_years, printed_age
from lib.atomic import read_json
from lib.calibrated import Calibration
from lib.catalog.calibration import NO_CALIBRATION, refused_in_words
from lib.catalog.groups import group_position
from lib.catalog.level_flags import WHOLE_SCAN, density_withheld
from lib.catalog.protocols import PROTOCOL_ORDER
from lib.stats.density_baselines import NO_HU, predict_baseline
from lib.stats.density_plan import METHODS, NETWORK, PHANTOM, DensityPlan
from lib.stats.density_scale import scaled_columns, with_scale
from lib.stats.tables import structure_key
from lib.stats.undefined import NAN, undefined_text

CONTRAST = "contrast"  # the flag of a scan with contrast medium
ABSENT = "named in levels_absent of the cohort table"
NO_REFERENCE = "no reference density in the cohort table"
NOT_FOUND = "the structure was not measured"
NO_ESTIMATE = "the network read no density"
DENSITIES = ("reference", "predicted", "predicted_sd")
ROW_KEYS = (
    *("group", "network", "members", "protocol", "method", "scan", "subject", "sex", "age", "fold", "vendor"),
)
BMD_COLUMNS = (
    *(*ROW_KEYS, "structure", *DENSITIES, "hu_mean", "hu_sd", "eroded_mm3", "mask_dsc", "flags", "usable"),
    *("contrast", "class_withheld", "trains", "repeat_of", "undefined"),
)


@dataclass(frozen=True, kw_only=True)
class DensityInputs:
    """What is known of the scans of a study, by key or scan.

    Attributes:
        levels: section `levels` of `measured/`, by `structure_key`; the structure WHOLE_SCAN holds the scan's flags.
        overlaps: section `overlap` of `measured/`, by `structure_key`.
        estimates: densities that networks read (`read_estimates`), by `structure_key`.
        references: reference density of each structure, by scan.
        absent: structures that do not count (`levels_absent`), by scan.
        vendors: vendor of the scanner by scan; empty or missing: not stated.
        repeats: scan -> the first scan that it repeats.
        calibrations: of the scans that ask for one, by scan; without any, there are no rows of the method `phantom`.
    """

    levels: Mapping[str, Mapping]
    overlaps: Mapping[str, Mapping]
    estimates: Mapping[str, Mapping]
    references: Mapping[str, Mapping[str, float]]
    absent: Mapping[str, Sequence[str]]
    vendors: Mapping[str, str]
    repeats: Mapping[str, str]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)


def read_estimates(batches: Iterable[str | Path]) -> dict[str, dict]:
    """Return the densities that networks read, by group/network/members/scan/structure.

    `batches` are folders `.../{group}/{network}/{members}/batch-{b}` with a file `{scan}/estimate.json` each scan.
    """
    found = {}
    for path in (path for batch in batches for path in sorted(Path(batch).glob("*/estimate.json"))):
        key = "/".join((*path.parts[-6:-3], path.parent.name))
        found |= {f"{key}/{structure}": record for structure, record in read_json(path).items()}
    return found


def bmd_table(
    planned: Iterable[Mapping],
    inputs: DensityInputs,
    plan: DensityPlan,
    among: Collection[str] = METHODS,
) -> pd.DataFrame:
    """Return BMD_COLUMNS, a row for each density: by prediction, network, structure and method (METHODS).

    Densities carry the scale in their names. `network` names the network that reads densities; its baselines, which
    need none, stand beside it. A density that is not given has its reason in `undefined`.

    Args:
        planned: flat predictions of the segmentation network (`lib.stats.tables.flat_prediction`), with `trains`.
            Predictions of the single model are left out: they have no density.
        inputs: what is known of the scans.
        plan: how densities are tabulated.
        among: the methods that get rows. Lines need the whole cohort, NETWORK and PHANTOM the scan alone.
    """
    kept = [
        row for row in planned if row["network"] == plan.segmentation and row["protocol"] != "test-single"
    ]
    methods = [name for name in METHODS if name in among and (name != PHANTOM or inputs.calibrations)]
    tables = [
        _method_rows(measured.assign(network=regressor, method=method), inputs, plan)
        for group in dict.fromkeys(row["group"] for row in kept)
        for measured in [_measured_rows([row for row in kept if row["group"] == group], inputs, plan)]
        for regressor in plan.regressors
        for method in methods
    ]
    columns = scaled_columns(BMD_COLUMNS, DENSITIES, plan.scale)
    if not tables:
        return pd.DataFrame(columns=columns)
    table = _in_order(pd.concat(tables, ignore_index=True), plan)
    return table[list(BMD_COLUMNS)].set_axis(columns, axis="columns")


def _measured_rows(kept: Sequence[Mapping], inputs: DensityInputs, plan: DensityPlan) -> pd.DataFrame:
    """Return a row for each prediction of a group and each structure, with what does not depend on the method."""
    rows = []
    for prediction in kept:
        scan = inputs.levels.get(structure_key({**prediction, "structure": WHOLE_SCAN}), {})
        for structure in plan.structures:
            key = structure_key({**prediction, "structure": structure})
            level, overlap = inputs.levels.get(key, {}), inputs.overlaps.get(key, {})
            rows.append(_measured_row({**prediction, "structure": structure}, (level, scan, overlap), inputs))
    return pd.DataFrame(rows)


def _measured_row(
    prediction: Mapping, measured: tuple[Mapping, Mapping, Mapping], inputs: DensityInputs
) -> dict:
    level, scan, overlap = measured
    name, structure = prediction["scan"], prediction["structure"]
    flags = list(dict.fromkeys((*level.get("flags", ()), *scan.get("flags", ()))))
    absent = structure in inputs.absent.get(name, ())
    reference = inputs.references.get(name, {}).get(structure)
    why = {} if reference is not None else {"reference": NO_REFERENCE}
    if absent:
        reference, why = None, {"reference": ABSENT}
    no_density = density_withheld(flags) if level.get("found") else NOT_FOUND
    told = level.get("undefined") or {}
    for number in ("hu_mean", "hu_sd", "eroded_mm3"):
        why[number] = told.get(number, NOT_FOUND) if level.get(number) is None else ""
    why["mask_dsc"] = "" if overlap.get("dsc") is not None else "not compared with a reference mask"
    return {
        **{column: prediction[column] for column in ("group", "members", "protocol", "scan", "subject")},
        **{"sex": prediction["sex"], "age": prediction["age"], "structure": structure},
        "years": age_years(prediction["age"]),
        "fold": prediction["fold"] if prediction["protocol"] == "cv" else None,
        "trains": bool(prediction["trains"]),
        "vendor": inputs.vendors.get(name, ""),
        "reference": NAN if reference is None else float(reference),
        **{number: level.get(number) for number in ("hu_mean", "hu_sd", "eroded_mm3")},
        "mask_dsc": overlap.get("dsc"),
        "flags": " ".join(flags),
        "usable": bool(level.get("usable")) and not absent and not no_density,
        "contrast": "yes" if CONTRAST in flags else "no",
        "class_withheld": scan.get("class_withheld") or "",
        "repeat_of": inputs.repeats.get(name, ""),
        "no_density": no_density,
        "why": why,
    }


def _method_rows(measured: pd.DataFrame, inputs: DensityInputs, plan: DensityPlan) -> pd.DataFrame:
    """Return the rows of one group, network and method, which the columns name, with their densities."""
    numbers = {name: measured[name].astype(float) for name in ("hu_mean", "hu_sd", "eroded_mm3", "mask_dsc")}
    measured = measured.assign(**numbers)
    method = measured["method"].iloc[0]
    if method == NETWORK and plan.refused:
        predicted, sds = [NAN] * len(measured), [NAN] * len(measured)
        reasons = [plan.refused] * len(measured)
    elif method == NETWORK:
        records = [inputs.estimates.get(structure_key(row)) for row in measured.to_dict("records")]
        predicted, sds = ([_value(record, name) for record in records] for name in ("value", "sd"))
        reasons = [_why_no_estimate(record) for record in records]
    elif method == PHANTOM:
        read = [_calibrated(row, inputs.calibrations, plan.scale) for row in measured.to_dict("records")]
        predicted, reasons = ([one[place] for one in read] for place in (0, 1))
        sds = [NAN] * len(measured)
    else:
        with_years = measured.assign(age=measured["years"].astype(float), fold=measured["fold"].astype(float))
        predicted, reasons = predict_baseline(with_years, method)
        sds = [NAN] * len(measured)
    blocked = (measured["no_density"] != "").to_numpy()
    table = measured.assign(
        predicted=pd.Series(predicted, index=measured.index, dtype=float).mask(blocked),
        predicted_sd=pd.Series(sds, index=measured.index, dtype=float).mask(blocked),
        age=measured["age"].map(printed_age),
    )
    told = (_reasons(row, why) for row, why in zip(table.to_dict("records"), reasons, strict=True))
    return table.assign(undefined=[undefined_text(with_scale(why, DENSITIES, plan.scale)) for why in told])


def _calibrated(row: Mapping, calibrations: Mapping[str, Calibration], scale: str) -> tuple[float, str]:
    """Return the density of the eroded structure by the calibration of its scan, or NaN and why there is none."""
    found = calibrations.get(row["scan"])
    if found is None:
        return NAN, NO_CALIBRATION
    if not found.is_usable:
        return NAN, refused_in_words(found.reason)
    if found.scale != scale:
        return NAN, f"the scan is calibrated in {found.scale}, and references are in {scale}"
    return (NAN, NO_HU) if pd.isna(row["hu_mean"]) else (float(found.density_mg_cm3(row["hu_mean"])), "")


def _reasons(row: Mapping, reason: str) -> dict[str, str]:
    """Return why numbers of a row are empty."""
    why = dict(row["why"])
    if pd.isna(row["predicted"]):
        why["predicted"] = why["predicted_sd"] = row["no_density"] or reason or NO_ESTIMATE
    elif pd.isna(row["predicted_sd"]):
        of_line = row["method"] != NETWORK
        why["predicted_sd"] = "a line has no spread of models" if of_line else "one model predicted"
    return why


def _value(record: Mapping | None, name: str) -> float:
    value = (record or {}).get(name)
    return NAN if value is None else float(value)


def _why_no_estimate(record: Mapping | None) -> str:
    if record is None:
        return NO_ESTIMATE
    return (record.get("undefined") or {}).get("value", NO_ESTIMATE) if record.get("value") is None else ""


def _in_order(table: pd.DataFrame, plan: DensityPlan) -> pd.DataFrame:
    """Sort rows by group, network, protocol and method in reading order, then by scan and structure."""
    keys = pd.DataFrame(
        {
            "group": table["group"].map(group_position),
            "network": table["network"].map(list(plan.regressors).index),
            "protocol": table["protocol"].map(PROTOCOL_ORDER.index),
            "method": table["method"].map(METHODS.index),
            "scan": table["scan"],
            "structure": table["structure"].map(plan.structures.index),
        }
    )
    table = table.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)
    words = {name: table[name].map({True: "yes", False: "no"}) for name in ("usable", "trains")}
    return table.assign(fold=table["fold"].astype("Int64"), **words)
