"""Description of the training people in numbers that do not identify them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lib.ages import OLDEST_PRINTED_AGE
from lib.cohort.placement import Placement
from lib.pseudonyms import key_of, pseudonyms


def describe_people(
    placements: Iterable[Placement], facts: Mapping, secret: bytes, digests: Mapping[str, str]
) -> dict:
    """Return who trained and who validated a model, without ids.

    Args:
        placements: all scans of the study.
        facts: ids of the scans in `training` and in `validation`.
        secret: the study's secret, from which pseudonyms are made.
        digests: digests of the scans' voxels, by scan.

    Returns:
        `training` and `validation`: pseudonyms of the scans; `images`: pseudonyms of their voxels, in both;
        `people`: `describe_group` of both;
        `pseudonym_key`: fingerprint of the secret that the pseudonyms were made with.
    """
    rows = {row.scan: row for row in placements}
    roles = {role: [rows[scan] for scan in facts[role]] for role in ("training", "validation")}
    return {
        **{role: pseudonyms((row.scan for row in group), secret) for role, group in roles.items()},
        "images": {
            role: pseudonyms((digests[row.scan] for row in group if row.scan in digests), secret)
            for role, group in roles.items()
        },
        "people": {role: describe_group(group, secret) for role, group in roles.items()},
        "pseudonym_key": key_of(secret),
    }


def describe_group(placements: Sequence[Placement], secret: bytes) -> dict:
    """Return numbers of people and scans, sexes, the range of ages, and the people as pseudonyms.

    Ages are given in bands of ten years, the last being 90+; `ages` is None if no age is known.
    """
    people = {row.subject: row for row in placements}
    ages = sorted(row.age for row in people.values() if row.age is not None)
    return {
        "people": len(people),
        "scans": len(placements),
        "sexes": dict(sorted(Counter(row.sex or "unknown" for row in people.values()).items())),
        "ages": {"youngest": ten_year_band(ages[0]), "oldest": ten_year_band(ages[-1])} if ages else None,
        "pseudonyms": pseudonyms(people, secret),
    }


def ten_year_band(age: float) -> str:
    """Return the ten-year band of an age, e.g. "60-69"; "90+" from 90 on."""
    if age >= OLDEST_PRINTED_AGE:
        return f"{OLDEST_PRINTED_AGE}+"
    start = int(age) // 10 * 10
    return f"{start}-{start + 9}"
