"""Changes between two runs, scan by scan: after an update of the software, with another model or another reader.

The other run is the reference: a change is this run minus the other. A scan has a row for each group and network,
with its primary prediction in each run (`lib.stats.primary`). Networks are matched by name, the remaining ones in
their order.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.atomic import read_json
from lib.catalog.groups import group_position
from lib.compare_settings import ComparisonConfig
from lib.model_record import read_run
from lib.report_settings import AgreementConfig
from lib.stats.agreement import summarize_agreement
from lib.stats.agreement_units import with_unit
from lib.stats.grid_limits import bound_to_grid
from lib.stats.primary import primary_rows
from lib.stats.tables import read_table
from lib.stats.undefined import reasons_of

KEYS = ["scan", "group", "network", "structure"]
PREDICTION_KEYS = [*KEYS, "members", "protocol"]
# facts that a run records of a scan, and of a prediction
SCAN_WORDS = ("subject", "verdict", "set", "fold", "review")
PREDICTION_WORDS = ("protocol", "members", "flags")
SCORES = ("reference_mm3", "dsc", "hd95_mm")
NUMBERS = ("predicted_mm3", *SCORES, "otsu_threshold")
MASKS = ("predicted_mask", "reference_mask")
VOLUMES = ("predicted_mm3", "reference_mm3")
# keys of run.json that distinguish one training from another
TRAINING_FACTS = ("code", "updates", "parameters", "device", "precision", "torch")
OF_AGREEMENT = (
    *("n", "scans", "bias_mm3", "bias_mm3_ci_low", "bias_mm3_ci_high", "loa_low_mm3", "loa_high_mm3"),
    *("mae_mm3", "ccc"),
)
INTERVALS = ("loa_low_mm3", "loa_high_mm3", "mae_mm3", "ccc")
SUMMARY_KEYS = ("group", "network", "other_network", "protocol", "structure")
SUMMARY_COLUMNS = (*SUMMARY_KEYS, "quantity", *OF_AGREEMENT) + (
    *("moved", "largest_change_percent", "mask_dsc_mean", "mask_dsc_min"),
    *(f"{name}_ci_{end}" for name in INTERVALS for end in ("low", "high")),
    "undefined",
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a study.

    Attributes:
        study: name of the study.
        volumes, metrics, flow: its tables (`lib.stats.tables`, `lib.stats.flow`).
        facts: settings and versions of the run: kind -> name -> value. Kinds are models and, if recorded, settings,
            software and code.
    """

    study: str
    volumes: pd.DataFrame
    metrics: pd.DataFrame
    flow: pd.DataFrame
    facts: Mapping[str, Mapping[str, object]]


def read_compared_run(results: str | Path) -> Run:
    """Read a run from a results folder; older runs recorded fewer settings and versions."""
    results = Path(results)
    record = results / "cohort/run.json"
    name = results / "study.json"
    return Run(
        study=str(read_json(name)["study"]) if name.exists() else "",
        **{table: read_table(results / f"tables/{table}.csv") for table in ("volumes", "metrics", "flow")},
        facts=(read_json(record) if record.exists() else {}) | {"models": _model_facts(results / "models")},
    )


def pair_runs(here: Run, there: Run) -> pd.DataFrame:
    """Return a row for each scan, group, network and structure of either run, with the values of both.

    Names of the other run's values begin with `other_`. `status` tells whether both cohort tables have the scan:
    both, only here or only there. A scan that no run has predicted has one row without group, network and structure.
    """
    ours, theirs = _predictions(here), _predictions(there)
    partners = pair_models(_models(ours), _models(theirs))
    theirs = theirs.assign(other_network=theirs["network"], network=theirs["network"].replace(partners))
    keys = pd.concat([ours[KEYS], theirs[KEYS]]).drop_duplicates()
    scans = dict.fromkeys([*here.flow["scan"], *there.flow["scan"]])
    predicted = set(keys["scan"])
    unpredicted = [scan for scan in scans if scan not in predicted]
    keys = pd.concat([keys, pd.DataFrame({"scan": unpredicted, "group": "", "network": "", "structure": ""})])
    table = keys.merge(ours, on=KEYS, how="left")
    table = table.merge(_as_other(theirs, (*KEYS, "other_network")), on=KEYS, how="left")
    table = table.merge(_words(here), on="scan", how="left")
    table = table.merge(_as_other(_words(there), ("scan",)), on="scan", how="left")
    text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    table = table.assign(status=_status(table["scan"], here, there), **table[text].fillna(""))
    place = {name: position for position, name in enumerate(scans)}
    orders = {"scan": place.get, "group": group_position}
    return table.sort_values(
        list(orders), key=lambda names: names.map(orders[names.name]), kind="stable", ignore_index=True
    )


