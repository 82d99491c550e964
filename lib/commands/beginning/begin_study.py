"""Begin a study: look through a folder of scans, and write settings and cohort table (`osteoflow init`)."""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lib.atomic import write_text
from lib.catalog.anatomies import ANATOMIES
from lib.cohort.table import read_cohort
from lib.commands.beginning.dicom_found import find_dicom
from lib.commands.beginning.first_files import (
    OVERLAY,
    TABLE,
    overlay_text,
    people_in_words,
    study_name,
    table_of,
    table_rows,
)
from lib.commands.beginning.found import Found, number_of
from lib.commands.beginning.guessed_study import NOTHING_TELLS, StudyGuess, guess_study, may_show_femora
from lib.commands.beginning.image_files_found import find_image_files, is_image_file
from lib.commands.beginning.masks_found import (
    keep_one_of_each_examination,
    match_masks,
    read_label_values,
    tell_sides,
)
from lib.errors import ConfigError, TableError

_OTHER_ARCHIVES = (".tar", ".tgz", ".gz", ".7z", ".rar", ".bz2", ".xz")
_FEWEST_TOLD = 200  # headers between two lines of progress
_SECONDS_TOLD = 2.0
UIDS = (
    "cohort.csv names series by their UID, because folders hold several. UIDs of some scanners contain the date: "
    "keep the table with the scans, not with the results"
)
FEWEST_PEOPLE = 2
TOO_FEW = (
    "training needs masks of at least two people: draw them (docs/masks.md), or predict with finished models "
    "(`model` in study.yaml). The targets screened and then cropped prepare the scans without either"
)
NO_SCANS = (
    "no scan was found there ({seen}). Expected: folders or zip archives of DICOM series in CT or MR, or NIfTI, NRRD "
    "or MetaImage files. Give the folder that holds the scans of all people"
)


def begin_study(folder: Path, study: Path, modality: str, draw: random.Random) -> list[str]:
    """Write study.yaml and cohort.csv for the scans below `folder` into `study`; return what to tell the user.

    Args:
        folder: the scans.
        study: the study's folder; it is made if it does not exist.
        modality: CT or MR; empty: the one that most scans have.
        draw: random numbers, for the order of ids.

    Raises:
        ConfigError: a file exists already, the folder cannot be read, or holds no scan. Nothing was written.
    """
    _require_new(study)
    found = survey_folder(folder, study, modality)
    values = read_label_values(found, _teller("masks read"))
    held = [tuple(places) for places in values.values()]
    note = tell_sides(found, values) if may_show_femora(found, held) else ""
    guess = guess_study(found, held)
    has_sides = ANATOMIES[guess.anatomy].has_sides
    if has_sides and note:
        found.notes.append(note)
    if not has_sides:
        for scan in found.scans:
            scan.mask_label = ""
    rows = table_rows(found, study, has_sides, draw)
    write_text(study / OVERLAY, overlay_text(guess, found, study_name(study)))
    write_text(study / TABLE, table_of(rows))
    told = _summary(found, guess)
    if len({scan.person for scan in found.used if scan.mask}) < FEWEST_PEOPLE:
        found.notes.append(TOO_FEW)
    if any(row["series_uid"] for row in rows):
        found.notes.append(UIDS)
    told += [people_in_words(rows), *(f"Note: {note}." for note in found.notes)]
    return told + _check_table(study / TABLE, guess)


def survey_folder(folder: Path, study: Path, modality: str) -> Found:
    """Return the scans below a folder, with their masks.

    Raises:
        ConfigError: there are none; the text says what there is.
    """
    files = _files(folder, study)
    images = [path for path in files if is_image_file(path)]
    others = [path for path in files if not is_image_file(path)]
    found = find_dicom(others, modality, _teller("headers read"))
    further = find_image_files(images, folder, modality, _teller("image files read"))
    if not found.seen:
        further.left_out += found.left_out
        found = further
    elif further.seen:
        found.masks = further.masks
        found.names = further.names
        if further.scans:
            found.left_out["image files (NIfTI, NRRD, MetaImage) beside DICOM series"] += len(further.scans)
            found.notes.append(
                f"{number_of(len(further.scans), 'image files')} that are no masks were left out, because they may "
                "be copies of the DICOM series. If they are scans of their own, move them to another folder"
            )
    if not found.scans:
        raise ConfigError(f"{folder}: {NO_SCANS.format(seen=_what_was_seen(found, others))}")
    match_masks(found, folder)
    keep_one_of_each_examination(found)
    return found


