"""Comparison of two runs: equal runs have no differences, changed runs exactly the changed values."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml

from lib.cohort.other_run import NEEDED, find_results
from lib.compare_settings import ComparisonConfig
from lib.errors import ConfigError
from lib.imaging.mask_pairs import compare_masks, mask_dice
from lib.imaging.nifti import write_image
from lib.pages.comparison_page import write_comparison
from lib.report_settings import AgreementConfig
from lib.stats.comparison import (
    SUMMARY_COLUMNS,
    Run,
    compare_runs,
    count_moved,
    differences,
    mask_files,
    pair_models,
    pair_runs,
    read_compared_run,
    summarize_comparison,
)
from lib.stats.primary import primary_rows
from lib.stats.tables import read_table, write_table

CONFIG = ComparisonConfig()
SAME = (1.0, "")


def make_run(scans=("A", "B", "C"), network="vnet", **facts):
    """A run of three people: A and B cross-validated, C a test person with two predictions."""
    rows = []
    for scan in scans:
        position = "ABC".find(scan)
        test = scan == "C"
        for members, protocol in (
            (("single", "test-single"), ("ensemble", "test")) if test else (("fold-0", "cv"),)
        ):
            key = {"group": "all", "network": network, "members": members, "protocol": protocol, "scan": scan}
            key |= {"structure": "femur"}
            numbers = {"predicted_mm3": 1000.0 + 100 * position, "otsu_threshold": 0.5}
            scores = {"reference_mm3": 1010.0 + 100 * position, "dsc": 0.98, "hd95_mm": 2.0}
            rows.append(key | {"subject": scan, "flags": ""} | numbers | scores)
    table = pd.DataFrame(rows)
    flow = pd.DataFrame(
        {
            "scan": scans,
            "subject": scans,
            "verdict": "ok",
            "set": ["test" if scan == "C" else "train" for scan in scans],
            "fold": [math.nan if scan == "C" else 0.0 for scan in scans],
            "review": "",
        }
    )
    volumes = table.drop(columns=["reference_mm3", "dsc", "hd95_mm"])
    metrics = table.drop(columns=["flags", "subject"])
    return Run(study="s", volumes=volumes, metrics=metrics, flow=flow, facts=facts)


def changed(run, table, scan, **values):
    """Return a run with other values of a scan in one of its tables."""
    frame = getattr(run, table).copy()
    for name, value in values.items():
        if isinstance(value, str):
            frame[name] = frame[name].astype(object)
        frame.loc[frame["scan"] == scan, name] = value
    return dataclasses.replace(run, **{table: frame})


def compare(here, there, masks=None, config=CONFIG):
    pairs = pair_runs(here, there)
    masks = masks or {name: [SAME] * len(pairs) for name in ("predicted_mask", "reference_mask")}
    return compare_runs(pairs, masks, config)


def moved(here, there):
    table = compare(here, there)
    return {row.scan: row.moved for row in table.itertuples() if row.moved}


def test_equal_runs_have_not_moved():
    table = compare(make_run(), make_run())
    assert table["scan"].tolist() == ["A", "B", "C"] and not table["moved"].any()
    assert table["status"].eq("both").all() and table["predicted_mm3_change"].eq(0).all()
    assert count_moved(table) == {}


def test_a_test_person_is_compared_by_the_ensemble():
    table = compare(make_run(), make_run()).set_index("scan")
    assert table.loc["C", ["protocol", "other_members"]].tolist() == ["test", "ensemble"]


@pytest.mark.parametrize(
    ("table", "values", "expected"),
    [
        ("volumes", {"predicted_mm3": 1011.0}, "predicted_mm3"),
        ("volumes", {"predicted_mm3": 1010.0}, ""),
        ("volumes", {"predicted_mm3": 0.0}, "predicted_mm3"),
        ("metrics", {"reference_mm3": 990.0}, "reference_mm3"),
        ("metrics", {"dsc": 0.974}, "dsc"),
        ("metrics", {"dsc": 0.976}, ""),
        ("metrics", {"dsc": math.nan}, "dsc"),
        ("metrics", {"hd95_mm": 3.1}, "hd95_mm"),
        ("volumes", {"otsu_threshold": 0.56}, "otsu_threshold"),
        ("volumes", {"flags": "padded empty_mask"}, "flags"),
        ("flow", {"fold": 2.0}, "fold"),
        ("flow", {"set": "test"}, "set"),
        ("flow", {"verdict": "rejected"}, "verdict"),
        ("flow", {"review": "accepted"}, "review"),
    ],
)
def test_what_was_changed_has_moved_and_nothing_else(table, values, expected):
    found = moved(changed(make_run(), table, "A", **values), make_run())
    assert found == ({"A": expected} if expected else {})


def test_a_volume_that_changes_to_zero_has_moved():
    there = changed(make_run(), "volumes", "A", predicted_mm3=0.0)
    assert moved(make_run(), there) == {"A": "predicted_mm3"}


def test_the_order_of_flags_is_not_a_change():
    one, other = (changed(make_run(), "volumes", "A", flags=flags) for flags in ("x y", "y x"))
    assert moved(one, other) == {}


def test_another_fold_model_moves_members():
    run = make_run()
    there = changed(changed(run, "volumes", "A", members="fold-1"), "metrics", "A", members="fold-1")
    assert moved(run, there) == {"A": "members"}


def test_scans_of_one_run_only_stand_first_and_have_not_moved():
    here, there = make_run(("A", "B")), make_run(("B", "C"))
    table = compare(here, there)
    assert table["scan"].tolist() == ["A", "C", "B"]
    assert table["status"].tolist() == ["only here", "only there", "both"]
    assert not table["moved"].any()


def test_a_scan_that_only_one_run_predicted():
    there = make_run()
    without = there.volumes[there.volumes["scan"] != "B"]
    table = compare(make_run(), dataclasses.replace(there, volumes=without))
    assert table.iloc[0][["scan", "moved"]].tolist() == ["B", "prediction"]
    assert len(table) == 3


def test_a_scan_that_no_run_predicted_is_compared_by_its_verdict():
    runs = [make_run(), changed(make_run(), "flow", "B", verdict="rejected")]
    runs = [dataclasses.replace(run, volumes=run.volumes[run.volumes["scan"] != "B"]) for run in runs]
    table = compare(*runs)
    assert table.iloc[0][["scan", "group", "moved"]].tolist() == ["B", "", "verdict"]


@pytest.mark.parametrize("empty", [("metrics",), ("volumes", "metrics")])
def test_runs_without_references_or_predictions_are_compared(tmp_path, empty):
    # as read from a file with only a header
    bare = make_run()
    for table in empty:
        write_table(getattr(bare, table).head(0), tmp_path / f"{table}.csv")
        bare = dataclasses.replace(bare, **{table: read_table(tmp_path / f"{table}.csv")})
    assert moved(bare, bare) == {}
    word = "prediction" if "volumes" in empty else "reference_mm3 dsc hd95_mm"
    for here, there in ((bare, make_run()), (make_run(), bare)):
        assert moved(here, there) == dict.fromkeys("ABC", word)
    summary = summarize_comparison(compare(bare, bare), AgreementConfig())
    assert set(summary["quantity"]) == (set() if "volumes" in empty else {"predicted_mm3"})


def test_networks_with_other_names_are_compared_in_their_order():
    assert pair_models(["vnet", "new"], ["old", "vnet"]) == {"vnet": "vnet", "old": "new"}
    assert pair_models(["vnet"], ["vnet", "old"]) == {"vnet": "vnet", "old": "old"}
    table = compare(make_run(network="new"), make_run(network="old"))
    assert table[["network", "other_network"]].drop_duplicates().to_numpy().tolist() == [["new", "old"]]
    assert not table["moved"].any()


def test_an_older_run_has_no_reviews():
    there = make_run()
    there = dataclasses.replace(there, flow=there.flow.drop(columns="review"))
    assert moved(make_run(), there) == {}


def test_masks_that_differ_have_moved_although_volumes_agree():
    masks = {
        "predicted_mask": [(0.98, ""), SAME, SAME],
        "reference_mask": [SAME, (None, "other grids"), SAME],
    }
    table = compare(make_run(), make_run(), masks).set_index("scan")
    assert table["moved"].to_dict() == {"A": "predicted_mask", "B": "", "C": ""}
    assert math.isnan(table.loc["B", "reference_mask_dsc"])
    assert table.loc["B", "reference_mask_undefined"] == "other grids"


def test_the_summary_is_the_agreement_of_both_runs():
    here = make_run()
    here = dataclasses.replace(
        here, volumes=here.volumes.assign(predicted_mm3=here.volumes["predicted_mm3"] + 20)
    )
    summary = summarize_comparison(compare(here, make_run()), AgreementConfig())
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    row = summary[(summary["protocol"] == "cv") & (summary["quantity"] == "predicted_mm3")].iloc[0]
    assert (row["n"], row["bias_mm3"], row["moved"]) == (2, 20.0, 2)
    assert row["largest_change_percent"] == pytest.approx(2.0)
    # Lin 1989 by hand: x = 1000, 1100; y = x + 20; population variance 2500
    assert row["ccc"] == pytest.approx(2 * 2500 / (2500 + 2500 + 20**2))
    assert set(summary["protocol"]) == {"cv", "test"}


def test_differences_of_settings_versions_and_models():
    here = make_run(settings={"mask.low": 0.2, "seed": 1}, models={"all/vnet: code": "a"}, code={})
    there = make_run(settings={"mask.low": 0.3, "seed": 1}, models={"all/vnet: code": "a"})
    assert differences(here, there) == [
        {"kind": "settings", "name": "mask.low", "here": 0.2, "there": 0.3},
        {"kind": "code", "name": "all", "here": "recorded", "there": "not recorded"},
    ]
    assert differences(here, here) == []


def test_a_run_is_read_from_its_folder(tmp_path):
    run = make_run()
    for name in ("volumes", "metrics", "flow"):
        (tmp_path / "tables").mkdir(exist_ok=True)
        write_table(getattr(run, name), tmp_path / f"tables/{name}.csv")
    (tmp_path / "study.json").write_text('{"study": "hips"}')
    for fold, updates in ((0, 5), (1, 7)):
        folder = tmp_path / f"models/all/vnet/fold-{fold}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"code": "c", "updates": updates}))
    read = read_compared_run(tmp_path)
    assert read.study == "hips" and moved(read, run) == {}
    assert read.facts["models"]["all/vnet: code"] == "c"
    assert read.facts["models"]["all/vnet: updates"] == "5, 7"
    assert len(read.facts["models"]["all/vnet: trainings"].split(", ")) == 2


def test_primary_predictions_follow_cohort_network_and_protocol():
    rows = [("female", "a", "test"), ("all", "b", "test"), ("all", "a", "test-single"), ("all", "a", "cv")]
    table = pd.DataFrame(rows, columns=["group", "network", "protocol"]).assign(scan="S", structure="femur")
    assert primary_rows(table, ["a", "b"])["protocol"].tolist() == ["cv"]
    assert primary_rows(table, ["b"])["network"].tolist() == ["b"]
    assert len(primary_rows(table, ["a"], per=("scan", "group", "network"))) == 3


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ComparisonConfig)])
def test_tolerances_are_those_of_the_configuration_and_not_negative(name):
    with open("config.yaml", encoding="utf-8") as file:
        assert yaml.safe_load(file)["compare"][name] == getattr(CONFIG, name)
    with pytest.raises(ConfigError, match=f"compare.{name}"):
        ComparisonConfig(**{name: -0.1})


def write_mask(path, voxels, spacing=(1.0, 1.0, 3.0)):
    mask_zyx = np.zeros((4, 5, 6), np.uint8)
    mask_zyx.flat[:voxels] = 1
    image = sitk.GetImageFromArray(mask_zyx)
    image.SetSpacing(spacing)
    write_image(image, path)
    return str(path)


def test_dice_of_two_files(tmp_path):
    one, other = write_mask(tmp_path / "a.nii.gz", 30), write_mask(tmp_path / "b.nii.gz", 10)
    assert mask_dice(one, one) == (1.0, "")
    assert mask_dice(one, other) == (0.5, "")


def test_why_there_is_no_dice(tmp_path):
    one, empty = write_mask(tmp_path / "a.nii.gz", 30), write_mask(tmp_path / "e.nii.gz", 0)
    finer = write_mask(tmp_path / "f.nii.gz", 30, (1.0, 1.0, 2.0))
    damaged = tmp_path / "d.nii.gz"
    damaged.write_bytes(b"x")
    assert mask_dice(one, finer) == (None, "the masks lie on different grids")
    assert mask_dice(empty, empty) == (None, "both masks are empty")
    assert mask_dice(one, damaged) == (None, "a mask file is damaged")
    assert mask_dice(one, tmp_path / "none") == (None, "only one run has a mask")
    assert mask_dice(tmp_path / "none", tmp_path / "none") == (None, "no mask in either run")
    assert mask_dice(one, empty) == (0.0, "")


def test_another_grid_is_tried_in_the_order_given(tmp_path):
    one, finer = write_mask(tmp_path / "a.nii.gz", 30), write_mask(tmp_path / "f.nii.gz", 30, (1.0, 1.0, 2.0))
    half = write_mask(tmp_path / "h.nii.gz", 10)
    masks = [[(one, finer), (one, half)], [(one, one), (one, half)], [(one, finer)]]
    for workers in (1, 3):
        assert [dice for dice, _ in compare_masks(masks, workers)] == [0.5, 1.0, None]


def test_mask_files_are_those_of_both_runs():
    table = pair_runs(make_run(("A",), network="new"), make_run(("A",), network="old"))
    files = mask_files(table, "results", "/there")
    assert files["predicted_mask"][0][0] == (
        "results/masks/all/new/fold-0/A/labels.nii.gz",
        "/there/masks/all/old/fold-0/A/labels.nii.gz",
    )
    assert files["reference_mask"] == [
        [("results/cropped/A/labels.nii.gz", "/there/cropped/A/labels.nii.gz")]
    ]


def test_the_other_run_is_found_by_its_study_or_its_results(tmp_path):
    results = tmp_path / "study/results"
    for name in NEEDED:
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(",".join(NEEDED[name]) + ",later\n")
    own = tmp_path / "results"
    own.mkdir()
    assert find_results(str(tmp_path / "study"), own) == find_results(str(results), own) == str(results)
    with pytest.raises(ConfigError, match="is this study itself"):
        find_results(str(tmp_path), own)
    with pytest.raises(ConfigError, match="there is no folder"):
        find_results(str(tmp_path / "none"), own)
    (results / "tables/volumes.csv").write_text(
        "scan,structure,group,network,members,protocol,predicted_mm3\n"
    )
    with pytest.raises(ConfigError, match=r"lack columns \(tables/volumes.csv: otsu_threshold, flags\)"):
        find_results(str(results), own)
    (results / "tables/volumes.csv").unlink()
    with pytest.raises(ConfigError, match=r"holds no tables/volumes.csv; run it to its end"):
        find_results(str(results), own)


def test_a_comparison_works_with_only_the_needed_columns(tmp_path):
    whole = make_run()
    tables = {
        name: getattr(whole, Path(name).stem)[[*columns]].assign(later=1) for name, columns in NEEDED.items()
    }
    least = dataclasses.replace(whole, **{Path(name).stem: table for name, table in tables.items()})
    assert "Nothing moved beyond" in page_of(tmp_path, least, least)


def page_of(tmp_path, here, there):
    table = compare(here, there)
    summary = summarize_comparison(table, AgreementConfig())
    write_comparison((here, there), table, summary, CONFIG, tmp_path / "index.html")
    return (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_page_counts_and_lists_what_moved(tmp_path):
    page = page_of(tmp_path, changed(make_run(), "volumes", "B", predicted_mm3=1200.0), make_run())
    assert "3 scans in both, 1 moved" in page and "1.100 → 1.200" in page and "9.09 %" in page
    assert "Nothing moved" not in page
    assert "all, vnet, Cross-validation" in page
    assert "Nothing moved beyond the tolerances" in page_of(tmp_path, make_run(), make_run())


def test_the_page_escapes_every_text_and_loads_nothing(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    here = changed(make_run(settings={"study": evil}), "flow", "A", review=evil)
    here = dataclasses.replace(changed(here, "volumes", "B", flags=evil), study=evil)
    page = page_of(tmp_path, here, make_run(("B", "C", evil), settings={"study": ""}))
    assert "<img" not in page and page.count("&lt;img") >= 4
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page) and "<script" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_distances_that_the_grid_decides_are_marked(tmp_path):
    here, there = make_run(), changed(make_run(), "metrics", "A", hd95_mm=9.0)
    assert "<small>within a voxel</small>" not in page_of(
        tmp_path, here, there
    )  # an older run has no spacing
    grid = {"spacing_x_mm": 0.8, "spacing_y_mm": 0.8, "spacing_z_mm": 3.0}
    here = dataclasses.replace(here, metrics=here.metrics.assign(**grid))
    assert page_of(tmp_path, here, there).count("<small>within a voxel</small>") == 1
    fine = here.metrics.assign(**dict.fromkeys(grid, 0.1))
    coarse = dataclasses.replace(here, metrics=fine)
    assert "<small>within a voxel</small>" not in page_of(tmp_path, coarse, there)
