"""The command `osteoflow` on the small study: status as a dry run has it, a study begun by init, a shared report."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from canaries import canaries_in, find_canaries

from lib.commands.share import relative_links
from tests.study import ROOT, read_rows

pytestmark = pytest.mark.workflow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MOST_MB = 30


def osteoflow(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command with the packages of the tests."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from lib.commands.osteoflow import main; "
        "sys.exit(main(sys.argv[1:], has_display=False))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def told(study) -> Counter:
    """Return the jobs that are left by `osteoflow status`."""
    ended = osteoflow(
        "status", "--study", study.folder, "--configfile", study.overlay, "--config", *study.settings
    )
    assert ended.returncode == 0, ended.stdout
    lines = re.findall(r"^(\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", ended.stdout, re.M)
    counts = {name: tuple(map(int, numbers)) for name, *numbers in lines}
    assert counts.pop("total") == tuple(map(sum, zip(*counts.values(), strict=True)))
    return Counter({name: left for name, (_, _, _, left) in counts.items() if left})


# what a run has made when it has come so far, by what it has not made yet
NOT_YET = {
    "nothing": (),
    "the report": ("report/index.html",),
    "pages": ("report",),
    "models": (
        "models",
        "predictions",
        "masks",
        "measured",
        "report",
        "figures",
        "tables",
        "cohort/notes.json",
    ),
}


@pytest.mark.parametrize("missing", NOT_YET)
def test_status_agrees_with_a_dry_run(study, missing):
    for name in NOT_YET[missing]:
        path = study.folder / "results" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    planned, left = study.planned(), told(study)
    if missing != "nothing":
        # Snakemake also makes again what exists and depends on what is missing
        planned = Counter(
            {name: count for name, count in planned.items() if name != "record_run" or name in left}
        )
    assert left == planned


def test_a_study_that_init_begins_can_be_run(phantom, tmp_path):
    study = tmp_path / "hips"
    begun = osteoflow("init", phantom, "--study", study)
    assert begun.returncode == 0 and " 12 CT" in begun.stdout, begun.stdout
    rows = read_rows(study / "cohort.csv")
    planned = osteoflow("run", "--study", study, "--dry-run")
    assert planned.returncode == 0, planned.stdout
    assert re.search(rf"^screen_scan +{len(rows)}$", planned.stdout, re.M)
    assert not (study / "results").exists() or not list((study / "results").glob("*/*"))


def test_headers_full_of_canaries_leave_none_in_what_init_writes(finished, tmp_path):
    begun = osteoflow("init", finished.folder / "source", "--study", tmp_path / "new")
    assert begun.returncode == 0, begun.stdout
    rows = read_rows(tmp_path / "new/cohort.csv")
    assert len(rows) > 10 and {row["age"] for row in rows} == {"90+"}
    # paths are those of the source, whose folders have canaries as names, too
    told = [{**row, "image": "", "mask": ""} for row in rows]
    texts = [begun.stdout, (tmp_path / "new/study.yaml").read_text(), json.dumps(told)]
    assert [canaries_in(text.encode()) for text in texts] == [[], [], []]


@pytest.fixture(scope="module")
def shared(finished, tmp_path_factory) -> Path:
    """Return the folder of the finished study's report, shared and unpacked elsewhere."""
    folder = tmp_path_factory.mktemp("elsewhere")
    table = finished.folder / "source/cohort.csv"
    ended = osteoflow("share", "--study", finished.folder, folder / "small.zip", "--table", table)
    assert ended.returncode == 0, ended.stdout
    assert (folder / "small.zip").stat().st_size < 1e6 * MOST_MB
    with zipfile.ZipFile(folder / "small.zip") as archive:
        archive.extractall(folder)
    return folder / "small"


def test_every_link_of_a_shared_report_leads_to_a_file_of_it(shared):
    pages = list(shared.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        for link in relative_links(page.read_text(encoding="utf-8")):
            led = (page.parent / link).resolve()
            assert led.is_file() and led.is_relative_to(shared), f"{page.name}: {link}"


def test_a_shared_report_holds_no_canary(shared):
    assert find_canaries(shared) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_shared_report_opens_in_a_browser(shared):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    wrong, seen = [], set()
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.on("requestfailed", lambda request: wrong.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((shared / "index.html").as_uri())
        page.wait_for_url((shared / "report/index.html").as_uri())
        waiting = {page.url}
        while waiting:
            address = waiting.pop()
            seen.add(address)
            page.goto(address)
            links = page.eval_on_selector_all("[href], [src]", "all => all.map(one => one.href || one.src)")
            for link in {urlsplit(link)._replace(query="", fragment="").geturl() for link in map(str, links)}:
                if link.startswith("file:"):
                    path = Path(unquote(urlsplit(link).path))
                    assert path.is_file() and path.is_relative_to(shared), link
                    waiting |= {link} - seen if path.suffix == ".html" else set()
        chromium.close()
    assert not wrong
    # the pages of scans, which the report's program links
    assert len(seen) == len(list((shared / "report").rglob("*.html")))
