"""CT scans of synthetic lumbar spines: known density, labels, vendors, defects, files."""

import csv
import hashlib
import json
from functools import cache

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_dilation
from scipy.ndimage import label as connected_components

from lib.anatomy.spine.spine_locator import SpineLocator
from lib.calibration_settings import CalibrationConfig
from lib.cohort.table import read_cohort
from lib.crop_settings import CropConfig
from lib.density.phantom_calibration import calibrate_by_phantom
from lib.phantom.anatomy.spine import draw_spine, draw_spine_posture
from lib.phantom.anatomy.spine_bone import LABELS, below_surface
from lib.phantom.densities import level_densities
from lib.phantom.density_phantoms import K2HPO4_PHANTOM, certificates
from lib.phantom.mesh import mesh_centroid_mm
from lib.phantom.people import SPINE_DEFECTS, PhantomConfig, find_person, phantom_table
from lib.phantom.scan import make_phantom_scan, simulate_scan
from lib.phantom_file import check_certificates
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

LUMBAR = ("L1", "L2", "L3", "L4", "L5")
SIZE = {"anatomy": "lumbar-spine", "pixel_mm": (0.5625, 0.5625), "people": 4, "seed": 5}
SMALL = PhantomConfig(
    **SIZE,
    matrix=96,
    slice_mm=4.0,
    supersampling=1,
    defects=[*SPINE_DEFECTS, "missing_slice", "duplicated_slice", "localizer", "second_series", "repeat"],
)
# exact enough for densities: pixels of 2 mm, 3 mm slices, no noise
QUIET = PhantomConfig(
    **SIZE,
    matrix=144,
    slice_mm=3.0,
    supersampling=3,
    scanners={"A": {"noise_hu": 0.0}},
    defects=["contrast", "fracture"],
)


@cache
def scan(name, config="SMALL"):
    return simulate_scan(globals()[config], find_person(globals()[config], name))


def image_of(made):
    image = sitk.GetImageFromArray(made.hu_zyx)
    image.SetSpacing(made.grid.spacing_xyz_mm)
    image.SetOrigin(made.grid.origin_xyz_mm)
    return image


def body_hu(made, level, vertebra):
    """Values of voxels whose centre lies more than 5 mm below the surface of a body."""
    x, y, z = (made.grid.centers_mm(axis) for axis in range(3))
    where = np.nonzero(made.mask_zyx == LABELS[level])
    points = np.stack([x[where[2]], y[where[1]], z[where[0]]], axis=1)
    return made.hu_zyx[where][below_surface(vertebra, points)]


def shape_in(made, name, config):
    """The drawn bones in the place that they have in a scan."""
    person = find_person(config, name)
    body = draw_spine(person, np.random.default_rng([person.person_seed, 1]))
    posture = draw_spine_posture(np.random.default_rng([person.scan_seed, 1]))
    still = body.lying(posture)
    z_mm = made.truth["levels"]["L1"]["centroid_xyz_mm"][2]
    return body.lying(posture, z_mm - mesh_centroid_mm(still.shape["L1"].body)[2]).shape


def centroids_mm(made):
    """Height of the middle of each label, by label."""
    z = made.grid.centers_mm(2)
    labels = np.unique(made.mask_zyx[made.mask_zyx > 0])
    return {int(label): float(z[np.nonzero(made.mask_zyx == label)[0]].mean()) for label in labels}


@pytest.mark.parametrize("name", ["P001", "P002"])
def test_hu_of_an_eroded_body_are_those_of_its_density(name):
    made = scan(name, "QUIET")
    shape = shape_in(made, name, QUIET)
    for level in LUMBAR:
        hu = body_hu(made, level, shape[level])
        density = made.truth["levels"][level]["density_k2hpo4_mg_cm3"]
        assert (hu.mean() + 0.6) / 1.385 == pytest.approx(density, abs=1.2)
        assert hu.std() > 5  # there is a texture


