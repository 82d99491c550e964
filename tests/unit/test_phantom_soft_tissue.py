import numpy as np
import pytest

from lib.phantom.anatomy.soft_tissue import BodyFrame, back_depth_mm, draw_habitus, narrowed, soft_slices
from lib.phantom.scanner.ct import FAT_HU, MUSCLE_HU, USUAL_TISSUES
from lib.phantom.voxelize import VoxelGrid

X_MM, Y_MM, Z_MM = np.arange(-220.0, 221, 2), np.arange(-190.0, 191, 2), np.arange(-100.0, 50, 30)


def drawn(size=1.0, origin=(0.0, 0.0, 0.0), widest_mm=210.0, z_mm=Z_MM):
    habitus = narrowed(draw_habitus(np.random.default_rng(5)), widest_mm, size)
    frame = BodyFrame(
        size=size, turn_degrees=0.0, origin_xyz_mm=origin, back_mm=origin[1] + back_depth_mm(habitus, size)
    )
    grid = VoxelGrid(
        origin_xyz_mm=(X_MM[0], Y_MM[0], z_mm[0]),
        spacing_xyz_mm=(2.0, 2.0, z_mm[1] - z_mm[0]),
        size_xyz=(len(X_MM), len(Y_MM), len(z_mm)),
    )
    slices = list(soft_slices(grid, habitus, frame, np.random.default_rng(6)))
    contrast = USUAL_TISSUES.contrast(enhanced=False)
    hu = np.stack([piece.to_pixels(contrast.soft(piece)[0]) for piece in slices])
    return hu, np.stack([piece.body for piece in slices]), frame


def test_back_is_flat_where_the_table_presses():
    _, body, frame = drawn()
    rows = np.nonzero(body[-1].max(axis=1) > 0.5)[0]
    assert Y_MM[rows].max() == pytest.approx(frame.back_mm, abs=2.0)
    assert (body[-1, rows.max()] > 0.2).sum() * 2.0 > 60


@pytest.mark.parametrize("widest_mm", [165.0, 180.0, 210.0])
def test_body_stays_within_the_width_it_is_given(widest_mm):
    _, body, _ = drawn(widest_mm=widest_mm)
    columns = np.nonzero(body.max(axis=(0, 1)) > 0.5)[0]
    assert np.abs(X_MM[columns]).max() <= widest_mm + 2


def test_body_moves_and_grows_with_the_person():
    _, body, _ = drawn(widest_mm=400.0)
    _, moved, _ = drawn(origin=(10.0, -6.0, 30.0), widest_mm=400.0, z_mm=Z_MM + 30)
    places = [np.average(X_MM, weights=image.sum(axis=(0, 1))) for image in (body, moved)]
    assert places[1] - places[0] == pytest.approx(10.0, abs=0.2)
    places = [np.average(Y_MM, weights=image.sum(axis=(0, 2))) for image in (body, moved)]
    assert places[1] - places[0] == pytest.approx(-6.0, abs=0.2)
    assert moved.sum() == pytest.approx(body.sum(), rel=0.003)
    _, larger, _ = drawn(size=1.08, widest_mm=400.0, z_mm=Z_MM * 1.08)
    # fat is drawn in mm, whatever the size
    assert 1.08 * body.sum() < larger.sum() < 1.08**2 * body.sum()


def test_fat_lies_around_muscle():
    hu, body, _ = drawn()
    # 6 mm below the skin at the side there is fat, 40 mm in front of the thigh bone's place there is muscle
    middle = len(Y_MM) // 2
    level = int(np.argmin(np.abs(Z_MM + 70)))
    skin = np.nonzero(body[level, middle] > 0.5)[0][-1]
    assert hu[level, middle, skin - 3] == pytest.approx(FAT_HU, abs=30)
    inside = hu[level][body[level] > 0.99]
    assert ((inside > MUSCLE_HU - 15) & (inside < MUSCLE_HU + 10)).mean() > 0.3
    assert inside.min() >= -150
