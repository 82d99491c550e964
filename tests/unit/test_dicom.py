"""The reader: it returns the right volume or the right reason for any content of a folder."""

import json
import os
import random
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tiny_series import (
    IDENTITY,
    SECONDARY_CAPTURE,
    STRUCTURED_REPORT,
    set_pixels,
    tiny_scan,
    tiny_series,
    write_series,
)

from lib.catalog.reasons import WARNING
from lib.errors import ScanError
from lib.imaging.grid import array_zyx, same_grid
from lib.reading.dicom import read_scan, survey_scan
from lib.screening_settings import ScreeningConfig

CONFIG = ScreeningConfig(min_slices=5)


def survey(path, series_uid=""):
    return survey_scan(path, series_uid, CONFIG)


def reasons(path, series_uid=""):
    return {reason.code: reason.found for reason in survey(path, series_uid).findings}


def assert_is_tiny_scan(path, expected=None, warnings=()):
    expected = expected or tiny_scan()
    scan = read_scan(path, config=CONFIG)
    assert scan.image.GetPixelID() == sitk.sitkInt16
    assert same_grid(scan.image, expected)
    np.testing.assert_array_equal(array_zyx(scan.image), array_zyx(expected))
    assert {reason.code for reason in scan.findings} == set(warnings)
    assert all(reason.severity == WARNING for reason in scan.findings)
    return scan


@pytest.mark.parametrize("axes", ["LPS", "LPI", "RAS", "RPI", "PIR", "PSL", "LIP", "AIL", "SLA"])
def test_any_acquisition_gives_the_same_volume(tmp_path, axes):
    scan = assert_is_tiny_scan(write_series(tiny_series(tiny_scan(), axes), tmp_path))
    # the stored slice axis is read towards left, back or head, depending on its direction
    assert scan.geometry.stored_axes[:2] == axes[:2]
    assert scan.geometry.length_mm == pytest.approx(72.0)


def test_landmark_is_at_its_exact_place(tmp_path):
    datasets = tiny_series(tiny_scan())
    pixels = datasets[4].pixel_array.copy()
    pixels[5, 7] = 2024
    set_pixels(datasets[4], pixels)
    image = read_scan(write_series(datasets, tmp_path), config=CONFIG).image
    z, y, x = np.argwhere(array_zyx(image) == 1000)[0].tolist()
    place_mm = image.TransformIndexToPhysicalPoint((x, y, z))
    assert place_mm == pytest.approx((-31.5 + 7 * 0.75, 12.25 + 5 * 0.8, -700.5 + 4 * 6.0), abs=1e-9)


def test_patient_position_does_not_matter(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.PatientPosition = "FFP"
    assert_is_tiny_scan(write_series(datasets, tmp_path))


def test_numbers_of_the_header_are_not_believed(tmp_path):
    datasets = tiny_series(tiny_scan())
    for k, dataset in enumerate(datasets):
        dataset.InstanceNumber = len(datasets) - k
        dataset.SliceLocation = -6.0 * k
        dataset.SpacingBetweenSlices = "1.0"
        dataset.SliceThickness = "9.0"
    random.Random(0).shuffle(datasets)
    assert_is_tiny_scan(write_series(datasets, tmp_path))


def test_each_slice_has_its_own_rescale(tmp_path):
    datasets = tiny_series(tiny_scan())
    for k, dataset in enumerate(datasets):
        slope, intercept = (0.5, -1100 - k) if k % 2 else (2.0, -1024)
        hu = dataset.pixel_array.astype(float) - 1024
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), str(intercept)
        set_pixels(dataset, np.rint((hu - intercept) / slope))
    volume = array_zyx(read_scan(write_series(datasets, tmp_path), config=CONFIG).image)
    difference = volume - array_zyx(tiny_scan()).astype(int)
    assert np.abs(difference[1::2]).max() == 0
    assert np.abs(difference[0::2]).max() <= 1  # a slope of 2 stores every other HU


