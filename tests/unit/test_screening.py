"""Screening: the verdict, its basis, and the mask. The hip's place is given, so that no search is needed."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from tiny_series import IDENTITY, tiny_scan, tiny_series, write_series

from lib.catalog.reasons import (
    REASONS,
    REJECTED,
    WARNING,
    Reason,
    reasons_table,
)
from lib.crop_settings import CropConfig
from lib.errors import ConfigError, ScanError
from lib.imaging.nifti import write_image
from lib.intensity_scale import IntensityConfig
from lib.reading.dicom import read_scan
from lib.reading.geometry import require_same_geometry
from lib.reading.verdicts import raise_rejected
from lib.screening.screen_scan import (
    ScanRequest,
    Screening,
    digest_voxels,
    screen_scan,
)
from lib.screening_settings import ScreeningConfig

CONFIG = ScreeningConfig(min_slices=5, max_metal_mm3=5.0)
CROP = CropConfig(size=(4, 4))
CENTER_MM_XY = (-31.5 + 4 * 0.75, 12.25 + 4 * 0.8)  # voxel (4, 4): the window holds voxels 2 to 5
VOXEL_MM3 = 0.75 * 0.8 * 6.0


def request(**fields):
    return ScanRequest(crop_center_mm_xy=CENTER_MM_XY, **fields)


def save_mask(path, voxels_xyz, label=1, image=None):
    image = image or tiny_scan()
    mask = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    mask.CopyInformation(image)
    for voxel in voxels_xyz:
        mask[voxel] = label
    write_image(mask, path)
    return path


@pytest.fixture
def scan_path(tmp_path):
    return write_series(tiny_series(tiny_scan()), tmp_path / "doe-jane")


def codes(screening):
    return {reason.code: reason.found for reason in screening.reasons}


def test_good_scan_is_accepted_with_what_is_known_of_it(scan_path):
    content = screen_scan(scan_path, request(), CONFIG, CROP).to_json()
    assert content["verdict"] == "ok"
    assert [reason["code"] for reason in content["reasons"]] == ["coarse_slices"]
    assert content["geometry"]["size_xyz"] == [9, 8, 12]
    assert content["geometry"]["spacing_mm_xyz"] == [0.75, 0.8, 6.0]
    assert content["geometry"]["length_mm"] == 72.0
    assert content["geometry"]["direction"] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert content["acquisition"]["kernel"] == "B30s"
    assert content["location"]["center_mm_xy"] == list(CENTER_MM_XY)
    assert content["location"]["uncertain"] is False
    assert content["density_phantom_in_view"] is False
    assert content["voxels"] == digest_voxels(read_scan(scan_path).image)


def test_verdict_is_strict_json_without_identity(scan_path, tmp_path):
    mask = save_mask(tmp_path / "doe.nii.gz", [(3, 3, 3)])
    screening = screen_scan(scan_path, request(mask=mask), CONFIG, CROP)
    text = json.dumps(screening.to_json(), allow_nan=False)
    for word in (*IDENTITY, "doe", str(tmp_path)):
        assert word not in text


def test_limits_of_the_verdict_serve_conversion(scan_path):
    limits = screen_scan(scan_path, request(), CONFIG, CROP).to_json()["limits"]
    assert ScreeningConfig(**json.loads(json.dumps(limits))) == CONFIG
    assert read_scan(scan_path, config=ScreeningConfig(**limits)).image.GetSize() == (9, 8, 12)


def test_rejected_scan_has_no_hip(tmp_path):
    datasets = tiny_series(tiny_scan())
    del datasets[5]
    screening = screen_scan(write_series(datasets, tmp_path), request(), CONFIG, CROP)
    assert screening.verdict == "rejected"
    assert list(codes(screening)) == ["missing_slices"]
    assert screening.to_json()["location"] is None


def test_how_a_rejected_series_was_made_is_told(tmp_path):
    datasets = tiny_series(tiny_scan())
    del datasets[4]
    made = screen_scan(write_series(datasets, tmp_path), ScanRequest(), CONFIG, CROP).acquisition
    assert (made.manufacturer, made.kernel, made.kvp) == ("TinyScan", "B30s", 120.0)
    assert made.slice_increment_mm is None


def test_short_scan_is_rejected_with_its_length(tmp_path):
    folder = write_series(tiny_series(tiny_scan(step_mm=2.0)), tmp_path)
    found = codes(screen_scan(folder, request(), CONFIG, CROP))
    assert found == {"too_short": "24.0 mm from feet to head; 60.0 mm are needed"}


def metal_scan(path, voxels_xyz):
    image = tiny_scan()
    for voxel in voxels_xyz:
        image[voxel] = 3000
    write_image(image, path)
    return path


def test_metal_near_the_hip_is_a_warning_with_its_amount(tmp_path):
    path = metal_scan(tmp_path / "scan.nii.gz", [(2, 2, 3), (5, 5, 8)])
    screening = screen_scan(path, request(), CONFIG, CROP)
    assert screening.verdict == "ok"
    assert codes(screening)["metal"] == "0.0072 cm³ above 2500 HU near the hip; at most 0.005 cm³ is allowed"


@pytest.mark.parametrize(
    "voxels", [[(2, 2, 3)], [(1, 2, 3), (6, 5, 8), (4, 6, 8)]], ids=["little", "elsewhere"]
)
def test_little_or_distant_metal_passes(tmp_path, voxels):
    path = metal_scan(tmp_path / "scan.nii.gz", voxels)
    assert "metal" not in codes(screen_scan(path, request(), CONFIG, CROP))


def test_window_of_coarse_pixels_does_not_reach_the_other_hip(tmp_path):
    image = tiny_scan()
    image.SetSpacing((15.0, 15.0, 6.0))
    image[4, 4, 3], image[8, 4, 3] = 3000, 3000  # 60 and 120 mm from the hip
    write_image(image, tmp_path / "scan.nii.gz")
    hip = ScanRequest(crop_center_mm_xy=(-31.5, 12.25 + 4 * 15.0))
    found = codes(screen_scan(tmp_path / "scan.nii.gz", hip, CONFIG, CropConfig()))
    assert found["metal"].startswith("1.35 cm³")


@pytest.mark.parametrize(
    ("spacing_mm", "code"),
    [
        ((0.75, 0.8, 6.0), "coarse_slices"),
        ((6.0, 0.8, 6.0), "coarse_slices"),
        ((0.75, 0.8, 25.0), "implausible_spacing"),
        ((0.01, 0.8, 6.0), "implausible_spacing"),
    ],
)
def test_size_of_a_voxel_is_judged_along_every_axis(tmp_path, spacing_mm, code):
    image = tiny_scan()
    image.SetSpacing(spacing_mm)
    write_image(image, tmp_path / "scan.nii.gz")
    found = codes(screen_scan(tmp_path / "scan.nii.gz", ScanRequest(), CONFIG, CROP))
    assert found[code] == f"voxels of {'x'.join(f'{edge:g}' for edge in spacing_mm)} mm"


def test_source_that_has_changed_since_it_was_screened_is_refused(tmp_path):
    datasets = tiny_series(tiny_scan())
    screened = screen_scan(write_series(datasets, tmp_path), ScanRequest(), CONFIG, CROP).to_json()[
        "geometry"
    ]
    require_same_geometry(read_scan(tmp_path, config=CONFIG).geometry, screened)
    (tmp_path / "011.dcm").unlink()  # the last slice, so that the rest is still a whole volume
    with pytest.raises(ScanError, match="12 slices over 72 mm then, and holds 11 over 66 mm"):
        require_same_geometry(read_scan(tmp_path, config=CONFIG).geometry, screened)


def test_given_centre_outside_the_scan(scan_path):
    outside = ScanRequest(crop_center_mm_xy=(40.0, 14.0))
    screening = screen_scan(scan_path, outside, CONFIG, CROP)
    assert screening.verdict == "rejected"
    assert (
        "(40.0, 14.0) mm; the scan lies from (-31.5, 12.2) to (-25.5, 17.9)"
        in codes(screening)["crop_center_outside"]
    )


def test_scan_without_a_hip(scan_path):
    screening = screen_scan(scan_path, ScanRequest(), CONFIG, CROP)
    assert "not_in_view" in codes(screening)
    assert screening.verdict == "rejected"


def test_mask_on_another_grid(scan_path, tmp_path):
    other = tiny_scan(slices=8)
    other.SetOrigin((-31.1, 12.25, -700.5))  # half a pixel off, so that it is not a crop of the scan
    mask = save_mask(tmp_path / "mask.nii.gz", [(1, 1, 1)], image=other)
    screening = screen_scan(scan_path, request(mask=mask), CONFIG, CROP)
    assert screening.verdict == "rejected"
    assert "the mask has 9x8x8 voxels" in codes(screening)["mask_off_grid"]


def test_mask_without_the_wanted_label(scan_path, tmp_path):
    mask = save_mask(tmp_path / "mask.nii.gz", [(3, 3, 3)], label=2)
    found = codes(screen_scan(scan_path, request(mask=mask, structures={"femur": (1, 7)}), CONFIG, CROP))
    assert found["mask_empty"] == "no voxel of femur (1, 7); the mask holds the values 2"


@pytest.mark.parametrize(
    ("voxels", "values", "advice"),
    [([], "only 0", "nothing is drawn"), ([(3, 3, 3), (4, 3, 3)], "the values 2", "values in `structures`")],
    ids=["empty", "others"],
)
def test_mask_without_a_structure_of_the_study(scan_path, tmp_path, voxels, values, advice):
    mask = save_mask(tmp_path / "mask.nii.gz", voxels, label=2)
    asked = request(mask=mask, structures={"L1": (20,), "L2": (21, 22)}, anatomy="generic")
    screening = screen_scan(scan_path, asked, CONFIG, CROP)
    assert screening.verdict == "rejected" and screening.structures == ()
    assert codes(screening)["mask_empty"] == f"no voxel of L1 (20), L2 (21, 22); the mask holds {values}"
    (reason,) = [reason for reason in screening.reasons if reason.code == "mask_empty"]
    assert advice in reason.action and "mask_label" not in reason.action


def test_mask_that_lacks_a_structure_is_used_with_a_warning(scan_path, tmp_path):
    mask = save_mask(tmp_path / "mask.nii.gz", [(3, 3, 3), (4, 3, 3)], label=21)
    asked = request(mask=mask, structures={"L1": (20,), "L2": (21,), "L3": (22,)}, anatomy="generic")
    screening = screen_scan(scan_path, asked, CONFIG, CROP)
    assert screening.verdict == "ok"
    assert codes(screening)["structure_missing"] == "no voxel of L1 (20), L3 (22)"
    assert screening.structures == ("L2",) and screening.to_json()["structures"] == ["L2"]


def test_other_anatomies_are_judged_as_any_bone(scan_path, tmp_path):
    mask = save_mask(tmp_path / "mask.nii.gz", [(3, 3, 1), (3, 3, 3), (4, 3, 3)])
    femur = screen_scan(scan_path, request(mask=mask), CONFIG, CROP)
    assert "mask_implausible" in codes(femur)
    asked = request(mask=mask, structures={"patella": ()}, anatomy="generic")
    found = codes(screen_scan(scan_path, asked, CONFIG, CROP))
    assert {code: words for code, words in found.items() if code.startswith("mask")} == {
        "mask_gaps": "patella: 1 of 3 axial slices between its ends are empty",
        "mask_not_solid": "patella: 33.3% of it lies apart from its largest piece",
    }


def test_mask_that_is_missing_or_no_label_map(scan_path, tmp_path):
    found = codes(screen_scan(scan_path, request(mask=tmp_path / "absent.nii.gz"), CONFIG, CROP))
    assert "mask_unreadable" in found
    write_image(sitk.Cast(tiny_scan(), sitk.sitkFloat32) / 7, tmp_path / "mask.nii.gz")
    found = codes(screen_scan(scan_path, request(mask=tmp_path / "mask.nii.gz"), CONFIG, CROP))
    assert "mask_not_labels" in found


def test_mask_on_the_other_hip(scan_path, tmp_path):
    mask = save_mask(tmp_path / "mask.nii.gz", [(8, 3, 3), (8, 4, 3), (3, 3, 3)])
    screening = screen_scan(scan_path, request(mask=mask), CONFIG, CROP)
    assert screening.verdict == "rejected"
    assert codes(screening)["mask_elsewhere"] == "66.7% of the mask lies away from the left hip"


def test_mask_that_the_crop_cuts(scan_path, tmp_path):
    mask = save_mask(tmp_path / "mask.nii.gz", [(6, 3, 3), (5, 3, 3), (4, 3, 3), (3, 3, 3)])
    screening = screen_scan(scan_path, request(mask=mask), CONFIG, CROP)
    assert codes(screening)["mask_cut_by_crop"].startswith("25.0%")


def test_mask_and_scan_problems_are_listed_together(tmp_path):
    folder = write_series(tiny_series(tiny_scan(step_mm=2.0)), tmp_path / "scan")
    mask = save_mask(tmp_path / "mask.nii.gz", [])
    found = codes(screen_scan(folder, request(mask=mask), CONFIG, CROP))
    assert set(found) == {"too_short", "mask_off_grid"}


def test_every_reason_states_rule_and_action():
    for code, rule in REASONS.items():
        assert rule.severity in (REJECTED, WARNING), code
        assert rule.rule.endswith("."), code
        assert rule.action.endswith("."), code


def test_an_image_without_contrast_is_refused(tmp_path):
    zyx = np.full((12, 16, 24), 5, np.int16)
    zyx[2:-2, 2:-2, 2:-2] = 300
    write_image(sitk.GetImageFromArray(zyx), tmp_path / "scan.nii.gz")
    limits = ScreeningConfig(modality="MR", min_length_mm=10.0)
    asked, crop = ScanRequest(side="", anatomy="generic"), CropConfig(method="none")
    scale = IntensityConfig(scale="percentile", low=0.5, high=99.5)
    screening = screen_scan(tmp_path / "scan.nii.gz", asked, limits, crop, scale)
    assert screening.verdict == "rejected"
    assert codes(screening)["flat_image"].startswith("percentiles 0.5 and 99.5 of the body are both 300")


def test_every_code_of_an_error_is_documented():
    """Screening turns errors into reasons; masks corrected by hand are read later."""
    given = set()
    for path in (Path(__file__).parents[2] / "lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("ScanError", "Reason"):
                given |= {part.value for part in node.args[:1] if isinstance(part, ast.Constant)}
    assert len(given) > 40
    assert given - set(REASONS) == {"empty_mask"}


def test_unknown_reason_is_a_programming_error():
    with pytest.raises(ValueError, match="'typo'"):
        Reason("typo", "")


def test_refusals_are_raised_together_and_warnings_are_not():
    raise_rejected([Reason("metal", "much")])
    with pytest.raises(ScanError, match="too_short: 5 mm; wrong_modality: MR") as caught:
        raise_rejected([Reason("metal", "much"), Reason("too_short", "5 mm"), Reason("wrong_modality", "MR")])
    assert caught.value.code == "too_short"


def test_verdict_follows_from_severity():
    assert Screening(reasons=(Reason("metal", ""),), anatomy="generic", limits=CONFIG).verdict == "ok"
    assert (
        Screening(
            reasons=(Reason("metal", ""), Reason("wrong_modality", "")), anatomy="generic", limits=CONFIG
        ).verdict
        == "rejected"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_slices", 1),
        ("min_length_mm", -1.0),
        ("max_tilt_degrees", 45.0),
        ("spacing_tolerance_mm", float("nan")),
    ],
)
def test_limits_out_of_range_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"screening.{field}"):
        ScreeningConfig(**{field: value})


def test_limits_are_the_keys_of_the_configuration():
    text = (Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    assert dataclasses.asdict(ScreeningConfig()) == settings["screening"] | settings["dicom"]


def test_unknown_side_is_refused():
    with pytest.raises(ConfigError, match="left, right"):
        ScanRequest(side="both")


def test_documented_reasons_are_those_of_the_code():
    text = (Path(__file__).parents[2] / "docs/screening.md").read_text(encoding="utf-8")
    assert text.endswith(f"\n\n{reasons_table()}\n")


@pytest.mark.parametrize("code", REASONS)
def test_every_documented_reason_can_be_given(code):
    root = Path(__file__).parents[2]
    sources = [path for path in (root / "lib").rglob("*.py") if path.name != "reasons.py"]
    assert any(f'"{code}"' in path.read_text(encoding="utf-8") for path in sources)


@pytest.mark.parametrize("code", REASONS)
def test_every_documented_reason_is_tested(code):
    tests = list(Path(__file__).parent.glob("test_*.py"))
    assert any(f'"{code}"' in path.read_text(encoding="utf-8") for path in tests)


def test_voxels_are_digested_by_size_and_value_alone():
    zyx = np.arange(-60, 60, dtype=np.int16).reshape(4, 5, 6)
    arrays = zyx, zyx, zyx.copy(), zyx.reshape(4, 6, 5)
    arrays[2][2, 3, 1] += 1
    image, moved, other, turned = map(sitk.GetImageFromArray, arrays)
    moved.SetOrigin((1, 2, 3))
    moved.SetSpacing((0.5, 0.5, 3))
    digests = [digest_voxels(each) for each in (image, moved, other, turned)]
    assert digests[0] == digests[1] and len(set(digests)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)


@pytest.mark.parametrize("filling", [-1024, -1001, -3024, -32768])
def test_an_image_is_the_same_with_another_filling_outside_of_the_picture(filling):
    zyx = np.arange(-60, 60, dtype=np.int16).reshape(4, 5, 6)
    zyx[:, 0] = -1000
    filled = zyx.copy()
    filled[:, 0] = filling
    assert digest_voxels(sitk.GetImageFromArray(filled)) == digest_voxels(sitk.GetImageFromArray(zyx))
