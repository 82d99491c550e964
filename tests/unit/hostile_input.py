"""Damaged and malicious scans, each written by its name, for the tests and for bench/fuzz.py.

`make_hostile` writes a source. A number is the seed of a small series, archive or image file with changed bytes or
header fields; a name of TRAPS is a malicious input such as a bomb, a loop or a pipe. The reader must return a verdict
for all of them.
"""

import gzip
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
import series_variants as variants
import SimpleITK as sitk
from tiny_series import tiny_scan, tiny_series, write_series

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"

# In the folder's name and in the headers; no finding may quote it.
CANARIES = ("Doe^Jane", "PID-4711", "General Hospital", "doe-jane")
FOLDER_NAME = "doe-jane"

_MAX_FILE_BYTES = 1_500_000  # larger real files are left out, because reading them takes too long
_BOMB_BYTES = 2 << 30
_CHUNK_BYTES = 1 << 24
_TAGS = {
    "Rows": (0x0028, 0x0010),
    "Columns": (0x0028, 0x0011),
    "NumberOfFrames": (0x0028, 0x0008),
    "SamplesPerPixel": (0x0028, 0x0002),
    "BitsAllocated": (0x0028, 0x0100),
    "BitsStored": (0x0028, 0x0101),
    "HighBit": (0x0028, 0x0102),
    "PixelRepresentation": (0x0028, 0x0103),
    "PixelSpacing": (0x0028, 0x0030),
    "ImagePositionPatient": (0x0020, 0x0032),
    "ImageOrientationPatient": (0x0020, 0x0037),
    "RescaleSlope": (0x0028, 0x1053),
    "RescaleIntercept": (0x0028, 0x1052),
    "PixelData": (0x7FE0, 0x0010),
    "SeriesInstanceUID": (0x0020, 0x000E),
    "TransferSyntaxUID": (0x0002, 0x0010),
    "FileMetaInformationGroupLength": (0x0002, 0x0000),
}
_LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD")
_SHORTS = (0, 1, 7, 255, 32767, 32768, 65535)
_LONGS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x10000)
_TEXTS = (
    b"-1",
    b"0",
    b"1e308",
    b"-1e308",
    b"nan",
    b"inf",
    b"99999999999999",
    b"1\\1\\1\\1\\1\\1\\1",
    b"\\\\",
    b"x",
)

