"""The cohort table: one row for each scan, checked as a whole. Standard library only (read at each parse)."""

import csv
import difflib
import io
import itertools
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from lib.ages import age_years
from lib.catalog.calibration import ASYNCHRONOUS, METHODS, NONE, PHANTOM
from lib.catalog.scales import UNIT, is_density_without_scale, names_with_scale, scale_of_column
from lib.catalog.vendors import VENDORS
from lib.cohort.image_headers import Grid, image_header
from lib.cohort.sheet import Sheet, plain_cell, read_sheet, read_text
from lib.errors import TableError
from lib.target_columns import HIGHEST_DENSITY, LOWEST_DENSITY

_CALIBRATION_COLUMNS = ("phantom", "calibration", "calibration_scan", "scanner", "scan_order")
_USUAL_COLUMNS = (
    "scan", "image", "subject", "sex", "age", "site", "vendor", "series_uid", "contrast", "mask", "mask_label",
    "mask2", "levels_absent", "side", "repeat_of", "crop_x_mm", "crop_y_mm", "set", "exclude",
)  # fmt: skip
COLUMNS = (*_USUAL_COLUMNS, *_CALIBRATION_COLUMNS)
SIDES = ("left", "right")
SETS = ("auto", "train", "test", "apply", "external")
# used as file and folder name, and as a word of a command line
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
IDENTIFIER_RULE = "use letters, digits and '-' only, beginning with a letter or digit, at most 64 in all"
_OTHER_LINE_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")  # those in front of a number
_UNIT = re.compile(r"[_ ]*[(\[].*|_(years|mm)$")  # after the name of a column: age (years), age_years
_MOST_LABEL = 2**32 - 1
# values of unticked boxes, which mean the same as an empty cell
_NOTHING_SAID = frozenset(["0", "false", "no", "n", "none", "nan", "na", "n/a", "-", "."])
_DENSITY_RULE = (
    f"use {UNIT}, {LOWEST_DENSITY:g} to {HIGHEST_DENSITY:g} (decimals with a point), or leave it empty"
)
NO_TARGETS: Mapping[str, str] = MappingProxyType({})
# not formulas to a spreadsheet although they begin with a sign: numbers, and signs alone
_SIGNED = re.compile(r"[+-][\d.,]+%?|[+-]+")


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """One scan of the cohort table. Paths are as the run sees them; ages of 90 and more are kept as 90.

    Attributes (of those that are not the table's columns):
        levels_absent: structures that are left out, because the bone is missing, broken or filled.
        targets: structure -> its reference density, mg/cm3 in the scale of the study, without `levels_absent`.
        calibration: one of `lib.catalog.calibration.METHODS`.
        calibration_scan: the scan whose calibration is taken.
        scan_order: position among the scans of its scanner; None: not stated.
        extra: columns that `cohort_columns` names.
    """

    line: int
    scan: str
    image: str
    subject: str
    sex: str
    age: float | None
    site: str
    vendor: str
    series_uid: str
    contrast: str
    mask: str
    mask_labels: tuple[int, ...]
    mask2: str
    levels_absent: tuple[str, ...]
    targets: Mapping[str, float]
    side: str
    repeat_of: str
    center_mm_xy: tuple[float, float] | None
    set: str
    exclude: str
    phantom: str = ""
    calibration: str = NONE
    calibration_scan: str = ""
    scanner: str = ""
    scan_order: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_calibrated(self) -> bool:
        """Return whether the scan asks for a calibration of its density."""
        return self.calibration != NONE


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a study asks of its table: see `read_cohort`."""

    extra_columns: Sequence[str] = ()
    usual_side: str = "left"
    structures: Sequence[str] = ()
    targets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One error in the table: where it is, what was found, what is allowed."""

    line: int
    column: str
    came: str
    allowed: str

    def __str__(self) -> str:
        """Return the problem as one line of the message."""
        return f"row {self.line}, column {self.column}: {self.came!r}; {self.allowed}"


