"""Files: what is written comes back exactly, holds geometry only, and nothing ambiguous is read."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, same_grid
from lib.imaging.nifti import (
    read_image,
    read_mask,
    read_probability,
    require_complete,
    stored_axes,
    write_image,
    write_probability,
)


def make_image(dtype=np.int16, origin_mm_xyz=(-178.123456, 11.3, -94.3)):
    image = sitk.GetImageFromArray(np.arange(60, dtype=dtype).reshape(5, 4, 3))
    image.SetSpacing((0.7421875, 0.8, 2.0))
    image.SetOrigin(origin_mm_xyz)
    return image


def test_image_comes_back_with_its_grid(tmp_path):
    write_image(make_image(), tmp_path / "image.nii.gz")
    read = read_image(tmp_path / "image.nii.gz")
    assert read.GetPixelID() == sitk.sitkInt16
    assert same_grid(read, make_image())
    np.testing.assert_array_equal(array_zyx(read), array_zyx(make_image()))


def test_file_is_the_same_bytes_and_without_metadata(tmp_path):
    image = make_image()
    image.SetMetaData("ITK_FileNotes", "Doe^Jane")
    image.SetMetaData("descrip", "Doe^Jane")
    write_image(image, tmp_path / "doe.nii.gz")
    write_image(make_image(), tmp_path / "other.nii.gz")
    content = (tmp_path / "doe.nii.gz").read_bytes()
    assert content == (tmp_path / "other.nii.gz").read_bytes()
    assert b"Doe" not in gzip.decompress(content)
    assert content[3] == 0  # flags of the gzip header: no file name, no comment
    assert content[4:8] == bytes(4)  # no time


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        write_image(sitk.Image([2, 2, 2], sitk.sitkComplexFloat32), tmp_path / "nowhere.xyz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["image.nrrd", "image.mha", "image.nii"])
def test_other_formats_in_another_axis_order(tmp_path, name):
    sitk.WriteImage(sitk.DICOMOrient(make_image(), "SRA"), str(tmp_path / name))
    read = read_image(tmp_path / name)
    assert same_grid(read, make_image())
    np.testing.assert_array_equal(array_zyx(read), array_zyx(make_image()))


def test_single_volume_of_four_dimensions_is_read(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([make_image()]), str(tmp_path / "image.nii"))
    assert read_image(tmp_path / "image.nii").GetSize() == (3, 4, 5)


def test_time_series_is_not_a_volume(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([make_image(), make_image()]), str(tmp_path / "image.nii"))
    with pytest.raises(ScanError, match="3x4x5x2") as caught:
        read_image(tmp_path / "image.nii")
    assert caught.value.code == "not_a_volume"


def test_colour_image_is_not_a_volume(tmp_path):
    sitk.WriteImage(sitk.Image([3, 3, 3], sitk.sitkVectorUInt8, 3), str(tmp_path / "image.nii"))
    with pytest.raises(ScanError, match="3 value") as caught:
        read_image(tmp_path / "image.nii")
    assert caught.value.code == "not_a_volume"


def test_nifti_without_orientation_is_refused(tmp_path):
    path = tmp_path / "image.nii"
    sitk.WriteImage(make_image(), str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<hh", content, 252, 0, 0)  # qform_code, sform_code
    path.write_bytes(content)
    with pytest.raises(ScanError) as caught:
        read_image(path)
    assert caught.value.code == "no_orientation"


@pytest.mark.parametrize("content", [b"", b"not an image", None], ids=["empty", "text", "cut off"])
def test_damaged_file_is_unreadable_and_its_path_unsaid(tmp_path, content):
    path = tmp_path / "doe-jane.nii.gz"
    write_image(make_image(), path)
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(ScanError) as caught:
        read_image(path)
    assert caught.value.code == "unreadable_file"
    assert "doe" not in str(caught.value)


def damaged_copies(path):
    """Return copies of a NIfTI: cut off, with cut off content, with a changed byte; ITK reads all of them."""
    packed = path.read_bytes()
    content = gzip.decompress(packed)
    copies = {
        "cut.nii": content[:-3],
        "cut.nii.gz": packed[:-9],
        "cut-content.nii.gz": gzip.compress(content[:-3]),
        "changed.nii.gz": packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
    }
    for name, data in copies.items():
        path.with_name(name).write_bytes(data)
    return [path.with_name(name) for name in copies]


def test_what_itk_fills_with_zeros_is_refused(tmp_path):
    write_image(make_image(), tmp_path / "image.nii.gz")
    require_complete(tmp_path / "image.nii.gz")
    for damaged in damaged_copies(tmp_path / "image.nii.gz"):
        with pytest.raises(ScanError) as caught:
            require_complete(damaged)
        assert caught.value.code == "unreadable_file"


def write_with_header(path, offset, form, *values):
    sitk.WriteImage(make_image(), str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("offset", "form", "values"),
    [
        (256, "<fff", (0.0, 0.0, 0.0)),  # quatern_b, c, d: the identity in RAS, where sform is LPS
        (80, "<f", (1.5,)),  # pixdim[1], where sform says 0.742
    ],
    ids=["qform", "pixdim"],
)
def test_contradictory_orientation_is_refused(tmp_path, offset, form, values):
    path = write_with_header(tmp_path / "image.nii", offset, form, *values)
    with pytest.raises(ScanError) as caught:
        read_image(path)
    assert caught.value.code == "contradictory_orientation"


@pytest.mark.parametrize("axes", ["RAS", "PIR", "LSA", "ASR"])
def test_agreeing_forms_of_any_orientation_are_read(tmp_path, axes):
    sitk.WriteImage(sitk.DICOMOrient(make_image(), axes), str(tmp_path / "image.nii"))
    assert same_grid(read_image(tmp_path / "image.nii"), make_image())
    assert stored_axes(tmp_path / "image.nii") == axes


def test_missing_file_is_unreadable(tmp_path):
    with pytest.raises(ScanError) as caught:
        read_image(tmp_path / "absent.nii.gz")
    assert caught.value.code == "unreadable_file"


def test_mask_of_all_labels_or_of_chosen_ones(tmp_path):
    write_image(make_image(np.uint8), tmp_path / "mask.nii.gz")
    every = read_mask(tmp_path / "mask.nii.gz")
    assert every.GetPixelID() == sitk.sitkUInt8
    assert array_zyx(every).sum() == 59
    chosen = array_zyx(read_mask(tmp_path / "mask.nii.gz", labels=(7, 59, 99)))
    assert np.flatnonzero(chosen).tolist() == [7, 59]


def test_mask_of_fractions_is_refused(tmp_path):
    write_image(sitk.Cast(make_image(), sitk.sitkFloat32) / 7.0, tmp_path / "mask.nii.gz")
    with pytest.raises(ScanError) as caught:
        read_mask(tmp_path / "mask.nii.gz")
    assert caught.value.code == "mask_not_labels"


def test_probability_comes_back_to_half_a_step(tmp_path):
    probability_zyx = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
    probability_zyx.flat[:2] = 0.0, 1.0
    write_probability(probability_zyx, make_image(), tmp_path / "probability.nii.gz")
    read_zyx = read_probability(tmp_path / "probability.nii.gz")
    assert read_zyx.dtype == np.float32
    assert read_zyx.flat[0] == 0.0
    assert read_zyx.flat[1] == 1.0
    assert np.abs(read_zyx - probability_zyx).max() <= 0.5 / 65535 + 1e-7
    as_image = read_image(tmp_path / "probability.nii.gz")
    assert same_grid(as_image, make_image())
    np.testing.assert_allclose(array_zyx(as_image), read_zyx, atol=1e-7)


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan])
def test_what_is_no_probability_is_refused(tmp_path, value):
    probability_zyx = np.full((5, 4, 3), 0.5, np.float32)
    probability_zyx[2, 1, 1] = value
    with pytest.raises(ValueError, match="from 0 to 1"):
        write_probability(probability_zyx, make_image(), tmp_path / "probability.nii.gz")
    assert list(tmp_path.iterdir()) == []
