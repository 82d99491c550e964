"""Reading MR: one magnitude volume, rescaled slice by slice and never clipped, chosen among several series."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_series import tiny_scan, tiny_series, write_series

from lib.errors import ScanError
from lib.imaging.stored import fit_int16, signal_image, to_int16
from lib.reading.dicom import read_scan, survey_scan
from lib.screening_settings import ScreeningConfig

CONFIG = ScreeningConfig(modality="MR", min_slices=4, min_length_mm=5.0)
REAL = Path(__file__).parents[3] / "shared/data/real/mri2psm"


def reasons(folder, series_uid="", config=CONFIG):
    """Return the findings of a folder by their code."""
    return {reason.code: reason.found for reason in survey_scan(folder, series_uid, config).findings}


def mr_series(image, axes="LSP", number=3, **elements):
    """The MR slices of an image, without slope and intercept, with further elements."""
    datasets = tiny_series(image, axes)
    for dataset in datasets:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        dataset.Modality, dataset.ImageType = "MR", ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.EchoTime, dataset.RepetitionTime, dataset.MagneticFieldStrength = 5, 37, 3
        dataset.SeriesNumber, dataset.SeriesInstanceUID = number, f"1.2.3.{number}"
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP, dataset.ConvolutionKernel
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
    return datasets


def signal(slices=12):
    """A volume on patient axes with the values of a T1 image, all different."""
    image = tiny_scan(slices)
    values_zyx = np.arange(slices * 8 * 9).reshape(slices, 8, 9) + 100
    made = sitk.GetImageFromArray(values_zyx.astype(np.int16))
    made.CopyInformation(image)
    return made


def stored_plus_1024(image):
    """Values as `tiny_series` stores them."""
    return sitk.GetArrayFromImage(image).astype(np.int64) + 1024


@pytest.mark.parametrize(("axes", "axis"), [("LSP", "y"), ("LPS", "z"), ("PSL", "x")])
def test_values_are_kept_as_stored_and_the_acquired_axis_is_known(tmp_path, axes, axis):
    image = signal()
    scan = read_scan(write_series(mr_series(image, axes), tmp_path), config=CONFIG)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.image), stored_plus_1024(image))
    assert (scan.value_scale, scan.geometry.acquired_axis) == (1.0, axis)
    assert scan.image.GetOrigin() == pytest.approx(image.GetOrigin())
    assert (scan.acquisition.te_ms, scan.acquisition.field_tesla) == (5.0, 3.0)


def test_each_slice_is_rescaled_by_its_own_slope_and_fractions_survive(tmp_path):
    datasets = mr_series(signal())
    slopes = 0.002 * (1 + np.arange(len(datasets)))
    for dataset, slope in zip(datasets, slopes, strict=True):
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:g}", "0"
    scan = read_scan(write_series(datasets, tmp_path), config=CONFIG)
    values_zyx = sitk.GetArrayFromImage(scan.image) * scan.value_scale
    # slices along y: index of y 0 is the front, and the slices were stored from front to back
    expected_zyx = stored_plus_1024(signal()) * slopes[None, :, None]
    np.testing.assert_allclose(values_zyx, expected_zyx, atol=scan.value_scale)
    assert sitk.GetArrayFromImage(scan.image).max() == 32767


@pytest.mark.parametrize("largest", [32767, 65535])
def test_values_above_int16_are_scaled_and_never_clipped(tmp_path, largest):
    image = sitk.Cast(signal(), sitk.sitkFloat32) * ((largest - 1024) / 963.0)
    datasets = mr_series(sitk.Cast(image, sitk.sitkInt32))
    scan = read_scan(write_series(datasets, tmp_path), config=CONFIG)
    found = sitk.GetArrayFromImage(scan.image)
    stored = sitk.GetArrayFromImage(sitk.Cast(image, sitk.sitkInt32)) + 1024
    np.testing.assert_allclose(found * scan.value_scale, stored, atol=scan.value_scale)
    assert (scan.value_scale > 1) == (largest > 32767)


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "R_IR", "R", "IR"]},
        {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
        {"ImageType": ["DERIVED", "SECONDARY", "SUB"]},
        {"ComplexImageComponent": "IMAGINARY"},
    ],
)
def test_phase_parts_and_maps_are_refused(tmp_path, changes):
    folder = write_series(mr_series(signal(), **changes), tmp_path)
    assert reasons(folder) == {"not_magnitude": "8 of 8 files are phase, real or imaginary images, or maps"}


def test_two_echoes_at_the_same_positions_are_two_volumes(tmp_path):
    first, second = mr_series(signal()), mr_series(signal(), EchoTime=10)
    write_series([*first, *second], tmp_path)
    assert reasons(tmp_path) == {"several_volumes": "2 slices at each of 8 positions"}


def test_of_several_series_the_one_that_can_be_the_scan_is_read(tmp_path):
    write_series(mr_series(signal(), number=1, EchoTime=4.92), tmp_path / "t1")
    write_series(mr_series(signal(), number=2, ImageType=["ORIGINAL", "PRIMARY", "P"]), tmp_path / "phase")
    planes = [mr_series(signal(), axes, number=7)[:2] for axes in ("LSP", "LPS", "PSL")]
    write_series(sum(planes, []), tmp_path / "localizer")
    found = reasons(tmp_path)
    assert list(found) == ["series_ignored"]
    assert "number 7, MR, 6 slices" in found["series_ignored"]
    write_series(mr_series(signal(), number=9, EchoTime=80, RepetitionTime=3500), tmp_path / "t2")
    found = reasons(tmp_path)
    assert list(found) == ["several_series"]
    for words in (
        "number 1, MR, 8 slices of 9x12 pixels",
        "coronal, TE 4.92 ms, TR 37 ms",
        "TE 80 ms, TR 3500 ms",
    ):
        assert words in found["several_series"]
    assert "left hip of Jane" not in str(found)
    scan = read_scan(tmp_path, "1.2.3.9", CONFIG)
    assert scan.acquisition.te_ms == 80


def test_gaps_between_slices_are_legitimate_if_they_are_equal(tmp_path):
    folder = write_series(mr_series(signal(), SliceThickness=0.4), tmp_path)
    scan = read_scan(folder, config=CONFIG)
    assert (scan.acquisition.slice_thickness_mm, scan.findings) == (0.4, ())


def test_each_modality_refuses_the_other(tmp_path):
    mr, ct = (
        write_series(mr_series(signal()), tmp_path / "mr"),
        write_series(tiny_series(tiny_scan()), tmp_path / "ct"),
    )
    assert "modality CT instead of MR" in reasons(ct)["wrong_modality"]
    assert "modality MR instead of CT" in reasons(mr, config=ScreeningConfig())["wrong_modality"]


def test_a_float_image_keeps_its_values_up_to_one_factor():
    values = np.linspace(-0.5, 2.5, 60, dtype=np.float32).reshape(3, 4, 5)
    values[0, 0, 0] = np.nan
    image, factor, (warning,) = signal_image(sitk.GetImageFromArray(values))
    np.testing.assert_allclose(sitk.GetArrayFromImage(image) * factor, np.nan_to_num(values), atol=factor)
    assert warning.code == "missing_values" and "1 of 60" in warning.found
    with pytest.raises(ScanError, match="1 voxels are infinite") as caught:
        signal_image(sitk.GetImageFromArray(np.where(np.isnan(values), np.inf, values)))
    assert caught.value.code == "infinite_values"


def test_whole_numbers_are_stored_as_they_are():
    values = np.array([[-5, 0], [32767, 12]])
    for kind in (np.int32, np.float32, np.float64):
        stored, factor = fit_int16(values.astype(kind))
        assert (stored.tolist(), stored.dtype, factor) == (values.tolist(), np.int16, 1.0)
    assert to_int16(np.array([-40000.0, -2000.4, 7.5]), -32768).tolist() == [-32768, -2000, 8]
    assert to_int16(np.array([-2000], np.int16), -1024).tolist() == [-1024]
    assert to_int16(np.array([-2000], np.int16), -32768).tolist() == [-2000]


@pytest.mark.skipif(not REAL.exists(), reason="shared/data is not beside this project")
def test_six_real_series_are_told_apart_by_number_plane_and_times():
    found = reasons(REAL / "dicom", config=ScreeningConfig(modality="MR", min_length_mm=40.0))
    assert list(found) == ["several_series"]
    listed = found["several_series"]
    assert listed.startswith("3 series: number 6, MR, 17 slices of 512x432 pixels")
    assert listed.count("axial") == 3 and "TE 20 ms, TR 877 ms" in listed and "TE 20 ms, TR 700 ms" in listed
