"""The files of a scan, wherever they are: a folder with folders in it, a zip archive, or one file."""

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from lib.errors import ScanError

_MAGIC_OFFSET = 128  # bytes of preamble before "DICM"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: how to open it, and whether its name promises DICOM. The name itself is not kept."""

    open: Callable[[], AbstractContextManager[BinaryIO]]
    named_dicom: bool


def is_dicom_source(path: Path) -> bool:
    """Return whether `path` is a folder, a zip archive or a DICOM file, rather than an image file."""
    if path.is_dir():
        return True
    try:
        return zipfile.is_zipfile(path) or is_dicom(SourceFile(partial(open, path, "rb"), True))
    except OSError:
        raise ScanError(
            "unreadable_file", "the image of the scan does not exist or may not be read"
        ) from None


@contextmanager
def open_source(path: Path) -> Iterator[list[SourceFile]]:
    """Yield a way to open each file of a folder (sorted), zip archive, or the single file itself."""
    if path.is_dir():
        yield [
            SourceFile(partial(open, file, "rb"), _promises_dicom(file.name)) for file in _files_below(path)
        ]
    elif zipfile.is_zipfile(path):
        with _open_zip(path) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            yield [
                SourceFile(partial(archive.open, member), _promises_dicom(member.filename))
                for member in members
                if not member.is_dir()
            ]
    else:
        yield [SourceFile(partial(open, path, "rb"), True)]


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        raise ScanError("unreadable_file", "the zip archive is damaged or cut off") from None


def _files_below(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted; links to nothing too, for they may stand for slices."""

    def refuse(error: OSError) -> None:
        raise ScanError("unreadable_file", "a folder of the scan may not be read") from None

    # hidden files are bookkeeping of file systems and tools, never images
    files = [
        Path(place) / name
        for place, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if not name.startswith(".")
    ]
    return sorted(file for file in files if file.is_file() or not file.exists())


def _promises_dicom(name: str) -> bool:
    """Return whether a file should be DICOM by its name; macOS adds a `._` file beside each one."""
    name = name.rsplit("/", 1)[-1].lower()
    return name.endswith((".dcm", ".dicom", ".ima")) and not name.startswith(".")


def is_dicom(source: SourceFile) -> bool:
    """Return whether a file is DICOM: by its magic word or, without preamble, by a first tag of group 8 or 2."""
    with source.open() as file:
        start = file.read(_MAGIC_OFFSET + 4)
    return (
        start[_MAGIC_OFFSET:] == b"DICM" or start[:2] in (b"\x08\x00", b"\x02\x00") and start[3:4] == b"\x00"
    )
