"""Cutting a cohort table into parts, each run as a separate study. Standard library only.

    FOLDER/part-01/cohort.csv, FOLDER/part-02/cohort.csv, ...

All scans of a person, including repeated scans, stay in one part. An existing part is never changed: if the table has
grown, scans that are in no part go into further parts.
"""

import argparse
import csv
import io
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import write_text
from lib.cohort.sheet import plain_cell, read_sheet, read_text
from lib.cohort.table import ScanRow, read_cohort
from lib.errors import ConfigError, OsteoflowError, TableError

TABLE = "cohort.csv"
PATH_COLUMNS = ("image", "mask", "mask2")
MOST_LISTED = 10  # at most this many names of scans are listed; the rest is counted
_NAME = re.compile(r"part-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The result of cutting a table.

    Attributes:
        written: scans of each new part, by the part's name.
        kept: number of the table's scans that were already in a part.
        notes: remarks on existing parts, one sentence each.
    """

    written: Mapping[str, Sequence[str]]
    kept: int
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """A table as written, with every cell unchanged."""

    separator: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def cut_cohort(table: str | Path, folder: str | Path, scans: int) -> Cut:
    """Cut a cohort table into parts of at most `scans` scans below `folder`, people in table order.

    A person with more scans than that gets a separate part. Relative paths of images and masks are made relative to
    the part's folder; all other cells are kept.

    Raises:
        ConfigError: `scans` is below 1.
        TableError: the table has problems, or a new scan is of a person who has a part. Nothing was written.
    """
    if scans < 1:
        raise ConfigError(f"--scans is {scans}; expected a whole number of at least 1")
    table, folder = Path(table), Path(folder)
    cohort = read_cohort(table)
    sheet = _from_parts(_read_sheet(table), table.parent, folder)
    rows = dict(zip(cohort, sheet.rows, strict=True))
    former = _read_parts(folder)
    part_of = {scan: part for part, records in former.items() for scan in records}
    new = [row for row in cohort.values() if row.scan not in part_of]
    _refuse_torn_people(new, former, rows, sheet)
    written, first, shares = {}, _next_number(folder), list(_shares(new, scans))
    _refuse_torn_calibrations(cohort, part_of, shares)
    for number, share in enumerate(shares, start=first):
        part = f"part-{number:02d}"
        (folder / part).mkdir(parents=True)
        write_text(
            folder / part / TABLE, _text([sheet.header, *(rows[scan] for scan in share)], sheet.separator)
        )
        written[part] = share
    return Cut(
        written=written,
        kept=len(cohort) - len(new),
        notes=[*_changed(rows, sheet.header, folder, former), *_gone(cohort, part_of)],
    )


def _read_sheet(table: Path) -> _Sheet:
    """Read a table that has already been checked."""
    sheet = read_sheet(read_text(table, "cohort table", "cohort"), f"cohort table {table.name}")
    return _Sheet(separator=sheet.separator, header=sheet.header, rows=[cells for _, cells in sheet.rows])


def _from_parts(sheet: _Sheet, origin: Path, folder: Path) -> _Sheet:
    """Return a sheet of `origin` whose relative paths are relative to the folder of a part below `folder`."""
    way = os.path.relpath(os.path.realpath(origin), os.path.join(os.path.realpath(folder), "part"))
    places = [place for place, name in enumerate(sheet.header) if plain_cell(name) in PATH_COLUMNS]
    rows = [
        [_moved(cell, way) if place in places else cell for place, cell in enumerate(row)]
        for row in sheet.rows
    ]
    return _Sheet(separator=sheet.separator, header=sheet.header, rows=rows)


def _moved(path: str, way: str) -> str:
    path = plain_cell(path)
    # the path is not normalised: `a/..` is another folder if `a` is a link
    return path if not path or os.path.isabs(path) else os.path.join(way, path)


def _text(rows: Iterable[Sequence[str]], separator: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _shares(rows: Iterable[ScanRow], most: int) -> Iterator[list[str]]:
    """Yield the scans of one part after another: whole people, as many as fit."""
    people: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        people[row.subject].append(row.scan)
    share: list[str] = []
    for scans in people.values():
        if share and len(share) + len(scans) > most:
            yield share
            share = []
        share = share + scans
    if share:
        yield share


def _next_number(folder: Path) -> int:
    """Return a number above that of every part; a part without a table may be left by an interrupted command."""
    names = (_NAME.fullmatch(path.name) for path in folder.glob("part-*"))
    return 1 + max((int(name[1]) for name in names if name), default=0)


def _read_parts(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return the rows of each existing part, by the part's name and by scan."""
    tables = sorted(table for table in folder.glob(f"part-*/{TABLE}") if _NAME.fullmatch(table.parent.name))
    parts = {}
    for table in tables:
        sheet = read_sheet(read_text(table, "cohort table", "cohort"), f"cohort table {table}")
        parts[table.parent.name] = {record.get("scan", ""): record for _, record in sheet.records}
    return parts


def _refuse_torn_people(
    new: Iterable[ScanRow],
    former: Mapping[str, Mapping[str, Mapping[str, str]]],
    rows: Mapping[str, Sequence[str]],
    sheet: _Sheet,
) -> None:
    """Refuse new scans of people who already have a part; the error lists the lines to add to each table."""
    home = {
        record.get("subject") or scan: part
        for part, records in former.items()
        for scan, record in records.items()
    }
    torn: dict[str, list[str]] = defaultdict(list)
    for row in new:
        if row.subject in home:
            torn[home[row.subject]].append(row.scan)
    if not torn:
        return
    count = sum(map(len, torn.values()))
    lines = [
        f"{part}/{TABLE}:\n{_text((rows[scan] for scan in scans), sheet.separator)}"
        for part, scans in sorted(torn.items())
    ]
    raise TableError(
        f"{count} new scan{'s are' if count > 1 else ' is'} of people who already have a part; nothing was written. "
        "All scans of a person belong in one part, and an existing part is never changed automatically. Add "
        "these lines to the end of its table, give the same command again, then run that part again: only the new "
        f"scans are computed. Columns: {sheet.separator.join(sheet.header)}\n" + "".join(lines).rstrip("\n")
    )


def _refuse_torn_calibrations(
    cohort: Mapping[str, ScanRow], part_of: Mapping[str, str], shares: Iterable[Sequence[str]]
) -> None:
    """Refuse a cut between a scan and the scan of the phantom whose calibration it takes (`calibration_scan`)."""
    places = part_of | {scan: f"new {number}" for number, share in enumerate(shares) for scan in share}
    torn = [
        scan
        for scan, row in cohort.items()
        if row.calibration_scan and places.get(scan) != places.get(row.calibration_scan)
    ]
    if torn:
        raise TableError(
            f"{_listed(torn)}: the scan named by `calibration_scan` would be in another part; nothing was written. "
            "Cut the table by scanner yourself, each part with the scans of its phantom, or raise --scans"
        )


def _changed(
    rows: Mapping[str, Sequence[str]],
    header: Sequence[str],
    folder: Path,
    former: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> Iterator[str]:
    """Report scans whose cells in the table differ from those in their part, which is not changed."""
    names = [plain_cell(name) for name in header]
    for part, records in former.items():
        differing = []
        for scan in records.keys() & rows.keys():
            now = {name: plain_cell(cell) for name, cell in zip(names, rows[scan], strict=False)}
            shared = [name for name in now if name in records[scan]]
            if any(now[name] != records[scan][name] for name in shared):
                differing.append(scan)
        if differing:
            yield (
                f"{part} was not changed, but the table has other values for {_listed(sorted(differing))}: change "
                f"{folder / part / TABLE} by hand if the table is correct"
            )


def _gone(cohort: Mapping[str, ScanRow], part_of: Mapping[str, str]) -> Iterator[str]:
    """Report scans of the parts that are no longer in the table."""
    gone = [f"{scan} ({part})" for scan, part in part_of.items() if scan not in cohort]
    if gone:
        yield (
            f"no longer in the table, but still in their parts: {_listed(gone)}; to leave a scan out, give a reason "
            "in `exclude` of its part's table"
        )


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def main(arguments: list[str] | None = None) -> int:
    """Cut a table and print the parts; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.commands.parts.cut", description=__doc__.split("\n")[0]
    )
    parser.add_argument("table", type=Path, help="the cohort table")
    parser.add_argument("folder", type=Path, help="folder in which the parts are created")
    parser.add_argument(
        "--scans", type=int, default=5000, help="maximum number of scans in a part (default: 5000)"
    )
    options = parser.parse_args(arguments)
    try:
        cut = cut_cohort(options.table, options.folder, options.scans)
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    for part, scans in cut.written.items():
        print(f"{options.folder / part / TABLE}: {len(scans)} scans")
    if not cut.written:
        print(f"every scan is already in a part ({cut.kept}); nothing was written")
    for note in cut.notes:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
