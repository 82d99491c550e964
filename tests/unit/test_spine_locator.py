"""The search for the lumbar column: its centre, doubts, refusals and margins."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from spine_scene import MIDDLE_XY_MM, Spine, draw

from lib.anatomy.protocol import Location
from lib.anatomy.spine.spine_locator import SpineLocator
from lib.crop_settings import CropConfig
from lib.errors import ScanError
from lib.imaging.crop import CropCenter
from lib.imaging.grid import array_zyx, image_like

CROP = CropConfig(method="spine", size=(64, 64))
TRUE_XY_MM = (-120.0 + MIDDLE_XY_MM[0], -80.0 + MIDDLE_XY_MM[1])


def located(image):
    return SpineLocator().locate(image, "", CROP)


def test_the_centre_lies_in_the_column():
    found = located(draw()[0])
    assert found.center_mm_xy[0] == pytest.approx(TRUE_XY_MM[0], abs=3)
    assert found.center_mm_xy[1] == pytest.approx(TRUE_XY_MM[1], abs=4)  # arches do not pull it back
    assert found.doubts == () and found.evidence["bone_share"] > 0.7


def test_calcium_in_the_aorta_does_not_pull_the_centre_forward():
    image = draw()[0]
    hu_zyx = array_zyx(image)
    hu_zyx[::7, 36:39, 62:65] = 900
    found = located(image_like(hu_zyx, image))
    assert found.center_mm_xy[1] == pytest.approx(TRUE_XY_MM[1], abs=4)


def test_bone_far_from_the_middle_is_not_the_column():
    image = draw()[0]
    hu_zyx = array_zyx(image)
    hu_zyx[:60, 50:70, 100:115] = 1000  # an iliac wing on one side
    found = located(image_like(hu_zyx, image))
    assert found.center_mm_xy[0] == pytest.approx(TRUE_XY_MM[0], abs=3)


def test_an_oblique_scan():
    image = draw()[0]
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.radians([0.0, 0.0, 12.0]).tolist())
    image.SetDirection(turn.GetMatrix())
    center = located(image).center_mm_xy
    index = image.TransformPhysicalPointToContinuousIndex(
        (*center, image.TransformIndexToPhysicalPoint((0, 0, 65))[2])
    )
    assert index[0] * 2 == pytest.approx(MIDDLE_XY_MM[0], abs=4)


def test_scoliosis_is_doubted():
    spine = Spine()
    bow = {"L1": 30, "L2": 15, "L3": 0, "L4": -15, "L5": -30}
    bent = {name: tuple(np.add(at, (bow[name], 0, 0))) for name, at in spine.centers.items()}
    image = draw(replace(spine, centers=bent))[0]
    found = located(image)
    assert any("wanders over" in doubt for doubt in found.doubts)


def test_a_scan_without_bone_in_its_back_is_refused():
    image = draw()[0]
    soft = image_like(np.minimum(array_zyx(image), 40), image)
    with pytest.raises(ScanError, match="only 0% of the slices hold bone") as refused:
        located(soft)
    assert refused.value.code == "not_in_view"


def test_a_given_centre_is_compared():
    image = draw()[0]
    near, far = ((TRUE_XY_MM[0] + by, TRUE_XY_MM[1]) for by in (10.0, 90.0))
    judge = SpineLocator().judge_given
    assert judge(image, Location(side="", center_mm_xy=near), CROP) == []
    (reason,) = judge(image, Location(side="", center_mm_xy=far), CROP)
    assert reason.code == "crop_uncertain" and "from the spine found at" in reason.found


def test_margins_are_measured_from_the_outermost_body():
    window = draw()[0][28:92]  # 64 pixels of 2 mm; the column's centre is pixel 59.5
    center = CropCenter(side="", center_mm_xy=TRUE_XY_MM)
    margins = SpineLocator().measure_margins(window, (slice(0, 64), slice(0, 90)), center, CROP)
    assert margins["right"] == pytest.approx(2 * (59.5 - 28) - 30, abs=3)
    assert margins["left"] == pytest.approx(2 * (91 - 59.5) - 30, abs=3)
    # the bodies' front is at 94 mm, so their middle, of mean size, at 111.5; 21 mm to both sides belong to a body
    assert margins["front"] == pytest.approx(111.5 - 21, abs=4)
    assert margins["back"] == pytest.approx(2 * 89 - 111.5 - 21, abs=4)  # not of the sacrum, further back
    soft = image_like(np.minimum(array_zyx(window), 40), window)
    assert SpineLocator().measure_margins(soft, (slice(0, 64), slice(0, 90)), center, CROP) == {}
