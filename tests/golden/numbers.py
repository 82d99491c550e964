"""Numbers of the small study that are reproducible on other processors, each with a tolerance.

Bits differ between processors, precisions and numbers of threads. Measurements of images and references hardly
change; predictions of a network change with its training, and only their mean over all people is kept.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import SimpleITK as sitk

from tests.study import read_rows, write_rows

EXPECTED = Path(__file__).parent / "expected.csv"
IMAGES = ("converted", "resampled", "cropped")

# Largest allowed difference from the kept number, by measure.
# Images and references: a processor with AVX-512 gave the same bits with NumPy and OpenBLAS limited to AVX2 and to
# SSE4.2. An error of 0.001 in one weight of the resampling, or of 0.01 pixels, changes an image by more than is
# allowed; the smallest step of a volume, a voxel, is 20 to 70 mm3.
# Trainings: bf16 with one and with two threads, and float32 with AVX-512 and with PyTorch and oneDNN limited to AVX2
# and to SSE4.1, differed by up to 0.0013 (first loss), 0.0086 (last loss), 0.045 (mean Dice) and 11 percentage points
# (mean volume in percent of the reference). About twice that is allowed.
TOLERANCES = {
    "hu_mean": 0.0005,
    "hu_sd": 0.0005,
    "hu_step": 0.0005,
    "crop_x_mm": 0.001,
    "crop_y_mm": 0.001,
    "head_z_mm": 0.001,
    "reference_mm3": 1,
    "reference_native_mm3": 1,
    "reference_cut_mm3": 1,
    "reference_lesser_trochanter_mm": 0.01,
    "people": 0,
    "first_loss": 0.004,
    "last_loss": 0.02,
    "dsc": 0.1,
    "predicted_percent": 25,
}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number of the study, for a scan's image or for all people of a group's predictions."""

    what: str
    measure: str
    value: float


def read_numbers(results: Path) -> list[Number]:
    """Return the numbers of a finished study; `results` is its results folder."""
    scans = [row["scan"] for row in read_rows(results / "cohort/scans.csv") if row["verdict"] == "ok"]
    found = [number for scan in scans for number in (*_of_images(results, scan), *_of_crop(results, scan))]
    return [*found, *_of_references(results), *_of_trainings(results), *_of_predictions(results)]


def _of_images(results: Path, scan: str) -> Iterator[Number]:
    for stage in IMAGES:
        image_zyx = sitk.GetArrayFromImage(sitk.ReadImage(str(results / stage / scan / "image.nii.gz")))
        for measure, value in measure_image(image_zyx).items():
            yield Number(what=f"{stage}/{scan}", measure=measure, value=value)


def measure_image(image_zyx: np.ndarray) -> dict[str, float]:
    """Return mean, SD and mean step from slice to slice (HU) of an image; the step tells a shift along z."""
    hu = image_zyx.astype(np.float64)
    return {"hu_mean": hu.mean(), "hu_sd": hu.std(), "hu_step": np.abs(np.diff(hu, axis=0)).mean()}


def _of_crop(results: Path, scan: str) -> Iterator[Number]:
    crop = json.loads((results / f"cropped/{scan}/crop.json").read_text(encoding="utf-8"))
    located = json.loads((results / f"screened/{scan}.json").read_text(encoding="utf-8"))["location"]
    for measure, value in zip(("crop_x_mm", "crop_y_mm"), crop["center_mm_xy"], strict=True):
        yield Number(what=f"cropped/{scan}", measure=measure, value=value)
    if "head_z_mm" in located["evidence"]:
        yield Number(what=f"screened/{scan}", measure="head_z_mm", value=located["evidence"]["head_z_mm"])


def _of_references(results: Path) -> Iterator[Number]:
    rows = {row["scan"]: row for row in read_rows(results / "tables/metrics.csv")}
    for scan, row in sorted(rows.items()):
        for measure in TOLERANCES:
            if measure.startswith("reference_") and row[measure]:
                yield Number(what=f"reference/{scan}", measure=measure, value=float(row[measure]))


def _of_trainings(results: Path) -> Iterator[Number]:
    for path in sorted((results / "models").glob("*/*/fold-*/history.csv")):
        losses = [float(row["loss"]) for row in read_rows(path)]
        what = path.parent.relative_to(results).as_posix()
        yield Number(what=what, measure="first_loss", value=losses[0])
        yield Number(what=what, measure="last_loss", value=losses[-1])


def _of_predictions(results: Path) -> Iterator[Number]:
    rows = read_rows(results / "tables/metrics.csv")
    for what in sorted({(row["group"], row["protocol"]) for row in rows}):
        scored = [row for row in rows if (row["group"], row["protocol"]) == what]
        told = {"people": len(scored), "dsc": fmean(float(row["dsc"]) for row in scored)}
        volumes = [100 * float(row["predicted_mm3"]) / float(row["reference_mm3"]) for row in scored]
        for measure, value in (told | {"predicted_percent": fmean(volumes)}).items():
            yield Number(what="/".join(("predictions", *what)), measure=measure, value=value)


def moved(found: list[Number]) -> list[str]:
    """Return the differences from expected.csv as text: which number, kept value, found value, difference."""
    kept = {(row["what"], row["measure"]): float(row["value"]) for row in read_rows(EXPECTED)}
    there = {(number.what, number.measure): number.value for number in found}
    told = [f"{' '.join(key)}: kept, but the study has no such number" for key in kept.keys() - there.keys()]
    told += [f"{' '.join(key)}: the study has it, but it is not kept" for key in there.keys() - kept.keys()]
    for (what, measure), value in there.items():
        expected = kept.get((what, measure), value)
        if not abs(value - expected) <= TOLERANCES[measure]:  # true for NaN too
            share = 100 * (value - expected) / expected if expected else math.nan
            told.append(
                f"{what} {measure}: {expected:g} -> {value:g}, moved by {value - expected:+.3g} ({share:+.2g} %); "
                f"allowed {TOLERANCES[measure]:g}"
            )
    return sorted(told)


def write_expected(found: list[Number]) -> None:
    """Keep the numbers."""
    write_rows(
        EXPECTED,
        [
            {"what": number.what, "measure": number.measure, "value": f"{number.value:.9g}"}
            for number in found
        ],
    )
