"""Which of a scan's predictions stands for it where only one can be shown."""

from collections.abc import Sequence

import pandas as pd

from lib.catalog.protocols import PRIMARY_PROTOCOLS
from lib.stats.tables import COHORT_ORDER


def primary_rows(
    predictions: pd.DataFrame, networks: Sequence[str] = (), per: Sequence[str] = ("scan",)
) -> pd.DataFrame:
    """Return the primary prediction of each scan, in the order of the table (see `in_primary_order`).

    `per` names what has one prediction each, such as ("scan", "model").
    """
    return in_primary_order(predictions, networks).drop_duplicates(list(per)).sort_index()


def in_primary_order(predictions: pd.DataFrame, networks: Sequence[str]) -> pd.DataFrame:
    """Return predictions so that the first of a scan is its primary one: cohort, network, PRIMARY_PROTOCOLS.

    Networks that are not in `networks` follow by name.
    """
    known = [*networks, *sorted(set(predictions["model"]) - set(networks))]
    orders = {"cohort": COHORT_ORDER, "model": known, "protocol": PRIMARY_PROTOCOLS}
    places = pd.DataFrame({name: predictions[name].map(order.index) for name, order in orders.items()})
    places["scan"] = predictions["scan"]
    return predictions.loc[places.sort_values(list(places.columns), kind="stable").index]
