"""An anatomy that nothing in lib knows goes from the scan to its measures by two entries: data and methods."""

import json
from types import MappingProxyType

import numpy as np
import pytest
import SimpleITK as sitk

from lib.anatomy.locate import WindowRequest, margins_of, shown_slice, window_center
from lib.anatomy.methods import METHODS
from lib.anatomy.protocol import Location, Regions
from lib.catalog.anatomies import ANATOMIES, Anatomy, part_in_words
from lib.catalog.reasons import Reason
from lib.crop_settings import CropConfig
from lib.errors import ConfigError, ScanError
from lib.imaging.crop import UpperEnd, crop_image, crop_labels
from lib.imaging.grid import array_zyx, column_mm, image_like
from lib.imaging.intensity_range import find_range
from lib.imaging.model_frame import frame_of
from lib.imaging.nifti import write_image
from lib.intensity_scale import IntensityConfig
from lib.mask_settings import MaskConfig
from lib.measure_settings import OverlapConfig
from lib.measuring.prediction import MeasuringConfig, PredictedScan, ReaderMasks, measure_prediction
from lib.measuring.regions import measure_regions
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig
from lib.stats.overlap import measure_by_region

SPACING_MM_XYZ, SHAPE_ZYX = (2.0, 2.5, 3.0), (40, 36, 48)
BLOCK_ZYX = (slice(8, 20), slice(6, 14), slice(30, 40))  # far from the middle of the image
CENTER_XY = (34.5, 9.5)
BRIGHT = 800
LIMITS = {
    "CT": ScreeningConfig(min_length_mm=60.0),
    "MR": ScreeningConfig(modality="MR", min_length_mm=60.0),
}
AXIS = {"CT": "z", "MR": "y"}

INTENSITY = IntensityConfig(scale="percentile", low=0.5, high=99.5)


class BlockLocator:
    """Finds the bright block; its window ends 9 mm above the block's uppermost slice."""

    near_mm = 30.0

    def locate(self, image, side, config):
        z, y, x = np.nonzero(array_zyx(image) > BRIGHT)
        if not z.size:
            raise ScanError("not_in_view", "nothing bright")
        top_mm_xyz = image.TransformIndexToPhysicalPoint((int(x[0]), int(y[0]), int(z.max())))
        return Location(
            side=side,
            center_mm_xy=column_mm(image, (x.mean(), y.mean())),
            evidence=dict(zip(("top_x_mm", "top_y_mm", "top_z_mm"), top_mm_xyz, strict=True)),
            doubts=() if z.size > 500 else ("it is small", "it is bright"),
        )

    def judge_given(self, image, given, config):
        found = self.locate(image, given.side, config)
        apart_mm = np.hypot(*np.subtract(given.center_mm_xy, found.center_mm_xy))
        return [Reason("crop_uncertain", f"{apart_mm:.0f} mm from the block")] if apart_mm > 10 else []

    def find_upper_end(self, location, config):
        names = ("top_x_mm", "top_y_mm", "top_z_mm")
        if not set(names) <= set(location.evidence):
            return None
        return UpperEnd(point_mm_xyz=tuple(location.evidence[name] for name in names), above_mm=9.0)

    def measure_margins(self, window, in_view, center, config):
        _, rows, _ = np.nonzero(array_zyx(window) > BRIGHT)
        return {"front": float(rows.min()) * window.GetSpacing()[1]} if rows.size else {}


