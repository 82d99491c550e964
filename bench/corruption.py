"""Measure whether disagreement of the fold models detects wrong masks, on scans damaged by increasing degrees.

The scans are those of a finished study that have a reference and were not used for training (sets test and external).
Each is damaged in one way and strength at a time, predicted by the ensemble and scored against its reference. The
script prints medians by damage and strength, the AUROC with which each sign separates failures (DSC below 0.9) from
successes, and the share of both below limits of the member Dice. Rows of one scan are not independent: the AUROC is
descriptive, not a test.

    python bench/corruption.py STUDY [--quick]      (STUDY: the folder that holds results/)
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score, roc_curve

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.atomic import read_json, whole_file
from lib.cohort.scans import read_folds
from lib.imaging.binarise import threshold_mask
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image, read_mask
from lib.intensity_scale import fixed_range
from lib.learning.determinism import prepare_torch
from lib.learning.predict import Ensemble, load_models, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.mask_settings import MaskConfig
from lib.seeding import derive_seed
from lib.stats.tables import write_table

FAILURE_DSC = 0.9  # a mask below this has failed
LIMITS = (0.80, 0.85, 0.90, 0.93, 0.95, 0.97, 0.98, 0.99)  # of the member Dice
AIR_HU, HIGHEST_HU = -1024, 3071  # range of a 12-bit scanner

STREAKS = 8  # bright rays around metal, with as many dark ones between them
STREAK_HU_PER_MM = 50.0  # height of a streak beside the metal, for each mm of its radius
STREAK_REACH_MM = 30.0  # distance from the metal in which streaks fall to 1/e

SIGNS = {
    "1 - member Dice": lambda rows: 1 - rows["member_dice"],
    "mean entropy": lambda rows: rows["mean_entropy_bits"],
    "Otsu guard": lambda rows: rows["otsu_guard"].astype(float),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scan as the model sees it, always a left hip.

    Attributes:
        scan: id.
        image_zyx: int16 HU (z, y, x), index 0 of z distal, high x lateral.
        reference_zyx: bool (z, y, x).
        spacing_mm_zyx: voxel size.
    """

    scan: str
    image_zyx: np.ndarray
    reference_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One kind of damage: the function that applies it, the strengths and their unit."""

    corrupt: Callable[[Case, float, np.random.Generator], Case]
    strengths: tuple[float, ...]
    unit: str


def leave(case: Case, strength: float, generator: np.random.Generator) -> Case:
    """Return the scan as it is."""
    return case


def add_noise(case: Case, sd_hu: float, generator: np.random.Generator) -> Case:
    """Add Gaussian noise of standard deviation `sd_hu`, HU, independent between voxels."""
    return _with_hu(case, case.image_zyx + generator.normal(0, sd_hu, case.image_zyx.shape))


def shift_hu(case: Case, shift: float, generator: np.random.Generator) -> Case:
    """Add `shift`, HU, to every voxel, as a wrong rescale intercept does."""
    return _with_hu(case, case.image_zyx + shift)


def cut_field(case: Case, share: float, generator: np.random.Generator, *, axis: int, at_end: bool) -> Case:
    """Fill the image with air beyond a plane across `axis`, so that `share` of the bone's extent is lost.

    The reference is cut too, so that the mask is scored only where there is an image. No method can mark bone that
    was not imaged, and counting it would make every short scan a failure.
    """
    others = tuple(other for other in range(3) if other != axis)
    held = np.flatnonzero(case.reference_zyx.any(axis=others))
    lost = round(share * (held[-1] + 1 - held[0]))
    gone = [slice(None)] * 3
    gone[axis] = slice(held[-1] + 1 - lost, None) if at_end else slice(held[0] + lost)
    image_zyx, reference_zyx = case.image_zyx.copy(), case.reference_zyx.copy()
    image_zyx[tuple(gone)], reference_zyx[tuple(gone)] = AIR_HU, False
    return replace(case, image_zyx=image_zyx, reference_zyx=reference_zyx)


def add_metal(case: Case, radius_mm: float, generator: np.random.Generator) -> Case:
    """Put a straight metal rod along z through the shaft, with streaks in the plane of each slice.

    The rod stands at the centre of the reference's distal quarter, as a nail does, and counts as bone. Streaks:
    STREAK_HU_PER_MM * radius * cos(STREAKS * angle) * exp(-(distance - radius) / STREAK_REACH_MM).
    """
    held = np.flatnonzero(case.reference_zyx.any(axis=(1, 2)))
    shaft = case.reference_zyx[: held[0] + len(held) // 4 + 1]
    center_yx = np.argwhere(shaft).mean(axis=0)[1:]
    steps_yx = np.indices(case.image_zyx.shape[1:]) - center_yx[:, None, None]
    y_mm, x_mm = steps_yx * np.array(case.spacing_mm_zyx[1:])[:, None, None]
    distance_mm = np.hypot(y_mm, x_mm)
    fading = np.exp(-np.maximum(distance_mm - radius_mm, 0) / STREAK_REACH_MM)
    streaks = STREAK_HU_PER_MM * radius_mm * np.cos(STREAKS * np.arctan2(y_mm, x_mm)) * fading
    return _with_hu(case, np.where(distance_mm <= radius_mm, HIGHEST_HU, case.image_zyx + streaks))


def mirror(case: Case, strength: float, generator: np.random.Generator) -> Case:
    """Mirror image and reference in x, as if a right hip had been declared a left one."""
    mirrored = {name: getattr(case, name)[..., ::-1].copy() for name in ("image_zyx", "reference_zyx")}
    return replace(case, **mirrored)


DAMAGES = {
    "none": Damage(corrupt=leave, strengths=(0.0,), unit=""),
    "noise": Damage(corrupt=add_noise, strengths=(25.0, 50.0, 100.0, 200.0, 400.0), unit="SD, HU"),
    "shift": Damage(corrupt=shift_hu, strengths=(-500.0, -200.0, -50.0, 50.0, 200.0, 500.0), unit="HU"),
    **{
        f"missing {part}": Damage(
            corrupt=partial(cut_field, axis=axis, at_end=at_end),
            strengths=(0.1, 0.25, 0.4, 0.6),
            unit="share of the bone's extent",
        )
        for part, axis, at_end in (("distal", 0, False), ("proximal", 0, True), ("lateral", 2, True))
    },
    "metal": Damage(corrupt=add_metal, strengths=(4.0, 8.0, 12.0, 16.0), unit="radius, mm"),
    "wrong side": Damage(corrupt=mirror, strengths=(1.0,), unit=""),
}


def read_cases(results: Path) -> Iterator[Case]:
    """Yield the scans that have a reference and were not used for training, in the model's orientation."""
    for placement in read_folds(results / "folds" / "folds.csv"):
        if placement.has_mask and placement.set in ("test", "external"):
            folder = results / "cropped" / placement.scan
            frame = ModelFrame(**read_json(folder / "crop.json")["frame"])
            image, mask = read_image(folder / "image.nii.gz"), read_mask(folder / "labels.nii.gz")
            yield Case(
                scan=placement.scan,
                image_zyx=frame.to_model(array_zyx(image)),
                reference_zyx=frame.to_model(array_zyx(mask)) > 0,
                spacing_mm_zyx=frame.spacing(spacing_zyx(image)),
            )