_NIFTI_SHORTS = (-32768, -1, 0, 1, 2, 5, 7, 8, 16, 32767)
_NIFTI_FLOATS = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-45, 3e38, 1e9)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A change of a file: `kind` of DAMAGES, place (fraction of its length), length, and drawn values."""

    kind: str
    place: float
    length: int
    seed: int

    def apply(self, content: bytes) -> bytes:
        """Return `content` damaged; an empty file stays empty."""
        start = min(int(self.place * len(content)), max(len(content) - 1, 0))
        end = min(start + self.length, len(content))
        return DAMAGES[self.kind](content, start, end, np.random.default_rng(self.seed))


def _cut_off(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:start]


def _flip_bits(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(start, max(end, start + 1), min(8, end - start)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _noise(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:start] + rng.bytes(end - start) + content[end:]


def _ones(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:start] + b"\xff" * (end - start) + content[end:]


def _zeros(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:start] + bytes(end - start) + content[end:]


def _drop(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:start] + content[end:]


def _repeat(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:end] + content[start:]


def _insert(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    return content[:start] + rng.bytes(end - start) + content[start:]


def _number(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    """Overwrite four bytes with a number that is absurd as a length."""
    return content[:start] + struct.pack("<I", _LONGS[rng.integers(len(_LONGS))]) + content[start + 4 :]


def _field(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    """Set a field that determines sizes or places to an absurd value or an absurd length."""
    return set_field(content, list(_TAGS)[rng.integers(len(_TAGS))], rng)


DAMAGES: dict[str, Callable[[bytes, int, int, np.random.Generator], bytes]] = {
    "cut off": _cut_off,
    "flip bits": _flip_bits,
    "noise": _noise,
    "ones": _ones,
    "zeros": _zeros,
    "drop": _drop,
    "repeat": _repeat,
    "insert": _insert,
    "number": _number,
    "field": _field,
}


def draw_damage(rng: np.random.Generator) -> Damage:
    """Draw a damage; the start of a file, with its header, is chosen more often than its length implies."""
    near_start = rng.random() < 0.6
    return Damage(
        kind=list(DAMAGES)[rng.integers(len(DAMAGES))],
        place=float(rng.random() ** 4 if near_start else rng.random()),
        length=int(2 ** rng.uniform(0, 12)),
        seed=int(rng.integers(1 << 32)),
    )


def set_field(content: bytes, keyword: str, rng: np.random.Generator) -> bytes:
    """Return an explicit little endian DICOM file with an absurd value or length of one field; others unchanged."""
    match = re.search(re.escape(struct.pack("<HH", *_TAGS[keyword])) + b"([A-Z]{2})", content)
    if match is None:
        return content
    vr, after = match.group(1), match.end()
    is_long = vr in _LONG_VRS
    length_at = after + 2 if is_long else after
    value_at = length_at + (4 if is_long else 2)
    if is_long or rng.random() < 0.2:
        length = _LONGS[rng.integers(len(_LONGS))]
        packed = struct.pack("<I", length) if is_long else struct.pack("<H", length & 0xFFFF)
        return content[:length_at] + packed + content[value_at:]
    (length,) = struct.unpack_from("<H", content, length_at)
    value = _absurd(vr, length, rng)
    return content[:length_at] + struct.pack("<H", len(value)) + value + content[value_at + length :]


def _absurd(vr: bytes, length: int, rng: np.random.Generator) -> bytes:
    if vr in (b"US", b"SS"):
        return struct.pack("<H", _SHORTS[rng.integers(len(_SHORTS))])
    if vr == b"UL":
        return struct.pack("<I", _LONGS[rng.integers(len(_LONGS))])
    text = _TEXTS[rng.integers(len(_TEXTS))]
    return text + b" " * (len(text) % 2)


def set_nifti_field(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a NIfTI-1 file with one absurd number in its header: sizes, type, edges, offset, scaling or a form."""
    name = list(variants.NIFTI_FIELDS)[rng.integers(len(variants.NIFTI_FIELDS))]
    offset, code = variants.NIFTI_FIELDS[name]
    width, kind = int(code[:-1] or 1), code[-1]
    choices: Sequence[float] = _NIFTI_FLOATS if kind == "f" else _NIFTI_SHORTS
    value = choices[rng.integers(len(choices))]
    if kind == "b":
        value = int(np.clip(value, -128, 127))
    changed = bytearray(content)
    place = offset + struct.calcsize(f"<{kind}") * int(rng.integers(width))
    struct.pack_into(f"<{kind}", changed, place, value)
    return bytes(changed)


@lru_cache(maxsize=1)
def _series_of_files() -> tuple[tuple[bytes, ...], ...]:
    """Return series as the contents of their files: simulated ones in several transfer syntaxes, and real ones."""
    made = []
    with tempfile.TemporaryDirectory() as name:
        for number, syntax in enumerate(["", *variants.SYNTAXES.values()]):
            folder = write_series(tiny_series(tiny_scan()), Path(name) / str(number))
            if syntax:
                variants.change_syntax(folder, syntax)
            made.append(_contents(folder))
        whole = variants.enhanced(tiny_series(tiny_scan()), "1.2.840.10008.5.1.4.1.1.2.1")
        made.append(_contents(write_series([whole], Path(name) / "enhanced")))
    return (*made, *_real_series())


def _real_series() -> list[tuple[bytes, ...]]:
    folders = sorted({path.parent for path in REAL.rglob("*.dcm")})
    return [_contents(folder)[:6] for folder in folders]


