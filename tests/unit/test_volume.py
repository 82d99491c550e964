"""Measures of masks against closed forms; and whether a density phantom is in view."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from lib.anatomy.femur.distal_end import measure_distal_end
from lib.anatomy.femur.landmarks import EMPTY
from lib.cohort.flags import flag_spacing, gather_flags
from lib.errors import ConfigError, ScanError
from lib.imaging.binarise import threshold_mask
from lib.imaging.grid import volume_mm3
from lib.imaging.volume import measure_threshold, measure_volume, volume_above_mm3
from lib.mask_settings import MaskConfig
from lib.measure_settings import DistalEndConfig
from lib.model_record import training_spacings
from tests.unit.solid_femur import solid_femur

SPACING_MM = (0.5, 0.8, 3.0)
VOXEL_MM3 = 1.2


def image_of(array, spacing_mm=SPACING_MM):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    return image


def measure(mask, *, hu=None, full=None):
    hu = np.zeros(mask.shape, np.int16) if hu is None else hu
    full = mask if full is None else full
    return measure_volume(image_of(hu), image_of(mask), image_of(full, (0.5, 0.8, 2.0)))


def box(first, stop, shape=(10, 12, 14)):
    mask = np.zeros(shape, np.uint8)
    mask[first:stop, 2:6, 3:10] = 1
    return mask


def test_volume_counts_voxels_of_any_label():
    assert volume_mm3(image_of(5 * box(2, 7))) == pytest.approx(5 * 4 * 7 * VOXEL_MM3)
    assert volume_mm3(image_of(np.ones((300, 30, 30), np.uint8))) == pytest.approx(270000 * VOXEL_MM3)


def test_volume_length_and_both_grids():
    measured = measure(box(2, 7), full=box(1, 9))
    assert measured["predicted_mm3"] == pytest.approx(5 * 28 * VOXEL_MM3)
    assert measured["predicted_full_mm3"] == pytest.approx(8 * 28 * 0.8)
    assert measured["length_mm"] == pytest.approx(15.0)


@pytest.mark.parametrize(("first", "stop", "truncated"), [(0, 5, True), (1, 5, False), (6, 10, False)])
def test_only_the_most_distal_slice_truncates(first, stop, truncated):
    assert measure(box(first, stop))["truncated_distally"] is truncated


CUTS = [(-9.0, 5.0), (6.0, 5.0), (7.0, 4 + 2 / 3), (12.0, 3.0), (21.0, 0.0)]


@pytest.mark.parametrize(("height_mm", "slices"), CUTS)
def test_a_cut_slice_counts_in_part(height_mm, slices):
    assert volume_above_mm3(image_of(box(2, 7)), height_mm) == pytest.approx(slices * 28 * VOXEL_MM3)


FEMUR_SPACING_MM = (0.8, 0.8, 3.0)


def distal_end(mask, reference=None, *, cut_mm=None, side="left"):
    images = [None if array is None else image_of(array, FEMUR_SPACING_MM) for array in (mask, reference)]
    return measure_distal_end(*images, side, DistalEndConfig(distal_cut_mm=cut_mm))


@pytest.mark.parametrize("slices", [1, 3, 6])
def test_scans_of_one_femur_that_end_elsewhere_have_one_volume_above_the_cut(slices):
    whole, short = (distal_end(mask, cut_mm=20.0) for mask in (solid_femur(46.0), solid_femur(46.0)[slices:]))
    assert whole["lesser_trochanter_mm"] == pytest.approx(46.0, abs=0.5)
    assert short["lesser_trochanter_mm"] == pytest.approx(whole["lesser_trochanter_mm"] - 3.0 * slices)
    assert short["predicted_cut_mm3"] == pytest.approx(whole["predicted_cut_mm3"])
    assert whole["flags"] == short["flags"] == []
    assert whole["undefined"] == short["undefined"] == {}


def test_the_cut_lies_the_given_length_below_the_trochanter():
    mask = solid_femur(46.0)
    near, far = (distal_end(mask, cut_mm=length)["predicted_cut_mm3"] for length in (15.0, 25.0))
    section_mm2 = np.count_nonzero(mask[0]) * 0.8 * 0.8
    assert far - near == pytest.approx(10.0 * section_mm2)


def test_a_cut_below_the_scan_is_not_reached():
    measured = distal_end(solid_femur(31.0), cut_mm=40.0)
    assert measured["predicted_cut_mm3"] is None
    assert measured["lesser_trochanter_mm"] == pytest.approx(31.0, abs=0.5)
    assert measured["flags"] == ["cut_not_reached"]
    assert measured["undefined"].keys() == {"predicted_cut_mm3"}
    assert "above the cut at 40 mm" in measured["undefined"]["predicted_cut_mm3"]


def test_a_mask_that_misses_the_lowest_slices_does_not_reach_a_cut_among_them():
    mask = solid_femur(31.0)
    mask[:4] = 0
    measured = distal_end(mask, cut_mm=25.0)
    assert measured["shaft_below_trochanter_mm"] == pytest.approx(measured["lesser_trochanter_mm"] - 12.0)
    assert measured["flags"] == ["cut_not_reached"]


@pytest.mark.parametrize(("cut_mm", "flags"), [(None, []), (20.0, ["no_lesser_trochanter"])])
def test_without_a_trochanter_there_is_a_reason_and_a_flag_if_a_cut_is_asked_for(cut_mm, flags):
    measured = distal_end(np.zeros((9, 8, 7), np.uint8), cut_mm=cut_mm)
    asked = {"lesser_trochanter_mm", "shaft_below_trochanter_mm"} | (
        {"predicted_cut_mm3"} if flags else set()
    )
    assert measured["undefined"] == dict.fromkeys(asked, EMPTY)
    assert {measured[name] for name in (*asked, "predicted_cut_mm3")} == {None}
    assert measured["flags"] == flags


def test_the_reference_is_cut_below_its_own_trochanter():
    reference = solid_femur(31.0)
    predicted = np.zeros_like(reference)
    predicted[1:] = reference[:-1]  # the same femur, 3 mm higher
    measured = distal_end(predicted, reference, cut_mm=20.0)
    moved = measured["lesser_trochanter_mm"] - measured["reference_lesser_trochanter_mm"]
    assert moved == pytest.approx(3.0)
    assert measured["reference_cut_mm3"] == pytest.approx(measured["predicted_cut_mm3"])
    empty = distal_end(reference, np.zeros_like(reference), cut_mm=20.0)
    assert empty["undefined"]["reference_cut_mm3"] == EMPTY
    assert (empty["reference_cut_mm3"], empty["flags"]) == (None, [])


@pytest.mark.parametrize("length", [-1.0, np.nan, np.inf])
def test_a_length_that_cannot_be_cut_at_is_refused(length):
    with pytest.raises(ConfigError, match="measure.distal_cut_mm"):
        DistalEndConfig(distal_cut_mm=length)


def test_hu_are_those_of_the_mask():
    mask = box(2, 4)
    hu = np.full(mask.shape, -1000, np.int16)
    hu[2:4] = np.array([100, 300])[:, None, None]
    measured = measure(mask, hu=hu)
    assert (measured["mean_value"], measured["sd_value"]) == (200.0, 100.0)


@pytest.mark.parametrize(("keep_largest", "voxels"), [(True, 5 * 28), (False, 5 * 28 + 12)])
def test_the_volume_at_one_half_chooses_components_alike(keep_largest, voxels):
    probability = np.where(box(2, 7), 0.5, 0.2).astype(np.float32)
    probability[9, :, 13] = 0.9
    mask = threshold_mask(probability, MaskConfig(keep_largest=keep_largest))
    measured = measure_threshold(mask, VOXEL_MM3)
    assert measured["otsu_threshold"] == mask.threshold
    assert measured["predicted_at_half_mm3"] == pytest.approx(voxels * VOXEL_MM3)


def test_an_empty_mask_has_no_hu_and_no_length():
    measured = measure(np.zeros((3, 4, 5), np.uint8))
    assert measured["mean_value"] is None
    assert measured["undefined"]["mean_value"] == "the predicted mask is empty"
    assert measured["sd_value"] is None
    assert (measured["predicted_mm3"], measured["length_mm"], measured["truncated_distally"]) == (
        0.0,
        0.0,
        False,
    )


def test_files_of_different_grids_are_refused():
    mask, other = image_of(box(2, 7)), image_of(box(2, 7), (0.5, 0.8, 2.0))
    with pytest.raises(ScanError) as caught:
        measure_volume(other, mask, mask)
    assert caught.value.code == "mask_off_grid"


def test_flags_come_from_threshold_crop_and_screening_warnings():
    screened = {
        "reasons": [
            {"code": "metal", "severity": "warning"},
            {"code": "crop_uncertain", "severity": "warning"},
        ]
    }
    otsu, crop = {"flags": ["otsu_undefined"]}, {"flags": ["crop_uncertain", "padded"]}
    flags = gather_flags(otsu, crop, screened, {"member_dice": None}, 0.95)
    assert flags == ["crop_uncertain", "metal", "otsu_undefined", "padded"]


@pytest.mark.parametrize(
    ("member_dice", "flagged"), [(0.9499, True), (0.95, False), (0.0, True), (None, False)]
)
def test_members_that_agree_less_than_the_limit_are_flagged(member_dice, flagged):
    unflagged = ({"flags": []}, {"flags": []}, {"reasons": []})
    flags = gather_flags(*unflagged, {"member_dice": member_dice}, 0.95)
    assert flags == (["members_disagree"] if flagged else [])


@pytest.mark.parametrize(
    ("spacing_mm_zyx", "flagged"),
    [
        ((3.0, 0.8, 0.8), False),
        ((3.0, 1.2, 0.8), False),  # 1.25 times 0.96
        ((3.0, 1.21, 0.8), True),
        ((3.0, 0.8, 0.56), False),  # 0.7 over 1.25
        ((3.0, 0.8, 0.55), True),
        ((2.0, 0.8, 0.8), True),
    ],
)
def test_voxels_unlike_those_of_all_training_scans_are_flagged(spacing_mm_zyx, flagged):
    trained = [
        {"smallest": [3.0, 0.7, 0.7], "median": [3.0, 0.8, 0.8], "largest": [3.0, 0.9, 0.9]},
        {"smallest": [3.0, 0.75, 0.75], "median": [3.0, 0.8, 0.8], "largest": [3.0, 0.96, 0.96]},
    ]
    assert flag_spacing(spacing_mm_zyx, trained, 1.25) == (["spacing_unusual"] if flagged else [])
    assert flag_spacing(spacing_mm_zyx, [], 1.25) == []  # models that state no spacing


def test_the_spacing_of_the_training_scans_is_read_from_the_models_that_state_it(tmp_path):
    known = {"smallest": [3.0, 0.7, 0.7], "median": [3.0, 0.8, 0.8], "largest": [3.0, 0.9, 0.9]}
    for name, run in (("a", {"format": 3, "spacing_mm_zyx": known}), ("b", {"format": 3})):
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    assert training_spacings(tmp_path / f"{name}.json" for name in "ab") == [known]
