"""The renderer of solids: positions, colours, and shades that remain distinguishable."""

import numpy as np
import pytest

from lib.figures.palette import BONE, PREDICTED, REFERENCE, structure_color
from lib.figures.surface_render import render_solid, turntable

SPACING = (3.0, 0.8, 0.8)
# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
VISION = {
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
    "common": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


def ball(center_mm, radius_mm, shape=(40, 100, 100)):
    """A ball on SPACING; `center_mm` (z, y, x)."""
    grid = np.indices(shape) * np.reshape(SPACING, (3, 1, 1, 1))
    return sum((axis - c) ** 2 for axis, c in zip(grid, center_mm, strict=True)) < radius_mm**2


def seen(picture):
    return np.argwhere(picture[..., 3] > 127)


def kinds(picture):
    """Numbers of pixels of full colour that are nearest in hue to bone in both masks, added and missed bone."""
    colors = picture[picture[..., 3] == 255][:, :3].astype(float)
    hues = np.array([BONE, PREDICTED, REFERENCE], float)  # bone in only one mask has the colour of that mask
    hues /= np.linalg.norm(hues, axis=1, keepdims=True)
    return np.bincount((colors @ hues.T).argmax(axis=1), minlength=3)


def test_a_ball_is_a_disc_from_every_side():
    mask = ball((60, 40, 40), 30)
    for picture in turntable(None, mask, SPACING, [0, 37, 90, 201], 120):
        assert picture.shape == (120, 120, 4)
        assert picture.dtype == np.uint8
        pixels = seen(picture)
        height, width = np.ptp(pixels, axis=0) + 1
        assert abs(height - width) <= 4
        # a margin of 4 % on either side of the diameter
        assert len(pixels) == pytest.approx(np.pi / 4 * (0.92 * 120) ** 2, rel=0.02)
        assert pixels.mean(axis=0) == pytest.approx([59.5, 59.5], abs=1.5)


def test_the_head_is_up_and_the_patients_left_at_the_viewers_right():
    # a large ball with a small one above it, to the patient's left and in front
    mask = ball((45, 50, 40), 20) | ball((80, 20, 65), 8)
    front, left, back, right = turntable(None, mask, SPACING, [0, 90, 180, 270], 160)

    def tip(picture):
        pixels = seen(picture)
        return pixels[pixels[:, 0] < pixels[:, 0].min() + 8].mean(axis=0)

    rows, columns = zip(*(tip(picture) for picture in (front, left, back, right)), strict=True)
    assert max(rows) < 40
    # from the left side the front of the body is at the viewer's left
    assert columns[0] > 85
    assert columns[1] < 75
    assert columns[2] < 75
    assert columns[3] > 85


def test_the_nearer_of_two_solids_hides_the_other():
    # missed bone in front of added bone
    front, behind = ball((60, 20, 40), 12), ball((60, 64, 40), 12)
    from_front, from_behind = turntable(front, behind, SPACING, [0, 180], 100)
    assert kinds(from_front)[1] == 0 < kinds(from_front)[2]
    assert kinds(from_behind)[2] == 0 < kinds(from_behind)[1]


def test_grey_is_in_both_orange_is_missed_blue_is_added():
    small, large = ball((60, 40, 40), 24), ball((60, 40, 40), 30)
    for reference, predicted, most in ((small, small, 0), (small, large, 1), (large, small, 2)):
        counts = kinds(render_solid(reference, predicted, SPACING, 0, 100))
        assert counts[most] == counts.sum() > 1000


def test_structures_have_their_colours_and_missed_bone_that_of_the_reference():
    whole = ball((60, 40, 40), 30)
    labels = whole.astype(np.uint8)
    labels[:, :, 50:] *= 2
    for reference, lost in ((None, 0), (whole, 0), (ball((60, 40, 40), 36), 1)):
        (picture,) = turntable(reference, labels, SPACING, [0], 150, 2)
        colors = picture[picture[..., 3] == 255][:, :3].astype(float)
        hues = np.array([structure_color(0), structure_color(1), REFERENCE], float)
        hues /= np.linalg.norm(hues, axis=1, keepdims=True)
        first, second, missed = np.bincount((colors @ hues.T).argmax(axis=1), minlength=3)
        assert (missed > 1000) == bool(lost)
        if not lost:
            # the plane x = 39.6 mm halves the ball; the patient's left, the second structure, is at the right
            assert first / (first + second) == pytest.approx(0.5, abs=0.03) and not missed


def test_errors_cover_the_share_of_the_picture_that_they_cover_of_the_surface():
    reference = ball((60, 40, 40), 30)
    predicted = reference.copy()
    predicted[:, :, 50:] = False
    red, _, blue = kinds(render_solid(reference, predicted, SPACING, 0, 150))
    # the plane x = 39.6 mm halves the ball as seen from the front
    assert blue / (red + blue) == pytest.approx(0.5, abs=0.03)


def test_a_prediction_without_reference_has_the_colour_of_bone_lit_from_above():
    picture = render_solid(None, ball((60, 40, 40), 30), SPACING, 0, 100).astype(float)
    inside = picture[..., 3] == 255
    ratio = picture[inside][:, :3] / np.array(BONE)
    assert np.ptp(ratio, axis=1).max() < 0.02
    assert ratio.max() == pytest.approx(1, abs=0.02)
    rows = np.argwhere(inside)[:, 0]
    assert ratio[rows < 35].mean() > ratio[rows > 65].mean() + 0.1


def test_nothing_gives_an_empty_picture_and_a_full_array_does_not_fail():
    empty = np.zeros((4, 5, 6), bool)
    assert not render_solid(empty, empty, SPACING, 0, 50).any()
    assert len(seen(render_solid(None, ~empty, SPACING, 30, 50))) > 300
    thin = np.indices(empty.shape).sum(0) == 3
    assert len(seen(render_solid(None, thin, SPACING, 0, 40))) > 30


def test_masks_on_two_grids_are_refused():
    with pytest.raises(ValueError, match="one grid"):
        render_solid(np.ones((2, 3, 4)), np.ones((2, 3, 5)), SPACING, 0, 20)


def lightness_and_hue(color, matrix):
    """Lightness and hue (CIELAB, D65) of an sRGB colour as seen with a kind of colour vision."""
    srgb = np.array(color) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(np.array(matrix) @ linear, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("matrix", VISION.values(), ids=VISION.keys())
def test_shades_stay_apart_with_every_kind_of_colour_vision(matrix):
    true, missed, added = (lightness_and_hue(color, matrix) for color in (BONE, REFERENCE, PREDICTED))
    for one, other in ((true, missed), (true, added), (missed, added)):
        assert np.linalg.norm(one - other) > 30
