import hashlib
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from lib.phantom.people import PhantomConfig, find_person
from lib.phantom.scan import make_phantom_scan, simulate_scan

CONFIG = PhantomConfig(
    people=2, matrix=128, slice_mm=4.0, supersampling=3, defects=["right_side", "metal_nail", "repeat"]
)


def make(folder, scan):
    make_phantom_scan(CONFIG, scan, folder / "dicom", folder / "mask.nii.gz", folder / "truth.json")
    return folder


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return make(tmp_path_factory.mktemp("first"), "P001")


@pytest.fixture(scope="module")
def scans():
    names = ("P001", "X07-metal-nail", "X08-right-side", "X09-repeat")
    return {name: simulate_scan(CONFIG, find_person(CONFIG, name)) for name in names}


def test_same_seed_gives_the_same_bytes(first, tmp_path):
    assert digests(make(tmp_path, "P001")) == digests(first)


def test_mask_lies_on_the_grid_of_the_series(first):
    mask = sitk.ReadImage(str(first / "mask.nii.gz"))
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (first / "dicom").iterdir()]
    lowest = min(headers, key=lambda header: header.ImagePositionPatient[2])
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetSize() == (lowest.Columns, lowest.Rows, len(headers)) == (128, 128, len(headers))
    # NIfTI stores the origin in single precision
    assert mask.GetOrigin() == pytest.approx([float(v) for v in lowest.ImagePositionPatient], abs=1e-3)
    assert mask.GetSpacing()[0] == pytest.approx(float(lowest.PixelSpacing[0]), rel=1e-6)
    assert mask.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_mask_has_nearly_the_exact_volume(first):
    mask = sitk.ReadImage(str(first / "mask.nii.gz"))
    truth = json.loads((first / "truth.json").read_text())
    volume = sitk.GetArrayViewFromImage(mask).sum() * np.prod(mask.GetSpacing())
    assert volume == pytest.approx(truth["exact_mm3"], rel=0.015)
    assert sitk.GetArrayViewFromImage(mask)[0].any()


def test_truth_says_what_was_made(first):
    truth = json.loads((first / "truth.json").read_text())
    assert (truth["scan"], truth["side"], truth["variant"], truth["defect"]) == (
        "P001",
        "left",
        "standard",
        "",
    )
    size = truth["linear_size"]
    assert 85 * size - 1 <= truth["scan_end_mm_below_head_top"] <= 120 * size + 1
    assert "seed" not in json.dumps(truth) and "CANARY" not in json.dumps(truth)


def test_smaller_matrix_keeps_the_field_of_view(scans):
    grid = scans["P001"].grid
    assert 0.742 * 512 <= grid.size_xyz[0] * grid.spacing_xyz_mm[0] <= 0.977 * 512


def test_tissues_have_their_hu(scans):
    scan = scans["P001"]
    hu, mask = scan.hu_zyx, scan.mask_zyx.astype(bool)
    assert hu[mask].max() > 800
    assert np.median(hu[mask]) > 100
    assert abs(hu[:, :4].mean() + 1000) < 10
    # fat and muscle are the two largest peaks of the histogram outside bone
    counts, edges = np.histogram(hu[(hu > -200) & (hu < 150)], bins=70)
    low, high = counts[:24], counts[24:]
    assert edges[np.argmax(low)] == pytest.approx(-105, abs=15)
    assert edges[24 + np.argmax(high)] == pytest.approx(55, abs=15)


def test_right_side_marks_the_patients_right_femur(scans):
    scan = scans["X08-right-side"]
    columns = np.nonzero(scan.mask_zyx.any(axis=(0, 1)))[0]
    assert scan.grid.centers_mm(0)[columns].max() < 0
    assert scan.truth["head_center_xyz_mm"][0] < 0


def test_repeated_scan_shows_the_same_femur_elsewhere(scans):
    first, again = scans["P001"], scans["X09-repeat"]
    assert again.truth["head_radius_mm"] == pytest.approx(first.truth["head_radius_mm"])
    assert again.truth["exact_mm3"] == pytest.approx(first.truth["exact_mm3"], rel=0.03)
    assert again.grid.origin_xyz_mm != first.grid.origin_xyz_mm


def test_nail_is_metal_within_the_requested_femur(scans):
    scan = scans["X07-metal-nail"]
    metal = scan.hu_zyx > 2500
    voxel_mm3 = np.prod(scan.grid.spacing_xyz_mm)
    assert metal.sum() * voxel_mm3 > 1000
    assert (metal & (scan.mask_zyx > 0)).sum() > 0.6 * metal.sum()
    assert not (scans["P001"].hu_zyx > 2500).any()
