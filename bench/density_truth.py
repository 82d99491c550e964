"""Calibrations and densities of a finished synthetic study against the truth of its people.

python bench/density_truth.py STUDY    (the folder that holds results/; its cohort has `phantom.density_phantom`)

Two truths: `drawn` is the bone as it was drawn, `in mask` what the reference mask holds of the blurred image without
noise. The blur of a CT takes mineral of the thin cortex out of any mask, so the first cannot be reached by dividing a
mask; the second tells what the measurement itself adds.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

REGIONS = ("femur", "head", "neck", "trochanter", "total")


def main() -> None:
    """Print mean, SD and largest error of each measure over the people of the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    results = parser.parse_args().study / "results"
    errors: dict[str, list[float]] = defaultdict(list)
    for path in sorted((results / "calibrated").glob("*.json")):
        truth = _read(results / f"phantom/{path.stem}/truth.json")["calibration"]
        for name, error in _calibration_errors(_read(path), truth):
            errors[name].append(error)
    for path in sorted((results / "measured").glob("*/*/*/*.json")):
        truth = _read(results / f"phantom/{path.stem}/truth.json")
        if path.parent.name != "single" and truth["defect"] in ("", "repeat"):
            for name, error in _density_errors(_read(path).get("density", {}), truth):
                errors[name].append(error)
    print(f"{'measure':<58} {'n':>4} {'mean':>8} {'SD':>7} {'largest':>8}")
    for name, found in errors.items():
        values = np.array(found)
        spread = values.std(ddof=1) if len(values) > 1 else np.nan
        print(
            f"{name:<58} {len(values):>4} {values.mean():>8.2f} {spread:>7.2f} {np.abs(values).max():>8.2f}"
        )


def _read(path: Path) -> dict:
    return json.loads(path.read_text())


def _calibration_errors(found: Mapping, truth: Mapping) -> Iterator[tuple[str, float]]:
    if found["slope_hu_per_mg_cm3"] is None or found["method"] != "phantom":
        return
    slope, intercept = truth["slope_hu_per_mg_cm3"], truth["intercept_hu"]
    yield "slope, %", 100 * (found["slope_hu_per_mg_cm3"] / slope - 1)
    yield "intercept, HU", found["intercept_hu"] - intercept


def _density_errors(section: Mapping, truth: Mapping) -> Iterator[tuple[str, float]]:
    """Yield errors of the femur's densities in both masks: percent, of trabecular bone also mg/cm3."""
    femur = section.get("femur", {})
    for mask in ("reference", "predicted"):
        found = femur.get(mask)
        for told, suffix in (("drawn", ""), ("in mask", "_in_mask")) if found else ():
            for region in REGIONS:
                true = truth["density" + suffix].get(region)
                if not true:
                    continue
                here = f"{mask} against {told}: {region}"
                integral = found["regions"][region]["integral"]
                for measure in ("bmc_mg", "vbmd_mg_cm3"):
                    if integral[measure] is not None:
                        yield (
                            f"{here} integral {measure}, %",
                            100 * (integral[measure] / true["integral"][measure] - 1),
                        )
                value = found["regions"][region]["trabecular"]["vbmd_mg_cm3"]
                if value is not None:
                    yield f"{here} trabecular, mg/cm3", value - true["trabecular_peeled"]["vbmd_mg_cm3"]
            for roi, true in truth["areal" + suffix].items():
                value = found["areal"][roi]["abmd_g_cm2"]
                if value is not None:
                    yield f"{mask} against {told}: {roi} aBMD, %", 100 * (value / true["abmd_g_cm2"] - 1)


if __name__ == "__main__":
    main()
