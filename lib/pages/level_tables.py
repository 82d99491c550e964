"""The levels of one scan for its page: what was found of each, in numbers and flags."""

from collections.abc import Collection, Mapping, Sequence

from lib.catalog.level_flags import COSTS, LEVEL_FLAGS, WHOLE_SCAN
from lib.stats.density_plan import DensityPlan

_HEIGHTS = ("anterior", "middle", "posterior")


def level_rows(
    levels: Mapping[str, Mapping], plan: DensityPlan | None = None, absent: Collection[str] = ()
) -> list[dict]:
    """Return a row for each structure, with texts for the table of the page.

    Args:
        levels: the section `levels` of a measured prediction.
        plan: structures with a density, and means over them; None: the study reads no densities, and `density` is
            empty.
        absent: structures that the cohort table leaves out.
    """
    return [
        {
            "name": name,
            "found": "yes" if record["found"] else "no",
            "volume": f"{record['voxels_mm3'] / 1000:.1f}",
            "heights": _heights_text(record.get("height_mm")),
            "hu": "" if record.get("hu_mean") is None else f"{record['hu_mean']:.0f} ± {record['hu_sd']:.0f}",
            "flags": record["flags"],
            "density": _density_text(name, record, plan, absent) if plan else "",
        }
        for name, record in levels.items()
        if name != WHOLE_SCAN
    ]


def level_note(levels: Mapping[str, Mapping]) -> Sequence[str]:
    """Return for each flag of the scan when it is raised, and what it costs."""
    told = [(flag, LEVEL_FLAGS[flag]) for flag in levels.get(WHOLE_SCAN, {}).get("flags", ())]
    return [
        f"{flag.replace('_', ' ').capitalize()}: {known.meaning} Consequence: {COSTS[known.consequence]}."
        for flag, known in told
    ]


def _heights_text(heights: Mapping[str, float] | None) -> str:
    return " / ".join(f"{heights[part]:.0f}" for part in _HEIGHTS) if heights else ""


def _density_text(name: str, record: Mapping, plan: DensityPlan, absent: Collection[str]) -> str:
    """Return whether a level gets a density, and whether it counts in means."""
    if name not in plan.structures:
        return "not read"
    if "density" in record["undefined"]:
        return "withheld"
    if not any(name in named for named in plan.classes.means.values()):
        return "in no mean"
    return "counts" if record["usable"] and name not in absent else "left out of means"
