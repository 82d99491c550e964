"""Identifying data never leave the source: it is full of canaries, and every byte of the results is searched."""

import base64
import csv
import gzip
import json
import os
import re
import shutil
import struct
import zipfile
import zlib

import pytest
from canaries import DATE, FOLDER, TEXT, find_canaries
from conftest import OLD_PEOPLE

workflow = pytest.mark.workflow


@workflow
def test_no_canary_in_any_artefact(finished):
    assert (finished.folder / "source/P002" / FOLDER).is_dir()
    assert find_canaries(finished.folder / "results") == []


@workflow
def test_a_canary_in_one_of_the_artefacts_is_found(finished, tmp_path):
    shutil.copytree(finished.folder / "results/converted/P001", tmp_path / "P001")
    image = tmp_path / "P001/image.nii.gz"
    content = bytearray(gzip.decompress(image.read_bytes()))
    struct.pack_into("80s", content, 148, f"left hip of {TEXT.title()}".encode())
    image.write_bytes(gzip.compress(content))
    (found,) = find_canaries(tmp_path)
    assert found.startswith("P001/image.nii.gz: .gz unpacked holds canary")


@workflow
def test_old_people_are_not_told_apart(finished):
    results = finished.folder / "results"
    printed = {}
    for path in results.rglob("*.csv"):
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if "age" in row:
                    # people.csv has numbers only, and 90+ in a column of its own
                    oldest = row.get("age_90_or_older") == "yes"
                    assert not (oldest and row["age"]), path
                    printed.setdefault(row["scan"], set()).add("90+" if oldest else row["age"])
    for scan, age in OLD_PEOPLE.items():
        assert printed[scan] == {"90+"}, f"{scan} of {age} years"
    assert all(re.fullmatch(r"[1-8]?\d|90\+", age) for ages in printed.values() for age in ages)
    for path in results.rglob("*.json"):
        for age in ages_in(json.loads(path.read_text())):
            assert re.fullmatch(r"\d0-\d9|90\+", age), path
    page = (results / "report/index.html").read_text()
    assert '"90+"' in page
    scan_pages = {path.stem: path.read_text() for path in results.rglob("report/scans/*/*.html")}
    assert all("90+ years" in scan_pages[scan] for scan in OLD_PEOPLE)
    for old in OLD_PEOPLE.values():
        assert not re.search(rf'>{old}<|"{old}"|· {old} y|\bto {old}\b(?!\+)|\b{old} years', page)
        assert not [scan for scan, text in scan_pages.items() if re.search(rf"\b{old} (y|years)\b", text)]


def ages_in(content, of_age=False):
    """Return all values of keys `age` and `ages` in a JSON document, as text."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from ages_in(value, of_age or key in ("age", "ages"))
    elif isinstance(content, list):
        for item in content:
            yield from ages_in(item, of_age)
    elif of_age and content is not None:
        yield str(content)


@workflow
def test_failed_jobs_tell_nothing_of_the_source(study):
    """Files are damaged or lost after screening: the fault is reported without identifying the person."""
    damaged, lost = (study.folder / "source" / scan / FOLDER for scan in ("P002", "P004"))
    mask = damaged.parents[1] / "P006" / f"{FOLDER} mask.nii.gz"
    kept = {path: path.stat() for path in (damaged, lost, mask)}
    first = min(damaged.iterdir())
    half = first.read_bytes()[: first.stat().st_size // 2]
    first.unlink()  # other studies link to the file
    first.write_bytes(half)
    for path in sorted(lost.iterdir())[::2]:
        path.unlink()
    mask.unlink()
    mask.write_bytes(TEXT.encode() * 100)
    for path, stat in kept.items():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    targets = [f"results/converted/{scan}/image.nii.gz" for scan in ("P002", "P004")]
    targets.append("results/resampled/P006/labels.nii.gz")
    ended = study.call(*targets, "--keep-going", "--forcerun", *targets)
    assert ended.returncode != 0
    logs = study.folder / "results/logs"
    for log in ("convert_scan/P002.log", "convert_scan/P004.log", "resample_labels/P006.log"):
        text = (logs / log).read_text()
        assert " ERROR " in text and "Traceback" not in text and "unexpected" not in text, text
    assert find_canaries(study.folder / "results") == []


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_in_zip(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/0", content)


PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13))
HIDING_PLACES = {
    "plain.json": lambda path, text: path.write_bytes(text),
    ".hidden": lambda path, text: path.write_bytes(text),
    "twice.gz": lambda path, text: path.write_bytes(gzip.compress(gzip.compress(text))),
    "model.pt": packed_in_zip,
    "plain.png": lambda path, text: path.write_bytes(PNG + chunk(b"tEXt", b"Title\0" + text)),
    "packed.png": lambda path, text: path.write_bytes(
        PNG + chunk(b"zTXt", b"Title\0\0" + zlib.compress(text))
    ),
    "unicode.png": lambda path, text: path.write_bytes(
        PNG + chunk(b"iTXt", b"Title\0\1\0en\0Titel\0" + zlib.compress(text))
    ),
    "page.html": lambda path, text: path.write_bytes(
        b'<img src="data:image/png;base64,'
        + base64.b64encode(PNG + chunk(b"tEXt", b"Title\0" + text))
        + b'">'
    ),
}
SPELLINGS = {
    "small letters": f" {TEXT.lower()} ".encode(),
    "utf-16": f" {TEXT} ".encode("utf-16"),
    "date": f' "{DATE}" '.encode(),
    "date with dashes": b"1943-02-17",
    "date with points": b"17.02.1943",
    "time": b"06:19:43",
    "uid": b"2.25.47219430217980000",
    "age": b"age 093Y",
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_the_search_opens_every_layer(tmp_path, place):
    HIDING_PLACES[place](tmp_path / place, b"nothing")
    assert find_canaries(tmp_path) == []
    HIDING_PLACES[place](tmp_path / place, f"of {TEXT}00100010".encode())
    (found,) = find_canaries(tmp_path)
    assert found.startswith(f"{place}: ") and "canary00100010" in found


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_search_knows_every_spelling(tmp_path, spelling):
    (tmp_path / "table.csv").write_bytes(b"scan\n" + SPELLINGS[spelling])
    assert find_canaries(tmp_path)


def test_the_search_reads_names_and_targets_of_links(tmp_path):
    (tmp_path / "link").symlink_to(f"../{FOLDER}")
    assert any(found.startswith("link: link holds canary") for found in find_canaries(tmp_path))
    (tmp_path / FOLDER).mkdir()
    assert any(found.startswith(f"{FOLDER}: name holds canary") for found in find_canaries(tmp_path))


def test_long_numbers_hold_no_date_by_chance(tmp_path):
    (tmp_path / "table.csv").write_text(f"0.{DATE}55\n7{DATE}\n")
    assert find_canaries(tmp_path) == []


def test_the_search_refuses_kinds_of_files_it_cannot_open(tmp_path):
    (tmp_path / "figure.pdf").touch()
    with pytest.raises(ValueError, match=r"\.pdf"):
        find_canaries(tmp_path)
