"""Measure how reliably the requested hip is found in simulated people of all positions and fields of view.

Synthetic people of both sexes, 27 to 90 years; the left hip or the right one; some with a nail, some with old bone
and twice the noise; turned by up to 20 degrees about the long axis and 6 degrees about the others, at any place of
the scanner; slices of 2, 3 or 5 mm. The field of view is whole, or ends at a side of the body, leaves one hip, or
cuts the femur itself. Each scan is searched by `locate_hip` and cropped by `crop_image`; the true mask gives the
distance of the femur from the window's borders. Where only one hip is in view, the other one is requested too and
must be refused.

Images have 256 x 256 pixels, each twice as large as those of a 512 x 512 scan, and the window has 96 x 96 pixels:
142 to 188 mm, as 192 x 192 pixels of 0.742 to 0.977 mm. Where the field of view cuts the femur, no window can hold
it, and the margin at that border is not counted.

    python bench/crop_search.py [--quick] [--people N] [--first K]

Prints the failures by number of the person, and one line of JSON. `--first K --people 1` repeats one person.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.anatomy.femur.location import locate_hip
from lib.anatomy.locate import WindowRequest, margins_of, window_center
from lib.anatomy.protocol import Location
from lib.crop_settings import CropConfig
from lib.errors import ScanError
from lib.imaging.crop import CropRecord, crop_image
from lib.imaging.grid import SIDES
from lib.imaging.model_frame import frame_of
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.phantom.people import PhantomConfig, PhantomPerson, phantom_people
from lib.phantom.scan import simulate_scan
from lib.seeding import derive_seed

SEED = 20
LEAST_MARGIN_MM = 10.0
ANATOMY = "proximal-femur"
FIELDS = ("whole", "cut at a side", "one hip", "cuts the femur")
MATRIX = 256
PHANTOM = PhantomConfig(seed=SEED, people=1000, supersampling=1)


@dataclass(frozen=True, kw_only=True)
class View:
    """How one person is seen.

    Attributes:
        side: the requested side.
        nail: a metal nail lies in the requested femur.
        hard: old bone, twice the noise.
        slice_mm: slice thickness.
        turns_xyz_degrees: turns about the patient's axes, through the middle of the scan.
        shift_mm_xy: where the scan lies in the scanner.
        field: one of FIELDS.
        field_draws: three draws from 0 to 1 that fix the field of view.
    """

    side: str
    nail: bool
    hard: bool
    slice_mm: float
    turns_xyz_degrees: tuple[float, float, float]
    shift_mm_xy: tuple[float, float]
    field: str
    field_draws: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one person: findings of the search, and the femur's margins in mm by border of the window."""

    number: int
    view: View
    refused: str = ""
    wrong_side: bool = False
    other_side_taken: bool = False
    doubts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    margins_mm: tuple[tuple[str, float], ...] = ()

    @property
    def least_margin_mm(self) -> float:
        """The smallest margin; minus infinity where no hip was found."""
        return -np.inf if self.refused else min(margin for _, margin in self.margins_mm)

    @property
    def failed(self) -> bool:
        """Whether the femur lies nearer than LEAST_MARGIN_MM to a border, or an absent hip was found."""
        return self.wrong_side or self.other_side_taken or self.least_margin_mm < LEAST_MARGIN_MM


def draw_view(number: int) -> View:
    """Draw how person `number` is seen."""
    rng = np.random.default_rng(derive_seed(SEED, "crop search", number))
    return View(
        side=("left", "right")[rng.integers(2)],
        nail=bool(rng.random() < 0.15),
        hard=bool(rng.random() < 0.2),
        slice_mm=float(rng.choice([2.0, 3.0, 5.0])),
        turns_xyz_degrees=tuple(float(v) for v in rng.uniform(-1, 1, 3) * [6.0, 6.0, 20.0]),
        shift_mm_xy=tuple(float(v) for v in rng.uniform(-80, 80, 2)),
        field=FIELDS[rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])],
        field_draws=tuple(float(v) for v in rng.random(3)),
    )


