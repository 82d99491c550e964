"""Synthetic MR hips from seed to files: the series as readers see it, the mask on its grid and on the bone."""

import hashlib
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_dilation, binary_erosion

from lib.phantom.anatomy.hip import draw_hip, draw_posture
from lib.phantom.mesh import mesh_volume_above_mm3
from lib.phantom.people import PhantomConfig, find_person, phantom_table
from lib.phantom.scan import make_phantom_scan, simulate_mr_scan
from lib.phantom.scanner.machines import MrScanner
from lib.phantom.scanner.mr import MUSCLE, mr_contrast, place_field
from lib.phantom.scanner.mr_effects import draw_mr
from lib.phantom.scanner.painting import paint
from lib.phantom.voxelize import coverage
from lib.reading.dicom import survey_scan
from lib.screening_settings import ScreeningConfig

PROTOCOL = {"matrix": 64, "slices": 30, "slice_mm": 3.0, "water_fat_shift_pixels": 0.0}
CONFIG = PhantomConfig(
    people=2,
    hard_people=1,
    modality="MR",
    mr=PROTOCOL,
    supersampling=2,
    defects=[
        "missing_slice",
        "duplicated_slice",
        "wrong_modality",
        "localizer",
        "second_series",
        "right_side",
    ],
)


def make(folder, scan, config=CONFIG):
    make_phantom_scan(config, scan, folder / "dicom", folder / "mask.nii.gz", folder / "truth.json")
    return folder


def all_headers(folder):
    return [pydicom.dcmread(path) for path in sorted((folder / "dicom").iterdir())]


def headers(folder):
    """Read the images of the wanted series."""
    return [header for header in all_headers(folder) if header.SeriesNumber == 2]


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def by_series(datasets):
    series = {}
    for dataset in datasets:
        series.setdefault(str(dataset.SeriesInstanceUID), []).append(dataset)
    return sorted(series.values(), key=lambda found: found[0].SeriesNumber)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return make(tmp_path_factory.mktemp("first"), "P001")


@pytest.fixture(scope="module")
def image(first):
    reader = sitk.ImageSeriesReader()
    wanted = str(headers(first)[0].SeriesInstanceUID)
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(first / "dicom"), wanted))
    return reader.Execute()


@pytest.fixture(scope="module")
def mask(first):
    return sitk.ReadImage(str(first / "mask.nii.gz"))


def test_same_seed_gives_the_same_bytes(first, tmp_path):
    assert digests(make(tmp_path, "P001")) == digests(first)


def test_series_is_coronal_t1(first):
    datasets = headers(first)
    assert len(datasets) == 30
    header = datasets[0]
    assert (header.Modality, header.SOPClassUID.name) == ("MR", "MR Image Storage")
    assert header.ImageOrientationPatient == [1, 0, 0, 0, 0, -1]
    assert list(header.ImageType) == ["ORIGINAL", "PRIMARY", "M"]
    assert (header.RepetitionTime, header.EchoTime, header.FlipAngle) == (37, 4.92, 25)
    assert (header.ScanningSequence, header.MagneticFieldStrength) == ("GR", 3)
    assert (header.Rows, header.Columns, header.PixelSpacing) == (64, 64, [1.875, 1.875])
    assert header.SliceThickness == header.SpacingBetweenSlices == 3
    assert "RescaleSlope" not in header and "RescaleIntercept" not in header and "KVP" not in header
    depths = sorted(float(dataset.ImagePositionPatient[1]) for dataset in datasets)
    assert np.diff(depths) == pytest.approx(3.0)
    assert len({tuple(dataset.ImagePositionPatient[::2]) for dataset in datasets}) == 1


def test_mask_has_the_grid_of_the_series(image, mask):
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetSize() == image.GetSize() == (64, 64, 30)
    assert mask.GetSpacing() == pytest.approx(image.GetSpacing())
    assert mask.GetOrigin() == pytest.approx(image.GetOrigin(), abs=1e-3)
    assert mask.GetDirection() == pytest.approx(image.GetDirection())


def test_mask_lies_on_the_bone(image, mask):
    """Bright marrow inside, dark cortex at the edge: muscle or fat there would show a mask at another place."""
    values, bone = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask).astype(bool)
    plane = np.ones((1, 3, 3), bool)
    inside, edge = binary_erosion(bone, plane, iterations=4), bone & ~binary_erosion(bone, plane)
    around = binary_dilation(bone, plane, iterations=5) & ~binary_dilation(bone, plane, iterations=2)
    marrow, cortex, soft = (np.median(values[where]) for where in (inside, edge, around))
    assert cortex < 0.6 * marrow and cortex < 0.8 * soft
    # one pixel aside, the edge is no longer the darkest
    for axis in (1, 2):
        for step in (-2, 2):
            moved = np.roll(edge, step, axis)
            assert values[moved].mean() > 1.1 * values[edge].mean()


