"""The picture of the rods that were measured: discs lie on the rods, and words tell the calibration."""

import numpy as np
from rod_scene import RodScene, certificate, scene

from lib.calibration_settings import CalibrationConfig
from lib.density.phantom_calibration import calibrate_by_phantom
from lib.figures.palette import FOUND, UNCERTAIN
from lib.figures.rods_picture import HEADER_PX, WIDTH_PX, RodSight, draw_rods
from lib.imaging.grid import array_zyx, column_index, spacing_zyx


def drawn(made):
    image = made.image()
    found = calibrate_by_phantom(image, certificate(), CalibrationConfig())
    sight = RodSight(
        slice_yx=array_zyx(image)[image.GetSize()[2] // 2],
        pixel_mm_yx=spacing_zyx(image)[1:],
        centers_xy=[column_index(image, (rod["x_mm"], rod["y_mm"])) for rod in found.rods],
        radius_mm=5.4,
    )
    return np.asarray(draw_rods(sight, "S1", found)).astype(int), found


def near(pixels, color):
    return np.abs(pixels - color).sum(axis=2) < 60


def test_discs_lie_on_the_rods():
    pixels, found = drawn(scene())
    assert pixels.shape[1] == WIDTH_PX and found.verdict == "ok"
    rows, columns = np.nonzero(near(pixels, FOUND))
    # five rods 32 mm apart, 22 mm of margin on both sides
    px_per_mm = WIDTH_PX / (4 * 32 + 2 * 22)
    for place in range(5):
        center = (22 + 32 * place) * px_per_mm
        assert (np.abs(columns - center) < 6 * px_per_mm).sum() > 60, place
    assert abs((rows.min() + rows.max()) / 2 - HEADER_PX - 22 * px_per_mm) < 2 * px_per_mm
    assert not near(pixels, UNCERTAIN).any()


def test_rods_that_were_left_out_have_another_colour():
    pixels, found = drawn(scene(size_mm_xy=(2 * (64 + 3.0), 260.0)))
    assert [rod["used"] for rod in found.rods] == [False, True, True, True, False]
    assert near(pixels[HEADER_PX:], UNCERTAIN).any() and near(pixels, FOUND).any()


def test_without_rods_the_whole_slice_is_shown_with_the_reason():
    made = RodScene()
    made.body()
    pixels, found = drawn(made)
    assert found.reason == "no_rods" and near(pixels[:HEADER_PX], UNCERTAIN).any()
    assert not near(pixels[HEADER_PX:], UNCERTAIN).any() and pixels[HEADER_PX:].max() == 255
