"""A verdict never quotes a header: canaries are in every text element of a series, and in numeric elements."""

import json

import pydicom
import pytest
from tiny_series import tiny_scan, tiny_series, write_series

from lib.crop_settings import CropConfig
from lib.reading.headers import HEADER_FIELDS
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig
from tests.workflow.canaries import FOLDER, TEXT, TEXT_VRS, WORKING, canaries_in, plant_dataset

# other elements that the reader uses: stored pixels and the acquisition
READ_TOO = (
    "SpecificCharacterSet",
    "PhotometricInterpretation",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "KVP",
    "Exposure",
    "ExposureInuAs",
    "XRayTubeCurrent",
    "SliceThickness",
    "SpiralPitchFactor",
    "TableHeight",
    "ReconstructionDiameter",
    "ContrastBolusAgent",
    "GantryDetectorTilt",
)


@pytest.fixture
def planted(tmp_path):
    """The slices of a series with canaries, and the folder to write them to."""
    datasets = tiny_series(tiny_scan())
    for number, dataset in enumerate(datasets):
        plant_dataset(dataset, number)
    return datasets, tmp_path / FOLDER


@pytest.fixture
def told(capfd, caplog):
    """Return a function that screens a source and returns all its output: verdict, logs, terminal."""

    def tell(source, **request):
        caplog.clear(), capfd.readouterr()  # messages of writing the files
        crop, config = CropConfig(), ScreeningConfig()
        verdict = json.dumps(screen_scan(source, ScanRequest(**request), config, crop).to_json())
        return verdict + caplog.text + "".join(capfd.readouterr())

    return tell


def test_every_text_element_holds_a_canary(planted):
    dataset = pydicom.dcmread(write_series(*planted) / "000.dcm")
    without = {
        element.keyword
        for element in (*dataset.iterall(), *dataset.file_meta)
        if element.VR in TEXT_VRS and element.value and not canaries_in(str(element.value).encode())
    }
    assert without <= WORKING | {
        "MediaStorageSOPClassUID",
        "TransferSyntaxUID",
        "ImplementationClassUID",
    }
    texts = [element for element in dataset.iterall() if element.VR in TEXT_VRS]
    assert len(texts) > 400 and canaries_in((planted[1] / "000.dcm").read_bytes())


def test_a_good_series_has_no_findings(planted, told):
    text = told(write_series(*planted))
    assert '"manufacturer": "TinyScan"' in text
    assert canaries_in(text.encode()) == []


@pytest.mark.parametrize(
    ("field", "slices"),
    [(field, 12) for field in (*HEADER_FIELDS, *READ_TOO)] + [(field, 1) for field in HEADER_FIELDS],
)
def test_a_text_where_another_value_is_expected_is_not_quoted(tmp_path, told, field, slices):
    datasets = tiny_series(tiny_scan())
    for dataset in datasets[:slices]:
        # six capitals, which is also a valid code (CS)
        dataset.add_new(field, "LO", TEXT)
    assert canaries_in(told(write_series(datasets, tmp_path / "series")).encode()) == []


def test_a_text_for_a_transfer_syntax_is_not_quoted(planted, told):
    datasets, folder = planted
    write_series(datasets, folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", f"{TEXT:\0<20}".encode(), 1))
    assert canaries_in(told(folder).encode()) == []


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_cut_files_are_not_quoted(planted, told, share):
    folder = write_series(*planted)
    for path in sorted(folder.iterdir())[::2]:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
    text = told(folder)
    assert '"verdict": "rejected"' in text and canaries_in(text.encode()) == []


def test_several_series_are_listed_without_their_names(planted, told):
    datasets, folder = planted
    other = tiny_series(tiny_scan())
    for number, dataset in enumerate(other):
        plant_dataset(dataset, 100 + number)
        dataset.SeriesInstanceUID += "1"
    write_series(datasets, folder / "1")
    write_series(other, folder / "2")
    text = told(folder)
    assert "several_series" in text and canaries_in(text.encode()) == []
    # a requested UID that is not found is not quoted
    text = told(folder, series_uid=f"{datasets[0].SeriesInstanceUID}2")
    assert "series_not_found" in text and canaries_in(text.encode()) == []


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "scan.zip", "scan.dcm"])
def test_paths_of_files_that_are_no_images_are_not_quoted(tmp_path, told, name):
    path = tmp_path / FOLDER / name
    path.parent.mkdir()
    path.write_bytes(f"{TEXT} is no image".encode())
    text = told(path)
    assert '"verdict": "rejected"' in text and canaries_in(text.encode()) == []
    assert canaries_in(told(path.with_name("gone"), mask=path).encode()) == []