def pair_models(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Map each network of the other run to one of this run: by name, the remaining ones in order."""
    left = [name for name in ours if name not in theirs]
    others = [name for name in theirs if name not in ours]
    return {name: name for name in theirs} | dict(zip(others, left, strict=False))


def mask_files(
    pairs: pd.DataFrame, here: str | Path, there: str | Path
) -> dict[str, list[list[tuple[str, str]]]]:
    """Return the mask files of both runs for each row, by MASKS: a pair for each grid.

    Args:
        pairs: result of `pair_runs`.
        here: results folder of this run.
        there: results folder of the other run.
    """
    files: dict[str, list[list[tuple[str, str]]]] = {name: [] for name in MASKS}
    for row in pairs.to_dict("records"):
        own, other = (
            f"{folder}/masks/{row['group']}/{network}/{members}/{row['scan']}"
            for folder, network, members in (
                (here, row["network"], row["members"]),
                (there, row["other_network"], row["other_members"]),
            )
        )
        files["predicted_mask"].append(
            [(f"{own}/{name}", f"{other}/{name}") for name in ("labels.nii.gz", "labels_full.nii.gz")]
        )
        cropped = f"cropped/{row['scan']}/labels.nii.gz"
        files["reference_mask"].append([(f"{here}/{cropped}", f"{there}/{cropped}")])
    return files


def compare_runs(
    pairs: pd.DataFrame,
    masks: Mapping[str, Sequence[tuple[float | None, str]]],
    config: ComparisonConfig,
) -> pd.DataFrame:
    """Return the pairs with changes, overlaps of masks, and `moved`: the names of all that moved.

    Moved scans come first, then those that only one run has.

    Args:
        pairs: result of `pair_runs`.
        masks: for each row the Dice between both runs' masks, or None and the reason, by MASKS.
        config: tolerances.
    """
    table = pairs.copy()
    for name in NUMBERS:
        change = table[name] - table[f"other_{name}"]
        table[f"{name}_change"] = change
        if name in VOLUMES:
            table[f"{name}_change_percent"] = 100 * change / table[f"other_{name}"].replace(0, np.nan)
    for name in MASKS:
        table[f"{name}_dsc"] = pd.Series([dice for dice, _ in masks[name]], index=table.index, dtype=float)
        table[f"{name}_undefined"] = [reason for _, reason in masks[name]]
    table["moved"] = _moved(table, config)
    place = 2 * table["moved"].eq("").astype(int) - table["status"].ne("both")
    table = table.loc[place.sort_values(kind="stable").index].reset_index(drop=True)
    first = ["scan", "structure", "subject", "status", "moved", "group", "network", "other_network"]
    return table[first + [name for name in table if name not in first]]


def summarize_comparison(table: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return SUMMARY_COLUMNS: agreement of both runs' volumes, by group, network, protocol and structure.

    The protocol is that of this run. The other run's volumes are the reference: bias is this run minus the other.
    """
    rows = []
    both = table[table["network"].ne("") & table["other_network"].ne("")]
    for key, subset in both.groupby(list(SUMMARY_KEYS), sort=False):
        for quantity, mask in zip(VOLUMES, MASKS, strict=True):
            pairs = subset[[f"other_{quantity}", quantity]].dropna()
            if pairs.empty:
                continue
            people = subset.loc[pairs.index, "subject"].tolist()
            summary = summarize_agreement(*pairs.to_numpy(float).T, people, config)
            agreement = with_unit("mm3", asdict(summary))
            rows.append(
                dict(zip(SUMMARY_KEYS, key, strict=True))
                | {"quantity": quantity}
                | {name: agreement[name] for name in SUMMARY_COLUMNS if name in agreement}
                | {"undefined": reasons_of(agreement["undefined"], SUMMARY_COLUMNS)}
                | {
                    "moved": int(_names(subset["moved"], quantity).sum()),
                    "largest_change_percent": subset[f"{quantity}_change_percent"].abs().max(),
                    "mask_dsc_mean": subset[f"{mask}_dsc"].mean(),
                    "mask_dsc_min": subset[f"{mask}_dsc"].min(),
                }
            )
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def differences(here: Run, there: Run) -> list[dict]:
    """Return settings, versions and models that differ: `kind`, `name`, `here`, `there` (None: not stated)."""
    rows = []
    for kind in dict.fromkeys([*here.facts, *there.facts]):
        ours, theirs = here.facts.get(kind), there.facts.get(kind)
        if ours is None or theirs is None:
            told = ["not recorded" if facts is None else "recorded" for facts in (ours, theirs)]
            rows.append({"kind": kind, "name": "all", "here": told[0], "there": told[1]})
            continue
        rows += [
            {"kind": kind, "name": name, "here": ours.get(name), "there": theirs.get(name)}
            for name in dict.fromkeys([*ours, *theirs])
            if ours.get(name) != theirs.get(name)
        ]
    return rows


def count_moved(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of scans that moved, by what moved, most frequent first; a scan may count under several."""
    kinds = table.assign(kind=table["moved"].str.split()).explode("kind").dropna(subset="kind")
    counts = kinds[kinds["kind"] != ""].drop_duplicates(["scan", "kind"])["kind"].value_counts()
    return {str(kind): int(count) for kind, count in counts.items()}


def _model_facts(folder: Path) -> dict[str, str]:
    """Return the facts of the trained folds by group and network, each value once."""
    facts: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*/*/fold-*/run.json")):
        run, name = read_run(path), "/".join(path.parts[-4:-2])
        for fact in TRAINING_FACTS:
            facts.setdefault(f"{name}: {fact}", []).append(str(run.get(fact)))
        facts.setdefault(f"{name}: trainings", []).append(hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    return {name: ", ".join(dict.fromkeys(values)) for name, values in facts.items()}


def _predictions(run: Run) -> pd.DataFrame:
    """Return the primary prediction of each scan by group, network and structure, with its scores."""
    bound = bound_to_grid(run.metrics).get("hd95_mm", pd.Series(False, index=run.metrics.index))
    scores = run.metrics[[*PREDICTION_KEYS, *SCORES]].assign(hd95_within_voxel=bound.astype(float))
    table = primary_rows(run.volumes, per=KEYS).merge(scores, on=PREDICTION_KEYS, how="left")
    # the columns of an empty table have no data type
    numbers = (*NUMBERS, "hd95_within_voxel")
    return table[[*KEYS, *PREDICTION_WORDS, *numbers]].astype(dict.fromkeys(numbers, float))


def _models(predictions: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(predictions["network"]))


def _words(run: Run) -> pd.DataFrame:
    """Return the facts that a run records of each scan, as text; columns missing in an older run are empty."""
    flow = run.flow.reindex(columns=["scan", *SCAN_WORDS])
    fold = ["" if pd.isna(fold) else f"{int(fold)}" for fold in flow["fold"]]
    return flow.assign(fold=fold, review=flow["review"].astype(object).fillna(""))


def _as_other(table: pd.DataFrame, kept: Iterable[str]) -> pd.DataFrame:
    return table.rename(columns={name: f"other_{name}" for name in table if name not in kept})


def _status(scans: pd.Series, here: Run, there: Run) -> pd.Series:
    ours, theirs = scans.isin(here.flow["scan"]), scans.isin(there.flow["scan"])
    return pd.Series(np.select([ours & theirs, ours], ["both", "only here"], "only there"), index=scans.index)


def _moved(table: pd.DataFrame, config: ComparisonConfig) -> pd.Series:
    """Return the names of all that moved in each row, separated by blanks; "" for scans of one run only."""
    ours, theirs = (table[name].ne("") for name in ("protocol", "other_protocol"))
    moves = {name: table[name] != table[f"other_{name}"] for name in SCAN_WORDS}
    moves["prediction"] = ours != theirs
    moves |= {
        name: ours & theirs & (table[name].map(_as_set) != table[f"other_{name}"].map(_as_set))
        for name in PREDICTION_WORDS
    }
    moves |= {name: ours & theirs & _beyond(table, name, config) for name in NUMBERS}
    moves |= {name: table[f"{name}_dsc"] < config.mask_dsc for name in MASKS}
    both = table["status"] == "both"
    words = pd.Series("", index=table.index)
    for name, moved in moves.items():
        words = words.where(~(moved & both), words + f" {name}")
    return words.str.strip()


def _beyond(table: pd.DataFrame, name: str, config: ComparisonConfig) -> pd.Series:
    """Return where a number changed by more than its tolerance or is in one run only."""
    if name in VOLUMES:
        change, tolerance = table[f"{name}_change_percent"], config.volume_percent
    else:
        change, tolerance = table[f"{name}_change"], getattr(config, name)
    one_sided = table[name].isna() != table[f"other_{name}"].isna()
    from_nothing = table[f"other_{name}"].eq(0) & table[name].ne(0) & table[name].notna()
    return (change.abs() > tolerance) | one_sided | (from_nothing & (name in VOLUMES))


def _as_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _names(moved: pd.Series, name: str) -> pd.Series:
    return moved.str.split().map(lambda words: name in words)
