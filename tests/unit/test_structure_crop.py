"""The inner part of a structure, and the crop around it that a regression reads."""

import numpy as np
import pytest
import SimpleITK as sitk
from spine_scene import NAMES, box, draw, judged

from lib.anatomy.spine.levels import find_levels
from lib.imaging.eroded import erode
from lib.imaging.grid import array_zyx
from lib.imaging.structure_crop import crop_around
from lib.measuring.crops import LabelledScan, cut_crops
from lib.regression_settings import RegressionConfig

TARGETS = {"L1": "bmd_l1_k2hpo4_mg_cm3", "L3": "bmd_l3_k2hpo4_mg_cm3"}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_erosion_counts_millimetres(spacing):
    """A cube of 30 mm, eroded by 5 mm, keeps a cube of 20 mm."""
    shape = [round(60 / edge) for edge in spacing]
    z, y, x = (abs((np.arange(n) + 0.5) * edge - 30) < 15 for n, edge in zip(shape, spacing, strict=True))
    cube = z[:, None, None] & y[:, None] & x
    eroded = erode(cube, spacing, 5.0)
    assert eroded.depth_mm == 5.0
    assert eroded.volume_mm3(np.prod(spacing)) == pytest.approx(20.0**3, rel=0.25)


def test_a_small_structure_is_eroded_less_and_a_tiny_one_not_at_all():
    mask = np.zeros((40, 40, 40), bool)
    mask[10:26, 10:26, 10:26] = True  # 16 mm: 5 mm leave 6 mm, 3 mm leave 10 mm
    assert erode(mask, (1.0, 1.0, 1.0), 5.0).depth_mm == 3.0
    mask[:, :, 17:] = False
    tiny = erode(mask, (1.0, 1.0, 1.0), 5.0)
    assert tiny.mask_zyx is None and tiny.volume_mm3(1.0) == 0.0


def test_a_structure_at_the_edge_of_the_array_has_a_surface_there():
    eroded = erode(np.ones((20, 20, 20), bool), (1.0, 1.0, 1.0), 4.0)
    assert eroded.mask_zyx.any() and not eroded.mask_zyx[0].any()


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_shows_a_linear_image_exactly(turned):
    """Trilinear interpolation reproduces a plane: every voxel of the crop has the value of its place."""
    shape = (30, 40, 50)
    z, y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    image = sitk.GetImageFromArray((3 * x - 2 * y + 5 * z).astype(np.int16))
    image.SetSpacing((2.0, 1.5, 3.0))
    image.SetOrigin((10.0, -20.0, 300.0))
    if turned:
        turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.radians([6.0, -9.0, 14.0]).tolist())
        image.SetDirection(turn.GetMatrix())
    mask = (abs(x - 20) < 6) & (abs(y - 18) < 6) & (abs(z - 14) < 4)
    center = image.TransformContinuousIndexToPhysicalPoint((20.0, 18.0, 14.0))
    crop, inside = crop_around(image, mask, center, (16, 12, 10), 1.25)
    assert crop.GetSize() == (16, 12, 10) and crop.GetSpacing() == (1.25,) * 3
    k, j, i = 4, 7, 9
    at = image.TransformPhysicalPointToContinuousIndex(crop.TransformIndexToPhysicalPoint((i, j, k)))
    assert array_zyx(crop)[k, j, i] == pytest.approx(3 * at[0] - 2 * at[1] + 5 * at[2], abs=0.51)
    middle = crop.TransformContinuousIndexToPhysicalPoint((7.5, 5.5, 4.5))
    assert middle == pytest.approx(center)
    mm3 = np.count_nonzero(array_zyx(inside)) * 1.25**3
    assert 0 < mm3 <= 16 * 12 * 10 * 1.25**3 and set(np.unique(array_zyx(inside))) <= {0, 1}


def test_beyond_the_scan_there_is_air():
    image, labels = draw()
    crop, _ = crop_around(image, array_zyx(labels) == 1, image.GetOrigin(), (16, 16, 16), 2.0)
    assert array_zyx(crop)[0, 0, 0] == -1000


def crops_of(image, labels, reference=None, masks="predicted", **given):
    levels = find_levels(judged(image, labels, **given))
    scan = LabelledScan(image=image, predicted=labels, reference=reference)
    return cut_crops(scan, levels, NAMES, RegressionConfig(targets=TARGETS, crop={"masks": masks}))


def test_crops_are_cut_of_targets_only():
    crops = crops_of(*draw())
    assert list(crops) == ["L1", "L3"]
    image, mask = crops["L3"]
    assert image.GetPixelID() == sitk.sitkInt16 and image.GetSize() == (48, 48, 48)
    assert array_zyx(image)[array_zyx(mask) > 0].mean() == pytest.approx(150, abs=12)


def test_a_level_whose_density_is_withheld_has_no_crop():
    image, labels = draw()
    raw = [array_zyx(labels) == number for number in range(1, 7)]
    raw[0] = raw[0] | box((119.0, 60.0, 210.0), (11.0, 11.0, 13.0))
    assert list(crops_of(image, labels, raw_zyx=raw)) == ["L3"]


def test_crops_around_the_masks_of_a_person():
    image, labels = draw()
    assert crops_of(image, labels, masks="reference") == {}
    moved = sitk.Image(labels)
    shifted = np.roll(array_zyx(labels), 5, axis=2)
    moved = sitk.GetImageFromArray(shifted)
    moved.CopyInformation(labels)
    own, of_person = (
        crops_of(image, labels)["L3"],
        crops_of(image, labels, reference=moved, masks="reference")["L3"],
    )
    assert np.subtract(of_person[0].GetOrigin(), own[0].GetOrigin()) == pytest.approx([10.0, 0.0, 0.0])
