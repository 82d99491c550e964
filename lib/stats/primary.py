"""Which of a scan's predictions stands for it where only one can be shown."""

from collections.abc import Sequence

import pandas as pd

from lib.stats.scan_table import in_primary_order


def primary_rows(
    predictions: pd.DataFrame, networks: Sequence[str] = (), per: Sequence[str] = ("scan",)
) -> pd.DataFrame:
    """Return the primary prediction of each scan, in the order of the table (see `in_primary_order`).

    `per` names what has one prediction each, such as ("scan", "model").
    """
    return in_primary_order(predictions, networks).drop_duplicates(list(per)).sort_index()
