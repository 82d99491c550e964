"""A shared report opens elsewhere, and tells nothing of this machine and of identities."""

import zipfile
from pathlib import Path

import pytest

from lib.commands.share import SharingError, linked_files, main, relative_links, share_report
from lib.commands.source_identities import Sources, find_table, read_sources
from lib.errors import ConfigError
from tests.unit.scan_folders import change_headers, write_dicom

NOBODY = Sources(paths=(), identities={})
INDEX = """<a href="scans/batch-0/S001.html#top">S001</a> <img src='../figures/solid.png?v=1'>
<a href="https://example.org/x">x</a> <a href="#here">h</a> <img srcset="../figures/a%20b.svg 1x, data:,x 2x">
<script>const folders = ["scans/batch-0"]; make(`<a href="${x}">`)</script>"""


@pytest.fixture
def study(tmp_path):
    results = tmp_path / "study/results"
    for name, text in {
        "report/index.html": INDEX,
        "report/scans/batch-0/S001.html": '<a href="../../index.html">r</a> <a href="../../../tables/people.csv">',
        "report/scans/batch-0/S002.html": "only the page's program links it",
        "report/.snakemake_timestamp": "",
        "figures/solid.png": "png",
        "figures/a b.svg": "<svg/>",
        "figures/not-linked.svg": "<svg/>",
        "tables/people.csv": "scan\nS001\n",
        "tables/metrics.csv": "not linked",
    }.items():
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "study"


def test_it_holds_the_report_and_what_it_links(study, tmp_path):
    share_report(study, tmp_path / "out/hips.zip", NOBODY)
    with zipfile.ZipFile(tmp_path / "out/hips.zip") as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "elsewhere")
    assert names == {
        f"hips/{name}"
        for name in (
            *(
                "index.html",
                "report/index.html",
                "report/scans/batch-0/S001.html",
                "report/scans/batch-0/S002.html",
            ),
            *("figures/solid.png", "figures/a b.svg", "tables/people.csv"),
        )
    }
    for page in (tmp_path / "elsewhere").rglob("*.html"):
        for link in relative_links(page.read_text()):
            assert (page.parent / link).is_file(), link


def test_links_are_read_as_a_browser_does():
    assert list(relative_links(INDEX)) == [
        "scans/batch-0/S001.html",
        "../figures/solid.png",
        "../figures/a b.svg",
    ]


@pytest.mark.parametrize("link", ["../figures/missing.png", "../../../outside.txt", "/etc/passwd"])
def test_a_link_that_leads_nowhere_is_refused(study, tmp_path, link):
    (tmp_path / "outside.txt").touch()
    (study / "results/report/index.html").write_text(f'<a href="{link}">x</a>')
    with pytest.raises(SharingError, match="1 links of the report lead nowhere"):
        linked_files(study / "results")


@pytest.mark.parametrize(
    "text",
    ["<b>{study}/results</b>", "canary", "file://{quoted}", "from /Data/Source/x", "&#47;data/source/x"],
)
@pytest.mark.parametrize("name", ["report/index.html", "tables/people.csv", "figures/solid.svg"])
def test_paths_and_canaries_are_refused_and_nothing_is_written(study, tmp_path, text, name):
    (study / "results/report/index.html").write_text(
        '<a href="../tables/people.csv"><img src="../figures/solid.svg">'
    )
    (study / "results/figures/solid.svg").touch()
    with open(study / "results" / name, "a") as file:
        file.write(text.format(study=study, quoted=str(study).replace("-", "%2D")))
    with pytest.raises(SharingError, match=f"First: {name} holds") as error:
        share_report(study, tmp_path / "hips.zip", Sources(paths=("/data/source",), identities={}))
    assert not list(tmp_path.glob("*hips*")) and "/data" not in str(error.value).lower()


def test_an_existing_file_is_kept(study, tmp_path):
    (tmp_path / "hips.zip").write_text("mine")
    with pytest.raises(SharingError, match="exists already"):
        share_report(study, tmp_path / "hips.zip", NOBODY)
    assert (tmp_path / "hips.zip").read_text() == "mine"


def test_without_a_report_there_is_nothing_to_share(tmp_path):
    with pytest.raises(SharingError, match="run the study first"):
        share_report(tmp_path, tmp_path / "hips.zip", NOBODY)


@pytest.fixture
def sourced(study):
    """Return the study with a table of scans whose headers name somebody."""
    folder = write_dicom(study / "scans", "P001")
    change_headers(
        folder,
        PatientName="Doe^Jane",
        PatientID="AB-471100",
        PatientBirthDate="19510203",
        AccessionNumber="77",
    )
    (study / "study.yaml").write_text("cohort: cohort.csv\n")
    (study / "cohort.csv").write_text("scan,image\nS001,scans/P001/dicom\nS002,scans/missing.nii.gz\n")
    return study


@pytest.mark.parametrize(
    "text", ["Jane Doe", "DOE, JANE", "ab-471100", "AB_471100", "19510203", "1951-02-03"]
)
def test_names_ids_and_dates_of_headers_are_refused(sourced, tmp_path, text, capsys):
    with open(sourced / "results/tables/people.csv", "a") as file:
        file.write(f"{text}\n")
    assert main([str(sourced), str(tmp_path / "hips.zip")]) == 1
    said = capsys.readouterr().err
    assert "tables/people.csv holds a name, id or date" in said and text not in said


@pytest.mark.parametrize("text", ["Jane", "Doe", "0.19510203", "77", "S001", "ab-4711001"])
def test_what_occurs_by_chance_is_shared(sourced, tmp_path, text, capsys):
    with open(sourced / "results/tables/people.csv", "a") as file:
        file.write(f"{text}\n")
    assert main([str(sourced), str(tmp_path / "hips.zip")]) == 0
    printed = capsys.readouterr().out
    assert "1 scan could not be read" in printed and "3 pages" in printed


def test_ids_that_the_table_has_are_pseudonyms(study, tmp_path):
    folder = write_dicom(study / "scans", "P001")
    change_headers(folder, PatientName="HIP-STUDY-0001", PatientID="HIP-STUDY-0001", PatientBirthDate="")
    (study / "cohort.csv").write_text("scan,image,subject\nS001,scans/P001/dicom,HIP-STUDY-0001\n")
    sources = read_sources(study / "cohort.csv")
    assert not sources.identifies("hip-study-0001")
    assert str(study / "scans/P001") in sources.paths or str(study) in sources.paths


def test_a_table_that_is_not_found_must_be_named(study, tmp_path, capsys):
    with pytest.raises(ConfigError, match="--table"):
        find_table(study)
    (tmp_path / "mine.csv").write_text("scan,image\nS001,x.nii.gz\n")
    assert main([str(study), str(tmp_path / "hips.zip"), "--table", str(tmp_path / "mine.csv")]) == 0
    assert Path(tmp_path / "hips.zip").is_file()
