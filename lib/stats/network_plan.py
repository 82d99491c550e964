"""How a study compares its networks, and their scores by person, which all tables that compare them share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lib.network_comparison_settings import BEFORE, NetworkComparisonConfig
from lib.stats.grouping import subsets_by_name, without_repeats

KEYS = ("group", "protocol", "structure")
NOT_STATED: Mapping[str, str] = {"pair": BEFORE, "control": BEFORE}


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """The networks of a study and how they are compared.

    Attributes:
        networks: entries of config `networks` by name, in the order of the configuration.
        asked: which comparisons are made.
        confidence: level of all intervals (config `report.confidence`).
        seed: of the bootstrap (config `seed`).
        stated: when `pair` and `control` were stated (`lib.network_comparison_settings.state_comparison`).
    """

    networks: Mapping[str, Mapping]
    asked: NetworkComparisonConfig
    confidence: float = 0.95
    seed: int = 0
    stated: Mapping[str, str] = field(default_factory=lambda: NOT_STATED)

    @property
    def control(self) -> str:
        """Return the network with which each other one is compared."""
        return self.asked.control_among(list(self.networks))

    def dimensions(self, network: str) -> int | None:
        """Return 2 or 3; None for a network that the configuration does not describe."""
        entry = self.networks.get(network)
        return None if entry is None else entry.get("unet", entry).get("dimensions", 3)

    def in_order(self, names: object) -> list[str]:
        """Return networks in the order of the configuration; others follow by name."""
        found = set(names)
        return [*(name for name in self.networks if name in found), *sorted(found - set(self.networks))]


def subsets_of_networks(metrics: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield group, protocol and structure by name with their rows, without repeated scans."""
    yield from subsets_by_name(without_repeats(metrics), *KEYS)


def person_values(subset: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return a measure by person (rows) and network (columns): the mean over a person's scans, NaN without any.

    A table without the measure, such as one of an earlier version, gives no rows.
    """
    if measure not in subset:
        return pd.DataFrame(index=pd.Index([], name="subject"))
    values = subset.assign(value=subset[measure].astype(float))
    return values.groupby(["subject", "network"])["value"].mean().unstack()


def shared_values(values: pd.DataFrame, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of two networks (n,) of the n people who have both."""
    both = values.reindex(columns=[first, second]).dropna()
    return both[first].to_numpy(float), both[second].to_numpy(float)