class Blocks:
    """See `lib.anatomy.protocol.AnatomyMethods`."""

    locators = MappingProxyType({"block": BlockLocator()})

    def judge_reference(self, labels, image, structures, acquired_axis):
        count = np.count_nonzero(array_zyx(labels))
        known = "in HU" if image is not None else "in no unit"
        return [Reason("mask_implausible", f"{count} voxels, {known}")] if count < 100 else []

    def find_regions(self, mask, side):
        slices = np.flatnonzero(array_zyx(mask).any(axis=(1, 2)))
        if len(slices) < 4:
            return Regions(missing=dict.fromkeys(("lower", "upper"), "too low"))
        first, middle, stop = int(slices[0]), int(slices[len(slices) // 2]), int(slices[-1]) + 1
        return Regions(parts={"lower": slice(first, middle), "upper": slice(middle, stop)})

    def measure_end(self, mask, reference, side, settings):
        height_mm = np.count_nonzero(array_zyx(mask).any(axis=(1, 2))) * mask.GetSpacing()[2]
        return {"height_mm": height_mm, "flags": ["tall"] if height_mm > settings["tall_mm"] else []}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """Enter the anatomy, as a developer does."""
    data = Anatomy(
        structures=("block",),
        regions=("lower", "upper"),
        part="toy box",
        bone="block",
        crop_methods=("block", "centre", "none"),
    )
    monkeypatch.setitem(ANATOMIES, "block", data)
    monkeypatch.setitem(METHODS, "block", Blocks())


def crop_config():
    return CropConfig(method="block", size=(16, 20))


def image_of(array_zyx):
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing(SPACING_MM_XYZ)
    image.SetOrigin((-40.0, 15.0, 120.0))
    return image


def drawn(modality, block_zyx=BLOCK_ZYX):
    """A body in air with a bright block, and the block's mask."""
    air, tissue, bright = {"CT": (-1000, 40, 1200), "MR": (5, 300, 1200)}[modality]
    values_zyx = np.full(SHAPE_ZYX, air, np.int16)
    values_zyx[:, 2:-2, 2:-2] = tissue + np.arange(-22, 22)  # brighter to the left
    mask_zyx = np.zeros(SHAPE_ZYX, np.uint8)
    mask_zyx[block_zyx] = 1
    values_zyx[mask_zyx > 0] = bright
    return image_of(values_zyx), image_of(mask_zyx)


def screened(folder, modality, image, mask, **fields):
    write_image(image, folder / "scan.nii.gz")
    write_image(mask, folder / "mask.nii.gz")
    request = ScanRequest(
        **{
            "side": "",
            "mask": folder / "mask.nii.gz",
            "structures": {"block": ()},
            "anatomy": "block",
            "slice_axis": AXIS[modality],
        }
        | fields
    )
    screening = screen_scan(folder / "scan.nii.gz", request, LIMITS[modality], crop_config(), INTENSITY)
    found = {reason["code"]: reason for reason in screening.to_json()["reasons"]}
    return screening, found


@pytest.mark.parametrize("modality", LIMITS)
def test_the_block_is_found_cropped_and_measured(tmp_path, modality):
    image, mask = drawn(modality)
    screening, found = screened(tmp_path, modality, image, mask)
    assert screening.verdict == "ok"
    cut = {code: reason["found"] for code, reason in found.items()}
    assert cut == (
        {} if modality == "CT" else {"mask_cut_by_crop": "16.7% of the mask lies outside the crop"}
    )
    content = json.loads(json.dumps(screening.to_json(), allow_nan=False))
    location = Location.from_json(content["location"])
    assert location.center_mm_xy == pytest.approx(column_mm(image, CENTER_XY), abs=1e-3)
    # crop
    asked = WindowRequest(anatomy="block", side="")
    frame = frame_of("", AXIS[modality], "z")
    window, record = crop_image(
        image,
        window_center(image, asked, crop_config(), location),
        crop_config(),
        margins_of("block", crop_config()),
        find_range(image, INTENSITY),
        frame,
    )
    assert (record.source, record.side) == ("automatic", "")
    if modality == "CT":  # x from 34.5 - 7.5, y from 9.5 - 9.5; slices up to 19 + 3
        assert (record.start_xyz, record.size_xyz) == ((27, 0, 0), (16, 20, 23))
        assert (record.margins_mm, record.slices_cut_above) == ({"front": 15.0}, 17)
        assert record.flags == ()
    else:  # coronal: x as before, the middle 20 slices along z, all of y
        assert (record.start_xyz, record.size_xyz) == ((27, 0, 10), (16, 36, 20))
    assert shown_slice(image, "block", crop_config(), location) == pytest.approx(19.0)
    # measures
    reference = crop_labels(mask, record.to_json())
    scan = PredictedScan(
        prediction=image_like(array_zyx(reference).astype(np.float32), reference),
        image=window,
        converted=image,
        crop=record.to_json(),
        screened=content,
        uncertainty={"block": {"member_dice": None}},
    )
    config = MeasuringConfig(
        structures=("block",),
        anatomy="block",
        mask=MaskConfig(),
        measure={"tall_mm": 20.0},
        overlap=OverlapConfig(),
        review_member_dice=0.9,
        spacing_factor=1.25,
    )
    readers = ReaderMasks(reference=reference, native=mask)
    made = measure_prediction(scan, readers, config)
    labels, full, measured = made.labels, made.full, made.sections
    volume, overlap = measured["volume"]["block"], measured["overlap"]["block"]
    slices = np.count_nonzero(array_zyx(reference).any(axis=(1, 2)))
    assert slices == (12 if modality == "CT" else 10)  # the coronal window cuts two
    assert (volume["height_mm"], "tall" in volume["flags"]) == (3.0 * slices, True)
    assert volume["predicted_lower_mm3"] == volume["predicted_upper_mm3"] == 80 * slices // 2 * 15.0
    assert (overlap["dsc"], overlap["dsc_lower"], overlap["dsc_upper"]) == (1.0, 1.0, 1.0)
    assert labels.GetSize() == record.size_xyz and full.GetSize() == image.GetSize()


def test_what_screening_tells_has_the_words_of_the_anatomy(tmp_path):
    image, mask = drawn("CT")
    elsewhere = image_like(np.roll(array_zyx(mask), 20, axis=1), mask)
    array = array_zyx(image)
    array[10:20, 8:12, 32:36], array[30:34, 30:33, 4:6] = 3000, 3000  # metal in the block, and far from it
    image = image_like(array, image)
    screening, found = screened(tmp_path, "CT", image, elsewhere)
    assert screening.verdict == "rejected"
    assert found["mask_elsewhere"]["found"] == "100.0% of the mask lies away from the toy box"
    assert found["mask_elsewhere"]["rule"].startswith("The mask must lie on the requested toy box")
    assert found["metal"]["found"].startswith("2.4 cm³ above 2500 HU near the toy box;")


@pytest.mark.parametrize("modality", LIMITS)
def test_doubts_and_checks_of_the_anatomy_are_reasons(tmp_path, modality):
    small = (slice(8, 9), slice(6, 9), slice(30, 33))
    screening, found = screened(tmp_path, modality, *drawn(modality, small))
    assert found["crop_uncertain"]["found"] == "toy box found, but it is small; it is bright"
    unit = "in HU" if modality == "CT" else "in no unit"
    assert found["mask_implausible"]["found"] == f"9 voxels, {unit}"
    assert "that a block can have" in found["mask_implausible"]["rule"]
    location = screening.location
    center = window_center(
        drawn(modality)[0], WindowRequest(anatomy="block", side=""), crop_config(), location
    )
    assert center.uncertain


def test_a_block_out_of_view_refuses_the_scan(tmp_path):
    image, mask = drawn("MR")
    image = image_like(np.minimum(array_zyx(image), 700), image)
    screening, found = screened(tmp_path, "MR", image, mask)
    assert screening.verdict == "rejected" and screening.location is None
    assert found["not_in_view"]["found"] == "nothing bright"
    assert found["not_in_view"]["rule"] == "The requested toy box must be in the scan."
    with pytest.raises(ScanError, match="screening has not found the toy box"):
        window_center(image, WindowRequest(anatomy="block", side=""), crop_config(), None)


def test_the_table_s_centre_is_judged_by_the_anatomy(tmp_path):
    image, mask = drawn("MR")
    near, far = column_mm(image, (33.0, 9.5)), column_mm(image, (26.0, 9.5))
    for center_mm_xy, told in ((near, {"mask_cut_by_crop"}), (far, {"crop_uncertain", "mask_elsewhere"})):
        screening, found = screened(tmp_path, "MR", image, mask, crop_center_mm_xy=center_mm_xy)
        assert set(found) == told
        assert screening.location.evidence == {"given": 1.0}
        asked = WindowRequest(anatomy="block", side="", center_mm_xy=center_mm_xy)
        assert window_center(image, asked, crop_config(), screening.location).source == "override"


def test_its_search_is_a_method_of_the_crop_only_while_its_entry_is_there(monkeypatch):
    assert part_in_words("block", "") == "toy box"
    monkeypatch.delitem(ANATOMIES, "block")
    with pytest.raises(ConfigError, match="crop.method must be one of hip, centre, none"):
        CropConfig(method="block")


def test_regions_may_be_masks():
    """A region that is not a range of slices: the half of a block on one side, as a mask."""
    predicted = np.zeros((6, 8, 10), bool)
    predicted[1:5, 2:6, 2:8] = True
    reference = np.roll(predicted, 1, axis=2)
    left = np.broadcast_to(np.arange(10) >= 5, predicted.shape)
    regions = Regions(parts={"left": left, "right": ~left}, missing={"top": "not drawn"})
    image = sitk.GetImageFromArray(predicted.astype(np.uint8))
    image.SetSpacing((2.0, 2.0, 2.0))
    volumes = measure_regions(image, regions, "predicted")
    assert volumes["predicted_left_mm3"] == 4 * 4 * 3 * 8 and volumes["predicted_right_mm3"] == 4 * 4 * 3 * 8
    assert volumes["predicted_top_mm3"] is None and volumes["undefined"] == {"predicted_top_mm3": "not drawn"}
    scores = measure_by_region(reference, predicted, regions.parts, regions.missing)
    # of columns 2 to 7 and 3 to 8: on the left 5 to 7 and 5 to 8, on the right 2 to 4 and 3 to 4
    assert scores["dsc_left"] == pytest.approx(6 / 7) and scores["dsc_right"] == pytest.approx(4 / 5)
