"""Files of reference masks: cropped ones are used, and each cause of a refusal has its own advice."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import Scene, draw

from lib.crop_settings import CropConfig
from lib.imaging.grid import array_zyx, image_like, laid_on, same_grid
from lib.imaging.nifti import write_image
from lib.imaging.resample import resample_labels
from lib.resample_settings import ResampleConfig
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return the CT, the left femur's mask on its grid and the path of the CT."""
    image, femurs = draw(Scene())
    path = tmp_path_factory.mktemp("scene") / "scan.nii.gz"
    write_image(image, path)
    return image, image_like(femurs["left"], image), path


def screened(scan_path, mask_path, values=(), crop=None):
    request = ScanRequest(side="left", mask=mask_path, structures={"femur": values})
    screening = screen_scan(scan_path, request, ScreeningConfig(), crop or CropConfig())
    return screening.verdict, {
        reason.code: reason.to_json("proximal-femur", "CT") for reason in screening.reasons
    }


def cropped(mask):
    """Return a mask cropped to its content, as segmentation programs save it."""
    ends = [np.flatnonzero(array_zyx(mask).any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    return mask[tuple(slice(int(found[0]), int(found[-1]) + 1) for found in ends)]


@pytest.mark.parametrize("axes", ["LPS", "SRA", "RAS"])
@pytest.mark.parametrize("name", ["mask.seg.nrrd", "mask.nii.gz", "mask.mha"])
def test_cropped_mask_is_used_in_any_axis_order(scene, tmp_path, name, axes):
    image, mask, path = scene
    part = cropped(mask)
    assert np.prod(part.GetSize()) < 0.1 * np.prod(mask.GetSize())
    sitk.WriteImage(sitk.DICOMOrient(part, axes), str(tmp_path / name))
    assert screened(path, tmp_path / name) == ("ok", {})
    whole = laid_on(part, image)
    assert same_grid(whole, image)
    np.testing.assert_array_equal(array_zyx(whole), array_zyx(mask))


def test_cropped_mask_is_resampled_as_the_whole_one(scene):
    image, mask, _ = scene
    for config in (ResampleConfig(), ResampleConfig(inplane_mm=3.0, thickness_mm=4.0)):
        whole, part = (resample_labels(one, image, config) for one in (mask, cropped(mask)))
        assert same_grid(whole, part)
        np.testing.assert_array_equal(array_zyx(whole), array_zyx(part))


def test_what_is_no_crop_of_the_scan_is_off_its_grid(scene, tmp_path):
    image, mask, path = scene
    between, outside, finer = cropped(mask), cropped(mask), cropped(mask)
    between.SetOrigin(np.add(between.GetOrigin(), (0.0, 0.9, 0.0)).tolist())
    outside.SetOrigin(np.add(outside.GetOrigin(), (0.0, 0.0, 300.0)).tolist())
    finer.SetSpacing((1.9, 2.0, 3.0))
    for wrong in (between, outside, finer):
        assert laid_on(wrong, image) is None
        write_image(wrong, tmp_path / "mask.nii.gz")
        verdict, found = screened(path, tmp_path / "mask.nii.gz")
        assert verdict == "rejected" and "mask_off_grid" in found


def test_grids_that_look_alike_in_print_are_told_apart_by_their_distance(scene, tmp_path):
    _, mask, path = scene
    advice = []
    for change_mm, words in (
        (0.004, "up to 0.19 mm apart; at most 0.1 mm is allowed"),
        (0.2, "up to 9.6 mm apart"),
    ):
        wrong = sitk.Image(mask)
        wrong.SetSpacing((2.0, 2.0, 3.0 + change_mm))
        write_image(wrong, tmp_path / "mask.nii.gz")
        _, found = screened(path, tmp_path / "mask.nii.gz")
        assert words in found["mask_off_grid"]["found"]
        advice.append(found["mask_off_grid"]["action"])
    assert "rounded" in advice[0] and "another place" in advice[1]


def without_forms(mask, path):
    sitk.WriteImage(mask, str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<hh", content, 252, 0, 0)  # qform_code, sform_code
    path.write_bytes(content)


def layers(mask, path):
    sitk.WriteImage(sitk.Compose(mask, mask), str(path))


def not_compressed(mask, path):
    sitk.WriteImage(mask, str(path.with_suffix("")))
    path.write_bytes(path.with_suffix("").read_bytes())


def compressed(mask, path):
    sitk.WriteImage(mask, str(path))
    path.write_bytes(gzip.compress(path.read_bytes()))


def dicom_segmentation(mask, path):
    path.write_bytes(bytes(128) + b"DICM")


@pytest.mark.parametrize(
    ("name", "write", "finding", "advice"),
    [
        ("mask.nii", without_forms, "both 0", "header of the scan"),
        ("mask.seg.nrrd", layers, "2 value(s)", "one label map"),
        ("mask.nii.gz", not_compressed, "is not compressed", "Rename it to .nii"),
        ("mask.nii", compressed, "is compressed", "Rename it to .nii.gz"),
        ("mask.dcm", dicom_segmentation, "must be of one of the kinds", "Save it as one of these kinds"),
    ],
    ids=["no form codes", "layers", "not gzipped", "gzipped", "DICOM"],
)
def test_advice_on_an_unreadable_mask_is_that_of_its_cause(scene, tmp_path, name, write, finding, advice):
    _, mask, path = scene
    write(mask, tmp_path / name)
    verdict, found = screened(path, tmp_path / name)
    assert verdict == "rejected"
    assert finding in found["mask_unreadable"]["found"]
    assert advice in found["mask_unreadable"]["action"]


def test_the_scan_itself_is_no_mask(scene):
    _, _, path = scene
    verdict, found = screened(path, path)
    assert verdict == "rejected"
    assert "they look like intensities" in found["mask_not_labels"]["found"]
    assert "not an image" in found["mask_not_labels"]["action"]


def test_a_background_below_zero_is_no_label(scene, tmp_path):
    image, mask, path = scene
    values_zyx = array_zyx(mask).astype(np.int16)
    write_image(image_like(np.where(values_zyx, 1, -1).astype(np.int16), image), tmp_path / "mask.nii.gz")
    assert screened(path, tmp_path / "mask.nii.gz") == ("ok", {})


def test_labels_of_a_large_atlas_are_labels(scene, tmp_path):
    image, mask, path = scene
    values_zyx = 14_000 * array_zyx(mask).astype(np.int16)
    values_zyx[0, 0, :200] = np.arange(200)
    write_image(image_like(values_zyx, image), tmp_path / "mask.nii.gz")
    assert screened(path, tmp_path / "mask.nii.gz", values=(14_000,)) == ("ok", {})


def test_mask_that_the_window_cuts_is_used_with_a_warning(scene, tmp_path):
    _, mask, path = scene
    write_image(mask, tmp_path / "mask.nii.gz")
    verdict, found = screened(path, tmp_path / "mask.nii.gz", crop=CropConfig(size=(40, 40)))
    assert verdict == "ok"
    assert list(found) == ["mask_cut_by_crop"]
