"""The flags of vertebral levels, with their consequences, as data."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

# what a flag costs, the gravest first:
#   scan      no density for any level of the scan
#   level     no density for this level
#   mean      the level has a density, which is left out of means over levels
#   classes   the person gets no class
#   note      nothing but the flag
Consequence = Literal["scan", "level", "mean", "classes", "note"]


class LevelFlag(NamedTuple):
    """A flag of a level, or of all levels of a scan.

    Attributes:
        consequence: what it costs.
        meaning: when it is raised, in words.
        of_scan: whether it concerns the scan, and not one level.
    """

    consequence: Consequence
    meaning: str
    of_scan: bool = False


LEVEL_FLAGS: Mapping[str, LevelFlag] = MappingProxyType(
    {
        "levels_out_of_order": LevelFlag(
            "scan", "the centres of the levels do not descend from L1 to the sacrum.", of_scan=True
        ),
        "level_gap": LevelFlag(
            "scan",
            "two levels lie less than 0.6 times or more than 1.5 times as far apart as the levels of this scan in "
            "the median, for each step between their names: one may have been skipped.",
            of_scan=True,
        ),
        "level_missing": LevelFlag("level", "less than a quarter of the median volume of a body was found."),
        "level_doubled": LevelFlag(
            "level", "a second piece has more than a quarter of the volume of the first one."
        ),
        "level_cut_by_scan": LevelFlag("level", "the body touches the first or the last slice of the scan."),
        "hardware": LevelFlag("level", "metal lies within 20 mm of the body."),
        "fracture_suspected": LevelFlag(
            "mean",
            "the anterior or the middle height is below 0.8 of the posterior one, or the mean height below 0.8 of "
            "both neighbours'.",
        ),
        "sclerosis_or_cement": LevelFlag(
            "mean",
            "more than 10 % of the eroded body lies above 400 HU, or its SD is more than 2.5 times that of its "
            "neighbours.",
        ),
        "level_uncertain": LevelFlag(
            "classes",
            "the sacrum is not in view (what is named so is small, or no wider than a vertebra), or no level lies "
            "next to it, so that the levels cannot be counted.",
            of_scan=True,
        ),
        "transitional": LevelFlag(
            "classes",
            "there may be six lumbar vertebrae: there is room for a further body between L5 and the sacrum, or for "
            "six from L1 to the sacrum, or no ribs pass beside L1.",
            of_scan=True,
        ),
        "contrast": LevelFlag(
            "classes",
            "the scan was made with contrast medium: the header or the table says so, or the aorta lies above 90 HU. "
            "Contrast medium raises the density of bone.",
            of_scan=True,
        ),
        "kvp_off": LevelFlag(
            "classes", "the tube voltage is not 120 kV; the same bone has another HU.", of_scan=True
        ),
        "levels_merged": LevelFlag(
            "note", "the body touches its neighbour over more than 15 % of the endplate."
        ),
    }
)
# what a flag costs, in words
COSTS: Mapping[Consequence, str] = MappingProxyType(
    {
        "scan": "no density in this scan",
        "level": "no density for the level",
        "mean": "left out of means",
        "classes": "no class",
        "note": "nothing",
    }
)
# key of what concerns the whole scan, beside the levels, in section `levels` of `measured/`
WHOLE_SCAN = "scan"
# consequences for which a level counts in no mean
_LEFT_OUT = frozenset({"scan", "level", "mean"})
_NO_DENSITY = frozenset({"scan", "level"})


def is_usable(flags: Iterable[str]) -> bool:
    """Return whether a level with these flags counts in means."""
    return not any(LEVEL_FLAGS[flag].consequence in _LEFT_OUT for flag in flags)


def density_withheld(flags: Iterable[str]) -> str:
    """Return the first flag for which a level gets no density; empty: it gets one."""
    return _first(flags, _NO_DENSITY)


def classes_withheld(flags: Iterable[str]) -> str:
    """Return the first flag of a scan for which its person gets no class; empty: there is none."""
    return _first(flags, frozenset({"scan", "classes"}))


def _first(flags: Iterable[str], consequences: frozenset[str]) -> str:
    raised = set(flags)
    return next(
        (flag for flag, told in LEVEL_FLAGS.items() if flag in raised and told.consequence in consequences),
        "",
    )


def level_flags_table() -> str:
    """Return LEVEL_FLAGS as the Markdown table of docs/ct-spine.md."""
    lines = ["| flag | of | when | what it costs |", "| --- | --- | --- | --- |"]
    for flag, told in LEVEL_FLAGS.items():
        of = "scan" if told.of_scan else "level"
        lines.append(f"| `{flag}` | {of} | {told.meaning} | {COSTS[told.consequence]} |")
    return "\n".join(lines)
