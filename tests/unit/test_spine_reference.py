"""Screening of spine references: vertebrae in their order pass, with the codes of any program; other masks do not."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.anatomy.methods import METHODS
from lib.anatomy.spine.spine_reference import judge_spine_reference
from lib.catalog.reasons import is_rejected
from lib.crop_settings import CropConfig
from lib.errors import ConfigError
from lib.imaging.nifti import write_image
from lib.phantom.people import PhantomConfig, phantom_people
from lib.phantom.scan import make_phantom_scan
from lib.reading.dicom import read_scan
from lib.reading.image_files import read_labels
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig
from lib.structures import read_structures

EDGE_MM = 2.5
SIZE_ZYX = (100, 80, 120)  # 250 mm from feet to head, 200 mm from front to back, 300 mm from right to left
MIDDLE = 60  # column of the middle of the body
NAMES = ("L1", "L2", "L3", "L4", "L5", "sacrum")
# TotalSegmentator counts from below, VerSe from above
TOTAL_SEGMENTATOR = {"L1": [31], "L2": [30], "L3": [29], "L4": [28], "L5": [27], "sacrum": [25]}
VERSE = {"L1": [20], "L2": [21], "L3": [22], "L4": [23], "L5": [24], "sacrum": [26]}
LEVELS = slice(80, 4, -15)  # lowest slices of L1 to the sacrum: 37.5 mm apart


def place(number):
    """Return the box of vertebra `number` (0: L1): 30 mm high, 35 mm deep, 45 mm wide, in the middle of the body."""
    low = range(SIZE_ZYX[0])[LEVELS][number]
    return slice(low, low + 12), slice(40, 54), slice(MIDDLE - 9, MIDDLE + 9)


def spine(values=(1, 2, 3, 4, 5, 6)):
    """Return a label map of boxes from head to feet."""
    labels_zyx = np.zeros(SIZE_ZYX, np.uint8)
    for number, value in enumerate(values):
        labels_zyx[place(number)] = value
    return labels_zyx


def as_image(values_zyx):
    image = sitk.GetImageFromArray(values_zyx)
    image.SetSpacing([EDGE_MM] * 3)
    image.SetOrigin((-150.0, -100.0, -400.0))
    return image


def body():
    """Return a scan of a body, 250 mm wide, with bones where `spine` draws them, in air."""
    hu_zyx = np.full(SIZE_ZYX, -1000, np.int16)
    hu_zyx[:, 10:70, 10:111] = 40
    hu_zyx[spine() > 0] = 300
    return as_image(hu_zyx)


def findings(labels_zyx, names=NAMES, image=None):
    return judge_spine_reference(as_image(labels_zyx), image, names)


def found(reasons):
    return {reason.code: reason.found for reason in reasons}


def test_vertebrae_in_their_order_pass():
    assert findings(spine(), image=body()) == []
    assert (
        findings(spine((0, 2, 3, 0, 0, 6)), image=body()) == []
    )  # a partial view, or levels that are not drawn
    assert findings(spine((1, 2, 3, 4)), ("L1", "L2", "L3", "L4")) == []
    # the order of the structures in the settings does not matter
    assert findings(spine((4, 3, 2, 1)), ("L4", "L3", "L2", "L1")) == []


@pytest.mark.parametrize("codes", [TOTAL_SEGMENTATOR, VERSE])
def test_files_with_the_codes_of_other_programs_pass(codes, tmp_path):
    write_image(as_image(spine([values[0] for values in codes.values()])), tmp_path / "mask.nii.gz")
    labels = read_labels(tmp_path / "mask.nii.gz", read_structures(codes))
    assert np.array_equal(np.unique(sitk.GetArrayViewFromImage(labels)), range(7))
    assert judge_spine_reference(labels, body(), codes) == []


def test_labels_counted_from_below_are_refused():
    (reason,) = findings(spine((4, 3, 2, 1)), ("L1", "L2", "L3", "L4"))
    assert is_rejected([reason]) and reason.code == "labels_out_of_order"
    assert reason.found == (
        "from head to feet the labels are L4, L3, L2, L1; expected L1, L2, L3, L4 (the vertebrae are numbered from "
        "below)"
    )
    (reason,) = findings(spine((5, 4, 3, 2, 1, 6)))  # the sacrum has its own label
    assert reason.found.endswith(
        "expected L1, L2, L3, L4, L5, sacrum (the vertebrae are numbered from below)"
    )


def test_the_codes_of_totalsegmentator_in_the_wrong_order_are_refused(tmp_path):
    write_image(as_image(spine((31, 30, 29, 28, 27))), tmp_path / "mask.nii.gz")
    turned = {"L1": [27], "L2": [28], "L3": [29], "L4": [30], "L5": [31]}
    labels = read_labels(tmp_path / "mask.nii.gz", read_structures(turned))
    (reason,) = judge_spine_reference(labels, None, turned)
    assert reason.found.startswith("from head to feet the labels are L5, L4, L3, L2, L1; expected L1,")
    told = reason.to_json("generic", "CT")
    assert "TotalSegmentator has 31 for L1 to 27 for L5, VerSe 20 to 24" in told["action"]
    assert told["rule"].startswith("Vertebrae must be labelled from head to feet: L1 above L2")


def test_two_exchanged_labels_are_named():
    (reason,) = findings(spine((1, 3, 2, 4, 5, 6)))
    assert reason.found == (
        "from head to feet the labels are L1, L3, L2, L4, L5, sacrum; expected L1, L2, L3, L4, L5, sacrum"
    )


def test_a_label_on_two_vertebrae_is_refused_and_is_no_gap():
    reasons = findings(spine((1, 2, 2, 4, 5, 6)))
    # voxels of 2.5 mm: 12 * 14 * 18 of them are 47.25 ml
    assert found(reasons) == {
        "label_doubled": "L2: two pieces of 47.2 and 47.2 cm³, 38 mm apart from feet to head"
    }
    assert is_rejected(reasons)


def test_an_arch_apart_from_its_body_is_only_flagged():
    labels_zyx = spine()
    z, y, x = place(1)
    labels_zyx[z.start - 3 : z.stop - 3, y.stop + 3 : y.stop + 12, x] = 2  # behind the body and 7.5 mm lower
    reasons = findings(labels_zyx)
    assert list(found(reasons)) == ["mask_not_solid"] and not is_rejected(reasons)


def test_one_vertebra_with_two_labels_is_refused():
    labels_zyx = spine((1, 2, 0, 4, 5, 6))
    z, y, x = place(1)
    labels_zyx[z, y, MIDDLE:][labels_zyx[z, y, MIDDLE:] == 2] = 3  # its left half
    (reason,) = findings(labels_zyx)
    assert reason.code == "labels_out_of_order"
    assert reason.found == (
        "L2 and L3 lie at one height (0 mm apart from feet to head): two labels share one vertebra"
    )
    assert reason.action == "Look at the labels in a viewer, and give each vertebra one label."


def test_one_value_for_two_vertebrae_is_refused_in_the_settings():
    with pytest.raises(ConfigError, match=r"structures.L2: the value 20 is listed twice, also for L1"):
        read_structures({"L1": [20], "L2": [20]})


def test_a_synthetic_spine_passes_and_with_mirrored_labels_it_does_not(tmp_path):
    config = PhantomConfig(
        anatomy="lumbar-spine",
        people=1,
        defects=("mirrored_labels",),
        matrix=128,
        slice_mm=4.0,
        supersampling=1,
    )
    structures = read_structures({name: [value] for value, name in enumerate(NAMES, start=1)})
    codes = []
    for person in phantom_people(config):
        mask = tmp_path / f"{person.scan}.nii.gz"
        make_phantom_scan(config, person.scan, tmp_path / person.scan, mask, tmp_path / f"{person.scan}.json")
        scan = read_scan(tmp_path / person.scan).image
        found = judge_spine_reference(read_labels(mask, structures), scan, structures)
        codes.append([reason.code for reason in found])
    assert codes == [[], ["labels_out_of_order"]]


def femur():
    """Return the mask of a femur of 120 mm and 150 ml as value 1: 100 mm to the left of the middle of the body."""
    labels_zyx = np.zeros(SIZE_ZYX, np.uint8)
    labels_zyx[20:68, 35:50, MIDDLE + 33 : MIDDLE + 47] = 1
    return labels_zyx


def test_the_mask_of_a_femur_is_refused():
    reasons = findings(femur(), image=body())
    assert found(reasons) == {
        "mask_implausible": "L1: 157.5 cm³ and 120 mm from feet to head; "
        "a vertebra has 1 to 150 cm³ and at most 90 mm",
        "mask_elsewhere": "L1: 99 mm to the left of the middle of the body; a spine lies at most 75 mm aside",
    }
    assert {reason.action for reason in reasons} == {
        "Lay the mask over the scan in a viewer: the value of L1 may mark another bone, such as a femur. Correct "
        "`mask`, or the values in `structures`."
    }
    # a femur that the scan cuts near its head may have the size of a vertebra; without HU only its size is known
    short_zyx = femur()
    short_zyx[:48] = 0
    assert list(found(findings(short_zyx, image=body()))) == ["mask_elsewhere"]
    assert findings(short_zyx) == []


def test_sizes_are_those_of_a_bone_and_a_cut_bone_may_be_small():
    labels_zyx = spine((1, 2, 3))
    labels_zyx[20:22, 40:42, 60:62] = 4  # 0.1 ml
    assert found(findings(labels_zyx)) == {
        "mask_implausible": "L4: 0.1 cm³ and 5 mm from feet to head; a vertebra has 1 to 150 cm³ and at most 90 mm"
    }
    labels_zyx[20:22] = 0
    labels_zyx[:1, 40:44, 60:64] = 4  # the scan ends here
    assert findings(labels_zyx) == []
    labels_zyx[:66, 40:54, 51:69] = 0
    labels_zyx[4:66, 40:54, 51:69] = 6  # 155 mm: a sacrum may be as long
    assert findings(labels_zyx) == []


def test_screening_refuses_a_mirrored_reference(tmp_path, monkeypatch):
    """As the workflow reads it: the file's values, the structures of the study, the verdict with its advice."""

    class Spine(type(METHODS["generic"])):
        def judge_reference(self, labels, image, structures, acquired_axis):
            return judge_spine_reference(labels, image, structures, acquired_axis)

    monkeypatch.setitem(METHODS, "generic", Spine())
    write_image(body(), tmp_path / "scan.nii.gz")
    verdicts = {}
    for name, values in {"right": (20, 21, 22, 23), "mirrored": (23, 22, 21, 20)}.items():
        write_image(as_image(spine(values)), tmp_path / f"{name}.nii.gz")
        request = ScanRequest(
            side="",
            anatomy="generic",
            mask=tmp_path / f"{name}.nii.gz",
            structures=read_structures({"L1": [20], "L2": [21], "L3": [22], "L4": [23]}),
        )
        limits = ScreeningConfig(min_slices=4, min_length_mm=10.0)
        crop = CropConfig(method="none")
        verdicts[name] = screen_scan(tmp_path / "scan.nii.gz", request, limits, crop).to_json()
    codes = {name: [reason["code"] for reason in found["reasons"]] for name, found in verdicts.items()}
    assert verdicts["right"]["verdict"] == "ok" and verdicts["mirrored"]["verdict"] == "rejected"
    assert set(codes["mirrored"]) - set(codes["right"]) == {"labels_out_of_order"}
