"""Merging the parts of a large cohort, each run as a separate study, into the tables of one study.

Rows are copied one by one, with a first column `part`. Statistics of the whole cohort (agreement, scores, precision)
are computed again over all people: the intervals and summaries of the parts are never pooled.
"""

import argparse
import csv
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json, whole_folder, write_json
from lib.commands.parts.results import (
    NOTES,
    PROTOCOL,
    RUN,
    TABLES,
    Part,
    comparable_settings,
    count_part,
    digests,
    find_parts,
    header,
    mismatches,
    models_recorded,
    refuse,
    rows_of_part,
)
from lib.errors import ConfigError, OsteoflowError
from lib.measured import read_measured
from lib.model_record import read_run
from lib.report_settings import AgreementConfig
from lib.stats.coverage_notes import coverage_notes
from lib.stats.strata import with_strata
from lib.stats.summary import summary_tables
from lib.stats.tables import read_table, write_table

PARTS = "parts.csv"
COUNTS = ("scans", "people", "accepted", "predicted", "scored", "missing")
PART_COLUMNS = ("part", "state", *COUNTS, "notes", *(f"{table}_sha256" for table in TABLES))


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The result of a merge: the rows of parts.csv, and the notes."""

    parts: Sequence[Mapping[str, object]]
    notes: Sequence[str]


def merge_parts(folders: Sequence[str | Path], target: str | Path, *, partial: bool = False) -> Merged:
    """Merge the parts in `folders` into the folder `target` atomically; a former merge there is replaced.

    With `partial`, parts without a finished report are included if their tables exist, and left out if not.

    Raises:
        ConfigError: parts are not finished, do not belong together or change while they are read, or `target` holds
            anything but a former merge. The text lists every problem.
    """
    target, parts = Path(target), find_parts(folders)
    _check_target(target, parts)
    taken = [part for part in parts if part.finished or (partial and part.usable)]
    before = {part.name: digests(part) for part in taken}
    unfinished = [f"{part.name} is not finished: {part.unfinished}" for part in parts if not part.finished]
    if unfinished and not partial:
        advice = "finish these parts, or merge what exists with --partial"
        refuse([*unfinished, *mismatches(taken), advice])
    if not taken:
        raise ConfigError("merge: no part has all its tables yet; nothing was written")
    refuse(mismatches(taken))
    with whole_folder(target) as folder:
        for table, path in TABLES.items():
            _merge_table(taken, table, folder / path)
        told = _write_summaries(taken, folder)
        merged = Merged(parts=_describe(parts, before), notes=_notes(parts, taken, told))
        _write_records(merged, taken[0], folder)
        refuse(
            [
                f"{part.name} changed while it was read: repeat the command when no run is active in it"
                for part in taken
                if digests(part) != before[part.name]
            ]
        )
    return merged


def _check_target(target: Path, parts: Iterable[Part]) -> None:
    """Refuse a target that is not a former merge."""
    place = target.resolve()
    results = [part.results.resolve() for part in parts]
    if any(path.is_relative_to(place) or place.is_relative_to(path) for path in results):
        raise ConfigError(f"merge: {target} holds a part, or lies in one; name another folder")
    if target.exists() and not (target / PARTS).is_file():
        raise ConfigError(f"merge: {target} exists and holds no former merge ({PARTS}); name a new folder")


def _merge_table(parts: Sequence[Part], table: str, target: Path) -> None:
    """Write the rows of a table from all parts, with the part's name in the first column.

    A part that lacks a column, which only the table of people may, has empty cells there.
    """
    columns = _columns_of_all(header(part, table) for part in parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["part", *columns])
        for part in parts:
            with open(part.results / TABLES[table], newline="", encoding="utf-8") as source:
                rows = csv.reader(source)
                place = {name: number for number, name in enumerate(next(rows))}
                taken = [place.get(name) for name in columns]
                writer.writerows(
                    [part.name, *("" if at is None else row[at] for at in taken)] for row in rows
                )


def _columns_of_all(headers: Iterable[Sequence[str]]) -> list[str]:
    """Return the columns of several headers, each after the one that it follows in its header."""
    columns: list[str] = []
    for names in headers:
        place = 0
        for name in names:
            if name not in columns:
                columns.insert(place, name)
            place = columns.index(name) + 1
    return columns


def _write_summaries(parts: Sequence[Part], folder: Path) -> list[str]:
    """Write the statistics over the people of all parts; return the notes on them."""
    settings = comparable_settings(parts[0])
    report = {
        key.removeprefix("report."): value for key, value in settings.items() if key.startswith("report.")
    }
    (readers,) = read_measured(
        (path for part in parts for path in part.results.glob("measured/*/*/*/*.json")), "readers"
    )
    runs = (path for part in parts for path in part.results.glob("models/*/*/fold-*/run.json"))
    whole = {
        name: read_table(folder / TABLES[name])
        for name in ("metrics", "unscored", "measurements", "acquisition")
    }
    config = AgreementConfig(**report)
    whole |= {"volumes": read_table(_repeated(parts))}
    tables = summary_tables(
        with_strata(whole, config.strata, read_table(folder / TABLES["scans"])),
        readers,
        [read_run(path) for path in runs],
        config,
    )
    for name, table in tables.items():
        write_table(table, folder / f"tables/{name}.csv")
    return coverage_notes(tables["coverage"], config.confidence)


def _repeated(parts: Sequence[Part]) -> io.StringIO:
    """Return the volumes of repeated scans and of the scans that they repeat."""
    first = {row["repeat_of"] for part in parts for row in rows_of_part(part, "volumes")}
    text = io.StringIO()
    writer = csv.DictWriter(text, header(parts[0], "volumes"))
    writer.writeheader()
    for part in parts:
        writer.writerows(
            row for row in rows_of_part(part, "volumes") if row["repeat_of"] or row["scan"] in first
        )
    text.seek(0)
    return text


def _describe(parts: Iterable[Part], read: Mapping[str, Mapping[str, str]]) -> list[dict[str, object]]:
    """Return the rows of parts.csv; `read` holds the digests of the files read, by part."""
    rows = []
    for part in parts:
        row: dict[str, object] = {"part": part.name, "state": "left out"}
        if part.name in read:
            row |= {"state": "finished" if part.finished else "not finished"} | count_part(part)
            row |= {f"{table}_sha256": read[part.name][path] for table, path in TABLES.items()}
            row["notes"] = len(_own_notes(part))
        rows.append(row)
    return rows


def _own_notes(part: Part) -> list[str]:
    path = part.results / NOTES
    return read_json(path)["notes"] if path.is_file() else []


def _notes(parts: Sequence[Part], taken: Sequence[Part], told: Sequence[str]) -> list[str]:
    """Return the notes: on the merge, on all people (`told`), then those of the parts' reports."""
    notes = []
    for part in parts:
        if not part.finished:
            fate = "was taken as it is" if part in taken else "was left out"
            notes.append(f"{part.name} {fate}: {part.unfinished}.")
    if not all(models_recorded(part) for part in taken):
        notes.append(
            "The models behind the predictions are known only by their path: older runs did not record more."
        )
    if read_json(taken[0].results / PROTOCOL)["source"] == "majority":
        notes.append(
            "off_protocol was judged in each part against what most of its own scans share (the same in all parts)."
        )
    return [*notes, *told, *_grouped({part.name: _own_notes(part) for part in taken})]