def _contents(folder: Path) -> tuple[bytes, ...]:
    return tuple(
        path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.suffix == ".dcm" and path.stat().st_size <= _MAX_FILE_BYTES
    )


@lru_cache(maxsize=1)
def _image_files() -> tuple[tuple[str, bytes], ...]:
    """Return image files as names and contents: NIfTI, NRRD and MetaImage, simulated and real."""
    files = []
    with tempfile.TemporaryDirectory() as name:
        for file in ("scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha"):
            sitk.WriteImage(tiny_scan(), str(Path(name) / file))
            files.append((file, (Path(name) / file).read_bytes()))
    files += [
        ("scan.nii.gz", path.read_bytes())
        for path in sorted(REAL.rglob("*.nii.gz"))
        if path.stat().st_size <= _MAX_FILE_BYTES
    ]
    return tuple(files)


def make_hostile(folder: Path, name: str) -> Path:
    """Write the source called `name` (a number, or one of TRAPS) into the empty `folder` and return its path."""
    if name in TRAPS:
        return TRAPS[name](folder)
    rng = np.random.default_rng(int(name))
    kinds, weights = zip(*SOURCES, strict=True)
    return kinds[rng.choice(len(kinds), p=np.array(weights) / sum(weights))](folder, rng)


def damaged_series(folder: Path, rng: np.random.Generator) -> Path:
    """A series in which one to three files are damaged."""
    contents = _draw_series(rng)
    for index in rng.integers(len(contents), size=int(rng.integers(1, 4))):
        contents[index] = draw_damage(rng).apply(contents[index])
    return _write_files(folder / "scan", contents)


def absurd_series(folder: Path, rng: np.random.Generator) -> Path:
    """A series with the same absurd value in all of its files, so that they agree."""
    keyword = list(_TAGS)[rng.integers(len(_TAGS))]
    seed = int(rng.integers(1 << 32))
    contents = [set_field(content, keyword, np.random.default_rng(seed)) for content in _draw_series(rng)]
    return _write_files(folder / "scan", contents)


def damaged_zip(folder: Path, rng: np.random.Generator) -> Path:
    """A damaged zip archive of a series, with member names that lead out of its folder."""
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(_draw_series(rng)):
            place = ("", "../../", "/tmp/", "a/\u2603/", "C:\\")[rng.integers(5)]
            archive.writestr(f"{place}escape-{number}.dcm", content)
    path.write_bytes(draw_damage(rng).apply(path.read_bytes()))
    return path


def damaged_image_file(folder: Path, rng: np.random.Generator) -> Path:
    """An image file with damaged bytes; in a gzip file, either its content or the archive is damaged."""
    name, content = _draw_image_file(rng)
    if name.endswith(".gz") and rng.random() < 0.6:
        content = gzip.compress(draw_damage(rng).apply(gzip.decompress(content)), 1)
    else:
        content = draw_damage(rng).apply(content)
    (folder / name).write_bytes(content)
    return folder / name


def absurd_image_file(folder: Path, rng: np.random.Generator) -> Path:
    """A NIfTI file with one to three absurd numbers in its header."""
    content = variants.nifti_content()
    for _ in range(int(rng.integers(1, 4))):
        content = set_nifti_field(content, rng)
    path = folder / "scan.nii"
    path.write_bytes(content)
    return path


def random_files(folder: Path, rng: np.random.Generator) -> Path:
    """Random bytes in files with plausible names, some after a valid beginning."""
    starts = (
        b"",
        bytes(128) + b"DICM",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
        b"NRRD0005\n",
        b"\x08\x00\x05\x00",
    )
    names = (
        "scan.dcm",
        "scan.nii",
        "scan.nii.gz",
        "scan.nrrd",
        "scan.mha",
        "scan.mhd",
        "scan.zip",
        "scan",
        "scan.hdr",
    )
    path = folder / names[rng.integers(len(names))]
    path.write_bytes(starts[rng.integers(len(starts))] + rng.bytes(int(2 ** rng.uniform(0, 16))))
    return path