def make_scan(number: int, view: View, matrix: int) -> tuple[sitk.Image, sitk.Image]:
    """Return the scan (int16 HU) of person `number` in this view and the mask of the requested femur."""
    person: PhantomPerson = replace(
        phantom_people(PHANTOM)[number],
        side=view.side,
        defect="metal_nail" if view.nail else "",
        variant="hard" if view.hard else "standard",
    )
    made = simulate_scan(replace(PHANTOM, slice_mm=view.slice_mm, matrix=matrix), person)
    images = [sitk.GetImageFromArray(array) for array in (made.hu_zyx, made.mask_zyx)]
    for image in images:
        image.SetSpacing(made.grid.spacing_xyz_mm)
        image.SetOrigin(made.grid.origin_xyz_mm)
    image, mask = _turned(*images, view.turns_xyz_degrees)
    x, y = field_of_view(_ranges(mask), mask, view)
    image, mask = image[x, y, :], mask[x, y, :]
    for part in (image, mask):
        origin_xy = [o + s for o, s in zip(part.GetOrigin(), view.shift_mm_xy, strict=False)]
        part.SetOrigin([*origin_xy, part.GetOrigin()[2]])
    return image, mask


def field_of_view(femur: tuple[slice, slice], mask: sitk.Image, view: View) -> tuple[slice, slice]:
    """Return the index ranges (x, y) of the scan that the field of view leaves.

    Args:
        femur: index ranges (x, y) of the requested femur.
        mask: its mask, in the whole field of view.
        view: what is seen of it.
    """
    wide, high, _ = mask.GetSize()
    pixel_mm = mask.GetSpacing()[0]
    a, b, c = view.field_draws
    lateral_is_high = view.side == "left"
    x, y = slice(0, wide), slice(0, high)
    if view.field == "cut at a side":
        low, end = femur[0].start - 25 / pixel_mm, femur[0].stop + 25 / pixel_mm
        x = slice(round(a * low), wide) if b < 0.5 else slice(0, round(wide - a * (wide - end)))
    elif view.field == "one hip":
        # the midline lies about 45 mm medial of the head's inner end
        medial, lateral = (30 + 35 * a) / pixel_mm, (15 + 60 * b) / pixel_mm
        low, high_x = (medial, lateral) if lateral_is_high else (lateral, medial)
        x = slice(round(femur[0].start - low), round(femur[0].stop + high_x))
        depth = (25 + 50 * c) / pixel_mm
        y = slice(round(femur[1].start - depth), round(femur[1].stop + depth))
    elif view.field == "cuts the femur":
        inside = (3 + 12 * a) / pixel_mm
        x = (
            slice(0, round(femur[0].stop - inside))
            if lateral_is_high
            else slice(round(femur[0].start + inside), wide)
        )
    return slice(max(0, x.start), min(wide, x.stop)), slice(max(0, y.start), min(high, y.stop))


def true_margins(mask: sitk.Image, record: CropRecord) -> dict[str, float]:
    """Return the femur's distance in mm from each border of the window, without borders where the view cuts it."""
    margins_mm = {}
    for axis, (femur, start, n, count) in enumerate(
        zip(_ranges(mask), record.start_xyz, record.size_xyz, mask.GetSize(), strict=False)
    ):
        step_mm = mask.GetSpacing()[axis]
        medial, lateral = ("right", "left") if axis == 0 else ("anterior", "posterior")
        if femur.start > 0:
            margins_mm[medial] = (femur.start - start) * step_mm
        if femur.stop < count:
            margins_mm[lateral] = (start + n - femur.stop) * step_mm
    return margins_mm