def _grouped(notes: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Yield each sentence once, with the parts that it comes from."""
    said = defaultdict(list)
    for part, sentences in notes.items():
        for sentence in sentences:
            said[sentence].append(part)
    for sentence, names in said.items():
        yield f"{'all parts' if len(names) == len(notes) > 1 else ', '.join(names)}: {sentence}"


def _write_records(merged: Merged, first: Part, folder: Path) -> None:
    """Write parts.csv, the notes, and the provenance shared by all parts."""
    with open(folder / PARTS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, PART_COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.parts)
    write_json(folder / NOTES, {"notes": list(merged.notes)})
    run = read_json(first.results / RUN)
    write_json(folder / RUN, run | {"settings": comparable_settings(first)})


def _printed(merged: Merged) -> str:
    """Return parts and notes as a text for the terminal."""
    columns = ("part", "state", *COUNTS)
    rows = [columns, *([str(row.get(name, "")) for name in columns] for row in merged.parts)]
    totals = [str(sum(row.get(name, 0) for row in merged.parts)) for name in COUNTS]
    rows.append(["all", "", *totals])
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), *(f"note: {note}" for note in merged.notes)])


def main(arguments: list[str] | None = None) -> int:
    """Merge parts and print the result; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.commands.parts.merge", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="folder for the merged tables; a former merge is replaced")
    parser.add_argument(
        "parts", type=Path, nargs="+", help="folders of the parts (as named with --directory)"
    )
    parser.add_argument("--partial", action="store_true", help="include unfinished parts as they are")
    options = parser.parse_args(arguments)
    try:
        merged = merge_parts(options.parts, options.folder, partial=options.partial)
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    print(_printed(merged))
    return 0


if __name__ == "__main__":
    sys.exit(main())
