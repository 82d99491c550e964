"""The reader accepts all ways to write a scan, and refuses all spoilt scans with the documented reason."""

import shutil
import subprocess

import pytest
import SimpleITK as sitk
from bad_variants import BAD
from good_variants import AXIS_ORDERS, GOOD, nifti_in_axis_order
from series_variants import Source, Variant, base_scan, misfit

from lib.catalog.reasons import REJECTED, WARNING
from lib.reading.dicom import Survey, survey_scan
from lib.reading.image_files import read_image_file
from lib.screening_settings import ScreeningConfig


def survey(variant: Variant, folder) -> tuple[Source, Survey]:
    source = variant.write(folder)
    return source, survey_scan(source.path, source.series_uid, ScreeningConfig(**variant.limits))


def codes(found: Survey, severity: str) -> set[str]:
    return {reason.code for reason in found.findings if reason.severity == severity}


def test_enough_variants():
    assert len(GOOD) >= 40
    assert len(BAD) >= 25


@pytest.mark.parametrize("name", GOOD)
def test_good_variant_gives_the_volume(name, tmp_path):
    source, found = survey(GOOD[name], tmp_path)
    assert codes(found, REJECTED) == set()
    assert codes(found, WARNING) == GOOD[name].codes
    assert found.scan.image.GetPixelID() == sitk.sitkInt16
    assert misfit(found.scan.image, source.expected).fits, misfit(found.scan.image, source.expected)


@pytest.mark.parametrize("name", BAD)
def test_bad_variant_is_refused(name, tmp_path):
    _, found = survey(BAD[name], tmp_path)
    assert codes(found, REJECTED) >= BAD[name].codes


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_nifti_in_any_axis_order(axes, tmp_path):
    source = nifti_in_axis_order(axes, tmp_path)
    found = survey_scan(source.path, "", ScreeningConfig())
    assert misfit(found.scan.image, source.expected).fits


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed (package dcm2niix)")
@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "shuffled",
        "syntax_jpeg_2000",
        "rescale_of_each_slice",
        "enhanced_ct",
        "feet_first",
        "decubitus_left",
    ]
    + ["sagittal", "coronal", "oblique_30_degrees", "oblique_about_three_axes", "anisotropic_pixels"],
)
def test_volume_is_that_of_dcm2niix(name, tmp_path):
    (tmp_path / "variant").mkdir()
    _, found = survey(GOOD[name], tmp_path / "variant")
    command = ["dcm2niix", "-z", "n", "-b", "n", "-f", "peer", "-o", tmp_path, tmp_path / "variant"]
    subprocess.run(command, check=True, capture_output=True)
    peer, _ = read_image_file(tmp_path / "peer.nii")
    assert misfit(found.scan.image, peer).fits, misfit(found.scan.image, peer)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda image: image + 1, {"differing": 64 * 64 * 34}),
        (lambda image: image[1:, :, :], {"differing": 64 * 34}),
        (lambda image: sitk.ConstantPad(image, (0, 0, 2), (0, 0, 0), 0), {"invented": 64 * 64 * 2}),
    ],
    ids=["other HU", "voxels missing", "voxels invented"],
)
def test_misfit_counts_voxels(spoil, expected):
    found = misfit(spoil(base_scan()), base_scan())
    assert {name: getattr(found, name) for name in expected} == expected
    assert not found.fits


def test_misfit_measures_distance():
    image = base_scan()
    x_mm, y_mm, z_mm = image.GetOrigin()
    image.SetOrigin((x_mm + 0.3, y_mm, z_mm - 0.4))
    assert misfit(image, base_scan()).position_mm == pytest.approx(0.5)