def test_mask_has_nearly_the_exact_volume(first, mask):
    truth = json.loads((first / "truth.json").read_text())
    volume = sitk.GetArrayFromImage(mask).sum() * np.prod(mask.GetSpacing())
    assert volume == pytest.approx(truth["exact_mm3"], rel=0.015)
    assert truth["cut_by_fov"] == ["distal"]
    assert "scanner" not in truth


def test_the_true_volume_is_that_of_the_mesh_within_the_field_of_view():
    """Shares of voxels, summed over the grid, are the part of the mesh inside; all that is cut off lies below."""
    person = find_person(CONFIG, "P001")
    made = simulate_mr_scan(CONFIG, person)
    specimen = draw_hip(person, np.random.default_rng([person.person_seed, 1])).lying(
        draw_posture(np.random.default_rng([person.scan_seed, 1]))
    )
    mesh, grid = specimen.reference_mesh, made.grid
    inside_mm3 = coverage(mesh, grid, 6).sum(dtype=float) * np.prod(grid.spacing_xyz_mm)
    assert made.truth["exact_mm3"] == pytest.approx(inside_mm3, rel=1e-3)
    whole_mm3 = mesh_volume_above_mm3(mesh, mesh.vertices_xyz_mm[:, 2].min() - 1)
    assert made.truth["exact_mm3"] < 0.95 * whole_mm3
    assert made.truth["cut_by_fov"] == ["distal"]


def test_tissues_of_a_hip_have_the_ratios_of_t1(noiseless):
    """Of the image without noise and shading, as a histogram of its tissues shows them; fat has the signal 1."""
    signal, mask = noiseless
    soft = signal[(mask == 0) & (signal > 0.01)]
    counts, edges = np.histogram(soft, bins=np.arange(0.2, 1.2, 0.02))
    peaks = (edges[:-1] + edges[1:]) / 2
    muscle, fat = (
        peaks[near][np.argmax(counts[near])] for near in (abs(peaks - 0.45) < 0.2, abs(peaks - 1) < 0.2)
    )
    assert muscle == pytest.approx(0.40, abs=0.03) and fat == pytest.approx(1.0, abs=0.04)
    deep = binary_erosion(mask, iterations=3)
    heights = np.argwhere(deep)[:, 0]
    head, shaft = deep.copy(), deep.copy()
    head[: int(np.percentile(heights, 85))] = False
    shaft[int(np.percentile(heights, 10)) :] = False
    # bone takes up to 0.28 of the head and almost nothing of the shaft, whose marrow is yellow
    assert np.median(signal[head]) == pytest.approx(0.9 * (1 - 0.25), abs=0.08)
    assert np.percentile(signal[shaft], 90) == pytest.approx(0.94, abs=0.05)
    edge = mask.astype(bool) & ~binary_erosion(mask, iterations=1)
    assert np.percentile(signal[edge], 5) < 0.15  # cortex


@pytest.fixture(scope="module")
def noiseless():
    """Return signal relative to fat (zyx) of a hip as drawn, and its mask."""
    person = find_person(CONFIG, "P001")
    specimen = draw_hip(person, np.random.default_rng([person.person_seed, 1])).lying(
        draw_posture(np.random.default_rng([person.scan_seed, 1]))
    )
    grid = place_field(specimen, CONFIG.protocol(), np.random.default_rng(1))
    fields = specimen.fields(grid, 2, np.random.default_rng(2), fine=True)
    painted = paint(fields, mr_contrast(artery=0.8), specimen.reference)
    return (painted.values.sum(axis=0) * painted.body, painted.mask)


def test_air_beside_the_skin_is_rayleigh_noise_of_the_drawn_level(image):
    person = find_person(CONFIG, "P001")
    rng = np.random.default_rng([person.scan_seed, 2])
    draw = draw_mr(rng, MrScanner(), CONFIG.protocol(), person.variant)
    sigma = draw.gain * MUSCLE / draw.snr
    air = sitk.GetArrayFromImage(image)[:3, :, -3:]  # in front, at the side
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.06)
    assert air.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.08)


def test_right_side_shows_the_right_hip(tmp_path):
    folder = make(tmp_path, "X08-right-side")
    mask = sitk.ReadImage(str(folder / "mask.nii.gz"))
    places = np.argwhere(sitk.GetArrayFromImage(mask))[:, ::-1]
    x_mm = [mask.TransformIndexToPhysicalPoint([int(v) for v in place])[0] for place in places[::50]]
    assert max(x_mm) < 0


