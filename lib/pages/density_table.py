"""The calibrated densities of one scan for its page: how it was calibrated, and its femur by region."""

from collections.abc import Mapping
from dataclasses import dataclass

from lib.catalog.bone_parts import PREDICTED, PROJECTED, REFERENCE, TABLE_REGIONS
from lib.catalog.calibration import CALIBRATION_FLAGS, FLAGGED, REFUSALS, REFUSED
from lib.catalog.scales import CALIBRATED_SCALES
from lib.figures.areal_picture import describe_projection
from lib.stats.formats import fixed, show_codes

NO_CALIBRATION = "The table asks for no calibration of this scan, so it has HU only."


def density_table(densities: Mapping[str, Mapping]) -> dict:
    """Return the variables of the section; empty where no densities were measured.

    Args:
        densities: section `density` of a measured prediction, by structure; a proximal femur has one.

    Returns:
        `sentences` on the calibration, `scale` in words, `with_reference`, `projected` (the projected femur in
        words), `with_areal` (whether it has a value), and `rows` by region: values of the predicted mask, and of the
        reference in brackets.
    """
    if not densities:
        return {}
    (section,) = densities.values()
    used = section["calibration"]
    reference = section.get(REFERENCE, {})
    return {
        "sentences": _sentences(used),
        "scale": CALIBRATED_SCALES.get(used["scale"], ""),
        "with_reference": bool(reference),
        "projected": describe_projection(section),
        "with_areal": any(row["abmd_g_cm2"] is not None for row in section[PREDICTED]["areal"].values()),
        "rows": [
            {"region": show_codes(name)}
            | {
                column: _both(cell, section[PREDICTED], reference, region)
                for column, cell in _COLUMNS.items()
            }
            for region, name in TABLE_REGIONS.items()
        ],
    }


def _sentences(used: Mapping) -> list[str]:
    if not used["method"]:
        return [NO_CALIBRATION]
    if used["verdict"] == REFUSED:
        finding = REFUSALS[used["reason"]]
        return [f"No density: {finding.meaning} {finding.action}"]
    flags = used["flags"] if used["verdict"] == FLAGGED else ()
    withheld = [f"No density: {used['no_density']}."] if used["no_density"] else []
    return withheld + [
        f"{CALIBRATION_FLAGS[flag].meaning} {CALIBRATION_FLAGS[flag].action}" for flag in flags
    ]


@dataclass(frozen=True)
class _Cell:
    """A column: where its value stands in what was measured of a mask, its factor to the shown unit, its digits."""

    part: str
    measure: str
    factor: float
    digits: int

    def read(self, measured: Mapping, region: str) -> str:
        """Return the text of the value of a region; a dash for none."""
        found = (
            measured["areal"].get(region, {})
            if self.part == PROJECTED
            else measured["regions"][region][self.part]
        )
        value = found.get(self.measure)
        return "–" if value is None else fixed(value * self.factor, self.digits)


_COLUMNS = {
    "volume": _Cell("integral", "volume_mm3", 0.001, 1),
    "vbmd": _Cell("integral", "vbmd_mg_cm3", 1.0, 1),
    "trabecular": _Cell("trabecular", "vbmd_mg_cm3", 1.0, 1),
    "bmc": _Cell("integral", "bmc_mg", 0.001, 2),
    "abmd": _Cell(PROJECTED, "abmd_g_cm2", 1.0, 3),
}


def _both(cell: _Cell, predicted: Mapping, reference: Mapping, region: str) -> str:
    """Return the value of the predicted mask and, in brackets, that of the reference."""
    shown = cell.read(predicted, region)
    return f"{shown} ({cell.read(reference, region)})" if reference else shown
