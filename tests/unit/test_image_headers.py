"""Two readers of NIfTI headers: the quick check of a table's masks accepts all that the image reader accepts."""

import gzip

import nibabel
import numpy as np
import pytest

from lib.cohort import image_headers as headers
from lib.cohort.image_headers import Grid, image_header
from lib.errors import ScanError
from lib.imaging import grid
from lib.imaging.grid import array_zyx, same_grid
from lib.reading.image_files import read_image_file, read_labels

VALUES = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
EDGES_MM = (0.8, 0.9, 3.0)


def nifti(path, kind=nibabel.Nifti1Image, order="<", values=VALUES, edges_mm=EDGES_MM, **fields):
    """Write a NIfTI file and set fields of its header to the given values, valid or not."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(values.dtype)
    image = kind(values, np.diag([*edges_mm, 1.0]), header)
    image.set_qform(image.affine, 1)
    content = bytearray(image.to_bytes())
    single = kind.header_class.template_dtype.newbyteorder(order)
    view = np.frombuffer(content, single, count=1)
    for name, value in fields.items():
        view[name] = value
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def metres(factor, code):
    """Return the fields of the same grid in another unit."""
    edges = np.array(EDGES_MM) * factor
    srow = {f"srow_{axis}": np.eye(4)[place] * edges[place] for place, axis in enumerate("xyz")}
    return {"pixdim": [1, *edges, 1, 1, 1, 1], "xyzt_units": code, **srow}


VARIANTS = {
    "plain": {},
    "big-endian": {"order": ">"},
    "nifti-2": {"kind": nibabel.Nifti2Image},
    "nifti-2 big-endian": {"kind": nibabel.Nifti2Image, "order": ">"},
    "negative pixdim": {"pixdim": [1, -0.8, 0.9, -3.0, 0, 0, 0, 0]},
    "metres": metres(1e-3, 1),
    "micrometres": metres(1e3, 3),
    "unknown unit": {"xyzt_units": 0},
    "unit of time too": {"xyzt_units": 2 + 8},
    "offset 0": {"vox_offset": 0},
    "nifti-2 offset 0": {"kind": nibabel.Nifti2Image, "vox_offset": 0},
    "four dimensions": {"dim": [4, 5, 6, 7, 1, 1, 1, 1]},
    "rounded edges": {"pixdim": [1, 0.8000001, 0.9, 3.0000002, 0, 0, 0, 0]},
    "further sizes of 0": {"dim": [3, 5, 6, 7, 0, 0, 0, 0]},
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_volume_however_its_header_is_written(tmp_path, name, suffix):
    path = nifti(tmp_path / f"image{suffix}", **VARIANTS[name])
    image, axes = read_image_file(path)
    plain, _ = read_image_file(nifti(tmp_path / "plain.nii"))
    np.testing.assert_array_equal(array_zyx(image), array_zyx(plain))
    assert same_grid(image, plain) and axes == "RAS"
    assert np.count_nonzero(array_zyx(read_labels(path, {"femur": ()}))) == VALUES.size - 1


@pytest.mark.parametrize("first", VARIANTS)
def test_a_mask_on_the_same_grid_is_no_problem_of_the_table(tmp_path, first):
    image = image_header(str(nifti(tmp_path / "image.nii.gz", **VARIANTS[first])))
    for second, fields in VARIANTS.items():
        mask = image_header(str(nifti(tmp_path / "mask.nii.gz", **fields)))
        assert image is None or mask is None or image.may_hold(mask), second


@pytest.mark.parametrize("change_mm", [1e-6, 0.002, 0.009, 0.011, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_the_quick_check_refuses_the_reader_refuses_too(tmp_path, change_mm, axis):
    edges_mm = np.array(EDGES_MM)
    edges_mm[axis] += change_mm
    paths = [nifti(tmp_path / "image.nii"), nifti(tmp_path / "mask.nii", edges_mm=tuple(edges_mm))]
    refused = not same_grid(*(read_image_file(path)[0] for path in paths))
    told = not image_header(str(paths[0])).may_hold(image_header(str(paths[1])))
    assert refused or not told
    assert told == (change_mm > 0.1) or 0.01 < change_mm < 0.2


def test_other_sizes_and_other_edges_are_told():
    here = Grid((64, 64, 40), (0.8, 0.8, 3.0))
    assert here.may_hold(Grid((40, 64, 64), (3.0, 0.8, 0.8)))
    assert not here.may_hold(Grid((64, 64, 41), (0.8, 0.8, 3.0)))
    assert not here.may_hold(Grid((64, 64, 40), (0.8, 0.81, 3.0)))
    assert not here.may_hold(Grid((64, 64, 40), (0.8, 0.8, 3.01)))
    assert headers.GRID_TOLERANCE_VOXELS == grid.GRID_TOLERANCE_VOXELS


@pytest.mark.parametrize(
    "fields",
    [
        {"sizeof_hdr": 347},
        {"magic": b"n+2"},
        {"magic": b"ni1"},
        {"magic": b""},
        {"dim": [3, -1, 6, 7, 1, 1, 1, 1]},
        {"dim": [2, 5, 6, 7, 1, 1, 1, 1]},
        {"dim": [4, 5, 6, 7, 2, 1, 1, 1]},
        {"dim": [770, 5, 6, 7, 1, 1, 1, 1]},
        {"pixdim": [1, 0, 0.9, 3.0, 0, 0, 0, 0]},
        {"pixdim": [1, np.nan, 0.9, 3.0, 0, 0, 0, 0]},
        {"pixdim": [1, np.inf, 0.9, 3.0, 0, 0, 0, 0]},
        {"xyzt_units": 5},
        {"kind": nibabel.Nifti2Image},
    ],
)
def test_the_quick_check_passes_headers_with_an_open_grid(tmp_path, fields):
    assert image_header(str(nifti(tmp_path / "image.nii", **fields))) is None


def test_voxels_before_the_end_of_the_header_are_never_read(tmp_path):
    for number, offset in enumerate((1, 16, 348, 351, -4)):
        path = nifti(tmp_path / f"{number}.nii", vox_offset=offset)
        try:
            image, _ = read_image_file(path)
        except ScanError as error:
            assert error.code == "unreadable_file"
        else:
            np.testing.assert_array_equal(array_zyx(image).ravel().sum(), VALUES.sum())