def judge(case: Case, ensemble: Ensemble) -> dict:
    """Return the DSC against the reference and the signs of failure that need no reference.

    Where no member finds bone the signs take their worst values (Dice 0, entropy 1 bit), because such a scan needs
    review too.
    """
    predicted = predict_scan(ensemble, case.image_zyx, fixed_range(ensemble.intensity), PredictConfig())
    otsu = threshold_mask(predicted.probability_zyx, MaskConfig())
    shared = np.count_nonzero(case.reference_zyx & (otsu.mask_zyx > 0))
    (unsure,) = predicted.disagreements.values()
    return {
        "dsc": 2 * shared / (np.count_nonzero(case.reference_zyx) + np.count_nonzero(otsu.mask_zyx)),
        "member_dice": 0.0 if unsure.undefined else unsure.member_dice,
        "mean_entropy_bits": 1.0 if unsure.undefined else unsure.mean_entropy_bits,
        "otsu_guard": otsu.fallback,
    }


def judge_damaged(case: Case, ensemble: Ensemble, quick: bool) -> Iterator[dict]:
    """Yield a row for each damage and strength of one scan; `quick`: only the weakest and the strongest."""
    for kind, damage in DAMAGES.items():
        strengths = dict.fromkeys((damage.strengths[0], damage.strengths[-1])) if quick else damage.strengths
        for strength in strengths:
            generator = np.random.default_rng(derive_seed(0, case.scan, kind, str(strength)))
            damaged = damage.corrupt(case, strength, generator)
            yield {"scan": case.scan, "damage": kind, "strength": strength} | judge(damaged, ensemble)