def read_cohort(
    table: str | Path,
    *,
    extra_columns: Sequence[str] = (),
    sex_required: bool = False,
    usual_side: str = "left",
    structures: Sequence[str] = (),
    targets: Mapping[str, str] = NO_TARGETS,
) -> dict[str, ScanRow]:
    """Read and check a cohort table; return its rows by scan id, in the table's order.

    Paths inside the table are relative to the table's folder. Comma, semicolon and tab are accepted as
    separators; blank rows are skipped. An empty cell `side` means `usual_side`. If the study has several `structures`
    (names), `mask_label` is refused. `targets` are the columns of reference densities by structure
    (`regression.targets`, as `lib.target_columns.check_targets` accepts them).

    Raises:
        TableError: the table cannot be read or has problems; the text lists every one with row and column.
    """
    table = Path(table)
    text = read_text(table, "cohort table", "cohort")
    asked = _Asked(extra_columns=extra_columns, usual_side=usual_side, structures=structures, targets=targets)
    rows, problems = _checked_rows(text, table, asked)
    used = [row for row in rows if not row.exclude]
    problems += _missing_sexes(used) if sex_required else []
    problems += [problem for row in used for problem in _missing_files(row)]
    problems += [problem for row in used for problem in grid_problems(row)]
    problems += [*_shared_images(used), *_shared_masks(used), *_unused_labels(used, structures)]
    problems += _contradicting_acquisitions(used)
    raise_problems(table, problems)
    return {row.scan: row for row in rows}


def planned_cohort(
    records: Iterable[Mapping[str, str]],
    table: str | Path,
    usual_side: str = "left",
    structures: Sequence[str] = (),
    targets: Mapping[str, str] = NO_TARGETS,
) -> dict[str, ScanRow]:
    """Return the rows of a table that the workflow will write to `table`; images need not exist yet."""
    table = Path(table)
    asked = _Asked(usual_side=usual_side, structures=structures, targets=targets)
    rows, problems = _checked_rows(table_text(records), table, asked)
    raise_problems(table, problems)
    return {row.scan: row for row in rows}


def require_phantoms(
    table: str | Path, rows: Iterable[ScanRow], phantoms: Collection[str], file: str
) -> None:
    """Check that every phantom of a table has a certificate.

    Args:
        table: path of the table.
        rows: its rows.
        phantoms: names of the phantoms with a certificate.
        file: name of the file of certificates; empty: there is none.

    Raises:
        TableError: a row names another phantom; the text lists all of them.
    """
    advice = (
        f"{file} has {', '.join(phantoms)}: correct the name, or write the certificate of this phantom there"
        if file
        else "set calibration.phantoms to the file with its certificate (docs/calibration.md)"
    )
    named = [row for row in rows if row.phantom and row.phantom not in phantoms]
    raise_problems(Path(table), [Problem(row.line, "phantom", row.phantom, advice) for row in named])


def table_text(records: Iterable[Mapping[str, str]]) -> str:
    """Return records (column -> text) as the text of a cohort table.

    Columns that it does not know come last, and those of a calibration only if a record has them.
    """
    records = list(records)
    further = dict.fromkeys(name for record in records for name in record if name not in _USUAL_COLUMNS)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*_USUAL_COLUMNS, *further], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def raise_problems(table: Path, problems: Iterable[Problem], what: str = "cohort table") -> None:
    """Raise a TableError that lists all problems in row order; return if there are none."""
    ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.column))
    if ordered:
        lines = "\n".join(f"  {problem}" for problem in ordered)
        count = f"{len(ordered)} problem" + ("s" if len(ordered) > 1 else "")
        raise TableError(
            f"{what} {table.name}: {count}; nothing was run. Rows are numbered as in a spreadsheet.\n{lines}"
        )


def header_problems(sheet: Sheet, required: Iterable[str], known: Sequence[str]) -> Iterable[Problem]:
    """Yield missing and duplicate columns, names similar to a known one, and rows with more cells than the header."""
    names, row = sheet.names, sheet.header_row
    for name in required:
        if name not in names:
            found = ", ".join(name if name.isprintable() else ascii(name) for name in names if name)
            advice = (
                "" if len(names) > 1 else ". Name them in the first row, separated by comma, semicolon or tab"
            )
            yield Problem(row, name, "no such column", f"columns found: {found or 'none'}{advice}")
    for name in names:
        if _OTHER_LINE_ENDS.search(name):
            yield Problem(
                row, ascii(name)[1:-1], name, "lines must end in a line feed: save the table as CSV again"
            )
    for name in {name for name in names if name and names.count(name) > 1}:
        yield Problem(row, name, name, "this column appears twice")
    for name in names:
        if name in known:
            continue
        plain = name.lower().strip().replace(" ", "_")
        if scale_of_column(plain) and plain not in known:
            continue  # densities of another structure or scale
        near = [_UNIT.sub("", plain)] if _UNIT.sub("", plain) in known else []
        near = near or difflib.get_close_matches(plain, known, n=1, cutoff=0.84)
        if near and near[0] not in names:
            yield Problem(row, name, name, f"did you mean {near[0]}?")
    for number, cells in sheet.rows:
        if any(map(plain_cell, cells[len(names) :])):
            advice = f"put text that holds {sheet.separator!r} in double quotes"
            text = f"only the header's {len(names)} cells are read: {advice}"
            yield Problem(number, names[-1], f"{len(cells)} cells", text)


