"""The cohort table: its values are read, and all mistakes are reported at once."""

import gzip
import struct

import pytest

from lib.ages import age_years, printed_age
from lib.cohort.table import planned_cohort, read_cohort, require_phantoms, table_text
from lib.errors import TableError


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "m.nii.gz").write_bytes(b"")
    return tmp_path


def write(folder, text):
    path = folder / "cohort.csv"
    path.write_text(text)
    return path


def test_reads_defaults_and_values(folder):
    rows = read_cohort(
        write(
            folder,
            "scan,image,subject,sex,age,mask,mask_label,crop_x_mm,crop_y_mm,side\n"
            "S1,a,P1,F,71.6,m.nii.gz,75 76,80,-12.5,right\n"
            "S2,b,,,,,,,,\n",
        )
    )
    first, second = rows.values()
    assert (first.subject, first.sex, first.age, first.side) == ("P1", "F", 71.6, "right")
    assert first.mask_labels == (75, 76)
    assert first.center_mm_xy == (80.0, -12.5)
    assert first.image == str(folder / "a")
    assert (second.subject, second.sex, second.age, second.side, second.set) == (
        "S2",
        "",
        None,
        "left",
        "auto",
    )
    assert second.mask == "" and second.center_mm_xy is None


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_reads_separators_and_byte_order_mark(folder, separator):
    text = "\ufeffscan,image\r\nS1,a\r\n".replace(",", separator)
    path = folder / "cohort.csv"
    path.write_bytes(text.encode())
    assert list(read_cohort(path)) == ["S1"]


def test_lists_every_problem_with_row_and_column(folder):
    table = write(
        folder,
        "scan,image,sex,age,mask,side,set,repeat_of,crop_x_mm\n"
        "S1,a,F,60,,left,auto,,\n"
        "s1,b,M,60,,left,auto,,\n"
        "S_3,c,x,-1,gone.nii.gz,up,test,S9,12\n"
        ",nowhere,,,,,train,,\n",
    )
    with pytest.raises(TableError) as caught:
        read_cohort(table)
    text = str(caught.value)
    assert "row 3, column scan: 's1'; ids must be unique" in text
    assert "row 4, column scan: 'S_3'; use letters, digits and '-' only" in text
    assert "row 4, column sex: 'x'; use M or F" in text
    assert "row 4, column age: '-1'" in text
    assert "row 4, column side: 'up'; use left or right" in text
    assert "row 4, column repeat_of: 'S9'" in text
    assert "row 4, column crop_x_mm, crop_y_mm" in text
    assert "row 4, column mask:" in text and "no such file" in text
    assert "row 5, column scan: ''; every row needs a scan id" in text
    assert "row 5, column image:" in text
    assert "row 5, column set: 'train'; a scan without a mask" in text
    assert "11 problems" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no such column"),
        ("scan,image\n", "no scan"),
        ("scan,picture\nS1,a\n", "row 1, column image: 'no such column'"),
        ("scan,image,Crop X mm\nS1,a,3\n", "did you mean crop_x_mm?"),
        ("scan,image,scan\nS1,a,S1\n", "this column appears twice"),
    ],
)
def test_refuses_unusable_tables(folder, text, words):
    with pytest.raises(TableError, match=words.replace("?", r"\?")):
        read_cohort(write(folder, text))


def test_missing_table_says_which_key_to_set(tmp_path):
    with pytest.raises(TableError, match="set `cohort`"):
        read_cohort(tmp_path / "none.csv")


def test_extra_columns_only_when_named(folder):
    table = write(folder, "scan,image,patient_name,machine\nS1,a,Doe,X\n")
    assert read_cohort(table)["S1"].extra == {}
    assert read_cohort(table, extra_columns=["machine"])["S1"].extra == {"machine": "X"}
    with pytest.raises(TableError, match="column kernel"):
        read_cohort(table, extra_columns=["kernel"])


def test_sex_is_required_only_where_a_cohort_needs_it(folder):
    table = write(folder, "scan,image,mask\nS1,a,m.nii.gz\nS2,b,\n")
    assert len(read_cohort(table)) == 2
    with pytest.raises(TableError, match="row 2, column sex") as caught:
        read_cohort(table, sex_required=True)
    assert "row 3" not in str(caught.value)


