"""The report's tables of agreement by region: volume, mineral content and geometry in each part of a structure."""

from collections.abc import Iterable, Mapping, Sequence

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.bone_parts import TABLE_REGIONS
from lib.catalog.groups import ALL
from lib.catalog.measures import ABOVE_CUT, SUMMARIES, WHOLE, printed_unit, unit_form
from lib.catalog.scales import CALIBRATED_SCALES
from lib.pages.calibrated_section import DENSITIES, HIDDEN
from lib.pages.report_tables import (
    COUNT,
    OF_POPULATION,
    Column,
    PageTable,
    Show,
    deviation,
    estimate,
    number,
    page_table,
    protocol_group,
    words,
)
from lib.stats.formats import show_interval, show_limits

_MEASURES = {"vbmd": "vBMD", "bmc": "BMC", "abmd": "aBMD"}
_REGIONS = {ABOVE_CUT: "above the distal cut"}  # regions with another name on the page


def region_tables(rows: Sequence[Mapping]) -> list[PageTable]:
    """Return the tables of agreement in the regions of each structure: by axial slices, and by planes of the bone.

    Volumes of whole structures have tables of their own (`lib.pages.report_tables.agreement_tables`), and so have
    densities (`lib.pages.calibrated_section`). HU, which densities follow from, are left out beside them.

    Args:
        rows: rows of tables/agreement.csv, whose numbers are in the unit of their row. Those of everybody in a group
            are shown; the table file holds the others.
    """
    everybody = [row for row in rows if row["stratum"] == ALL]
    elsewhere = tuple(f"{kind}_" for kind in DENSITIES)
    has_density = any(row["measure"].startswith(elsewhere) for row in everybody)
    shown = [
        # intervals with folds would make the table too wide
        {name: value for name, value in row.items() if "_fold_ci_" not in name}
        for row in everybody
        if (row["region"], row["measure"]) != (WHOLE, "volume")
        and row["compartment"] not in HIDDEN
        and not row["measure"].startswith(elsewhere)
        and not (has_density and row["unit"] == "HU")
    ]
    planes = set(TABLE_REGIONS.values())
    parts = {
        "Agreement by region": [row for row in shown if row["region"] not in planes],
        "Agreement by region of the bone": [row for row in shown if row["region"] in planes],
    }
    return [_region_table(caption, part) for caption, part in parts.items() if part]


def _region_table(caption: str, shown: Sequence[Mapping]) -> PageTable:
    columns = (
        words("Region", lambda row: region_name(row["region"])),
        words("Measure", measure_in_words),
        COUNT,
        Column(
            head="Reference",
            note=OF_POPULATION,
            show=_number("reference_mean"),
            small=lambda row: deviation(
                row["reference_sd"], unit_form(row["unit"]), why="one person has no SD"
            ),
        ),
        _in_unit("bias"),
        Column(
            head="95 % limits",
            show=lambda row: show_limits(row, unit_form(row["unit"])),
        ),
        *map(_in_unit, ("mae", "rmse")),
        estimate("ccc"),
    )
    group = protocol_group(shown)
    return page_table(caption, columns, _in_order(shown), name="agreement", group=group)


def region_name(region: str) -> str:
    """Return the name of a region as the page writes it."""
    return _REGIONS.get(region, region.replace("_", " "))


def region_meanings(rows: Iterable[Mapping], settings: Mapping) -> list[tuple[str, str]]:
    """Return name and meaning of the regions in rows of tables/agreement.csv, if the anatomy tells it.

    `settings` is the configuration.
    """
    known = ANATOMIES[settings["anatomy"]].region_meanings
    there = {row["region"] for row in rows}
    return [
        (region_name(region), meaning.format_map(settings))
        for region, meaning in known.items()
        if region in there
    ]


def measure_in_words(row: Mapping) -> str:
    """Return measure, compartment (if not every voxel) and unit of a row, such as `Volume, cm³`."""
    kind, _, scale = row["measure"].partition("_")
    if scale in CALIBRATED_SCALES:
        named = f"{_MEASURES.get(kind, kind)} ({CALIBRATED_SCALES[scale]})"
    else:
        named = row["measure"].replace("_", " ").capitalize()
    parts = [named, "" if row["compartment"] == "integral" else row["compartment"], printed_unit(row["unit"])]
    return ", ".join(filter(None, parts))


def _in_unit(name: str) -> Column:
    """Return a column of a number in the unit of its row, with its interval."""
    return Column(
        head=SUMMARIES[f"{name}_mm3"].short,
        show=_number(name),
        small=lambda row: show_interval(row, name, unit_form(row["unit"])),
    )


def _number(name: str) -> Show:
    """Return a function that shows a number in the unit of its row."""
    return lambda row: number(name, unit_form(row["unit"]))(row)


def _in_order(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of each group, network, protocol and structure together, else in their order."""
    keys = [tuple(row[name] for name in ("group", "network", "protocol")) for row in rows]
    structures = [row["structure"] for row in rows]
    place = sorted(
        range(len(rows)), key=lambda at: (keys.index(keys[at]), structures.index(structures[at]), at)
    )
    return [rows[at] for at in place]
