"""Comparison of the model with two readers, whose agreement with each other is the upper limit for a model."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from lib.catalog.measures import MEASURES
from lib.report_settings import AgreementConfig
from lib.stats.agreement import summarize_agreement
from lib.stats.agreement_units import with_unit
from lib.stats.grouping import subsets_by_name, without_repeats
from lib.stats.means import mean_columns, why_no_interval
from lib.stats.reader_pairs import PAIRS
from lib.stats.tables import structure_key
from lib.stats.undefined import explain, reasons_of
from lib.stats.without_distance import WITHOUT_DISTANCE, tell_without

AGREEMENT = (
    *("mae_mm3", "bias_mm3", "bias_mm3_ci_low", "bias_mm3_ci_high", "loa_low_mm3", "loa_high_mm3"),
    *("r2", "ccc"),
)
# measures for means over scans, and for agreement
MEANS = ("dsc", "hd95_mm", "assd_mm", "nsd")
COMPARED = (*MEANS, "reference_mm3", "predicted_mm3")
INTERVALS = ("mae_mm3", "loa_low_mm3", "loa_high_mm3", "r2", "ccc")
READER_COLUMNS = (
    *("group", "network", "protocol", "structure", "pair", "n", "scans", "dsc_mean", "dsc_sd", "dsc_min"),
    *("hd95_mm_mean", "assd_mm_mean", "nsd_mean", *AGREEMENT, "hd95_mm_scans", WITHOUT_DISTANCE),
    *(f"{name}_ci_{end}" for name in INTERVALS for end in ("low", "high")),
    *(f"{name}_mean_ci_{end}" for name in MEANS for end in ("low", "high")),
    "undefined",
)


def readers_table(
    metrics: pd.DataFrame, records: Mapping[str, Mapping], config: AgreementConfig
) -> pd.DataFrame:
    """Return READER_COLUMNS: three rows (PAIRS) for each group, network, protocol and structure read twice.

    `records` holds results of `compare_readers` by `structure_key`. The three rows are for the same people; each
    mean is over the scans for which all three pairs define the measure, for distances `hd95_mm_scans`. Differences of
    volumes are the second of a pair minus the first.
    """
    rows, read = [], without_repeats(metrics)
    read = read.assign(key=[structure_key(row) for row in read.to_dict("records")])
    read = read[read["key"].isin(list(records))]
    for key, subset in subsets_by_name(read, "group", "network", "protocol", "structure"):
        measured = _measured(subset["key"].tolist(), records)
        empty = tell_without(_why_without(subset["key"], records), len(subset))
        for pair in PAIRS:
            told = {"pair": pair, WITHOUT_DISTANCE: empty}
            rows.append(key | told | _summary(measured[pair], subset["subject"].tolist(), config))
    return pd.DataFrame(rows, columns=list(READER_COLUMNS))


def _why_without(keys: Iterable[str], records: Mapping[str, Mapping]) -> Iterator[str]:
    """Yield for each scan without a distance the first of PAIRS that has none, and why."""
    for key in keys:
        lacking = [pair for pair in PAIRS if records[key][pair]["hd95_mm"] is None]
        if lacking:
            why = records[key][lacking[0]].get("undefined", {}).get("hd95_mm", "not measured")
            yield f"{lacking[0]}: {why}"


def _measured(keys: list[str], records: Mapping[str, Mapping]) -> dict[str, dict[str, np.ndarray]]:
    """Return pair -> measure -> values (scans,), NaN where any of the three pairs does not define the measure."""
    values = np.array(
        [[[records[key][pair][name] for key in keys] for name in COMPARED] for pair in PAIRS], float
    )
    values[:, np.isnan(values).any(axis=0)] = np.nan
    return {pair: dict(zip(COMPARED, table, strict=True)) for pair, table in zip(PAIRS, values, strict=True)}


def _summary(measured: Mapping[str, np.ndarray], subjects: list[str], config: AgreementConfig) -> dict:
    volumes = measured["reference_mm3"], measured["predicted_mm3"]
    agreement = with_unit("mm3", asdict(summarize_agreement(*volumes, subjects, config)))
    dsc = pd.Series(measured["dsc"])
    subset = pd.DataFrame({"subject": subjects})
    means: dict = {}
    for name in MEANS:
        told = (MEASURES[name].scale, config)
        means |= mean_columns(f"{name}_mean", subset, pd.Series(measured[name]), told)
    spread = {"dsc_sd": dsc.std(ddof=1), "dsc_min": dsc.min()}
    told = explain(means | spread, {"dsc_sd": "fewer than two scans"}, why_no_interval(subset))["undefined"]
    of_volumes = reasons_of(agreement["undefined"], READER_COLUMNS)
    return {
        **{name: agreement[name] for name in READER_COLUMNS if name in agreement},
        **means,
        **spread,
        "hd95_mm_scans": int(np.count_nonzero(~np.isnan(measured["hd95_mm"]))),
        "undefined": "; ".join(filter(None, (of_volumes, told))),
    }
