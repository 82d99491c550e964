"""The cohort table: one row a scan, checked as a whole. Standard library only (read at each parse)."""

import csv
import difflib
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.ages import age_years
from lib.cohort.headers import Grid, image_header
from lib.errors import TableError

COLUMNS = (
    "scan", "image", "subject", "sex", "age", "site", "series_uid", "mask", "mask_label", "mask2", "side",
    "repeat_of", "crop_x_mm", "crop_y_mm", "set", "exclude",
)  # fmt: skip
SIDES = ("left", "right")
SETS = ("auto", "train", "test", "apply")
# names files and folders, and may stand alone on a command line
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
IDENTIFIER_RULE = "use letters, digits and '-' only, a letter or digit first, 64 of them at most"
# no formula to a spreadsheet, although the first letter is a sign: numbers, and signs alone
_SIGNED = re.compile(r"[+-][\d.,]+%?|[+-]+")


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """One scan of the cohort table. Paths are as the run sees them; ages of 90 and more are kept as 90."""

    line: int
    scan: str
    image: str
    subject: str
    sex: str
    age: float | None
    site: str
    series_uid: str
    mask: str
    mask_labels: tuple[int, ...]
    mask2: str
    side: str
    repeat_of: str
    center_mm_xy: tuple[float, float] | None
    set: str
    exclude: str
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the table: where, what came, what is allowed."""

    line: int
    column: str
    came: str
    allowed: str

    def __str__(self) -> str:
        """Return the problem as one line of the message."""
        return f"row {self.line}, column {self.column}: {self.came!r}; {self.allowed}"


def read_cohort(
    table: str | Path, *, extra_columns: Sequence[str] = (), sex_required: bool = False
) -> dict[str, ScanRow]:
    """Read and check a cohort table; return its rows by scan id, in the table's order.

    Paths inside the table are relative to the table's folder. Comma, semicolon and tab are accepted as
    separators.

    Raises:
        TableError: the table cannot be read or has problems; the text lists every one with row and column.
    """
    table = Path(table)
    text = read_text(table, "cohort table", "cohort")
    rows, problems = _checked_rows(text, table, extra_columns, sex_required)
    problems += [problem for row in rows if not row.exclude for problem in _missing_files(row)]
    problems += [problem for row in rows if not row.exclude for problem in grid_problems(row)]
    raise_problems(table, problems)
    return {row.scan: row for row in rows}


def planned_cohort(records: Iterable[Mapping[str, str]], table: str | Path) -> dict[str, ScanRow]:
    """Return the rows of a table that the workflow itself will write to `table`; no image need be there."""
    table = Path(table)
    rows, problems = _checked_rows(table_text(records), table, (), False)
    raise_problems(table, problems)
    return {row.scan: row for row in rows}


def table_text(records: Iterable[Mapping[str, str]]) -> str:
    """Return records (column -> text) as the text of a cohort table."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def raise_problems(table: Path, problems: Iterable[Problem], what: str = "cohort table") -> None:
    """Raise a TableError that lists all problems in the order of rows; return if there are none."""
    ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.column))
    if ordered:
        lines = "\n".join(f"  {problem}" for problem in ordered)
        count = f"{len(ordered)} problem" + ("s" if len(ordered) > 1 else "")
        raise TableError(f"{what} {table.name}: {count}; nothing was run. Row 1 is the header.\n{lines}")


def read_text(table: Path, what: str, setting: str) -> str:
    """Return the text of a table that a person wrote; `what` it is and the `setting` that names it go into errors.

    Raises:
        TableError: there is no such file, or it is no UTF-8 text.
    """
    try:
        return table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TableError(f"{what} {table} does not exist; set `{setting}` to its path") from None
    except (ValueError, OSError) as error:  # no UTF-8; or no path, such as one with a zero byte
        raise TableError(
            f"{what} {table.name} cannot be read as UTF-8 text ({type(error).__name__}); save it as CSV (UTF-8)"
        ) from None


def split_table(text: str) -> tuple[list[str], list[dict[str, str]], list[Problem]]:
    """Return the column names of a CSV text (comma, semicolon or tab) and its rows, all without blanks around.

    With them go the rows that have more cells than the header.

    Raises:
        TableError: it is no CSV.
    """
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=separator, skipinitialspace=True)
    names = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = names
    try:
        records = list(reader)
    except csv.Error as error:
        raise TableError(
            f"line {reader.line_num} of a table cannot be read as CSV ({error}); mend it"
        ) from None
    advice = (
        f"only the header's {len(names)} cells are read: put text that holds {separator!r} in double quotes"
    )
    problems = [
        Problem(line, names[-1], f"{len(names) + len(record[None])} cells", advice)
        for line, record in enumerate(records, start=2)
        if any(cell.strip() for cell in record.get(None, ()))
    ]
    rows = [{key: (value or "").strip() for key, value in record.items() if key} for record in records]
    return names, rows, problems


