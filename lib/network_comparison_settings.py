"""The settings of the comparison of networks, and their record from before results exist. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lib.errors import ConfigError

FEWEST_SAMPLES = 100
BEFORE, AFTER = "before results", "after results existed"


@dataclass(frozen=True, kw_only=True)
class NetworkComparisonConfig:
    """Keys of config `network_comparison`.

    Attributes:
        pair: the 2-D and the 3-D network, in either order, of the one comparison that is stated before the run;
            empty: none.
        control: the network with which each other one is compared; empty: the first of `pair`, else the first network
            of the study.
        bootstrap: samples of people from which the best networks are chosen again.
        min_people: with fewer people the bootstrap gives no interval.
    """

    pair: Sequence[str] = ()
    control: str = ""
    bootstrap: int = 2000
    min_people: int = 10

    def __post_init__(self) -> None:
        """Raise an error if a value cannot be used; make a tuple of the pair."""
        object.__setattr__(self, "pair", tuple(self.pair))
        if self.pair and (len(self.pair) != 2 or len(set(self.pair)) != 2):
            raise ConfigError(
                f"network_comparison.pair must name two different networks, or be empty; got {list(self.pair)}"
            )
        if self.bootstrap < FEWEST_SAMPLES:
            raise ConfigError(
                f"network_comparison.bootstrap must be at least {FEWEST_SAMPLES} (samples); got {self.bootstrap!r}"
            )
        if self.min_people < 2:
            raise ConfigError(
                f"network_comparison.min_people must be at least 2 (people); got {self.min_people!r}"
            )

    def control_among(self, networks: Sequence[str]) -> str:
        """Return the control among a study's networks: the stated one, else the first of the pair, else the first."""
        return self.control or (self.pair[0] if self.pair else networks[0])


def check_compared_networks(config: NetworkComparisonConfig, dimensions: Mapping[str, int]) -> None:
    """Check that the study has the networks to compare.

    Args:
        config: the settings.
        dimensions: 2 or 3, for each network of the study by name.

    Raises:
        ConfigError: a network does not exist, or the pair is not one 2-D and one 3-D network.
    """
    for key, names in {"pair": config.pair, "control": (config.control,) if config.control else ()}.items():
        if unknown := [name for name in names if name not in dimensions]:
            raise ConfigError(
                f"network_comparison.{key}: no network is called {', '.join(unknown)}; the study's networks: "
                f"{', '.join(dimensions)}"
            )
    found = {dimensions[name] for name in config.pair}
    if len(found) == 1:
        raise ConfigError(
            f"network_comparison.pair: {' and '.join(config.pair)} are both {found.pop()}-D, but the pair compares a "
            "2-D with a 3-D network. To compare these two, make one of them the control "
            "(network_comparison.control)"
        )


def state_comparison(
    former: Mapping | None, config: NetworkComparisonConfig, networks: Sequence[str], *, results_exist: bool
) -> dict[str, dict]:
    """Return the record of the stated pair and control, to be kept with the study.

    A statement made before any result existed remains valid when it is repeated, also after another one in between.

    Args:
        former: the record so far; None if there is none.
        config: the settings of this run.
        networks: names of the study's networks, in the order of the configuration.
        results_exist: whether any network has been scored already.

    Returns:
        For `pair` and `control`: `value` (names), `stated` (BEFORE or AFTER) and `earlier`, the statements that it
        replaces, each with `value` and `stated`.
    """
    now = {"pair": list(config.pair), "control": [config.control_among(networks)]}
    return {
        key: _state(value, (former or {}).get(key), results_exist=results_exist) for key, value in now.items()
    }


def explain_changes(record: Mapping[str, Mapping]) -> list[str]:
    """Return a sentence for each of pair and control that was stated after results existed."""
    return [
        f"The {key} of the comparison of networks was {_how(entry)}: now {_names(entry['value'])}"
        + "".join(f"; earlier {_names(old['value'])} (stated {old['stated']})" for old in entry["earlier"])
        + "."
        for key, entry in record.items()
        if entry["stated"] == AFTER and entry["value"]
    ]


def _state(value: list[str], former: Mapping | None, *, results_exist: bool) -> dict:
    """Return the entry of a value, given the former entry."""
    if former is None:
        return {"value": value, "stated": AFTER if results_exist else BEFORE, "earlier": []}
    if former["value"] == value:
        return dict(former)
    if not results_exist:
        return {"value": value, "stated": BEFORE, "earlier": []}
    earlier = [*former["earlier"], {name: former[name] for name in ("value", "stated")}]
    repeated = any(old["value"] == value and old["stated"] == BEFORE for old in earlier)
    return {"value": value, "stated": BEFORE if repeated else AFTER, "earlier": earlier}


def _how(entry: Mapping) -> str:
    return "changed after results existed" if entry["earlier"] else "first stated after results existed"


def _names(value: Sequence[str]) -> str:
    return " against ".join(value) or "none"
