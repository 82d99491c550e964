"""Screening of reference masks by their content: femurs cut at any level pass, other masks are refused."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import Scene, draw

from lib.anatomy.femur.reference import judge_reference
from lib.crop_settings import CropConfig
from lib.imaging.grid import array_zyx, image_like
from lib.imaging.nifti import write_image
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

SIDES = ("left", "right")
SCENE = Scene()
OTHER = {"left": "right", "right": "left"}


@pytest.fixture(scope="module")
def scene():
    return draw(SCENE)


@pytest.fixture(scope="module")
def scan_path(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scan.nii.gz"
    write_image(scene[0], path)
    return path


def eroded(mask_zyx, radius_xyz):
    image = sitk.GetImageFromArray(mask_zyx.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.BinaryErode(image, radius_xyz, sitk.sitkBall)) > 0


def shifted(mask_zyx, voxels, axis):
    return np.roll(mask_zyx, voxels, axis)


def turned_over(mask_zyx, axis):
    """Return a mask flipped within its own borders."""
    ends = np.flatnonzero(mask_zyx.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]]
    place = tuple(slice(ends[0], ends[1] + 1) if k == axis else slice(None) for k in range(3))
    made = np.zeros_like(mask_zyx)
    made[place] = np.flip(mask_zyx[place], axis)
    return made


def one_voxel(femur_zyx, **_):
    made = np.zeros_like(femur_zyx)
    made[tuple(np.argwhere(femur_zyx)[len(np.argwhere(femur_zyx)) // 2])] = True
    return made


def every_nth(femur_zyx, n):
    made = femur_zyx.copy()
    made[np.arange(len(made)) % n != 0] = False
    return made


def cut_below(femur_zyx, slices):
    """Return a femur without its lowest slices."""
    made = femur_zyx.copy()
    made[: np.flatnonzero(femur_zyx.any(axis=(1, 2)))[0] + slices] = False
    return made


def with_specks(femur_zyx, share):
    rng = np.random.default_rng(4)
    return femur_zyx & (rng.random(femur_zyx.shape) > share)


BAD = {
    "one voxel": ("mask_implausible", lambda own, other, hu: one_voxel(own)),
    "inverted": ("mask_implausible", lambda own, other, hu: ~own),
    "the body": ("mask_implausible", lambda own, other, hu: hu > -200),
    "other hip": ("mask_elsewhere", lambda own, other, hu: other),
    "both femurs": ("mask_elsewhere", lambda own, other, hu: own | other),
    "upside down": ("mask_off_bone", lambda own, other, hu: own[::-1]),
    "upside down in place": ("mask_off_bone", lambda own, other, hu: turned_over(own, 0)),
    "back to front": ("mask_off_bone", lambda own, other, hu: own[:, ::-1]),
    "back to front in place": ("mask_off_bone", lambda own, other, hu: turned_over(own, 1)),
    "left is right in place": ("mask_off_bone", lambda own, other, hu: turned_over(own, 2)),
    "20 mm to the left": ("mask_off_bone", lambda own, other, hu: shifted(own, 10, 2)),
    "20 mm to the back": ("mask_off_bone", lambda own, other, hu: shifted(own, 10, 1)),
    "10 mm to the front": ("mask_off_bone", lambda own, other, hu: shifted(own, -5, 1)),
    "shell": ("mask_hollow", lambda own, other, hu: own & ~eroded(own, [2, 2, 0])),
    "threshold": ("mask_hollow", lambda own, other, hu: own & (hu > 300)),
    "every fifth slice": ("mask_gaps", lambda own, other, hu: every_nth(own, 5)),
    "every second slice": ("mask_gaps", lambda own, other, hu: every_nth(own, 2)),
    "core": ("mask_off_bone", lambda own, other, hu: eroded(own, [4, 4, 0])),
    "a muscle beside": ("mask_in_pieces", lambda own, other, hu: own | ball_beside(own)),
    "one slice": (
        "mask_implausible",
        lambda own, other, hu: own & (np.arange(len(own)) == 20)[:, None, None],
    ),
}

GOOD = {
    "whole": lambda own: own,
    "cut 15 mm higher": lambda own: cut_below(own, 5),
    "cut 30 mm higher": lambda own: cut_below(own, 10),
    "uppermost slices missing": lambda own: (
        own & (np.arange(len(own)) < np.flatnonzero(own.any((1, 2)))[-1] - 1)[:, None, None]
    ),
    "a slice forgotten": lambda own: own & (np.arange(len(own)) != 20)[:, None, None],
    "a hundred specks missing": lambda own: with_specks(own, 0.02),
}


def ball_beside(own_zyx):
    """Return a ball of 30 mm, 60 mm in front of the femur's middle."""
    z, y, x = np.indices(own_zyx.shape, sparse=True)
    k, j, i = np.argwhere(own_zyx).mean(axis=0)
    return ((z - k) * 3.0) ** 2 + ((y - j + 30) * 2.0) ** 2 + ((x - i) * 2.0) ** 2 < 18**2


