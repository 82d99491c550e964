"""The tables of a study: metrics, volumes, agreement, Table 1, and how they are read, grouped and written.

Their columns are a contract (README, "Where results lie"). Numbers of one protocol are never pooled with those
of another: `cv` are ten single models, each on people it never saw; `test` is one ensemble on people nobody saw.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from types import MappingProxyType

import pandas as pd

from lib.ages import age_years, printed_age
from lib.atomic import whole_file
from lib.catalog.anatomies import LEVELS
from lib.catalog.groups import ALL, group_position, stratum_name
from lib.catalog.measures import columns_of, followed
from lib.catalog.protocols import PROTOCOL_ORDER
from lib.errors import TableError
from lib.stats.agreement import AGREEMENT_COLUMNS, AgreementConfig, agreement_row, compare_paired
from lib.stats.jackknife import mean_interval, median_interval
from lib.stats.undefined import explain, reasons_of, undefined_text

PREDICTION_COLUMNS = ("group", "network", "members", "protocol", "weights")
PERSON_COLUMNS = ("scan", "subject", "sex", "age", "site", "fold")
INTERVAL_COLUMNS = ("interval_low_mm3", "interval_high_mm3", "interval_percent")
# the order of columns is a contract; a measure that the catalog gets follows at the end
_METRIC_ORDER = (
    *PREDICTION_COLUMNS,
    *PERSON_COLUMNS,
    *("dsc", "dsc_native", "sensitivity", "specificity", "precision", "hd95_mm", "assd_mm", "nsd"),
    *("reference_mm3", "reference_native_mm3", "predicted_mm3", "re_percent", "otsu_threshold", "flags"),
    *("member_dice", "mean_entropy_bits", "repeat_of", "undefined"),
    *("reference_cut_mm3", "predicted_cut_mm3", "reference_lesser_trochanter_mm", "lesser_trochanter_mm"),
    *("hd_mm", "hd_reference_to_predicted_mm", "hd_predicted_to_reference_mm"),
    *("hd95_reference_to_predicted_mm", "hd95_predicted_to_reference_mm", "volume_error_mm3"),
    *("specificity_voxels", *(f"dsc_{level}" for level in LEVELS)),
    *("true_positive_voxels", "false_positive_voxels", "false_negative_voxels", "true_negative_voxels"),
    *("side", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm", "nsd_tolerance_mm"),
    *("member_range_percent", *INTERVAL_COLUMNS),
)
_VOLUME_ORDER = (
    *PREDICTION_COLUMNS,
    *PERSON_COLUMNS,
    *("predicted_mm3", "predicted_full_mm3", "predicted_at_half_mm3", "otsu_threshold", "hu_mean", "hu_sd"),
    *("truncated_distally", "length_mm", "density_phantom_in_view", "flags"),
    *("member_dice", "mean_entropy_bits", "undefined"),
    *("lesser_trochanter_mm", "shaft_below_trochanter_mm", "predicted_cut_mm3", "corrected_mm3", "repeat_of"),
    "final_mm3",
    *("member_range_percent", *INTERVAL_COLUMNS),
)
METRIC_COLUMNS = followed(_METRIC_ORDER, columns_of("metrics"))
VOLUME_COLUMNS = followed(_VOLUME_ORDER, columns_of("volumes"))
# columns of metrics.csv that come from the volume files
METRICS_OF_VOLUME = ("flags", *columns_of("metrics", "volume"))
# predictions that were to be scored and were not: the rows that metrics.csv lacks
UNSCORED_COLUMNS = (*PREDICTION_COLUMNS, *PERSON_COLUMNS, "repeat_of", "without_reason")
NOT_PREDICTED, NOT_COMPARED = "not predicted", "not compared with its reference"
TEXT_COLUMNS = {
    *(*PREDICTION_COLUMNS, "scan", "subject", "sex", "age", "site", "set", "flags", "undefined", "verdict"),
    *("stage", "manufacturer", "kernel", "contrast", "off_protocol", "reason", "explanation", "warnings"),
    *("side", "repeat_of", "age_band", "compared_with", "review", "review_comment", "measure"),
    *("pair", "level", "authors", "method", "data", "source", "footnote", "slice_thickness"),
    *("kind", "subgroup", "others"),
    *("without_reason", "not_scored_reason", "limits_to_use", "partition", "scanners"),
}

# reference and predicted volume: of the whole mask, and above one distal cut in all scans
WHOLE_MASK = ("reference_mm3", "predicted_mm3")
DISTAL_CUT = ("reference_cut_mm3", "predicted_cut_mm3")
NO_REPEATS: Mapping[str, str] = MappingProxyType({})

AGE_BANDS = ((0, "below 50"), (50, "50-59"), (60, "60-69"), (70, "70-79"), (80, "80 and over"))

# Zhao et al. 2020, Table 1 (test people; population SD)
PAPER_TABLE1 = {
    "all": (89999.59, 21325.23, 901.40, 1295.66, 0.9956, -2.1476, 4.0612),
    "male": (105489.94, 18343.68, 658.47, 883.48, 0.9977, -1.9313, 0.8229),
    "female": (76832.80, 13340.79, 775.75, 1361.10, 0.9896, -4.8504, 1.2005),
}
_NOT_PRINTED = (math.nan,) * 7  # of a group that the paper does not have
TABLE1_NUMBERS = (
    *("reference_mean_mm3", "reference_sd_mm3", "mae_mm3", "rmse_mm3", "r2", "re_min_percent"),
    "re_max_percent",
)


def metrics_table(
    predictions: Iterable[Mapping],
    overlaps: Mapping[str, Mapping],
    volumes: Mapping[str, Mapping],
    repeats: Mapping[str, str],
) -> pd.DataFrame:
    """Return METRIC_COLUMNS, a row for each scored prediction.

    Args:
        predictions: what was planned: PREDICTION_COLUMNS and PERSON_COLUMNS by name.
        overlaps: contents of the overlap files by key (see `prediction_key`).
        volumes: contents of the volume files by key.
        repeats: scan -> the first scan that it repeats (see `first_scans`).
    """
    rows = []
    for prediction in predictions:
        key = prediction_key(prediction)
        if key in overlaps:
            overlap, volume = overlaps[key], volumes.get(key, {})
            measured = overlap | _of_volume(volume, *METRICS_OF_VOLUME)
            told = {
                "repeat_of": repeats.get(prediction["scan"], ""),
                "undefined": _undefined(METRIC_COLUMNS, overlap, volume),
            }
            rows.append(measured | _identity(prediction) | told)
    return _ordered(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)))


def unscored_table(
    predictions: Iterable[Mapping],
    overlaps: Collection[str],
    volumes: Collection[str],
    repeats: Mapping[str, str],
) -> pd.DataFrame:
    """Return UNSCORED_COLUMNS, a row for each prediction that was to be scored and was not.

    Args:
        predictions: what was planned of accepted scans (see `metrics_table`); protocol `apply` is not scored.
        overlaps: keys of the predictions that are scored.
        volumes: keys of those that are measured.
        repeats: scan -> the first scan that it repeats.
    """
    rows = []
    for prediction in predictions:
        key = prediction_key(prediction)
        if prediction["protocol"] != "apply" and key not in overlaps:
            why = NOT_COMPARED if key in volumes else NOT_PREDICTED
            told = {"repeat_of": repeats.get(prediction["scan"], ""), "without_reason": why}
            rows.append(_identity(prediction) | told)
    return _ordered(pd.DataFrame(rows, columns=list(UNSCORED_COLUMNS)))


def volumes_table(
    predictions: Iterable[Mapping],
    volumes: Mapping[str, Mapping],
    repeats: Mapping[str, str] = NO_REPEATS,
) -> pd.DataFrame:
    """Return VOLUME_COLUMNS, a row for each prediction that has a volume file (arguments as `metrics_table`)."""
    rows = []
    for prediction in predictions:
        key = prediction_key(prediction)
        if key in volumes:
            volume = volumes[key]
            told = {
                "repeat_of": repeats.get(prediction["scan"], ""),
                "undefined": _undefined(VOLUME_COLUMNS, volume),
            }
            rows.append(_of_volume(volume, *volume) | _identity(prediction) | told)
    return _ordered(pd.DataFrame(rows, columns=list(VOLUME_COLUMNS)))


def first_scans(repeats: Mapping[str, str]) -> dict[str, str]:
    """Return scan -> the first scan that it repeats in the end; a scan that repeats none is left out.

    `repeats` says scan -> the scan named in its row of the cohort table, or "". Raises TableError for a circle.
    """
    firsts = {}
    for scan in repeats:
        chain = [scan]
        while before := repeats.get(chain[-1], ""):
            if before in chain:
                raise TableError(
                    f"repeat_of: scans {', '.join(chain)} repeat one another in a circle; "
                    "leave repeat_of empty in the row of the scan that was made first"
                )
            chain.append(before)
        if len(chain) > 1:
            firsts[scan] = chain[-1]
    return firsts


def first_or_own(table: pd.DataFrame) -> pd.Series:
    """Return for each row of a table the scan that it repeats, or its own scan where it repeats none."""
    return table["repeat_of"].where(table["repeat_of"] != "", table["scan"])


def without_repeats(metrics: pd.DataFrame) -> pd.DataFrame:
    """Leave out repeated scans of the same models: a scan made again is no further person.

    The first scan stays; where it is not in the table, the first of its repetitions.
    """
    first = first_or_own(metrics)
    ranked = metrics.assign(first_scan=first, again=first != metrics["scan"]).sort_values(
        "again", kind="stable"
    )
    kept = ranked.drop_duplicates(["group", "network", "members", "protocol", "first_scan"]).index
    return metrics[metrics.index.isin(kept)]


def agreement_table(
    metrics: pd.DataFrame, config: AgreementConfig, volumes: tuple[str, str] = WHOLE_MASK
) -> pd.DataFrame:
    """Return group, network, protocol, stratum and the agreement of volumes: everybody's row, then one for each sex.

    `volumes` names the columns of the reference and the predicted volume, WHOLE_MASK or DISTAL_CUT; scans that
    lack one of them take no part.
    """
    rows = []
    both = without_repeats(metrics[metrics[list(volumes)].notna().all(axis=1)])
    for key, people in strata_of(both):
        rows.append(key | _agreement_of(people, config, volumes))
    return pd.DataFrame(rows, columns=["group", "network", "protocol", "stratum", *AGREEMENT_COLUMNS])


def fold_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return Dice and agreement of each cross-validation fold: one model and its own held-out people a row.

    The intervals hold for further people and this model.
    """
    numbers = ("mae_mm3", "rmse_mm3", "r2", "bias_mm3")
    ends = [f"{name}_ci_{end}" for name in ("dsc_mean", *numbers) for end in ("low", "high")]
    columns = [
        "group",
        "network",
        "fold",
        "n",
        "dsc_mean",
        *numbers,
        "re_min_percent",
        "re_max_percent",
        *ends,
    ]
    rows = []
    held_out = without_repeats(metrics[metrics["protocol"] == "cv"])
    for (group, network, fold), subset in subsets(held_out, "group", "network", "fold"):
        dice = mean_columns("dsc_mean", subset, subset["dsc"], ("complement", config))
        agreement = _agreement_of(subset, config)
        of_dice = explain(dice, {}, why_no_interval(subset))["undefined"]
        told = "; ".join(filter(None, (of_dice, reasons_of(agreement["undefined"], columns))))
        row = agreement | {"group": group, "network": network, "fold": int(fold), "undefined": told}
        rows.append(row | dice)
    return pd.DataFrame(rows, columns=[*columns, "undefined"])


