import numpy as np
import pydicom
import pytest

from lib.phantom.people import DEFECTS, PhantomConfig, find_person
from lib.phantom.scanner.machines import CtScanner
from lib.phantom.series.ct_series import ct_images
from lib.phantom.series.dicom_series import write_series
from lib.phantom.series.identity import CANARY
from lib.phantom.voxelize import VoxelGrid

CONFIG = PhantomConfig(people=1, defects=DEFECTS)
GRID = VoxelGrid(origin_xyz_mm=(-8.5, -7.5, -700.2), spacing_xyz_mm=(1.25, 1.5, 2.0), size_xyz=(14, 12, 9))
HU = np.random.default_rng(0).integers(-1024, 3072, (9, 12, 14)).astype(np.int16)
NAMING_ATTRIBUTES = [
    "PatientName",
    "PatientID",
    "PatientAddress",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "OperatorsName",
    "StationName",
    "DeviceSerialNumber",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
]


def write(tmp_path, scan, seed=1):
    folder = tmp_path / scan / "dicom"
    person, rng = find_person(CONFIG, scan), np.random.default_rng(seed)
    write_series(ct_images(HU, GRID, person, CtScanner(), rng), person, folder, rng)
    return folder


def read(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def positions_mm(datasets):
    return sorted(float(dataset.ImagePositionPatient[2]) for dataset in datasets)


def test_files_hold_the_image_in_hu_at_its_place(tmp_path):
    datasets = read(write(tmp_path, "P001"))
    assert len(datasets) == 9
    ordered = sorted(datasets, key=lambda dataset: dataset.ImagePositionPatient[2])
    for k, dataset in enumerate(ordered):
        hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert np.array_equal(hu, HU[k])
        assert [float(v) for v in dataset.ImagePositionPatient] == pytest.approx([-8.5, -7.5, -700.2 + 2 * k])
        assert [float(v) for v in dataset.PixelSpacing] == [1.5, 1.25]
        assert dataset.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 9
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1


def test_file_names_do_not_follow_the_slices(tmp_path):
    heights = [float(dataset.ImagePositionPatient[2]) for dataset in read(write(tmp_path, "P001"))]
    assert heights != sorted(heights) and heights != sorted(heights, reverse=True)


def test_header_names_nobody_but_the_canary(tmp_path):
    dataset = read(write(tmp_path, "P001"))[0]
    for name in NAMING_ATTRIBUTES:
        assert CANARY in str(dataset[name].value)


def test_missing_slice_leaves_a_gap(tmp_path):
    steps = np.diff(positions_mm(read(write(tmp_path, "X01-missing-slice"))))
    assert sorted(steps.round(6)) == [2, 2, 2, 2, 2, 2, 4]


def test_duplicated_slice_stands_twice_with_other_content(tmp_path):
    datasets = read(write(tmp_path, "X02-duplicated-slice"))
    heights = positions_mm(datasets)
    assert len(heights) == 10 and len(set(heights)) == 9
    twice = next(z for z in heights if heights.count(z) == 2)
    first, second = (d for d in datasets if float(d.ImagePositionPatient[2]) == twice)
    assert not np.array_equal(first.pixel_array, second.pixel_array)
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_truncated_file_has_lost_its_pixels(tmp_path):
    sizes = sorted(path.stat().st_size for path in write(tmp_path, "X03-truncated-file").iterdir())
    assert sizes[0] == sizes[1] // 2
    assert sizes[1] == sizes[-1]


def test_wrong_modality_is_mr_throughout(tmp_path):
    datasets = read(write(tmp_path, "X04-wrong-modality"))
    assert {dataset.Modality for dataset in datasets} == {"MR"}
    assert {dataset.SOPClassUID.name for dataset in datasets} == {"MR Image Storage"}


def test_localizer_is_a_series_of_its_own(tmp_path):
    datasets = read(write(tmp_path, "X05-localizer"))
    scouts = [dataset for dataset in datasets if "LOCALIZER" in dataset.ImageType]
    assert len(datasets) == 10 and len(scouts) == 1
    others = {dataset.SeriesInstanceUID for dataset in datasets if dataset is not scouts[0]}
    assert len(others) == 1 and scouts[0].SeriesInstanceUID not in others
    assert scouts[0].ImageOrientationPatient == [1, 0, 0, 0, 0, -1]
    expected = np.rint(HU[::-1].mean(axis=1, dtype=np.float32))
    assert np.array_equal(scouts[0].pixel_array - 1024, expected)


def test_second_series_holds_pairs_of_slices(tmp_path):
    datasets = read(write(tmp_path, "X06-second-series"))
    series = {dataset.SeriesInstanceUID: [] for dataset in datasets}
    for dataset in datasets:
        series[dataset.SeriesInstanceUID].append(float(dataset.ImagePositionPatient[2]))
    main, second = sorted(series.values(), key=len, reverse=True)
    assert (len(main), len(second)) == (9, 4)
    assert sorted(second) == pytest.approx([-700.2 + 1 + 4 * k for k in range(4)])


def test_same_person_and_draws_give_the_same_bytes(tmp_path):
    folders = [write(tmp_path / name, "P001") for name in ("a", "b")]
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert contents[0] == contents[1]


def test_an_older_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    folder = write(tmp_path, "P001")
    (folder / "stray.dcm").write_bytes(b"old")
    write(tmp_path, "P001", seed=2)
    assert len(list(folder.iterdir())) == 9
    assert [path.name for path in folder.parent.iterdir()] == ["dicom"]


@pytest.mark.parametrize(
    "scan",
    ["P001", "X03-truncated-file", "X04-wrong-modality", "X07-metal-nail", "X08-right-side", "X09-repeat"],
)
def test_other_defects_keep_every_slice(scan):
    images = ct_images(HU, GRID, find_person(CONFIG, scan), CtScanner(), np.random.default_rng(0))
    assert len(images) == 9
    assert all(np.array_equal(image.stored - 1024, HU[k]) for k, image in enumerate(images))
