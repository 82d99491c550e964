"""Measure whether screening accepts correct reference masks and refuses masks that are not a femur.

People of the shape model of both sexes, 27 to 90 years, left and right hips, and people of the hard variant (thin
cortex, low density, twice the noise), as image files of 256 x 256 pixels. Each reference is screened as in the
workflow, whole and without the lowest fifth, third and half of its slices. The reference of every twelfth person is
also screened turned over, moved, hollow, thinned out and spoilt in other ways.

    python bench/references.py [--people N] [--hard N] [--first K] [--keep FOLDER]

Prints each person's margins, the wrong verdicts, and one line of JSON. `--keep` saves the simulated people in a
folder and reads them from there the next time.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.anatomy.femur.reference import judge_reference, measure_edge
from lib.catalog.reasons import Reason, is_rejected
from lib.crop_settings import CropConfig
from lib.imaging.nifti import write_image
from lib.phantom.people import PhantomConfig, PhantomPerson, phantom_people
from lib.phantom.scan import simulate_scan
from lib.screening.screen_scan import ScanRequest, Screening, screen_scan
from lib.screening_settings import ScreeningConfig

PHANTOM = PhantomConfig(matrix=256, supersampling=2)
WHOLE = "100%"
KEPT = (1.0, 0.8, 0.67, 0.5)  # share of a femur's slices, from the top
SPOILT_EVERY = 12


@dataclass
class Tally:
    """Counts of references by their correct verdict, wrong verdicts, warnings; edges and sizes of the good ones."""

    good: int = 0
    bad: int = 0
    wrong: list[str] = field(default_factory=list)
    warnings: Counter = field(default_factory=Counter)
    edges: list[tuple[float, float, float]] = field(default_factory=list)
    sizes: list[tuple[float, float]] = field(default_factory=list)


def people(count: int, hard: int) -> list[PhantomPerson]:
    """Return people; every second one is asked for the right hip."""
    made = phantom_people(replace(PHANTOM, people=count, hard_people=hard))
    return [replace(one, side="right" if int(one.scan[1:]) % 2 == 0 else "left") for one in made]


def simulated(person: PhantomPerson, keep: Path | None) -> tuple[sitk.Image, np.ndarray]:
    """Return CT and mask (z, y, x) of a person, read from `keep` if they are saved there."""
    path = keep / f"m256_{person.scan}.npz" if keep else None
    if path and path.exists():
        saved = np.load(path)
        hu_zyx, mask_zyx, origin, spacing = (saved[name] for name in ("hu", "mask", "origin", "spacing"))
    else:
        scan = simulate_scan(PHANTOM, person)
        hu_zyx, mask_zyx = scan.hu_zyx.astype(np.int16), scan.mask_zyx
        origin, spacing = scan.grid.origin_xyz_mm, scan.grid.spacing_xyz_mm
        if path:
            np.savez_compressed(path, hu=hu_zyx, mask=mask_zyx, origin=origin, spacing=spacing)
    image = sitk.GetImageFromArray(hu_zyx)
    image.SetOrigin([float(n) for n in origin])
    image.SetSpacing([float(n) for n in spacing])
    return image, mask_zyx


def good_references(femur_zyx: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield correct references, cut at several levels."""
    slices = np.flatnonzero(femur_zyx.any(axis=(1, 2)))
    for share in KEPT:
        kept = femur_zyx.copy()
        kept[: slices[-1] + 1 - round(share * len(slices))] = 0
        yield f"{share:.0%}", kept


def spoilt_references(femur_zyx: np.ndarray, image: sitk.Image) -> Iterator[tuple[str, np.ndarray]]:
    """Yield references that are not a femur."""
    x_mm, y_mm, z_mm = image.GetSpacing()
    for axis, name in enumerate(("upside down", "back to front", "left is right")):
        yield name, np.flip(femur_zyx, axis)
        yield f"{name} in place", _turned_over(femur_zyx, axis)
    for axis, step_mm in enumerate((z_mm, y_mm, x_mm)):
        yield f"20 mm along {'zyx'[axis]}", np.roll(femur_zyx, round(20 / step_mm), axis)
    yield "shell", femur_zyx * (_eroded(femur_zyx, round(3 / x_mm)) == 0)
    yield "core", _eroded(femur_zyx, round(5 / x_mm))
    yield "inverted", 1 - femur_zyx
    yield "CT", (sitk.GetArrayViewFromImage(image) > -500).astype(np.uint8)
    thinned = femur_zyx.copy()
    thinned[np.arange(len(thinned)) % 5 != 0] = 0
    yield "every fifth slice", thinned