def table1(agreement: pd.DataFrame, metrics: pd.DataFrame, *, synthetic: bool) -> pd.DataFrame:
    """Return the paper's Table 1 for this study: test people, a row for each group, network and protocol.

    Columns: volume of the reference (mean, population SD), MAE, RMSE, R2, smallest and largest relative error, p of
    Pearson's r, scans that are missing from them and why (`lib.stats.unscored`). A cohort of real people gets the
    paper's numbers beside them as `paper_*`; a synthetic one does not, because agreement with people says nothing
    there.
    """
    whole = agreement[(agreement["stratum"] == ALL) & agreement["protocol"].isin(["test", "test-single"])]
    used = metrics.groupby(["group", "network", "protocol"])["weights"].first()
    keys = ["group", "network", "protocol"]
    columns = [*keys, "n", *TABLE1_NUMBERS, "pearson_p_value", "not_scored", "not_scored_reason"]
    table = whole[[name for name in columns if name in whole]].copy()
    table["undefined"] = [reasons_of(text, columns) for text in whole["undefined"]]
    table.insert(3, "weights", [used[tuple(row)] for row in whole[keys].itertuples(index=False)])
    if not synthetic:
        for position, name in enumerate(TABLE1_NUMBERS):
            table[f"paper_{name}"] = [
                PAPER_TABLE1.get(group, _NOT_PRINTED)[position] for group in table["group"]
            ]
    return table.reset_index(drop=True)


