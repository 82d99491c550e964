"""The golden comparison finds every undeclared change, and reports how far kept numbers moved."""

import gzip
import json
import math
import shutil
import subprocess
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
import yaml

from tests.golden.__main__ import WORKING_TREE, copy_tree, git
from tests.golden.compare import Comparison
from tests.golden.expected import Entry, Expected, read_expected
from tests.golden.numbers import EXPECTED, TOLERANCES, Number, moved
from tests.golden.study import spell
from tests.study import ROOT, read_rows, write_rows

IMAGE = "resampled/P001/image.nii.gz"
MODEL = "models/all/vnet/fold-0/model.pt"
RECORD = "volumes/all/P001.json"
TABLE = "tables/metrics.csv"
ROWS = [
    {"cohort": "all", "scan": "P001", "dsc": "0.9", "undefined": "the mask ends above the base"},
    {"cohort": "all", "scan": "P002", "dsc": "-0.0", "undefined": ""},
]


@pytest.fixture
def sides(tmp_path):
    """Return two results folders of the same content."""
    old, new = tmp_path / "old", tmp_path / "new"
    for file in (IMAGE, MODEL, RECORD, TABLE):
        (old / file).parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([2, 2, 3, 1]))
    nibabel.save(image, old / IMAGE)
    torch.save({"last": {"conv.weight": torch.arange(4.0), "n": torch.tensor(3)}, "seed": 1}, old / MODEL)
    (old / RECORD).write_text(json.dumps({"volume_mm3": 12.5, "undefined": {"a": "no"}, "flags": ["x"]}))
    write_rows(old / TABLE, ROWS)
    shutil.copytree(old, new)
    return old, new


def compared(sides, **declared):
    comparison = Comparison(Expected(**declared))
    comparison.folders(*sides, "study")
    return comparison


def differences(sides, **declared):
    comparison = compared(sides, **declared)
    assert comparison.equal() == (not comparison.differences)
    return {file: " | ".join(found) for file, found in comparison.differences.items()}


def change_image(sides, change=lambda voxels: voxels, file=IMAGE, **header):
    image = nibabel.load(sides[1] / file)
    voxels = np.asanyarray(image.dataobj).copy()
    change(voxels)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(nibabel.Nifti1Image(voxels, None, image.header), sides[1] / file)


def change_rows(sides, change):
    rows = read_rows(sides[1] / TABLE)
    write_rows(sides[1] / TABLE, change(rows) or rows)


def change_record(sides, **changes):
    record = json.loads((sides[1] / RECORD).read_text())
    (sides[1] / RECORD).write_text(json.dumps(record | changes))


def renamed(rows, old, new):
    return [{(new if name == old else name): cell for name, cell in row.items()} for row in rows]


def test_a_level_of_keys_that_is_declared_is_stepped_over(sides):
    record = json.loads((sides[1] / RECORD).read_text())
    (sides[1] / RECORD).write_text(json.dumps({"femur": record}))
    assert "femur is new" in differences(sides)[f"study/{RECORD}"]
    levels = [Entry(new="femur", within="volumes/*")]
    assert differences(sides, levels=levels) == {}
    (sides[1] / RECORD).write_text(json.dumps({"femur": record | {"volume_mm3": 12.6}}))
    assert "volume_mm3: 12.5 -> 12.6" in differences(sides, levels=levels)[f"study/{RECORD}"]
    assert (
        "femur is new" in differences(sides, levels=[Entry(new="femur", within="masks/*")])[f"study/{RECORD}"]
    )


def test_equal_folders_are_equal_and_counted(sides):
    comparison = compared(sides)
    assert comparison.equal() and "EQUAL, bit for bit" in comparison.report()
    assert comparison.counts == {"files": 4, "voxels": 24, "tensors": 2, "values": 4, "cells": 8}
    # compressed again, at another time: the same voxels
    (sides[1] / IMAGE).write_bytes(
        gzip.compress(gzip.decompress((sides[0] / IMAGE).read_bytes()), 1, mtime=1)
    )
    assert compared(sides).equal()