SOURCES: tuple[tuple[Callable[[Path, np.random.Generator], Path], float], ...] = (
    (damaged_series, 40),
    (absurd_series, 20),
    (damaged_zip, 10),
    (damaged_image_file, 15),
    (absurd_image_file, 10),
    (random_files, 5),
)


def _draw_series(rng: np.random.Generator) -> list[bytes]:
    series = _series_of_files()
    return list(series[rng.integers(len(series))])


def _draw_image_file(rng: np.random.Generator) -> tuple[str, bytes]:
    files = _image_files()
    return files[rng.integers(len(files))]


def _write_files(folder: Path, contents: Sequence[bytes]) -> Path:
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f"{number:03d}.dcm").write_bytes(content)
    return folder


def _series(folder: Path) -> Path:
    return write_series(tiny_series(tiny_scan()), folder / "scan")


def loop_of_links(folder: Path) -> Path:
    """Folders that lead back to themselves, and a link that leads to itself."""
    scan = _series(folder)
    (scan / "again").symlink_to(scan, target_is_directory=True)
    (scan / "up").symlink_to(folder, target_is_directory=True)
    (scan / "self.dcm").symlink_to(scan / "self.dcm")
    return scan


def pipe_and_devices(folder: Path) -> Path:
    """Files that never end or that block: a pipe without a writer, links to /dev/zero and /dev/random."""
    scan = _series(folder)
    os.mkfifo(scan / "pipe.dcm")
    (scan / "zero.dcm").symlink_to("/dev/zero")
    (scan / "random.dcm").symlink_to("/dev/urandom")
    return scan


