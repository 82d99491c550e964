"""The structures that were found in each prediction, with their shape, their flags, and whether they count."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from lib.catalog.level_flags import WHOLE_SCAN
from lib.stats.tables import in_reading_order, structure_key
from lib.stats.undefined import undefined_text

HEIGHTS = ("anterior", "middle", "posterior")
LEVELS_FOUND_COLUMNS = (
    *("group", "network", "members", "protocol", "scan", "subject", "fold", "vendor", "structure", "found"),
    *("voxels_mm3", "components", "centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
    *(f"height_{place}_mm" for place in HEIGHTS),
    *(
        "hu_mean",
        "hu_sd",
        "eroded_mm3",
        "dsc",
        "flags",
        "scan_flags",
        "usable",
        "class_withheld",
        "undefined",
    ),
)
_NUMBERS = (
    *("voxels_mm3", "components", "centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
    *(f"height_{place}_mm" for place in HEIGHTS),
    *("hu_mean", "hu_sd", "eroded_mm3", "dsc"),
)


def levels_found_table(
    planned: Iterable[Mapping],
    structures: Sequence[str],
    measured: tuple[Mapping[str, Mapping], Mapping[str, Mapping]],
    vendors: Mapping[str, str],
) -> pd.DataFrame:
    """Return LEVELS_FOUND_COLUMNS, a row for each structure of each prediction that was measured.

    Args:
        planned: flat predictions (`lib.stats.tables.flat_prediction`).
        structures: the study's structures.
        measured: sections `levels` and `overlap` of `measured/`, by `structure_key`.
        vendors: vendor of the scanner by scan.
    """
    levels, overlaps = measured
    rows = []
    for prediction in planned:
        scan = levels.get(structure_key({**prediction, "structure": WHOLE_SCAN}))
        for structure in structures if scan is not None else ():
            key = structure_key({**prediction, "structure": structure})
            told = {"vendor": vendors.get(prediction["scan"], ""), "structure": structure}
            row = _row(levels.get(key, {}), scan, overlaps.get(key, {}))
            rows.append({name: prediction.get(name) for name in LEVELS_FOUND_COLUMNS} | told | row)
    table = pd.DataFrame(rows, columns=list(LEVELS_FOUND_COLUMNS))
    table["fold"] = [row["fold"] if row["protocol"] == "cv" else None for row in table.to_dict("records")]
    return in_reading_order(table)


def _row(level: Mapping, scan: Mapping, overlap: Mapping) -> dict[str, object]:
    centroid = level.get("centroid_mm_xyz") or (None, None, None)
    heights = level.get("height_mm") or {}
    row = {name: level.get(name) for name in ("voxels_mm3", "components", "hu_mean", "hu_sd", "eroded_mm3")}
    row |= {f"centroid_{axis}_mm": value for axis, value in zip("xyz", centroid, strict=True)}
    row |= {f"height_{place}_mm": heights.get(place) for place in HEIGHTS} | {"dsc": overlap.get("dsc")}
    otherwise = "not found" if not level.get("found") else "not measured"
    told = level.get("undefined") or {}
    why = {name: _why(told, name, otherwise) for name in _NUMBERS if row[name] is None}
    if row["dsc"] is None:
        why["dsc"] = (overlap.get("undefined") or {}).get("dsc", "not compared with a reference mask")
    return row | {
        "found": "yes" if level.get("found") else "no",
        "flags": " ".join(level.get("flags", ())),
        "scan_flags": " ".join(scan.get("flags", ())),
        "usable": "yes" if level.get("usable") else "no",
        "class_withheld": scan.get("class_withheld") or "",
        "undefined": undefined_text(why),
    }


def _why(told: Mapping[str, str], name: str, otherwise: str) -> str:
    """Return the reason of a number, whose record may name it or what it is a part of."""
    record = "height_mm" if name.startswith("height_") else "centroid_mm_xyz" if "centroid" in name else name
    return told.get(name) or told.get(record) or otherwise
