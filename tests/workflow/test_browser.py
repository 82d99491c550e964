"""The report of a finished study in a real browser, used as by a reader."""

import csv
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lib.cohort.review import read_review
from lib.cohort.table import plain_text
from lib.network_comparison_settings import NetworkComparisonConfig
from lib.pages.scan_page import write_scan_page
from lib.stats.network_plan import NetworkPlan
from lib.stats.networks import tables_of_networks
from tests.unit.study_tables import people, tables
from tests.unit.test_report import SPINE_FIGURES, of_structures, render, study_tables
from tests.unit.test_report import report as report_data
from tests.unit.test_scan_page import scan_page, turned

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)

# waits without eval(), which the pages' Content-Security-Policy forbids; page.wait_for_function needs it
expect = playwright.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def browser():
    """Return a running Chromium."""
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(finished) -> Path:
    """Return the page of the finished study."""
    return finished.folder / "results/report/index.html"


@pytest.fixture
def visit(browser):
    """Return a function that opens a file as a reader does; pages must not raise errors or load remote files."""
    wrong, contexts = [], []

    def opened(path: Path, **settings):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.extend(missing(request)))
        page.on(
            "request", lambda request: None if request.url.startswith(LOCAL) else wrong.append(request.url)
        )
        # a beforeunload question of unsaved marks
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def bent(report):
    """Return a function that writes a copy of the page with changed data beside it."""
    made = report.with_name("bent.html")

    def write(change) -> Path:
        before, rest = report.read_text(encoding="utf-8").split('id="scan-data">')
        text, after = rest.split("</script>", 1)
        data = json.loads(text)
        change(data)
        made.write_text(f'{before}id="scan-data">{json.dumps(data)}</script>{after}', encoding="utf-8")
        return made

    yield write
    made.unlink(missing_ok=True)


def judge(page, scan: str, key: str, comment: str = "") -> None:
    """Open a scan from the table, press a key, write a comment, close."""
    page.focus(f"#scan-rows a[data-scan='{scan}']:not([tabindex='-1'])")
    page.keyboard.press("Enter")
    page.frame_locator("#review-page").locator("#slice").wait_for()
    expect(page.locator("#review-page")).to_be_focused()
    page.keyboard.press(key)
    expect(page.locator("[data-verdict][aria-pressed=true]")).to_have_count(1)
    page.fill("#review-comment", comment)
    page.click("#review-close")
    page.wait_for_selector("#review:not([open])", state="attached")


