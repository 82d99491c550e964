"""The files of a scan: a folder with subfolders, a zip archive, or a single file."""

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import DeflatedExplicitVRLittleEndian

from lib.errors import ScanError

_MOST_SCANS = 10  # an archive may unpack to this many times `max_gb`
_CHUNK_BYTES = 1 << 20
_META_BYTES = 4096  # the first of a DICOM file, which name its syntax
_MAGIC_OFFSET = 128  # bytes of preamble before "DICM"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: how to open it, and whether its name suggests DICOM. The name itself is not kept."""

    open: Callable[[], AbstractContextManager[BinaryIO]]
    named_dicom: bool
    size_bytes: int = 0  # in an archive: unpacked


def is_dicom_source(path: Path) -> bool:
    """Return whether `path` is a folder, a zip archive or a DICOM file, rather than an image file."""
    if path.is_dir():
        return True
    if not path.is_file():
        # reading from a pipe or a device would never end
        raise ScanError(
            "unreadable_file", "the image of the scan does not exist, or is neither a file nor a folder"
        )
    try:
        return zipfile.is_zipfile(path) or is_dicom(SourceFile(partial(open, path, "rb"), True))
    except OSError:
        raise ScanError(
            "unreadable_file", "the image of the scan cannot be opened; check that it exists and may be read"
        ) from None


@contextmanager
def open_source(path: Path, max_gb: float) -> Iterator[list[SourceFile]]:
    """Yield the files of a folder (sorted) or zip archive, or the single file, ready to be opened.

    Nothing is unpacked to disk, so the paths in an archive do not matter.

    Raises:
        ScanError: `unreadable_file`; `too_large`, an archive unpacks to far more than `max_gb`.
    """
    if path.is_dir():
        yield [_plain_file(file) for file in _files_below(path)]
    elif zipfile.is_zipfile(path):
        with _open_zip(path) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            # members may overlap: a small archive can hold any number of large ones
            size_gb = 1e-9 * sum(member.file_size for member in members)
            if size_gb > _MOST_SCANS * max_gb:
                found = f"an archive of {size_gb:.3g} GB; at most {_MOST_SCANS * max_gb:g} GB is allowed"
                raise ScanError("too_large", found)
            yield [
                SourceFile(partial(archive.open, member), _promises_dicom(member.filename), member.file_size)
                for member in members
                if not member.is_dir()
            ]
    else:
        yield [replace(_plain_file(path), named_dicom=True)]


def _plain_file(path: Path) -> SourceFile:
    size_bytes = path.stat().st_size if path.exists() else 0
    return SourceFile(partial(open, path, "rb"), _promises_dicom(path.name), size_bytes)


def require_readable_size(source: SourceFile, max_gb: float) -> None:
    """Refuse a DICOM file larger than `max_gb`, also after unpacking: readers unpack the deflated syntax at once.

    Raises:
        ScanError: `too_large`.
    """
    _require_size(source.size_bytes, max_gb)
    with source.open() as file:
        start = file.read(_META_BYTES)
        if DeflatedExplicitVRLittleEndian.encode() not in start or start[_MAGIC_OFFSET:][:4] != b"DICM":
            return
        # group 2 begins with its own length, 12 bytes of it counted from their end
        (meta_bytes,) = struct.unpack_from("<I", start, _MAGIC_OFFSET + 12)
        file.seek(_MAGIC_OFFSET + 16 + meta_bytes)
        inflater, found_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while found_bytes <= 1e9 * max_gb and not inflater.eof:
            packed = inflater.unconsumed_tail or file.read(_CHUNK_BYTES)
            if not packed:
                return
            found_bytes += len(inflater.decompress(packed, _CHUNK_BYTES))
    _require_size(found_bytes, max_gb)


def _require_size(size_bytes: int, max_gb: float) -> None:
    if size_bytes > 1e9 * max_gb:
        raise ScanError(
            "too_large", f"a file of {1e-9 * size_bytes:.3g} GB; at most {max_gb:g} GB is allowed"
        )


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        raise ScanError("unreadable_file", "the zip archive is damaged or truncated") from None


def _files_below(folder: Path) -> list[Path]:
    """Return all files below `folder`, sorted, including broken links, which may be missing slices.

    Linked folders are followed, each folder once, because links may form a loop.
    """

    def refuse(error: OSError) -> None:
        raise ScanError("unreadable_file", "a folder of the scan cannot be read") from None

    files, entered = [], set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if os.path.realpath(place) in entered:
            folders.clear()
            continue
        entered.add(os.path.realpath(place))
        # hidden files belong to file systems and tools and are never images
        files += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.is_file() or not file.exists())


def _promises_dicom(name: str) -> bool:
    """Return whether a file's name suggests DICOM; macOS adds a `._` file beside each one."""
    name = name.rsplit("/", 1)[-1].lower()
    return name.endswith((".dcm", ".dicom", ".ima")) and not name.startswith(".")


def is_dicom(source: SourceFile) -> bool:
    """Return whether a file is DICOM: by its magic word or, without preamble, by a first tag of group 8 or 2."""
    with source.open() as file:
        start = file.read(_MAGIC_OFFSET + 4)
    return (
        start[_MAGIC_OFFSET:] == b"DICM" or start[:2] in (b"\x08\x00", b"\x02\x00") and start[3:4] == b"\x00"
    )
