"""Image files of unknown origin are read as their headers state, or refused if they are ambiguous."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from test_nifti import make_image

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, same_grid
from lib.imaging.nifti import write_image
from lib.reading.image_files import read_image_file, read_labels


def read_image(path):
    return read_image_file(path)[0]


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
    with pytest.raises(ScanError, match="3x3x3x1x3") as caught:
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
    """Return copies of a NIfTI: file cut off, content cut off, one byte changed; ITK reads all of them."""
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
    read_image(tmp_path / "image.nii.gz")
    for damaged in damaged_copies(tmp_path / "image.nii.gz"):
        with pytest.raises(ScanError) as caught:
            read_image(damaged)
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
        (256, "<fff", (0.0, 0.0, 0.0)),  # quatern_b, c, d: the identity in RAS, but sform is in LPS
        (80, "<f", (1.5,)),  # pixdim[1], but sform has 0.742
        (268, "<f", (200.0,)),  # qoffset_x
        (284, "<f", (0.1,)),  # srow_x[1]: the second axis leans
    ],
    ids=["qform", "pixdim", "offset", "shear"],
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
    assert read_image_file(tmp_path / "image.nii")[1] == axes


def test_missing_file_is_unreadable(tmp_path):
    with pytest.raises(ScanError) as caught:
        read_image(tmp_path / "absent.nii.gz")
    assert caught.value.code == "unreadable_file"


def test_mask_of_all_labels_or_of_chosen_ones(tmp_path):
    write_image(make_image(np.uint8), tmp_path / "mask.nii.gz")
    every = read_labels(tmp_path / "mask.nii.gz", {"femur": ()})
    assert every.GetPixelID() == sitk.sitkUInt8
    assert array_zyx(every).sum() == 59
    chosen = array_zyx(read_labels(tmp_path / "mask.nii.gz", {"femur": (7, 59, 99)}))
    assert np.flatnonzero(chosen).tolist() == [7, 59]


def test_structures_are_numbered_in_the_order_of_the_study(tmp_path):
    write_image(make_image(np.uint8), tmp_path / "atlas.nii.gz")
    read = read_labels(tmp_path / "atlas.nii.gz", {"L2": (21,), "L1": (20, 59), "sacrum": (99,)})
    labels = array_zyx(read).ravel()
    assert read.GetPixelID() == sitk.sitkUInt8 and same_grid(read, make_image())
    assert {int(k): int(labels[k]) for k in np.flatnonzero(labels)} == {20: 2, 21: 1, 59: 2}


def test_a_label_map_of_unknown_values_only_has_no_structure(tmp_path):
    write_image(make_image(np.uint8), tmp_path / "atlas.nii.gz")
    assert not array_zyx(read_labels(tmp_path / "atlas.nii.gz", {"L1": (120,), "L2": (121,)})).any()


@pytest.mark.parametrize("structures", [{"femur": ()}, {"L1": (1,), "L2": (2,)}])
def test_values_between_whole_numbers_are_refused(tmp_path, structures):
    values = sitk.Cast(make_image(), sitk.sitkFloat32)
    values[0, 0, 0] = 1.5
    write_image(values, tmp_path / "mask.nii.gz")
    with pytest.raises(ScanError, match="not whole numbers") as caught:
        read_labels(tmp_path / "mask.nii.gz", structures)
    assert caught.value.code == "mask_not_labels"


def test_mask_of_fractions_is_refused(tmp_path):
    write_image(sitk.Cast(make_image(), sitk.sitkFloat32) / 7.0, tmp_path / "mask.nii.gz")
    with pytest.raises(ScanError) as caught:
        read_labels(tmp_path / "mask.nii.gz", {"femur": ()})
    assert caught.value.code == "mask_not_labels"


@pytest.mark.parametrize(
    ("qform_code", "offset", "form", "values", "words"),
    [
        (0, 284, "<f", (0.1,), "the axes of sform are not perpendicular"),
        (0, 80, "<f", (1.5,), "pixdim and sform differ"),
        (1, 268, "<f", (200.0,), "qform and sform differ"),
        (1, 280, "<f", (float("nan"),), "qform or sform holds values that are not numbers"),
    ],
)
def test_what_is_contradictory_is_said(tmp_path, qform_code, offset, form, values, words):
    path = write_with_header(tmp_path / "image.nii", offset, form, *values)
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 252, qform_code)
    path.write_bytes(content)
    with pytest.raises(ScanError, match=words) as caught:
        read_image(path)
    assert caught.value.code == "contradictory_orientation"


def test_left_handed_qform_is_read_as_such(tmp_path):
    # stored to the right, although the quaternion alone means to the left
    path = tmp_path / "image.nii"
    sitk.WriteImage(sitk.DICOMOrient(make_image(), "LAS"), str(path))
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 254, 0)  # no sform
    path.write_bytes(content)
    assert struct.unpack_from("<f", content, 76) == (-1.0,)
    assert same_grid(read_image(path), make_image())


@pytest.mark.parametrize(("slope", "inter", "first"), [(0.5, -3.0, -3.0), (0.0, 7.0, 0.0), (1.0, 7.0, 7.0)])
def test_scaling_is_applied_where_there_is_one(tmp_path, slope, inter, first):
    path = write_with_header(tmp_path / "image.nii", 112, "<ff", slope, inter)
    expected = np.arange(60) * (slope or 1.0) + first
    np.testing.assert_array_equal(array_zyx(read_image(path)).ravel(), expected)


def test_big_endian_file(tmp_path):
    image = nibabel.Nifti1Image(np.arange(60, dtype=">i2").reshape(3, 4, 5), np.diag([-0.7, -0.8, 2.0, 1.0]))
    nibabel.Nifti1Image(image.dataobj, image.affine, image.header.as_byteswapped(">")).to_filename(
        tmp_path / "image.nii"
    )
    read = read_image(tmp_path / "image.nii")
    assert read.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(array_zyx(read), np.arange(60).reshape(3, 4, 5).transpose())


def test_file_is_not_taken_for_the_one_beside_it(tmp_path):
    write_image(make_image() + 100, tmp_path / "image.nii.gz")
    sitk.WriteImage(make_image(), str(tmp_path / "image.nii"))
    np.testing.assert_array_equal(
        array_zyx(read_image(tmp_path / "image.nii.gz")), array_zyx(make_image()) + 100
    )


def test_labels_without_value_are_background(tmp_path):
    image = sitk.Cast(make_image(), sitk.sitkFloat32)
    image[2, 3, 4] = float("nan")
    sitk.WriteImage(image, str(tmp_path / "mask.nii"))
    assert array_zyx(read_labels(tmp_path / "mask.nii", {"femur": ()})).sum() == 58


@pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0)])
def test_places_are_brought_to_millimetres(tmp_path, unit, millimetres):
    affine = np.diag([-0.7, -0.8, 2.0, 1.0])
    affine[:3, 3] = 20.0, -30.0, 400.0
    affine[:3] /= millimetres
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "image.nii")
    read = read_image(tmp_path / "image.nii")
    assert read.GetSpacing() == pytest.approx((0.7, 0.8, 2.0))
    assert read.GetOrigin() == pytest.approx((-20.0, 30.0, 400.0), rel=1e-6)


def nrrd(path, *fields):
    header = [
        "NRRD0004",
        "type: short",
        "dimension: 3",
        "sizes: 3 4 5",
        "encoding: raw",
        "endian: little",
        *fields,
    ]
    path.write_bytes("\n".join(header).encode() + b"\n\n" + np.arange(60, dtype="<i2").tobytes())
    return path


DIRECTIONS = "space directions: (0.7,0,0) (0,0.8,0) (0,0,2)"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (["spacings: 0.7 0.8 2"], "no_orientation"),
        (["space: scanner-xyz", DIRECTIONS], "no_orientation"),
        (["space: 3D-left-handed", DIRECTIONS], "no_orientation"),
        (["space dimension: 3", DIRECTIONS], "no_orientation"),
        (["space: left-posterior-superior"], "no_orientation"),
        (["space: LPS", DIRECTIONS, 'space units: "cm" "cm" "cm"'], "no_orientation"),
        (["space: LPS", "space directions: (0.7,0,0) (0,0.8,0) (0,0.28,2)"], "contradictory_orientation"),
    ],
)
def test_nrrd_that_leaves_its_place_open_is_refused(tmp_path, fields, code):
    with pytest.raises(ScanError) as caught:
        read_image(nrrd(tmp_path / "image.nrrd", *fields))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("space", "origin_mm"),
    [("left-posterior-superior", (1.0, 2.0, 3.0)), ("RAS", (-1.0, -2.0, 3.0)), ("LAS", (1.0, -2.0, 3.0))],
)
def test_nrrd_in_the_spaces_of_the_patient(tmp_path, space, origin_mm):
    signs = np.array([1.0, 2.0, 3.0]) / origin_mm
    directions = " ".join(
        f"({','.join(str(sign * edge if i == j else 0) for j in range(3))})"
        for i, (sign, edge) in enumerate(zip(signs, (0.7, 0.8, 2.0), strict=True))
    )
    origin = ",".join(str(place) for place in origin_mm)
    fields = [f"space: {space}", f"space directions: {directions}", f"space origin: ({origin})"]
    read = read_image(nrrd(tmp_path / "image.nrrd", *fields, 'space units: "mm" "mm" "mm"'))
    assert read.GetOrigin() == pytest.approx((1.0, 2.0, 3.0))
    assert read.GetSpacing() == pytest.approx((0.7, 0.8, 2.0))
    np.testing.assert_array_equal(array_zyx(read).ravel(), np.arange(60))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"TransformMatrix = 1 0 0 0 1 0 0 0 1\n", b"", "no_orientation"),
        (b"ElementSpacing", b"ElementRubbish", "no_orientation"),
        (b"= 1 0 0 0 1 0 0 0 1", b"= 1 0 0 0 1 0 0 0.2 1", "contradictory_orientation"),
        (b"= 1 0 0 0 1 0 0 0 1", b"= 2 0 0 0 1 0 0 0 1", "contradictory_orientation"),
        (b"AnatomicalOrientation = RAI", b"AnatomicalOrientation = LPI", "contradictory_orientation"),
    ],
)
def test_metaimage_that_leaves_its_place_open_is_refused(tmp_path, old, new, code):
    sitk.WriteImage(make_image(), str(tmp_path / "image.mha"))
    content = (tmp_path / "image.mha").read_bytes()
    assert old in content
    (tmp_path / "image.mha").write_bytes(content.replace(old, new))
    with pytest.raises(ScanError) as caught:
        read_image(tmp_path / "image.mha")
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["image.hdr", "image.vtk", "image.gipl", "image.tif"])
def test_other_formats_of_itk_are_refused(tmp_path, name):
    sitk.WriteImage(make_image(), str(tmp_path / name))
    with pytest.raises(ScanError, match="must be of one of the kinds .nii, .nii.gz, .nrrd") as caught:
        read_image(tmp_path / name)
    assert caught.value.code == "unreadable_file"