def test_contrast_agent_lifts_the_density_that_is_read():
    name = "X15-contrast"
    made = scan(name, "QUIET")
    hu = body_hu(made, "L3", shape_in(made, name, QUIET)["L3"]).mean()
    lifted = (hu + 0.6) / 1.385 - made.truth["levels"]["L3"]["density_k2hpo4_mg_cm3"]
    assert lifted == pytest.approx(11 / 1.385, abs=1.2)


def test_a_body_is_denser_at_its_endplates():
    made = scan("P001", "QUIET")
    vertebra = shape_in(made, "P001", QUIET)["L3"]
    x, y, z = (made.grid.centers_mm(axis) for axis in range(3))
    where = np.nonzero(made.mask_zyx == 3)
    points = np.stack([x[where[2]], y[where[1]], z[where[0]]], axis=1)
    deep = below_surface(vertebra, points, 3.5)
    from_middle = np.abs(vertebra.own_frame(points)[:, 2]) / vertebra.size_xyz_mm[2]
    hu = made.hu_zyx[where]
    assert hu[deep & (from_middle > 0.3)].mean() > 1.05 * hu[deep & (from_middle < 0.12)].mean()


def test_truth_holds_what_was_drawn():
    made = scan("P001")
    assert list(made.truth["levels"]) == list(LUMBAR)
    for level, truth in made.truth["levels"].items():
        assert set(truth) == {
            "density_k2hpo4_mg_cm3",
            "body_mm3",
            "eroded_5mm_mm3",
            "centroid_xyz_mm",
            "anterior_height_mm",
            "middle_height_mm",
            "posterior_height_mm",
            "cut_by_scan",
            "defect",
        }
        assert 0.2 < truth["eroded_5mm_mm3"] / truth["body_mm3"] < 0.5
        assert not truth["cut_by_scan"], level
    assert "seed" not in json.dumps(made.truth) and "CANARY" not in json.dumps(made.truth)


def test_labels_are_bodies_from_above_with_their_volumes():
    made = scan("P002", "QUIET")
    heights = centroids_mm(made)
    assert sorted(heights) == [1, 2, 3, 4, 5, 6]
    assert [heights[label] for label in range(1, 7)] == sorted(heights.values(), reverse=True)
    voxel_mm3 = np.prod(made.grid.spacing_xyz_mm)
    for level in LUMBAR:
        truth = made.truth["levels"][level]
        assert (made.mask_zyx == LABELS[level]).sum() * voxel_mm3 == pytest.approx(
            truth["body_mm3"], rel=0.03
        )
        assert heights[LABELS[level]] == pytest.approx(truth["centroid_xyz_mm"][2], abs=0.5)


@pytest.mark.parametrize("name", ["P001", "P002"])
def test_each_label_is_one_body_that_touches_no_other(name):
    labels = scan(name, "QUIET").mask_zyx
    for label in range(1, 6):
        _, pieces = connected_components(labels == label)
        assert pieces == 1
        grown = binary_dilation(labels == label)
        assert not np.any(grown & (labels > 0) & (labels != label))


def test_a_scan_shows_the_lumbar_spine_from_above_l1_into_the_sacrum():
    made = scan("P001")
    heights = made.grid.centers_mm(2)
    bodies = np.nonzero((made.mask_zyx > 0) & (made.mask_zyx < 6))[0]
    assert (
        0 < heights[-1] - heights[bodies.max()] < 55
    )  # it begins 5 to 45 mm above the middle of L1's endplate
    assert 180 < np.ptp(heights) < 260
    assert (made.mask_zyx == 6).any(axis=(1, 2)).sum() >= 3


def test_tissues_have_their_hu():
    made = scan("P002", "QUIET")
    hu, labels = made.hu_zyx, made.mask_zyx
    counts, edges = np.histogram(hu[(labels == 0) & (hu > -200) & (hu < 150)], bins=70)
    assert edges[np.argmax(counts[:24])] == pytest.approx(-105, abs=15)
    assert edges[24 + np.argmax(counts[24:])] == pytest.approx(50, abs=20)
    assert hu[labels == 3].max() > 350  # the shell, which is thinner than a voxel
    assert abs(int(np.median(hu[:, 0])) + 1000) < 10


