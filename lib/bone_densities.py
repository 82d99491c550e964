"""What is measured of a calibrated femur, as the flat names of tables. Standard library only.

The section `density` of `measured/{group}/{network}/{members}/{scan}.json` has for each structure `calibration`, and
for the masks `predicted` and, where a person drew one, `reference` what `lib.measuring.bone_density` returns.
"""

from collections.abc import Iterator, Mapping

from lib.catalog.bone_parts import COMPARTMENTS, GEOMETRY, PREDICTED, PROJECTED, REFERENCE, TABLE_REGIONS

# name of a measure in tables -> its name in the section; the first ones need no calibration, the others have a scale
_OF_COMPARTMENT = (
    {"volume": "volume_mm3", "mean_value": "hu_mean"},
    {"vbmd": "vbmd_mg_cm3", "bmc": "bmc_mg"},
)
_OF_PROJECTION = ({"area": "area_cm2"}, {"abmd": "abmd_g_cm2", "bmc": "bmc_g"})


def flat_densities(section: Mapping) -> dict:
    """Return the values of the section of a structure by `lib.catalog.bone_parts.table_name`, and `undefined`.

    Densities are named with their scale. Without a calibration there are none, and no reason for each of them.
    """
    scale = section["calibration"]["scale"]
    flat: dict = {"undefined": {}}
    for whose in (PREDICTED, REFERENCE):
        for name, value, why in _values(section[whose], scale) if whose in section else ():
            flat[f"{whose}_{name}"] = value
            if value is None and why:
                flat["undefined"][f"{whose}_{name}"] = why
    return flat


def _values(measured: Mapping, scale: str) -> Iterator[tuple[str, float | None, str]]:
    """Yield name, value and reason of everything that was measured of one mask."""
    for region, compartments in measured["regions"].items():
        for compartment in COMPARTMENTS:
            found = compartments[compartment]
            yield from _named((TABLE_REGIONS[region], compartment), found, _OF_COMPARTMENT, scale)
    for roi, found in measured["areal"].items():
        yield from _named((TABLE_REGIONS[roi], PROJECTED), found, _OF_PROJECTION, scale)
    for roi, score in measured["t_scores"].items():
        for name, key in (("abmd_dxa", "abmd_dxa_g_cm2"), ("t_score", "t_score")):
            yield f"{TABLE_REGIONS[roi]}_{PROJECTED}_{name}", score[key], score["undefined"]
    geometry = measured["geometry"]
    for attribute, (region, measure, _) in GEOMETRY.items():
        yield f"{region}_integral_{measure}", geometry[attribute], geometry["undefined"].get(attribute, "")


def _named(
    part: tuple[str, str], found: Mapping, measures: tuple[Mapping, Mapping], scale: str
) -> Iterator[tuple[str, float | None, str]]:
    plain, of_scale = measures
    scaled = {f"{name}_{scale}": key for name, key in of_scale.items()} if scale else {}
    for name, key in (plain | scaled).items():
        yield "_".join((*part, name)), found[key], found["undefined"].get(key, "")