def _require_new(study: Path) -> None:
    there = [name for name in (OVERLAY, TABLE) if (study / name).exists()]
    if there:
        raise ConfigError(
            f"{study} already has {' and '.join(there)}; nothing was written, because no file is ever overwritten. "
            "Give another folder with --study, or move the file away"
        )
    if study.exists() and not study.is_dir():
        raise ConfigError(f"{study} is a file; give a folder with --study")


def _files(folder: Path, study: Path) -> list[Path]:
    """Return all files below a folder in sorted order, without hidden ones and the study's results."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(f"{folder} {what}: give the folder that holds the scans")
    results, entered = (study / "results").resolve(), set()
    files: list[Path] = []
    unreadable: list[str] = []
    walk = os.walk(folder, onerror=lambda error: unreadable.append(error.filename), followlinks=True)
    for place, folders, names in walk:
        real = Path(place).resolve()
        if real in entered or real == results:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    if unreadable:
        raise ConfigError(
            f"{len(unreadable)} folders below {folder} may not be read by this user; nothing was written. Ask for "
            "permission to read them, or give another folder"
        )
    return [path for path in files if path.is_file()]


def _what_was_seen(found: Found, others: Sequence[Path]) -> str:
    """Return in words what a folder holds that has no scan."""
    archives = sum(path.suffix.lower() in _OTHER_ARCHIVES for path in others)
    parts = [number_of(count, what) for what, count in found.left_out.items() if count]
    parts += [number_of(len(found.masks), "masks")] if found.masks else []
    parts += [f"{number_of(archives, 'archives')} other than zip: unpack them"] if archives else []
    if not parts:
        return f"{number_of(len(others), 'files')} of other kinds" if others else "it is empty"
    return ", ".join(parts)


def _summary(found: Found, guess: StudyGuess) -> list[str]:
    """Return what was found: counts of scans, of what was left out, and of masks."""
    used, excluded = len(found.used), len(found.scans) - len(found.used)
    parts = [f"{used} {guess.modality}"]
    parts += [f"{excluded} further series of the same examinations"] if excluded else []
    parts += [f"{number_of(count, what)} left out" for what, count in found.left_out.items() if count]
    matched = sum(scan.mask is not None for scan in found.used)
    masks = f"{number_of(matched, 'masks')} matched, {used - matched} without"
    masks += f", {number_of(len(found.masks), 'masks')} of no scan, or of several" if found.masks else ""
    anatomy = f"Anatomy: {guess.anatomy}, a guess: {guess.why}"
    anatomy += ". Correct it in study.yaml if it is wrong" if guess.why == NOTHING_TELLS else ""
    return [
        f"{found.seen} {found.kind} in {number_of(found.folders, 'folders')}: {', '.join(parts)}; {masks}",
        anatomy,
    ]


def _check_table(table: Path, guess: StudyGuess) -> list[str]:
    """Return what the check of the cohort table says of the table that was written; nothing if it passes."""
    structures = list(guess.structures) if len(guess.structures) > 1 else []
    try:
        read_cohort(table, structures=structures)
    except TableError as error:
        return [f"cohort.csv needs your hand: {error}"]
    return []


def _teller(what: str) -> Callable[[int], None]:
    """Return a function that tells a person at a terminal how many things were read, every few seconds."""
    if not sys.stderr.isatty():
        return lambda count: None
    steps = _steps()
    next(steps)

    def tell(count: int) -> None:
        if steps.send(count):
            print(f"  {count} {what}", file=sys.stderr)

    return tell


def _steps() -> Iterator[bool]:
    """Yield whether to tell, for each count that is sent."""
    last, now = time.monotonic(), False
    while True:
        count = yield now
        now = count % _FEWEST_TOLD == 0 and time.monotonic() - last > _SECONDS_TOLD
        last = time.monotonic() if now else last
