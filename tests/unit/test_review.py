"""A review is checked as a whole and applied; a corrected mask is measured on the grid on which it was edited."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.cohort.review import Review, in_words, other_masks, read_review, rejected
from lib.cohort.scans import accepted_scans, gather_screening
from lib.cohort.table import planned_cohort
from lib.errors import ScanError, TableError
from lib.imaging.nifti import write_image
from lib.reading.corrected import measure_corrected, read_corrected, use_corrected

SCANS = ("A", "B", "C", "D")


def write(folder, text):
    path = folder / "review.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_review_as_the_page_writes_it(tmp_path):
    (tmp_path / "B.nii.gz").touch()
    text = (
        "scan,verdict,comment,seen_mm3,corrected_mask\r\n"
        'A,rejected,"wrong hip, ""left"" asked\r\nsecond line",81000.5,\r\n'
        "B,needs-edit,,82000,B.nii.gz\r\n"
        "C,accepted,,,\r\n"
        "D,,only a word,,\r\n"
    )
    reviews = read_review(write(tmp_path, text), SCANS)
    assert reviews["A"] == Review(
        scan="A", verdict="rejected", comment='wrong hip, "left" asked\nsecond line', seen_mm3=81000.5
    )
    assert reviews["B"].corrected_mask == str(tmp_path / "B.nii.gz")
    assert (reviews["D"].verdict, reviews["D"].comment) == ("", "only a word")
    assert rejected(reviews) == {"A": reviews["A"].comment}
    assert in_words(reviews)["B"] == {"verdict": "needs-edit", "comment": "", "seen_mm3": 82000.0}


def test_semicolons_of_a_spreadsheet_are_read(tmp_path):
    reviews = read_review(write(tmp_path, "scan;verdict;comment\nA;accepted;fine, so far\n"), SCANS)
    assert reviews["A"].comment == "fine, so far"


def test_all_problems_are_listed_at_once(tmp_path):
    text = (
        "scan,verdict,comment,seen_mm3,corrected_mask\n"
        "A,reject,,x,\nE,accepted,,-1,\nB,accepted,,nan,gone.nii.gz\nB,accepted,,,\n,accepted,,,\n"
    )
    with pytest.raises(TableError) as caught:
        read_review(write(tmp_path, text), SCANS)
    message = str(caught.value)
    for part in (
        "review review.csv: 8 problems",
        "row 2, column verdict: 'reject'; use accepted, rejected, needs-edit",
        "row 2, column seen_mm3: 'x'",
        "row 3, column scan: 'E'; the cohort table has no such scan",
        "row 3, column seen_mm3: '-1'",
        "row 4, column seen_mm3: 'nan'",
        "row 4, column corrected_mask: 'gone.nii.gz'; this file does not exist",
        "row 5, column scan: 'B'; one row for each scan: see row 4",
        "row 6, column scan: ''",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("scan,comment\nA,x\n", "column verdict: 'no such column'"),
        ("scan,verdict,coment\nA,accepted,x\n", "did you mean comment?"),
        ("scan,verdict,verdict\nA,accepted,rejected\n", "this column appears twice"),
    ],
)
def test_a_header_that_cannot_be_used(tmp_path, text, part):
    with pytest.raises(TableError, match="row 1") as caught:
        read_review(write(tmp_path, text), SCANS)
    assert part in str(caught.value)


def test_a_review_that_is_not_there(tmp_path):
    with pytest.raises(TableError, match="set `review` to its path"):
        read_review(tmp_path / "none.csv", SCANS)


def test_a_rejected_scan_is_excluded_with_its_comment():
    cohort = planned_cohort([{"scan": scan, "image": "i", "mask": "m"} for scan in "ABC"], "cohort.csv")
    screened = dict.fromkeys("ABC", {"verdict": "ok", "reasons": []})
    records = gather_screening(cohort, screened, {"A": "wrong hip", "B": ""})
    assert [record["verdict"] for record in records] == ["excluded", "excluded", "ok"]
    assert [record["reason"] for record in records] == ["rejected_in_review", "rejected_in_review", ""]
    assert [record["explanation"] for record in records] == ["wrong hip", "rejected without a comment", ""]
    assert [row.scan for row in accepted_scans(records)] == ["C"]


def test_the_table_s_own_exclusion_comes_first():
    cohort = planned_cohort([{"scan": "A", "image": "i", "exclude": "no consent"}], "cohort.csv")
    (record,) = gather_screening(cohort, {}, {"A": "ugly"})
    assert (record["reason"], record["explanation"]) == ("excluded", "no consent")


def test_a_review_of_another_mask_is_found_at_one_percent():
    seen = {scan: {"verdict": "accepted", "comment": "", "seen_mm3": 1000.0} for scan in "ABC"}
    seen["D"] = {"verdict": "accepted", "comment": "", "seen_mm3": None}
    assert other_masks(seen, {"A": 1010.0, "B": 1010.1, "D": 5.0}) == ["B"]


def image(size, spacing, hu=0):
    made = sitk.Image(size, sitk.sitkInt16) + hu
    made.SetSpacing(spacing)
    return made


CROP, CONVERTED = image((10, 8, 6), (2.0, 2.0, 3.0), 300), image((20, 16, 9), (1.0, 1.0, 2.0), 400)
GRIDS = {"the converted scan": CONVERTED, "the crop": CROP}


def box_on(grid, slices):
    mask_zyx = np.zeros(grid.GetSize()[::-1], np.uint8)
    mask_zyx[slices, 2:6, 3:5] = 1
    mask = sitk.GetImageFromArray(mask_zyx)
    mask.CopyInformation(grid)
    return mask


def test_a_corrected_mask_measures_on_the_grid_it_was_edited_on():
    on_crop = measure_corrected(box_on(CROP, slice(1, 4)), ["femur"], GRIDS, "mask")["femur"]
    assert on_crop == {
        "corrected_mm3": 3 * 4 * 2 * 12.0,
        "mean_value": 300.0,
        "sd_value": 0.0,
        "length_mm": 9.0,
        "truncated_distally": False,
        "grid": "the crop",
    }
    on_scan = measure_corrected(box_on(CONVERTED, slice(0, 5)), ["femur"], GRIDS, "mask")["femur"]
    assert on_scan["corrected_mm3"] == 5 * 4 * 2 * 2.0 and on_scan["mean_value"] == 400.0
    assert on_scan["length_mm"] == 10.0 and on_scan["truncated_distally"]
    assert on_scan["grid"] == "the converted scan"


def test_each_structure_of_a_corrected_label_map_is_measured():
    labels = box_on(CROP, slice(1, 4)) + 2 * box_on(CROP, slice(4, 5))
    measured = measure_corrected(labels, ["L1", "L2", "L3"], GRIDS, "mask")
    assert [found["corrected_mm3"] for found in measured.values()] == [3 * 8 * 12.0, 8 * 12.0, 0.0]
    assert list(measured) == ["L1", "L2", "L3"] and measured["L3"]["mean_value"] is None


def test_a_corrected_mask_without_its_empty_borders_measures_as_the_whole_one():
    for grid, slices in ((CROP, slice(1, 4)), (CONVERTED, slice(0, 5))):
        whole = box_on(grid, slices)
        assert measure_corrected(whole[2:7, 1:8, :6], ["femur"], GRIDS, "mask") == measure_corrected(
            whole, ["femur"], GRIDS, "mask"
        )


def test_a_mask_on_the_crop_is_measured_there_although_it_is_a_part_of_the_scan_too():
    grids = {"the converted scan": CONVERTED, "the crop": CONVERTED[3:13, 2:12, :]}
    on_crop = measure_corrected(box_on(grids["the crop"], slice(1, 4)), ["femur"], grids, "mask")
    assert on_crop["femur"]["grid"] == "the crop"


def test_a_corrected_mask_is_put_on_the_grid_of_the_scan():
    """A mask of the scan stays, also without its empty borders; one of the crop keeps its volume and place."""
    whole = box_on(CONVERTED, slice(0, 5))
    for given in (whole, whole[2:7, 1:8, :6]):
        full = use_corrected(given, ["femur"], CONVERTED, CROP, "mask").full
        assert (sitk.GetArrayViewFromImage(full) == sitk.GetArrayViewFromImage(whole)).all()
    crop, fine = image((40, 40, 20), (2.0, 2.0, 3.0)), image((80, 80, 60), (1.0, 1.0, 1.0))
    mask_zyx = np.zeros((20, 40, 40), np.uint8)
    mask_zyx[5:15, 10:30, 10:20], mask_zyx[5:15, 10:30, 20:30] = 1, 2
    mask = sitk.GetImageFromArray(mask_zyx)
    mask.CopyInformation(crop)
    made = use_corrected(mask, ["L1", "L2"], fine, crop, "mask")
    assert made.measured["L1"]["grid"] == "the crop" and made.full.GetSize() == fine.GetSize()
    for label, name in ((1, "L1"), (2, "L2")):
        volume_mm3 = float((sitk.GetArrayViewFromImage(made.full) == label).sum())
        assert volume_mm3 == pytest.approx(made.measured[name]["corrected_mm3"], rel=0.12)
        centre = np.argwhere(sitk.GetArrayViewFromImage(made.full) == label).mean(axis=0)
        given = np.argwhere(mask_zyx == label).mean(axis=0) * (3.0, 2.0, 2.0)
        assert np.abs(centre - given).max() < 1.0  # mm


def test_any_other_grid_is_refused_with_both_that_would_do():
    with pytest.raises(ScanError, match="corrected mask x of scan S") as caught:
        measure_corrected(
            box_on(image((10, 8, 6), (2.0, 2.0, 2.5)), slice(1, 3)),
            ["femur"],
            GRIDS,
            "corrected mask x of scan S",
        )
    for part in ("20x16x9 voxels", "10x8x6 voxels of 2x2x3 mm", "2x2x2.5 mm", "labels_full.nii.gz"):
        assert part in str(caught.value)


def test_an_empty_corrected_mask_is_refused():
    with pytest.raises(ScanError, match="is empty") as caught:
        measure_corrected(box_on(CROP, slice(0, 0)), ["femur"], GRIDS, "mask")
    assert caught.value.code == "empty_mask"


def test_a_corrected_label_map_has_the_values_of_the_study(tmp_path):
    labels = box_on(CROP, slice(1, 4))
    labels[3, 2, 1], labels[4, 2, 1] = 2, 0
    write_image(labels, tmp_path / "P1.nii.gz")
    read = sitk.GetArrayFromImage(read_corrected(tmp_path / "P1.nii.gz", "P1", ["L1", "L2"]))
    np.testing.assert_array_equal(read, sitk.GetArrayFromImage(labels))
    labels[0, 0, 0] = 21
    write_image(labels, tmp_path / "P1.nii.gz")
    with pytest.raises(
        ScanError, match=r"P1.nii.gz of scan P1 .* holds 21; expected are 0 and L1 \(1\), L2 \(2\)"
    ):
        read_corrected(tmp_path / "P1.nii.gz", "P1", ["L1", "L2"])


def test_a_corrected_mask_of_one_structure_may_have_any_value(tmp_path):
    write_image(sitk.Cast(255 * box_on(CROP, slice(1, 4)), sitk.sitkUInt8), tmp_path / "P1.nii.gz")
    read = sitk.GetArrayFromImage(read_corrected(tmp_path / "P1.nii.gz", "P1", ["femur"]))
    assert read.max() == 1 and read.sum() == 3 * 4 * 2


def test_a_damaged_corrected_mask_names_scan_and_file_but_no_folder(tmp_path):
    path = tmp_path / "secret-name" / "P1.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"no image")
    with pytest.raises(ScanError, match=r"corrected mask P1.nii.gz of scan P1") as caught:
        read_corrected(path, "P1", ["femur"])
    assert "secret-name" not in str(caught.value)
    write_image(box_on(CROP, slice(1, 2)), path)
    assert sitk.GetArrayFromImage(read_corrected(path, "P1", ["femur"])).sum() == 8
