"""Pack a study's report into a zip file that opens on another machine.

    python -m lib.commands.share STUDY FILE.zip

The file holds the report with its pages, and the pictures, figures and tables that they link. It is written whole or
not at all, and only if every link leads to a file in it, and no text holds a path of this machine or an identity.
"""

import argparse
import os
import re
import sys
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lib.atomic import whole_file
from lib.commands.beginning.found import number_of
from lib.commands.source_identities import Sources, find_table, read_sources
from lib.errors import OsteoflowError

START = "report/index.html"
CANARY = "CANARY"  # of the synthetic cohorts (lib.phantom.series.identity): no page of theirs may hold it
MOST_TOLD = 5
_LINKING = ("href", "src", "poster", "data")
_TEXTS = (".html", ".csv", ".tsv", ".svg", ".json", ".txt", ".md", ".css", ".js")
_PACKED = (".png", ".webp", ".jpg", ".gz", ".zip", ".pdf")
_FIRST_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={start}"><title>Report</title></head>
<body><p><a href="{start}">The report</a></p></body>
</html>
"""


class SharingError(OsteoflowError):
    """A report cannot be shared."""


def share_report(study: Path, target: Path, sources: Sources) -> list[str]:
    """Write the report of a study and all that it links as a zip file; return the names in it.

    Args:
        study: the study's folder.
        target: the zip file; it must not exist.
        sources: paths and identities of the scans, which may not be in it.

    Raises:
        SharingError: there is no report, a link leads nowhere, or a text may not be shared. Nothing was written.
    """
    results = study / "results"
    if not (results / START).is_file():
        raise SharingError(f"{results / START} does not exist yet: run the study first")
    if target.exists():
        raise SharingError(f"{target} exists already; nothing was written. Give another name, or remove it")
    files = linked_files(results)
    _refuse_identities(results, files, (*sources.paths, *paths_of(study)), sources)
    top = target.stem
    with whole_file(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{top}/index.html", _FIRST_PAGE.format(start=START))
        for name in files:
            kind = zipfile.ZIP_STORED if name.endswith(_PACKED) else zipfile.ZIP_DEFLATED
            archive.write(results / name, f"{top}/{name}", kind)
    return files


def linked_files(results: Path) -> list[str]:
    """Return all files of the report, and all that its pages link, relative to `results`.

    Raises:
        SharingError: a link leads to no file, or out of `results`.
    """
    # pages of scans are linked by the page's program, from data: all of the report's own files belong to it
    own = sorted(
        path for path in (results / "report").rglob("*") if path.is_file() and not _is_hidden(path, results)
    )
    files = dict.fromkeys(path.relative_to(results).as_posix() for path in own)
    broken = []
    for name in [name for name in files if name.endswith(".html")]:
        for link in relative_links((results / name).read_text(encoding="utf-8")):
            led = os.path.normpath(os.path.join(os.path.dirname(name), link))
            if led.startswith(("..", "/")) or not (results / led).is_file():
                broken.append(f"{name}: {link}")
            else:
                files[Path(led).as_posix()] = None
    if broken:
        raise SharingError(
            f"{len(broken)} links of the report lead nowhere; nothing was written. Make the report again "
            f"(snakemake … --forcerun write_report write_scan_pages). First: {'; '.join(broken[:MOST_TOLD])}"
        )
    return sorted(files)


class _Links(HTMLParser):
    """Collects what a page links and shows; the text of its program is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the links of an element."""
        for name, value in attrs:
            if name in _LINKING:
                self.found.append((value or "").strip())
            elif name == "srcset":
                self.found += [part.split()[0] for part in re.split(r",\s+", value or "") if part.split()]


def relative_links(page: str) -> Iterator[str]:
    """Yield the paths that a page links or shows, without those of other servers and places in the page itself."""
    links = _Links()
    links.feed(page)
    links.close()
    for link in links.found:
        parts = urlsplit(link)
        if parts.path and not parts.scheme and not parts.netloc:
            yield unquote(parts.path)


def paths_of(study: Path) -> list[str]:
    """Return the absolute path of a study, also without links, and that of the user's folder."""
    ways = {str(study.absolute()), str(study.resolve()), str(Path.home())}
    return [way for way in ways if len(Path(way).parts) > 2]


def _refuse_identities(results: Path, files: Iterable[str], paths: Collection[str], sources: Sources) -> None:
    """Refuse texts that hold a path of this machine, a canary or an identity; capitals do not matter.

    Raises:
        SharingError: the text names files and kinds, not what was found.
    """
    found = []
    for name in files:
        if not name.endswith(_TEXTS):
            continue
        raw = (results / name).read_text(encoding="utf-8", errors="replace")
        text = f"{name}\n{unescape(raw)}\n{unquote(raw)}".lower()
        found += [f"{name} holds an absolute path"] if any(path.lower() in text for path in paths) else []
        found += [f"{name} holds an identity canary"] if CANARY.lower() in text else []
        found += (
            [f"{name} holds a name, id or date of the scans' headers"] if sources.identifies(text) else []
        )
    if found:
        raise SharingError(
            f"{len(found)} texts may not leave this machine; nothing was written. Correct the table's ids or the "
            f"comments of the review, and make the report again. First: {'; '.join(found[:MOST_TOLD])}"
        )


def _is_hidden(path: Path, results: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(results).parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.commands.share", description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path, help="the study's folder")
    parser.add_argument("file", type=Path, help="the zip file to write")
    parser.add_argument(
        "--table", type=Path, help="the cohort table (default: the one that study.yaml names)"
    )
    options = parser.parse_args(arguments)
    try:
        table = options.table or find_table(options.study)
        sources = read_sources(table)
        files = share_report(options.study, options.file, sources)
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{options.file} cannot be written ({error.strerror}); give another name", file=sys.stderr)
        return 1
    if sources.unread:
        print(
            f"{number_of(sources.unread, 'scans')} could not be read: names and ids of these were not looked for"
        )
    size_mb = options.file.stat().st_size / 1e6
    pages = sum(name.endswith(".html") for name in files)
    print(
        f"{options.file}: {len(files)} files, {pages} pages, {size_mb:.1f} MB. Unpack it and open index.html"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
