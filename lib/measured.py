"""The measurements of one prediction from several steps, in one record. Standard library only."""

from collections.abc import Mapping


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
