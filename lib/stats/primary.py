"""The primary prediction of a scan, used where only one can be shown."""

from collections.abc import Sequence

import pandas as pd

from lib.catalog.groups import group_position
from lib.catalog.protocols import PRIMARY_PROTOCOLS


def primary_rows(
    predictions: pd.DataFrame, networks: Sequence[str] = (), per: Sequence[str] = ("scan", "structure")
) -> pd.DataFrame:
    """Return the primary prediction of each structure of a scan, in the order of the table (see `in_primary_order`).

    `per` names the columns whose combinations have one prediction each, such as ("scan", "network", "structure").
    """
    return in_primary_order(predictions, networks).drop_duplicates(list(per)).sort_index()


def in_primary_order(predictions: pd.DataFrame, networks: Sequence[str]) -> pd.DataFrame:
    """Return predictions sorted by group, network and PRIMARY_PROTOCOLS: the first of a scan is its primary one.

    Networks that are not in `networks` follow by name.
    """
    known = [*networks, *sorted(set(predictions["network"]) - set(networks))]
    orders = {"group": group_position, "network": known.index, "protocol": PRIMARY_PROTOCOLS.index}
    places = pd.DataFrame({name: predictions[name].map(order) for name, order in orders.items()})
    places["scan"] = predictions["scan"]
    return predictions.loc[places.sort_values(list(places.columns), kind="stable").index]
