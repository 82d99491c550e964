"""Tilted and uneven series of a field that is linear in space, which interpolation must reproduce exactly."""

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_series import set_pixels, tiny_scan, tiny_series, write_series

from lib.errors import ScanError
from lib.reading.dicom import read_scan
from lib.screening_settings import ScreeningConfig

HU_PER_MM = np.array([1.3, -2.1, 0.7])
FIRST_MM = np.array([-30.0, 10.0, -700.0])
PIXEL_MM = (0.8, 0.75)  # along a row, along a column


def field_hu(points_mm):
    """Return the field at points (..., 3); its values include air, soft tissue and bone."""
    return 100.0 + (points_mm - FIRST_MM - [5.0, 3.0, 30.0]) @ HU_PER_MM * 12.0


def series_of_field(folder, heights_mm, *, tilt_degrees=0.0, aside_degrees=0.0):
    """Write slices at `heights_mm` above the first, stacked along the patient but tilted by `tilt_degrees`."""
    cos, sin = np.cos(np.radians(tilt_degrees)), np.sin(np.radians(tilt_degrees))
    row, column = np.array([1.0, 0.0, 0.0]), np.array([0.0, cos, -sin])
    path = np.array([np.tan(np.radians(aside_degrees)), 0.0, 1.0])
    datasets = []
    for template, height_mm in zip(tiny_series(tiny_scan(len(heights_mm))), heights_mm, strict=True):
        first_mm = FIRST_MM + height_mm * path
        x, y = np.meshgrid(np.arange(24) * PIXEL_MM[0], np.arange(20) * PIXEL_MM[1])
        points_mm = first_mm + x[..., None] * row + y[..., None] * column
        template.PixelSpacing = [PIXEL_MM[1], PIXEL_MM[0]]
        template.ImagePositionPatient = first_mm.round(6).tolist()
        template.ImageOrientationPatient = [*row, *column.round(9)]
        set_pixels(template, np.rint(field_hu(points_mm)).astype(np.int32) + 1024)
        datasets.append(template)
    return write_series(datasets, folder)


def disagreement_hu(image):
    """Return the difference of voxels from the field, (z, y, x); NaN for air outside of all slices."""
    size = image.GetSize()
    points_mm = np.array(
        [
            image.TransformIndexToPhysicalPoint((i, j, k))
            for k in range(size[2])
            for j in range(size[1])
            for i in range(size[0])
        ]
    ).reshape(*size[::-1], 3)
    hu_zyx = sitk.GetArrayFromImage(image).astype(float)
    return np.where(hu_zyx < -500, np.nan, np.abs(hu_zyx - field_hu(points_mm)))


def test_tilted_series_stands_upright_at_its_place(tmp_path):
    series_of_field(tmp_path, 3.0 * np.arange(24), tilt_degrees=18.5)
    scan = read_scan(tmp_path, config=ScreeningConfig(correct_tilt=True))
    codes = {reason.code for reason in scan.findings}
    assert codes == {"tilt_corrected", "oblique_orientation"}
    step_mm = 3.0 * np.cos(np.radians(18.5))
    assert scan.image.GetSpacing() == pytest.approx((*PIXEL_MM, step_mm))
    direction = np.reshape(scan.image.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-9)
    error_hu = disagreement_hu(scan.image)
    # one row at either border is mixed with the air beside it
    inside = np.nanmedian(error_hu)
    assert inside <= 1.0
    for slice_yx in error_hu:
        rows = np.flatnonzero(np.isfinite(slice_yx).all(axis=1))
        assert rows.size >= 18
        assert np.nanmax(slice_yx[rows[1:-1]]) <= 1.0


def test_sideways_tilt_is_corrected_along_the_rows(tmp_path):
    series_of_field(tmp_path, 3.0 * np.arange(24), aside_degrees=10.0)
    scan = read_scan(tmp_path, config=ScreeningConfig(correct_tilt=True))
    wider = np.ceil(np.tan(np.radians(10.0)) * 3.0 * 23 / PIXEL_MM[0])
    assert scan.image.GetSize() == (24 + wider, 20, 24)
    error_hu = disagreement_hu(scan.image)
    for slice_yx in error_hu:
        columns = np.flatnonzero(np.isfinite(slice_yx).all(axis=0))
        assert columns.size >= 22
        assert np.nanmax(slice_yx[:, columns[1:-1]]) <= 1.0


