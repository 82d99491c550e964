"""The levels of one scan for its page: what was found of each, in numbers and flags."""

from collections.abc import Mapping, Sequence

from lib.catalog.level_flags import LEVEL_FLAGS

SCAN = "scan"
_HEIGHTS = ("anterior", "middle", "posterior")
_COSTS = {
    "scan": "No level of this scan gets a density.",
    "classes": "The person gets no class.",
    "note": "",
}


def level_rows(levels: Mapping[str, Mapping]) -> list[dict]:
    """Return a row for each structure, with texts for the table of the page.

    Args:
        levels: the section `levels` of a measured prediction.
    """
    return [
        {
            "name": name,
            "found": "yes" if record["found"] else "no",
            "volume": f"{record['voxels_mm3'] / 1000:.1f}",
            "heights": _heights_text(record.get("height_mm")),
            "hu": "" if record.get("hu_mean") is None else f"{record['hu_mean']:.0f} ± {record['hu_sd']:.0f}",
            "flags": record["flags"],
            "density": _density_text(record),
        }
        for name, record in levels.items()
        if name != SCAN
    ]


def level_note(levels: Mapping[str, Mapping]) -> Sequence[str]:
    """Return a sentence for each flag of the scan: what it means, and what it costs."""
    flags = levels.get(SCAN, {}).get("flags", ())
    return [
        f"{flag}: {LEVEL_FLAGS[flag].meaning} {_COSTS.get(LEVEL_FLAGS[flag].consequence, '')}".strip()
        for flag in flags
    ]


def _heights_text(heights: Mapping[str, float] | None) -> str:
    return " / ".join(f"{heights[part]:.0f}" for part in _HEIGHTS) if heights else ""


def _density_text(record: Mapping) -> str:
    """Return whether a level may get a density, and whether it counts in means."""
    if "density" in record["undefined"]:
        return "withheld"
    return "counts" if record["usable"] else "left out of means"
