"""Reading a table typed by hand or saved by a spreadsheet, with the spreadsheet's row numbers. Standard library only.

Blank lines and rows of separators alone are skipped but counted. A quoted cell may contain line ends. A first line
`sep=;`, which tells spreadsheets the separator, is not a row of the table.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.errors import TableError

SEPARATORS = ",;\t"
# whitespace of all kinds and invisible characters: byte order mark, zero-width spaces, direction marks
_AROUND = r"[\s\ufeff\u200b-\u200f\u202a-\u202e\u2060\u00ad]+"
_EDGES = re.compile(rf"\A{_AROUND}|{_AROUND}\Z")
_SEP_LINE = re.compile(r'"?sep=(?P<sign>[^"\n])"?[,;\t ]*(?:\n|\Z)', re.IGNORECASE)
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods; xls
_SHARE_OF_ZEROS = (
    4  # one zero byte in four is not an accident: UTF-16 without a byte order mark can be valid UTF-8
)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The non-empty rows of a table.

    Attributes:
        separator: the separator of the cells.
        header_row: number of the row that names the columns; the first row is 1.
        header: its cells, as written.
        rows: number and cells of each further row, as written.
    """

    separator: str
    header_row: int
    header: list[str]
    rows: list[tuple[int, list[str]]]

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        return [plain_cell(name) for name in self.header]

    @property
    def records(self) -> list[tuple[int, dict[str, str]]]:
        """Return number and cells of each row by column, without blanks around them; a missing cell is empty."""
        names, records = self.names, []
        for number, cells in self.rows:
            texts = [plain_cell(cell) for cell in cells] + [""] * (len(names) - len(cells))
            records.append((number, {name: text for name, text in zip(names, texts, strict=False) if name}))
        return records


def plain_cell(text: str) -> str:
    """Return a cell without whitespace and invisible characters at its ends."""
    return _EDGES.sub("", text)


def read_text(table: Path, what: str, setting: str) -> str:
    r"""Return the text of a table, each line ending in \n. Errors name the table (`what`) and the `setting` for it.

    Raises:
        TableError: the file does not exist or is not UTF-8 text.
    """
    try:
        content = table.read_bytes()
    except FileNotFoundError:
        place = "" if table.is_absolute() else f" (it was looked for at {table.absolute()})"
        raise TableError(
            f"{what} {table} does not exist{place}; set `{setting}` to its path, seen from the study's folder "
            "(--directory)"
        ) from None
    except (ValueError, OSError) as error:  # a ValueError: not a valid path, such as one with a zero byte
        why = getattr(error, "strerror", None) or "this is no path"
        raise TableError(
            f"{what} {table.name} cannot be read ({why}); set `{setting}` to a CSV file"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise TableError(_no_text(what, table, content, f"line {row} is not valid UTF-8")) from None
    if text.count("\0") > len(text) // _SHARE_OF_ZEROS:
        raise TableError(_no_text(what, table, content, "every other byte is zero, as in UTF-16 text"))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_text(what: str, table: Path, content: bytes, otherwise: str) -> str:
    """Return the error message for a file that is not UTF-8 text."""
    found = otherwise
    if content.startswith(_SPREADSHEETS):
        found = "it is a spreadsheet's own file"
    elif content.startswith(_UTF_16):
        found = "it is UTF-16 text"
    return f"{what} {table.name} cannot be read as UTF-8 text: {found}; save it as CSV (UTF-8)"


def read_sheet(text: str, what: str) -> Sheet:
    r"""Return the rows of a CSV text whose lines end in \n; cells are separated by comma, semicolon or tab.

    Args:
        text: result of `read_text`.
        what: name of the table in errors.

    Raises:
        TableError: a quote is not closed at the end of its cell, so that rows would be lost.
    """
    stated = _SEP_LINE.match(text)
    if stated:
        text = text[stated.end() :]
    separator = _separator(text, stated["sign"] if stated else None)
    _require_closed_quotes(text, separator, what)
    rows = [
        (number, cells) for number, cells in _numbered(text, separator, what) if any(map(plain_cell, cells))
    ]
    (header_row, header), *rows = rows or [(1, [])]
    return Sheet(separator=separator, header_row=header_row, header=header, rows=rows)


def _separator(text: str, stated: str | None) -> str:
    """Return the separator of the header: the stated one if the header contains it, else that with most cells."""
    header = next((line for line in text.split("\n") if plain_cell(line).strip(SEPARATORS)), "")
    if stated and stated in SEPARATORS and stated in header:
        return stated
    return max(SEPARATORS, key=lambda sign: len(next(_reader(header, sign), [])))


def _reader(text: str, separator: str, *, strict: bool = False) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=strict)


def _numbered(text: str, separator: str, what: str) -> Iterator[tuple[int, list[str]]]:
    number, reader = 0, _reader(text, separator)
    try:
        for number, cells in enumerate(reader, start=1):
            yield number, cells
    except csv.Error as error:
        raise TableError(f"{what}: row {number + 1} cannot be read as CSV ({error}); correct it") from None


def _require_closed_quotes(text: str, separator: str, what: str) -> None:
    """Refuse a quoted cell that spans several lines and does not end in a quote: rows would be lost.

    Within one line Python's lenient reading does no harm.
    """
    reader, number = _reader(text, separator, strict=True), 0
    while True:
        first_line = reader.line_num + 1
        number += 1
        try:
            next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > first_line or "unexpected end" in str(error):
                raise TableError(
                    f'{what}: row {number} opens a quote (") that is not closed at the end of its cell, so that '
                    "the rows below would be lost; remove it, or double it if it belongs to the text"
                ) from None
