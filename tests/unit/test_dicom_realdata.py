"""Real scans: each gets a volume or an understandable reason."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from lib.catalog.modalities import MODALITIES
from lib.catalog.reasons import is_rejected
from lib.imaging.grid import array_zyx, same_grid
from lib.reading.dicom import read_scan, survey_scan
from lib.reading.headers import read_object
from lib.reading.image_files import read_labels
from lib.reading.pixels import decode_slice
from lib.screening_settings import ScreeningConfig

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data/real beside the checkout is absent"),
]


def reasons(name, **limits):
    found = survey_scan(REAL / name, "", ScreeningConfig(**limits)).findings
    return {reason.code: reason.found for reason in found}


def test_jpeg_2000_series_is_read_at_its_place_with_its_mask():
    scan = read_scan(REAL / "totalsegmentator/example_ct_dicom")
    assert scan.image.GetSize() == (512, 512, 20)
    assert scan.geometry.spacing_mm_xyz == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert scan.acquisition.slice_thickness_mm == 3.0
    assert same_grid(
        scan.image, read_labels(REAL / "totalsegmentator/example_seg_dicom.nii.gz", {"femur": ()})
    )


def test_reader_agrees_with_itk_where_itk_is_right():
    folder = REAL / "totalsegmentator/example_ct_dicom"
    places = {str(file): pydicom.dcmread(file, stop_before_pixels=True) for file in folder.iterdir()}
    files = sorted(places, key=lambda file: places[file].ImagePositionPatient[2])
    itk = sitk.ReadImage(files)
    ours = read_scan(folder).image
    np.testing.assert_array_equal(array_zyx(ours), np.maximum(array_zyx(itk), -1024))
    assert ours.GetOrigin() == pytest.approx(itk.GetOrigin(), abs=1e-3)


def test_five_syntaxes_give_the_same_pixels():
    volumes = []
    folders = ("compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls", "compressed_rle")
    for folder in folders:
        datasets = [
            pydicom.dcmread(file) for file in sorted((REAL / "dicom2nifti/generic" / folder).rglob("*.dcm"))
        ]
        volumes.append(
            [decode_slice(each, read_object(each, 0).slices[0], MODALITIES["CT"]).values for each in datasets]
        )
    assert np.ptp(volumes[0]) > 100
    for volume in volumes[1:]:
        np.testing.assert_array_equal(volume, volumes[0])


def test_syntaxes_of_the_four_compressed_folders_differ():
    generic = REAL / "dicom2nifti/generic"
    syntaxes = {
        str(pydicom.dcmread(next((generic / folder).rglob("*.dcm"))).file_meta.TransferSyntaxUID)
        for folder in ("compressed_j2k", "compressed_jpeg", "compressed_jpegls", "compressed_rle")
    }
    assert len(syntaxes) == 4


def test_tilt_and_changing_step_are_both_found():
    found = reasons("dcm_qa_ct/GE")
    assert set(found) == {"gantry_tilt", "uneven_slices"}
    assert "18.50 degrees" in found["gantry_tilt"]
    assert "4.002" in found["uneven_slices"]
    assert "6.999" in found["uneven_slices"]


@pytest.mark.parametrize(
    ("folder", "code", "words"),
    [
        ("gantrytilting", "gantry_tilt", "14.00 degrees"),
        ("sliceincrement", "missing_slices", "slice distances 5.000 and 10.000 mm at slices 3-4 of 4"),
        ("notavolume", "duplicate_positions", "3 of 4 slices"),
        ("slicecount", "wrong_modality", "MR"),
    ],
)
def test_failing_series_say_why(folder, code, words):
    assert words in reasons(f"dicom2nifti/failing/{folder}")[code]


def test_captures_in_colour_are_no_slices():
    assert list(reasons("dicom2nifti/generic/rgb")) == ["no_slices"]


def test_six_mr_series_are_wrong_modality():
    found = reasons("mri2psm/dicom")
    assert found["wrong_modality"] == "modality MR instead of CT"
    assert found["series_ignored"].startswith("5 series")


def test_two_series_of_equal_standing_are_listed():
    found = reasons("mri2psm/dicom", modality="MR")
    assert list(found) == ["several_series"]
    assert found["several_series"].count("slices of 512x432 pixels") == 3


def test_mr_series_agrees_with_its_nifti():
    path = REAL / "mri2psm/pelvis_t1_tse_ax.nii.gz"
    series = {
        str(header.SeriesInstanceUID)
        for header in (
            pydicom.dcmread(file, stop_before_pixels=True) for file in (REAL / "mri2psm/dicom").iterdir()
        )
        if abs(float(header.ImagePositionPatient[2]) - 576.294) < 0.01
    }
    survey = survey_scan(REAL / "mri2psm/dicom", series.pop(), ScreeningConfig(modality="MR"))
    expected = survey_scan(path, "", ScreeningConfig()).scan.image
    assert same_grid(survey.scan.image, expected)
    np.testing.assert_array_equal(array_zyx(survey.scan.image), array_zyx(expected))


@pytest.mark.parametrize(
    ("name", "size_xyz"),
    [
        ("totalsegmentator/example_ct.nii.gz", (122, 101, 112)),
        ("tptbox/sample_ct/sub-ct_label-22_ct.nii.gz", (73, 73, 47)),
    ],
)
def test_ct_in_nifti_is_accepted(name, size_xyz):
    survey = survey_scan(REAL / name, "", ScreeningConfig())
    assert not is_rejected(survey.findings)
    assert survey.scan.image.GetSize() == size_xyz


@pytest.mark.parametrize(
    "name",
    [
        "totalsegmentator/example_mr_sm.nii.gz",
        "mri2psm/pelvis_t1_tse_ax.nii.gz",
        "tptbox/sample_mri/sub-mri_label-6_T2w.nii.gz",
        "totalsegmentator/example_seg_fast_force_split.nii.gz",
    ],
)
def test_mr_and_labels_in_nifti_are_no_hu(name):
    assert list(reasons(name)) == ["implausible_hu"]


def test_mask_stored_in_another_axis_order_lies_on_its_scan():
    folder = REAL / "tptbox/sample_ct"
    scan = read_scan(folder / "sub-ct_label-22_ct.nii.gz")
    mask = read_labels(folder / "sub-ct_seg-vert_label-22_msk.nii.gz", {"L3": (22,)})
    assert same_grid(scan.image, mask)
    bone_hu = array_zyx(scan.image)[array_zyx(mask) > 0].mean()
    assert bone_hu > 100
