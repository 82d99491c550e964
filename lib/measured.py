"""What several steps measured of one prediction, in one record. Standard library only."""

from collections.abc import Mapping


def join_measured(*records: Mapping) -> dict:
    """Return measurements as one record.

    Numbers stand side by side; `flags`, where a record has some, are those of all, sorted, and `undefined` holds the
    reasons of all.
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