def test_contradictions_between_scans_of_a_person(folder):
    table = write(
        folder,
        "scan,image,subject,sex,mask,set\nS1,a,P,F,m.nii.gz,train\nS2,b,P,M,m.nii.gz,test\n",
    )
    with pytest.raises(TableError) as caught:
        read_cohort(table)
    assert "row 3, column sex" in str(caught.value)
    assert "row 3, column set" in str(caught.value)


@pytest.mark.parametrize("other", ["train", "test"])
def test_nobody_of_another_institution_is_trained_on_or_a_test_person(folder, other):
    text = f"scan,image,subject,mask,set\nS1,a,P,m.nii.gz,external\nS2,b,P,m.nii.gz,{other}\n"
    with pytest.raises(
        TableError, match=f"row 3, column set: '{other}'; row 2 puts the same subject into external"
    ):
        read_cohort(write(folder, text))


def nifti(path, size, spacing_mm):
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *size, 1, 1, 1, 1)
    struct.pack_into("<8f", header, 76, 1, *spacing_mm, 0, 0, 0, 0)
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header)) if path.suffix == ".gz" else bytes(header))


def test_mask_on_another_grid_is_a_problem_of_the_table(tmp_path):
    nifti(tmp_path / "image.nii", (64, 64, 40), (0.8, 0.8, 3.0))
    nifti(tmp_path / "image2.nii", (64, 64, 40), (0.8, 0.8, 3.0))
    nifti(tmp_path / "same.nii.gz", (40, 64, 64), (3.0, 0.8, 0.8))
    nifti(tmp_path / "other.nii.gz", (64, 64, 60), (0.8, 0.8, 2.0))
    table = write(tmp_path, "scan,image,mask\nS1,image.nii,same.nii.gz\nS2,image2.nii,other.nii.gz\n")
    with pytest.raises(TableError) as caught:
        read_cohort(table)
    assert str(caught.value).count("\n") == 1
    assert "row 3, column mask: '64 x 64 x 60 voxels of 0.8 x 0.8 x 2 mm'" in str(caught.value)


def test_cropped_mask_is_no_problem_of_the_table(tmp_path):
    nifti(tmp_path / "image.nii", (64, 64, 40), (0.8, 0.8, 3.0))
    nifti(tmp_path / "part.nii.gz", (20, 30, 50), (3.0, 0.8, 0.8))
    nifti(tmp_path / "long.nii.gz", (41, 30, 50), (3.0, 0.8, 0.8))
    table = write(tmp_path, "scan,image,mask\nS1,image.nii,part.nii.gz\nS2,image.nii,long.nii.gz\n")
    with pytest.raises(TableError, match="1 problem") as caught:
        read_cohort(table)
    assert "row 3, column mask" in str(caught.value)


def test_ages_of_90_and_more_are_not_told_apart():
    assert [printed_age(age) for age in (None, 27.9, 89.99, 90.0)] == ["", "27", "89", "90+"]
    assert [age_years(text) for text in ("", "61", "90+", "104")] == [None, 61.0, 90.0, 90.0]


def test_labels_of_a_row_are_refused_if_the_study_has_several_structures(folder):
    rows = "S1,a,m.nii.gz,75 76,\nS2,b,,,\nS3,c,m.nii.gz,75,lost\n"
    table = write(folder, f"scan,image,mask,mask_label,exclude\n{rows}")
    assert read_cohort(table, structures=["femur"])["S1"].mask_labels == (75, 76)
    with pytest.raises(TableError, match="1 problem") as caught:
        read_cohort(table, structures=["L1", "L2"])
    assert "row 2, column mask_label: '75 76'; leave it empty" in str(caught.value)
    assert "several structures (L1, L2)" in str(caught.value)


def test_planned_cohort_needs_no_files(tmp_path):
    records = [{"scan": "P001", "image": "P001/dicom", "sex": "F", "age": "63"}]
    rows = planned_cohort(records, "results/phantom/cohort.csv")
    assert rows["P001"].image == "results/phantom/P001/dicom"
    (tmp_path / "P001/dicom").mkdir(parents=True)
    path = tmp_path / "cohort.csv"
    path.write_text(table_text(records))
    assert read_cohort(path)["P001"].age == rows["P001"].age == 63.0