def screened(scan_path, mask_zyx, image, side, folder, **config):
    write_image(image_like(mask_zyx, image), folder / "mask.nii.gz")
    request = ScanRequest(side=side, mask=folder / "mask.nii.gz")
    screening = screen_scan(scan_path, request, ScreeningConfig(**config), CropConfig())
    return screening.verdict, {reason.code: reason for reason in screening.reasons}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_femur_of_this_hip_is_refused(scene, scan_path, tmp_path, name, side):
    image, femurs = scene
    code, make = BAD[name]
    mask_zyx = make(femurs[side], femurs[OTHER[side]], array_zyx(image))
    verdict, found = screened(scan_path, mask_zyx, image, side, tmp_path)
    assert verdict == "rejected"
    assert code in found, found


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", GOOD)
def test_good_references_are_accepted(scene, scan_path, tmp_path, name, side):
    image, femurs = scene
    verdict, found = screened(scan_path, GOOD[name](femurs[side]), image, side, tmp_path)
    assert verdict == "ok", found
    assert set(found) <= {"mask_not_solid"}
    assert ("mask_not_solid" in found) == (name in ("a slice forgotten", "a hundred specks missing"))


@pytest.mark.parametrize("name", [*BAD, *GOOD])
def test_both_sides_of_the_body_are_judged_alike(scene, name):
    image, femurs = scene
    own, other, hu = femurs["left"], femurs["right"], array_zyx(image)
    mask_zyx = BAD[name][1](own, other, hu) if name in BAD else GOOD[name](own)
    mirrored = image_like(np.ascontiguousarray(hu[:, :, ::-1]), image)
    there = judge_reference(image_like(mask_zyx, image), image)
    here = judge_reference(image_like(np.ascontiguousarray(mask_zyx[:, :, ::-1]), image), mirrored)
    assert there == here


@pytest.mark.parametrize("side", SIDES)
def test_mask_above_the_slices_that_are_kept_is_refused(tmp_path, side):
    image, femurs = draw(replace(SCENE, top_mm=180.0))
    write_image(image, tmp_path / "scan.nii.gz")
    assert screened(tmp_path / "scan.nii.gz", femurs[side], image, side, tmp_path) == ("ok", {})
    upside_down = femurs[side][::-1].copy()
    verdict, found = screened(tmp_path / "scan.nii.gz", upside_down, image, side, tmp_path)
    assert verdict == "rejected"
    assert found["mask_elsewhere"].found == "100.0% of the mask lies above the slices that the crop keeps"


def test_bone_is_not_looked_for_where_intensities_are_no_hu(scene):
    image, femurs = scene
    moved = image_like(shifted(femurs["left"], 10, 2), image)
    assert [reason.code for reason in judge_reference(moved, image)] == ["mask_off_bone"]
    assert judge_reference(moved, None) == []


def test_each_cause_has_its_own_advice(scene, scan_path, tmp_path):
    image, femurs = scene
    advice = set()
    for name in ("upside down", "both femurs", "shell", "every fifth slice", "one voxel"):
        code, make = BAD[name]
        mask_zyx = make(femurs["left"], femurs["right"], array_zyx(image))
        _, found = screened(scan_path, mask_zyx, image, "left", tmp_path)
        advice.add(found[code].to_json("proximal-femur", "CT")["action"])
    assert len(advice) == 5


def test_whole_femur_down_to_the_knee_is_accepted():
    long = draw(replace(SCENE, bottom_mm=-330.0))
    image, femurs = long
    assert judge_reference(image_like(femurs["right"], image), image) == []


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 2.0), (1.0, 1.0, 5.0), (4.0, 4.0, 3.0), (6.0, 6.0, 6.0)])
def test_size_of_voxels_does_not_decide(spacing_mm):
    size_xy = tuple(round(n * 2.0 / edge) for n, edge in zip((210, 160), spacing_mm, strict=False))
    image, femurs = draw(replace(SCENE, spacing_mm=spacing_mm, size_xy=size_xy))
    for femur_zyx in femurs.values():
        assert judge_reference(image_like(femur_zyx, image), image) == []
        wrong = judge_reference(image_like(femur_zyx[:, ::-1].copy(), image), image)
        # with pixels of 6 mm everything is near bone
        assert ("mask_off_bone" in {reason.code for reason in wrong}) == (spacing_mm[0] < 6)