def test_a_comparison_of_nothing_is_not_equal(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    comparison = compared((tmp_path / "old", tmp_path / "new"))
    assert not comparison.equal() and "no tensors, voxels, cells, values" in comparison.report()


def test_a_bit_of_a_weight_is_found(sides):
    model = torch.load(sides[1] / MODEL, weights_only=True)
    weight = model["last"]["conv.weight"]
    weight.view(torch.int32)[2] ^= 1
    torch.save(model, sides[1] / MODEL)
    assert "last.conv.weight: 1 of 4 differ; the first at (2,)" in differences(sides)[f"study/{MODEL}"]
    weight.view(torch.int32)[2] ^= 1
    weight[0] = -0.0  # equal to 0 as a number
    torch.save(model, sides[1] / MODEL)
    assert "first at (0,): 0.0 -> -0.0" in differences(sides)[f"study/{MODEL}"]


def test_another_kind_or_shape_of_weight_is_found(sides):
    model = torch.load(sides[1] / MODEL, weights_only=True)
    for changed, told in ((torch.arange(4.0).double(), "float64"), (torch.arange(4.0)[None], "(1, 4)")):
        model["last"]["conv.weight"] = changed
        torch.save(model, sides[1] / MODEL)
        assert told in differences(sides)[f"study/{MODEL}"]


def test_a_voxel_is_found(sides):
    change_image(sides, lambda voxels: np.put(voxels, 13, voxels.flat[13] ^ 1))
    assert differences(sides) == {f"study/{IMAGE}": "voxel: 1 of 24 differ; the first at (1, 0, 1): 13 -> 12"}


def test_another_grid_is_found(sides):
    change_image(sides, srow_x=[2, 0, 0, 0.5])
    assert "header srow_x" in differences(sides)[f"study/{IMAGE}"]


def test_a_cell_is_found_and_named_by_row_and_column(sides):
    change_rows(sides, lambda rows: rows[1].update(dsc="0.0"))
    assert differences(sides) == {f"study/{TABLE}": "row 2 (all, P002, 0.0), column dsc: '-0.0' -> '0.0'"}


def test_rows_with_a_declared_text_may_be_new_anywhere(sides):
    entry = Entry(new="P001b", within=TABLE, at="scan")
    change_rows(sides, lambda rows: [rows[0], rows[0] | {"scan": "P001b", "dsc": "0.5"}, rows[1]])
    assert "2 -> 3 rows" in differences(sides)[f"study/{TABLE}"]
    assert differences(sides, rows=[entry]) == {}
    # the other rows are still compared, and a text that the older side has is not new
    change_rows(sides, lambda rows: rows[2].update(dsc="0.1"))
    assert "row 2" in differences(sides, rows=[entry])[f"study/{TABLE}"]
    shutil.copy(sides[1] / TABLE, sides[0] / TABLE)
    assert differences(sides, rows=[entry]) == {}


def test_rows_columns_and_their_order_are_found(sides):
    change_rows(sides, lambda rows: rows[:1])
    assert "2 -> 1 rows" in differences(sides)[f"study/{TABLE}"]
    change_rows(sides, lambda rows: [dict(reversed(row.items())) for row in ROWS])
    assert "another order" in differences(sides)[f"study/{TABLE}"]
    change_rows(sides, lambda rows: [row | {"extra": "1"} for row in ROWS])
    assert differences(sides) == {f"study/{TABLE}": "column extra is new, and not declared"}
    change_rows(sides, lambda rows: [{"cohort": row["cohort"], "scan": row["scan"]} for row in ROWS])
    assert "column dsc is missing" in differences(sides)[f"study/{TABLE}"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"volume_mm3": 12.500000000000002}, "volume_mm3: 12.5 -> 12.500000000000002"),
        ({"volume_mm3": "12.5"}, "volume_mm3: 12.5 -> '12.5'"),
        ({"flags": ["x", "y"]}, "flags: 1 -> 2 entries"),
        ({"flags": []}, "flags: 1 -> 0 entries"),
        ({"undefined": {"b": "no"}}, "key undefined.b is new, and not declared"),
        ({"undefined": None}, "undefined: {'a': 'no'} -> None"),
    ],
)
def test_a_value_is_found(sides, changes, told):
    change_record(sides, **changes)
    assert told in differences(sides)[f"study/{RECORD}"]


def test_missing_and_new_files_are_found(sides):
    (sides[1] / IMAGE).unlink()
    (sides[1] / "tables/more.csv").write_text("a\n1\n")
    found = compared(sides).differences
    assert found == {
        f"study/{IMAGE}": ["is missing on the new side"],
        "study/tables/more.csv": ["is new, and not declared"],
    }


