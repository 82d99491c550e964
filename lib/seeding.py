"""Independent random seeds for each purpose, derived from one seed."""

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, e.g. `derive_seed(2020, "fold", 3)`.

    The same arguments give the same seed on every machine; different purposes give independent ones
    (SHA-256 of their text).
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def fold_seed(seed: int, group: str, fold: int) -> int:
    """Return the seed of a fold's training: the same for all networks of a group.

    All networks thus see the same scans in the same order, with the same windows and changes. The word "vnet" stands
    for any network; it was part of the seed of the first studies, whose numbers it keeps.
    """
    return derive_seed(seed, "train", group, "vnet", fold)