def search(number: int, matrix: int = MATRIX) -> Outcome:
    """Search for the hip of person `number`, crop it and measure; `matrix` pixels stand for 512."""
    view = draw_view(number)
    image, mask = make_scan(number, view, matrix)
    config = CropConfig(size=(192 * matrix // 512, 192 * matrix // 512))
    try:
        hip = locate_hip(image, view.side, config)
    except ScanError as error:
        return Outcome(number=number, view=view, refused=str(error))
    asked = WindowRequest(anatomy=ANATOMY, side=view.side)
    _, record = crop_image(
        image,
        window_center(image, asked, config, hip),
        config,
        margins_of(ANATOMY, config),
        fixed_range(IntensityConfig()),
        frame_of(view.side, "z", "z"),
    )
    return Outcome(
        number=number,
        view=view,
        wrong_side=_is_wrong_side(hip, mask),
        other_side_taken=view.field == "one hip" and _is_found(image, SIDES[view.side == "left"], config),
        doubts=hip.doubts,
        flags=record.flags,
        margins_mm=tuple(true_margins(mask, record).items()),
    )


def main() -> None:
    """Search in all people and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 people")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first person, from 0")
    given = parser.parse_args()
    people = 20 if given.quick else given.people
    begun = time.process_time()
    outcomes = [search(number) for number in range(given.first, given.first + people)]
    for outcome in outcomes:
        if outcome.failed:
            print(describe(outcome))
    print(json.dumps(summarize(outcomes) | {"cpu_s": round(time.process_time() - begun)}))


def describe(outcome: Outcome) -> str:
    """Return a failure in words."""
    what = outcome.refused or ", ".join(f"{border} {mm:.1f} mm" for border, mm in outcome.margins_mm)
    side = "wrong side; " * outcome.wrong_side + "other side found too; " * outcome.other_side_taken
    return f"person {outcome.number}: {side}{what}; {outcome.view}; doubts: {'; '.join(outcome.doubts) or 'none'}"


def summarize(outcomes: list[Outcome]) -> dict:
    """Return the counts of the run."""
    found = [outcome for outcome in outcomes if not outcome.refused]
    margins_mm = [outcome.least_margin_mm for outcome in found]
    return {
        "people": len(outcomes),
        "found": len(found),
        "wrong_side": sum(outcome.wrong_side for outcome in found),
        "margin_below_10_mm": sum(margin < LEAST_MARGIN_MM for margin in margins_mm),
        "other_side_taken": sum(outcome.other_side_taken for outcome in found),
        "failed": sum(outcome.failed for outcome in outcomes),
        "uncertain": sum(bool(outcome.doubts) for outcome in found),
        "uncertain_by_field": {
            field: f"{sum(bool(o.doubts) for o in found if o.view.field == field)} of "
            f"{sum(o.view.field == field for o in found)}"
            for field in FIELDS
        },
        "cut_femurs_flagged": f"{sum('bone_at_border' in o.flags for o in found if o.view.field == FIELDS[-1])} of "
        f"{sum(o.view.field == FIELDS[-1] for o in found)}",
        "least_margin_mm": round(float(min(margins_mm, default=np.nan)), 1),
        "median_margin_mm": round(float(np.median(margins_mm)), 1),
    }


def _turned(
    image: sitk.Image, mask: sitk.Image, turns_xyz_degrees: tuple[float, float, float]
) -> tuple[sitk.Image, sitk.Image]:
    """Return image and mask turned about the middle of the scan; the corners are filled with air."""
    middle = image.TransformContinuousIndexToPhysicalPoint([0.5 * (n - 1) for n in image.GetSize()])
    turn = sitk.Euler3DTransform(middle, *np.radians(turns_xyz_degrees).tolist())
    share = sitk.Cast(mask, sitk.sitkFloat32)
    return (
        sitk.Resample(image, image, turn, sitk.sitkLinear, -1024),
        sitk.Resample(share, image, turn, sitk.sitkLinear, 0.0) >= 0.5,
    )


def _ranges(mask: sitk.Image) -> tuple[slice, slice]:
    """Return the index ranges (x, y) of a mask."""
    flat = sitk.GetArrayViewFromImage(mask).any(axis=0)
    x, y = (np.flatnonzero(flat.any(axis=axis)) for axis in (0, 1))
    return slice(int(x[0]), int(x[-1]) + 1), slice(int(y[0]), int(y[-1]) + 1)


def _is_found(image: sitk.Image, side: str, config: CropConfig) -> bool:
    """Whether the search finds a hip of `side`."""
    try:
        locate_hip(image, side, config)
    except ScanError:
        return False
    return True


def _is_wrong_side(hip: Location, mask: sitk.Image) -> bool:
    """Whether the found centre lies further from the femur's middle than the heads of one person lie apart."""
    x = _ranges(mask)[0]
    middle_mm = mask.GetOrigin()[0] + mask.GetSpacing()[0] * 0.5 * (x.start + x.stop - 1)
    return abs(hip.center_mm_xy[0] - middle_mm) > 80.0


if __name__ == "__main__":
    main()
