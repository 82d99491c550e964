"""The report of a finished study in a real browser: what a reader does with it."""

import csv
import re
import shutil
from pathlib import Path

import pytest

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
    """Return a function that opens a file as a reader does; no page may complain or ask for anything elsewhere."""
    wrong, contexts = [], []

    def opened(path: Path, **settings):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"missing: {request.url}"))
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


def first_scan_page(report: Path) -> Path:
    return sorted(report.parent.glob("scans/batch-*/*.html"))[0]


def column(page, name: str) -> list[str]:
    """Return what the table of scans shows in one column."""
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
    page.fill("#to", f"{limit + 1e-5}")
    assert 2 <= len(column(page, "scan")) < len(every)


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
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page.locator("#review-scan")).to_have_text(f"Scan {second}")
    page.keyboard.press("e")
    page.keyboard.press("j")
    expect(page.locator("#review-scan")).to_have_text(f"Scan {third}")
    page.keyboard.press("a")
    assert page.inner_text("#review-progress").startswith("3 of ")
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
        row for row in read_metrics(report) if row["cohort"] == "all" and row["protocol"] != "test-single"
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
    assert "1 verdicts loaded" in page.inner_text("#loaded") and "rows 3" in page.inner_text("#loaded")
    assert "needs edit" in column(page, "review")[0]
    page.reload()
    assert "needs edit" in column(page, "review")[0]
    with page.expect_download() as download:
        page.click("#save-review")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert f'{scan},needs-edit,"=1+1, a <b>bold</b> word",12.0,edits/mine.nii.gz' in text


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


def test_the_open_review_is_accessible(visit, report):
    page = visit(report)
    page.click("#start-review")
    page.frame_locator("#review-page").locator("#slice").wait_for()
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_paper_shows_rows_and_no_controls(visit, report):
    page = visit(report)
    page.emulate_media(media="print")
    for control in ("#text", "#save-review", "#page-on", "#contents"):
        assert not page.is_visible(control)
    assert page.is_visible("#scan-rows")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 80