def _checked_rows(text: str, table: Path, asked: _Asked) -> tuple[list[ScanRow], list[Problem]]:
    """Return the rows and their problems, except those of files."""
    problems: list[Problem] = []
    rows = [
        _row(line, record, table.parent, asked, problems) for line, record in _records(text, table, asked)
    ]
    rows = [row if row.side else replace(row, side=asked.usual_side) for row in rows]
    problems += _problems_between(rows)
    return rows, problems


def _missing_sexes(rows: Iterable[ScanRow]) -> list[Problem]:
    return [
        Problem(row.line, "sex", row.sex, "a group is defined by sex: give M or F")
        for row in rows
        if row.mask and not row.sex
    ]


def _records(text: str, table: Path, asked: _Asked) -> list[tuple[int, dict[str, str]]]:
    """Return number and cells of each row, after checking that there is a usable header and at least one row."""
    sheet = read_sheet(text, f"cohort table {table.name}")
    raise_problems(table, _header_problems(sheet, asked))
    if not sheet.rows:
        raise TableError(f"cohort table {table.name} has a header but no scan; give one row for each scan")
    return sheet.records


def _header_problems(sheet: Sheet, asked: _Asked) -> Iterable[Problem]:
    for name in sorted(set(asked.extra_columns) & set(COLUMNS)):
        # an age, a path or a UID would be quoted in full
        yield Problem(
            sheet.header_row,
            name,
            name,
            "cohort_columns may only name columns that the workflow does not know",
        )
    wanted = (*asked.extra_columns, *asked.targets.values())
    yield from header_problems(sheet, ("scan", "image", *wanted), (*COLUMNS, *wanted))
    for name in sheet.names if asked.targets else ():
        if name not in wanted and is_density_without_scale(name, asked.structures):
            allowed = (
                f"the name does not tell the scale of the densities: call it {names_with_scale(name)}, also in "
                "regression.targets"
            )
            yield Problem(sheet.header_row, name, name, allowed)


def _row(line: int, record: dict[str, str], folder: Path, asked: _Asked, problems: list[Problem]) -> ScanRow:
    """Turn one record into a ScanRow; add its errors to `problems`."""

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
    absent = _absent_levels(line, record, asked.structures, problems)
    return ScanRow(
        line=line,
        scan=scan,
        image=_located(folder, record.get("image", "")),
        subject=parse("subject", IDENTIFIER_RULE, _identifier, scan),
        sex=parse("sex", "use M or F, or leave it empty", {"M": "M", "F": "F"}.__getitem__, ""),
        age=parse(
            "age", "use years, 0 to 120 (or 90+; decimals with a point), or leave it empty", age_years, None
        ),
        site=plain_text(record.get("site", "")),
        vendor=parse("vendor", f"use {', '.join(VENDORS)}, or leave it empty", _one_of(VENDORS), ""),
        series_uid=parse("series_uid", "use digits and dots (a DICOM UID)", _uid, ""),
        contrast=parse("contrast", "use yes or no, or leave it empty", _one_of(("yes", "no")), ""),
        mask=_located(folder, record.get("mask", "")),
        mask_labels=parse("mask_label", "use whole numbers > 0, several separated by spaces", _labels, ()),
        mask2=_located(folder, record.get("mask2", "")),
        levels_absent=absent,
        targets={
            name: density
            for name, column in asked.targets.items()
            if (density := parse(column, _DENSITY_RULE, _density, None)) is not None and name not in absent
        },
        side=parse("side", "use left or right", _one_of(SIDES), ""),
        repeat_of=record.get("repeat_of", ""),
        center_mm_xy=_center(line, record, problems),
        set=parse("set", f"use {', '.join(SETS)}", _one_of(SETS), "auto"),
        exclude=parse("exclude", "give the reason; leave it empty to keep the scan", _reason, ""),
        **_calibration(record, parse),
        extra={name: plain_text(record.get(name, "")) for name in asked.extra_columns},
    )


