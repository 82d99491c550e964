"""The two files that `osteoflow init` writes: the settings (study.yaml) and the cohort table (cohort.csv)."""

import csv
import io
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lib.ages import age_years
from lib.commands.beginning.found import Found, FoundScan, number_of
from lib.commands.beginning.guessed_study import FEMUR, GENERIC, SPINE, StudyGuess

OVERLAY, TABLE = "study.yaml", "cohort.csv"
COLUMNS = (
    *("scan", "image", "subject", "sex", "age", "site", "vendor", "series_uid", "mask", "mask_label", "side"),
    *("set", "exclude"),
)
_ALWAYS = ("scan", "image", "subject", "sex", "age", "mask", "set", "exclude")
_FEWEST_DIGITS = 3

# people with a mask, at least -> folds and share of test people
_FOLDS = ((40, None), (15, (5, 0.2)), (6, (3, 0.2)), (0, (2, 0)))

_HEAD = """\
# Settings of this study, written by `osteoflow init` and yours to change. They say what differs from config.yaml of
# Osteoflow, which explains every setting. What is marked "guess" was told from the files: check it.
study: {name}
cohort: cohort.csv   # the table beside this file; docs/cohort.md explains its columns

# guess: {why}. Others are proximal-femur, lumbar-spine and generic (docs/other-bones.md)
anatomy: {anatomy}
# {of_structures}
structures: {structures}
# models for everybody; add male: {{sex: M}} and female: {{sex: F}} to train models of each sex as well
groups: {{all: {{}}}}
"""
_SIDES = """
# Hips: the table has one row for each scan, and `side` says which hip it is about: left, as in Zhao et al. 2020, or
# the one that the mask shows. For both hips of a scan write two rows with its image and subject, each with a scan id
# and a side of its own (and with the value of that femur in mask_label). All hips of a person stay in one fold.
"""
_MR = {
    "screening": "{modality: MR}",
    "resample": "{method: none}      # the slices as they were acquired",
    "model_frame": "{slice_axis: acquired}",
    "intensity": "{scale: percentile, low: 0.5, high: 99.5}   # MR has no common scale of values",
}
_SPINE = {
    "resample": "{method: area}",
    "crop": "{method: spine, size: [128, 128]}",
    "mask": "{method: argmax}",
}
_CALIBRATION = """
# Density (docs/calibration.md): if a calibration phantom lies in the scans, write its certificate into phantoms.yaml,
# add the columns phantom and calibration to the table, and remove the # of the next line.
# calibration: {phantoms: phantoms.yaml}
"""
_NO_MASKS = """
# No scan has a mask, so nothing can be trained. Draw masks (docs/masks.md), or predict with finished models:
# model: FOLDER              # with fold-0, fold-1, ... of another study (docs/finished-models.md)
"""


def overlay_text(guess: StudyGuess, found: Found, name: str) -> str:
    """Return the text of the settings file of a study with this `name`."""
    text = _HEAD.format(
        name=name,
        anatomy=guess.anatomy,
        why=guess.why,
        structures=_structures_text(guess.structures),
        of_structures=_of_structures(guess, found),
    )
    text += _SIDES if guess.anatomy == FEMUR else ""
    settings = _settings(guess)
    text += f"\n# {guess.modality}: guess, from the files\n" if settings else ""
    text += "".join(f"{key}: {value}\n" for key, value in settings.items())
    text += _training(found, guess)
    return text + (_CALIBRATION if guess.modality == "CT" else "")


def _structures_text(structures: Mapping[str, object]) -> str:
    parts = (f"{name}: {value}" for name, value in structures.items())
    return f"{{{', '.join(parts)}}}"


def _of_structures(guess: StudyGuess, found: Found) -> str:
    if not any(scan.mask for scan in found.used):
        return "the bones, with their values in masks; no mask was found, so this is a guess"
    if any(name.startswith("label-") for name in guess.structures):
        return (
            "the values in your masks: give them the names of the bones, and delete those that do not matter"
        )
    return "the bones, with their values in your masks; any: every value above 0, or that of mask_label"


def _settings(guess: StudyGuess) -> dict[str, str]:
    """Return the settings that anatomy, modality and structures need."""
    settings = dict(_SPINE) if guess.anatomy == SPINE else {}
    if guess.modality == "MR":
        settings |= _MR
    if guess.anatomy == GENERIC or guess.modality == "MR":
        settings["crop"] = (
            "{method: centre, size: [192, 192]}   # the middle of each image; look at results/crops/ before you train"
        )
    if guess.anatomy != SPINE and len(guess.structures) > 1:
        settings["mask"] = "{method: argmax}"
    return settings


