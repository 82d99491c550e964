"""The measurements of one prediction: records of several steps joined, and the file that holds them.

A file `measured/{group}/{network}/{members}/{scan}.json` has the sections `mask` (how the mask was made) and `volume`
(what was measured of it), and where a person's masks were compared with it, `overlap` (with the reference), `curves`
(voxels by their probability; not of label maps) and `readers` (two readers and the model). Each section is by
structure. For an anatomy with levels `levels` tells what was found of each, and of the scan with the key `scan`.
Standard library only.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.atomic import read_json


def join_measured(*records: Mapping) -> dict:
    """Return measurements as one record.

    Numbers are put side by side; `flags`, if any, are merged and sorted, and `undefined` holds all reasons.
    """
    joined: dict = {}
    for record in records:
        joined |= record
    if "flags" in joined:
        joined["flags"] = sorted({flag for record in records for flag in record.get("flags", ())})
    joined["undefined"] = {
        name: why for record in records for name, why in record.get("undefined", {}).items()
    }
    return joined


def path_key(path: str | Path) -> str:
    """Return group/network/members/scan of a file `.../{group}/{network}/{members}/{scan}.json`."""
    path = Path(path)
    return "/".join((*path.parts[-4:-1], path.stem))


def read_measured(paths: Iterable[str | Path], *sections: str) -> tuple[dict[str, dict], ...]:
    """Return the contents of sections by `path_key` and structure, such as `all/vnet/fold-0/P001/femur`.

    Returns:
        for each of `sections` those of the files that have it.
    """
    found: tuple[dict[str, dict], ...] = tuple({} for _ in sections)
    for path in paths:
        measured = read_json(path)
        for section, records in zip(sections, found, strict=True):
            for structure, record in measured.get(section, {}).items():
                records[f"{path_key(path)}/{structure}"] = record
    return found


def by_name(records: Mapping[str, dict], path: str) -> dict[str, dict]:
    """Return the records of `read_measured` of one prediction, by structure."""
    return {
        key.rpartition("/")[2]: record for key, record in records.items() if key.rpartition("/")[0] == path
    }