def _calibration(record: Mapping[str, str], parse: Callable) -> dict[str, object]:
    """Return the fields of a row that say how its density is calibrated; `parse` is that of `_row`."""
    usual = PHANTOM if record.get("phantom") else NONE
    return {
        "phantom": record.get("phantom", ""),
        "calibration": parse(
            "calibration", f"use {', '.join(METHODS)}, or leave it empty", _one_of(METHODS), usual
        ),
        "calibration_scan": record.get("calibration_scan", ""),
        "scanner": plain_text(record.get("scanner", "")),
        "scan_order": parse("scan_order", "use a number (not a date), or leave it empty", _order, None),
    }


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Return a function that returns one of the names and raises a KeyError for any other text."""
    return {name: name for name in names}.__getitem__


def _density(text: str) -> float:
    density = float(text)
    if "_" in text or not LOWEST_DENSITY <= density <= HIGHEST_DENSITY:  # also true for nan
        raise ValueError(text)
    return density


def _order(text: str) -> float:
    order = float(text)
    if "_" in text or not math.isfinite(order):
        raise ValueError(text)
    return order


def _absent_levels(
    line: int, record: dict[str, str], structures: Sequence[str], problems: list[Problem]
) -> tuple[str, ...]:
    """Return the structures that a row leaves out, as the study spells them; any names if the study tells none."""
    names = [name for name in re.split(r"[\s;,]+", record.get("levels_absent", "")) if name]
    known = {name.lower(): name for name in structures or names}
    if unknown := [name for name in names if name.lower() not in known]:
        allowed = f"use names of structures, separated by blanks: {', '.join(known.values())}"
        problems.append(Problem(line, "levels_absent", " ".join(unknown), allowed))
    return tuple(dict.fromkeys(known[name.lower()] for name in names if name.lower() in known))


def plain_text(cell: str) -> str:
    """Return a cell that spreadsheets do not run as a formula: a formula gets an apostrophe before it."""
    return f"'{cell}" if cell[:1] in tuple("=@+-") and not _SIGNED.fullmatch(cell) else cell


def _identifier(text: str) -> str:
    if not IDENTIFIER.fullmatch(text):
        raise ValueError(text)
    return text


def _reason(text: str) -> str:
    if text.lower() in _NOTHING_SAID:
        raise ValueError(text)
    return plain_text(text)


def _uid(text: str) -> str:
    if not re.fullmatch(r"[0-9.]{1,64}", text):
        raise ValueError(text)
    return text


def _labels(text: str) -> tuple[int, ...]:
    labels = tuple(int(part) for part in re.split(r"[\s|+]+", text))
    if "_" in text or min(labels) < 1 or max(labels) > _MOST_LABEL:
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
        if "_" not in "".join(texts) and max(abs(x_mm), abs(y_mm)) < 10_000:  # also false for nan
            return x_mm, y_mm
    except ValueError:
        pass
    problems.append(
        Problem(
            line,
            "crop_x_mm, crop_y_mm",
            ", ".join(texts),
            "give both, as numbers in mm (LPS; decimals with a point)",
        )
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
                "Snakemake reads braces as wildcards: rename it, or make a link to it",
            )
        elif path and not os.path.exists(path):
            yield Problem(
                row.line, column, path, "there is no such file or folder (relative to the table's folder)"
            )


def grid_problems(row: ScanRow) -> Iterable[Problem]:
    """Yield masks whose header has a different grid from the image's, if both headers can be read cheaply.

    The mask of a DICOM series is checked when the scan is screened.
    """
    image = _grid_of(row.image)
    for column in ("mask", "mask2"):
        mask = _grid_of(getattr(row, column))
        # the position of a crop is checked when the scan is screened
        if image and mask and not image.may_hold(mask):
            yield Problem(row.line, column, f"{mask}", f"must lie on the image's grid, {image}")


def _grid_of(path: str) -> Grid | None:
    return image_header(path) if os.path.isfile(path) else None  # also false for an invalid file name


def _shared_images(rows: Sequence[ScanRow]) -> Iterable[Problem]:
    """Yield rows that name the image of another person, or one side of an image twice without `repeat_of`.

    If no subject is stated, different requests of one image (another side, mask or centre) are left to screening,
    which reports what is wrong with each and refuses the remaining ones by their voxels.
    """
    repeated = {row.scan: row.repeat_of for row in rows}
    images: dict[object, dict[str, list[ScanRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row.image:
            continue
        series = images[_file_identity(row.image)]
        # without a series_uid a row uses the only series, which may be that of the other row
        earlier = [*series[row.series_uid], *series[""]] if row.series_uid else sum(series.values(), [])
        for first in earlier:
            if advice := _conflict(row, first, repeated):
                yield Problem(row.line, "image", Path(row.image).name, advice)
                break
        series[row.series_uid].append(row)


def _contradicting_acquisitions(rows: Iterable[ScanRow]) -> Iterable[Problem]:
    """Yield rows of one image, such as its two hips, that differ in what holds for the whole acquisition."""
    firsts: dict[object, ScanRow] = {}
    for row in rows:
        first = firsts.setdefault((_file_identity(row.image), row.series_uid), row) if row.image else row
        for column in ("phantom", "scanner", "scan_order"):
            ours, theirs = getattr(row, column), getattr(first, column)
            if ours not in ("", None) and theirs not in ("", None) and ours != theirs:
                shown = [f"{value:g}" if isinstance(value, float) else value for value in (ours, theirs)]
                allowed = (
                    f"row {first.line} names the same image with {shown[1]!r}: they are one acquisition, so give "
                    "both rows one value"
                )
                yield Problem(row.line, column, shown[0], allowed)


def _conflict(row: ScanRow, first: ScanRow, repeated: Mapping[str, str]) -> str:
    """Return what is wrong with two rows of one image, and what to do; empty if nothing is wrong."""
    stated = row.subject != row.scan or first.subject != first.scan
    if stated and row.subject != first.subject:
        return (
            f"row {first.line} names it for subject {first.subject!r}: correct `image` or `subject`, or give "
            "each its own `series_uid`"
        )
    asked = [(each.mask, each.mask_labels, each.center_mm_xy) for each in (row, first)]
    if row.side != first.side or not (stated or asked[0] == asked[1]):
        return ""
    if first_scan(row.scan, repeated) == first_scan(first.scan, repeated):
        return ""
    return (
        f"row {first.line} names the same side of it: correct `image`, `series_uid` or `side`, remove one "
        "row, or give `repeat_of`"
    )


def first_scan(scan: str, repeated: Mapping[str, str]) -> str:
    """Return the first scan of a chain of repeats: the scan itself if it repeats none, nothing for a circle.

    Args:
        scan: its id.
        repeated: `repeat_of` of each scan.
    """
    passed = {scan}
    while first := repeated.get(scan):
        if first in passed:
            return ""
        passed.add(first)
        scan = first
    return scan


def _shared_masks(rows: Iterable[ScanRow]) -> Iterable[Problem]:
    """Yield masks that also belong to another person, and second readers' masks that equal the first reader's."""
    owners: dict[object, ScanRow] = {}
    for row in rows:
        identities = [_file_identity(path) if path else None for path in (row.mask, row.mask2)]
        for column, identity in zip(("mask", "mask2"), identities, strict=True):
            first = owners.setdefault(identity, row)
            if identity is not None and first.subject != row.subject:
                advice = f"row {first.line} names it for subject {first.subject!r}: correct `{column}` or `subject`"
                yield Problem(row.line, column, Path(getattr(row, column)).name, advice)
        if row.mask2 and identities[0] == identities[1]:
            name = Path(row.mask2).name
            yield Problem(
                row.line, "mask2", name, "this is the first reader's mask: give the second reader's"
            )


def _unused_labels(rows: Iterable[ScanRow], structures: Sequence[str]) -> Iterable[Problem]:
    """Yield rows with a `mask_label` in a study of several structures, whose values are settings."""
    if len(structures) > 1:
        for row in rows:
            if row.mask_labels:
                yield Problem(
                    row.line,
                    "mask_label",
                    " ".join(map(str, row.mask_labels)),
                    f"leave it empty: the study has several structures ({', '.join(structures)}), and their values "
                    "are set in `structures`",
                )


def _file_identity(path: str) -> object:
    """Return an identity of the file or folder behind a path, links resolved; the path if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return path
    return found.st_dev, found.st_ino