@pytest.mark.parametrize(
    ("steps_mm", "slices"),
    [
        ([2.0] * 10 + [5.0] + [2.0] * 12, 25),
        ([4.0] * 8 + [7.0] * 6, 19),
        ([2.0] * 15 + [4.0] + [2.0] * 10, 28),
    ],
    ids=["a wider gap", "two distances", "a missing slice"],
)
def test_uneven_slices_are_interpolated_at_the_smallest_distance(tmp_path, steps_mm, slices):
    series_of_field(tmp_path, np.cumsum([0.0, *steps_mm]))
    with pytest.raises(ScanError, match="slice distances"):
        read_scan(tmp_path, config=ScreeningConfig(min_length_mm=0))
    scan = read_scan(tmp_path, config=ScreeningConfig(resample_uneven=True))
    assert [reason.code for reason in scan.findings] == ["slices_interpolated"]
    assert scan.image.GetSize() == (24, 20, slices)
    assert scan.image.GetSpacing()[2] == pytest.approx(min(steps_mm))
    assert np.nanmax(disagreement_hu(scan.image)) <= 1.0


def test_differences_that_add_up_are_found(tmp_path):
    # each distance is within 1 % of 2 mm, and the middle is 0.4 mm off even positions
    series_of_field(tmp_path, np.cumsum([0.0, *[2.019] * 21, *[1.981] * 21]))
    with pytest.raises(ScanError, match=r"up to 0.399 mm from where an even distance of 2.000 mm") as caught:
        read_scan(tmp_path)
    assert caught.value.code == "uneven_slices"


def test_tilted_and_uneven_slices_are_repaired_together(tmp_path):
    heights_mm = np.cumsum([0.0, *[4.0] * 8, *[7.0] * 6])
    series_of_field(tmp_path, heights_mm, tilt_degrees=18.5)
    config = ScreeningConfig(correct_tilt=True, resample_uneven=True)
    scan = read_scan(tmp_path, config=config)
    assert {"tilt_corrected", "slices_interpolated"} <= {reason.code for reason in scan.findings}
    assert scan.image.GetSpacing()[2] == pytest.approx(4.0 * np.cos(np.radians(18.5)))
    for slice_yx in disagreement_hu(scan.image):
        rows = np.flatnonzero(np.isfinite(slice_yx).all(axis=1))
        assert rows.size >= 12
        # between two slices shifted against each other rows at both ends are mixed with air
        assert np.nanmax(slice_yx[rows[4:-4]]) <= 1.0


@pytest.mark.parametrize(("near", "step_mm"), [(1, 3.0), (6, 1.5)], ids=["one pair", "six of 26"])
def test_slices_that_lie_close_together_do_not_ask_for_many(tmp_path, near, step_mm):
    heights_mm = np.cumsum([0.0, *[3.0] * 10, *[0.5] * near, *[3.0] * 10])
    series_of_field(tmp_path, heights_mm)
    scan = read_scan(tmp_path, config=ScreeningConfig(resample_uneven=True))
    assert scan.image.GetSpacing()[2] == pytest.approx(step_mm)
    assert scan.image.GetSize()[2] == np.floor(heights_mm[-1] / step_mm) + 1
    assert np.nanmax(disagreement_hu(scan.image)) <= 1.0


def test_an_upright_volume_may_be_too_large(tmp_path):
    series_of_field(tmp_path, 3.0 * np.arange(24), tilt_degrees=18.5)
    config = ScreeningConfig(correct_tilt=True, max_gb=2e-9 * 24 * 24 * 25)
    with pytest.raises(ScanError, match="on an even grid") as caught:
        read_scan(tmp_path, config=config)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("config", "code", "heights_mm", "tilt_degrees"),
    [
        (ScreeningConfig(resample_uneven=True), "gantry_tilt", 3.0 * np.arange(20), 18.5),
        (ScreeningConfig(correct_tilt=True), "gantry_tilt", 3.0 * np.arange(20), 35.0),
        (ScreeningConfig(correct_tilt=True), "uneven_slices", [*range(0, 40, 2), 41, 43], 0.0),
        (ScreeningConfig(resample_uneven=True), "missing_slices", [*range(0, 40, 2), 52, 54], 0.0),
    ],
    ids=["tilt not asked for", "no gantry tilts so far", "uneven not asked for", "gap too wide"],
)
def test_only_what_is_asked_for_is_repaired(tmp_path, config, code, heights_mm, tilt_degrees):
    series_of_field(tmp_path, np.array(heights_mm, dtype=float), tilt_degrees=tilt_degrees)
    with pytest.raises(ScanError) as caught:
        read_scan(tmp_path, config=config)
    assert caught.value.code == code


def test_repairs_are_switches():
    with pytest.raises(Exception, match="dicom.correct_tilt must be true or false"):
        ScreeningConfig(correct_tilt="yes")
