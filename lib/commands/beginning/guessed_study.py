"""What a study looks at, guessed from headers and label maps. Standard library only."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lib.catalog.anatomies import ANATOMIES
from lib.commands.beginning.found import Found, most_common
from lib.structures import ANY, MAX_STRUCTURES

FEMUR, SPINE, GENERIC = "proximal-femur", "lumbar-spine", "generic"
NOTHING_TELLS = "nothing in the files tells"
# terms of BodyPartExamined (PS3.16, annex L, and older ones). Abdomen and pelvis show both hips and spine.
_BODY_PARTS = {
    FEMUR: ("HIP", "FEMUR", "THIGH", "HIPJOINT", "PELVIS"),
    SPINE: ("LSPINE", "LSSPINE", "SPINE", "LUMBAR", "LUMBARSPINE", "LUMBOSACRALSPINE", "TLSPINE"),
    GENERIC: (
        "KNEE",
        "TIBIA",
        "ANKLE",
        "FOOT",
        "WRIST",
        "HAND",
        "ELBOW",
        "SHOULDER",
        "SKULL",
        "HEAD",
        "CSPINE",
    ),
}
_VERSE = {"L1": 20, "L2": 21, "L3": 22, "L4": 23, "L5": 24}
_TOTALSEGMENTATOR = {"L1": 31, "L2": 30, "L3": 29, "L4": 28, "L5": 27, "sacrum": 25}
_TOTALSEGMENTATOR_FEMURS = (75, 76)
_HIGHEST_OF_VERSE = 28
_LEVEL = re.compile(r"(?:^|[^a-z0-9])(t1[0-2]|l[1-6])(?:$|[^a-z0-9])")
_BONES = (
    *("femur", "tibia", "fibula", "patella", "pelvis", "hip", "sacrum", "humerus", "scapula", "clavicle"),
    *("radius", "ulna", "talus", "calcaneus", "mandible", "skull", "sternum"),
)


@dataclass(frozen=True, kw_only=True)
class StudyGuess:
    """A study: `structures` as in the configuration, `why` says what the anatomy was guessed from."""

    modality: str
    anatomy: str
    structures: Mapping[str, object]
    why: str


def guess_study(found: Found, values: Collection[Collection[int]]) -> StudyGuess:
    """Return a guess at modality, anatomy and structures.

    Args:
        found: the scans; mask labels of femora are set where they are clear.
        values: of each label map the values that it holds.
    """
    modality = most_common(scan.modality for scan in found.used) or "CT"
    anatomy, structures, why = _from_labels(found, values) or _from_body_part(found, values)
    if anatomy == SPINE and modality == "MR":
        anatomy, why = GENERIC, f"{why}; the lumbar spine's own search needs CT"
    return StudyGuess(modality=modality, anatomy=anatomy, structures=structures, why=why)


def may_show_femora(found: Found, values: Collection[Collection[int]]) -> bool:
    """Return whether the label maps may show femora, as far as headers and values tell (see `guess_study`)."""
    labelled = _from_labels(found, values)
    part = most_common(_anatomy_of(scan.body_part) for scan in found.used)
    return labelled[0] == FEMUR if labelled else part in ("", FEMUR)


def known_structure(name: str) -> str:
    """Return the name of a bone that a text names, with its side; empty if it names none that is known."""
    text = re.sub(r"[_\s]+", "-", name.strip().lower())
    if level := _LEVEL.search(text):
        return level[1].upper()
    bone = next((bone for bone in _BONES if bone in text), "")
    side = next((side for side in ("left", "right") if side in text), "")
    return "-".join(filter(None, (bone, side))) if bone else ""


def _from_labels(
    found: Found, values: Collection[Collection[int]]
) -> tuple[str, Mapping[str, object], str] | None:
    """Return anatomy, structures and reason by the values of label maps; None if they do not tell."""
    every = set().union(*values)
    named = {known_structure(name): value for value, name in found.names.items() if value in every}
    named.pop("", None)
    spine = {name: [value] for name, value in named.items() if name in ANATOMIES[SPINE].structures}
    if any(name.startswith("L") for name in spine):
        return SPINE, spine, "the label maps name vertebrae"
    if any(name.startswith("femur") for name in named) or any(v in every for v in _TOTALSEGMENTATOR_FEMURS):
        return FEMUR, {"femur": ANY}, "the label maps hold femora"
    if named:
        return GENERIC, {name: [value] for name, value in named.items()}, "the names in the label maps"
    if len(every & set(_VERSE.values())) > 1 and max(every) <= _HIGHEST_OF_VERSE:
        return SPINE, _present(_VERSE, every), "the label maps hold the values of VerSe"
    if len(every & set(_TOTALSEGMENTATOR.values())) > 1 and max(every) > _HIGHEST_OF_VERSE:
        return SPINE, _present(_TOTALSEGMENTATOR, every), "the label maps hold the values of TotalSegmentator"
    return None


def _from_body_part(
    found: Found, values: Collection[Collection[int]]
) -> tuple[str, Mapping[str, object], str]:
    """Return anatomy, structures and reason by the headers, for label maps that do not tell."""
    parts = [_anatomy_of(scan.body_part) for scan in found.used]
    anatomy, every = most_common(parts), sorted(set().union(*values))
    why = f"the headers of {parts.count(anatomy)} of {len(parts)} scans name this part of the body"
    told_apart = any(scan.mask_label for scan in found.used)
    if not anatomy:
        anatomy, why = FEMUR, "the masks hold a bone on each side" if told_apart else NOTHING_TELLS
    several = len(every) > 1 and not told_apart
    if anatomy == SPINE and not every:
        return SPINE, {name: [value] for name, value in _VERSE.items()}, why
    if anatomy == FEMUR and not several:
        return FEMUR, {"femur": ANY}, why
    if several and len(every) <= MAX_STRUCTURES:
        return GENERIC, {f"label-{value}": [value] for value in every}, f"{why}; masks hold several values"
    return GENERIC, {"bone": ANY}, why


def _anatomy_of(part: str) -> str:
    plain = re.sub(r"[^A-Z]", "", part)
    return next((anatomy for anatomy, terms in _BODY_PARTS.items() if plain in terms), "")


def _present(numbers: Mapping[str, int], every: Iterable[int]) -> dict[str, list[int]]:
    return {name: [value] for name, value in numbers.items() if value in set(every)}