def test_scans_may_not_repeat_one_another_in_a_circle(folder):
    table = write(folder, "scan,image,subject,repeat_of\nS1,a,P,S3\nS2,a,P,S1\nS3,a,P,S2\nS4,a,P,S1\n")
    with pytest.raises(TableError) as caught:
        read_cohort(table)
    text = str(caught.value)
    assert text.count("in a circle") == 3 and "row 5" not in text
    chain = write(folder, "scan,image,subject,repeat_of\nS1,a,P,\nS2,a,P,S1\nS3,a,P,S2\n")
    assert [row.repeat_of for row in read_cohort(chain).values()] == ["", "S1", "S2"]


def test_cells_beyond_the_header_are_not_lost_in_silence(folder):
    table = write(folder, "scan,image,site\nS1,a,Bonn, old scanner\nS2,a,Bonn,,\n")
    with pytest.raises(TableError) as caught:
        read_cohort(table)
    text = str(caught.value)
    assert "row 2, column site: '4 cells'; only the header's 3 cells are read" in text and "row 3" not in text


def test_a_repeated_scan_shows_the_same_hip(folder):
    table = write(folder, "scan,image,subject,repeat_of,side\nS1,a,P,,left\nS2,a,P,S1,right\n")
    with pytest.raises(TableError, match="row 3, column repeat_of: 'S1'; .* must show the same side"):
        read_cohort(table)


def test_a_second_reader_needs_a_first(folder):
    (folder / "second.nii.gz").write_bytes(b"")
    with pytest.raises(TableError, match="row 2, column mask2: 'second.nii.gz'; a second reader"):
        read_cohort(write(folder, "scan,image,mask2\nS1,a,second.nii.gz\n"))


PEOPLE = "scan,image,subject,side,series_uid,repeat_of,exclude\n"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("S1,a,P1,,,,\nS2,a,P2,,,,\n", "row 3, column image: 'a'; row 2 names it for subject 'P1'"),
        ("S1,a,P1,left,,,\nS2,a,P2,right,,,\n", "row 3, column image: 'a'; row 2 names it for subject 'P1'"),
        ("S1,a,,,,,\nS2,a/,,,,,\n", "row 3, column image: 'a'; row 2 names the same side of it"),
        ("S1,a,,,,,\nS2,a,P1,right,,,\n", "row 3, column image: 'a'; row 2 names it for subject 'S1'"),
        ("S1,a,P1,,1.2,,\nS2,./b/../a,P2,,1.2,,\n", "row 3, column image: 'a'; row 2"),
        ("S1,a,P1,,1.2,,\nS2,b,P2,,,,\nS3,a,P3,,,,\n", "row 4, column image: 'a'; row 2"),
        ("S1,a,P1,,,,\nS2,link,P2,,,,\n", "row 3, column image: 'link'; row 2 names it"),
        ("S1,one.nii,P1,,,,\nS2,hard.nii,P2,,,,\n", "row 3, column image: 'hard.nii'; row 2 names it"),
        ("S1,a,P1,,,,\nS2,a,P1,,,,\n", "row 3, column image: 'a'; row 2 names the same side of it"),
        ("S1,a,P1,right,1.2,,\nS2,a,P1,right,1.2,,\n", "row 2 names the same side of it"),
        ("S1,a,P1,,,,\nS2,b,P1,,,S1,\nS3,b,P1,,,,\n", "row 4, column image: 'b'; row 3 names the same side"),
    ],
)
def test_one_image_is_not_two_scans(folder, rows, words):
    (folder / "link").symlink_to("a")
    (folder / "one.nii").write_bytes(b"")
    (folder / "hard.nii").hardlink_to(folder / "one.nii")
    with pytest.raises(TableError, match="1 problem;") as caught:
        read_cohort(write(folder, PEOPLE + rows))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "rows",
    [
        "S1,a,P1,left,,,\nS2,a,P1,right,,,\n",
        "S1,a,P1,,1.2,,\nS2,a,P2,,1.3,,\n",
        "S1,a,P1,,,,\nS2,a,P1,,,S1,\nS3,a,P1,,,S2,\nS4,a,P1,,,S1,\n",
        "S1,a,P1,,,,\nS2,a,P2,,,,left out\n",
        "S1,a,P1,,,,\nS2,b,P2,,,,\n",
        "S1,a,,left,,,\nS2,a,,right,,,\n",  # two people by default; screening refuses them by their voxels
    ],
)
def test_hips_series_and_stated_repeats_of_one_image_are_taken(folder, rows):
    assert len(read_cohort(write(folder, PEOPLE + rows))) == rows.count("\n")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "S1,a,P1,m.nii.gz,\nS2,b,P2,m.nii.gz,\n",
            "row 3, column mask: 'm.nii.gz'; row 2 names it for subject 'P1'",
        ),
        ("S1,a,P1,m.nii.gz,n.nii.gz\nS2,b,P2,n.nii.gz,\n", "row 3, column mask: 'n.nii.gz'; row 2 names it"),
        ("S1,a,P1,m.nii.gz,./m.nii.gz\n", "row 2, column mask2: 'm.nii.gz'; this is the first reader's mask"),
    ],
)
def test_a_mask_is_of_one_person_and_reader(folder, rows, words):
    (folder / "n.nii.gz").write_bytes(b"")
    with pytest.raises(TableError, match="1 problem;") as caught:
        read_cohort(write(folder, "scan,image,subject,mask,mask2\n" + rows))
    assert words in str(caught.value)