def header_problems(names: list[str], required: Iterable[str], known: Sequence[str]) -> Iterable[Problem]:
    """Yield required columns that are missing, columns that are there twice, and names like a known one."""
    for name in required:
        if name not in names:
            yield Problem(
                1, name, "no such column", f"columns found: {', '.join(filter(None, names)) or 'none'}"
            )
    for name in {name for name in names if name and names.count(name) > 1}:
        yield Problem(1, name, name, "this column is there twice")
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(name.lower().replace(" ", "_"), known, n=1, cutoff=0.84)
        if near and near[0] not in names:
            yield Problem(1, name, name, f"did you mean {near[0]}?")


def _checked_rows(
    text: str, table: Path, extra_columns: Sequence[str], sex_required: bool
) -> tuple[list[ScanRow], list[Problem]]:
    """Return the rows and what is wrong with them, files apart."""
    problems: list[Problem] = []
    rows = [
        _row(line, record, table.parent, extra_columns, problems)
        for line, record in enumerate(_records(text, table, extra_columns), start=2)
    ]
    problems += _problems_between(rows)
    if sex_required:
        problems += [
            Problem(row.line, "sex", row.sex, "a cohort is defined by sex: give M or F")
            for row in rows
            if row.mask and not row.sex and not row.exclude
        ]
    return rows, problems


