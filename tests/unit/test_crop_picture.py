"""The crop picture: position of the window, the patient's left at the right, doubts and sources as text."""

import numpy as np
import pytest

from lib.figures.contours import GAP_PX, PAPER, write_picture
from lib.figures.crop_picture import (
    LINE_PX,
    PLANE_WIDTH_PX,
    SCALE_PX,
    CropSight,
    describe_crop,
    draw_crop,
    window_color,
)
from lib.figures.palette import FOUND, GIVEN, PREDICTED, REFERENCE, UNCERTAIN

SIZE = 230  # pixels of 1 mm: two pixels of the picture each
PX = PLANE_WIDTH_PX / SIZE
TOP = 2 * GAP_PX + LINE_PX
DOUBTS = ["only one hip is in view", "the femur looks 130 mm wide, expected 55 to 120"]


def sight(**changes):
    """A scan of air, 30 slices of 3 mm, with a window from (120, 60) of 80 x 100 pixels and the lower 20 slices."""
    given = {
        "image_zyx": np.full((30, SIZE, SIZE), -1000, np.int16),
        "window": (-250.0, 1000.0),
        "projection_window": (-200.0, 1600.0),
        "spacing_mm_zyx": (3.0, 1.0, 1.0),
        "start_xyz": (120, 60, 0),
        "size_xyz": (80, 100, 20),
        "center_xy": (159.5, 109.5),
        "head_z": 12.3,
        "x_mm": (-115.0, 114.0),
        "y_mm": (-115.0, 114.0),
    }
    return CropSight(**given | changes)


def record(source="automatic", flags=()):
    margins_mm = {"lateral": 23.4, "anterior": 31.0, "posterior": 9.6}
    return {
        "side": "right",
        "center_mm_xy": [-94.92, -20.41],
        "source": source,
        "margins_mm": margins_mm,
        "flags": flags,
    }


def box(picture, view, color):
    """Return low x, high x, low y, high y of what has the colour in a view, in pixels from the view's corner."""
    left = GAP_PX + view * (PLANE_WIDTH_PX + SCALE_PX + GAP_PX)
    part = np.asarray(picture, int)[TOP:, left : left + PLANE_WIDTH_PX]
    rows, columns = np.nonzero((np.abs(part - color) < 30).all(axis=-1))
    return columns.min(), columns.max(), rows.min(), rows.max()


def test_the_window_is_drawn_round_its_voxels_in_both_views():
    picture = draw_crop(sight(), ["P001"], FOUND)
    assert box(picture, 0, FOUND) == pytest.approx((120 * PX, 200 * PX - 1, 60 * PX, 160 * PX - 1), abs=1)
    # the window lacks the upper 10 of 30 slices; the head is on top
    assert box(picture, 1, FOUND) == pytest.approx((120 * PX, 200 * PX - 1, 30 * PX, 90 * PX - 1), abs=1)


def test_a_window_that_leaves_the_scan_is_shown_whole():
    picture = draw_crop(sight(start_xyz=(-40, 180, 0), center_xy=(-0.5, 229.5)), ["P001"], FOUND)
    high = np.asarray(picture, int)
    rows, columns = np.nonzero((np.abs(high[TOP:] - FOUND) < 30).all(axis=-1))
    assert columns.min() == pytest.approx(GAP_PX, abs=1)
    assert rows.max() == pytest.approx(280 * PX - 1, abs=1)


def test_the_axial_view_shows_the_head_s_slice_and_the_left_at_the_right():
    image_zyx = np.full((30, SIZE, SIZE), -1000, np.int16)
    image_zyx[12, 20:40, 200:220] = 1500  # in front, to the patient's left
    axial = np.asarray(draw_crop(sight(image_zyx=image_zyx), ["P001"], FOUND).convert("L"), int)
    bright = np.argwhere(axial[TOP + 40 : TOP + SIZE * 2, GAP_PX : GAP_PX + PLANE_WIDTH_PX - 20] > 250)
    assert np.ptp(bright[:, 1]) == pytest.approx(20 * PX - 1, abs=3)
    assert bright[:, 1].min() == pytest.approx(200 * PX, abs=2)


def test_without_a_head_the_slice_with_most_bone_in_the_window_is_shown():
    image_zyx = np.full((30, SIZE, SIZE), -1000, np.int16)
    image_zyx[7, 100:120, 150:170] = 700
    image_zyx[3, 0:50, 0:100] = 700  # more bone, outside of the window
    assert sight(image_zyx=image_zyx, head_z=None).axial_index == 7
    assert sight(head_z=12.6).axial_index == 13
    assert sight(head_z=900.0).axial_index == 29


def test_the_coronal_view_shows_bone_at_any_depth_of_the_window():
    image_zyx = np.full((30, SIZE, SIZE), -1000, np.int16)
    image_zyx[5, 65, 130] = 900
    image_zyx[5, 20, 140] = 900  # in front of the window
    coronal_zx = sight(image_zyx=image_zyx).coronal_zx
    assert coronal_zx.shape == (30, SIZE)
    assert (coronal_zx[5, 130], coronal_zx[5, 140]) == (900, -1000)


def test_the_words_name_side_source_margins_and_flags():
    lines = describe_crop("P001", record(flags=("bone_at_border", "padded")), None, "right hip")
    assert lines[0] == "P001   right hip   centre (-94.9, -20.4) mm LPS, found automatically"
    assert "lateral 23 mm, anterior 31 mm, posterior 10 mm" in lines[1]
    assert "bone_at_border, padded" in lines[1]


def test_doubts_are_written_out_and_say_how_to_override():
    lines = describe_crop("P001", record(flags=("crop_uncertain",)), {"doubts": DOUBTS}, "right hip")
    assert "UNCERTAIN" in lines[0]
    assert [line for line in lines if line.startswith("doubt: ")] == [f"doubt: {doubt}" for doubt in DOUBTS]
    assert any("crop_x_mm, crop_y_mm" in line for line in lines)
    assert not any("doubt" in line for line in describe_crop("P001", record(), None, ""))


def test_an_override_is_said():
    assert (
        "given in the cohort table" in describe_crop("P001", record("override", ("override",)), None, "")[0]
    )


def test_the_colour_tells_what_the_centre_rests_on():
    assert window_color(record()) == FOUND
    assert not {FOUND, UNCERTAIN, GIVEN} & {PREDICTED, REFERENCE}  # these are colours of masks
    assert window_color(record(flags=("crop_uncertain",))) == UNCERTAIN
    assert window_color(record("override", ("override",))) == GIVEN


def test_long_doubts_stay_in_the_picture():
    lines = describe_crop("P001", record(flags=("crop_uncertain",)), {"doubts": ["word " * 100]}, "")
    picture = np.asarray(draw_crop(sight(), lines, FOUND), int)
    assert (picture[: LINE_PX * len(lines), -8:] == PAPER).all()


def test_files_are_repeatable(tmp_path):
    for name in ("a.webp", "b.webp"):
        write_picture(draw_crop(sight(), ["P001"], FOUND), tmp_path / name)
    assert (tmp_path / "a.webp").read_bytes() == (tmp_path / "b.webp").read_bytes()