def median_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return n, failures, medians and the share stopped by the Otsu guard, by damage and strength."""
    failed = rows.assign(failed=rows["dsc"] < FAILURE_DSC)
    return (
        failed.groupby(["damage", "strength"], sort=False)
        .agg(
            n=("dsc", "size"),
            failed=("failed", "sum"),
            median_dsc=("dsc", "median"),
            median_member_dice=("member_dice", "median"),
            median_entropy_bits=("mean_entropy_bits", "median"),
            otsu_guard_share=("otsu_guard", "mean"),
        )
        .reset_index()
    )


def auroc(rows: pd.DataFrame) -> dict[str, float | None]:
    """Return for each sign the AUROC of failures against successes; None where there is only one class."""
    failed = rows["dsc"] < FAILURE_DSC
    if failed.nunique() < 2:
        return dict.fromkeys(SIGNS)
    return {name: float(roc_auc_score(failed, sign(rows))) for name, sign in SIGNS.items()}


def limit_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return for each limit of the member Dice the shares of failures and of successes below it."""
    failed = rows["dsc"] < FAILURE_DSC
    return pd.DataFrame(
        {
            "review_member_dice": limit,
            "failures_flagged": (rows.loc[failed, "member_dice"] < limit).mean(),
            "successes_flagged": (rows.loc[~failed, "member_dice"] < limit).mean(),
        }
        for limit in LIMITS
    )


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw the medians by strength for each damage, DSC against member Dice, and the ROC curves as a PNG."""
    figure, axes = plt.subplots(2, 4, figsize=(15, 7), layout="constrained")
    medians = median_table(rows).groupby("damage", sort=False)
    graded = [kind for kind, damage in DAMAGES.items() if len(damage.strengths) > 1]
    for axis, kind in zip(axes.flat, graded, strict=False):
        _draw_medians(axis, medians.get_group(kind), kind)
    _draw_scatter(axes.flat[-2], rows)
    _draw_roc(axes.flat[-1], rows)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


def print_table(table: pd.DataFrame) -> None:
    """Print a readable table, followed by an empty line."""
    print(table.to_string(index=False, float_format="{:.3f}".format), end="\n\n")


def main() -> None:
    """Judge the damaged scans, print and write the tables, draw the figure; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="folder that holds results/ of a finished study")
    parser.add_argument("--models", default="all/vnet", help="group/network whose folds predict together")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "corruption", help="for CSV and PNG"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="two scans, two strengths: a dry run")
    options = parser.parse_args()
    begin, results = time.perf_counter(), options.study / "results"
    prepare_torch(reproducible=True, threads=options.threads)
    ensemble = load_models(sorted((results / "models" / options.models).glob("fold-*/model.pt")), "best")
    cases = list(read_cases(results))[: 2 if options.quick else None]
    rows = pd.DataFrame(row for case in cases for row in judge_damaged(case, ensemble, options.quick))
    for name, table in (("medians", median_table(rows)), ("limits", limit_table(rows))):
        print_table(table)
        write_table(table, options.out / f"{name}.csv")
    write_table(rows, options.out / "scans.csv")
    draw(rows, options.out / "corruption.png")
    failed = int((rows["dsc"] < FAILURE_DSC).sum())
    facts = {
        "members": len(ensemble.networks),
        "scans": len(cases),
        "predictions": len(rows),
        "failed": failed,
    }
    facts |= {"succeeded": len(rows) - failed, "auroc": auroc(rows)}
    print(json.dumps(facts | {"seconds": round(time.perf_counter() - begin, 1)}))


def _with_hu(case: Case, hu_zyx: np.ndarray) -> Case:
    stored = np.rint(np.clip(hu_zyx, AIR_HU, HIGHEST_HU)).astype(np.int16)
    return replace(case, image_zyx=stored)


def _draw_medians(axis: plt.Axes, medians: pd.DataFrame, kind: str) -> None:
    for name, label in (("median_dsc", "DSC"), ("median_member_dice", "member Dice")):
        axis.plot(medians["strength"], medians[name], marker="o", label=label)
    axis.axhline(FAILURE_DSC, color="grey", linewidth=0.8)
    axis.set(title=kind, xlabel=DAMAGES[kind].unit, ylim=(0, 1.02), ylabel="median")
    axis.legend()


def _draw_scatter(axis: plt.Axes, rows: pd.DataFrame) -> None:
    for kind, part in rows.groupby("damage", sort=False):
        axis.scatter(part["member_dice"], part["dsc"], s=10, label=kind)
    axis.axhline(FAILURE_DSC, color="grey", linewidth=0.8)
    axis.set(title="each damaged scan", xlabel="member Dice", ylabel="DSC")
    axis.legend(fontsize="x-small")


def _draw_roc(axis: plt.Axes, rows: pd.DataFrame) -> None:
    failed, areas = rows["dsc"] < FAILURE_DSC, auroc(rows)
    for name, sign in SIGNS.items():
        if areas[name] is not None:
            flagged, caught, _ = roc_curve(failed, sign(rows))
            axis.plot(flagged, caught, label=f"{name}: {areas[name]:.3f}")
            axis.legend(fontsize="small", title="AUROC")
    axis.set(title=f"DSC < {FAILURE_DSC}", xlabel="successes flagged", ylabel="failures flagged")


if __name__ == "__main__":
    main()
