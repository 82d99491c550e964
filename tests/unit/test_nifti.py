"""NIfTI files: images are read back exactly, and files hold no metadata but the geometry."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, image_like, same_grid
from lib.imaging.nifti import (
    probability_levels,
    read_grid,
    read_image,
    read_label_map,
    read_mask,
    read_probability,
    read_result,
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
    (tmp_path / "taken.nii.gz").mkdir()
    with pytest.raises(OSError):
        write_image(make_image(), tmp_path / "taken.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.nii.gz"]


def test_oblique_image_comes_back_with_its_grid(tmp_path):
    image = make_image()
    cos, sin = np.cos(0.3), np.sin(0.3)
    image.SetDirection((cos, 0, sin, 0, 1, 0, -sin, 0, cos))
    write_image(image, tmp_path / "image.nii.gz")
    assert same_grid(read_image(tmp_path / "image.nii.gz"), image)


@pytest.mark.parametrize("degrees", [0.0, 7.0])
def test_a_grid_is_read_without_its_voxels(tmp_path, degrees):
    image = sitk.Image([5, 4, 3], sitk.sitkInt16) + 7
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-20.3, 11.1, -300.7))
    turn = np.radians(degrees)
    image.SetDirection((np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn), 0, 0, 0, 1))
    write_image(image, tmp_path / "image.nii.gz")
    grid, read = read_grid(tmp_path / "image.nii.gz"), read_image(tmp_path / "image.nii.gz")
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(grid, part)() == getattr(read, part)()
    assert not array_zyx(grid).any() and array_zyx(read).all()


@pytest.mark.parametrize("content", [None, b"", b"not an image"], ids=["missing", "empty", "text"])
def test_file_that_is_no_image_is_unreadable_and_its_path_unsaid(tmp_path, content):
    path = tmp_path / "doe-jane.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ScanError) as caught:
        read_image(path)
    assert caught.value.code == "unreadable_file"
    assert "doe" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kept):
    image = sitk.GetImageFromArray(
        np.random.default_rng(0).integers(-1000, 1000, (20, 64, 64)).astype(np.int16)
    )
    write_image(image, tmp_path / "image.nii.gz")
    content = (tmp_path / "image.nii.gz").read_bytes()
    (tmp_path / "image.nii.gz").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ScanError, match="truncated"):
        read_image(tmp_path / "image.nii.gz")


def test_mask_is_what_is_not_zero(tmp_path):
    write_image(make_image(np.uint8), tmp_path / "mask.nii.gz")
    mask = read_mask(tmp_path / "mask.nii.gz")
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert array_zyx(mask).sum() == 59


def test_a_label_map_comes_back_with_its_values(tmp_path):
    labels = image_like(np.arange(60, dtype=np.uint8).reshape(5, 4, 3) % 3, make_image())
    write_image(labels, tmp_path / "labels.nii.gz")
    read = read_label_map(tmp_path / "labels.nii.gz", ["L1", "L2"])
    assert read.GetPixelID() == sitk.sitkUInt8 and same_grid(read, labels)
    np.testing.assert_array_equal(array_zyx(read), array_zyx(labels))


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1), (np.float32, 0.5), (np.int16, 1)])
def test_a_label_map_of_other_structures_is_refused(tmp_path, dtype, scale):
    values_zyx = (scale * (np.arange(60).reshape(5, 4, 3) % 4)).astype(dtype)
    write_image(image_like(values_zyx, make_image()), tmp_path / "labels.nii.gz")
    with pytest.raises(
        ScanError, match=r"labels.nii.gz holds .* expected are uint8 values up to 2 \(L1, L2\)"
    ):
        read_label_map(tmp_path / "labels.nii.gz", ["L1", "L2"])


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


def test_every_stored_probability_has_its_own_level(tmp_path):
    image = sitk.Image([256, 256, 1], sitk.sitkUInt8)
    levels_zyx = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    write_probability(levels_zyx / 65535, image, tmp_path / "probability.nii.gz")
    read_zyx = array_zyx(read_image(tmp_path / "probability.nii.gz"))
    np.testing.assert_array_equal(probability_levels(read_zyx), levels_zyx)


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan])
def test_what_is_no_probability_is_refused(tmp_path, value):
    probability_zyx = np.full((5, 4, 3), 0.5, np.float32)
    probability_zyx[2, 1, 1] = value
    with pytest.raises(ValueError, match="from 0 to 1"):
        write_probability(probability_zyx, make_image(), tmp_path / "probability.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_result_is_named(tmp_path):
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(b"damaged")
    with pytest.raises(ScanError, match="labels.nii.gz: the image file is damaged") as refused:
        read_result(path)
    assert refused.value.action == "Remove the file, so that it is made again."
