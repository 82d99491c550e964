"""Contour pictures: outlines where masks end, true orientation, small files."""

import numpy as np
import pytest
from PIL import Image

from lib.catalog.modalities import MODALITIES
from lib.figures.contours import (
    COLUMNS,
    GAP_PX,
    HEADER_PX,
    ROWS,
    TILE_PX,
    Sight,
    choose_slices,
    draw_contours,
    draw_thumbnail,
    grey_levels,
    look_of,
    mask_contours,
    named_masks,
    write_picture,
)
from lib.figures.palette import PREDICTED, REFERENCE, structure_color
from lib.figures.slices import draw_sheet

SPACING = (3.0, 0.8, 0.8)


def scan(depth=30, size=96):
    z, y, x = np.mgrid[:depth, :size, :size]
    mask = (((y - 48) ** 2 + (x - 60) ** 2) < 18**2) & (z < depth - 4)
    return np.where(mask, 112, 55).astype(np.uint8), mask


def near(picture, color, tolerance=60):
    return (np.abs(np.asarray(picture, int) - color) < tolerance).all(axis=-1)


def test_grey_runs_from_black_to_white_over_the_window():
    values = np.array([[-3000, -250, 375, 999, 1000, 3000]], np.int16)
    assert grey_levels(values, MODALITIES["CT"].window({})).tolist() == [[0, 0, 127, 254, 255, 255]]
    own = MODALITIES["MR"].window({"low": 100.0, "high": 610.0})
    assert grey_levels(np.array([0, 100, 355, 610, 32767], np.int16), own).tolist() == [0, 0, 127, 255, 255]


def test_pictures_of_a_ct_show_hu_as_ever():
    hu_zyx = np.random.default_rng(3).integers(-1024, 3000, (7, 40, 40)).astype(np.int16)
    grey_zyx = grey_levels(hu_zyx, MODALITIES["CT"].window({"low": 0.0, "high": 1.0}))
    sheet = np.asarray(draw_sheet(grey_zyx, Sight(start_yx=(0, 0), edge=40)))
    for index, slice_yx in enumerate(hu_zyx):
        # the window of all pictures before other modalities came
        expected = np.clip((slice_yx.astype(np.float32) + 250.0) * (255 / 1250.0), 0, 255).astype(np.uint8)
        top, left = 40 * (index // 3), 40 * (index % 3)
        assert np.array_equal(sheet[top : top + 40, left : left + 40], expected)


def test_an_outline_runs_half_a_pixel_outside_the_mask():
    mask = np.zeros((10, 10), bool)
    mask[3:6, 2:8] = True
    (line,) = mask_contours(mask)
    assert np.array_equal(line[0], line[-1])
    assert line[:, 0].min() == 1.5
    assert line[:, 0].max() == 7.5
    assert (line[:, 1].min(), line[:, 1].max()) == (2.5, 5.5)


def test_a_mask_at_the_border_still_has_a_closed_outline():
    mask = np.zeros((6, 6), bool)
    mask[0:2] = True
    (line,) = mask_contours(mask)
    assert np.array_equal(line[0], line[-1])
    assert mask_contours(np.zeros((4, 4), bool)) == []


def test_slices_run_from_the_distal_end_to_the_top_of_the_bone():
    _, mask = scan()
    chosen = choose_slices(mask, 10)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 25, 10)
    assert (np.diff(chosen) > 0).all()
    assert choose_slices(np.zeros((5, 3, 3), bool), 3).tolist() == [0, 2, 4]


def test_both_contours_are_drawn_and_the_reference_only_if_there_is_one():
    image, mask = scan()
    both = draw_contours(image, named_masks(mask, np.roll(mask, 6, axis=2)), SPACING, "P001")
    alone = draw_contours(image, named_masks(mask, None), SPACING, "P001")
    assert near(both, REFERENCE).sum() > 1000
    assert near(both, PREDICTED).sum() > 1000
    assert near(alone, REFERENCE).sum() == 0
    assert near(alone, PREDICTED).sum() > 1000
    assert both.size == (
        COLUMNS * (TILE_PX + GAP_PX) + GAP_PX,
        ROWS * (TILE_PX + GAP_PX) + GAP_PX + HEADER_PX,
    )