def age_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return scores by age band within group, network, protocol and site; `n` counts people.

    Intervals: of means the jackknife over people; of the median order statistics, where people have one scan each.
    `hd95_mm_scans` counts the scans that have a distance: an empty prediction has none.
    """
    banded = without_repeats(metrics)
    banded = banded.assign(age_band=[age_band(age) for age in banded["age"]])
    rows = []
    for key, subset in subsets(banded, "group", "network", "protocol", "site", "age_band"):
        names = dict(zip(("group", "network", "protocol", "site", "age_band"), key, strict=True))
        error = (subset["predicted_mm3"] - subset["reference_mm3"]).abs()
        people, hd95 = subset["subject"].nunique(), subset["hd95_mm"]
        median = median_interval(hd95, config.confidence) if people == len(subset) else (math.nan, math.nan)
        numbers = {
            **mean_columns("dsc_mean", subset, subset["dsc"], ("complement", config)),
            "dsc_sd": subset["dsc"].std(ddof=1),
            "dsc_min": subset["dsc"].min(),
            "hd95_mm_median": hd95.median(),
            "hd95_mm_median_ci_low": median[0],
            "hd95_mm_median_ci_high": median[1],
            "hd95_mm_scans": hd95.count(),
            **mean_columns("mae_mm3", subset, error, ("log", config)),
            **mean_columns("re_mean_percent", subset, subset["re_percent"], ("plain", config)),
        }
        rows.append(
            explain(names | {"n": people, "scans": len(subset)} | numbers, {}, why_no_interval(subset))
        )
    numbers = ("n", "scans", "dsc_mean", "dsc_sd", "dsc_min", "hd95_mm_median", "mae_mm3", "re_mean_percent")
    means = ("dsc_mean", "hd95_mm_median", "mae_mm3", "re_mean_percent")
    ends = [f"{name}_ci_{end}" for name in means for end in ("low", "high")]
    return pd.DataFrame(
        rows,
        columns=[
            "group",
            "network",
            "protocol",
            "site",
            "age_band",
            *numbers,
            *ends,
            "hd95_mm_scans",
            "undefined",
        ],
    )


def mean_columns(
    name: str, subset: pd.DataFrame, values: pd.Series, told: tuple[str, AgreementConfig]
) -> dict[str, float]:
    """Return a mean over the scans of a subset with the interval of the jackknife over people (scale and level)."""
    scale, config = told
    values = values.astype(float)
    low, high = mean_interval(values.to_numpy(), subset["subject"].to_numpy(), config.confidence, scale)
    return {name: float(values.mean()), f"{name}_ci_low": low, f"{name}_ci_high": high}


def why_no_interval(subset: pd.DataFrame) -> str:
    """Return why a number of a subset of scans is empty where nothing else tells."""
    return (
        "one person"
        if subset["subject"].nunique() == 1
        else "too few people, or their values are all the same"
    )


def paired_table(
    metrics: pd.DataFrame, config: AgreementConfig, runs: Iterable[Mapping] = ()
) -> pd.DataFrame:
    """Compare the model of each group with that of everybody on the same scans, a mean error a person.

    Absolute volume errors, by model and protocol; a negative difference says that the sex-specific model errs less.
    Models of one fold were held out from the same people, so the interval with the folds leaves out both at a time.
    `runs` are the records of the trained folds (run.json); `first_updates` and `second_updates` say how many
    updates a fold of either model was trained for, on average: at equal epochs everybody's model gets more.
    """
    rows, updates = [], updates_of(runs)
    metrics = without_repeats(metrics)
    measured = metrics.assign(error=(metrics["predicted_mm3"] - metrics["reference_mm3"]).abs())
    for (network, protocol), subset in subsets(measured, "network", "protocol"):
        errors = subset.pivot(index=["subject", "scan"], columns="group", values="error")
        fold_of = subset.dropna(subset=["fold"]).groupby("subject")["fold"].first()
        for group in sorted({*errors} - {ALL}, key=group_position):
            if ALL in errors:
                both = errors[[group, ALL]].dropna().groupby("subject").mean()
                folds = both.index.map(fold_of).astype(int) if protocol == "cv" else None
                compared = compare_paired(both[group], both[ALL], config, folds)
                key = {"network": network, "protocol": protocol, "group": group, "compared_with": ALL}
                trained = {
                    "first_updates": updates.get((group, network)),
                    "second_updates": updates.get((ALL, network)),
                }
                row = key | asdict(compared) | trained
                unknown = {name: "not recorded" for name, count in trained.items() if count is None}
                row["undefined"] = "; ".join(filter(None, (row["undefined"], undefined_text(unknown))))
                rows.append(row)
    numbers = ("n", "first_mae_mm3", "second_mae_mm3", "difference_mm3", "difference_mm3_ci_low")
    return pd.DataFrame(
        rows,
        columns=[
            *("network", "protocol", "group", "compared_with"),
            *(*numbers, "difference_mm3_ci_high", "wilcoxon_p_value", "first_updates", "second_updates"),
            *("folds", "difference_mm3_fold_ci_low", "difference_mm3_fold_ci_high", "undefined"),
        ],
    )


def updates_of(runs: Iterable[Mapping]) -> dict[tuple[str, str], float]:
    """Return the mean number of updates of a fold by group and network, from the records of the trained folds."""
    updates: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        updates.setdefault((run["group"], run["network"]), []).append(run["updates"])
    return {trained: mean(counts) for trained, counts in updates.items()}


def flat_prediction(prediction: Mapping) -> dict:
    """Return a planned prediction whose `placement` (scan, subject, sex, age, ...) stands beside its own names."""
    return {**prediction["placement"], **{name: prediction[name] for name in PREDICTION_COLUMNS}}


def prediction_key(prediction: Mapping) -> str:
    """Return group/network/members/scan: the part of the path that the files of one prediction share."""
    return "/".join(str(prediction[name]) for name in ("group", "network", "members", "scan"))


def path_key(path: str | Path) -> str:
    """Return the `prediction_key` of a file `.../{group}/{network}/{members}/{scan}.json`."""
    path = Path(path)
    return "/".join((*path.parts[-4:-1], path.stem))


def by_scan(paths: Iterable[str | Path]) -> dict[str, str]:
    """Return files `.../{scan}/name` by scan."""
    return {Path(path).parent.name: str(path) for path in paths}


def subsets(table: pd.DataFrame, *names: str) -> list[tuple[tuple, pd.DataFrame]]:
    """Return groups in the reading order of groups, protocols and age bands, not that of the alphabet."""
    ages = [label for _, label in AGE_BANDS] + ["unknown"]
    orders = {"group": group_position, "protocol": PROTOCOL_ORDER.index, "age_band": ages.index}
    groups = [(key, subset) for key, subset in table.groupby(list(names), sort=True)]
    return sorted(
        groups, key=lambda pair: [orders.get(n, _itself)(v) for n, v in zip(names, pair[0], strict=True)]
    )


def strata_of(table: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield group, network, protocol and stratum by name with their rows: everybody's, then those of each sex."""
    for (group, network, protocol), subset in subsets(table, "group", "network", "protocol"):
        key = {"group": group, "network": network, "protocol": protocol}
        yield key | {"stratum": ALL}, subset
        for sex in sorted(set(subset["sex"]) & {"M", "F"}, reverse=True):
            yield key | {"stratum": stratum_name("sex", sex)}, subset[subset["sex"] == sex]


