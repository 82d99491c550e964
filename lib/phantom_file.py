"""The file of the certificates of calibration phantoms, `phantoms.yaml`: one entry for each physical phantom."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from lib.catalog.scales import SCALES
from lib.certificates import Certificate, Rod
from lib.errors import ConfigError
from lib.settings import check_texts

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FEWEST_DENSITIES = 3  # of a phantom with as many rods; scans of phantoms with fewer are refused one by one
_KEYS = ("scale", "rods", "rod_radius_mm", "rod_distance_mm", "may_lie_reversed")
_ROD_KEYS = ("density_mg_cm3", "water_mg_cm3")
_DENSITIES, _WATERS = (-500.0, 3000.0), (500.0, 1500.0)  # mg/cm3
_RADII_MM, _DISTANCES_MM = (2.0, 40.0), (5.0, 200.0)


def read_certificates(path: str | Path) -> dict[str, Certificate]:
    """Read and check a file of certificates; return them by the phantoms' names.

    Raises:
        ConfigError: the file is missing, not YAML, or an entry is wrong; the text lists every problem with its
            phantom and rod.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"calibration.phantoms: there is no file {path}; the path is relative to the cohort table's folder"
        ) from None
    except (OSError, ValueError):
        raise ConfigError(
            f"calibration.phantoms: {path} cannot be read as UTF-8 text; save it as UTF-8"
        ) from None
    check_texts([path])
    return check_certificates(yaml.load(text, yaml.CSafeLoader), path.name)


def check_certificates(content: object, file: str) -> dict[str, Certificate]:
    """Return the certificates of a file's content, by name.

    Raises:
        ConfigError: see `read_certificates`.
    """
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(
            f"{file}: no phantom found; write one entry for each phantom, see docs/calibration.md"
        )
    problems = [problem for name, entry in content.items() for problem in _problems(str(name), entry)]
    if problems:
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{file}: {count}; nothing was run.\n{lines}")
    return {name: _certificate(name, entry) for name, entry in content.items()}


def _certificate(name: str, entry: Mapping) -> Certificate:
    distance, gaps = entry["rod_distance_mm"], len(entry["rods"]) - 1
    return Certificate(
        name=name,
        scale=entry["scale"],
        rods=tuple(Rod(**{key: float(value) for key, value in rod.items()}) for rod in entry["rods"]),
        rod_radius_mm=float(entry["rod_radius_mm"]),
        rod_distances_mm=tuple(map(float, distance if isinstance(distance, list) else [distance] * gaps)),
        may_lie_reversed=entry.get("may_lie_reversed", True),
    )


def _problems(name: str, entry: object) -> Iterator[str]:
    """Yield what is wrong with the entry of a phantom."""
    if not _NAME.fullmatch(name):
        yield f"phantom {name!r}: a name has letters, digits, '-', '_' and '.', at most 64 in all"
    if not isinstance(entry, Mapping):
        yield f"phantom {name}: no entry; expected the keys {', '.join(_KEYS)}"
        return
    yield from (f"phantom {name}: {problem}" for problem in _unknown(entry, _KEYS))
    scale = entry.get("scale")
    if scale not in SCALES:
        came = "scale is missing" if scale is None else f"scale {scale!r} is unknown"
        yield f"phantom {name}: {came}; expected one of {', '.join(SCALES)}, the material of the rods' densities"
    rods = entry.get("rods")
    if not isinstance(rods, list) or not rods:
        yield f"phantom {name}: no list of rods; expected the rods that the certificate lists"
        return
    for number, rod in enumerate(rods, start=1):
        yield from (f"phantom {name}, rod {number}: {problem}" for problem in _rod_problems(rod))
    yield from (f"phantom {name}: {problem}" for problem in _problems_between(rods, scale))
    yield from (f"phantom {name}: {problem}" for problem in _shape_problems(entry, len(rods)))


def _rod_problems(rod: object) -> Iterator[str]:
    if not isinstance(rod, Mapping):
        yield f"{rod!r}; expected {{density_mg_cm3: NUMBER}}, with water_mg_cm3 if the certificate states it"
        return
    yield from _unknown(rod, _ROD_KEYS)
    for key, limits in zip(_ROD_KEYS, (_DENSITIES, _WATERS), strict=True):
        if key in rod and not _within(rod[key], limits):
            yield f"{key} {rod[key]!r}; expected a number from {limits[0]:g} to {limits[1]:g} (mg/cm3)"
    if "density_mg_cm3" not in rod:
        yield "density_mg_cm3 is missing; expected the density of the rod by the certificate (mg/cm3)"


def _problems_between(rods: Sequence, scale: object) -> Iterator[str]:
    entries = [rod for rod in rods if isinstance(rod, Mapping)]
    dry = [str(number) for number, rod in enumerate(entries, start=1) if "water_mg_cm3" not in rod]
    if 0 < len(dry) < len(entries):
        yield f"water_mg_cm3 is missing of rod {', '.join(dry)}; expected for all rods or for none"
    if scale == "caha" and len(dry) < len(entries):
        yield "water_mg_cm3 beside scale caha; the equations with water hold for K2HPO4 in solution. Leave it out"
    densities = {
        rod.get("density_mg_cm3") for rod in entries if _within(rod.get("density_mg_cm3"), _DENSITIES)
    }
    if len(entries) >= _FEWEST_DENSITIES > len(densities):
        yield f"{len(densities)} different densities; expected at least {_FEWEST_DENSITIES}"


def _shape_problems(entry: Mapping, rods: int) -> Iterator[str]:
    """Yield what is wrong with radius, distances and the order of the rods."""
    radius, distance = entry.get("rod_radius_mm"), entry.get("rod_distance_mm")
    if not _within(radius, _RADII_MM):
        yield f"rod_radius_mm {radius!r}; expected a number from {_RADII_MM[0]:g} to {_RADII_MM[1]:g} (mm)"
    distances = distance if isinstance(distance, list) else [distance]
    if isinstance(distance, list) and len(distance) != rods - 1:
        yield f"rod_distance_mm lists {len(distance)} distances; expected {rods - 1} for {rods} rods"
    for value in distances:
        if not _within(value, _DISTANCES_MM):
            yield (
                f"rod_distance_mm {value!r}; expected a number from {_DISTANCES_MM[0]:g} to {_DISTANCES_MM[1]:g} "
                "(mm, centre to centre), or a list of them"
            )
        elif _within(radius, _RADII_MM) and value < 2 * radius:
            yield f"rod_distance_mm {value:g} is less than two radii ({2 * radius:g} mm); expected centre to centre"
    if not isinstance(entry.get("may_lie_reversed", True), bool):
        yield f"may_lie_reversed {entry['may_lie_reversed']!r}; expected true or false"


def _unknown(entry: Mapping, known: Sequence[str]) -> Iterator[str]:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            yield f"unknown key {key!r}; " + (
                f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
            )


def _within(value: object, limits: tuple[float, float]) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and limits[0] <= value <= limits[1]