def test_one_mask_may_hold_both_hips_of_a_person(folder):
    rows = "S1,a,P1,left,m.nii.gz,1\nS2,a,P1,right,m.nii.gz,2\n"
    assert len(read_cohort(write(folder, "scan,image,subject,side,mask,mask_label\n" + rows))) == 2


@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [
        ("P001", "p001", True),
        ("7", "007", True),
        ("P7", "P007", True),
        ("site2-07", "Site2-7", True),
        ("0", "00", True),
        ("P1", "P10", False),
        ("P010", "P100", False),
        ("P1-2", "P12", False),
        ("00a1", "0a01", False),
        ("P001", "P001", False),
    ],
)
def test_subjects_that_capitals_or_leading_zeros_alone_tell_apart_are_asked_about(
    folder, first, second, asked
):
    table = write(folder, f"scan,image,subject\nS1,a,{first}\nS2,b,{second}\n")
    if not asked:
        assert len(read_cohort(table)) == 2
        return
    with pytest.raises(
        TableError, match=f"1 problem.*\n.*row 3, column subject: '{second}'; row 2 has '{first}'"
    ):
        read_cohort(table)


def test_many_series_of_one_folder_are_checked_quickly(folder):
    rows = "".join(f"S{number},a,P{number},,1.{number},,\n" for number in range(5000))
    assert len(read_cohort(write(folder, PEOPLE + rows))) == 5000


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # spreadsheets that write decimals with a comma
        ("scan;image;age\nS1;a;61,5\n", "row 2, column age: '61,5'.*decimals with a point"),
        ("scan;image;crop_x_mm;crop_y_mm\nS1;a;-101,5;20\n", "'-101,5, 20'.*decimals with a point"),
        ("scan|image\nS1|a\n", r"columns found: scan\|image\. Name them in the first row, separated by comma"),
        ("# people of 2024\nscan,image\nS1,a\n", "columns found: # people of 2024. Name them in the first row"),
        # a column that would be ignored
        ("scan,image,age (years)\nS1,a,61\n", "did you mean age"),
        ("scan,image,Sex [M/F]\nS1,a,M\n", "did you mean sex"),
        ("scan,image,age_years\nS1,a,61\n", "did you mean age"),
        # an unticked box does not exclude anybody
        ("scan,image,exclude\nS1,a,FALSE\n", "column exclude: 'FALSE'; give the reason; leave it empty to keep"),
        ("scan,image,exclude\nS1,a,0\n", "column exclude: '0'; give the reason"),
        ("scan,image,exclude\nS1,a,No\n", "column exclude: 'No'; give the reason"),
        # Python reads this as a number, but no person writes it
        ("scan,image,age\nS1,a,6_1\n", "column age: '6_1'"),
        ("scan,image,crop_x_mm,crop_y_mm\nS1,a,1_0,2\n", "'1_0, 2'"),
        ("scan,image,mask,mask_label\nS1,a,m.nii.gz,1_0\n", "column mask_label: '1_0'"),
        ("scan,image,mask,mask_label\nS1,a,m.nii.gz,99999999999999999999\n", "column mask_label: '9999"),
        ("scan,image,mask,mask_label\nS1,a,m.nii.gz,1.0\n", "column mask_label: '1.0'"),
    ],
)  # fmt: skip
def test_what_spreadsheets_and_people_write_is_refused_in_words(folder, text, told):
    with pytest.raises(TableError, match=told):
        read_cohort(write(folder, text))


