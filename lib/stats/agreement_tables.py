"""Agreement of measurements as tables: by group, network and protocol, and fold by fold."""

from collections.abc import Iterator

import pandas as pd

from lib.catalog.measures import QUANTITIES, QUANTITY_COLUMNS, QUANTITY_KEYS
from lib.report_settings import AgreementConfig
from lib.stats.agreement import AGREEMENT_COLUMNS, agreement_row
from lib.stats.agreement_units import with_unit
from lib.stats.grouping import strata_of, subsets_by_name, without_repeats
from lib.stats.means import mean_columns, why_no_interval
from lib.stats.tables import WHOLE_MASK
from lib.stats.undefined import explain, reasons_of

KEY_COLUMNS = ("group", "network", "protocol", "stratum", "structure", *QUANTITY_COLUMNS)


def agreement_table(measurements: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return KEY_COLUMNS and agreement: for each quantity a row for everybody, then for each stratum.

    Rows of measurements without a reference or a predicted value are left out.
    """
    rows = []
    both = measurements[measurements[["reference", "predicted"]].notna().all(axis=1)]
    for quantity, measured in _by_quantity(both):
        for key, people in strata_of(without_repeats(measured), config.strata):
            rows.append(key | quantity | _agreement_of(people, config, ("reference", "predicted")))
    return pd.DataFrame(rows, columns=[*KEY_COLUMNS, *AGREEMENT_COLUMNS])


def _by_quantity(measurements: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield region, compartment, measure and unit by name with their rows, in the order of the catalog."""
    found = dict(list(measurements.groupby(QUANTITY_KEYS, sort=False)))
    for quantity in QUANTITIES:
        names = {name: getattr(quantity, name) for name in QUANTITY_KEYS}
        rows = found.get(tuple(names.values()))
        if rows is not None:
            yield names | {"unit": rows["unit"].iloc[0]}, rows


def fold_table(metrics: pd.DataFrame, config: AgreementConfig) -> pd.DataFrame:
    """Return Dice and agreement of each cross-validation fold and structure: a row per model, on its own people.

    The intervals hold for further people and the model of the fold.
    """
    numbers = ("mae_mm3", "rmse_mm3", "r2", "bias_mm3")
    ends = [f"{name}_ci_{end}" for name in ("dsc_mean", *numbers) for end in ("low", "high")]
    columns = [
        "group",
        "network",
        "structure",
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
    for key, subset in subsets_by_name(held_out, "group", "network", "structure", "fold"):
        dice = mean_columns("dsc_mean", subset, subset["dsc"], ("complement", config))
        agreement = with_unit("mm3", _agreement_of(subset, config))
        of_dice = explain(dice, {}, why_no_interval(subset))["undefined"]
        told = "; ".join(filter(None, (of_dice, reasons_of(agreement["undefined"], columns))))
        row = agreement | key | {"fold": int(key["fold"]), "undefined": told}
        rows.append(row | dice)
    return pd.DataFrame(rows, columns=[*columns, "undefined"])


def _agreement_of(people: pd.DataFrame, config: AgreementConfig, names: tuple[str, str] = WHOLE_MASK) -> dict:
    """Return the agreement of scans of one protocol; cross-validation also has the intervals with folds."""
    pair = (people[name].to_numpy(float) for name in names)
    folds = people["fold"].astype(int).tolist() if (people["protocol"] == "cv").all() else None
    return agreement_row(*pair, people["subject"].tolist(), config, folds)