def _problems_between(rows: list[ScanRow]) -> Iterable[Problem]:
    """Yield problems across the columns of a row and across rows."""
    lines: dict[str, int] = {}
    for row in rows:
        if row.scan:
            first = lines.setdefault(row.scan.lower(), row.line)
            if first != row.line:
                yield Problem(
                    row.line, "scan", row.scan, f"ids must be unique (case is ignored): see row {first}"
                )
        if row.mask_labels and not row.mask:
            yield Problem(row.line, "mask_label", str(row.mask_labels[0]), "this row has no mask")
        if row.mask2 and not row.mask:
            yield Problem(
                row.line,
                "mask2",
                Path(row.mask2).name,
                "a second reader needs the first reader's `mask`",
            )
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
                    "a repeated scan must show the same side: give both one side",
                )
            elif _in_circle(row, by_scan):
                yield Problem(
                    row.line,
                    "repeat_of",
                    row.repeat_of,
                    "these scans repeat each other in a circle; leave one empty",
                )
    yield from _problems_of_people(rows)
    yield from _problems_of_calibrations(rows)


def _problems_of_calibrations(rows: Sequence[ScanRow]) -> Iterable[Problem]:
    """Yield calibrations without a phantom, and calibration scans that cannot be used."""
    by_scan = {row.scan: row for row in rows}
    for row in rows:
        if row.calibration == PHANTOM and not row.phantom:
            allowed = "name the phantom in the scan (column `phantom`), or use another method"
            yield Problem(row.line, "calibration", row.calibration, allowed)
        if row.calibration_scan and row.calibration != ASYNCHRONOUS:
            allowed = (
                f"it is read with calibration {ASYNCHRONOUS} only: write that in `calibration`, or empty it"
            )
            yield Problem(row.line, "calibration_scan", row.calibration_scan, allowed)
        if row.calibration == ASYNCHRONOUS:
            first = by_scan.get(row.calibration_scan)
            if allowed := _unusable_calibration_scan(row, first):
                yield Problem(row.line, "calibration_scan", row.calibration_scan, allowed)


