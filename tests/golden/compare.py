"""Compare the results folders of two commits bit for bit: weights, images, tables and values."""

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import torch

from tests.golden.expected import Expected

SHOWN_OF_A_FILE = 5
SHOWN = 40
NEEDED = ("tensors", "voxels", "cells", "values")  # a comparison without one of these kinds proves nothing


class Comparison:
    """Counts and differences of a comparison of any number of results folders.

    Attributes:
        expected: declared differences and what is left out.
        counts: files, tensors, voxels, cells and values that were compared.
        differences: by file, as text.
    """

    def __init__(self, expected: Expected):
        self.expected = expected
        self.counts: Counter = Counter()
        self.differences: dict[str, list[str]] = defaultdict(list)
        self._told = self._file = ""

    def differ(self, what: str) -> None:
        """Record a difference in the current file."""
        self.differences[self._told].append(what)

    def folders(self, old: Path, new: Path, label: str) -> None:
        """Compare every file below two results folders.

        Args:
            old, new: the folders.
            label: their name in reported differences.
        """
        before, after = (
            {path: file.read_bytes for path, file in _files(folder) if self.expected.keeps_file(path)}
            for folder in (old, new)
        )
        partners: dict[str, str] = {}
        for path in before:
            name = self.expected.new_path(path, after)
            if name in partners:
                raise ValueError(f"renames: {path} and {partners[name]} both become {name}")
            partners[name] = path
        # a file of which a section is compared is compared section by section
        for path in {name.partition("#")[0] for name in partners if "#" in name}:
            sections = json.loads(after.pop(path)())
            after |= {f"{path}#{name}": json.dumps(value).encode for name, value in sections.items()}
        for path in sorted(partners.keys() | after.keys()):
            self._file, self._told = path, f"{label}/{path}"
            if path not in after:
                if not self.expected.expects_file(gone=path):
                    self.differ("is missing on the new side")
            elif path not in partners:
                if not self.expected.expects_file(new=path):
                    self.differ("is new, and not declared")
            else:
                self.counts["files"] += 1
                self._reader(path)(before[partners[path]](), after[path]())

    def _reader(self, path: str) -> Callable[[bytes, bytes], None]:
        for ending, compare in (
            (".nii.gz", self._images),
            (".pt", self._models),
            (".csv", self._tables),
            (".json", self._documents),
        ):
            if path.partition("#")[0].endswith(ending):
                return compare
        return self._bytes

    def _bytes(self, old: bytes, new: bytes) -> None:
        if old != new:
            self.differ(f"bytes differ ({len(old)} and {len(new)} bytes)")

    def _images(self, old: bytes, new: bytes) -> None:
        old, new = gzip.decompress(old), gzip.decompress(new)
        before, after = (nibabel.Nifti1Image.from_bytes(content) for content in (old, new))
        first, second = (np.asanyarray(image.dataobj.get_unscaled()) for image in (before, after))
        self.counts["voxels"] += first.size
        if old == new:
            return
        for field in before.header:
            one, other = before.header[field], after.header[field]
            if one.tobytes() != other.tobytes():
                self.differ(f"header {field}: {one} -> {other}")
        self._arrays("voxel", first, second)
        if not self.differences.get(self._told):
            self.differ("bytes differ outside header and voxels")

    def _arrays(self, what: str, old: np.ndarray, new: np.ndarray) -> None:
        """Compare the bits of two arrays: NaN equals NaN, 0 is not -0."""
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            self.differ(f"{what}: {old.dtype} {old.shape} -> {new.dtype} {new.shape}")
            return
        bits, new_bits = (
            np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.dtype.itemsize) for array in (old, new)
        )
        moved = (bits != new_bits).any(axis=1).nonzero()[0]
        if len(moved):
            place = tuple(int(index) for index in np.unravel_index(moved[0], old.shape))
            self.differ(
                f"{what}: {len(moved)} of {old.size} differ; the first at {place}: {old[place]} -> {new[place]}"
            )

    def _models(self, old: bytes, new: bytes) -> None:
        self._values(*(torch.load(io.BytesIO(content), "cpu", weights_only=True) for content in (old, new)))

    def _documents(self, old: bytes, new: bytes) -> None:
        self._values(json.loads(old), json.loads(new))

    def _values(self, old: object, new: object, place: str = "") -> None:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if level := self.expected.new_level(self._file, place, old, new):
                self._values(old, new[level], place)
                return
            prefix = f"{place}." if place else ""
            for key, one in self._pairs("key", prefix, list(old), list(new)):
                self._values(old[one], new[key], prefix + key)
        elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
            if len(old) != len(new):
                self.differ(f"{place}: {len(old)} -> {len(new)} entries")
            for number, (one, other) in enumerate(zip(old, new, strict=False)):
                self._values(one, other, f"{place}[{number}]")
        elif isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
            self.counts["tensors"] += 1
            self._tensors(place, old, new)
        else:
            self.counts["values"] += 1
            if isinstance(old, str) and isinstance(new, str):
                same = self.expected.same_text(self._file, place, old, new)
            else:
                same = type(old) is type(new) and repr(old) == repr(new)
            if not same:
                self.differ(f"{place}: {_short(old)} -> {_short(new)}")

    def _tensors(self, place: str, old: torch.Tensor, new: torch.Tensor) -> None:
        if (old.dtype, old.shape) != (new.dtype, new.shape):
            self.differ(f"{place}: {old.dtype} {tuple(old.shape)} -> {new.dtype} {tuple(new.shape)}")
        elif old.dtype == torch.bfloat16:  # numpy has no bfloat16: compare the bits
            self._arrays(place, old.view(torch.int16).numpy(), new.view(torch.int16).numpy())
        else:
            self._arrays(place, old.numpy(), new.numpy())

    def _tables(self, old: bytes, new: bytes) -> None:
        first, second = (
            list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""))) for content in (old, new)
        )
        (header, *rows), (new_header, *new_rows) = first or [[]], second or [[]]
        pairs = self._pairs("column", "", header, new_header)
        texts = {name: set(column) for name, *column in zip(header, *rows, strict=False)}
        new_rows = [
            row
            for row in new_rows
            if not self.expected.expects_row(self._file, dict(zip(new_header, row, strict=False)), texts)
        ]
        if [one for _, one in pairs] != [column for column in header if column in {one for _, one in pairs}]:
            self.differ(f"columns stand in another order: {', '.join(new_header)}")
        further = len(new_rows) > len(rows) and self.expected.expects_rows(self._file)
        if len(rows) != len(new_rows) and not further:
            self.differ(f"{len(rows)} -> {len(new_rows)} rows")
        places = [(name, header.index(one), new_header.index(name)) for name, one in pairs]
        for number, (row, new_row) in enumerate(zip(rows, new_rows, strict=False), start=1):
            if (len(row), len(new_row)) != (len(header), len(new_header)):
                self.differ(f"row {number}: {len(row)} and {len(new_row)} cells do not fit the columns")
                continue
            for name, before, after in places:
                self.counts["cells"] += 1
                if not self.expected.same_text(self._file, name, row[before], new_row[after]):
                    told = ", ".join(cell for cell in new_row[:6] if cell)
                    self.differ(
                        f"row {number} ({told}), column {name}: {_short(row[before])} -> {_short(new_row[after])}"
                    )

    def _pairs(self, kind: str, prefix: str, old: list[str], new: list[str]) -> list[tuple[str, str]]:
        """Return (new name, old name) of the columns or keys to compare, in the new order; note the others."""
        renamed = self.expected.new_names(self._file, prefix, old, new)
        partners = {renamed[name]: name for name in old}
        if len(partners) < len(old) or len(set(new)) < len(new):
            self.differ(f"{kind}s of one name: {', '.join(renamed.values())} -> {', '.join(new)}")
        for name in partners.keys() - set(new):
            if self.expected.keeps_name(self._file, prefix + name) and not self.expected.expects_name(
                self._file, prefix + name, gone=name
            ):
                self.differ(f"{kind} {prefix}{name} is missing on the new side")
        for name in set(new) - partners.keys():
            if self.expected.keeps_name(self._file, prefix + name) and not self.expected.expects_name(
                self._file, prefix + name, new=name
            ):
                self.differ(f"{kind} {prefix}{name} is new, and not declared")
        return [
            (name, partners[name])
            for name in new
            if name in partners and self.expected.keeps_name(self._file, prefix + name)
        ]

    def report(self) -> str:
        """Return what was compared, what was left out and why, which renames were met, and the first differences."""
        lines = ["Compared: " + ", ".join(f"{self.counts[kind]:,} {kind}" for kind in ("files", *NEEDED))]
        lines.append("Left out:")
        for entry in self.expected.left_out():
            lines.append(f"  {self.expected.used[entry]:6d}  {entry}: {entry.why}")
        declared = self.expected.declared()
        if declared:
            lines.append("Declared differences:")
            lines += [f"  {self.expected.used[entry]:6d}  {entry}" for entry in declared]
        if unused := [str(entry) for entry in declared if not self.expected.used[entry]]:
            lines.append("Declared, but nowhere met: " + "; ".join(unused))
        return "\n".join([*lines, *self._told_differences()])

    def _told_differences(self) -> Iterable[str]:
        if nothing := self.nothing_compared():
            yield f"DIFFERENT: no {nothing} at all were compared, which proves nothing"
        if not self.differences:
            yield "EQUAL, bit for bit, in all that was compared" if not nothing else ""
            return
        total = sum(len(found) for found in self.differences.values())
        yield f"DIFFERENT: {total} differences in {len(self.differences)} files"
        lines = []
        for file, found in self.differences.items():
            lines += [f"  {file}: {what}" for what in found[:SHOWN_OF_A_FILE]]
            if len(found) > SHOWN_OF_A_FILE:
                lines.append(f"  {file}: and {len(found) - SHOWN_OF_A_FILE} more")
        yield from lines[:SHOWN]
        if len(lines) > SHOWN:
            yield "  … " + ", ".join(list(self.differences)[-3:]) + " and others differ too"

    def nothing_compared(self) -> str:
        """Return the kinds of which nothing was compared; empty if there is something of each."""
        return ", ".join(kind for kind in NEEDED if not self.counts[kind])

    def equal(self) -> bool:
        """Say whether something of each kind was compared, and nothing differs."""
        return not self.differences and not self.nothing_compared()


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:57]} … {text[-57:]}"