def _turned_over(femur_zyx: np.ndarray, axis: int) -> np.ndarray:
    ends = np.flatnonzero(femur_zyx.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]]
    place = tuple(slice(ends[0], ends[1] + 1) if k == axis else slice(None) for k in range(3))
    made = np.zeros_like(femur_zyx)
    made[place] = np.flip(femur_zyx[place], axis)
    return made


def _eroded(femur_zyx: np.ndarray, radius: int) -> np.ndarray:
    image = sitk.GetImageFromArray(femur_zyx)
    return sitk.GetArrayFromImage(sitk.BinaryErode(image, [radius, radius, 0], sitk.sitkBall))


def judge(
    person: PhantomPerson, image: sitk.Image, femur_zyx: np.ndarray, tally: Tally, folder: Path
) -> None:
    """Screen every reference of one person."""
    write_image(image, folder / "scan.nii.gz")

    def screened(mask_zyx: np.ndarray) -> Screening:
        mask = sitk.GetImageFromArray(np.ascontiguousarray(mask_zyx))
        mask.CopyInformation(image)
        write_image(mask, folder / "mask.nii.gz")
        request = ScanRequest(side=person.side, mask=folder / "mask.nii.gz")
        return screen_scan(folder / "scan.nii.gz", request, ScreeningConfig(), CropConfig())

    for name, mask_zyx in good_references(femur_zyx):
        mask = sitk.GetImageFromArray(mask_zyx)
        mask.CopyInformation(image)
        reasons = screened(mask_zyx).reasons if name == WHOLE else tuple(judge_reference(mask, image))
        tally.good += 1
        tally.warnings.update(reason.code for reason in reasons if reason.severity == "warning")
        if is_rejected(reasons):
            tally.wrong.append(f"{person.scan} {person.side} {name}: refused, {_words(reasons)}")
        edge = measure_edge(mask, image)
        tally.edges.append((edge.near_bone, edge.near_bone - edge.near_aside, edge.contrast_hu))
        areas_mm2 = np.count_nonzero(mask_zyx, axis=(1, 2)) * np.prod(image.GetSpacing()[:2])
        tally.sizes.append((1e-3 * areas_mm2.sum() * image.GetSpacing()[2], 1e-2 * areas_mm2.max()))
        print(
            f"{person.scan} {person.side} {name}: {edge.near_bone:.2f} near bone, {edge.near_aside:.2f} aside, "
            f"{edge.contrast_hu:.0f} HU, "
            f"{tally.sizes[-1][0]:.0f} ml, up to {tally.sizes[-1][1]:.0f} cm2",
            flush=True,
        )
    if int(person.scan[1:]) % SPOILT_EVERY == 0:
        for name, mask_zyx in spoilt_references(femur_zyx, image):
            reasons = screened(mask_zyx).reasons
            tally.bad += 1
            if not is_rejected(reasons):
                tally.wrong.append(f"{person.scan} {person.side} {name}: accepted, {_words(reasons)}")


def _words(reasons: Iterable[Reason]) -> str:
    return "; ".join(f"{reason.code}: {reason.found}" for reason in reasons)


def main() -> None:
    """Simulate, screen and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--hard", type=int, default=60)
    parser.add_argument("--first", type=int, default=1, help="number of the first person, from 1")
    parser.add_argument("--keep", type=Path, help="folder for simulated people")
    options = parser.parse_args()
    tally, scans = Tally(), people(options.people, options.hard)[options.first - 1 :]
    with tempfile.TemporaryDirectory() as name:
        for person in scans:
            judge(person, *simulated(person, options.keep), tally, Path(name))
    print("\n".join(tally.wrong))
    (near, gain, contrast), (volume_ml, largest_cm2) = np.array(tally.edges).T, np.array(tally.sizes).T
    row = {
        "people": len(scans),
        "good": tally.good,
        "good_refused": sum(": refused" in line for line in tally.wrong),
        "bad": tally.bad,
        "bad_accepted": sum(": accepted" in line for line in tally.wrong),
        "warnings": dict(tally.warnings),
        "least_near_bone": round(float(near.min()), 3),
        "least_gain": round(float(gain.min()), 3),
        "least_contrast_hu": round(float(contrast.min()), 1),
        "volume_ml": [round(float(n)) for n in (volume_ml.min(), volume_ml.max())],
        "largest_slice_cm2": round(float(largest_cm2.max()), 1),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