def _records(text: str, table: Path, extra_columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the table's rows as text, after checking that it has a usable header and at least one row."""
    names, records, problems = split_table(text)
    raise_problems(table, [*_header_problems(names, extra_columns), *problems])
    if not records:
        raise TableError(f"cohort table {table.name} has a header but no scan; give one row for each scan")
    return records


def _header_problems(names: list[str], extra_columns: Sequence[str]) -> Iterable[Problem]:
    for name in sorted(set(extra_columns) & set(COLUMNS)):
        # an age, a path or a UID would be repeated as it stands
        yield Problem(1, name, name, "cohort_columns may only name columns that the workflow does not know")
    yield from header_problems(names, ("scan", "image", *extra_columns), (*COLUMNS, *extra_columns))


def _row(
    line: int, record: dict[str, str], folder: Path, extra_columns: Sequence[str], problems: list[Problem]
) -> ScanRow:
    """Turn one record into a ScanRow, adding what is wrong with it to `problems`."""

    def parse(column: str, allowed: str, convert: Callable, default: object) -> object:
        text = record.get(column, "")
        if not text:
            return default
        try:
            return convert(text)
        except (ValueError, KeyError):
            problems.append(Problem(line, column, text, allowed))
            return default

    scan = parse("scan", IDENTIFIER_RULE, _identifier, "")
    if not record.get("scan"):
        problems.append(Problem(line, "scan", "", "every row needs a scan id (a pseudonym)"))
    if not record.get("image"):
        problems.append(Problem(line, "image", "", "give the path of the scan's image"))
    return ScanRow(
        line=line,
        scan=scan,
        image=_located(folder, record.get("image", "")),
        subject=parse("subject", IDENTIFIER_RULE, _identifier, scan),
        sex=parse("sex", "use M or F, or leave it empty", {"M": "M", "F": "F"}.__getitem__, ""),
        age=parse("age", "use years, 0 to 120 (or 90+), or leave it empty", age_years, None),
        site=plain_text(record.get("site", "")),
        series_uid=parse("series_uid", "use digits and dots (a DICOM UID)", _uid, ""),
        mask=_located(folder, record.get("mask", "")),
        mask_labels=parse("mask_label", "use whole numbers > 0, several separated by spaces", _labels, ()),
        mask2=_located(folder, record.get("mask2", "")),
        side=parse("side", "use left or right", {side: side for side in SIDES}.__getitem__, "left"),
        repeat_of=record.get("repeat_of", ""),
        center_mm_xy=_center(line, record, problems),
        set=parse("set", f"use {', '.join(SETS)}", {name: name for name in SETS}.__getitem__, "auto"),
        exclude=plain_text(record.get("exclude", "")),
        extra={name: plain_text(record.get(name, "")) for name in extra_columns},
    )


def plain_text(cell: str) -> str:
    """Return a cell so that no spreadsheet which opens our tables runs it: a formula gets an apostrophe before it."""
    return f"'{cell}" if cell[:1] in tuple("=@+-") and not _SIGNED.fullmatch(cell) else cell


def _identifier(text: str) -> str:
    if not IDENTIFIER.fullmatch(text):
        raise ValueError(text)
    return text


def _uid(text: str) -> str:
    if not re.fullmatch(r"[0-9.]{1,64}", text):
        raise ValueError(text)
    return text


def _labels(text: str) -> tuple[int, ...]:
    labels = tuple(int(part) for part in re.split(r"[\s|+]+", text))
    if min(labels) < 1:
        raise ValueError(text)
    return labels


def _located(folder: Path, path: str) -> str:
    return str(folder / path) if path else ""


def _center(line: int, record: dict[str, str], problems: list[Problem]) -> tuple[float, float] | None:
    texts = [record.get(column, "") for column in ("crop_x_mm", "crop_y_mm")]
    if not any(texts):
        return None
    try:
        x_mm, y_mm = (float(text) for text in texts)
        if max(abs(x_mm), abs(y_mm)) < 10_000:  # also false for nan
            return x_mm, y_mm
    except ValueError:
        pass
    problems.append(
        Problem(line, "crop_x_mm, crop_y_mm", ", ".join(texts), "give both, as numbers in mm (LPS)")
    )
    return None


def _missing_files(row: ScanRow) -> Iterable[Problem]:
    for column in ("image", "mask", "mask2"):
        path = getattr(row, column)
        if "{" in path or "}" in path:
            yield Problem(
                row.line,
                column,
                path,
                "Snakemake takes braces for wildcards: rename it, or make a link to it",
            )
        elif path and not os.path.exists(path):
            yield Problem(
                row.line, column, path, "there is no such file or folder (relative to the table's folder)"
            )


def grid_problems(row: ScanRow) -> Iterable[Problem]:
    """Yield masks whose header shows another grid than the image's, where both headers can be read cheaply.

    A DICOM series has no such header: its mask is checked when the scan is screened.
    """
    image = _grid_of(row.image)
    for column in ("mask", "mask2"):
        mask = _grid_of(getattr(row, column))
        # where voxels of a crop lie is seen when the scan is screened
        if image and mask and not (image.matches(mask) or image.may_hold(mask)):
            yield Problem(row.line, column, f"{mask}", f"must lie on the image's grid, {image}")


def _grid_of(path: str) -> Grid | None:
    return image_header(path) if os.path.isfile(path) else None  # false, too, for what no file can be called


def _problems_between(rows: list[ScanRow]) -> Iterable[Problem]:
    """Yield what is wrong across columns of a row and across rows."""
    lines: dict[str, int] = {}
    for row in rows:
        if row.scan:
            first = lines.setdefault(row.scan.lower(), row.line)
            if first != row.line:
                yield Problem(
                    row.line, "scan", row.scan, f"ids must be unique (capitals do not count): see row {first}"
                )
        if row.mask_labels and not row.mask:
            yield Problem(row.line, "mask_label", str(row.mask_labels[0]), "there is no mask in this row")
        if row.mask2 and not row.mask:
            yield Problem(row.line, "mask2", Path(row.mask2).name, "a second reader needs a first: `mask`")
        if row.set in ("train", "test") and not row.mask:
            yield Problem(row.line, "set", row.set, "a scan without a mask can only be auto or apply")
    by_scan = {row.scan: row for row in rows}
    for row in rows:
        if row.repeat_of:
            first = by_scan.get(row.repeat_of)
            if first is None or first is row:
                yield Problem(row.line, "repeat_of", row.repeat_of, "name another scan of this table")
            elif first.subject != row.subject:
                yield Problem(
                    row.line, "repeat_of", row.repeat_of, "a repeated scan must be of the same subject"
                )
            elif first.side != row.side:
                yield Problem(
                    row.line,
                    "repeat_of",
                    row.repeat_of,
                    "a repeated scan must show the same hip: give both one side",
                )
            elif _in_circle(row, by_scan):
                yield Problem(
                    row.line,
                    "repeat_of",
                    row.repeat_of,
                    "scans repeat one another in a circle; leave one empty",
                )
    yield from _problems_of_people(rows)


def _in_circle(row: ScanRow, by_scan: dict[str, ScanRow]) -> bool:
    """Return whether the scans that a row repeats, one after the other, lead back to it."""
    seen, repeated = {row.scan}, by_scan.get(row.repeat_of)
    while repeated is not None and repeated.scan not in seen:
        seen.add(repeated.scan)
        repeated = by_scan.get(repeated.repeat_of)
    return repeated is row


def _problems_of_people(rows: list[ScanRow]) -> Iterable[Problem]:
    """Yield contradictions between the scans of one person."""
    people: dict[str, list[ScanRow]] = defaultdict(list)
    for row in rows:
        if row.subject:
            people[row.subject].append(row)
    for scans in people.values():
        first = scans[0]
        for row in scans[1:]:
            if row.sex != first.sex:
                yield Problem(
                    row.line, "sex", row.sex, f"row {first.line} has {first.sex!r} for the same subject"
                )
        sets = {row.set: row for row in scans if row.set in ("train", "test")}
        if len(sets) > 1:
            yield Problem(
                sets["test"].line, "set", "test", f"row {sets['train'].line} puts the same subject into train"
            )