def pipe_alone(folder: Path) -> Path:
    """A pipe without a writer where an image file should be."""
    os.mkfifo(folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def device_alone(folder: Path) -> Path:
    """A device where an image file should be."""
    (folder / "scan.nii").symlink_to("/dev/zero")
    return folder / "scan.nii"


def names_of_bytes(folder: Path) -> Path:
    """Names that are not UTF-8, hold a newline, or have the maximal length."""
    scan = _series(folder)
    for name in (b"\xff\xfe.dcm", b"line\nbreak.dcm", b"n" * 251 + b".dcm", b"-rf"):
        Path(os.fsdecode(os.fsencode(scan) + b"/" + name)).write_bytes(b"not a slice")
    return scan


def many_folders(folder: Path) -> Path:
    """Folders in folders, 300 deep, with the series at their end."""
    deep = folder / "scan"
    for _ in range(300):
        deep /= "d"
    return _series(deep).parents[300]


def gzip_bomb(folder: Path) -> Path:
    """A small gzip file whose content is 2 GB of zeros after a header that declares a small volume."""
    path = folder / "scan.nii.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(bytes(variants.nifti_content()))
    _append_zeros_gz(path)
    return path


def gzip_bomb_with_header(folder: Path) -> Path:
    """A gzip bomb whose header declares the whole content: 32767 x 32767 x 1 voxels."""
    path = folder / "scan.nii.gz"
    content = variants.nifti_content(dim=(3, 32767, 32767, 1, 1, 1, 1, 1))
    path.write_bytes(gzip.compress(bytes(content), 1))
    _append_zeros_gz(path)
    return path


def _append_zeros_gz(path: Path) -> None:
    member = gzip.compress(bytes(_CHUNK_BYTES), 1)
    with open(path, "ab") as file:
        for _ in range(_BOMB_BYTES // _CHUNK_BYTES):
            file.write(member)


def _deflated_zeros() -> bytes:
    """Return a raw deflate stream of 2 GB of zeros: one block, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(_CHUNK_BYTES)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (_BOMB_BYTES // _CHUNK_BYTES) + zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).flush()


def zip_bomb(folder: Path) -> Path:
    """An archive whose only file unpacks to 2 GB of zeros after the beginning of a DICOM file."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = bytes(128) + b"DICM"
    packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + _deflated_zeros()
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bomb.dcm", packed)
    content = bytearray(path.read_bytes())
    # declare the stored data as deflated: method and size in the file's own header and in the directory
    for header, method_at, size_at in ((0, 8, 22), (content.rindex(b"PK\x01\x02"), 10, 24)):
        struct.pack_into("<H", content, header + method_at, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", content, header + size_at, len(start) + _BOMB_BYTES)
    path.write_bytes(content)
    return path


def zip_that_understates(folder: Path) -> Path:
    """An archive whose directory declares a file of 64 MB of zeros as small."""
    path = folder / "scan.zip"
    size = 64 << 20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("bomb.dcm", bytes(128) + b"DICM" + bytes(size - 132))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", 1000)))
    return path


def zip_of_zips(folder: Path) -> Path:
    """Archives in archives, eight deep."""
    path = folder / "scan.zip"
    content = b"innermost"
    for _ in range(8):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(4):
                archive.writestr(f"{number}.zip", content)
        content = path.read_bytes()
    return path


def zip_with_many_entries(folder: Path) -> Path:
    """An archive of 20,000 empty files."""
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.dcm", b"")
    return path


def overlapping_zip(folder: Path) -> Path:
    """An archive whose 2,000 entries all unpack the same 16 MB of zeros."""
    path = folder / "scan.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("0.dcm", bytes(128) + b"DICM" + bytes(1 << 24))
        first = archive.infolist()[0]
        for _ in range(1999):
            archive.filelist.append(first)
    return path


def deflated_bomb(folder: Path) -> Path:
    """A DICOM file in the deflated syntax whose dataset unpacks to 2 GB."""
    scan = _series(folder)
    dataset = pydicom.dcmread(scan / "000.dcm")
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(scan / "000.dcm")
    content = (scan / "000.dcm").read_bytes()
    group_length = pydicom.dcmread(scan / "000.dcm", stop_before_pixels=True).file_meta[0x00020000].value
    start = 144 + group_length
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    plain += struct.pack("<HH2sHI", 0x7FE1, 0x0010, b"OB", 0, _BOMB_BYTES)
    packed = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH) + _deflated_zeros()
    (scan / "000.dcm").write_bytes(content[:start] + packed)
    return scan


def nested_sequences(folder: Path) -> Path:
    """A header with sequences in sequences, 2,000 deep."""
    scan = _series(folder)
    content = (scan / "000.dcm").read_bytes()
    place = content.index(struct.pack("<HH", 0x0028, 0x0002))
    opening = struct.pack("<HH2sHIHHI", 0x0021, 0x1001, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    (scan / "000.dcm").write_bytes(content[:place] + opening * 2000 + closing * 2000 + content[place:])
    return scan


def huge_text(folder: Path) -> Path:
    """A file whose header holds 50 MB of text where a number should be."""
    datasets = tiny_series(tiny_scan())
    datasets[3].add_new(0x00211001, "UT", "1\\" * 25_000_000)
    return write_series(datasets, folder / "scan")


def unreadable_files(folder: Path) -> Path:
    """A folder and a file without read permission (root can read them nevertheless)."""
    scan = _series(folder)
    (scan / "003.dcm").chmod(0)
    (scan / "closed").mkdir(mode=0)
    return scan


TRAPS: dict[str, Callable[[Path], Path]] = {
    one.__name__: one
    for one in (
        loop_of_links,
        pipe_and_devices,
        pipe_alone,
        device_alone,
        names_of_bytes,
        many_folders,
        gzip_bomb,
        gzip_bomb_with_header,
        zip_bomb,
        zip_that_understates,
        zip_of_zips,
        zip_with_many_entries,
        overlapping_zip,
        deflated_bomb,
        nested_sequences,
        huge_text,
        unreadable_files,
    )
}
