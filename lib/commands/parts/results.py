"""Results of the parts of a cohort, each a separate study: which exist, and whether they belong together.

Standard library only; apart from the ids of scans and people, memory does not grow with the number of scans.
"""

import csv
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json
from lib.cohort.scans import read_digests
from lib.cohort.table import may_be_one, plain_spelling
from lib.errors import ConfigError
from lib.learning.finished import RUNTIME_KEYS
from lib.model_record import model_digests

TABLES = {
    "scans": "cohort/scans.csv",
    "volumes": "tables/volumes.csv",
    "metrics": "tables/metrics.csv",
    "unscored": "tables/unscored.csv",
    "measurements": "tables/measurements.csv",
    "people": "tables/people.csv",
    "flow": "tables/flow.csv",
    "acquisition": "tables/acquisition.csv",
}
# a table whose columns are the quantities that were measured, which differ where a part has no such scan
WIDE = "people"
RUN, STUDY, PROTOCOL, NOTES = "cohort/run.json", "study.json", "cohort/protocol.json", "cohort/notes.json"
DIGESTS = "cohort/digests.csv"
REPORT = "report/index.html"
NEEDED = (*TABLES.values(), DIGESTS, RUN, STUDY, PROTOCOL)
_EXPECTED = (*NEEDED, NOTES, REPORT)
# settings that name a study or control how it runs, not what it computes
FREE_SETTINGS = ("study", "partial", "redraw", "retrain", *(f"train.{key}" for key in RUNTIME_KEYS))
_PLACE = "folder"  # key for models of which only the path is known
MOST_LISTED = 10  # at most this many ids or parts are listed; the rest is counted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROTOCOL_KIND = "acquisition protocol"
_PROTOCOL_ADVICE = (
    "Scans are judged (off_protocol) against what most scans of their own part share. Set `acquisition_protocol` in "
    "the overlay of all parts and run them again: only tables and reports are made again"
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part: its name and results folder, the files it lacks, and whether a run is active in it."""

    name: str
    results: Path
    lacking: tuple[str, ...]
    locked: bool

    @property
    def finished(self) -> bool:
        """Return whether its run has ended with a report."""
        return not self.lacking and not self.locked

    @property
    def usable(self) -> bool:
        """Return whether it has tables and the records of their origin."""
        return not set(self.lacking) & set(NEEDED)

    @property
    def unfinished(self) -> str:
        """Return in words why the part is not finished."""
        at_work = ["a run is active in it, or was killed (then: --unlock)"] if self.locked else []
        nothing = len(self.lacking) == len(_EXPECTED)
        lacking = (
            [f"it has no {'results yet' if nothing else ', '.join(self.lacking)}"] if self.lacking else []
        )
        return "; ".join(at_work + lacking)


def find_parts(folders: Sequence[str | Path]) -> list[Part]:
    """Return the parts in these folders: folders of studies, or their results folders.

    Raises:
        ConfigError: a folder does not exist, or its name cannot be used as the name of a part.
    """
    problems, parts = [], {}
    for folder in map(Path, folders):
        # links are not resolved: `results` may be a link to another disk
        results = (folder / "results" if (folder / "results").is_dir() else folder).absolute()
        study = results.parent if results.name == "results" else results
        name = Path(os.path.normpath(study)).name
        if not folder.is_dir():
            problems.append(f"there is no folder {folder}; name the folders that were given with --directory")
        elif not _NAME.fullmatch(name):
            problems.append(f"{folder}: the folder's name is the part's name: use letters, digits and . _ -")
        elif name in parts:
            problems.append(f"{folder}: another part is called {name} too, or this one is given twice")
        else:
            locks = study / ".snakemake/locks"
            parts[name] = Part(
                name=name,
                results=results,
                lacking=tuple(file for file in _EXPECTED if not (results / file).is_file()),
                locked=locks.is_dir() and any(locks.iterdir()),
            )
    refuse(problems)
    return list(parts.values())


def refuse(problems: Sequence[str]) -> None:
    """Raise a ConfigError that lists all problems; return if there are none."""
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        raise ConfigError(f"merge: {count}; nothing was written.\n{lines}")


def mismatches(parts: Sequence[Part]) -> list[str]:
    """Return in words why parts cannot be merged; empty if they can."""
    damaged = [line for part in parts for line in _damaged(part)]
    if damaged or not parts:
        return damaged
    facts = {part.name: _facts(part) for part in parts}
    kinds = dict.fromkeys(kind for kept in facts.values() for kind in kept)
    found = [line for kind in kinds for line in _compare(kind, {name: facts[name][kind] for name in facts})]
    if any(line.startswith(_PROTOCOL_KIND) for line in found):
        found.append(_PROTOCOL_ADVICE)
    return [*found, *_other_models(parts), *_shared_ids(parts), *_alike_people(parts), *_shared_images(parts)]


def digests(part: Part) -> dict[str, str]:
    """Return the SHA-256 of each file of a part that a merge reads."""
    files = (file for file in (*NEEDED, NOTES) if (part.results / file).is_file())
    return {file: _sha256(part.results / file) for file in files}


def count_part(part: Part) -> dict[str, int]:
    """Return numbers of a part: scans, people, accepted, predicted and scored scans.

    `missing` are accepted scans without a volume and scans without a verdict.
    """
    listed = list(rows_of_part(part, "scans"))
    accepted = {row["scan"] for row in listed if row["verdict"] == "ok"}
    predicted = {row["scan"] for row in rows_of_part(part, "volumes")}
    return {
        "scans": len(listed),
        "people": len({row["subject"] for row in listed}),
        "accepted": len(accepted),
        "predicted": len(predicted),
        "scored": len({row["scan"] for row in rows_of_part(part, "metrics")}),
        "missing": len(accepted - predicted) + sum(row["verdict"] == "missing" for row in listed),
    }


def rows_of_part(part: Part, table: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a part's table (a key of TABLES) by column."""
    with open(part.results / TABLES[table], newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def header(part: Part, table: str) -> list[str]:
    """Return the column names of a part's table (a key of TABLES)."""
    return _columns(part.results / TABLES[table])


def comparable_settings(part: Part) -> dict:
    """Return the settings of a part, flattened, that all parts must share."""
    settings = read_json(part.results / RUN)["settings"]
    return {key: value for key, value in settings.items() if key not in FREE_SETTINGS}


def listed(names: Sequence[str]) -> str:
    """Return names in words, the first MOST_LISTED of them."""
    rest = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def models_recorded(part: Part) -> bool:
    """Return whether a part records which models it was predicted with, beyond their path."""
    return _PLACE not in _models(part)


def _damaged(part: Part) -> Iterator[str]:
    """Yield the files of a part that cannot be read."""
    try:
        _facts(part), _models(part)
    except (ValueError, KeyError, TypeError):
        yield f"{part.name}: {RUN}, {PROTOCOL}, {STUDY} or a run.json of its models is damaged; run it again"
    for path in (*TABLES.values(), DIGESTS):
        if "scan" not in _columns(part.results / path):
            yield f"{part.name}: {path} is damaged; remove it and run the part again"


def _columns(table: Path) -> list[str]:
    with open(table, newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _facts(part: Part) -> dict[str, Mapping[str, object]]:
    """Return the values that must be the same in all parts, as kind -> name -> value."""
    run, protocol = read_json(part.results / RUN), read_json(part.results / PROTOCOL)
    judged = {field["field"]: field["protocol"] for field in protocol["fields"]}
    return {
        "setting": comparable_settings(part),
        "version of": run["software"],
        "code of": run["code"],
        "study:": {"synthetic": read_json(part.results / STUDY)["synthetic"]},
        "columns of": {
            path: ", ".join(header(part, table)) for table, path in TABLES.items() if table != WIDE
        },
        _PROTOCOL_KIND: {"source": protocol["source"]} | judged,
    }


def _compare(kind: str, values: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Yield a line for each name on which parts (part -> name -> value) differ."""
    for name in dict.fromkeys(name for named in values.values() for name in named):
        holders = defaultdict(list)
        for part, named in values.items():
            holders[json.dumps(named[name]) if name in named else "nothing"].append(part)
        if len(holders) > 1:
            told = "; ".join(f"{value} in {listed(parts)}" for value, parts in holders.items())
            yield f"{kind} {name}: {told}"


def _other_models(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the folds in which parts of one network differ, and the parts that share no network with the first.

    A study that trained the models may have trained more than the others use.
    """
    networks: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for part in parts:
        for fold, digest in _models(part).items():
            networks[fold.rpartition("/")[0]].setdefault(part.name, {})[fold] = digest
    for used in networks.values():
        yield from _compare("model", used)
    shared = {part for used in networks.values() if parts[0].name in used for part in used}
    others = [part.name for part in parts if part.name not in shared]
    if others:
        yield f"models: {listed(others)} and {parts[0].name} were predicted with other networks"


def _models(part: Part) -> dict[str, str]:
    """Return digests of the models that a part was predicted with, by fold.

    Models that it has not trained are listed in its run.json; if an older one does not list them, the digest of their
    path is used for all.
    """
    trained: dict[str, str] = {}
    for folder in sorted(part.results.glob("models/*/*")):
        trained |= model_digests(folder)
    used = trained or read_json(part.results / RUN).get("models")
    return used or {_PLACE: read_json(part.results / STUDY)["model"]}


def _shared_ids(parts: Sequence[Part]) -> Iterator[str]:
    """Yield scans (ignoring case, as in a cohort table) and people that are in several parts."""
    homes: dict[str, dict[str, str]] = {"scan": {}, "subject": {}}
    twice: dict[str, dict[str, list[str]]] = {"scan": {}, "subject": {}}
    for part in parts:
        for row in rows_of_part(part, "scans"):
            for kind, name in (("scan", row["scan"].lower()), ("subject", row["subject"])):
                home = homes[kind].setdefault(name, part.name)
                if home != part.name:
                    twice[kind].setdefault(row[kind], [home]).append(part.name)
    for kind, what in (("scan", "scans"), ("subject", "people")):
        if twice[kind]:
            named = [f"{name} ({', '.join(dict.fromkeys(found))})" for name, found in twice[kind].items()]
            yield f"{what} in several parts: {listed(named)}"


def _alike_people(parts: Iterable[Part]) -> Iterator[str]:
    """Yield subjects of different parts who may be one person, by the rules of the cohort table."""
    # subjects of one spelling, with the first part of each
    known: dict[str, dict[str, str]] = defaultdict(dict)
    pairs = []
    for part in parts:
        for subject in dict.fromkeys(row["subject"] for row in rows_of_part(part, "scans")):
            others = known[plain_spelling(subject)]
            pairs += [
                f"{other} ({home}) and {subject} ({part.name})"
                for other, home in others.items()
                if home != part.name and other != subject and may_be_one(other, subject)
            ]
            others.setdefault(subject, part.name)
    if pairs:
        yield (
            f"people of several parts whose ids differ only in case or leading zeros: {listed(pairs)}. "
            "All scans of a person belong in one part, under one `subject`; give other people other ids"
        )


def _shared_images(parts: Iterable[Part]) -> Iterator[str]:
    """Yield accepted scans of different parts and subjects with the same image: one person would be counted twice."""
    first: dict[str, tuple[str, str, str]] = {}  # part, scan and subject, by digest of the voxels
    pairs = []
    for part in parts:
        voxels = read_digests(part.results / DIGESTS)
        for row in rows_of_part(part, "scans"):
            digest = voxels.get(row["scan"])
            if row["verdict"] != "ok" or digest is None:
                continue
            home, scan, subject = first.setdefault(digest, (part.name, row["scan"], row["subject"]))
            if home != part.name and subject != row["subject"]:
                pairs.append(f"{scan} ({home}) and {row['scan']} ({part.name})")
    if pairs:
        yield (
            f"scans of several parts with identical voxels: {listed(pairs)}. Correct `image`; or, if they "
            "are one person, give a reason in `exclude` of one of the tables, or move the rows to one part under one "
            "`subject`. Then run these parts again"
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
