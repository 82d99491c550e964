"""The anatomies: data and methods agree, and a mask is judged where the window lies."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from lib.anatomy.locate import Located, WindowRequest, locate_anatomy, margins_of, window_center
from lib.anatomy.methods import METHODS
from lib.catalog.anatomies import ANATOMIES, part_in_words, usual_side
from lib.crop_settings import CENTRE, WHOLE, CropConfig, crop_methods
from lib.errors import ConfigError
from lib.imaging.nifti import write_image
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

ROOT = Path(__file__).parents[2]
OF_A_BONE = re.compile(r"(\b|_)hip(\b|_)|femur|femoral|trochanter|head_|bone_hu|pelvis", re.IGNORECASE)
DEFAULTS = {"femur", "proximal-femur"}  # of a request
MR = ScreeningConfig(modality="MR", min_slices=4, min_length_mm=10.0)


def texts_of(node):
    """Return the names and texts that a node of a syntax tree holds, and those that it imports."""
    held = [getattr(node, name, None) for name in ("id", "arg", "attr", "name", "module", "value")]
    return [text for text in held if isinstance(text, str)]


def test_every_anatomy_has_data_and_methods():
    assert set(METHODS) == set(ANATOMIES)
    for name, anatomy in ANATOMIES.items():
        mask = sitk.GetImageFromArray(np.ones((6, 5, 4), np.uint8))
        regions = METHODS[name].find_regions(mask, usual_side(name))
        assert set(regions.parts) | set(regions.missing) == set(anatomy.regions)
    assert (part_in_words("proximal-femur", "left"), part_in_words("generic", "")) == ("left hip", "region")


def test_every_method_of_the_crop_has_its_search():
    for name, anatomy in ANATOMIES.items():
        assert {CENTRE, WHOLE, *METHODS[name].locators} == set(anatomy.crop_methods)


def test_the_schema_names_the_anatomies_and_their_methods():
    schema = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text(encoding="utf-8"))["properties"]
    assert set(schema["anatomy"]["enum"]) == set(ANATOMIES)
    assert tuple(schema["crop"]["properties"]["method"]["enum"]) == crop_methods()
    with pytest.raises(ConfigError, match="crop.method must be one of hip, centre, none, spine; got 'knee'"):
        CropConfig(method="knee")


def test_what_every_anatomy_uses_names_no_bone():
    """Names and texts; comments may tell where a limit was measured."""
    for folder in ("imaging", "screening"):
        for path in (ROOT / "lib" / folder).glob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found = {word for node in nodes for word in texts_of(node) if OF_A_BONE.search(word)}
            assert found <= DEFAULTS, path.name


@pytest.mark.parametrize("anatomy", ANATOMIES)
@pytest.mark.parametrize("method", [CENTRE, WHOLE])
def test_general_windows_need_no_search(anatomy, method):
    image, config = sitk.Image([20, 10, 6], sitk.sitkInt16), CropConfig(method=method)
    asked = WindowRequest(anatomy=anatomy, side=usual_side(anatomy))
    assert locate_anatomy(image, asked, config) == Located()
    center = window_center(image, asked, config, None)
    assert (center.center_mm_xy, center.source) == ((9.5, 4.5), "middle")
    assert margins_of(anatomy, config) is None
    given = WindowRequest(anatomy=anatomy, side="", center_mm_xy=(4.0, 3.0))
    assert locate_anatomy(image, given, config) == Located()
    center = window_center(image, given, config, None)
    assert (center.center_mm_xy, center.source) == ((4.0, 3.0), "override")
    outside = WindowRequest(anatomy=anatomy, side="", center_mm_xy=(4.0, 30.0))
    (reason,) = locate_anatomy(image, outside, config).reasons
    assert reason.code == "crop_center_outside"


@pytest.mark.parametrize(
    ("crop", "axis", "found"),
    [
        (CropConfig(method="centre", size=(16, 12)), "z", None),
        (CropConfig(method="centre", size=(8, 12)), "z", "50.0% of the mask lies outside the crop"),
        (CropConfig(method="centre", size=(16, 4)), "y", "50.0% of the mask lies outside the crop"),
        (CropConfig(method="none", size=(1, 1)), "z", None),
    ],
)
def test_a_mask_that_the_window_cuts_is_flagged(tmp_path, crop, axis, found):
    rng = np.random.default_rng(0)
    image_zyx = rng.integers(10, 400, (12, 16, 24)).astype(np.int16)
    mask_zyx = np.zeros(image_zyx.shape, np.uint8)
    mask_zyx[2:10, 4:12, 4:20] = 1
    for array, name in ((image_zyx, "image"), (mask_zyx, "mask")):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((2.0, 2.0, 2.0))
        write_image(image, tmp_path / f"{name}.nii.gz")
    request = ScanRequest(
        side="", mask=tmp_path / "mask.nii.gz", structures={"bone": ()}, anatomy="generic", slice_axis=axis
    )
    screening = screen_scan(tmp_path / "image.nii.gz", request, MR, crop)
    assert screening.verdict == "ok"
    cut = {reason.code: reason.found for reason in screening.reasons}.get("mask_cut_by_crop")
    assert cut == found


@pytest.mark.parametrize(("axis", "plane"), [("z", "axial"), ("y", "coronal"), ("x", "sagittal")])
def test_a_slice_that_was_forgotten_is_seen_along_the_axis_of_the_acquisition(tmp_path, axis, plane):
    place = "zyx".index(axis)
    rng = np.random.default_rng(0)
    image_zyx = rng.integers(10, 400, (24, 24, 24)).astype(np.int16)
    mask_zyx = np.zeros(image_zyx.shape, np.uint8)
    mask_zyx[4:20, 4:20, 4:20] = 1
    np.moveaxis(mask_zyx, place, 0)[9] = 0
    for array, name in ((image_zyx, "image"), (mask_zyx, "mask")):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([4.0 if each == axis else 2.0 for each in "xyz"])
        write_image(image, tmp_path / f"{name}.nii.gz")
    request = ScanRequest(side="", mask=tmp_path / "mask.nii.gz", structures={"bone": ()}, anatomy="generic")
    screening = screen_scan(tmp_path / "image.nii.gz", request, MR, CropConfig(method="none"))
    found = [reason.found for reason in screening.reasons if reason.code == "mask_not_solid"]
    assert found[0] == f"bone: 1 of 16 {plane} slices between its ends are empty"
