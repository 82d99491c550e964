"""The structures (bones) that a study segments, and their values in reference files. Standard library only.

In the study's own label maps, structure number n (from 1, in the order of the configuration) has the value n.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from lib.errors import ConfigError

ANY = "any"
MAX_STRUCTURES = 32
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")

Structures = Mapping[str, tuple[int, ...]]


def read_structures(structures: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Return the values of each structure in reference files, by name; an empty tuple: every value above 0.

    Args:
        structures: config `structures`: name -> `any`, or a list of values.

    Raises:
        ConfigError: a name that is no name, no structure or too many, `any` beside other structures, a value that is
            no whole number above 0, or that stands twice.
    """
    if not 1 <= len(structures) <= MAX_STRUCTURES:
        raise ConfigError(f"structures: name 1 to {MAX_STRUCTURES} structures; got {len(structures)}")
    read: dict[str, tuple[int, ...]] = {}
    for name, values in structures.items():
        _require_name(name, read)
        if values == ANY and len(structures) > 1:
            raise ConfigError(
                f"structures.{name}: `any` takes every value above 0, so it must be the only structure; "
                "list the values of each structure, such as [20]"
            )
        read[name] = () if values == ANY else _read_values(name, values, read)
    return read


def check_method(method: str, structures: Mapping[str, object]) -> None:
    """Refuse a method of making masks that does not suit the number of structures.

    Args:
        method: config `mask.method`.
        structures: config `structures`.

    Raises:
        ConfigError: `argmax` for one structure, whose probability is cut at a threshold, or a threshold for several.
    """
    if (method == "argmax") != (len(structures) > 1):
        expected = "argmax" if len(structures) > 1 else "otsu or half"
        raise ConfigError(
            f"mask.method: {method} does not suit the {len(structures)} structure(s) {', '.join(structures)}; "
            f"set {expected}"
        )


def _require_name(name: object, known: Mapping[str, object]) -> None:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ConfigError(
            f"structures: {name!r} is not a name: use letters, digits and single hyphens, beginning with a letter"
        )
    if name.lower() in {other.lower() for other in known}:
        raise ConfigError(f"structures: {name!r} differs from another structure only by capitals")


def _read_values(name: str, values: object, known: Structures) -> tuple[int, ...]:
    whole = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    if not (whole and all(isinstance(value, int) and value > 0 for value in values)):
        raise ConfigError(
            f"structures.{name}: expected `any` or a list of whole numbers above 0, the values of this structure in "
            f"the reference files; got {values!r}"
        )
    for value in values:
        owner = next((other for other, taken in known.items() if value in taken), None)
        if owner or list(values).count(value) > 1:
            raise ConfigError(
                f"structures.{name}: the value {value} is listed twice"
                + (f", also for {owner}" if owner else "")
                + "; a voxel belongs to one structure"
            )
    return tuple(values)


def values_in_file(structures: Structures, mask_labels: Sequence[int]) -> Structures:
    """Return the values of each structure in one reference file.

    Args:
        structures: those of the study.
        mask_labels: values that the file's row of the cohort table names for the only structure; empty: the study's.
    """
    return dict.fromkeys(structures, tuple(mask_labels)) if mask_labels else structures


def study_values(structures: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the value of each structure in the study's own label maps, by name."""
    return {name: (number,) for number, name in enumerate(structures, start=1)}


def describe_structures(structures: Structures) -> str:
    """Return structures with their values in a label map, such as `L1 (20), L2 (21)`."""
    return ", ".join(
        f"{name} ({', '.join(map(str, values)) or 'above 0'})" for name, values in structures.items()
    )
