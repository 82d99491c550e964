"""A crop centre given in the table is compared with the hip that is found."""

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import Scene, draw, turned

from lib.anatomy.femur.location import locate_hip
from lib.crop_settings import CropConfig
from lib.imaging.nifti import write_image
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

SIGN = {"left": 1, "right": -1}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    image, _ = draw(Scene())
    path = tmp_path_factory.mktemp("scene") / "scan.nii.gz"
    write_image(image, path)
    return image, path


def screened(path, side, center_mm_xy, **config):
    request = ScanRequest(side=side, crop_center_mm_xy=tuple(center_mm_xy))
    screening = screen_scan(path, request, ScreeningConfig(**config), CropConfig())
    return screening.verdict, {reason.code: reason.found for reason in screening.reasons}


@pytest.mark.parametrize("side", SIGN)
def test_centre_near_the_hip_is_taken(scene, side):
    image, path = scene
    found = np.array(locate_hip(image, side, CropConfig()).center_mm_xy)
    for off_mm in ((0, 0), (40, -30), (-50, 50)):
        assert screened(path, side, found + off_mm) == ("ok", {})


@pytest.mark.parametrize("side", SIGN)
def test_centre_on_the_other_hip_is_refused(scene, side):
    image, path = scene
    x_mm, y_mm = locate_hip(image, side, CropConfig()).center_mm_xy
    verdict, found = screened(path, side, (-x_mm, y_mm))
    assert verdict == "rejected"
    assert f"from the {side} hip found at ({x_mm:.0f}, {y_mm:.0f}) mm" in found["crop_center_elsewhere"]
    assert "nearer to the other hip" in found["crop_center_elsewhere"]


@pytest.mark.parametrize("side", SIGN)
def test_centre_in_air_is_refused(scene, side):
    _, path = scene
    verdict, found = screened(path, side, (SIGN[side] * 205, -135))
    assert verdict == "rejected"
    assert "0.0 cm³ of bone around it" in found["crop_center_elsewhere"]


def test_centre_on_other_bone_of_the_side_is_flagged(scene):
    _, path = scene
    verdict, found = screened(path, "left", (15, 20))
    assert verdict == "ok"
    assert found["crop_uncertain"].startswith("the given centre lies ")


def test_oblique_scan_is_compared_in_the_patient(scene, tmp_path):
    image, _ = scene
    oblique = turned(image, (4.0, -5.0, 25.0))
    write_image(oblique, tmp_path / "scan.nii.gz")
    own, other = (locate_hip(oblique, side, CropConfig()).center_mm_xy for side in ("left", "right"))
    assert "crop_center_elsewhere" not in screened(tmp_path / "scan.nii.gz", "left", own)[1]
    assert "crop_center_elsewhere" in screened(tmp_path / "scan.nii.gz", "left", other)[1]


def test_centre_stands_alone_where_no_hip_is_found(scene, tmp_path):
    image, _ = scene
    upper = image[:, :, image.GetDepth() - 22 :]
    write_image(sitk.Image(upper), tmp_path / "scan.nii.gz")
    without = screen_scan(tmp_path / "scan.nii.gz", ScanRequest(side="left"), ScreeningConfig(), CropConfig())
    assert "not_in_view" in {reason.code for reason in without.reasons}
    assert screened(tmp_path / "scan.nii.gz", "left", (100, 0))[0] == "ok"