def test_columns_of_ones_own_with_a_unit_are_left_alone(folder):
    rows = read_cohort(write(folder, "scan,image,age,dose (mGy),scan_date,age_group\nS1,a,61,5,2024,old\n"))
    assert rows["S1"].age == 61


def test_an_empty_side_is_the_usual_one_and_none_without_sides(folder):
    table = write(folder, "scan,image,side\nS1,a,\nS2,b,right\n")
    assert [row.side for row in read_cohort(table).values()] == ["left", "right"]
    assert [row.side for row in read_cohort(table, usual_side="").values()] == ["", "right"]


LEVELS = ("L1", "L2", "L3", "L4")
TARGETS = {name: f"bmd_{name.lower()}_k2hpo4_mg_cm3" for name in LEVELS}
SPINES = "scan,image,vendor,contrast,levels_absent," + ",".join(TARGETS.values()) + "\n"


def spines(folder, text):
    return read_cohort(write(folder, text), structures=LEVELS, targets=TARGETS)


def test_densities_are_read_with_vendor_contrast_and_absent_levels(folder):
    rows = spines(
        folder,
        SPINES + "S1,a,united-imaging,yes,L2 l4,131.5,90,-12.25,400\nS2,b,,,,,,,\nS3,c,ge,no,L3;L1,1,2,3,4\n",
    )
    first, second, third = rows.values()
    assert (first.vendor, first.contrast, first.levels_absent) == ("united-imaging", "yes", ("L2", "L4"))
    assert first.targets == {"L1": 131.5, "L3": -12.25}  # an absent level neither trains nor counts
    assert (second.vendor, second.contrast, second.levels_absent, second.targets) == ("", "", (), {})
    assert third.levels_absent == ("L3", "L1") and third.targets == {"L2": 2.0, "L4": 4.0}
    # without targets no density is read
    plain = read_cohort(write(folder, SPINES + "S1,a,ge,yes,L2,131.5,x,900,\n"), structures=LEVELS)["S1"]
    assert plain.vendor == "ge" and plain.targets == {}


@pytest.mark.parametrize("cell", ["401", "-50.5", "12.5 mg", "nan", "inf", "1_0", "n/a", "<80"])
def test_a_density_that_cannot_be_one_is_refused_with_row_and_column(folder, cell):
    with pytest.raises(TableError) as caught:
        spines(folder, SPINES + f"S1,a,,,,100,{cell},100,100\n")
    line = f"row 2, column bmd_l2_k2hpo4_mg_cm3: {cell!r}; use mg/cm3, -50 to 400 (decimals with a point), or"
    assert line in str(caught.value) and "1 problem;" in str(caught.value)


def test_decimal_commas_of_a_semicolon_table_are_refused(folder):
    text = (SPINES + "S1,a,,,,131.5,90,95,100\n").replace(",", ";").replace("131.5", "131,5")
    with pytest.raises(
        TableError, match=r"row 2, column bmd_l1_k2hpo4_mg_cm3: '131,5'; use mg/cm3, -50 to 400"
    ):
        spines(folder, text)