def test_a_file_of_an_unknown_kind_is_compared_byte_for_byte(sides):
    for side, text in zip(sides, ("one", "two"), strict=True):
        (side / "notes.txt").write_text(text)
    assert "bytes differ" in differences(sides)["study/notes.txt"]


def test_declared_renames_pass(sides):
    change_rows(sides, lambda rows: renamed(rows, "cohort", "group"))
    change_rows(sides, lambda rows: rows[0].update(undefined="the mask ends above the foot"))
    change_record(sides, undefined={"b": "no"})
    (sides[1] / IMAGE).rename(sides[1] / "resampled/P001/ct.nii.gz")
    declared = {
        "files": [Entry(old=r"/image\.nii\.gz$", new="/ct.nii.gz")],
        "names": [Entry(old="cohort", new="group"), Entry(old="a", new="b", within="volumes/*")],
        "words": [Entry(old="the base", new="the foot", at="undefined")],
    }
    assert len(differences(sides)) == 4
    comparison = compared(sides, **declared)
    assert comparison.equal(), comparison.report()
    assert "nowhere met" not in comparison.report()
    # the content of a renamed column, key or file is still compared
    change_rows(sides, lambda rows: rows[0].update(group="alle"))
    change_record(sides, undefined={"b": "maybe"})
    change_image(sides, lambda voxels: voxels.fill(7), file="resampled/P001/ct.nii.gz")
    files = (TABLE, RECORD, "resampled/P001/ct.nii.gz")
    assert differences(sides, **declared).keys() == {f"study/{file}" for file in files}


def test_files_that_became_parts_of_a_file_are_compared_with_them(sides):
    record = json.loads((sides[1] / RECORD).read_text())
    (sides[1] / RECORD).unlink()
    (sides[1] / "measured/all").mkdir(parents=True)
    declared = {"files": [Entry(old="^volumes/(.*)$", new=r"measured/\1#volume")]}

    def found(**parts):
        (sides[1] / "measured/all/P001.json").write_text(json.dumps(parts))
        return differences(sides, **declared)

    assert found(volume=record) == {}
    assert found(volume=record | {"volume_mm3": 12.6}) == {
        "study/measured/all/P001.json#volume": "volume_mm3: 12.5 -> 12.6"
    }
    assert found(volume=record, more={}) == {"study/measured/all/P001.json#more": "is new, and not declared"}
    assert found(volumes=record) == {
        "study/measured/all/P001.json#volume": "is missing on the new side",
        "study/measured/all/P001.json#volumes": "is new, and not declared",
    }


def test_new_and_gone_things_pass_where_they_are_declared(sides):
    change_rows(sides, lambda rows: [{"structure": "femur"} | row for row in rows])
    (sides[1] / "tables/more.csv").write_text("a\n1\n")
    (sides[1] / RECORD).unlink()
    declared = {
        "files": [Entry(new="^tables/more.csv$"), Entry(old="^volumes/")],
        "names": [Entry(new="structure", within="tables/*")],
    }
    comparison = compared(sides, **declared)
    assert not comparison.differences
    declared["names"] = [Entry(new="structure", within="figures/*")]
    assert list(differences(sides, **declared)) == [f"study/{TABLE}"]


def test_a_declared_rename_that_does_not_occur_is_told(sides):
    entries = [Entry(old="cohort", new="group"), Entry(old="model", new="network")]
    change_rows(sides, lambda rows: renamed(rows, "cohort", "group"))
    comparison = compared(sides, names=entries)
    assert comparison.equal()
    assert "Declared, but nowhere met: model -> network" in comparison.report()


def test_a_column_that_both_sides_have_is_not_renamed(sides):
    """`model` is the scanner's model in one table and the network in another."""
    for side in sides:
        write_rows(side / TABLE, [{"model": "Sensation", "network": "vnet"}])
        write_rows(side / "tables/acquisition.csv", [{"model": "Sensation"}])
    entries = [Entry(old="model", new="network"), Entry(old="network", new="architecture")]
    assert compared(sides, names=entries).equal()
    write_rows(sides[1] / "tables/acquisition.csv", [{"network": "Sensation"}])
    write_rows(sides[1] / TABLE, [{"network": "Sensation", "architecture": "vnet"}])
    assert compared(sides, names=entries).equal()
    write_rows(sides[1] / TABLE, [{"network": "vnet", "architecture": "Sensation"}])
    assert list(differences(sides, names=entries)) == [f"study/{TABLE}"]


