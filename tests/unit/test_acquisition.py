"""The acquisition: read from headers without identifying texts, gathered, and compared with the protocol."""

import csv
import json

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from lib.catalog.modalities import MODALITIES
from lib.cohort.acquisitions import (
    Allowed,
    acquisition_columns,
    choose_protocol,
    describe_protocol,
    gather_acquisition,
    judge_acquisition,
    majority_protocol,
    off_protocol_scans,
    read_protocol,
)
from lib.cohort.scans import write_records
from lib.errors import ConfigError
from lib.reading.acquisition import Acquisition, MrAcquisition, read_acquisition, read_mr_acquisition
from tests.unit.tiny_series import tiny_scan, tiny_series


def header(**values):
    """The header of one slice with these elements."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def sequence(**values):
    return Sequence([header(**values)])


def enhanced(shared, frames):
    """The header of an enhanced file: macros of the shared groups and of each frame."""
    dataset = header(Manufacturer="SIEMENS", ManufacturerModelName="SOMATOM Force")
    dataset.SharedFunctionalGroupsSequence = Sequence([header(**shared)])
    dataset.PerFrameFunctionalGroupsSequence = Sequence([header(**frame) for frame in frames])
    return dataset


CT_MACROS = {
    "CTXRayDetailsSequence": {"KVP": 100.0},
    "CTExposureSequence": {"ExposureInmAs": 87.5, "XRayTubeCurrentInmA": 1.0, "ExposureTimeInms": 1.0},
    "CTReconstructionSequence": {
        "ConvolutionKernel": ["Br40d", "3"],
        "ReconstructionFieldOfView": [380, 380],
    },
    "CTTableDynamicsSequence": {"SpiralPitchFactor": 0.6},
    "CTAcquisitionDetailsSequence": {"TableHeight": -143.5},
    "PixelMeasuresSequence": {"SliceThickness": "1.5"},
    "ContrastBolusUsageSequence": {"ContrastBolusAgentAdministered": "NO"},
}


@pytest.mark.parametrize("where", ["shared", "frames", "both"])
def test_an_enhanced_header_is_read_where_the_standard_puts_each_field(where):
    macros = {name: sequence(**values) for name, values in CT_MACROS.items()}
    names = list(macros)
    shared = {name: macros[name] for name in names if where != "frames"}
    if where == "both":
        shared = {name: macros[name] for name in names[::2]}
    first = {name: macros[name] for name in names if name not in shared}
    other = {"CTXRayDetailsSequence": sequence(KVP=140.0)}  # of a frame that is not the first
    read = read_acquisition(enhanced(shared, [first, other]), 1.0)
    assert read == Acquisition(
        manufacturer="SIEMENS",
        model="SOMATOM Force",
        kvp=100.0,
        mas=87.5,
        kernel="Br40d/3",
        slice_thickness_mm=1.5,
        slice_increment_mm=1.0,
        pitch=0.6,
        table_height_mm=-143.5,
        field_of_view_mm=380.0,
        contrast="no",
    )


def test_a_legacy_converted_header_keeps_its_fields_as_unassigned_ones():
    macro = sequence(KVP="120", ExposureTime="500", XRayTubeCurrent="200", ConvolutionKernel="STANDARD")
    dataset = enhanced({"UnassignedSharedConvertedAttributesSequence": macro}, [{}])
    read = read_acquisition(dataset, None)
    assert (read.kvp, read.mas, read.kernel) == (120.0, 100.0, "STANDARD")


@pytest.mark.parametrize(
    ("stated", "mas"),
    [
        ({"Exposure": "150", "ExposureInuAs": "9"}, 150.0),
        ({"Exposure": "0", "ExposureInuAs": "2500"}, 2.5),
        ({"XRayTubeCurrent": "200", "ExposureTime": "750"}, 150.0),
        ({"XRayTubeCurrentInmA": 200.5, "ExposureTimeInms": 500.0}, 100.25),
        ({"XRayTubeCurrent": "200"}, None),
    ],
)
def test_exposure_is_in_mas_however_it_is_stated(stated, mas):
    assert read_acquisition(header(**stated), None).mas == mas


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_what_makes_no_sense_is_not_stated():
    odd = header(
        KVP="0", SliceThickness="", SpiralPitchFactor=-1.0, TableHeight="0", ExposureInmAs=float("inf")
    )
    odd.ReconstructionFieldOfView = [380.0, 200.0]
    odd.add_new("Manufacturer", "OB", b"\x00\x01")
    odd.CTExposureSequence = None
    assert read_acquisition(odd, None) == Acquisition(table_height_mm=0.0)


def test_an_element_that_cannot_be_read_is_not_stated():
    dataset = header(ConvolutionKernel="B30s")
    for tag, kind, value in ((0x00180060, "DS", b"a hundred"), (0x00189311, "FD", b"abc")):
        dataset._dict[Tag(tag)] = RawDataElement(Tag(tag), kind, len(value), value, 0, False, True)
    read = read_acquisition(dataset, None)
    assert (read.kvp, read.pitch, read.kernel) == (None, None, "B30s")


@pytest.mark.parametrize(
    ("stated", "contrast"),
    [
        ({}, "unknown"),
        ({"ContrastBolusAgent": " "}, "unknown"),
        ({"ContrastBolusAgent": "None"}, "no"),
        ({"ContrastBolusAgent": "Ultravist for Jane Doe"}, "yes"),
        ({"ContrastBolusAgentSequence": Sequence([Dataset()])}, "yes"),
    ],
)
def test_contrast_is_yes_no_or_unknown(stated, contrast):
    assert read_acquisition(header(**stated), None).contrast == contrast


TEXTS = {"Manufacturer": "manufacturer", "ManufacturerModelName": "model", "ConvolutionKernel": "kernel"}
PLANTED = {
    "PatientName": ("Doe^Jane", "scanner of JANE"),
    "PatientID": ("PID-4711", "4711"),
    "PatientBirthDate": ("19510203", "Sense 19510203"),
    "StudyDate": ("20120504", "x 20120504"),
    "AcquisitionDateTime": ("20120504101500", "20120504101500"),
    "AccessionNumber": ("ACC777", "acc777"),
    "InstitutionName": ("St. Mary's General Hospital", "Mary-CT"),
    "InstitutionAddress": ("12 Elm Street", "elm CT"),
    "ReferringPhysicianName": ("Houston^Sam", "sam 64"),
    "OperatorsName": ["Ng^Lee^Ann", "ANN 64"],
    "StationName": ("CTAWP1", "CTAWP1"),
    "DeviceSerialNumber": ("76543", "Force (76543)"),
    "PatientComments": ("calls himself Buddy", "Buddy"),
}


@pytest.mark.parametrize("keyword", TEXTS)
@pytest.mark.parametrize(("element", "planted"), PLANTED.items())
def test_a_text_with_a_word_of_an_identifying_element_is_dropped(keyword, element, planted):
    identity, text = planted
    dataset = header(**{element: identity, keyword: text})
    assert getattr(read_acquisition(dataset, None), TEXTS[keyword]) is None
    del dataset[element]
    assert getattr(read_acquisition(dataset, None), TEXTS[keyword]) == " ".join(text.split())


def test_names_inside_sequences_identify_too():
    request = header(RequestingPhysician="Grey^Meredith", OtherPatientIDs=["A1B2C3", "900812"])
    nested = Sequence([header(RequestAttributesSequence=Sequence([request]))])
    dataset = header(ManufacturerModelName="Meredith One", ConvolutionKernel="K900812 900812")
    dataset.ReferencedStudySequence = nested
    read = read_acquisition(dataset, None)
    assert (read.model, read.kernel) == (None, None)


def test_scanners_and_kernels_are_not_lost_to_what_hospitals_and_protocols_are_called():
    dataset = header(
        Manufacturer="GE MEDICAL SYSTEMS",
        ManufacturerModelName="SOMATOM Force",
        ConvolutionKernel="B30s",
        InstitutionName="University Medical Center",
        ProtocolName="Hip SOMATOM",
        StudyDescription="Force, hip of Jane",
        SeriesDescription="Hip 2.0 B30s",
        PatientName="Doe^Jane",
        OperatorsName="CT",
        StudyID="30",
    )
    read = read_acquisition(dataset, None)
    assert (read.manufacturer, read.model, read.kernel) == ("GE MEDICAL SYSTEMS", "SOMATOM Force", "B30s")


@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value length")
def test_texts_are_short_and_of_plain_letters():
    dataset = header(
        Manufacturer="=cmd|' /C calc'!A0\n\x1b[31m", ManufacturerModelName="<b>x</b>" + "y" * 100
    )
    read = read_acquisition(dataset, None)
    assert read.manufacturer == "cmd /C calc A0 31m"
    assert read.model == "b x /b " + "y" * 57  # 64 characters
    assert read_acquisition(header(ConvolutionKernel="***"), None).kernel is None
    assert read_acquisition(header(ConvolutionKernel="STD+"), None).kernel == "STD+"


def test_only_the_scanner_of_a_header_is_recorded():
    dataset = tiny_series(tiny_scan())[0]
    text = json.dumps(read_acquisition(dataset, 6.0).to_json())
    assert "TinyScan" in text
    dataset.Manufacturer = dataset.ManufacturerModelName = dataset.ConvolutionKernel = "Doe Jane"
    assert "Doe" not in json.dumps(read_acquisition(dataset, 6.0).to_json())


SIEMENS = {"manufacturer": "SIEMENS", "model": "Sensation 64", "kvp": 120.0, "kernel": "B30s"}


def scan_record(scan, verdict="ok", site="north"):
    return {"scan": scan, "subject": f"S-{scan}", "site": site, "verdict": verdict}


def screening(axes="LPS", spacing_mm_xyz=(0.75, 0.8, 2.0), **stated):
    geometry = {
        "spacing_mm_xyz": list(spacing_mm_xyz),
        "stored_axes": axes,
        "acquired_axis": "z",
        "slices_read": 62,
    }
    return {"acquisition": Acquisition(**stated).to_json(), "geometry": geometry}


def records_of(*stated, verdict="ok"):
    """Records of scans a, b, c, ... with these fields."""
    names = [f"scan-{number}" for number in range(len(stated))]
    scans = [scan_record(name, verdict) for name in names]
    return gather_acquisition(
        scans, {name: screening(**each) for name, each in zip(names, stated, strict=True)}, "CT"
    )


def off(records, protocol):
    return [record["off_protocol"] for record in judge_acquisition(records, protocol)]


def test_the_table_has_a_row_for_each_screened_scan_and_no_cell_that_nobody_stated(tmp_path):
    scans = [scan_record("dicom"), scan_record("nifti"), scan_record("broken", "rejected")]
    scans += [scan_record("excluded", "excluded"), scan_record("missing", "missing")]
    screened = {
        "dicom": screening(**SIEMENS, mas=150.0, table_height_mm=0.0, contrast="no", slice_increment_mm=2.0),
        "nifti": screening(),
        "broken": {"acquisition": None, "geometry": None},
    }
    records = judge_acquisition(gather_acquisition(scans, screened, "CT"), majority_protocol([], "CT"))
    write_records(records, acquisition_columns("CT"), tmp_path / "acquisition.csv")
    lines = (tmp_path / "acquisition.csv").read_text().splitlines()
    assert lines == [
        "scan,subject,site,verdict,modality,manufacturer,model,kvp,mas,slice_thickness_mm,slice_increment_mm,kernel,pitch,"
        "table_height_mm,field_of_view_mm,contrast,pixel_mm,slices,off_protocol",
        "dicom,S-dicom,north,ok,CT,SIEMENS,Sensation 64,120,150,,2,B30s,,0,,no,0.75,62,",
        "nifti,S-nifti,north,ok,CT,,,,,,,,,,,,0.75,62,",
        "broken,S-broken,north,rejected,CT,,,,,,,,,,,,,,",
    ]


def test_the_pixel_is_that_of_the_stored_slice_whichever_way_it_lies():
    spacing = (0.75, 0.8, 2.0)
    for axes, pixel_mm in (("LPS", 0.75), ("PSL", 0.8), ("IRP", 2.0)):
        (record,) = gather_acquisition([scan_record("a")], {"a": screening(axes, spacing)}, "CT")
        assert record["pixel_mm"] == pixel_mm


def test_every_field_of_the_header_can_be_judged():
    assert set(MODALITIES["CT"].fields) == {*Acquisition().to_json(), "pixel_mm"}
    assert set(MODALITIES["MR"].fields) == {*MrAcquisition().to_json(), "pixel_mm", "plane"}


def test_differences_say_what_came_and_what_the_protocol_is():
    protocol = read_protocol(
        {"kvp": 120, "kernel": ["B30s", "B31s"], "mas": {"min": 100}, "pixel_mm": {"min": 0.5, "max": 0.74}},
        "CT",
    )
    scans = records_of(
        {"kvp": 140.0, "kernel": "B60s", "mas": 99.5}, {"kvp": 120.4, "kernel": "b31S", "mas": 1e4}, {}
    )
    wide = "pixel_mm 0.75 (protocol 0.5 to 0.74)"
    assert off(scans, protocol) == [
        "kvp 140 (protocol 120); kernel B60s (protocol B30s or B31s); mas 99.5 (protocol at least 100); "
        + wide,
        wide,
        "kvp not stated (protocol 120); kernel not stated (protocol B30s or B31s); "
        "mas not stated (protocol at least 100); " + wide,
    ]


def test_a_rejected_scan_is_not_asked_for_what_it_does_not_state():
    scans = records_of({"kvp": 140.0}, verdict="rejected")
    protocol = read_protocol({"kvp": 120, "kernel": "B30s"}, "CT")
    assert off(scans, protocol) == ["kvp 140 (protocol 120)"]
    assert describe_protocol(scans, protocol)["fields"][0]["differ"] == 0  # only accepted scans are counted


@pytest.mark.parametrize(
    ("setting", "value", "inside"),
    [
        (2, 2.019, True),
        (2, 2.03, False),
        ({"max": 2}, 2.0, True),
        ({"max": 2}, 2.001, False),
        ({"min": -150, "max": -100}, -150.0, True),
        ([1, 3.0], 2.0, False),
        ([1, 3.0], 3.0, True),
        (0, 0.0, True),
    ],
)
def test_numbers_are_equal_within_one_percent_and_ranges_include_their_ends(setting, value, inside):
    protocol = read_protocol({"table_height_mm": setting}, "CT")
    assert (value in protocol.allowed["table_height_mm"]) == inside


def test_a_bare_yes_or_no_is_what_yaml_makes_of_it():
    assert read_protocol({"contrast": False}, "CT").allowed["contrast"] == Allowed(values=("no",))
    assert read_protocol({"contrast": "yes"}, "CT").allowed["contrast"] == Allowed(values=("yes",))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kernal": "B30s"}, "acquisition_protocol: unknown key 'kernal'; did you mean kernel?"),
        ({"zzz": 1}, "acquisition_protocol: unknown key 'zzz'; known keys: contrast, field_of_view_mm"),
        (
            {"kvp": "high"},
            "acquisition_protocol.kvp: 'high'; expected a number, a list of numbers, or a range {min: ",
        ),
        ({"kvp": True}, "acquisition_protocol.kvp: True; expected a number"),
        ({"kvp": []}, "acquisition_protocol.kvp: []; expected a number"),
        ({"kvp": {}}, "acquisition_protocol.kvp: {}; expected a number"),
        ({"kvp": {"low": 100}}, "acquisition_protocol.kvp: {'low': 100}; expected a number"),
        ({"kvp": {"min": 130, "max": 100}}, "acquisition_protocol.kvp: {'min': 130, 'max': 100}; expected"),
        ({"kvp": [120, "140"]}, "acquisition_protocol.kvp: [120, '140']; expected a number"),
        ({"kvp": float("nan")}, "acquisition_protocol.kvp: nan; expected a number"),
        ({"kernel": {"min": 1}}, "acquisition_protocol.kernel: {'min': 1}; expected a text, or a list of"),
        ({"kernel": " "}, "acquisition_protocol.kernel: ' '; expected a text"),
        ({"contrast": "maybe"}, "acquisition_protocol.contrast: 'maybe'; expected yes or no"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused_with_key_value_and_what_is_allowed(settings, words):
    with pytest.raises(ConfigError) as caught:
        read_protocol({"model": "Sensation 64"} | settings, "CT")
    assert words in str(caught.value)
    assert "1 problem;" in str(caught.value)


def test_all_problems_of_a_protocol_are_listed_at_once():
    with pytest.raises(ConfigError, match="2 problems") as caught:
        read_protocol({"kv": 120, "kernel": 30}, "CT")
    assert "did you mean kvp" in str(caught.value)
    assert "acquisition_protocol.kernel: 30" in str(caught.value)


def test_the_majority_is_the_protocol_where_none_is_configured():
    odd = SIEMENS | {"kvp": 140.0, "kernel": "B60s", "model": "Emotion"}
    records = records_of(*[SIEMENS] * 5, odd, {})
    protocol = choose_protocol({}, records, "CT")
    assert protocol.source == "majority"
    assert off(records, protocol) == [
        *[""] * 5,
        "model Emotion (protocol Sensation 64); kvp 140 (protocol 120); kernel B60s (protocol B30s)",
        "",
    ]
    assert describe_protocol(records, protocol) == {
        "source": "majority",
        "fields": [
            {"field": name, "protocol": text, "agree": agree, "differ": differ, "not_stated": 1}
            for name, text, agree, differ in [
                ("manufacturer", "SIEMENS", 6, 0),
                ("model", "Sensation 64", 5, 1),
                ("kvp", "120", 5, 1),
                ("kernel", "B30s", 5, 1),
            ]
        ]
        + [{"field": "contrast", "protocol": "no", "agree": 6, "differ": 0, "not_stated": 1}],
    }
    assert choose_protocol({"kvp": 100}, records, "CT").source == "configuration"


@pytest.mark.parametrize(
    ("kernels", "majority"),
    [
        (["A"] * 4, None),  # too few
        (["A"] * 5, "A"),
        (["A"] * 4 + [None], None),
        (["A"] * 3 + ["B"] * 3, None),  # no more than half
        (["A"] * 4 + ["B"] * 3, "A"),
        (["A"] * 3 + ["B"] * 2 + ["C"] * 2, None),
        (["a"] * 2 + ["A"] * 3 + ["B"] * 4, "A"),  # case is ignored; the most frequent spelling counts
    ],
)
def test_a_majority_is_more_than_half_of_at_least_five(kernels, majority):
    allowed = majority_protocol(records_of(*[{"kernel": kernel} for kernel in kernels]), "CT").allowed
    assert allowed == ({"kernel": Allowed(values=(majority,))} if majority else {})


def test_measured_distances_that_differ_in_the_last_digit_agree():
    steps = [2.0 + 1e-5 * number for number in range(300)] + [3.0] * 200
    records = records_of(*[{"slice_increment_mm": step} for step in steps])
    protocol = majority_protocol(records, "CT")
    assert 2.0 in protocol.allowed["slice_increment_mm"]
    assert sum(map(bool, off(records, protocol))) == 200


def test_the_majority_ignores_rejected_scans_and_fields_that_depend_on_body_size():
    records = records_of(
        *[{"kvp": 120.0, "mas": 150.0, "table_height_mm": 1.0, "field_of_view_mm": 400.0}] * 5
    )
    records += records_of(*[{"kvp": 80.0}] * 20, verdict="rejected")
    assert set(majority_protocol(records, "CT").allowed) == {"kvp", "contrast"}
    assert str(majority_protocol(records, "CT").allowed["kvp"]) == "120"


def test_few_scans_with_contrast_are_off_protocol_although_the_others_state_nothing():
    records = records_of(*[SIEMENS] * 10, *[SIEMENS | {"contrast": "yes"}] * 6)
    assert off(records, majority_protocol(records, "CT")) == [""] * 10 + ["contrast yes (protocol no)"] * 6
    silent = records_of(*[{}] * 10)  # scans without a header do not count
    assert majority_protocol(silent, "CT").allowed == {}


def test_scans_off_protocol_are_read_back_from_the_table(tmp_path):
    path = tmp_path / "acquisition.csv"
    records = records_of({"kvp": 120.0}, {"kvp": 140.0})
    write_records(
        judge_acquisition(records, read_protocol({"kvp": 120}, "CT")), acquisition_columns("CT"), path
    )
    assert off_protocol_scans(path) == {"scan-1"}
    with open(path, newline="") as file:
        assert [row["off_protocol"] for row in csv.DictReader(file)] == ["", "kvp 140 (protocol 120)"]


def mr_header(**elements):
    """The header of an MR slice with these elements."""
    header = Dataset()
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return header


def test_an_mr_header_tells_sequence_times_and_fat_suppression():
    header = mr_header(
        Manufacturer="SIEMENS", ManufacturerModelName="Skyra", MagneticFieldStrength=3, ScanningSequence="GR",
        SequenceVariant=["SP", "OSP", "Anna"], RepetitionTime=37, EchoTime=4.92, FlipAngle=25, SliceThickness=1.5,
        ScanOptions=["PFP", "FS"], PatientName="Anna",
    )  # fmt: skip
    assert read_mr_acquisition(header, 1.5) == MrAcquisition(
        manufacturer="SIEMENS", model="Skyra", field_tesla=3.0, sequence="GR", variant="SP/OSP", tr_ms=37.0,
        te_ms=4.92, flip_degrees=25.0, fat_suppressed="yes", contrast="unknown", slice_thickness_mm=1.5,
        slice_increment_mm=1.5,
    )  # fmt: skip
    assert read_mr_acquisition(mr_header(), None) == MrAcquisition()
    assert read_mr_acquisition(mr_header(ScanOptions="SFS"), None).fat_suppressed == "yes"
    assert read_mr_acquisition(mr_header(ScanOptions="PFP"), None).fat_suppressed == "no"


def test_an_enhanced_mr_header_keeps_its_times_in_the_functional_groups():
    group = mr_header(
        MRTimingAndRelatedParametersSequence=Sequence([mr_header(RepetitionTime=500.0, FlipAngle=90.0)]),
        MREchoSequence=Sequence([mr_header(EffectiveEchoTime=12.0)]),
        MRModifierSequence=Sequence([mr_header(SpectrallySelectedSuppression="FAT")]),
    )
    header = mr_header(
        EchoPulseSequence="SPIN", SharedFunctionalGroupsSequence=Sequence([group]), MagneticFieldStrength=1.5
    )
    found = read_mr_acquisition(header, None)
    assert (found.sequence, found.tr_ms, found.te_ms, found.flip_degrees) == ("SE", 500.0, 12.0, 90.0)
    assert (found.fat_suppressed, found.field_tesla) == ("yes", 1.5)


def test_the_fields_of_a_modality_belong_to_it():
    protocol = read_protocol(
        {"tr_ms": {"min": 20, "max": 40}, "fat_suppressed": False, "plane": "coronal"}, "MR"
    )
    assert protocol.allowed["fat_suppressed"] == Allowed(values=("no",))
    for settings, modality in (({"kvp": 120}, "MR"), ({"tr_ms": 37}, "CT")):
        with pytest.raises(ConfigError, match="unknown key"):
            read_protocol(settings, modality)
    geometry = {
        "spacing_mm_xyz": [0.5, 1.5, 0.6],
        "stored_axes": "LSP",
        "acquired_axis": "y",
        "slices_read": 60,
    }
    screened = {"a": {"acquisition": MrAcquisition(tr_ms=37.0).to_json(), "geometry": geometry}}
    (record,) = gather_acquisition([scan_record("a")], screened, "MR")
    assert (record["plane"], record["pixel_mm"], record["tr_ms"], record["fat_suppressed"]) == (
        "coronal",
        0.5,
        37,
        None,
    )
    assert "kvp" not in record
