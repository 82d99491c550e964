"""Agreement of volumes as tables: by group, network and protocol, and fold by fold."""

import pandas as pd

from lib.stats.agreement import AGREEMENT_COLUMNS, AgreementConfig, agreement_row
from lib.stats.grouping import strata_of, subsets, without_repeats
from lib.stats.means import mean_columns, why_no_interval
from lib.stats.tables import WHOLE_MASK
from lib.stats.undefined import explain, reasons_of


def agreement_table(
    metrics: pd.DataFrame, config: AgreementConfig, volumes: tuple[str, str] = WHOLE_MASK
) -> pd.DataFrame:
    """Return group, network, protocol, stratum and agreement of volumes: a row for everybody, then one for each sex.

    `volumes` names the columns of the reference and predicted volumes, WHOLE_MASK or DISTAL_CUT; scans without one
    of them are left out.
    """
    rows = []
    both = without_repeats(metrics[metrics[list(volumes)].notna().all(axis=1)])
    for key, people in strata_of(both):
        rows.append(key | _agreement_of(people, config, volumes))
    return pd.DataFrame(rows, columns=["group", "network", "protocol", "stratum", *AGREEMENT_COLUMNS])


def fold_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return Dice and agreement of each cross-validation fold: one row per model, on its own held-out people.

    The intervals hold for further people and the model of the fold.
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


def _agreement_of(
    people: pd.DataFrame, config: AgreementConfig, volumes: tuple[str, str] = WHOLE_MASK
) -> dict:
    """Return the agreement of scans of one protocol; cross-validation also has the intervals with folds."""
    pair = (people[name].to_numpy(float) for name in volumes)
    folds = people["fold"].astype(int).tolist() if (people["protocol"] == "cv").all() else None
    return agreement_row(*pair, people["subject"].tolist(), config, folds)