def test_each_of_several_structures_has_its_colour_and_its_name():
    image, mask = scan()
    labels = mask.astype(np.uint8)
    labels[:, :, 60:] *= 2
    assert list(named_masks(labels, labels, ("L1", "L2"))) == ["L1", "L2", "reference L1", "reference L2"]
    names = ["L1", "L2", "reference L1", "reference L2"]
    assert [look_of(name, names) for name in names] == [
        *((structure_color(position), False) for position in (0, 1)),
        *[(REFERENCE, True)] * 2,
    ]
    alone = draw_contours(image, named_masks(labels, None, ("L1", "L2")), SPACING, "P001")
    tiles, legend = np.asarray(alone)[HEADER_PX:], np.asarray(alone)[:HEADER_PX]
    for position in (0, 1):
        assert near(tiles, structure_color(position)).sum() > 500
        assert near(legend, structure_color(position)).sum() > 30
    left, right = (np.nonzero(near(legend, structure_color(position)))[1].mean() for position in (0, 1))
    assert left < right  # in the order of the structures
    first, second = (np.nonzero(near(tiles[:TILE_PX], structure_color(n)))[1].mean() for n in (0, 1))
    assert first < second
    assert (
        near(draw_contours(image, named_masks(labels, labels, ("L1", "L2")), SPACING, ""), REFERENCE).sum()
        > 1000
    )


def test_the_patients_left_is_at_the_right_and_the_front_on_top():
    image, mask = scan()
    image[:, 20:30, 64:80] = 255  # in front of the bone, to its left
    picture = np.asarray(draw_contours(image, named_masks(mask, None), SPACING, "").convert("L"), int)
    tile = picture[HEADER_PX : HEADER_PX + TILE_PX, GAP_PX : GAP_PX + TILE_PX]
    bright = np.argwhere(tile > 250)
    bright = bright[(bright[:, 0] > 20) & (np.abs(bright[:, 0] - TILE_PX // 2) > 12)]  # not the letters
    assert bright[:, 0].mean() < TILE_PX / 2 < bright[:, 1].mean()


def test_an_empty_prediction_can_be_looked_at():
    image, mask = scan()
    picture = draw_contours(image, named_masks(np.zeros_like(mask), None), SPACING, "P001")
    assert near(picture, PREDICTED)[HEADER_PX:].sum() == 0
    assert draw_thumbnail(image, named_masks(np.zeros_like(mask), None), SPACING).size == (112, 112)


def test_files_are_small_repeatable_and_hold_nothing_but_pixels(tmp_path):
    image, mask = scan()
    image = (image + np.random.default_rng(1).normal(0, 4, image.shape)).astype(np.uint8)
    pictures = [draw_contours(image, named_masks(mask, mask), SPACING, "P001") for _ in range(2)]
    for name, picture in zip(("a.webp", "b.webp"), pictures, strict=True):
        write_picture(picture, tmp_path / name)
    content = (tmp_path / "a.webp").read_bytes()
    assert content == (tmp_path / "b.webp").read_bytes()
    assert len(content) < 150_000
    read = Image.open(tmp_path / "a.webp")
    assert read.size == pictures[0].size
    assert not {"exif", "xmp", "icc_profile"} & set(read.info)


@pytest.mark.parametrize("spacing", [(3.0, 0.742, 0.742), (3.0, 0.977, 0.977)])
def test_the_window_keeps_a_margin_around_the_bone(spacing):
    image, mask = scan()
    picture = draw_contours(image, named_masks(mask, None), spacing, "")
    tile = near(picture, PREDICTED)[HEADER_PX : HEADER_PX + TILE_PX, GAP_PX : GAP_PX + TILE_PX]
    edge_mm = 35 * spacing[1] + 2 * 15
    margin_px = 15 / edge_mm * TILE_PX
    rows = np.flatnonzero(tile.any(axis=1))
    assert rows[0] == pytest.approx(margin_px, abs=0.12 * margin_px)


def test_where_both_outlines_run_together_both_are_seen():
    image, mask = scan()
    together = draw_contours(image, named_masks(mask, mask), SPACING, "")
    alone = draw_contours(image, named_masks(mask, None), SPACING, "")
    tiles = (slice(HEADER_PX, None), slice(None))
    predicted = near(together, PREDICTED)[tiles].sum() / near(alone, PREDICTED)[tiles].sum()
    # dashes of 5 pixels with gaps of 4 let the line below through
    assert 0.2 < predicted < 0.6
    assert near(together, REFERENCE)[tiles].sum() > 1000


def test_pixels_that_are_not_square_keep_their_shape():
    _, y, x = np.mgrid[:12, :48, :96]
    mask = (1.6 * (y - 24)) ** 2 + (0.8 * (x - 48)) ** 2 < 15**2  # a disc in mm
    grey = np.where(mask, 255, 0).astype(np.uint8)
    tile = np.asarray(
        draw_thumbnail(grey, named_masks(np.zeros_like(mask), None), (3.0, 1.6, 0.8)).convert("L")
    )
    rows, columns = (np.ptp(np.flatnonzero((tile > 128).any(axis=axis))) for axis in (1, 0))
    assert rows == pytest.approx(columns, abs=2) and rows > 20
