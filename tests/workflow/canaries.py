"""Canaries: marks in all parts of a source that may identify a person, and a search for them in the results.

A canary is a text or a number that occurs nowhere else. Each text canary ends in the tag of its element, so that a
match shows where the leak began.
"""

import base64
import csv
import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from copy import copy
from functools import cache
from pathlib import Path

import pydicom
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

TEXT = "CANARY"
DATE = "19430217"
TIME = "061943.021798"
AGE = "093Y"
DIGITS = "4721943021798"
FOLDER = f"{TEXT} Dö^{TEXT} {DATE}"

# Elements that determine how a series is read, and those that tables/acquisition.csv contains on purpose.
WORKING = {
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",  # a canary, but different in each file
    "Modality",
    "PhotometricInterpretation",
    "PatientPosition",
    "RescaleType",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "BurnedInAnnotation",
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
}

# Groups of a person, a study, a series, a machine, an image and an order (PS3.6); not of pixels.
_GROUPS = {0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040}

_SHOWN_BYTES = 24
_NOT_IN_A_NUMBER = rb"(?<![0-9.])"  # long numbers may contain eight digits by chance

TEXT_VRS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


def plant_source(source: Path, ages: Mapping[str, str]) -> None:
    """Plant canaries in a folder with a cohort table, series (`SCAN/dicom`) and masks (`SCAN/mask.nii.gz`).

    Series and masks get canaries as names; P001's series is reached through a link with its former name, P002's by
    its UID. The table gets additional columns, and the given ages (years, by scan).
    """
    with open(source / "cohort.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        folder = source / row["scan"] / FOLDER
        (source / row["image"]).rename(folder)
        plant_series(folder)
        if row["scan"] == "P001":
            (source / row["image"]).symlink_to(folder.name)
        else:
            row["image"] = str(folder.relative_to(source))
        if row["mask"]:
            mask = folder.with_name(f"{FOLDER} mask.nii.gz")
            (source / row["mask"]).rename(mask)
            plant_nifti(mask)
            row["mask"] = str(mask.relative_to(source))
        row["series_uid"] = _series_uid(folder) if row["scan"] == "P002" else ""
        row |= {"age": ages.get(row["scan"], row["age"]), "patient_name": TEXT, "birth_date": DATE}
    with open(source / "cohort.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _series_uid(folder: Path) -> str:
    first = min(path for path in folder.iterdir() if path.suffix == ".dcm")
    return str(pydicom.dcmread(first, stop_before_pixels=True).SeriesInstanceUID)


def plant_series(folder: Path) -> None:
    """Plant canaries in every text element of the DICOM files in `folder`, and in the files' names."""
    for number, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        plant_dataset(dataset, number)
        path.unlink()
        dataset.save_as(folder / f"{TEXT} ö {number:04d}.dcm", enforce_file_format=True)


def plant_dataset(dataset: Dataset, number: int) -> None:
    """Plant canaries in a header, including the series' UID; `number` distinguishes the files of a series."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for element in _identity():
        dataset.add(copy(element))
    dataset.SOPInstanceUID = f"2.25.{DIGITS}{number:04d}"
    dataset.file_meta.update(_file_meta(dataset))
    dataset.preamble = f"{TEXT}-PREAMBLE".encode().ljust(128, b"\0")


def plant_nifti(path: Path) -> None:
    """Plant canaries in the texts of a gzipped NIfTI-1 file, in an extension of its header and in gzip's own."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    for offset, size, name in ((4, 10, "TYPE"), (14, 18, "NAME"), (148, 80, "DESCRIP"), (228, 24, "AUX")):
        struct.pack_into(f"{size}s", content, offset, f"{TEXT}{name}".encode())
    struct.pack_into("16s", content, 328, f"{TEXT}INTENT".encode())
    comment = f"{TEXT}-EXTENSION {DATE}".encode().ljust(56, b"\0")
    (voxels,) = struct.unpack_from("<f", content, 108)
    struct.pack_into("<f", content, 108, 352 + 8 + len(comment))
    # nifti1.h: one flag byte of four, then size and code (6: comment) of the extension
    extension = b"\1\0\0\0" + struct.pack("<ii", 8 + len(comment), 6) + comment
    with open(path, "wb") as file, gzip.GzipFile(f"{TEXT}-GZIP.nii", "wb", fileobj=file) as packed:
        packed.write(content[:348] + extension + content[int(voxels) :])


@cache
def _identity() -> Dataset:
    dataset = Dataset()
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if tag >> 16 in _GROUPS and vr in TEXT_VRS and not retired and keyword not in WORKING:
            dataset.add_new(tag, vr, _canary(tag, vr))
    dataset.PatientWeight = f"71.{DIGITS}"
    dataset.OtherPatientIDsSequence = [_item("PatientID", "IssuerOfPatientID")]
    dataset.RequestAttributesSequence = [_item("RequestedProcedureID", "ScheduledProcedureStepDescription")]
    dataset.RequestAttributesSequence[0].ReferencedStudySequence = [_item("StudyInstanceUID", "StudyDate")]
    block = dataset.private_block(0x0029, f"{TEXT} VENDOR", create=True)
    block.add_new(0x10, "LO", _canary(0x00291010, "LO"))
    block.add_new(0x11, "SQ", [_item("PatientName", "PatientBirthDate")])
    block.add_new(0x12, "OB", f"{TEXT}-BYTES".encode() + b"\0")
    return dataset


def _item(*keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        tag = Tag(keyword)
        vr = DicomDictionary[tag][0]
        item.add_new(tag, vr, _canary(tag, vr))
    return item


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"{TEXT}00020013"
    meta.SourceApplicationEntityTitle = f"{TEXT}00020016"
    meta.SendingApplicationEntityTitle = f"{TEXT}00020017"
    meta.PrivateInformationCreatorUID = f"2.25.{DIGITS}9"
    meta.PrivateInformation = f"{TEXT}-META-BYTES".encode() + b"\0"
    return meta


def _canary(tag: int, vr: str) -> str:
    """Return a canary that is valid for the value representation (PS3.5, 6.2)."""
    numbers = {"DA": DATE, "TM": TIME, "DT": f"{DATE}{TIME}", "AS": AGE, "UI": f"2.25.{DIGITS}{int(tag)}"}
    texts = {"PN": f"{TEXT}^{TEXT}{int(tag):08X}", "UR": f"https://{TEXT.lower()}.example/{int(tag):08X}"}
    return (numbers | texts).get(vr, f"{TEXT}{int(tag):08X}")


def find_canaries(folder: Path) -> list[str]:
    """Return all canaries below `folder`, in names, links and contents: path, layer and match.

    Raises:
        ValueError: an unknown kind of file, of which a layer might be overlooked.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        layers = [("name", name.encode())]
        if path.is_symlink():
            layers.append(("link", str(path.readlink()).encode()))
        if path.is_file():
            layers += _layers(path.read_bytes(), _kind(path))
        found += [f"{name}: {layer} holds {canary}" for layer, part in layers for canary in canaries_in(part)]
    return found


# Formats whose packed parts `_layers` opens, and formats without packed parts.
_KINDS = {".gz", ".pt", ".png", ".svg", ".html", ".webp", ".json", ".csv", ".tsv", ".log", ".md", ".ctbl"}
_KINDS |= {".txt", ""}


def _kind(path: Path) -> str:
    suffix = "" if path.name.startswith(".") else path.suffix
    if suffix not in _KINDS:
        raise ValueError(f"{path}: say in canaries.py how the parts of a {suffix} file are opened")
    return suffix


def _layers(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the content of a file and of everything packed in it, each with a description of its place."""
    yield name or "content", content
    if content.startswith(b"\x1f\x8b"):
        yield from _layers(gzip.decompress(content), f"{name} unpacked")
    elif content.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from _layers(archive.read(member), f"{name} member {member}")
    elif content.startswith(b"\x89PNG"):
        yield from _png_texts(content, name)
    for packed in re.findall(rb";base64,([A-Za-z0-9+/=\s]+)", content):
        yield from _layers(base64.b64decode(packed), f"{name} base64")


def _png_texts(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the compressed texts of a PNG (W3C PNG, 11.3.3); plain texts are found in the content itself."""
    offset = 8
    while offset + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, offset)
        kind, data = content[offset + 4 : offset + 8], content[offset + 8 : offset + 8 + size]
        if kind in (b"zTXt", b"iCCP"):
            yield f"{name} {kind.decode()}", zlib.decompress(data.split(b"\0", 1)[1][1:])
        elif kind == b"iTXt" and data.split(b"\0", 1)[1][:1] == b"\1":
            yield f"{name} iTXt", zlib.decompress(data.split(b"\0", 3)[3].split(b"\0", 1)[1])
        offset += 12 + size


def _dates() -> Iterator[str]:
    year, month, day = DATE[:4], DATE[4:6], DATE[6:]
    for mark in "-/.:":
        yield f"{year}{mark}{month}{mark}{day}"
        yield f"{day}{mark}{month}{mark}{year}"
        yield f"{month}{mark}{day}{mark}{year}"


@cache
def _needles() -> tuple[bytes, ...]:
    words = [TEXT, DIGITS, DATE, *_dates(), TIME, f"{TIME[:2]}:{TIME[2:4]}:{TIME[4:6]}"]
    return tuple(word.lower().encode(code) for word in words for code in ("utf-8", "utf-16-le", "utf-16-be"))


def canaries_in(content: bytes) -> list[str]:
    """Return the distinct canaries in `content`, in any case and encoding, each with the bytes that follow it."""
    content = content.lower()
    starts = [
        match.start()
        for needle in _needles()
        if needle in content
        for match in re.finditer(_NOT_IN_A_NUMBER * (needle == DATE.encode()) + re.escape(needle), content)
    ]
    found = {content[start : start + _SHOWN_BYTES].decode("latin-1") for start in starts}
    if AGE.lower().encode() in content and _is_text(content):
        found.add(AGE)
    return sorted(found)


def _is_text(content: bytes) -> bool:
    """Return whether `content` is text; in voxels, four bytes such as those of an age occur by chance."""
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False
