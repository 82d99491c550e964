"""Config `grid`: one U-Net for each combination of values, and the choice among all networks of a study.

Standard library only, because each parse reads it.
"""

import ast
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product

from lib.errors import ConfigError
from lib.learning.allowed_values import is_count, require
from lib.learning.architecture import read_network

AXES = ("dimensions", "initial_maps", "levels", "bottleneck_dilation")
COMPARISONS = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Keys of config `grid`. With the defaults there is no grid.

    Attributes:
        dimensions: one network for each of these values (as in `unet_config`) and of the next three keys.
        initial_maps: see `dimensions`.
        levels: see `dimensions`.
        bottleneck_dilation: see `dimensions`.
        normalisation: of every network of the grid.
        dropout: of every network of the grid.
        skip_if: combinations to leave out, as a condition on the four lists' names, such as
            `dimensions == 3 and initial_maps == 64`; empty: none.
    """

    dimensions: Sequence[int] = ()
    initial_maps: Sequence[int] = ()
    levels: Sequence[int] = ()
    bottleneck_dilation: Sequence[int] = (1,)
    normalisation: str = "none"
    dropout: float = 0.0
    skip_if: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make lists from YAML tuples."""
        for key in AXES:
            values = tuple(getattr(self, key))
            object.__setattr__(self, key, values)
            require(all(map(is_count, values)), f"grid.{key}", list(values), "integers of at least 1")
            require(len(set(values)) == len(values), f"grid.{key}", list(values), "each value once")
        empty = [f"grid.{key}" for key in AXES if not getattr(self, key)]
        if empty and any(getattr(self, part.name) != part.default for part in fields(self)):
            raise ConfigError(
                f"{', '.join(empty)}: no values; a grid needs at least one value in each of {', '.join(AXES)}"
            )


def expand_grid(grid: GridConfig) -> dict[str, dict]:
    """Return the networks of a grid by name, as entries of config `networks`; without a grid, none.

    Raises:
        ConfigError: `skip_if` cannot be read or leaves no network, or a value cannot be used for a network.
    """
    condition = _read_condition(grid.skip_if) if grid.skip_if else None
    networks = {}
    for values in product(*(getattr(grid, key) for key in AXES)):
        shape = dict(zip(AXES, values, strict=True))
        if condition is None or not _holds(condition, shape):
            entry = {"unet": shape | {"normalisation": grid.normalisation, "dropout": grid.dropout}}
            read_network(entry, 1)
            networks[_network_name(**shape)] = entry
    if grid.levels and not networks:
        raise ConfigError(f"grid.skip_if: {grid.skip_if!r} holds for every network, so the grid is empty")
    return networks


def networks_of_study(
    entries: Mapping, named: Collection[str], grid: GridConfig, only: Sequence[str]
) -> dict:
    """Return the networks of a study by name: entries of config `networks`, of its grid, or of both.

    Args:
        entries: config `networks`.
        named: the names that overlays and command line give; with a grid, only these of the entries are used.
        grid: config `grid`.
        only: config `only_networks`: the names to keep; empty: all.

    Raises:
        ConfigError: the grid cannot be expanded, two networks have the same name, or no network is left.
    """
    from_grid = expand_grid(grid)
    if twice := sorted(set(from_grid) & set(named)):
        raise ConfigError(
            f"networks: {', '.join(twice)} is also a network of the grid; give the entry another name, or leave it "
            "out of the grid (grid.skip_if)"
        )
    networks = {name: entry for name, entry in entries.items() if name in named or not from_grid} | from_grid
    if not networks:
        raise ConfigError("networks: none is left; give at least one entry, or a grid")
    if unknown := [name for name in only if name not in networks]:
        raise ConfigError(
            f"only_networks: no network is called {', '.join(unknown)}; the study's networks: {', '.join(networks)}"
        )
    return {name: entry for name, entry in networks.items() if name in only or not only}


def _network_name(*, dimensions: int, initial_maps: int, levels: int, bottleneck_dilation: int) -> str:
    dilated = f"-d{bottleneck_dilation}" if bottleneck_dilation != 1 else ""
    return f"unet{dimensions}d-f{initial_maps}-l{levels}{dilated}"


def _read_condition(text: str) -> ast.expr:
    """Return the syntax tree of `skip_if`, which is never run as code."""
    try:
        condition = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise ConfigError(f"grid.skip_if: {text!r} cannot be read; {_expected()}") from None
    _holds(
        condition, dict.fromkeys(AXES, 1)
    )  # refuses what is not allowed, also where the grid would not reach it
    return condition


def _holds(node: ast.expr, shape: Mapping[str, int]) -> bool:
    """Return whether a condition holds for a network's shape."""
    if isinstance(node, ast.BoolOp):
        parts = [_holds(part, shape) for part in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, shape)
    if isinstance(node, ast.Compare) and all(type(sign) in COMPARISONS for sign in node.ops):
        values = [_value(part, shape) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, values, values[1:], strict=False)
        return all(COMPARISONS[type(sign)](left, right) for sign, left, right in pairs)
    raise ConfigError(f"grid.skip_if: {ast.unparse(node)!r} is not a condition; {_expected()}")


def _value(node: ast.expr, shape: Mapping[str, int]) -> float:
    if isinstance(node, ast.Name) and node.id in shape:
        return shape[node.id]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    raise ConfigError(f"grid.skip_if: {ast.unparse(node)!r} is not allowed; {_expected()}")


def _expected() -> str:
    return f"expected comparisons (== != < <= > >=) of {', '.join(AXES)} with numbers, joined by and, or, not"