def test_vendors_contrast_and_absent_levels_have_allowed_values(folder):
    with pytest.raises(TableError) as caught:
        spines(folder, SPINES + "S1,a,Siemens,maybe,L6 L2,1,2,3,4\n")
    text = str(caught.value)
    for line in (
        "row 2, column vendor: 'Siemens'; use siemens, ge, philips, canon, united-imaging, other, or leave it empty",
        "row 2, column contrast: 'maybe'; use yes or no, or leave it empty",
        "row 2, column levels_absent: 'L6'; use names of structures, separated by blanks: L1, L2, L3, L4",
    ):
        assert line in text


def test_a_column_without_a_scale_is_refused_with_the_allowed_endings(folder):
    text = SPINES.strip() + ",bmd_L1_mg_cm3,bmd_dxa,bmd_l1_t_score\nS1,a,,,,1,2,3,4,130,0.9,-2\n"
    with pytest.raises(TableError) as caught:
        spines(folder, text)
    assert (
        "row 1, column bmd_L1_mg_cm3: 'bmd_L1_mg_cm3'; the name does not tell the scale of the densities: call it "
        "bmd_L1_k2hpo4_mg_cm3 or bmd_L1_caha_mg_cm3, also in regression.targets" in str(caught.value)
    )
    assert "1 problem;" in str(caught.value)
    # a study without a regression ignores the column, like all that it does not know
    assert list(read_cohort(write(folder, text), structures=LEVELS)) == ["S1"]


def test_a_target_column_that_the_table_lacks_is_refused(folder):
    with pytest.raises(TableError) as caught:
        spines(folder, "scan,image,bmd_l1_k2hpo4_mg_cm3,bmd_l2,bmd_l3_caha_mg_cm3\nS1,a,100,90,110\n")
    text = str(caught.value)
    for column in ("bmd_l2_k2hpo4_mg_cm3", "bmd_l3_k2hpo4_mg_cm3", "bmd_l4_k2hpo4_mg_cm3"):
        assert (
            f"row 1, column {column}: 'no such column'; columns found: scan, image, bmd_l1_k2hpo4_mg_cm3"
            in text
        )
    assert "column bmd_l2: 'bmd_l2'; the name does not tell the scale of the densities" in text
    assert "column bmd_l1" not in text and "did you mean" not in text
    with pytest.raises(
        TableError, match=r"column bmd_L1_k2hpo4_mg_cm3: .*; did you mean bmd_l1_k2hpo4_mg_cm3\?"
    ):
        spines(folder, (SPINES + "S1,a,,,,1,2,3,4\n").replace("bmd_l1", "bmd_L1"))


def test_mask_label_stays_refused_where_several_structures_have_densities(folder):
    text = "scan,image,mask,mask_label," + ",".join(TARGETS.values()) + "\nS1,a,m.nii.gz,20,1,2,3,4\n"
    with pytest.raises(
        TableError, match=r"mask_label: '20'; leave it empty: the study has several structures \(L1"
    ):
        spines(folder, text)


def test_planned_people_have_densities_too(tmp_path):
    record = {"scan": "P1", "image": "a", "vendor": "other"} | dict.fromkeys(TARGETS.values(), "99.5")
    rows = planned_cohort([record], "results/phantom/cohort.csv", "", structures=LEVELS, targets=TARGETS)
    assert rows["P1"].targets == dict.fromkeys(LEVELS, 99.5) and rows["P1"].vendor == "other"
    assert table_text([record]).splitlines()[0].endswith(",exclude," + ",".join(TARGETS.values()))


CALIBRATED = "scan,image,phantom,calibration,calibration_scan,scanner,scan_order,exclude\n"