def test_no_density_phantom_lies_under_a_spine():
    made = scan("P002", "QUIET")
    rows = np.nonzero((made.hu_zyx > -500).any(axis=(0, 2)))[0]
    middle = made.hu_zyx.shape[2] // 2
    behind = made.hu_zyx[len(made.hu_zyx) // 2, rows.max() - 8 :, middle]
    assert not ((behind > 180) & (behind < 540)).any()


def test_a_phantom_under_a_spine_gives_its_bodies_the_density_that_was_drawn():
    """On a scanner whose HU are off by a line that nobody knows; the other scanner has no phantom."""
    off = {"noise_hu": 5.0, "scale": 0.965, "offset_hu": -6.0, "test_people": 1, "pixel_mm": (0.66, 0.66)}
    given = {**SIZE, "people": 1, "matrix": 144, "slice_mm": 3.0, "supersampling": 2}
    with_rods = {"A": {}, "C": {**off, "density_phantom": K2HPO4_PHANTOM, "trains": False}}
    config = PhantomConfig(**given, scanners=with_rods)
    rows = {row["scan"]: row for row in phantom_table(config)}
    assert rows["TC-01"]["phantom"] == K2HPO4_PHANTOM and rows["TC-01"]["calibration"] == "phantom"
    assert (rows["P001"]["phantom"], rows["P001"]["calibration"]) == ("", "none")
    assert {"vendor", "bmd_l1_k2hpo4_mg_cm3", "scan_order"} <= set(rows["TC-01"])

    made = simulate_scan(config, find_person(config, "TC-01"))
    certificate = check_certificates(certificates(), "phantoms.yaml")[K2HPO4_PHANTOM]
    found = calibrate_by_phantom(image_of(made), certificate, CalibrationConfig())
    true = made.truth["calibration"]
    assert (found.verdict, sum(rod["used"] for rod in found.rods)) == ("ok", 5)
    assert found.slope_hu_per_mg_cm3 == pytest.approx(true["slope_hu_per_mg_cm3"], rel=0.005)
    assert found.intercept_hu == pytest.approx(true["intercept_hu"], abs=1.0)
    shape = shape_in(made, "TC-01", config)
    for level in LUMBAR:
        hu = body_hu(made, level, shape[level]).mean()
        density = made.truth["levels"][level]["density_k2hpo4_mg_cm3"]
        assert found.density_mg_cm3(hu) == pytest.approx(density, abs=1.5)
        assert abs((hu + 0.6) / 1.385 - density) > 4  # the usual line is wrong here

    plain = PhantomConfig(**given, scanners={"A": {}, "C": {**off, "trains": False}})
    without = simulate_scan(plain, find_person(plain, "TC-01"))
    assert "calibration" not in without.truth and "scan_order" not in phantom_table(plain)[0]
    crop = CropConfig(method="spine", size=(64, 64))
    centers = [SpineLocator().locate(image_of(shown), "", crop).center_mm_xy for shown in (made, without)]
    assert centers[0] == pytest.approx(centers[1], abs=0.5)  # rods are no column


def test_scanners_differ_by_a_line():
    def shown(scanner):
        config = PhantomConfig(**SIZE, matrix=96, slice_mm=6.0, supersampling=1, scanners={"A": scanner})
        return simulate_scan(config, find_person(config, "P001")).hu_zyx.astype(float)

    plain, other = shown({"noise_hu": 0.0}), shown({"noise_hu": 0.0, "scale": 0.965, "offset_hu": -6.0})
    within = (plain > -900) & (plain < 3000)
    assert other[within] == pytest.approx(0.965 * plain[within] - 6.0, abs=1.0)


@pytest.mark.parametrize("name", ["P003", "X13-cement"])
def test_same_seed_gives_the_same_bytes(name, tmp_path):
    digests = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write(name, folder)
        digests.append(
            {
                str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        )
    assert digests[0] == digests[1] and len(digests[0]) > 40


def write(name, folder, config=SMALL):
    folder.mkdir(parents=True, exist_ok=True)
    make_phantom_scan(config, name, folder / "dicom", folder / "mask.nii.gz", folder / "truth.json")
    return folder


def screened(name, folder):
    request = ScanRequest(
        side="",
        mask=folder / "mask.nii.gz",
        structures={name: (value,) for name, value in LABELS.items()},
        anatomy="generic",
    )
    crop = CropConfig(method="none")
    return screen_scan(folder / "dicom", request, ScreeningConfig(min_length_mm=100.0), crop)


def test_the_reader_accepts_series_and_label_map(tmp_path):
    folder = write("P001", tmp_path)
    screening = screened("P001", folder)
    assert (screening.verdict, screening.reasons) == ("ok", ())
    assert screening.structures == tuple(LABELS)
    assert screening.density_phantom_in_view is False
    header = pydicom.dcmread(next((folder / "dicom").iterdir()), stop_before_pixels=True)
    assert header.BodyPartExamined == "LSPINE" and "ContrastBolusAgent" not in header
    labels = sitk.ReadImage(str(folder / "mask.nii.gz"))
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert set(np.unique(sitk.GetArrayViewFromImage(labels))) == set(range(7))


def test_headers_say_the_vendor_and_contrast_agent(tmp_path):
    scanners = {"C": {"manufacturer": "Philips", "kernel": "B", "test_people": 1}}
    config = PhantomConfig(
        **(SIZE | {"people": 0}),
        matrix=64,
        slice_mm=10.0,
        supersampling=1,
        scanners=scanners,
        defects=["contrast"],
    )
    for name in ("TC-01", "X15-contrast"):
        folder = write(name, tmp_path / name, config)
        header = pydicom.dcmread(next((folder / "dicom").iterdir()), stop_before_pixels=True)
        assert (header.Manufacturer, header.ManufacturerModelName) == ("Philips", "C")
        assert header.get("ContrastBolusAgent", "") == ("IOHEXOL" if name == "X15-contrast" else "")
    assert {row["vendor"] for row in phantom_table(config)} == {"philips"}


def test_contrast_agent_fills_the_aorta():
    def aorta(name):
        made = scan(name)
        x, y, z = made.truth["levels"]["L3"]["centroid_xyz_mm"]
        grid = made.grid
        place = np.meshgrid(*(grid.centers_mm(axis) for axis in (2, 1, 0)), indexing="ij")
        near = (place[0] - z) ** 2 + (place[1] - y + 31) ** 2 + (place[2] - x - 9) ** 2 < 6**2
        return np.median(made.hu_zyx[near])

    assert aorta("P001") < 70 and aorta("X15-contrast") > 110


def test_six_lumbar_has_an_unlabelled_body_above_the_sacrum():
    made = scan("X10-six-lumbar")
    extra = made.truth["levels"]["L6"]
    assert sorted(centroids_mm(made)) == [1, 2, 3, 4, 5, 6]
    index = [
        round((at - first) / step)
        for at, first, step in zip(
            extra["centroid_xyz_mm"], made.grid.origin_xyz_mm, made.grid.spacing_xyz_mm, strict=True
        )
    ]
    assert made.mask_zyx[tuple(index[::-1])] == 0
    lower, upper = made.truth["levels"]["L5"]["centroid_xyz_mm"][2], centroids_mm(made)[6]
    assert upper < extra["centroid_xyz_mm"][2] < lower


def test_no_sacrum_ends_above_it():
    made = scan("X11-no-sacrum")
    assert 6 not in centroids_mm(made)
    assert not any(made.truth["levels"][level]["cut_by_scan"] for level in LUMBAR[:4])
    assert made.truth["levels"]["L5"]["cut_by_scan"]


def test_the_fractured_body_is_low_in_front():
    levels = scan("X12-fracture", "QUIET").truth["levels"]
    ratios = {level: t["anterior_height_mm"] / t["posterior_height_mm"] for level, t in levels.items()}
    assert {level: t["defect"] for level, t in levels.items() if t["defect"]} == {"L2": "fracture"}
    assert ratios["L2"] < 0.8 and min(ratios[level] for level in ("L1", "L3", "L4", "L5")) > 0.85


def share_above(made, level, hu):
    return float((made.hu_zyx[made.mask_zyx == LABELS[level]] > hu).mean())


def test_cement_fills_a_body():
    made = scan("X13-cement")
    assert share_above(made, "L3", 1200) > 0.05
    assert max(share_above(made, level, 1200) for level in ("L1", "L2", "L4", "L5")) == 0
    assert made.hu_zyx.max() < 2500  # it is no metal


def test_screws_are_metal_in_two_bodies():
    made = scan("X14-screws")
    metal = made.hu_zyx > 2500
    assert metal.sum() * np.prod(made.grid.spacing_xyz_mm) > 2000
    for level in ("L4", "L5"):
        assert share_above(made, level, 2500) > 0.01
    assert not metal[made.mask_zyx == 1].any()
    assert not (scan("P001").hu_zyx > 2500).any()


def test_scoliosis_bends_the_spine_aside():
    def bow(name):
        return np.ptp([t["centroid_xyz_mm"][0] for t in scan(name).truth["levels"].values()])

    assert bow("X16-scoliosis") > 12 > bow("P001")


def test_mirrored_labels_are_numbered_from_below():
    made = scan("X17-mirrored-labels")
    heights = centroids_mm(made)
    assert [heights[label] for label in range(1, 6)] == sorted(heights[label] for label in range(1, 6))
    assert heights[6] < heights[1]  # the sacrum keeps its value
    assert heights[1] == pytest.approx(made.truth["levels"]["L5"]["centroid_xyz_mm"][2], abs=1.5)


def test_a_repeated_scan_shows_the_same_bone_elsewhere():
    first, again = scan("P001").truth, scan("X09-repeat").truth
    for level in LUMBAR:
        for key in ("density_k2hpo4_mg_cm3", "body_mm3"):
            assert again["levels"][level][key] == pytest.approx(first["levels"][level][key])
    assert scan("P001").grid.origin_xyz_mm != scan("X09-repeat").grid.origin_xyz_mm


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("X01-missing-slice", "missing_slices"),
        ("X02-duplicated-slice", "duplicate_positions"),
        ("X05-localizer", ""),
        ("X06-second-series", "several_series"),
    ],
)
def test_defects_of_series_work_with_spines(name, code, tmp_path):
    screening = screened(name, write(name, tmp_path))
    found = [reason.code for reason in screening.reasons]
    assert (code in found) if code else screening.verdict == "ok", found


def test_the_cohort_table_is_read_with_its_files(tmp_path):
    row = next(row for row in phantom_table(SMALL) if row["scan"] == "P002")
    write("P002", tmp_path / "P002")
    table = tmp_path / "cohort.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    read = read_cohort(table, usual_side="", structures=list(LABELS))["P002"]
    assert (read.subject, read.sex, read.side, read.set) == ("P002", "M", "", "auto")
    assert "CANARY" not in table.read_text()


def test_people_of_the_hard_variant_have_less_bone():
    config = PhantomConfig(**SIZE, hard_people=1, matrix=64, slice_mm=10.0, supersampling=1)
    hard = find_person(config, "H01")
    usual = level_densities(hard.person_seed, hard.sex, hard.age)
    truth = simulate_scan(config, hard).truth["levels"]
    for level in LUMBAR:
        assert truth[level]["density_k2hpo4_mg_cm3"] < 0.8 * usual[level]


def test_people_without_a_mask_have_no_readings():
    config = PhantomConfig(**SIZE, unlabelled_people=1)
    row = next(row for row in phantom_table(config) if row["scan"] == "U01")
    assert row["mask"] == "" and row["bmd_l1_k2hpo4_mg_cm3"] == "" and row["vendor"] == "siemens"
