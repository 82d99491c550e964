"""Paths and identities of a study's scans, to look for in what is shared. They stay in memory."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
import yaml

from lib.atomic import read_json
from lib.cohort.sheet import read_sheet, read_text
from lib.commands.shown_commands import OVERLAY
from lib.errors import ConfigError, ScanError
from lib.reading.dicom import DAMAGED, quiet_pydicom
from lib.reading.sources import is_dicom, open_source

_FIELDS = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "OtherPatientIDs")
_WORD = re.compile(r"\d*\.\d+|[^\W_]+")  # a number with a point is one word: its digits are no date
_FEWEST_CHARACTERS = 5  # shorter ids occur by chance
_FEWEST_DIGITS = 7  # whole numbers of fewer digits occur by chance
_MOST_PATHS = 50
_ARCHIVE_GB = 4.0


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What may not be shared.

    Attributes:
        paths: absolute paths of folders above the scans.
        identities: names, ids and dates as sequences of lower-case words, by their first word.
        unread: number of scans whose headers could not be read.
    """

    paths: tuple[str, ...]
    identities: Mapping[str, frozenset[tuple[str, ...]]]
    unread: int = 0

    def identifies(self, text: str) -> bool:
        """Return whether a text in lower case holds one of the identities."""
        words = _WORD.findall(text)
        return any(
            tuple(words[place : place + len(one)]) == one
            for place, word in enumerate(words)
            for one in self.identities.get(word, ())
        )


def find_table(study: Path) -> Path:
    """Return the cohort table of a study by its settings, or that of a synthetic cohort.

    Raises:
        ConfigError: it is not found; the text says how to name it.
    """
    overlay, made = study / OVERLAY, study / "results/phantom/cohort.csv"
    if overlay.is_file():
        named = (yaml.safe_load(overlay.read_text(encoding="utf-8")) or {}).get("cohort")
        if named and (study / str(named)).is_file():
            return study / str(named)
    record = study / "results/study.json"
    if made.is_file() and record.is_file() and read_json(record).get("synthetic"):
        return made
    raise ConfigError(
        "the cohort table was not found, so nobody could look for names and paths of its scans in the report; "
        "nothing was written. Name it with --table"
    )


def read_sources(table: Path) -> Sources:
    """Return paths and identities of the scans of a cohort table.

    Raises:
        TableError: the table cannot be read.
    """
    records = [
        record for _, record in read_sheet(read_text(table, "cohort table", "cohort"), table.name).records
    ]
    images = [Path(os.path.normpath(table.parent.absolute() / record["image"])) for record in records]
    pseudonyms = {record.get(name, "").lower() for record in records for name in ("scan", "subject")}
    index, unread = defaultdict(set), 0
    with quiet_pydicom():
        for image in images:
            try:
                texts = _identities(image)
            except (*DAMAGED, ScanError):
                unread += 1
                continue
            for words in _as_words(texts, pseudonyms):
                index[words[0]].add(words)
    return Sources(
        paths=_folders_above([*images, *(image.resolve() for image in images), table.absolute()]),
        identities={word: frozenset(several) for word, several in index.items()},
        unread=unread,
    )


def _identities(image: Path) -> list[str]:
    """Return the identifying texts of the first DICOM header of a scan; none for another image file."""
    if not image.exists():
        raise ScanError("unreadable_file", "the image does not exist")
    with open_source(image, _ARCHIVE_GB) as sources:
        for source in sources:
            if is_dicom(source):
                with source.open() as file:
                    header = pydicom.dcmread(
                        file, stop_before_pixels=True, force=True, specific_tags=[*_FIELDS]
                    )
                return [str(header.get(name) or "") for name in _FIELDS]
    return []


def _as_words(texts: Iterable[str], pseudonyms: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the words of each text that identifies somebody: names in both orders, dates also in parts."""
    for text in texts:
        words = tuple(_WORD.findall(text.lower()))
        plain = "".join(words)
        if not words or text.strip().lower() in pseudonyms or len(plain) < _FEWEST_CHARACTERS:
            continue
        if plain.isdigit() and len(plain) < _FEWEST_DIGITS:
            continue
        yield words
        if len(words) > 1:
            yield words[::-1]
        if re.fullmatch(r"(19|20)\d{6}", plain):
            yield plain[:4], plain[4:6], plain[6:]


def _folders_above(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return at most `_MOST_PATHS` folders above these paths, none of them below another one, nor a top folder."""
    folders = {path.parent for path in paths}
    while len(folders) > _MOST_PATHS:
        folders = {folder.parent for folder in folders}
    return tuple(
        sorted(
            str(folder)
            for folder in folders
            if len(folder.parts) > 2 and not any(parent in folders for parent in folder.parents)
        )
    )
