"""The data dictionary: columns of a study, explained by the sentences of the documentation."""

import pytest

from lib.errors import ConfigError
from lib.stats.data_dictionary import TYPES, column_type, column_unit, data_dictionary, read_sentences

SENTENCES = read_sentences()


def entries(table, *columns, structures=("femur",), added=()):
    made = data_dictionary({table: columns}, structures, added, SENTENCES)
    return made[made["column"] != ""].set_index("column")


def test_a_table_is_told_before_its_columns():
    made = data_dictionary({"tables/volumes.csv": ["scan", "predicted_mm3"]}, ["femur"], (), SENTENCES)
    assert list(made["column"]) == ["", "scan", "predicted_mm3"] and made["meaning"][0].startswith(
        "One row for each"
    )


@pytest.mark.parametrize(
    ("table", "column", "kind", "unit"),
    [
        ("volumes", "predicted_mm3", "number", "mm3"),
        ("volumes", "age", "text", "years"),
        ("people", "age", "integer", "years"),
        ("people", "age_90_or_older", "yes/no", ""),
        ("agreement", "mae_ci_low", "number", "see unit"),
        ("agreement", "re_mean_percent_ci_high", "number", "%"),
        ("scores", "mean_fold_ci_low", "number", "see measure"),
        ("calibration", "slope_hu_per_mg_cm3", "number", "HU per mg/cm3"),
        ("calibration", "found", "text", ""),
        ("levels_found", "found", "yes/no", ""),
        ("metrics", "dsc", "number", ""),
        ("metrics", "true_positive_voxels", "integer", "voxels"),
        ("ages", "hd95_mm_scans", "integer", ""),
    ],
)
def test_type_and_unit(table, column, kind, unit):
    where = (f"tables/{table}.csv", column, SENTENCES)
    assert (column_type(*where), column_unit(*where)) == (kind, unit) and kind in TYPES


def test_wide_columns_name_structure_region_compartment_and_scale():
    found = entries(
        "tables/people.csv", "L1_x_whole_volume_mm3", "L1_x_total_hip_trabecular_vbmd_caha_mg_cm3",
        "L1_x_total_hip_bmc_caha_referenced_mg", structures=["L1", "L1-x"],
    )  # fmt: skip
    first, density, content = found.to_dict("records")
    assert first["meaning"] == "L1 x: Volume of the structure." and first["unit"] == "mm3"
    assert (
        density["meaning"].startswith("L1 x, total hip, trabecular: ")
        and "on the scale caha." in density["meaning"]
    )
    assert density["unit"] == "mg/cm3"
    assert content["meaning"].startswith("L1 x, total hip, integral: ") and content["unit"] == "mg"


def test_densities_of_the_other_scale_are_explained_too():
    one, other = entries("tables/bmd.csv", "predicted_k2hpo4_mg_cm3", "predicted_caha_mg_cm3")["meaning"]
    assert one == other


def test_a_column_that_the_study_carries_along_is_told_and_any_other_refused():
    assert "carried along" in entries("cohort/scans.csv", "centre", added=["centre"])["meaning"].iloc[0]
    with pytest.raises(ConfigError, match=r"does not explain column centre of cohort/scans\.csv"):
        entries("cohort/scans.csv", "centre")
    with pytest.raises(ConfigError, match=r"does not explain the table tables/new\.csv"):
        entries("tables/new.csv", "scan")


def test_marks_of_the_documentation_are_left_out():
    meanings = " ".join(data_dictionary({"tables/people.csv": ["members"]}, (), (), SENTENCES)["meaning"])
    assert "`" not in meanings and "](" not in meanings


def test_a_type_that_does_not_exist_is_refused(tmp_path):
    path = tmp_path / "columns.yaml"
    path.write_text("types: {float: [n]}\ncolumns: {}\ntables: {}\n")
    with pytest.raises(ConfigError, match="got float"):
        read_sentences(path)
    with pytest.raises(ConfigError, match=r"docs/none\.yaml is missing"):
        read_sentences(tmp_path / "none.yaml")