def _training(found: Found, guess: StudyGuess) -> str:
    """Return the settings of folds and training, which depend on the number of people with a mask."""
    people = {scan.person for scan in found.used if scan.mask and scan.set != "test"}
    if not any(scan.mask for scan in found.used):
        return _NO_MASKS
    folds = next(folds for least, folds in _FOLDS if len(people) >= least)
    lines = ["", f"# People with a mask, who train and test the models: {len(people)}"]
    if folds:
        lines.append("# config.yaml has 10 folds and tests 0.1 of the people, who are too few here")
        lines.append(f"folds: {{folds: {folds[0]}, test_fraction: {folds[1]:g}}}")
    lines += [
        "train:",
        "  epochs: 300   # config.yaml has 1000, as the article; `osteoflow check` tells the hours",
    ]
    if len(guess.structures) > 1 or guess.anatomy == SPINE:
        lines += ["  loss: dice_cross_entropy", "  augment: {mirror_axes: []}"]
    return "\n".join(lines) + "\n"


def table_rows(found: Found, folder: Path, sides: bool, draw: random.Random) -> list[dict[str, str]]:
    """Return the rows of the cohort table: people and institutions in random order, under numbers.

    Args:
        found: the scans.
        folder: the study's folder, to which paths are relative.
        sides: whether the anatomy has sides.
        draw: random numbers, by which no id tells the order of names or dates.
    """
    of_people = defaultdict(list)
    for scan in found.scans:
        of_people[scan.person].append(scan)
    people = _shuffled(of_people, draw)
    sites = _shuffled({scan.institution for scan in found.scans if scan.institution}, draw)
    site_names = {site: f"site-{number}" for number, site in enumerate(sites, start=1)}
    rows = []
    for number, person in enumerate(people, start=1):
        for scan in _ordered(of_people[person], draw):
            rows.append(
                {
                    "scan": f"S{_number(len(rows) + 1, len(found.scans))}",
                    "image": _relative(scan.path, folder),
                    "subject": f"P{_number(number, len(people))}",
                    "sex": scan.sex,
                    "age": scan.age,
                    "site": site_names[scan.institution] if len(sites) > 1 and scan.institution else "",
                    "vendor": scan.vendor,
                    "series_uid": scan.series_uid if scan.shares_path else "",
                    "mask": _relative(scan.mask, folder) if scan.mask else "",
                    "mask_label": scan.mask_label,
                    "side": (scan.side or "left") if sides else "",
                    "set": scan.set or "auto",
                    "exclude": scan.exclude,
                }
            )
    return rows


def table_of(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as a cohort table, without columns that are empty in all of them and not usually needed."""
    columns = [name for name in COLUMNS if name in _ALWAYS or any(row[name] for row in rows)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def study_name(folder: Path) -> str:
    """Return a name for a study in this folder: the folder's, if it is plain."""
    name = folder.name.lower()
    return name if re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name) else "study"


def people_in_words(rows: Iterable[Mapping[str, str]]) -> str:
    """Return a sentence on the people of a table's rows that are used."""
    used = [row for row in rows if not row["exclude"]]
    people = {row["subject"]: row for row in used}.values()
    sexes = [row["sex"] for row in people]
    ages = sorted(years for row in people if (years := age_years(row["age"])) is not None)
    text = f"{number_of(len(people), 'people')}, {number_of(len(used), 'scans')}"
    text += f", female {sexes.count('F')}, male {sexes.count('M')}" if any(sexes) else ", sex not stated"
    return f"{text}, {ages[0]:.0f} to {ages[-1]:.0f} years old" if ages else f"{text}, age not stated"


def _shuffled(items: Iterable[str], draw: random.Random) -> list[str]:
    ordered = sorted(items)
    draw.shuffle(ordered)
    return ordered


def _ordered(scans: Iterable[FoundScan], draw: random.Random) -> list[FoundScan]:
    """Return the scans of a person in random order, those that are excluded last."""
    mixed = list(scans)
    draw.shuffle(mixed)
    return sorted(mixed, key=lambda scan: bool(scan.exclude))


def _number(number: int, count: int) -> str:
    return str(number).zfill(max(_FEWEST_DIGITS, len(str(count))))


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
