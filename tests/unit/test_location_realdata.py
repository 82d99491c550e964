"""The hips of a real person: one intact femur that the scan cuts off, one with a nail."""

from pathlib import Path

import numpy as np
import pytest

from lib.anatomy.femur.location import locate_hip
from lib.anatomy.locate import WindowRequest, margins_of, window_center
from lib.crop_settings import CropConfig
from lib.density.rods import density_phantom_in_view
from lib.errors import ScanError
from lib.imaging.crop import crop_image, crop_labels
from lib.imaging.grid import array_zyx, volume_mm3
from lib.imaging.model_frame import ModelFrame
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.reading.image_files import read_image_file, read_labels

REAL = Path(__file__).parents[3] / "shared" / "data" / "real" / "totalsegmentator"
LABELS = {"left": 75, "right": 76}
# the window of the study is 192 pixels of at least 0.742 mm, 142 mm; here pixels have 3 mm
CONFIG = CropConfig(size=(47, 47))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data/real beside the checkout is absent"),
]


@pytest.fixture(scope="module")
def image():
    return read_image_file(REAL / "example_ct.nii.gz")[0]


@pytest.mark.parametrize("side", LABELS)
def test_the_window_holds_the_whole_femur_with_a_margin(image, side):
    mask = read_labels(REAL / "example_seg_fast_force_split.nii.gz", {"femur": (LABELS[side],)})
    hip = locate_hip(image, side, CONFIG)
    assert not hip.uncertain
    asked = WindowRequest(anatomy="proximal-femur", side=side)
    _, record = crop_image(
        image,
        window_center(image, asked, CONFIG, hip),
        CONFIG,
        margins_of("proximal-femur", CONFIG),
        fixed_range(IntensityConfig()),
        ModelFrame(mirrored=side == "right"),
    )
    assert record.flags == ()
    cropped = crop_labels(mask, record.to_json())
    assert volume_mm3(cropped) == volume_mm3(mask)
    _, y, x = np.nonzero(array_zyx(cropped))
    assert 3.0 * min(x.min(), 46 - x.max(), y.min(), 46 - y.max()) >= 20.0


@pytest.mark.parametrize(("side", "columns"), [("left", slice(58, None)), ("right", slice(0, 64))])
def test_a_view_of_one_hip_finds_the_same_place_and_doubts_it(image, side, columns):
    whole, alone = locate_hip(image, side, CONFIG), locate_hip(image[columns, :, :], side, CONFIG)
    assert alone.uncertain
    assert alone.center_mm_xy == pytest.approx(whole.center_mm_xy, abs=3.0)
    other = "right" if side == "left" else "left"
    with pytest.raises(ScanError, match=f"appears to be the {side} one"):
        locate_hip(image[columns, :, :], other, CONFIG)


def test_abdomen_and_spine_are_not_taken_for_a_certain_hip(image):
    for first_slice in (20, 30, 40, 60):
        try:
            assert locate_hip(image[:, :, first_slice:], "left", CONFIG).uncertain
        except ScanError as error:
            assert error.code == "not_in_view"


def test_there_is_no_density_phantom(image):
    assert not density_phantom_in_view(image)
