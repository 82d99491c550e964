"""Differences that are allowed between two results folders: declared renames, and exclusions with a reason."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One declared difference, or one exclusion from the comparison.

    Attributes:
        old: name or text of the older side; a regular expression in `files`, empty for something new.
        new: name or text of the newer side; a replacement in `files`, empty for something removed.
        within: pattern of the files it applies to, by their path below results/ on the newer side.
        at: pattern of the columns, or of the dotted paths of keys, it applies to.
        why: the reason of an exclusion.
    """

    old: str = ""
    new: str = ""
    within: str = "*"
    at: str = "*"
    why: str = ""

    def __str__(self) -> str:
        """Return the entry as readable text."""
        where = [self.within] * (self.within != "*") + [f"at {self.at}"] * (self.at != "*")
        renamed = "" if self.why else f"{self.old or '(nothing)'} -> {self.new or '(nothing)'}"
        return " ".join([renamed, *where]).strip()


@dataclass(kw_only=True)
class Expected:
    """All declared differences and exclusions, and how often each was met.

    Attributes:
        files: renamed, new and removed files.
        names: renamed, new and removed columns of tables and keys of JSON and model files.
        words: texts that replace others in cells and values.
        levels: keys of JSON files that now hold all that stood beside them.
        rows: tables that have further rows, after those of before or told by the text `new` in the column `at`.
        left_out_files, left_out_names: exclusions from the comparison, with a reason.
        used: how often each entry was met.
    """

    files: list[Entry] = field(default_factory=list)
    names: list[Entry] = field(default_factory=list)
    words: list[Entry] = field(default_factory=list)
    levels: list[Entry] = field(default_factory=list)
    rows: list[Entry] = field(default_factory=list)
    left_out_files: list[Entry] = field(default_factory=list)
    left_out_names: list[Entry] = field(default_factory=list)
    used: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Refuse entries that would hide a changed number, and exclusions without a reason."""
        for entry in self.words:
            if _is_number(entry.old) or _is_number(entry.new) or not (entry.old and entry.new):
                raise ValueError(
                    f"words: {entry}: a text replaces a text; a number or nothing is never expected"
                )
        for entry in (*self.left_out_files, *self.left_out_names):
            if not entry.why:
                raise ValueError(f"left out: {entry.within} {entry.at}: say why")

    def declared(self) -> list[Entry]:
        """Return every declared difference."""
        return [*self.files, *self.names, *self.words, *self.levels, *self.rows]

    def left_out(self) -> list[Entry]:
        """Return every exclusion."""
        return [*self.left_out_files, *self.left_out_names]

    def keeps_file(self, path: str) -> bool:
        """Tell whether a file is compared."""
        return not self._meets(self.left_out_files, lambda entry: fnmatchcase(path, entry.within))

    def keeps_name(self, file: str, place: str) -> bool:
        """Tell whether a column or a key (dotted path) of a file is compared."""
        return not self._meets(
            self.left_out_names,
            lambda entry: fnmatchcase(file, entry.within) and fnmatchcase(place, entry.at),
        )

    def new_path(self, old: str, there: Collection[str]) -> str:
        """Return the newer side's name of a file of the older side; `{file}#{key}` if it became a part of a file."""
        if old in there:
            return old
        for entry in self.files:
            path = re.sub(entry.old, entry.new, old) if entry.old and entry.new else old
            if path.partition("#")[0] in there and path != old:
                self.used[entry] += 1
                return path
        return old

    def expects_file(self, *, gone: str = "", new: str = "") -> bool:
        """Tell whether a file that only one side has is declared as removed or as new."""
        return self._meets(
            self.files,
            lambda entry: (
                bool(gone and entry.old and not entry.new and re.search(entry.old, gone))
                or bool(new and entry.new and not entry.old and re.search(entry.new, new))
            ),
        )

    def new_names(self, file: str, prefix: str, old: Collection[str], new: Collection[str]) -> dict[str, str]:
        """Return the newer side's name of each column or key of the older side.

        A rename applies only where the older side has the old name, the newer side has the new name, and neither name
        is kept: a column `model` that both sides have is not renamed to another column `network`.
        """
        found = {
            entry.old: entry
            for entry in self.names
            if entry.old in old and entry.new in new and self._holds(entry, file, prefix + entry.new)
        }
        while True:
            targets = {entry.new for entry in found.values()}
            kept = {
                name: entry
                for name, entry in found.items()
                if (name not in new or name in targets) and (entry.new not in old or entry.new in found)
            }
            if len(kept) == len(found):
                break
            found = kept
        self.used.update(found.values())
        return {name: found[name].new if name in found else name for name in old}

    def expects_name(self, file: str, place: str, *, gone: str = "", new: str = "") -> bool:
        """Tell whether a column or key that only one side has is declared as removed or as new."""
        return self._meets(
            self.names,
            lambda entry: (
                self._holds(entry, file, place)
                and (
                    (gone and (entry.old, entry.new) == (gone, ""))
                    or (new and (entry.old, entry.new) == ("", new))
                )
            ),
        )

    def expects_rows(self, file: str) -> bool:
        """Tell whether a table is declared to have further rows after those of before."""
        return self._meets(self.rows, lambda entry: not entry.new and fnmatchcase(file, entry.within))

    def expects_row(self, file: str, row: Mapping[str, str], old: Mapping[str, Collection[str]]) -> bool:
        """Tell whether a row of the newer side is declared as new by the text of one of its cells.

        `row` holds its cells by column, `old` the texts of each column of the older side, which must lack the text.
        """
        return self._meets(
            self.rows,
            lambda entry: (
                bool(entry.new)
                and fnmatchcase(file, entry.within)
                and row.get(entry.at) == entry.new
                and entry.new not in old.get(entry.at, ())
            ),
        )

    def new_level(self, file: str, place: str, old: Collection[str], new: Collection[str]) -> str:
        """Return the only key of the newer side if it is declared as a level that the older side lacks, else ""."""
        (only,) = new if len(new) == 1 else ("",)
        found = only not in old and self._meets(
            self.levels, lambda entry: entry.new == only and self._holds(entry, file, place)
        )
        return only if found else ""

    def same_text(self, file: str, place: str, old: str, new: str) -> bool:
        """Tell whether two texts are equal after the declared words are replaced."""
        text, used = old, []
        for entry in self.words:
            if text != new and entry.old in text and self._holds(entry, file, place):
                text, used = text.replace(entry.old, entry.new), [*used, entry]
        if text == new:
            self.used.update(used)
        return text == new

    def _meets(self, entries: Iterable[Entry], fits) -> bool:
        met = next((entry for entry in entries if fits(entry)), None)
        if met:
            self.used[met] += 1
        return met is not None

    @staticmethod
    def _holds(entry: Entry, file: str, place: str) -> bool:
        return fnmatchcase(file, entry.within) and fnmatchcase(place, entry.at)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _entries(document: Mapping, section: str) -> list[Entry]:
    rows = document.get(section) or []
    return [
        Entry(**{("within" if key == "in" else key): value for key, value in row.items()}) for row in rows
    ]


def read_expected(renames: Path = HERE / "renames.yaml", left_out: Path = HERE / "left_out.yaml") -> Expected:
    """Read the declared differences and the exclusions."""
    declared, skipped = (
        yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in (renames, left_out)
    )
    return Expected(
        files=_entries(declared, "files"),
        names=_entries(declared, "names"),
        words=_entries(declared, "words"),
        levels=_entries(declared, "levels"),
        rows=_entries(declared, "rows"),
        left_out_files=_entries(skipped, "files"),
        left_out_names=_entries(skipped, "names"),
    )
