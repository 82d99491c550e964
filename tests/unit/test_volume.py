"""What a mask measures, in closed form; and whether a density phantom is in view."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.otsu import OtsuConfig
from lib.imaging.volume import gather_flags, measure_volume, volume_mm3

SPACING_MM = (0.5, 0.8, 3.0)
VOXEL_MM3 = 1.2
OTSU = {"threshold": 0.47}


def image_of(array, spacing_mm=SPACING_MM):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    return image


def measure(mask, *, hu=None, probability=None, full=None, keep_largest=True):
    hu = np.zeros(mask.shape, np.int16) if hu is None else hu
    probability = mask.astype(np.float32) if probability is None else probability
    full = mask if full is None else full
    images = [image_of(array) for array in (hu, probability, mask)]
    return measure_volume(
        *images, image_of(full, (0.5, 0.8, 2.0)), OTSU, OtsuConfig(keep_largest=keep_largest)
    )


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
    assert measured["otsu_threshold"] == 0.47


@pytest.mark.parametrize(("first", "stop", "truncated"), [(0, 5, True), (1, 5, False), (6, 10, False)])
def test_only_the_most_distal_slice_truncates(first, stop, truncated):
    assert measure(box(first, stop))["truncated_distally"] is truncated


def test_hu_are_those_of_the_mask():
    mask = box(2, 4)
    hu = np.full(mask.shape, -1000, np.int16)
    hu[2:4] = np.array([100, 300])[:, None, None]
    measured = measure(mask, hu=hu)
    assert (measured["hu_mean"], measured["hu_sd"]) == (200.0, 100.0)


@pytest.mark.parametrize(("keep_largest", "voxels"), [(True, 5 * 28), (False, 5 * 28 + 12)])
def test_the_volume_at_one_half_chooses_components_alike(keep_largest, voxels):
    probability = np.where(box(2, 7), 0.5, 0.2).astype(np.float32)
    probability[9, :, 13] = 0.9
    measured = measure(box(2, 7), probability=probability, keep_largest=keep_largest)
    assert measured["predicted_at_half_mm3"] == pytest.approx(voxels * VOXEL_MM3)


def test_an_empty_mask_has_no_hu_and_no_length():
    measured = measure(np.zeros((3, 4, 5), np.uint8))
    assert measured["hu_mean"] is None
    assert measured["hu_sd"] is None
    assert (measured["predicted_mm3"], measured["length_mm"], measured["truncated_distally"]) == (
        0.0,
        0.0,
        False,
    )


def test_files_of_different_grids_are_refused():
    mask, other = image_of(box(2, 7)), image_of(box(2, 7), (0.5, 0.8, 2.0))
    with pytest.raises(ScanError) as caught:
        measure_volume(other, mask, mask, mask, OTSU, OtsuConfig())
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