def age_band(age: float | str | None) -> str:
    """Return the band of AGE_BANDS that an age, printed or in years, falls into."""
    years = age_years(age)
    if years is None:
        return "unknown"
    return [label for start, label in AGE_BANDS if years >= start][-1]


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of this project: identifiers stay text (`007`, `NA`), an empty number is NaN."""
    kinds = dict.fromkeys(TEXT_COLUMNS, str)
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""], encoding="utf-8")
    text = [name for name in table.columns if name in TEXT_COLUMNS]
    return table.assign(**{name: table[name].fillna("") for name in text})


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, whole or not at all; numbers with ten significant digits."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")


def _of_volume(volume: Mapping, *names: str) -> dict:
    flags = " ".join(dict.fromkeys(volume.get("flags", ())))
    return {name: volume.get(name) for name in names} | ({"flags": flags} if "flags" in names else {})


def with_corrected(volumes: pd.DataFrame, corrected_mm3: Mapping[str, float]) -> pd.DataFrame:
    """Return a table of volumes with those of corrected masks (scan -> mm3), flagged `corrected`.

    `final_mm3` is the corrected mask's volume where there is one, else the predicted one.
    """
    corrected = volumes["scan"].map(corrected_mm3).astype(float)
    final = corrected.fillna(volumes["predicted_mm3"])
    return with_flag(volumes, "corrected", corrected_mm3).assign(corrected_mm3=corrected, final_mm3=final)


def with_flag(table: pd.DataFrame, flag: str, scans: Collection[str]) -> pd.DataFrame:
    """Return a table of predictions in which these scans carry one flag more."""
    flags = table["flags"].where(~table["scan"].isin(scans), table["flags"] + f" {flag}")
    return table.assign(flags=flags.str.strip())


def _undefined(columns: Sequence[str], *records: Mapping) -> str:
    """Return the reasons of all `columns` that the records of a prediction do not define, as text."""
    reasons: dict[str, str] = {}
    for record in records:
        for name, reason in record.get("undefined", {}).items():
            if name in columns:
                reasons.setdefault(name, reason)
    return undefined_text(reasons)


def _identity(prediction: Mapping) -> dict:
    """Return who was predicted by what: printed age, and a fold only where the fold's own model predicted."""
    names = (*PREDICTION_COLUMNS, *PERSON_COLUMNS)
    fold = prediction["fold"] if str(prediction["members"]).startswith("fold-") else None
    return {name: prediction[name] for name in names} | {"age": printed_age(prediction["age"]), "fold": fold}


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by group and protocol as people read them, then by scan."""
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


def _itself(value: object) -> object:
    return value


def _agreement_of(
    people: pd.DataFrame, config: AgreementConfig, volumes: tuple[str, str] = WHOLE_MASK
) -> dict:
    """Return the agreement of scans of one protocol; out-of-fold ones get the intervals with the folds too."""
    pair = (people[name].to_numpy(float) for name in volumes)
    folds = people["fold"].astype(int).tolist() if (people["protocol"] == "cv").all() else None
    return agreement_row(*pair, people["subject"].tolist(), config, folds)
