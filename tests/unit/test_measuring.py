"""What is measured of a prediction, with no, one and two readers."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from sklearn.metrics import average_precision_score, roc_auc_score

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, image_like, volume_mm3
from lib.imaging.volume import NO_THRESHOLD
from lib.mask_settings import MaskConfig
from lib.measure_settings import OverlapConfig
from lib.measuring.prediction import (
    NO_PROBABILITY,
    MeasuringConfig,
    PredictedScan,
    ReaderMasks,
    describe_measured,
    measure_prediction,
)
from lib.stats.reader_pairs import PAIRS
from lib.stats.voxel_levels import read_runs
from tests.unit.solid_femur import SPACING_MM_ZYX, solid_femur

CONFIG = MeasuringConfig(
    structures=("femur",),
    anatomy="proximal-femur",
    mask=MaskConfig(),
    measure={"distal_cut_mm": 10.0},
    overlap=OverlapConfig(),
    review_member_dice=0.9,
    spacing_factor=1.25,
)
FEMUR_ZYX = solid_femur(60.0)


def image_of(array):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM_ZYX[::-1])
    return image


def predicted(mask_zyx=FEMUR_ZYX):
    noise = np.random.default_rng(0).uniform(0.0, 0.2, mask_zyx.shape)
    probability = image_of(np.where(mask_zyx > 0, 1 - noise, noise).astype(np.float32))
    return PredictedScan(
        prediction=probability,
        image=image_of(mask_zyx * np.int16(500)),
        converted=image_of(np.zeros((2 * mask_zyx.shape[0], *mask_zyx.shape[1:]), np.int16)),
        crop={"side": "left", "flags": ["padded"]},
        screened={"density_phantom_in_view": True, "reasons": []},
        uncertainty={"femur": {"member_dice": 0.8, "undefined": {"mean_entropy_bits": "one model"}}},
    )


def shifted(mask_zyx, voxels):
    return image_of(np.roll(mask_zyx, voxels, axis=2))


def test_without_a_reader_a_prediction_is_measured_and_not_scored():
    made = measure_prediction(predicted(), ReaderMasks(), CONFIG)
    mask, full, measured = made.labels, made.full, made.sections
    assert made.projections == {}
    np.testing.assert_array_equal(array_zyx(mask), FEMUR_ZYX)
    assert full.GetSize()[2] == 2 * mask.GetSize()[2]
    assert set(measured) == {"mask", "volume"}
    volume = measured["volume"]["femur"]
    assert volume["predicted_mm3"] == volume_mm3(mask) and volume["mean_value"] == 500
    assert measured["mask"]["femur"]["threshold"] == volume["otsu_threshold"]
    # of the crop, of the uncertainty, of the screening, and their reasons
    assert volume["flags"] == ["members_disagree", "padded"] and volume["density_phantom_in_view"]
    assert volume["undefined"]["mean_entropy_bits"] == "one model"
    assert volume["predicted_cut_mm3"] is not None and "reference_cut_mm3" not in volume


def test_a_scan_with_other_voxels_than_the_training_s_is_flagged():
    coarse = [edge / 2 for edge in SPACING_MM_ZYX]
    trained = [dict.fromkeys(("smallest", "median", "largest"), coarse)]
    flags = [
        measure_prediction(replace(predicted(), trained=known), ReaderMasks(), CONFIG).sections["volume"][
            "femur"
        ]["flags"]
        for known in (trained, [dict.fromkeys(("smallest", "largest"), SPACING_MM_ZYX)])
    ]
    assert flags == [["members_disagree", "padded", "spacing_unusual"], ["members_disagree", "padded"]]


def test_with_the_reader_s_own_mask_it_is_scored():
    reference = shifted(FEMUR_ZYX, 1)
    measured = measure_prediction(predicted(), ReaderMasks(reference=reference), CONFIG).sections
    assert (
        set(measured) == {"mask", "volume"} and measured["volume"]["femur"]["reference_cut_mm3"] is not None
    )
    made = measure_prediction(predicted(), ReaderMasks(reference=reference, native=reference), CONFIG)
    full, measured = made.full, made.sections
    overlap = measured["overlap"]["femur"]
    both = np.count_nonzero(FEMUR_ZYX & array_zyx(reference))
    assert overlap["dsc"] == pytest.approx(both / np.count_nonzero(FEMUR_ZYX))
    assert overlap["side"] == "left" and 0.9 < overlap["dsc_shaft"] < 1 and overlap["dsc_native"] > 0.9
    assert measured["volume"]["femur"]["predicted_full_mm3"] == volume_mm3(full)


def test_curves_and_other_choices_are_measured_with_the_reference():
    scan, reference = predicted(), shifted(FEMUR_ZYX, 1)
    probability_zyx = array_zyx(scan.prediction)
    probability_zyx[0, :4, :4] = 1.0  # a piece that is dropped
    probability_zyx = (np.rint(probability_zyx * 65535) / 65535).astype(np.float32)
    scan = replace(scan, prediction=image_of(probability_zyx))
    readers = ReaderMasks(reference=reference, native=reference)
    made = measure_prediction(scan, readers, CONFIG)
    mask, measured = made.labels, made.sections
    overlap, counts = measured["overlap"]["femur"], measured["curves"]["femur"]
    inside = array_zyx(reference).ravel() > 0
    assert overlap["auc_pr"] == pytest.approx(
        average_precision_score(inside, probability_zyx.ravel()), abs=1e-12
    )
    assert overlap["auc_roc"] == pytest.approx(roc_auc_score(inside, probability_zyx.ravel()), abs=1e-12)
    runs = read_runs(counts)
    assert (runs["inside"].sum(), runs["outside"].sum()) == (inside.sum(), (~inside).sum())
    chosen, both = np.count_nonzero(array_zyx(mask)), np.count_nonzero(array_zyx(mask).ravel() & inside)
    assert overlap["precision"] == pytest.approx(both / chosen)
    assert overlap["precision_raw"] == pytest.approx(both / (chosen + 16))
    assert overlap["dsc_raw"] == pytest.approx(2 * both / (chosen + 16 + inside.sum()))
    assert overlap["recall_raw"] == overlap["sensitivity"]
    assert overlap["hd95_raw_mm"] >= overlap["hd95_mm"] and overlap["dsc_half"] == overlap["dsc"]
    # with all components the raw mask is the mask
    whole = replace(CONFIG, mask=MaskConfig(keep_largest=False))
    overlap = measure_prediction(scan, readers, whole).sections["overlap"]["femur"]
    assert (overlap["dsc_raw"], overlap["hd95_raw_mm"]) == (overlap["dsc"], overlap["hd95_mm"])


def test_without_bone_in_the_reference_there_are_no_curves():
    empty = image_of(np.zeros_like(FEMUR_ZYX))
    readers = ReaderMasks(reference=empty, native=empty)
    overlap = measure_prediction(predicted(), readers, CONFIG).sections["overlap"]["femur"]
    for name in ("auc_pr", "auc_roc", "recall_raw", "hd95_raw_mm"):
        assert overlap[name] is None and overlap["undefined"][name] == "the reference mask is empty"
    assert overlap["precision_raw"] == 0 == overlap["dsc_half"] == overlap["dsc_raw"]


def test_with_a_second_reader_all_three_are_compared():
    readers = ReaderMasks(reference=shifted(FEMUR_ZYX, 1), second=shifted(FEMUR_ZYX, 2))
    measured = measure_prediction(predicted(), readers, CONFIG).sections
    found = {pair: overlap["dsc"] for pair, overlap in measured["readers"]["femur"].items()}
    assert tuple(found) == PAIRS
    assert found[PAIRS[0]] == pytest.approx(found[PAIRS[1]]) and found[PAIRS[2]] < found[PAIRS[1]]


@pytest.mark.parametrize("moved", ["reference", "second"])
def test_a_reader_s_mask_on_another_grid_is_refused(moved):
    masks = dict.fromkeys(("reference", "native", "second"), image_like(FEMUR_ZYX, image_of(FEMUR_ZYX)))
    masks[moved] = image_of(FEMUR_ZYX)
    masks[moved].SetOrigin((5.0, 0.0, 0.0))
    with pytest.raises(ScanError, match="mask_off_grid|same|grid") as caught:
        measure_prediction(predicted(), ReaderMasks(**masks), CONFIG)
    assert caught.value.code == "mask_off_grid"


TWO = replace(CONFIG, structures=("left", "right"), anatomy="generic", mask=MaskConfig(method="argmax"))


def two_labels():
    """A label map of two boxes, and the same scan with an uncertainty for each."""
    labels_zyx = np.zeros((20, 40, 60), np.uint8)
    labels_zyx[3:12, 5:30, 5:25], labels_zyx[4:15, 5:30, 30:55] = 1, 2
    scan = predicted(labels_zyx)
    doubt = {"left": {"member_dice": 0.8}, "right": {"member_dice": 0.95}}
    return labels_zyx, replace(
        scan, prediction=image_of(labels_zyx), image=image_of(labels_zyx * np.int16(100)), uncertainty=doubt
    )


def test_each_of_several_structures_is_measured_apart():
    labels_zyx, scan = two_labels()
    reference = image_of(np.where(labels_zyx == 1, np.roll(labels_zyx, 1, axis=0), labels_zyx))
    readers = ReaderMasks(reference=reference, native=reference, second=image_of(labels_zyx))
    made = measure_prediction(scan, readers, TWO)
    labels, full, measured = made.labels, made.full, made.sections
    np.testing.assert_array_equal(array_zyx(labels), labels_zyx)
    assert set(np.unique(array_zyx(full))) == {0, 1, 2}
    assert {section: list(values) for section, values in measured.items()} == dict.fromkeys(
        ("mask", "volume", "overlap", "readers"), ["left", "right"]
    )
    volumes, overlaps = measured["volume"], measured["overlap"]
    for label, structure in enumerate(TWO.structures, start=1):
        volume = volumes[structure]
        assert volume["predicted_mm3"] == pytest.approx((labels_zyx == label).sum() * 3.0 * 0.8 * 0.8)
        assert volume["mean_value"] == 100 * label and volume["otsu_threshold"] is None
        assert volume["undefined"]["predicted_at_half_mm3"] == NO_THRESHOLD
        assert "lesser_trochanter_mm" not in volume and "dsc_head" not in overlaps[structure]
        undefined = overlaps[structure]["undefined"]
        assert overlaps[structure]["auc_pr"] is None and undefined["auc_pr"] == NO_PROBABILITY
        assert overlaps[structure]["dsc_half"] is None and undefined["dsc_half"] == NO_THRESHOLD
        assert overlaps[structure]["dsc_raw"] == overlaps[structure]["dsc"]
    assert "members_disagree" in volumes["left"]["flags"]
    assert "members_disagree" not in volumes["right"]["flags"]
    assert overlaps["left"]["dsc"] < 1 == overlaps["right"]["dsc"]
    told = describe_measured(measured)
    assert told.endswith(" mm3, flags: padded, dsc: 1.0000") and told.startswith("left: ")