def saved_review(page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save-review")
    download.value.save_as(folder / "review.csv")
    return folder / "review.csv"


def missing(request) -> list[str]:
    """Return the error of a failed request; empty for a page that was left before it had loaded."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"missing: {request.url}"]


def first_scan_page(report: Path) -> Path:
    return sorted(report.parent.glob("scans/batch-*/*.html"))[0]


def column(page, name: str) -> list[str]:
    """Return the texts of one column of the table of scans."""
    heads = [head.get_attribute("data-name") for head in page.locator("#scan-rows thead th").all()]
    place = heads.index(name) + 1
    return page.locator(f"#scan-rows tbody tr > :nth-child({place})").all_inner_texts()


def read_metrics(report: Path) -> list[dict]:
    with open(report.parent.parent / "tables/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_sorts_by_mouse_and_by_keyboard(visit, report):
    page = visit(report)
    scores = [float(text) for text in column(page, "dsc") if text != "–"]
    assert len(scores) > 3 and scores == sorted(scores)
    page.click("#scan-rows th[data-name=predicted_mm3] button")
    volumes = [float(text.replace(",", "")) for text in column(page, "predicted_mm3")]
    assert volumes == sorted(volumes)
    assert page.get_attribute("#scan-rows th[data-name=predicted_mm3]", "aria-sort") == "ascending"
    page.focus("#scan-rows th[data-name=predicted_mm3] button")
    page.keyboard.press("Enter")
    assert [float(text.replace(",", "")) for text in column(page, "predicted_mm3")] == volumes[::-1]


def test_the_table_filters_by_text_sex_and_number(visit, report):
    page = visit(report)
    every = column(page, "scan")
    page.fill("#text", every[-1].lower())
    assert column(page, "scan") == [every[-1]]
    assert page.inner_text("#count") == f"1 of {len(every)} scans"
    page.click("#reset")
    expect(page.locator("#scan-rows tbody tr")).to_have_count(len(every))
    page.select_option("#sex", "M")
    men = [scan for scan, sex in zip(column(page, "scan"), column(page, "sex"), strict=True) if sex == "M"]
    assert 0 < len(men) == len(column(page, "scan")) < len(every)
    page.click("#reset")
    page.select_option("#limited", "dsc")
    limit = sorted(float(text) for text in column(page, "dsc") if text != "–")[1]
    page.fill("#to", f"{limit + 1e-4}")
    assert 2 <= len(column(page, "scan")) < len(every)


def test_the_first_screen_leads_to_flagged_scans_and_to_the_worst_one(visit, report):
    page = visit(report)
    assert re.match(
        r"In \d+ (people|person) never seen before: Dice 0\.\d{3}, volume", page.inner_text(".found")
    )
    worst = page.locator(".cases a").last
    assert worst.locator("img").evaluate("(image) => image.naturalWidth") > 1000
    worst.click()
    expect(page.locator("#review-scan")).to_have_text(f"Scan {worst.get_attribute('data-scan')}")
    page.click("#review-close")
    flagged = int(re.search(r"(\d+) flagged", page.inner_text(".used")).group(1))
    page.fill("#text", "no such scan")
    page.click(".used a[data-flag]")
    expect(page.locator("#flag")).to_have_value("any")
    assert len(set(column(page, "scan"))) == flagged > 0


def test_terms_lead_to_their_definitions(visit, report):
    page = visit(report)
    page.locator(".card a.term", has_text="95 % limits").first.click()
    expect(page.locator("#def-loa")).to_be_in_viewport()


def test_points_of_a_figure_open_the_page_of_their_scan(visit, report):
    page = visit(report)
    figures = json.loads((report.parent.parent / "figures/figures.json").read_text())["figures"]
    figure = next(one for one in figures if (one["kind"], one["protocol"]) == ("bland_altman", "cv"))
    sheet = page.locator(f"[data-points='{figure['name']}']")
    sheet.scroll_into_view_if_needed()
    expect(sheet.locator("circle")).to_have_count(len(figure["points"]))
    scan, x, y = figure["points"][0]
    box, image = sheet.bounding_box(), sheet.locator("img")
    scale = box["width"] / int(image.get_attribute("width"))
    circle = sheet.locator("circle").first.bounding_box()
    assert circle["x"] + circle["width"] / 2 == pytest.approx(box["x"] + x * scale, abs=2)
    assert circle["y"] + circle["height"] / 2 == pytest.approx(box["y"] + y * scale, abs=2)
    sheet.locator("a[data-scan]").last.click(force=True)
    opened = page.inner_text("#review-scan").removeprefix("Scan ")
    assert opened in {scan for scan, *_ in figure["points"]}


def test_sheets_are_dark_in_dark_mode_and_white_on_paper(visit, report):
    page = visit(report, color_scheme="dark")
    plot, picture = page.locator(".plot:not(.pictures) img").first, page.locator(".plot.pictures img").first
    assert "invert" in plot.evaluate("(image) => getComputedStyle(image).filter")
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("(image) => image.currentSrc").endswith("-dark.webp")
    page.emulate_media(media="print", color_scheme="dark")
    assert plot.evaluate("(image) => getComputedStyle(image).filter") == "none"


def test_figures_keep_readable_texts_on_a_narrow_screen(visit, report):
    page = visit(report, viewport={"width": 420, "height": 900})
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    smaller = (
        "(images) => images.filter((image) => image.clientWidth < 0.7 * image.getAttribute('width')).length"
    )
    assert page.eval_on_selector_all(".plot img", smaller) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_thumbnails_and_links_exist(visit, report):
    page = visit(report)
    links = page.eval_on_selector_all("a[href]", "links => links.map((link) => link.href)")
    pictures = page.eval_on_selector_all("img", "images => images.map((image) => image.src)")
    files = {re.sub(r"#.*", "", link) for link in links + pictures if link.startswith("file:")}
    assert len(files) > 20
    assert not [link for link in files if not Path(link.removeprefix("file://")).exists()]


def test_a_review_by_keyboard_comes_out_as_a_file(visit, report, tmp_path):
    page = visit(report)
    first, second, third = column(page, "scan")[:3]
    page.focus(f"#scan-rows a[data-scan='{first}']:not([tabindex='-1'])")
    page.keyboard.press("Enter")
    page.wait_for_selector("#review[open]")
    frame = page.frame_locator("#review-page")
    frame.locator("#slice").wait_for()
    expect(page.locator("#review-page")).to_be_focused()
    page.keyboard.press("r")
    page.wait_for_selector("[data-verdict=rejected][aria-pressed=true]")
    page.keyboard.press("c")
    expect(page.locator("#review-comment")).to_be_focused()
    page.keyboard.type('blurred, "all" of it')
    for key in ("Escape", "n", "e", "j", "a"):  # faster than pages load
        page.keyboard.press(key)
    expect(page.locator("#review-scan")).to_have_text(f"Scan {third}")
    expect(page.locator("#review-progress")).to_contain_text("3 of ")
    expect(page.locator("#review-page")).to_be_focused()
    page.keyboard.press("Escape")
    page.wait_for_selector("#review:not([open])", state="attached")
    assert "download" in page.inner_text("#unsaved")
    with page.expect_download() as download:
        page.click("#save-review")
    download.value.save_as(tmp_path / "review.csv")
    with open(tmp_path / "review.csv", newline="", encoding="utf-8") as file:
        rows = {row["scan"]: row for row in csv.DictReader(file)}
    assert {scan: row["verdict"] for scan, row in rows.items()} == {
        first: "rejected", second: "needs-edit", third: "accepted"
    }  # fmt: skip
    assert rows[first]["comment"] == 'blurred, "all" of it'
    shown = (
        row for row in read_metrics(report) if row["group"] == "all" and row["protocol"] != "test-single"
    )
    seen = {row["scan"]: row["predicted_mm3"] for row in shown}
    assert float(rows[first]["seen_mm3"]) == pytest.approx(float(seen[first]), abs=0.06)
    assert page.inner_text("#unsaved") == ""


def test_a_review_outlives_the_page_and_loads_again(visit, report, tmp_path):
    page = visit(report)
    scan = column(page, "scan")[0]
    (tmp_path / "review.csv").write_text(
        "scan,verdict,comment,seen_mm3,corrected_mask\n"
        f'{scan},needs-edit,"=1+1, a <b>bold</b> word",12.0,edits/mine.nii.gz\nother,perhaps,,,\n'
    )
    page.set_input_files("#load-review", tmp_path / "review.csv")
    expect(page.locator("#loaded")).not_to_be_empty()
    assert "1 row loaded" in page.inner_text("#loaded") and "row 3" in page.inner_text("#loaded")
    assert "needs edit" in column(page, "review")[0]
    page.reload()
    assert "needs edit" in column(page, "review")[0]
    text = saved_review(page, tmp_path).read_text(encoding="utf-8")
    # a spreadsheet does not read text that begins with a blank as a formula
    assert f'{scan},needs-edit," =1+1, a <b>bold</b> word",12.0,edits/mine.nii.gz' in text


def test_a_review_comes_back_as_a_spreadsheet_saves_it(visit, report, tmp_path):
    page = visit(report)
    first, second, third = column(page, "scan")[:3]
    lines = (
        "\ufeffscan;verdict;comment;seen_mm3;corrected_mask",
        f'{first};accepted;"two\r\nlines; ""so"" said";12,5;',
        f"{second};;no verdict yet;;",
        f"{third};;;;a b.nii.gz\r\n",
    )
    (tmp_path / "mine.csv").write_bytes("\r\n".join(lines).encode())
    (tmp_path / "a b.nii.gz").touch()
    page.set_input_files("#load-review", tmp_path / "mine.csv")
    expect(page.locator("#loaded")).to_have_text("3 rows loaded.")
    rows = read_review(saved_review(page, tmp_path), [first, second, third])
    assert (rows[first].verdict, rows[first].comment) == ("accepted", 'two\nlines; "so" said')
    assert rows[first].seen_mm3 == 12.5
    assert (rows[second].verdict, rows[second].comment) == ("", "no verdict yet")
    assert rows[third].corrected_mask == str(tmp_path / "a b.nii.gz")


@pytest.mark.parametrize("comment", ["=1+1", "- cut off", "@home", "a\x0bb\x0cc\u2028d\x85e", 'a, "b"; c'])
def test_the_workflow_reads_the_comments_that_were_typed(visit, report, tmp_path, comment):
    page = visit(report)
    first, second = column(page, "scan")[:2]
    judge(page, first, "a", comment)
    judge(page, second, "R")  # with Caps Lock
    rows = read_review(saved_review(page, tmp_path), [first, second])
    assert (rows[first].comment, rows[second].verdict) == (plain_text(comment), "rejected")


def test_another_review_stands_and_what_was_never_downloaded_comes_on_top(visit, report, bent, tmp_path):
    page = visit(bent(lambda data: None))
    first, second = column(page, "scan")[:2]
    judge(page, first, "r")
    saved_review(page, tmp_path)
    judge(page, second, "a")
    said = {"verdict": "needs-edit", "comment": "a colleague", "seen_mm3": 1.0}
    bent(lambda data: data["reviews"].update({first: said}))
    page.reload()
    assert ["needs edit" in text for text in column(page, "review")[:2]] == [True, False]
    assert "accepted" in column(page, "review")[1]
    assert "download" in page.inner_text("#unsaved")


def test_a_lost_corrected_mask_is_reported(visit, report, bent, tmp_path):
    def correct(data):
        for row in data["rows"]:
            row[3] = "corrected" if data["scans"][row[0]][0] == scan else row[3]

    scan = column(visit(report), "scan")[0]
    page = visit(bent(correct))
    assert scan in page.inner_text("#lost")
    (tmp_path / "old.csv").write_text(f"scan,verdict,corrected_mask\n{scan},,mine.nii.gz\n")
    page.set_input_files("#load-review", tmp_path / "old.csv")
    expect(page.locator("#lost")).to_be_empty()
    judge(page, scan, "a")
    assert "mine.nii.gz" in saved_review(page, tmp_path).read_text(encoding="utf-8")


def test_the_focus_comes_back_to_the_scan_seen_last(visit, report):
    page = visit(report)
    page.click("#scan-rows th[data-name=scan] button")
    cards = page.eval_on_selector_all("#gallery-cards a", "links => links.map((link) => link.dataset.scan)")
    page.click(f"#gallery-cards a[data-scan='{cards[0]}']")
    page.frame_locator("#review-page").locator("#slice").wait_for()
    page.click("#review-on")
    expect(page.locator("#review-scan")).to_have_text(f"Scan {cards[1]}")  # in the order of the gallery
    page.click("#review-close")
    expect(page.locator(f"#gallery-cards a[data-scan='{cards[1]}']")).to_be_focused()
    page.select_option("#verdict", "none")
    judge(page, cards[1], "a")  # no longer in the table
    expect(page.locator("#start-review")).to_be_focused()


def test_a_review_works_where_the_browser_stores_nothing(visit, report):
    page = visit(report)
    blocked = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })"
    page.context.add_init_script(blocked)
    page.reload()
    judge(page, column(page, "scan")[0], "a")
    assert page.inner_text("#progress").startswith("1 of ")
    assert "download" in page.inner_text("#unsaved")


def test_copied_methods_carry_numbered_references(visit, report):
    page = visit(report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy-methods")
    expect(page.locator("#copied")).not_to_be_empty()
    text = page.evaluate("navigator.clipboard.readText()")
    cited = {int(number) for mark in re.findall(r"\[([\d,]+)\]", text) for number in mark.split(",")}
    assert {int(number) for number in re.findall(r"^(\d+)\. ", text, re.M)} == cited


def test_limits_are_read_as_the_page_writes_numbers(visit, report):
    page = visit(report)
    page.select_option("#limited", "predicted_mm3")
    volumes = sorted(column(page, "predicted_mm3"), key=lambda text: float(text.replace(",", "")))
    page.fill("#from", volumes[1])
    assert volumes[0] not in column(page, "predicted_mm3") and volumes[-1] in column(page, "predicted_mm3")
    page.select_option("#limited", "dsc")
    page.fill("#from", "0,0001")
    assert column(page, "dsc")


def test_a_reviewer_sees_the_slices_at_once(visit, report):
    page = visit(report, viewport={"width": 400, "height": 800})
    page.click("#start-review")
    expect(page.frame_locator("#review-page").locator("#stage")).to_be_in_viewport(ratio=0.9)


def test_long_words_stay_on_the_page(visit, report, bent):
    page = bent(lambda data: None)
    page.write_text(page.read_text(encoding="utf-8").replace("<h1>", "<h1>" + "x" * 200), encoding="utf-8")
    shown = visit(page, viewport={"width": 400, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_slider_of_a_scan_moves_outlines_and_numbers(visit, report):
    page = visit(first_scan_page(report))
    before = page.inner_text("#where"), page.get_attribute("#predicted-outline", "d")
    page.focus("#slice")
    page.keyboard.press("ArrowUp")
    after = page.inner_text("#where"), page.get_attribute("#predicted-outline", "d")
    number = [int(re.match(r"Slice (\d+)", text).group(1)) for text in (before[0], after[0])]
    assert number[1] == number[0] + 1 and before[1] != after[1]
    page.keyboard.press("m")
    assert page.get_attribute("#predicted-outline", "d") == ""
    sheet = page.get_attribute("#sheet", "x"), page.get_attribute("#sheet", "y")
    page.keyboard.press("Home")
    assert page.inner_text("#where").startswith("Slice 1 of")
    assert (page.get_attribute("#sheet", "x"), page.get_attribute("#sheet", "y")) != sheet


def test_the_slider_of_a_coronal_scan_tells_its_plane(visit, tmp_path):
    write_scan_page(scan_page(**turned("y")), tmp_path)
    page = visit(tmp_path / "P001.html")
    page.focus("#slice")
    page.keyboard.press("End")
    assert page.inner_text("#where").startswith("Coronal slice 30 of 30, 87 mm behind the front.")
    stage = page.locator("#stage").bounding_box()
    places = {}
    for letter in page.locator("#stage .side").all():
        box = letter.bounding_box()
        across = (box["x"] + box["width"] / 2 - stage["x"]) / stage["width"]
        places[letter.inner_text()] = across, (box["y"] + box["height"] / 2 - stage["y"]) / stage["height"]
    near = {"R": (0, 0.5), "L": (1, 0.5), "S": (0.5, 0), "I": (0.5, 1)}
    assert places.keys() == near.keys()
    for letter, place in near.items():
        assert places[letter] == pytest.approx(place, abs=0.06)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_pages_are_accessible_and_fit_the_screen(visit, report, mode, width):
    grounds = {}
    for path in (report, first_scan_page(report)):
        page = visit(path, color_scheme=mode, viewport={"width": width, "height": 900})
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        grounds[path] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    bright = [sum(map(int, re.findall(r"\d+", ground)[:3])) > 384 for ground in grounds.values()]
    assert bright == [mode == "light"] * 2


@pytest.fixture(scope="module")
def networks_report(tmp_path_factory) -> Path:
    """Return the page of a made-up study that compares four networks, without figures and scans' pages."""
    names = {f"unet{axes}d-f8-l3{dilated}": axes for axes in (2, 3) for dilated in ("", "-d2")}
    entries = {
        name: {"unet": {"dimensions": axes, "initial_maps": 8, "levels": 3}} for name, axes in names.items()
    }
    metrics, volumes, _ = tables(14, 3)
    metrics, volumes = (
        pd.concat([table.assign(network=name) for name in names], ignore_index=True)
        for table in (metrics, volumes)
    )
    dice = metrics["dsc"].astype(float) - 0.001 * metrics.groupby("scan").cumcount()
    asked = NetworkComparisonConfig(pair=("unet3d-f8-l3", "unet2d-f8-l3"))
    plan = NetworkPlan(networks=entries, asked=asked)
    placed = people(14, 3)
    scans = [row | {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"} for row in placed]
    made = study_tables(metrics, volumes, scans, placed)
    made |= tables_of_networks(metrics.assign(dsc=dice), [], plan, {}, {})
    folder = tmp_path_factory.mktemp("networks")
    stated = {"pair": {"value": list(asked.pair), "stated": "before results"}}
    stated |= {"control": {"value": [plan.control], "stated": "before results"}}
    render(report_data(made, figures=[], pages={}, table_paths={}, comparison=stated), folder)
    return folder / "results/report/index.html"


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 420])
def test_tables_of_networks_fit_and_keep_the_names_in_view(visit, networks_report, mode, width):
    page = visit(networks_report, color_scheme=mode, viewport={"width": width, "height": 900})
    found = axe.Axe().run(page, {"include": [["#networks"]]})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    regions = page.locator("#networks .scroll").all()
    assert len(regions) == 5
    for region in regions:
        region.evaluate("(part) => { part.scrollLeft = part.scrollWidth; }")
        box, first = region.bounding_box(), region.locator("tbody th[scope=row]").first
        name = first.bounding_box()
        assert name["x"] == pytest.approx(box["x"], abs=2) and name["width"] < box["width"] / 2
        heading = region.locator("tr.group span").all()
        assert all(box["x"] <= told.bounding_box()["x"] < box["x"] + 20 for told in heading)
        # nothing shines through the column that stays
        assert not first.evaluate("(cell) => getComputedStyle(cell).backgroundColor").endswith(", 0)")
        for shown in region.locator(".name").all()[:4]:
            assert shown.evaluate("(name) => name.getClientRects().length") == 1


def test_the_open_review_is_accessible(visit, report):
    page = visit(report)
    page.click("#start-review")
    page.frame_locator("#review-page").locator("#slice").wait_for()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_table_that_is_wider_than_the_page_says_so(visit, report):
    page = visit(report)
    page.set_viewport_size({"width": 700, "height": 900})
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    cut = "(part) => part.scrollWidth > part.clientWidth + 2"
    tables = page.evaluate(f"[...document.querySelectorAll('.scroll')].filter({cut}).length")
    assert tables > 2
    expect(page.locator(".wider")).to_have_count(tables)


def test_a_table_with_hidden_rows_says_how_many(visit, report):
    page = visit(report)
    # the tall tables of this page, and a short one that is made to scroll
    page.evaluate("document.querySelector('#partitions .scroll').classList.add('tall')")
    page.set_viewport_size({"width": 420, "height": 400})
    table, hint = page.locator("#partitions .scroll"), page.locator("#partitions .longer")
    expect(hint).to_have_text(re.compile(r"^[1-9]\d* more rows? below: scroll the table"))
    hidden = int(hint.inner_text().split()[0])
    assert hidden < table.locator("tbody tr").count()
    table.evaluate("(part) => part.scrollTo({ top: part.scrollHeight, behavior: 'instant' })")
    expect(hint).to_have_text("End of the table.")
    page.emulate_media(media="print")
    expect(hint).to_be_hidden()


def test_the_first_column_stays_in_view_in_a_table_wider_than_the_page(visit, report):
    page = visit(report, viewport={"width": 420, "height": 900})
    table = page.locator("#agreement .scroll").first
    left = "getBoundingClientRect().left"
    place = f"(part) => part.querySelector('tbody th[scope=row]').{left} - part.{left}"
    before = table.evaluate(place)
    assert table.evaluate("(part) => (part.scrollLeft = 200)") == 200
    assert table.evaluate(place) == pytest.approx(before, abs=1)


def test_the_area_curve_marks_the_slice_at_every_width(visit, report):
    for width in (420, 1400):
        page = visit(first_scan_page(report), viewport={"width": width, "height": 900})
        assert page.locator("#profile #here").evaluate("(line) => getComputedStyle(line).display") != "none"


def test_thumbnails_are_there_before_paper_asks_for_them(visit, report):
    page = visit(report)
    page.wait_for_load_state("networkidle")
    seen = "[...document.querySelectorAll('.thumbs img')].every((image) => image.naturalWidth > 0)"
    assert page.evaluate(seen)
    page.emulate_media(media="print")
    background = "getComputedStyle(document.querySelector('.thumbs img')).backgroundColor"
    assert page.evaluate(background) == "rgba(0, 0, 0, 0)"


def test_paper_shows_rows_and_no_controls(visit, report):
    page = visit(report)
    page.emulate_media(media="print")
    for control in ("#text", "#save-review", "#page-on", "#contents"):
        assert not page.is_visible(control)
    assert page.is_visible("#scan-rows")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 50


def test_heads_on_paper_are_text_and_an_empty_review_is_left_out(visit, report):
    page = visit(report)
    heads = "[...document.querySelectorAll('#scan-rows thead th')].map((head) => head.dataset.name ?? '')"
    assert page.evaluate(heads)[:4] == ["", "scan", "dsc", "re_percent"]
    assert page.evaluate(heads)[-1] == "review"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#scan-rows thead button").count() == 0
    assert "DSC" in page.locator("#scan-rows thead").inner_text()
    assert "review" not in page.evaluate(heads)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#scan-rows th[data-name=dsc] button").count() == 1
    judge(page, column(page, "scan")[0], "a")
    assert page.evaluate(heads)[:3] == ["", "scan", "review"]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert "review" in page.evaluate(heads)
    page.evaluate("dispatchEvent(new Event('afterprint'))")


@pytest.fixture(scope="module")
def structures_report(tmp_path_factory) -> Path:
    """Return the page of a made-up study of three structures, whose pictures and pages do not exist."""
    metrics, volumes, _ = tables(14, 3)
    placed = people(14, 3)
    scans = [row | {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"} for row in placed]
    made = study_tables(metrics, volumes, scans, placed)
    dice = {"L1": {"P000": 0.8}, "L2": {"P000": 0.7, "P005": 0.3}, "L3": {"P005": 0.6}}
    made |= of_structures(made, dice)
    pages = {row["scan"]: f"results/report/scans/batch-0/{row['scan']}.html" for row in placed}
    folder = tmp_path_factory.mktemp("structures")
    render(report_data(made, figures=SPINE_FIGURES, pages=pages, table_paths={}), folder)
    return folder / "results/report/index.html"


def test_the_gallery_names_the_worst_structure_of_each_scan(browser, structures_report):
    page = browser.new_page()
    page.goto(structures_report.as_uri())
    cards = [card.inner_text().split("\n") for card in page.locator("#gallery-cards a").all()]
    assert [card[:2] for card in cards[:2]] == [["P005", "L2: DSC 0.3000"], ["P000", "L2: DSC 0.7000"]]
    assert len(cards) == 8
    page.close()


def test_figures_of_the_first_structure_are_open_and_paper_shows_all(browser, structures_report):
    page = browser.new_page()
    page.goto(structures_report.as_uri())
    parts = "[...document.querySelectorAll('#figures details')].map((part) => part.open)"
    assert page.evaluate(parts) == [True, False, True, False, False]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(parts) == [True] * 5
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(parts) == [True, False, True, False, False]
    page.close()