def _unusable_calibration_scan(row: ScanRow, first: ScanRow | None) -> str:
    """Return why a row cannot take the calibration of the scan that it names; empty if it can."""
    if not row.calibration_scan:
        return f"calibration {ASYNCHRONOUS} needs it: name the scan of this table that shows the phantom"
    if first is None or first is row:
        return "name another scan of this table, which shows the phantom"
    if first.exclude:
        return f"row {first.line} is excluded: leave its `exclude` empty, or name another scan"
    if first.calibration != PHANTOM:
        return f"row {first.line} is not calibrated by a phantom: name its phantom in column `phantom`"
    return ""


def _in_circle(row: ScanRow, by_scan: dict[str, ScanRow]) -> bool:
    """Return whether the chain of scans that a row repeats leads back to it."""
    seen, repeated = {row.scan}, by_scan.get(row.repeat_of)
    while repeated is not None and repeated.scan not in seen:
        seen.add(repeated.scan)
        repeated = by_scan.get(repeated.repeat_of)
    return repeated is row


def _problems_of_people(rows: list[ScanRow]) -> Iterable[Problem]:
    """Yield contradictions between the scans of one person, and subjects who may be the same person."""
    yield from _alike_subjects(rows)
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
        sets = {row.set: row for row in scans if row.set in ("train", "test", "external")}
        for name, other in itertools.combinations(sets, 2):
            yield Problem(
                sets[other].line, "set", other, f"row {sets[name].line} puts the same subject into {name}"
            )


def _alike_subjects(rows: Iterable[ScanRow]) -> Iterable[Problem]:
    """Yield subjects that differ from an earlier one only in case or leading zeros: spreadsheets drop zeros."""
    spellings: dict[str, dict[str, ScanRow]] = defaultdict(dict)
    for row in rows:
        others = spellings[plain_spelling(row.subject)]
        if not row.subject or row.subject in others:
            continue
        for other, first in others.items():
            # ids of scans are reported elsewhere
            own_ids = other.lower() == row.subject.lower() and (first.scan, row.scan) == (other, row.subject)
            if not own_ids and may_be_one(other, row.subject):
                allowed = (
                    f"row {first.line} has {other!r}: if they are one person, write one of the two; else give "
                    "one of them another id, because case and leading zeros are ignored"
                )
                yield Problem(row.line, "subject", row.subject, allowed)
                break
        others[row.subject] = row


def plain_spelling(subject: str) -> str:
    """Return a subject in lower case and without leading zeros: subjects who may be one person share it."""
    return _ZEROS.sub("", subject.lower())


def may_be_one(subject: str, other: str) -> bool:
    """Return whether two subjects of one `plain_spelling` may be two spellings of one person.

    Ids of one length whose zeros differ in position (1-01 and 10-1) may not: no spreadsheet moves zeros.
    """
    return subject.lower() == other.lower() or len(subject) != len(other)