def test_calibrations_are_read_with_their_defaults(folder):
    rows = read_cohort(
        write(folder, CALIBRATED + "S1,a,p-1,,,room 3,2.5,\nS2,b,,asynchronous,S1,,,\nS3,c,,,,,,\n")
    )
    first, second, third = rows.values()
    assert (first.phantom, first.calibration, first.scanner, first.scan_order) == (
        "p-1",
        "phantom",
        "room 3",
        2.5,
    )
    assert (second.calibration, second.calibration_scan, second.scan_order) == ("asynchronous", "S1", None)
    assert (third.phantom, third.calibration, third.scanner) == ("", "none", "")
    # a phantom may lie in view and not be used
    rows = read_cohort(write(folder, CALIBRATED + "S1,a,p-1,none,,,,\n"))
    assert (rows["S1"].phantom, rows["S1"].calibration) == ("p-1", "none")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            "S2,b,,phantoms,,,,",
            "row 3, column calibration: 'phantoms'; use phantom, asynchronous, referenced, ",
        ),
        (
            "S2,b,,phantom,,,,",
            "row 3, column calibration: 'phantom'; name the phantom in the scan (column `phantom`)",
        ),
        ("S2,b,,asynchronous,,,,", "row 3, column calibration_scan: ''; calibration asynchronous needs it"),
        ("S2,b,,asynchronous,S9,,,", "row 3, column calibration_scan: 'S9'; name another scan of this table"),
        ("S2,b,,asynchronous,S2,,,", "row 3, column calibration_scan: 'S2'; name another scan of this table"),
        (
            "S2,b,,asynchronous,S3,,,",
            "row 3, column calibration_scan: 'S3'; row 4 is not calibrated by a phantom",
        ),
        ("S2,b,,asynchronous,S4,,,", "row 3, column calibration_scan: 'S4'; row 5 is excluded"),
        (
            "S2,b,,,S1,,,",
            "row 3, column calibration_scan: 'S1'; it is read with calibration asynchronous only",
        ),
        ("S2,b,p,,,,2026-11-29,", "row 3, column scan_order: '2026-11-29'; use a number (not a date)"),
    ],
)
def test_calibrations_that_cannot_be_made_are_refused(folder, row, told):
    text = CALIBRATED + f"S1,a,p,,,,,\n{row}\nS3,c,,,,,,\nS4,a,p,,,,,bad\n"
    with pytest.raises(TableError) as caught:
        read_cohort(write(folder, text))
    assert told in str(caught.value)


def test_the_hips_of_one_image_have_one_phantom_scanner_and_place(folder):
    header = CALIBRATED.replace("exclude", "subject,side")
    same = header + "S1,a,p,,,room 3,2,P,left\nS2,a,p,,,room 3,2.0,P,right\nS3,a,,,,,,P,\n"
    rows = read_cohort(write(folder, same.replace("S3,a", "S3,b")))
    assert [row.scan_order for row in rows.values()] == [2.0, 2.0, None]
    with pytest.raises(TableError) as caught:
        read_cohort(
            write(folder, header + "S1,a,p,,,room 3,2,P,left\nS2,a,q,,,room 4,3,P,right\nS3,b,,,,,,P,\n")
        )
    for column, came, first in (
        ("phantom", "q", "p"),
        ("scanner", "room 4", "room 3"),
        ("scan_order", "3", "2"),
    ):
        told = f"row 3, column {column}: '{came}'; row 2 names the same image with '{first}': they are one"
        assert told in str(caught.value)
    # a column that one row leaves empty contradicts nothing
    read_cohort(write(folder, header + "S1,a,p,,,room 3,2,P,left\nS2,a,p,,,,,P,right\n"))


def test_phantoms_without_a_certificate_are_refused(folder):
    table = write(folder, CALIBRATED + "S1,a,p-1,,,,,\nS2,b,p-2,,,,,\n")
    rows = read_cohort(table).values()
    require_phantoms(table, rows, ["p-1", "p-2"], "phantoms.yaml")
    with pytest.raises(TableError) as caught:
        require_phantoms(table, rows, ["p-1", "p-3"], "phantoms.yaml")
    assert "row 3, column phantom: 'p-2'; phantoms.yaml has p-1, p-3: correct the name" in str(caught.value)
    assert "row 2" not in str(caught.value)
    with pytest.raises(
        TableError, match=r"'p-1'; set calibration\.phantoms to the file with its certificate"
    ):
        require_phantoms(table, rows, [], "")


def test_a_written_table_has_columns_of_calibrations_only_if_a_record_has_them():
    record = {"scan": "S1", "image": "a"}
    assert "phantom" not in table_text([record]).splitlines()[0]
    header, row = table_text([record | {"phantom": "p-1"}]).splitlines()
    assert header.endswith(",exclude,phantom") and row.endswith(",p-1")