def test_what_is_left_out_is_counted_with_its_reason(sides):
    change_record(sides, volume_mm3=1.0)
    left_out = {"left_out_names": [Entry(within="volumes/*", at="volume_mm3", why="seconds")]}
    comparison = compared(sides, **left_out)
    assert comparison.equal() and "1  volumes/* at volume_mm3: seconds" in comparison.report()
    comparison = compared(sides, left_out_files=[Entry(within="volumes/*", why="seconds")])
    assert not comparison.differences and "2  volumes/*: seconds" in comparison.report()


@pytest.mark.parametrize("entry", [("0.9", "0.8"), ("0.9", "well"), ("1e3", ""), ("", "text")])
def test_numbers_cannot_be_declared_as_words(entry):
    with pytest.raises(ValueError, match="never expected"):
        Expected(words=[Entry(old=entry[0], new=entry[1])])


def test_what_is_left_out_needs_a_reason(tmp_path):
    with pytest.raises(ValueError, match="say why"):
        Expected(left_out_files=[Entry(within="tables/*")])
    assert all(entry.why for entry in read_expected().left_out())


def test_each_tree_gets_the_study_in_its_own_words(tmp_path):
    assert spell(ROOT)["study"] == "golden"
    for file in ("config.yaml", "schemas/config.schema.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    schema = yaml.safe_load((tmp_path / "schemas/config.schema.yaml").read_text())
    schema["properties"]["seed"]["type"] = "string"
    (tmp_path / "schemas/config.schema.yaml").write_text(yaml.safe_dump(schema))
    with pytest.raises(Exception, match="accept no spelling"):
        spell(tmp_path)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository: git knows no commits")
def test_a_side_is_a_copy_outside_of_git(tmp_path):
    worktrees = git("worktree", "list")
    copy_tree("HEAD", tmp_path / "old")
    copy_tree(WORKING_TREE, tmp_path / "new")
    assert (tmp_path / "old/Snakefile").read_text() == git("show", "HEAD:Snakefile") + "\n"
    assert (tmp_path / "new/tests/unit/test_golden.py").read_bytes() == (
        ROOT / "tests/unit/test_golden.py"
    ).read_bytes()
    assert not (tmp_path / "new/.venv").exists() and git("worktree", "list") == worktrees
    with pytest.raises(subprocess.CalledProcessError):
        copy_tree("no-such-commit", tmp_path / "other")


def kept_numbers():
    rows = read_rows(EXPECTED)
    return [Number(what=row["what"], measure=row["measure"], value=float(row["value"])) for row in rows]


def test_kept_numbers_have_not_moved_from_themselves():
    assert kept_numbers() and moved(kept_numbers()) == []


@pytest.mark.parametrize("measure", TOLERANCES)
def test_a_number_that_moves_is_told_with_how_far(measure):
    numbers = kept_numbers()
    place = next(place for place, number in enumerate(numbers) if number.measure == measure)
    number, allowed = numbers[place], TOLERANCES[measure]
    numbers[place] = replace(number, value=number.value + 0.9 * allowed)
    assert moved(numbers) == []
    numbers[place] = replace(number, value=number.value + 1.1 * allowed + 1e-6)
    (told,) = moved(numbers)
    assert told.startswith(f"{number.what} {measure}: ") and "moved by +" in told
    numbers[place] = replace(number, value=math.nan)
    assert len(moved(numbers)) == 1


def test_a_number_that_goes_or_comes_is_told():
    first, *others = kept_numbers()
    assert moved(others) == [f"{first.what} {first.measure}: kept, but the study has no such number"]
    new = replace(first, what="converted/N001")
    assert moved([first, *others, new]) == [
        f"converted/N001 {first.measure}: the study has it, but it is not kept"
    ]


def test_further_rows_of_a_table_are_declared_and_may_not_replace_any(sides):
    change_rows(sides, lambda rows: rows.append(rows[-1]))
    assert "rows" in str(differences(sides)[f"study/{TABLE}"])
    declared = [Entry(within=TABLE)]
    assert differences(sides, rows=declared) == {}
    change_rows(sides, lambda rows: rows[2:])
    assert "rows" in str(differences(sides, rows=declared)[f"study/{TABLE}"])