def test_signed_values(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        hu = dataset.pixel_array.astype(int) - 1024
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
        set_pixels(dataset, hu)
    assert_is_tiny_scan(write_series(datasets, tmp_path))


@pytest.mark.parametrize("declared", [True, False])
def test_padding_and_what_is_below_air_become_air(tmp_path, declared):
    datasets = tiny_series(tiny_scan())
    expected = tiny_scan()
    for k, dataset in enumerate(datasets):
        hu = dataset.pixel_array.astype(int) - 1024
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
        if declared:
            dataset.PixelPaddingValue = -2000
        hu[2, 3] = -2000
        set_pixels(dataset, hu)
        expected[3, 2, k] = -1024
    assert_is_tiny_scan(write_series(datasets, tmp_path), expected)


def test_negative_padding_in_unsigned_pixels_is_not_taken_for_bone(tmp_path):
    datasets = tiny_series(tiny_scan())
    expected = tiny_scan()
    for k, dataset in enumerate(datasets):
        pixels = dataset.pixel_array.copy()
        pixels[2, 3] = 65536 - 2000
        dataset.BitsStored, dataset.HighBit = 12, 11
        set_pixels(dataset, pixels)
        expected[3, 2, k] = -1024
    assert_is_tiny_scan(write_series(datasets, tmp_path), expected)


def test_overlays_in_unused_bits_are_cut_off(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        pixels = dataset.pixel_array.copy()
        pixels[4, 4] |= 0x1000
        dataset.BitsStored, dataset.HighBit = 12, 11
        set_pixels(dataset, pixels)
    assert_is_tiny_scan(write_series(datasets, tmp_path))


@pytest.mark.parametrize(
    ("stored", "declared", "limit"),
    [(63536, 63536, None), (63536, -2000, None), (60001, 60000, 60002)],
    ids=["as stored", "with the wrong sign", "in a range"],
)
def test_declared_padding_far_above_bone_becomes_air(tmp_path, stored, declared, limit):
    datasets, expected = tiny_series(tiny_scan()), tiny_scan()
    for k, dataset in enumerate(datasets):
        pixels = dataset.pixel_array.copy()
        pixels[2, 3] = stored
        set_pixels(dataset, pixels)
        for keyword, value in (("PixelPaddingValue", declared), ("PixelPaddingRangeLimit", limit)):
            if value is not None:
                dataset.add_new(keyword, "SS" if value < 0 else "US", value)
        expected[3, 2, k] = -1024
    assert_is_tiny_scan(write_series(datasets, tmp_path), expected)


def test_padding_range_without_an_end_is_one_value(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.add_new("PixelPaddingRangeLimit", "US", None)
    assert_is_tiny_scan(write_series(datasets, tmp_path))


def test_signed_numbers_that_are_said_to_be_unsigned_are_not_made_air(tmp_path):
    # HU without intercept: fat and muscle below water are negative numbers in 12 of 16 bits
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        hu = dataset.pixel_array.astype(int) - 1024
        dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 12, 11, "0"
        set_pixels(dataset, hu & 0xFFFF)
    assert "undecodable_pixels" in reasons(write_series(datasets, tmp_path))


def test_padding_value_that_tissue_has_is_kept_and_said(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.PixelPaddingValue = 1024 + 20
    assert_is_tiny_scan(write_series(datasets, tmp_path), warnings={"padding_in_tissue_range"})


def test_nested_folders_with_foreign_files(tmp_path):
    datasets = tiny_series(tiny_scan())
    write_series(datasets[::2], tmp_path / "a" / "b")
    write_series(datasets[1::2], tmp_path / "c", names=[f"IM{k}" for k in range(6)])
    (tmp_path / "notes.txt").write_text("Doe^Jane")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"\0" * 400)
    scan = assert_is_tiny_scan(tmp_path, warnings={"foreign_files"})
    assert scan.findings[0].found == "2 of 14 files are not DICOM"


def test_zip_of_a_folder(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "series")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (tmp_path / "series").iterdir():
            archive.write(file, f"export/{file.name}")
            archive.writestr(f"__MACOSX/export/._{file.name}", b"\0\5\x16\7Mac OS X")
    assert_is_tiny_scan(tmp_path / "scan.zip", warnings={"foreign_files"})


def test_linked_folders_are_entered_once(tmp_path):
    datasets = tiny_series(tiny_scan())
    write_series(datasets[:5], tmp_path / "scan")
    write_series(datasets[5:], tmp_path / "elsewhere")
    (tmp_path / "scan/rest").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "scan/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "scan/loop").symlink_to(tmp_path / "scan")
    assert_is_tiny_scan(tmp_path / "scan")


def test_archive_that_names_places_outside_writes_nothing_there(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "series")
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in/scan.zip", "w") as archive:
        for path in (tmp_path / "series").iterdir():
            archive.writestr(f"../../{path.name}", path.read_bytes())
            archive.writestr(f"/tmp/osteoflow-outside/{path.name}.txt", b"text")
    before = sorted(tmp_path.rglob("*"))
    assert_is_tiny_scan(tmp_path / "in/scan.zip", warnings={"foreign_files"})
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/osteoflow-outside").exists()


def test_link_to_nothing_is_a_file_that_cannot_be_read(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path)
    (tmp_path / "012.dcm").symlink_to(tmp_path / "absent")
    assert reasons(tmp_path) == {"unreadable_file": "1 of 13 files are damaged or truncated"}


def test_encrypted_zip_is_unreadable(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "series")
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "series" / "000.dcm", "000.dcm")
    content = path.read_bytes().replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
    path.write_bytes(content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"))
    assert reasons(path) == {"unreadable_file": "1 of 1 files are damaged or truncated"}


def test_files_without_preamble(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[132:])
    assert_is_tiny_scan(tmp_path)


def test_blanked_uids_of_an_anonymiser(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.SOPClassUID = dataset.SeriesInstanceUID = ""
    assert_is_tiny_scan(write_series(datasets, tmp_path))


@pytest.mark.parametrize(
    "field",
    [
        "SeriesInstanceUID",
        "SOPClassUID",
        "SeriesNumber",
        "ImageType",
        "PhotometricInterpretation",
        "RescaleType",
    ]
    + ["SamplesPerPixel", "BurnedInAnnotation", "NumberOfFrames", "PerFrameFunctionalGroupsSequence"],
)
def test_a_field_that_is_missing_reads_as_one_that_is_blank(tmp_path, field):
    for name, change in (
        ("missing", delattr),
        ("blank", lambda dataset, field: setattr(dataset, field, None)),
    ):
        datasets = tiny_series(tiny_scan())
        for dataset in datasets:
            if field in dataset or name == "blank":
                change(dataset, field)
        write_series(datasets, tmp_path / name)
    found = [reasons(tmp_path / name) for name in ("missing", "blank")]
    assert found[0] == found[1], found
    if field not in (
        "PhotometricInterpretation",
        "SamplesPerPixel",
    ):  # without which no pixels can be decoded
        assert_is_tiny_scan(tmp_path / "missing")
        assert_is_tiny_scan(tmp_path / "blank")


@pytest.mark.parametrize(
    ("field", "code", "found"),
    [
        ("PixelSpacing", "incomplete_header", "a file with no PixelSpacing"),
        ("ImagePositionPatient", "incomplete_header", "a file with no ImagePositionPatient"),
        ("ImageOrientationPatient", "incomplete_header", "a file with no ImageOrientationPatient"),
        ("RescaleSlope", "no_rescale", "12 of 12 slices without slope or intercept"),
        ("RescaleIntercept", "no_rescale", "12 of 12 slices without slope or intercept"),
        ("Modality", "wrong_modality", "modality unknown instead of CT"),
    ],
)
@pytest.mark.parametrize("blank", [True, False])
def test_a_blank_field_is_told_of_as_a_missing_one(tmp_path, field, code, found, blank):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        if blank:
            setattr(dataset, field, None)
        else:
            delattr(dataset, field)
    assert reasons(write_series(datasets, tmp_path))[code] == found


def test_headers_that_end_before_the_series_are_damaged(tmp_path):
    datasets = tiny_series(tiny_scan())
    write_series(datasets, tmp_path)
    for file in sorted(tmp_path.iterdir())[:3]:
        content = file.read_bytes()
        file.write_bytes(content[: content.index(b"\x20\x00\x0e\x00UI")])
    assert reasons(tmp_path)["unreadable_file"] == "3 of 12 files are damaged or truncated"


@pytest.mark.parametrize("series_uid", ["", "1.2.3"])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_dicomdir_alone_says_that_its_folder_is_wanted(tmp_path, named, series_uid):
    folder = write_series(tiny_series(tiny_scan()), tmp_path / "disc")
    path = folder / "DICOMDIR"
    shutil.copy(get_testdata_file("DICOMDIR"), path)
    assert_is_tiny_scan(folder, warnings={"other_objects_ignored"})
    for file in folder.glob("*.dcm"):
        file.unlink()
    found = reasons(path if named == "file" else folder, series_uid)
    assert found == {"dicomdir": "a DICOMDIR, which lists image files and holds none"}


@pytest.mark.parametrize(
    ("edges_mm", "accepted"),
    [
        (("0.703125", "0.7031249999"), True),
        (("0.703125", "0.70312500000001"), True),
        (("0.703125", "0.70313"), True),
        (("0.703125", "0.70312"), True),
        (("0.703125", "0.7031"), True),
        (("0.703125", "0.70"), True),  # with 9 pixels, none is displaced by more than 0.03 mm
        (("0.703125", "0.708"), False),
        (("0.703125", "0.72"), False),
    ],
)
def test_pixel_sizes_are_one_size_as_long_as_every_pixel_keeps_its_place(tmp_path, edges_mm, accepted):
    datasets = tiny_series(tiny_scan())
    for number, dataset in enumerate(datasets):
        dataset.PixelSpacing = [edges_mm[number % 2]] * 2
    found = reasons(write_series(datasets, tmp_path))
    assert ("mixed_size" not in found) == accepted, found
    if not accepted:
        assert "6 slices with 9x8 pixels of 0.703125x0.703125 mm" in found["mixed_size"]


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha"])
def test_image_files(tmp_path, name):
    sitk.WriteImage(sitk.DICOMOrient(sitk.Cast(tiny_scan(), sitk.sitkFloat32), "RAS"), str(tmp_path / name))
    scan = assert_is_tiny_scan(tmp_path / name)
    assert scan.geometry.stored_axes == "RAS"


def test_low_values_of_an_image_file_are_clamped(tmp_path):
    image, expected = tiny_scan(), tiny_scan()
    image[0, 0, 0], expected[0, 0, 0] = -3024, -1024
    sitk.WriteImage(image, str(tmp_path / "scan.nii"))
    assert_is_tiny_scan(tmp_path / "scan.nii", expected)


def enhanced(datasets):
    """Return one multi-frame dataset of the slices: common elements in the shared groups, places per frame."""
    whole = datasets[0].copy()
    whole.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    whole.NumberOfFrames = len(datasets)
    whole.PixelData = b"".join(dataset.PixelData for dataset in datasets)
    shared, measures, orientation, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = whole.PixelSpacing
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    rescale.RescaleSlope, rescale.RescaleIntercept = whole.RescaleSlope, whole.RescaleIntercept
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([rescale])
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for dataset in datasets:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = dataset.ImagePositionPatient
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(whole, keyword)
    return whole


def test_enhanced_multi_frame_file(tmp_path):
    write_series([enhanced(tiny_series(tiny_scan())[::-1])], tmp_path)
    assert_is_tiny_scan(tmp_path / "000.dcm")


def test_what_a_frame_says_goes_before_what_all_share(tmp_path):
    whole = enhanced(tiny_series(tiny_scan()))
    whole.RescaleIntercept = "0"
    shared = whole.SharedFunctionalGroupsSequence[0]
    for frame in whole.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence = shared.PixelValueTransformationSequence
    other = Dataset()
    other.RescaleSlope, other.RescaleIntercept = 7, 70
    shared.PixelValueTransformationSequence = Sequence([other])
    assert_is_tiny_scan(write_series([whole], tmp_path))


def test_frames_of_which_some_do_not_say_where_they_lie(tmp_path):
    whole = enhanced(tiny_series(tiny_scan()))
    whole.PerFrameFunctionalGroupsSequence = whole.PerFrameFunctionalGroupsSequence[:9]
    found = reasons(write_series([whole], tmp_path))
    assert found["unsupported_frames"] == "a file with 12 frames, of which 9 have a position"


def test_frames_without_a_place_are_refused(tmp_path):
    whole = enhanced(tiny_series(tiny_scan()))
    for frame in whole.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    found = reasons(write_series([whole], tmp_path))
    assert found["unsupported_frames"] == "a file with 12 frames; no ImagePositionPatient"


def other_series(datasets, uid="1.2.3.9", number=7):
    for dataset in datasets:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = uid, number
    return datasets


def test_two_series_are_listed_without_naming_them(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "a")
    write_series(other_series(tiny_series(tiny_scan(slices=6, step_mm=3.0))), tmp_path / "b")
    found = reasons(tmp_path)
    assert list(found) == ["several_series"]
    assert "number 3, CT, 12 slices of 9x8 pixels, 0.750x0.800x6.000 mm" in found["several_series"]
    assert "number 7, CT, 6 slices of 9x8 pixels, 0.750x0.800x3.000 mm" in found["several_series"]
    assert not any(word in found["several_series"] for word in IDENTITY)


def test_series_uid_chooses(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "a")
    write_series(other_series(tiny_series(tiny_scan(slices=6, step_mm=3.0))), tmp_path / "b")
    scan = read_scan(tmp_path, "1.2.3.9", CONFIG)
    assert same_grid(scan.image, tiny_scan(slices=6, step_mm=3.0))


def test_unknown_series_uid(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path)
    assert reasons(tmp_path, "9.9.9") == {"series_not_found": "not among the 1 series found"}


def test_series_that_cannot_be_the_scan_are_left_out(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "a")
    write_series(other_series(tiny_series(tiny_scan())[:2]), tmp_path / "b")
    magnetic = other_series(tiny_series(tiny_scan()), "1.2.3.8", 8)
    for dataset in magnetic:
        dataset.Modality = "MR"
    write_series(magnetic, tmp_path / "c")
    assert_is_tiny_scan(tmp_path, warnings={"series_ignored"})


def test_localizer_and_capture_are_left_out(tmp_path):
    datasets = tiny_series(tiny_scan())
    localizer, capture = tiny_series(tiny_scan(), "LIP")[:2]
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    capture.SOPClassUID = SECONDARY_CAPTURE
    write_series([*datasets, localizer, capture], tmp_path)
    assert_is_tiny_scan(tmp_path, warnings={"localizer_ignored", "secondary_capture"})


def test_report_is_left_out(tmp_path):
    datasets = tiny_series(tiny_scan())
    report = tiny_series(tiny_scan())[0]
    report.SOPClassUID = STRUCTURED_REPORT
    write_series([*datasets, report], tmp_path)
    assert_is_tiny_scan(tmp_path, warnings={"other_objects_ignored"})


def test_saved_screen_is_a_capture_whatever_its_class(tmp_path):
    datasets = tiny_series(tiny_scan())
    saved = tiny_series(tiny_scan())[0]
    saved.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    write_series([*datasets, saved], tmp_path)
    assert_is_tiny_scan(tmp_path, warnings={"secondary_capture"})


def test_burned_in_annotation_is_said(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset, stated in zip(datasets, ["YES", "NO", "", "yes "], strict=False):
        dataset.BurnedInAnnotation = stated
    write_series(datasets, tmp_path)
    scan = assert_is_tiny_scan(tmp_path, warnings={"burned_in_annotation"})
    assert scan.findings[0].found == "2 of 12 headers declare burned-in text"


def test_slice_that_shows_nothing_is_said(tmp_path):
    image = tiny_scan()
    image[:, :, 4] = -1024
    write_series(tiny_series(image), tmp_path)
    scan = assert_is_tiny_scan(tmp_path, image, warnings={"blank_slices"})
    assert scan.findings[0].found == "1 of 12 slices are blank (slices 5)"


def test_oblique_series_keeps_its_voxels_and_places(tmp_path):
    image = tiny_scan()
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    image.SetDirection((1, 0, 0, 0, cos, -sin, 0, sin, cos))
    write_series(tiny_series(image, "RAS"), tmp_path)
    scan = assert_is_tiny_scan(tmp_path, image, warnings={"oblique_orientation"})
    assert scan.geometry.to_json()["oblique_degrees"] == 20.0


def test_only_localizers(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    assert list(reasons(write_series(datasets, tmp_path))) == ["localizer_only"]


def test_only_captures(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.SOPClassUID = SECONDARY_CAPTURE
    assert list(reasons(write_series(datasets, tmp_path))) == ["no_slices"]


def without_slices_4_and_5(datasets):
    del datasets[4:6]


def with_a_slice_twice(datasets):
    datasets.append(datasets[3].copy())


def with_a_wider_step(datasets):
    for dataset in datasets[7:]:
        dataset.ImagePositionPatient[2] += 1.5


def with_a_slice_beside(datasets):
    datasets[5].ImagePositionPatient[0] += 0.5


def tilted(datasets):
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] += k * 6.0 * np.tan(np.radians(3.0))


def with_a_turned_slice(datasets):
    cos, sin = np.cos(np.radians(2.0)), np.sin(np.radians(2.0))
    datasets[6].ImageOrientationPatient = [cos, sin, 0, -sin, cos, 0]


def turned(datasets):
    cos, sin = np.cos(np.radians(2.0)), np.sin(np.radians(2.0))
    for dataset in datasets:
        dataset.ImageOrientationPatient = [cos, sin, 0, -sin, cos, 0]


def with_a_smaller_slice(datasets):
    set_pixels(datasets[2], datasets[2].pixel_array[:-1])


def with_another_pixel_size(datasets):
    datasets[2].PixelSpacing = [0.81, 0.75]


def of_another_modality(datasets):
    for dataset in datasets:
        dataset.Modality = "MR"


def with_copies_a_hair_apart(datasets):
    datasets.append(datasets[3].copy())
    datasets[-1].ImagePositionPatient = datasets[3].ImagePositionPatient[:2] + [
        datasets[3].ImagePositionPatient[2] + 0.005
    ]


def tilted_by_a_tenth_of_a_degree(datasets):
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] += k * 6.0 * np.tan(np.radians(0.1))


def with_a_step_two_percent_wider(datasets):
    for dataset in datasets[7:]:
        dataset.ImagePositionPatient[2] += 0.12


def with_a_slice_turned_about_its_rows(datasets):
    cos, sin = np.cos(np.radians(2.0)), np.sin(np.radians(2.0))
    datasets[6].ImageOrientationPatient = [1, 0, 0, 0, cos, sin]


def with_fewer_rows_than_pixels(datasets):
    for dataset in datasets:
        dataset.Rows = 4


def with_fewer_columns_than_pixels(datasets):
    for dataset in datasets:
        dataset.Columns = 8


def in_other_units(datasets):
    for dataset in datasets:
        dataset.RescaleType = "EDW"


def of_projections(datasets):
    for dataset in datasets:
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MIP"]


def beyond_any_scanner(datasets):
    for dataset in datasets:
        dataset.ImagePositionPatient[0] = 1e8


def too_few(datasets):
    del datasets[4:]


def without_position(datasets):
    del datasets[5].ImagePositionPatient


def with_a_wrong_direction(datasets):
    datasets[5].ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


def without_rescale(datasets):
    for dataset in datasets:
        del dataset.RescaleIntercept


def with_raw_values(datasets):
    for dataset in datasets:
        dataset.RescaleIntercept = "0"


def with_cut_off_pixels(datasets):
    datasets[8].PixelData = datasets[8].PixelData[:-20]


def without_pixels(datasets):
    del datasets[8].PixelData


@pytest.mark.parametrize(
    ("defect", "code", "found"),
    [
        (
            without_slices_4_and_5,
            "missing_slices",
            "slice distances 6.000 and 18.000 mm at slices 4-5 of 10: 2 slice",
        ),
        (with_a_slice_twice, "duplicate_positions", "1 of 13 slices repeat a position (slices 4-5)"),
        (with_a_wider_step, "uneven_slices", "slice distances 6.000 and 7.500 mm at slices 7-8 of 12"),
        (with_a_slice_beside, "shifted_slices", "up to 0.500 mm beside the others (slices 6)"),
        (tilted, "gantry_tilt", "slices are stacked at 3.00 degrees to their normal"),
        (with_a_turned_slice, "mixed_orientation", "1 of 12 slices turned by up to 2.00 degrees"),
        (
            with_a_smaller_slice,
            "mixed_size",
            "11 slices with 9x8 pixels of 0.75x0.8 mm, 1 slices with 9x7",
        ),
        (with_another_pixel_size, "mixed_size", "1 slices with 9x8 pixels of 0.75x0.81 mm"),
        (with_copies_a_hair_apart, "duplicate_positions", "1 of 13 slices repeat a position (slices 4-5)"),
        (tilted_by_a_tenth_of_a_degree, "gantry_tilt", "stacked at 0.10 degrees"),
        (with_a_step_two_percent_wider, "uneven_slices", "slice distances 6.000 and 6.120 mm at slices 7-8"),
        (
            with_a_slice_turned_about_its_rows,
            "mixed_orientation",
            "1 of 12 slices turned by up to 2.00 degrees",
        ),
        (with_fewer_rows_than_pixels, "undecodable_pixels", "12 of 12 slices"),
        (with_fewer_columns_than_pixels, "undecodable_pixels", "12 of 12 slices"),
        (in_other_units, "no_rescale", "that are not rescaled to HU"),
        (of_projections, "no_slices", "12 other DICOM objects"),
        (beyond_any_scanner, "incomplete_header", "a position beyond the reach of a scanner"),
        (of_another_modality, "wrong_modality", "modality MR instead of CT"),
        (too_few, "too_few_slices", "4 slices; at least 5 are needed"),
        (without_position, "incomplete_header", "a file with no ImagePositionPatient"),
        (with_a_wrong_direction, "incomplete_header", "not perpendicular"),
        (without_rescale, "no_rescale", "12 of 12 slices"),
        (with_raw_values, "implausible_hu", "intensities from 24 to 1824"),
        (with_cut_off_pixels, "undecodable_pixels", "1 of 12 slices cannot be decoded (slices 9)"),
        (without_pixels, "undecodable_pixels", "1 of 12 slices cannot be decoded (slices 9)"),
    ],
)
def test_defect_is_found(tmp_path, defect, code, found):
    datasets = tiny_series(tiny_scan())
    defect(datasets)
    write_series(datasets, tmp_path)
    with pytest.raises(ScanError) as caught:
        read_scan(tmp_path, config=CONFIG)
    assert caught.value.code == code
    assert found in reasons(tmp_path)[code]


def test_all_problems_are_listed(tmp_path):
    datasets = tiny_series(tiny_scan())
    of_another_modality(datasets)
    without_slices_4_and_5(datasets)
    datasets[0].PixelData = b""
    found = reasons(write_series(datasets, tmp_path))
    assert set(found) == {"wrong_modality", "missing_slices", "undecodable_pixels"}


def test_step_within_the_tolerance_is_accepted(tmp_path):
    datasets = tiny_series(tiny_scan())
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[2] += 0.02 * (k % 2)  # tolerance: 1 % of 6 mm
    scan = read_scan(write_series(datasets, tmp_path), config=CONFIG)
    assert scan.geometry.spacing_mm_xyz[2] == pytest.approx(6.0 + 0.02 / 11)


def test_tilt_within_the_limit_is_accepted(tmp_path):
    datasets = tiny_series(tiny_scan())
    tilted(datasets)
    write_series(datasets, tmp_path)
    assert (
        read_scan(tmp_path, config=ScreeningConfig(min_slices=5, max_tilt_degrees=3.1)).geometry.slices_read
        == 12
    )


@pytest.mark.parametrize("kept_bytes", [0, 100, 200, 500], ids=["empty", "preamble", "group 2", "group 8"])
def test_file_cut_off_in_its_header_is_unreadable(tmp_path, kept_bytes):
    write_series(tiny_series(tiny_scan()), tmp_path)
    last = tmp_path / "011.dcm"
    last.write_bytes(last.read_bytes()[:kept_bytes])
    assert reasons(tmp_path) == {"unreadable_file": "1 of 12 files are damaged or truncated"}


@pytest.mark.parametrize("position", range(140, 1100, 60))
def test_random_damage_gives_a_verdict(tmp_path, position):
    write_series(tiny_series(tiny_scan()), tmp_path)
    damaged = tmp_path / "005.dcm"
    content = bytearray(damaged.read_bytes())
    content[position : position + 12] = b"\xff" * 12
    damaged.write_bytes(content)
    for reason in survey(tmp_path).findings:
        assert not any(word in reason.found for word in IDENTITY)


def test_sources_without_a_scan(tmp_path):
    (tmp_path / "empty").mkdir()
    assert reasons(tmp_path / "empty") == {"no_dicom_found": "none of 0 files is DICOM"}
    (tmp_path / "text.txt").write_text("Doe^Jane")
    assert list(reasons(tmp_path / "text.txt")) == ["unreadable_file"]
    assert list(reasons(tmp_path / "absent")) == ["unreadable_file"]


def test_damaged_zip(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path / "series")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in (tmp_path / "series").iterdir():
            archive.write(file, file.name)
    content = bytearray((tmp_path / "scan.zip").read_bytes())
    content[700:720] = b"\xff" * 20
    (tmp_path / "scan.zip").write_bytes(content)
    assert set(reasons(tmp_path / "scan.zip")) & {"unreadable_file", "undecodable_pixels"}
    (tmp_path / "scan.zip").write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x09"))
    assert reasons(tmp_path / "scan.zip") == {"unreadable_file": "the zip archive is damaged or truncated"}
    (tmp_path / "scan.zip").write_bytes(content[:3000])
    assert list(reasons(tmp_path / "scan.zip")) == ["unreadable_file"]


def test_missing_values_are_air_and_counted(tmp_path):
    image = sitk.Cast(tiny_scan(), sitk.sitkFloat32)
    expected = tiny_scan()
    image[:2, :, :], expected[:2, :, :] = float("nan"), -1024
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    scan = assert_is_tiny_scan(tmp_path / "scan.nii.gz", expected, warnings={"missing_values"})
    assert scan.findings[0].found == f"{2 * 8 * 12} of {9 * 8 * 12} voxels without value"


def with_absurd_size(dataset):
    dataset.Rows, dataset.Columns = 65535, 65535


def test_series_that_claims_more_than_fits_is_refused_before_it_is_read(tmp_path):
    datasets = tiny_series(tiny_scan())
    with_absurd_size(datasets[3])
    write_series(datasets, tmp_path)
    assert reasons(tmp_path) == {"too_large": "12 slices of up to 8.59 GB; at most 4 GB is allowed"}


def test_image_file_that_claims_more_than_fits_is_refused_before_it_is_read(tmp_path):
    sitk.WriteImage(tiny_scan(), str(tmp_path / "scan.nii"))
    content = bytearray((tmp_path / "scan.nii").read_bytes())
    struct.pack_into("<3h", content, 42, 32767, 32767, 2)
    (tmp_path / "scan.nii").write_bytes(content)
    assert reasons(tmp_path / "scan.nii") == {"too_large": "4.29 GB of voxels; at most 4 GB is allowed"}


def test_large_member_of_an_archive_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(128) + b"DICM" + bytes(12 * 10**6))
    config = ScreeningConfig(max_gb=0.01)
    (reason,) = survey_scan(tmp_path / "scan.zip", "", config).findings
    assert (reason.code, reason.found) == ("too_large", "a file of 0.012 GB; at most 0.01 GB is allowed")


def test_large_file_that_is_no_dicom_is_left_out(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path)
    with open(tmp_path / "film.mp4", "wb") as film:
        film.truncate(6 * 10**9)
    assert_is_tiny_scan(tmp_path, warnings={"foreign_files"})


def test_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "scan.nii")
    assert list(reasons(tmp_path / "scan.nii")) == ["unreadable_file"]


def test_numbers_that_are_none_in_an_image_file(tmp_path):
    image = sitk.Cast(tiny_scan(), sitk.sitkFloat32)
    image[3, 3, 3] = float("inf")
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    assert reasons(tmp_path / "scan.mha") == {"infinite_values": "1 voxels are infinite"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image + 1024,
        lambda image: image / 3071.0,
        lambda image: sitk.Clamp(image, sitk.sitkInt16, 0, 255),
    ],
    ids=["raw", "fractions", "windowed"],
)
def test_other_units_are_implausible(tmp_path, spoil):
    sitk.WriteImage(spoil(sitk.Cast(tiny_scan(), sitk.sitkFloat32)), str(tmp_path / "scan.nii"))
    assert list(reasons(tmp_path / "scan.nii")) == ["implausible_hu"]


def test_acquisition_is_read_and_free_text_is_not(tmp_path):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets:
        dataset.ContrastBolusAgent = "Ultravist for Jane Doe"
        dataset.XRayTubeCurrent, dataset.ExposureTime = "200", "500"
        dataset.SliceThickness, dataset.ReconstructionDiameter = "5.0", ""
    acquisition = read_scan(write_series(datasets, tmp_path), config=CONFIG).acquisition
    assert acquisition.to_json() == {
        "manufacturer": "TinyScan",
        "model": None,
        "kvp": 120.0,
        "mas": 100.0,
        "kernel": "B30s",
        "slice_thickness_mm": 5.0,
        "slice_increment_mm": 6.0,
        "pitch": None,
        "table_height_mm": None,
        "field_of_view_mm": None,
        "contrast": "yes",
    }


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_nothing_of_identity_gets_out(tmp_path, capfd):
    datasets = tiny_series(tiny_scan())
    with_a_slice_twice(datasets)
    with_cut_off_pixels(datasets)
    datasets[1].Modality = "Doe^Jane"
    folder = write_series(datasets, tmp_path / "doe-jane")
    found = json.dumps([reason.to_json("proximal-femur", "CT") for reason in survey(folder).findings])
    printed = capfd.readouterr()
    for word in (*IDENTITY, "doe-jane", str(tmp_path)):
        assert word not in found + printed.out + printed.err


def test_pydicom_warns_again_afterwards(tmp_path):
    write_series(tiny_series(tiny_scan()), tmp_path)
    level = pydicom.config.logger.level
    survey(tmp_path)
    assert pydicom.config.logger.level == level
