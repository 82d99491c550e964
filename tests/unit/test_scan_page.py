"""The page of a scan: outlines on slices, planes, numbers with reasons, escaped text, links that exist."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from lib.calibrated import Calibration
from lib.catalog.bone_parts import TABLE_REGIONS
from lib.catalog.level_flags import is_usable
from lib.catalog.measures import MEASURES, SECTIONS
from lib.catalog.scales import OF_SYNTHETIC_PEOPLE
from lib.classes_settings import ClassesConfig
from lib.errors import ScanError
from lib.figures.contours import Sight, find_sight, grey_levels, named_masks
from lib.figures.orthogonal_views import choose_point, draw_planes
from lib.figures.palette import BONE, PREDICTED, REFERENCE, css, structure_color
from lib.figures.slices import (
    MOST_TILE_PX,
    UNITS_PER_PIXEL,
    draw_sheet,
    middle_slice,
    sheet_columns,
    slice_areas,
    slice_dice,
    slice_paths,
)
from lib.pages.level_tables import level_rows
from lib.pages.read_densities import scan_density_section
from lib.pages.scan_history import decision_history
from lib.pages.scan_numbers import (
    ShownPrediction,
    flag_rows,
    number_groups,
    reason_notes,
    shown_predictions,
)
from lib.pages.scan_page import ScanPage, build_scan_context, draw_turn, viewer_data, write_scan_page
from lib.pages.wording import told_flags
from lib.stats.density_plan import DensityPlan
from lib.stats.density_rows import DensityInputs
from lib.stats.formats import WITHIN_VOXEL_MEANING
from lib.stats.scan_densities import ScanDensities, scan_densities
from lib.stats.tables import METRIC_COLUMNS, VOLUME_COLUMNS

SPACING = (3.0, 0.8, 0.8)
WINDOW = (-250.0, 1000.0)
SIGHT = Sight(start_yx=(0, 0), edge=96)
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
SETTINGS = {
    "anatomy": "proximal-femur",
    "screening": {"modality": "CT"},
    "resample": {"method": "fourier"},
    "report": {"confidence": 0.975},
    "measure": {"distal_cut_mm": 20.0},
    "predict": {"review_member_dice": 0.9, "spacing_factor": 1.25},
}


def disc(center=(48, 60), radius=18.0, depth=12, size=96, top=10):
    z, y, x = np.mgrid[:depth, :size, :size]
    return ((y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2) & (z < top)


def points_of(path):
    """Return the closed polygons of SVG path data in the units of the data."""
    polygons = []
    for x, y, steps in re.findall(r"M(-?\d+) (-?\d+)l([^z]*)z", path):
        moves = np.array(re.findall(r"-?\d+", steps), int).reshape(-1, 2)
        polygons.append(np.vstack([[int(x), int(y)], [int(x), int(y)] + np.cumsum(moves, axis=0)]))
    return polygons


def polygon_area(points):
    x, y = points.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def plan(members="fold-0", protocol="cv"):
    return {
        "scan": "P001", "group": "all", "network": "vnet", "members": members,
        "protocol": protocol, "weights": "last",
    }  # fmt: skip


def prediction(mask=None, **changes):
    mask = disc() if mask is None else mask
    volume = {"predicted_mm3": 1234.5, "flags": [], "undefined": {}, "truncated_distally": True}
    overlap = {"dsc": 0.9876, "hd95_mm": None, "undefined": {"hd95_mm": "the predicted mask is empty"}}
    return ShownPrediction(
        **{"plan": plan(), "mask_zyx": mask, "volume": volume, "overlap": overlap} | changes
    )


def screened(**changes):
    geometry = {"size_xyz": [512, 512, 50], "spacing_mm_xyz": [0.8, 0.8, 2.0], "source": "dicom"}
    record = {"verdict": "ok", "reasons": [], "geometry": geometry, "location": {"doubts": []}}
    return record | {"acquisition": {"manufacturer": "SIEMENS", "kvp": 120.0}} | changes


def crop(**changes):
    record = {"side": "left", "center_mm_xy": [92.8, -15.2], "source": "automatic", "size_xyz": [96, 96, 12]}
    return (
        record
        | {"spacing_mm_xyz": [0.8, 0.8, 3.0], "margins_mm": {"lateral": 33.6}, "flags": []}
        | {"intensity": {"low": -1000.0, "high": 2000.0}, "frame": {"mirrored": False, "slice_axis": "z"}}
        | changes
    )


def scan_page(**changes):
    placement = {
        "scan": "P001",
        "subject": "P001",
        "sex": "F",
        "age": 93.0,
        "site": "",
        "set": "train",
        "fold": 0,
    }
    image = np.where(disc(), 300, 20).astype(np.int16)
    made = {"placement": placement, "image_zyx": image, "spacing_mm_zyx": SPACING, "reference_zyx": disc()}
    made |= {"predictions": [prediction()], "screened": screened(), "crop": crop(), "settings": SETTINGS}
    return ScanPage(**made | changes)


def written(tmp_path, **changes):
    write_scan_page(scan_page(**changes), tmp_path)
    return (tmp_path / "P001.html").read_text(encoding="utf-8")


def viewer_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_path_has_the_area_and_the_middle_of_its_disc():
    mask = disc(center=(48, 60), radius=18)
    (polygon,) = points_of(slice_paths(mask, SIGHT)[0])
    area = polygon_area(polygon) / UNITS_PER_PIXEL**2
    assert area == pytest.approx(np.pi * 18**2, rel=0.02)
    # each chamfered corner reduces the area by at most an eighth of a pixel
    assert 0 <= mask[0].sum() - area <= len(polygon) / 8
    middle = (polygon.min(axis=0) + polygon.max(axis=0)) / 2 / UNITS_PER_PIXEL
    assert middle.tolist() == [60.5, 48.5]  # a pixel's centre is half a pixel from its edge


def test_a_box_has_four_sides_and_four_chamfered_corners():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 8:12, 6:14] = True
    (polygon,) = points_of(slice_paths(mask, Sight(start_yx=(5, 3), edge=15))[0])
    assert len(polygon) == 8
    assert polygon.min(axis=0).tolist() == [2 * (6 - 3), 2 * (8 - 5)]
    assert polygon.max(axis=0).tolist() == [2 * (14 - 3), 2 * (12 - 5)]


def test_a_ring_has_two_outlines_and_no_bone_none():
    ring = disc(radius=18) & ~disc(radius=9)
    paths = slice_paths(ring, SIGHT)
    assert len(points_of(paths[0])) == 2
    assert paths[-1] == ""


def test_every_corner_of_a_path_is_a_turn():
    for points in points_of(slice_paths(disc(), SIGHT)[0]):
        steps = np.diff(np.vstack([points, points[:2]]), axis=0)
        assert all(a[0] * b[1] != a[1] * b[0] for a, b in pairwise(steps))


def test_slices_lie_on_the_sheet_row_by_row():
    image = np.stack([np.full((40, 40), value) for value in np.linspace(-250, 1000, 7)]).astype(np.int16)
    sheet = np.asarray(draw_sheet(grey_levels(image, WINDOW), Sight(start_yx=(4, 4), edge=20)))
    columns = sheet_columns(7)
    assert (columns, sheet.shape) == (3, (60, 60))
    shown = [sheet[20 * (k // columns) + 10, 20 * (k % columns) + 10] for k in range(7)]
    assert shown == pytest.approx(np.linspace(0, 255, 7), abs=1)


def test_a_sheet_of_fine_pixels_is_brought_down():
    sheet = draw_sheet(np.zeros((4, 500, 500), np.uint8), Sight(start_yx=(0, 0), edge=500))
    assert sheet.size == (2 * MOST_TILE_PX, 2 * MOST_TILE_PX)


def test_areas_and_dice_of_slices():
    reference, predicted = np.zeros((2, 3, 10, 10), bool)
    reference[0, :4, :5], predicted[0, :4, :5] = True, True
    reference[1, :4, :5], predicted[1, 2:6, :5] = True, True
    assert slice_areas(reference, (3.0, 0.5, 2.0)) == [20.0, 20.0, 0.0]
    assert slice_dice(reference, predicted) == [1.0, 0.5, None]


def test_the_first_slice_shown_is_in_the_middle_of_the_bone():
    assert middle_slice([disc(top=4), disc(top=9)]) == 4
    assert middle_slice([np.zeros((7, 2, 2), bool)]) == 3


def test_planes_cross_in_the_head():
    mask = disc(center=(30, 40), radius=8, depth=40, top=38)
    mask[:, 70:73, 70:73] = mask[:, 30:31, 40:41]  # a smaller part beside it
    assert choose_point(mask, 3.0, 25.0) == (29, 30, 40)
    assert choose_point(mask[:3], 3.0, 25.0)[0] == 0
    assert choose_point(np.zeros((8, 10, 12), bool), 3.0, 25.0) == (4, 5, 6)
    assert choose_point(disc(center=(30, 40), radius=8, depth=40, top=31), 3.0) == (15, 30, 40)


def test_planes_are_at_one_scale_in_mm():
    mask = disc(center=(48, 48), radius=20, depth=20, top=20)
    sight = find_sight(mask, SPACING)
    grey = np.where(mask, 255, 0).astype(np.uint8)
    picture = draw_planes(grey, named_masks(mask, None), SPACING, sight, (10, 48, 48))
    grey = np.asarray(picture.convert("L"), int)
    edge_mm, height_mm = sight.edge * 0.8, 20 * 3.0
    px_per_mm = (1080 - 16) / (3 * edge_mm)
    widths = (grey[30 + round(edge_mm * px_per_mm / 2) - 20] > 150).sum()
    assert widths == pytest.approx(3 * 39 * 0.8 * px_per_mm, rel=0.03)
    assert picture.height == pytest.approx(30 + max(edge_mm, height_mm) * px_per_mm + 4, abs=2)


def test_a_turntable_without_bone_is_empty_and_with_bone_is_not():
    assert np.asarray(draw_turn(None, np.zeros((6, 20, 20), bool), SPACING)).max() == 0
    views = np.asarray(draw_turn(disc(), disc(), SPACING))
    assert views.shape == (640, 960, 4)
    assert all(
        views[y : y + 160, x : x + 160, 3].any() for y in range(0, 640, 160) for x in range(0, 960, 160)
    )


def test_measures_are_columns_of_the_tables():
    names = {name for name, measure in MEASURES.items() if measure.section}
    assert names <= {*METRIC_COLUMNS, *VOLUME_COLUMNS}
    assert {measure.section for measure in MEASURES.values()} - {""} == set(SECTIONS)


def test_an_undefined_number_is_a_dash_with_its_reason():
    predictions = [prediction(), prediction(overlap={}, plan=plan("ensemble", "apply"))]
    rows = {
        row["label"]: row["values"] for group in number_groups(predictions, "HU") for row in group["rows"]
    }
    reasons = reason_notes(predictions)
    notes = {reason: note for note, reason in reasons.items()}
    assert list(reasons) == list("abcdefghijklmnopqrstuvwxyz")[: len(reasons)]  # no digits: "–1" is a number
    assert rows["95th percentile (HD95)"][0] == {
        "text": "–",
        "note": notes["the predicted mask is empty"],
        "within": False,
    }
    assert rows["95th percentile (HD95)"][1] == {
        "text": "–",
        "note": notes["not measured"],
        "within": False,
    }
    assert rows["Dice coefficient (DSC)"][0]["text"] == "0.9876"
    assert rows["Cut by the scan's lower end"][0]["text"] == "yes"
    assert "Sensitivity" not in rows  # neither measured nor undefined with a reason


def test_values_that_the_grid_decides_are_marked_with_the_words_of_the_report(tmp_path):
    grid = {"spacing_x_mm": 0.8, "spacing_y_mm": 0.8, "spacing_z_mm": 3.0, "nsd_tolerance_mm": 1.0}
    found = {"hd_mm": 3.1, "hd95_mm": 2.9, "assd_mm": None, "nsd": 0.9, "dsc": 0.9}
    shown = prediction(overlap=grid | found | {"undefined": {"assd_mm": "no surface"}})
    assert shown.within_voxel == {"hd95_mm", "nsd"}
    assert prediction(overlap={}).within_voxel == set()
    text = written(tmp_path, predictions=[shown])
    assert text.count("<small>within a voxel</small>") == 2
    assert "2.90<small>within a voxel</small>" in text and "3.10</td>" in text
    assert WITHIN_VOXEL_MEANING in text


def test_a_volume_stands_with_its_interval_and_where_that_holds(tmp_path):
    bounds = {"interval_low_mm3": 1180.0, "interval_high_mm3": 1290.0, "interval_percent": 4.4557}
    volume = {"predicted_mm3": 1234.5, "flags": [], "undefined": {}}
    rows = {
        row["label"]: row["values"][0]["text"]
        for group in number_groups([prediction(volume=volume | bounds)], "HU")
        for row in group["rows"]
    }
    assert rows["Interval of the predicted volume, from"] == "1.18"
    assert rows["Interval of the predicted volume, to"] == "1.29"
    assert rows["Half of this interval"] == "4.46"
    told = "It holds only for people and scanners like those"
    page = written(tmp_path, predictions=[prediction(volume=volume | bounds)])
    assert told in page and "The 97.5 % interval of the predicted volume (whole mask" in page
    assert told not in written(tmp_path)


def test_flags_say_what_they_mean_and_who_carries_them():
    carried = prediction(volume={"flags": ["metal", "cut_not_reached"]})
    reasons = [
        {
            "code": "metal",
            "severity": "warning",
            "found": "8017 mm3",
            "rule": "Metal is bad.",
            "action": "Look.",
        }
    ]
    metal = {
        "flag": "metal",
        "meaning": "8017 mm3. Metal is bad. What to do: Look.",
        "where": "all / vnet / fold-0",
    }
    rows = flag_rows([carried, prediction(plan=plan("single"))], screened(reasons=reasons), SETTINGS)
    assert rows[1] == metal
    assert "20.0 mm below" in rows[0]["meaning"]


def test_a_person_whom_the_models_were_trained_on_is_flagged():
    seen = prediction(plan=plan("ensemble") | {"seen_in_training": True})
    (row,) = flag_rows([seen, prediction(plan=plan("single"))], screened(), SETTINGS)
    assert row["flag"] == "seen in training" and row["where"] == "all / vnet / ensemble"


def test_every_meaning_can_be_told_with_the_settings_of_the_rule():
    for flag in told_flags(SETTINGS):
        (row,) = flag_rows([prediction(volume={"flags": [flag]})], screened(), SETTINGS)
        assert row["meaning"], flag
        assert row["where"] == ""


def test_history_runs_from_screening_to_review():
    doubtful = screened(location={"doubts": ["two hips look alike"]})
    placement = {"set": "train", "fold": 3}
    review = {"verdict": "needs-edit", "comment": "the neck"}
    steps = decision_history(placement, doubtful, crop(), [prediction()], review, SETTINGS)
    told = " ".join(fact for step in steps for fact in step["facts"])
    for words in ("accepted", "two hips look alike", "fold 3", "needs edit", "the neck", "distance of 3 mm"):
        assert words in told
    nothing = decision_history({"set": "apply", "fold": -1}, screened(), crop(), [prediction()], {}, SETTINGS)
    assert nothing[-1]["facts"] == ["Not reviewed yet."]
    assert "fold -1" not in str(nothing)


def test_all_links_exist(tmp_path):
    text = written(tmp_path)
    links = {*re.findall(r'(?:src|href)="([^"#]+)"', text)}
    beside = {link for link in links if not link.startswith("..")}
    assert beside == {f"P001-{name}.webp" for name in ("slices", "planes", "turn", "contours")}
    assert all((tmp_path / name).stat().st_size for name in [*beside, "P001-small.webp"])
    assert links - beside == {"../../index.html", "../../../crops/P001.webp"}
    assert Image.open(tmp_path / "P001-small.webp").size == (112, 112)
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert set(re.findall(r'(?:href="#|for="|aria-labelledby=")([^"]+)"', text)) <= ids
    assert "crops/" not in written(tmp_path, crop_picture=False)


def test_the_projected_femur_of_the_first_prediction_is_shown_with_its_values(tmp_path):
    areal = {roi: {"abmd_g_cm2": value, "undefined": {}} for roi, value in (("total", 0.9), ("neck", 0.75))}
    numbers = dict.fromkeys(("volume_mm3", "vbmd_mg_cm3", "bmc_mg"), 1.0)
    regions = {name: dict.fromkeys(("integral", "trabecular"), numbers) for name in TABLE_REGIONS}
    told = {
        "method": "phantom",
        "scale": "k2hpo4",
        "verdict": "ok",
        "reason": "",
        "flags": [],
        "no_density": "",
    }
    density = {"femur": {"calibration": told, "predicted": {"areal": areal, "regions": regions}}}
    text = written(tmp_path, density=density, femur_picture=True)
    (source, words), *others = re.findall(r'<img src="([^"]*projected[^"]*)" alt="([^"]*)"', text)
    assert source == "../../../projected/all/vnet/fold-0/P001.webp" and not others
    assert words.endswith("areal density in g/cm² (K₂HPO₄): total 0.900, neck 0.750.")
    assert "The bone as DXA would project it" in text
    assert "../projected/" not in written(tmp_path, density=density)
    for row in areal.values():
        row |= {"abmd_g_cm2": None, "undefined": {"abmd_g_cm2": "no <neck>"}}
    text = written(tmp_path, density=density, femur_picture=True)
    assert 'alt="No areal density: no &lt;neck&gt;"' in text and "The bone as DXA would" not in text
    assert "The predicted mask all / vnet / fold-0 has no areal density." in text


def test_text_cannot_break_out(tmp_path):
    reason = {"code": HOSTILE, "severity": "warning", "found": HOSTILE, "rule": HOSTILE, "action": HOSTILE}
    text = written(
        tmp_path,
        placement=scan_page().placement | {"site": HOSTILE, "subject": HOSTILE},
        review={"verdict": "rejected", "comment": HOSTILE},
        screened=screened(reasons=[reason], acquisition={"kernel": HOSTILE}, location={"doubts": [HOSTILE]}),
        predictions=[
            prediction(plan=plan() | {"model": HOSTILE}, volume={"flags": [HOSTILE, "a{b}"], "dsc": None})
        ],
    )
    assert "alert(1)</script>" not in text
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert not re.search(r"\son\w+=", re.sub(r"&#34;|&lt;.*?&gt;", "", text))


def test_ages_of_90_and_more_are_not_told_apart(tmp_path):
    text = written(tmp_path)
    assert "90+ years" in text
    assert "93" not in re.sub(r"<style>.*?</style>|<script.*?</script>", "", text, flags=re.S)


def test_a_scan_without_a_reference_is_shown_alone(tmp_path):
    alone = prediction(plan=plan("ensemble", "apply"), overlap={})
    text = written(tmp_path, reference_zyx=None, predictions=[alone])
    viewer = viewer_of(text)
    assert viewer["reference"] is None
    assert viewer["predictions"][0]["dice"] is None
    assert 'id="reference-toggle"' not in text
    assert "measured but not scored" in text


def test_an_empty_mask_has_a_page(tmp_path):
    empty = np.zeros_like(disc())
    viewer = viewer_of(written(tmp_path, predictions=[prediction(mask=empty)]))
    assert set(viewer["predictions"][0]["paths"]) == {""}
    assert viewer["predictions"][0]["dice"][:10] == [0.0] * 10
    written(tmp_path, reference_zyx=None, predictions=[prediction(mask=empty)])


def test_several_predictions_share_one_reference(tmp_path):
    shifted = np.roll(disc(), 3, axis=2)
    second = prediction(mask=shifted, plan=plan("single", "test-single"))
    text = written(tmp_path, predictions=[prediction(), second])
    viewer = viewer_of(text)
    assert len(re.findall(r"<option ", text)) == 2
    assert [predicted["dice"][0] == 1.0 for predicted in viewer["predictions"]] == [True, False]
    assert viewer["predictions"][0]["paths"] == viewer["reference"]["paths"]
    assert "all / vnet / fold-0: Cross-validation" in text


def test_one_prediction_needs_no_selector_and_made_up_people_a_banner(tmp_path):
    assert 'id="model"' not in written(tmp_path)
    assert "Synthetic cohort" not in written(tmp_path)
    assert "Synthetic cohort" in written(tmp_path, synthetic=True)


def test_the_sight_of_the_sheet_is_that_of_the_paths():
    context = build_scan_context(scan_page())
    viewer = context["viewer"]
    sight = find_sight(disc(), SPACING)
    assert viewer["edge"] == UNITS_PER_PIXEL * sight.edge
    assert viewer["width_mm"] == pytest.approx(0.8 * sight.edge, abs=0.01)
    (polygon,) = points_of(viewer["reference"]["paths"][0])
    margins = [*polygon.min(axis=0), *(viewer["edge"] - polygon.max(axis=0))]
    assert margins == pytest.approx([15 / 0.8 * UNITS_PER_PIXEL] * 4, abs=2 * UNITS_PER_PIXEL)


def turned(axis, **changes):
    """A page whose slices follow one another along an axis; the bone touches the head end, and lies to the left."""
    z, y, x = np.mgrid[:40, :30, :50]
    mask = (z >= 25) & (abs(y - 12) < 6) & (abs(x - 30) < 9)
    image = np.where(z >= 25, 300, 20).astype(np.int16)  # bright towards the head
    crops = crop(frame={"mirrored": False, "slice_axis": axis})
    made = {"image_zyx": image, "reference_zyx": mask, "predictions": [prediction(mask=mask & (y > 9))]}
    return made | {"spacing_mm_zyx": (0.8, 3.0, 0.7), "crop": crops} | changes


@pytest.mark.parametrize(
    ("axis", "slices", "step", "row", "column", "letters", "told"),
    [
        ("z", 40, 0.8, 3.0, 0.7, "RL", "Axial slice, from the lower end of the scan (left) to its top;"),
        ("y", 30, 3.0, 0.8, 0.7, "RLSI", "Coronal slice, from the front of the scan (left) to its back;"),
        ("x", 50, 0.7, 0.8, 3.0, "APSI", "Sagittal slice, from the right end of the scan (left) to its left"),
    ],
)
def test_the_viewer_shows_the_slices_that_networks_see(
    axis, slices, step, row, column, letters, told, tmp_path
):
    text = written(tmp_path, **turned(axis))
    page, viewer = scan_page(**turned(axis)), viewer_of(text)
    assert (viewer["slices"], viewer["step_mm"]) == (slices, step)
    edge = viewer["edge"] / UNITS_PER_PIXEL
    assert (viewer["width_mm"], viewer["height_mm"]) == pytest.approx((edge * column, edge * row), abs=0.01)
    assert "".join(re.findall(r'class="side (?:left|right|top|bottom)"[^>]*>(.)<', text)) == letters
    assert told in text and page.plane.seen.replace("'", "&#39;") in text
    index = {"z": 30, "y": 14, "x": 33}[axis]
    (outline,) = points_of(viewer["reference"]["paths"][index])
    sides = np.ptp(outline, axis=0) / UNITS_PER_PIXEL  # columns, rows
    assert tuple(sides) == {"z": (17, 11), "y": (17, 15), "x": (11, 15)}[axis]
    bone = page.reference_zyx
    along = bone.sum(axis=tuple("zyx".index(other) for other in "zyx" if other != axis))
    assert viewer["reference"]["areas"] == pytest.approx(along * row * column, abs=0.06)
    assert along[viewer["first"]] > 0 and viewer["reference"]["areas"] != viewer["predictions"][0]["areas"]
    wrong = np.flatnonzero(np.array(viewer["predictions"][0]["dice"], float) == 0)
    assert wrong.tolist() == ([7, 8, 9] if axis == "y" else [])


def test_coronal_pictures_have_the_head_on_top(tmp_path):
    written(tmp_path, **turned("y"))
    viewer = viewer_data(scan_page(**turned("y")))
    sheet = np.asarray(Image.open(tmp_path / "P001-slices.webp").convert("L"), int)
    tile = len(sheet) // viewer["rows"]
    shown = sheet[:tile, :tile]  # the foremost slice
    (outline,) = points_of(viewer["reference"]["paths"][14])
    head, feet = outline[:, 1].min() * tile // viewer["edge"], outline[:, 1].max() * tile // viewer["edge"]
    assert shown[head + 2 : feet - 2, tile // 2].min() > 90 > 60 > shown[feet + 3, tile // 2]
    small = np.asarray(Image.open(tmp_path / "P001-small.webp").convert("L"), int)
    bright = np.flatnonzero(small[:, 56] > 90)
    assert small[bright.min() - 5, 56] < 30 < 45 < small[bright.max() + 5, 56] < 70  # above: no scan


def test_masks_of_another_grid_and_no_prediction_are_refused():
    with pytest.raises(ScanError, match="P001.*voxels"):
        scan_page(reference_zyx=disc(depth=5))
    with pytest.raises(ValueError, match="at least one prediction"):
        scan_page(predictions=[])


def test_the_page_draws_masks_in_the_colours_of_the_pictures(tmp_path):
    text = written(tmp_path)
    assert f":root {{ --predicted: {css(PREDICTED)}; --reference: {css(REFERENCE)}; }}" in text
    assert "stroke: var(--predicted)" in text and "stroke: var(--reference)" in text
    for color in (BONE, REFERENCE, PREDICTED):  # in both masks, missed, added
        assert f'fill="{css(color)}"' in text


def test_structures_are_shown_together_and_told_apart(tmp_path):
    labels = disc().astype(np.uint8)
    labels[:, :, 48:] *= 2
    volumes = {f"all/vnet/fold-0/P001/{name}": {"predicted_mm3": mm3, "flags": [flag]}
               for name, mm3, flag in (("L1", 111.0, "padded"), ("L2", 222.0, "empty_mask"))}  # fmt: skip
    overlaps = {"all/vnet/fold-0/P001/L1": {"dsc": 0.5}}
    shown = shown_predictions(plan(), labels, ["L1", "L2"], (volumes, overlaps))
    assert [one.name for one in shown] == ["all / vnet / fold-0 / L1", "all / vnet / fold-0 / L2"]
    assert [one.overlap for one in shown] == [{"dsc": 0.5}, {}]
    page = scan_page(predictions=shown, reference_zyx=labels)
    np.testing.assert_array_equal(page.predicted_zyx, labels)
    assert page.structures == ["L1", "L2"]
    assert viewer_data(page)["predictions"][1]["dice"][5] == 1
    text = written(tmp_path, predictions=shown, reference_zyx=labels)
    assert "all / vnet / fold-0 / L2" in text and "111" in text and "222" in text
    assert css(structure_color(1)) in text and ">L2</li>" in text
    (alone,) = shown_predictions(plan(), labels > 0, ["femur"], (volumes, overlaps))
    assert alone.name == "all / vnet / fold-0"


def labelled(**changes):
    """A page of two structures, predicted by two models, the second one shifted."""
    labels = disc().astype(np.uint8)
    labels[:, :, 62:] *= 2
    second = np.roll(labels, 4, axis=1)
    shown = [
        one
        for key, mask in ((plan(), labels), (plan("single", "test-single"), second))
        for one in shown_predictions(key, mask, ["L1", "L2"], ({}, {}))
    ]
    return {"predictions": shown, "reference_zyx": labels} | changes


def test_each_of_several_structures_has_its_outline_and_its_row(tmp_path):
    text = written(tmp_path, **labelled())
    viewer, labels = viewer_of(text), labelled()["reference_zyx"]
    assert viewer["structures"] == ["L1", "L2"] and len(viewer["predictions"]) == 4
    sight = find_sight(scan_page(**labelled()).bone_zyx, SPACING)
    for position, outlined in enumerate(viewer["reference"]):
        assert outlined["paths"] == slice_paths(labels == position + 1, sight)
        assert outlined["paths"] == viewer["predictions"][position]["paths"]
        assert (
            viewer["predictions"][position]["dice"][0] == 1 > viewer["predictions"][2 + position]["dice"][0]
        )
    sizes = [outlined["areas"][0] for outlined in viewer["reference"]]
    assert sizes == [slice_areas(labels == label, SPACING)[0] for label in (1, 2)]
    for position, name in enumerate(viewer["structures"]):
        color = css(structure_color(position))
        for kind in ("outline", "profile"):
            drawn = f'id="predicted-{kind}-{position}" class="outline predicted" style="--predicted: {color}"'
            assert drawn in text
            assert f'id="reference-{kind}-{position}" class="outline reference"/>' in text
        (row,) = re.findall(rf'<tr id="structure-{position}">.*?</tr>', text)
        assert f"--predicted: {color}" in row and name in row
        assert all(f'id="{cell}-{position}"' in row for cell in ("predicted-area", "reference-area", "dice"))
        assert f'<option value="{position}">{name} alone</option>' in text
    assert re.findall(r'<option value="(-?\d)">([^<]*)<', text)[:3] == [
        ("0", "all / vnet / fold-0: Cross-validation"),
        ("1", "all / vnet / single: Test, single model"),
        ("-1", "All together"),
    ]


def test_a_page_of_one_structure_has_nothing_to_choose(tmp_path):
    text = written(tmp_path)
    assert "structures" not in viewer_of(text) and isinstance(viewer_of(text)["reference"], dict)
    assert 'id="structure"' not in text and 'id="predicted-outline"' in text and 'id="dice"' in text


def test_structures_without_a_reference_are_shown_alone(tmp_path):
    text = written(tmp_path, **labelled(reference_zyx=None))
    assert viewer_of(text)["reference"] is None
    assert 'id="predicted-area-1"' in text and 'id="reference-area-1"' not in text


SPINE = SETTINGS | {"anatomy": "lumbar-spine"}
CLASSES = {"osteoporosis_below": 80.0, "normal_above": 120.0, "scale": "k2hpo4"}
DENSITY = {
    "targets": {name: f"bmd_{name.lower()}_k2hpo4_mg_cm3" for name in ("L1", "L2", "L3")},
    "segmentation": "vnet",
    "regressors": ["densenet"],
    "classes": CLASSES | {"means": {"own": ["L1", "L2", "L3"], "upper": ["L1", "L2"]}},
}
LINE = Calibration(
    method="phantom", phantom="rods-1", scale="k2hpo4", slope_hu_per_mg_cm3=1.25, intercept_hu=-6.0
)


def level(hu=119.0, flags=(), **changes):
    """What was measured of a level; as the workflow measures it, with these flags."""
    record = {"found": True, "voxels_mm3": 25500.0, "height_mm": None, "hu_mean": hu, "hu_sd": 20.0}
    record |= {"eroded_mm3": 7000.0, "flags": list(flags), "usable": is_usable(flags), "undefined": {}}
    return record | changes


def read_of(levels=None, *, calibration=LINE, estimates=None, absent=(), settings=None, protocol="cv"):
    """The densities of scan P001: levels L1 to L3 with references 90, 100 and 130, read as 91, 101 and 131."""
    measured = {"L1": level(), "L2": level(131.5), "L3": level(150.0), "scan": {"flags": []}} | (levels or {})
    read = {name: {"value": value, "sd": 1.5} for name, value in (("L1", 91.0), ("L2", 101.0), ("L3", 131.0))}
    read = read if estimates is None else estimates
    inputs = DensityInputs(
        levels={f"all/vnet/fold-0/P001/{name}": record for name, record in measured.items()},
        overlaps={},
        estimates={f"all/densenet/fold-0/P001/{name}": record for name, record in read.items()},
        references={"P001": {"L1": 90.0, "L2": 100.0, "L3": 130.0}},
        absent={"P001": absent},
        vendors={},
        repeats={},
        calibrations={"P001": calibration} if calibration else {},
    )
    row = {"placement": scan_page().placement | {"trains": True}, "predictions": [plan(protocol=protocol)]}
    return scan_densities(row, inputs, DENSITY if settings is None else settings)


def cells_of(shown, name):
    (row,) = (row for row in (*shown["rows"], *shown["means"]) if row["name"] == name)
    return [
        " ".join([cell["text"], *cell["small"], shown["reasons"].get(cell["note"], "")]).strip()
        for cell in row["cells"]
    ]


def test_a_network_and_the_phantom_stand_beside_the_reference():
    shown = scan_density_section(read_of())
    assert shown["scale"] == "mg/cm³ K₂HPO₄-equivalent" and shown["of"] == "all / vnet / fold-0"
    heads = [(column["head"], column["note"]) for column in shown["columns"]]
    assert heads == [
        ("Reference", "QCT"),
        ("Network", "densenet, mean ± SD of the folds"),
        ("Calibration of the scan", "phantom, mean HU of the eroded body"),
    ]
    assert cells_of(shown, "L1") == ["90.0", "91.0 ± 1.5", "100.0"]  # (119 + 6) / 1.25
    assert cells_of(shown, "L2") == ["100.0", "101.0 ± 1.5", "110.0"]
    assert cells_of(shown, "Mean of L1 to L3") == [
        "106.7 osteopenia",
        "107.7 osteopenia",
        "111.6 osteopenia",
    ]
    assert cells_of(shown, "Mean of L1 and L2")[0] == "95.0 osteopenia"
    assert shown["calibration"] == (
        "Calibration of the scan: the rods of the phantom that lies in the scan (rods-1). Its line: "
        "HU = 1.2500 × density in mg/cm³ − 6.0; scale K₂HPO₄."
    )
    assert shown["reasons"] == {} and shown["warnings"] == []


def test_a_density_that_is_not_given_has_its_reason():
    shown = scan_density_section(
        read_of({"L1": level(flags=["hardware"])}, estimates={"L2": {"value": 101.0, "sd": None}})
    )
    assert cells_of(shown, "L1")[1:] == ["– flag hardware: metal lies within 20 mm of the body"] * 2
    assert cells_of(shown, "L2")[1] == "101.0" and shown["columns"][1]["note"] == "densenet, one model"
    assert cells_of(shown, "L3")[1] == "– the network read no density"
    reference, network, phantom = cells_of(shown, "Mean of L1 to L3")
    assert network == reference == "– the network read no density"
    assert phantom == "117.4 osteopenia of L2 and L3 their reference: 115.0"
    refused = scan_density_section(read_of(settings=DENSITY | {"refused": OF_SYNTHETIC_PEOPLE}))
    assert cells_of(refused, "L1") == ["90.0", f"– {OF_SYNTHETIC_PEOPLE}", "100.0"]
    assert cells_of(scan_density_section(read_of(absent=["L3"])), "Mean of L1 to L3")[:2] == [
        "95.0 osteopenia of L1 and L2",
        "96.0 osteopenia of L1 and L2",
    ]


def test_a_class_is_withheld_with_its_reason():
    flagged = {"scan": {"flags": ["contrast"], "class_withheld": "contrast"}}
    shown = scan_density_section(read_of(flagged))
    (mean, _) = shown["means"]
    assert [cell["small"] for cell in mean["cells"]] == [["osteopenia"], ["no class"], ["no class"]]
    (letter,) = {cell["class_note"] for cell in mean["cells"][1:]}
    assert shown["reasons"][letter].startswith("flag contrast: the scan was made with contrast medium")


def test_scans_without_calibration_prediction_or_regression():
    alone = scan_density_section(read_of(calibration=None))
    assert len(alone["columns"]) == 2 and alone["calibration"] == ""
    bad = Calibration(method="phantom", scale="k2hpo4", verdict="refused", reason="no_rods")
    shown = scan_density_section(read_of(calibration=bad))
    assert cells_of(shown, "L1")[2] == "– the calibration of the scan was refused (no_rods)"
    assert shown["warnings"][0].startswith("The calibration of the scan was refused: No row of round rods")
    assert scan_density_section(ScanDensities()) == {}
    single = scan_density_section(read_of(protocol="test-single"))
    assert single["rows"] == single["means"] == single["columns"] == [] and single["of"] == ""
    calibrated = scan_density_section(read_of(settings={}))
    assert calibrated["rows"] == [] and "1.2500" in calibrated["calibration"]


def test_a_level_counts_where_a_mean_names_it():
    levels = {name: level() for name in ("L1", "L2", "L3", "L4", "L5")} | {"scan": {"flags": []}}
    levels["L2"] = level(flags=["fracture_suspected"])
    levels["L3"] = level(flags=["hardware"], undefined={"density": "hardware"})
    targets = {name: f"bmd_{name.lower()}_k2hpo4_mg_cm3" for name in ("L1", "L2", "L3", "L4")}
    settings = {"segmentation": "unet", "regressors": ["densenet"]}
    used = DensityPlan(targets=targets, **settings, classes=ClassesConfig(means={"own": ["L1", "L2", "L3"]}))
    told = {row["name"]: row["density"] for row in level_rows(levels, used)}
    assert told == {
        "L1": "counts",
        "L2": "left out of means",
        "L3": "withheld",
        "L4": "in no mean",
        "L5": "not read",
    }
    assert level_rows(levels, used, ["L1"])[0]["density"] == "left out of means"
    assert {row["density"] for row in level_rows(levels)} == {""}


def test_the_page_shows_densities_rods_and_levels(tmp_path):
    labels = disc().astype(np.uint8)
    labels[:, :, 56:] *= 2
    shown = shown_predictions(plan(), labels, ["L1", "L5"], ({}, {}))
    given = {"predictions": shown, "reference_zyx": labels, "settings": SPINE, "rod_picture": True}
    levels = {"L1": level(), "L5": level(), "scan": {"flags": []}}
    text = written(tmp_path, **given, levels=levels, read=read_of({"L1": level(flags=["hardware"])}))
    assert text.count('src="../../../calibrated/P001.webp"') == 1
    assert '<h2 id="read-title">Density</h2>' in text and "101.0 ±\xa01.5" in text
    assert "<small>osteopenia</small>" in text and "Mean of L1 to L3" in text
    links, ids = re.findall(r'href="#([^"]+)"', text), set(re.findall(r'id="([^"]+)"', text))
    assert "read-reason-a" in links and set(links) <= ids
    assert "<td>counts</td>" in text and "<td>not read</td>" in text
    text = written(tmp_path, **given, levels=levels)
    assert 'id="read"' not in text and "not read" not in text