def test_missing_slice_leaves_a_gap(tmp_path):
    depths = sorted(float(d.ImagePositionPatient[1]) for d in headers(make(tmp_path, "X01-missing-slice")))
    assert len(depths) == 29 and sorted(np.diff(depths).round(6))[-1] == 6


def test_duplicated_slice_stands_twice_with_other_content(tmp_path):
    datasets = headers(make(tmp_path, "X02-duplicated-slice"))
    places = [tuple(dataset.ImagePositionPatient) for dataset in datasets]
    (twice,) = {place for place in places if places.count(place) == 2}
    one, two = (dataset for dataset in datasets if tuple(dataset.ImagePositionPatient) == twice)
    assert not np.array_equal(one.pixel_array, two.pixel_array)


def test_wrong_modality_is_ct_throughout(tmp_path):
    assert {dataset.Modality for dataset in headers(make(tmp_path, "X04-wrong-modality"))} == {"CT"}


def test_every_folder_holds_four_series_of_which_the_table_names_the_wanted_one(first):
    localizer, main, suppressed, derived = by_series(all_headers(first))
    assert len(main) == len(suppressed) == len(derived) == 30
    assert {tuple(scout.ImageOrientationPatient) for scout in localizer} == {
        (1, 0, 0, 0, 1, 0),
        (1, 0, 0, 0, 0, -1),
        (0, 1, 0, 0, 0, -1),
    }
    assert all("LOCALIZER" in scout.ImageType for scout in localizer)
    assert {header.ScanOptions for header in suppressed} == {"FS"} and "FS" not in main[0].ScanOptions
    assert {header.ImageType[0] for header in derived} == {"DERIVED"}
    at = [{tuple(header.ImagePositionPatient) for header in series} for series in (main, suppressed, derived)]
    assert at[0] == at[1] == at[2]
    rows = {row["scan"]: row["series_uid"] for row in phantom_table(CONFIG)}
    assert rows["P001"] == str(main[0].SeriesInstanceUID)
    assert [scan for scan, uid in rows.items() if not uid] == ["X05-localizer", "X06-second-series"]


def test_fat_suppression_leaves_water(first):
    _, main, suppressed, derived = (
        {header.ImagePositionPatient[1]: header.pixel_array.astype(int) for header in series}
        for series in by_series(all_headers(first))
    )
    middle = sorted(main)[15]
    t1, dark, less = main[middle], suppressed[middle], derived[middle]
    fat = t1 > np.percentile(t1, 90)
    assert dark[fat].mean() < 0.4 * t1[fat].mean()
    assert np.array_equal(less, np.clip(t1 - dark, 0, None))


@pytest.mark.parametrize(
    ("scan", "is_scan", "rejected"),
    [
        ("P001", True, ""),
        ("X05-localizer", True, ""),
        ("X06-second-series", False, "several_series"),
        ("X01-missing-slice", False, "missing_slices"),
    ],
)
def test_the_reader_takes_the_wanted_series_or_says_what_it_lacks(scan, is_scan, rejected, first, tmp_path):
    folder = first if scan == "P001" else make(tmp_path, scan)
    (uid,) = (row["series_uid"] for row in phantom_table(CONFIG) if row["scan"] == scan)
    survey = survey_scan(folder / "dicom", uid, ScreeningConfig(modality="MR", min_length_mm=40.0))
    codes = [reason.code for reason in survey.findings]
    assert (survey.scan is not None) == is_scan
    assert rejected in codes if rejected else "localizer_ignored" in codes


def test_rescale_is_written_when_asked(first, tmp_path):
    config = PhantomConfig(people=1, modality="MR", mr=PROTOCOL | {"rescale_slope": 2.0}, supersampling=2)
    plain, scaled = (
        {str(d.SOPInstanceUID): d for d in headers(folder)}
        for folder in (first, make(tmp_path, "P001", config))
    )
    for uid, dataset in scaled.items():
        assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (2, 0)
        assert np.abs(2.0 * dataset.pixel_array - plain[uid].pixel_array).max() <= 1


def test_mr_scanners_are_named_in_the_headers(tmp_path):
    config = PhantomConfig(
        people=1, modality="MR", mr=PROTOCOL, supersampling=1, scanners={"M2": {"field_tesla": 1.5}}
    )
    header = headers(make(tmp_path, "P001", config))[0]
    assert (header.Manufacturer, header.ManufacturerModelName) == ("M2", "M2")
    assert header.MagneticFieldStrength == 1.5
