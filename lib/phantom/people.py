"""The people of the synthetic cohort: ids, sex, age and which scans have a deliberate defect.

Only the standard library is imported: the workflow reads this table while Snakemake parses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lib.ages import printed_age
from lib.errors import ConfigError
from lib.seeding import derive_seed

DEFECTS = (
    "missing_slice",
    "duplicated_slice",
    "truncated_file",
    "wrong_modality",
    "localizer",
    "second_series",
    "metal_nail",
    "right_side",
    "repeat",
)
"""Deliberately defective or unusual scans; the position in this tuple numbers the scan."""

TABLE_COLUMNS = (
    "scan",
    "image",
    "subject",
    "sex",
    "age",
    "site",
    "series_uid",
    "mask",
    "mask_label",
    "side",
    "repeat_of",
    "set",
    "exclude",
)
"""Columns of the cohort table, all text."""

_YOUNGEST_YEARS, _OLDEST_YEARS = 27, 90
_GOLDEN_FRACTION = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Section `phantom` of the config: size of the synthetic cohort and of its images.

    `pixel_mm` is the range of pixel sizes at 512 pixels per row; a smaller `matrix` has larger pixels and the same
    field of view. Raises `ConfigError` with the name of a wrong key.
    """

    people: int = 0
    hard_people: int = 0
    unlabelled_people: int = 0
    defects: Sequence[str] = ()
    seed: int = 1
    matrix: int = 512
    pixel_mm: Sequence[float] = (0.742, 0.977)
    slice_mm: float = 2.0
    supersampling: int = 3

    def __post_init__(self) -> None:
        """Check every key, and that keys do not contradict each other."""
        for key in ("people", "hard_people", "unlabelled_people", "seed"):
            _require_integer(key, getattr(self, key), low=0)
        _require_integer("matrix", self.matrix, low=32, high=1024)
        _require_integer("supersampling", self.supersampling, low=1, high=8)
        _require_number("slice_mm", self.slice_mm, low=0.5, high=10.0)
        self._require_pixels()
        self._require_defects()

    def _require_pixels(self) -> None:
        if not isinstance(self.pixel_mm, list | tuple) or len(self.pixel_mm) != 2:
            raise ConfigError(f"phantom.pixel_mm is {self.pixel_mm!r}: expected [smallest, largest] in mm")
        for size in self.pixel_mm:
            # below 0.7 mm a body does not fit into 512 pixels
            _require_number("pixel_mm", size, low=0.7, high=1.5)
        if self.pixel_mm[0] > self.pixel_mm[1]:
            raise ConfigError(f"phantom.pixel_mm is {list(self.pixel_mm)}: the smallest size comes first")

    def _require_defects(self) -> None:
        if not isinstance(self.defects, list | tuple):
            raise ConfigError(f"phantom.defects is {self.defects!r}: expected a list of {', '.join(DEFECTS)}")
        for defect in self.defects:
            if defect not in DEFECTS:
                raise ConfigError(f"phantom.defects holds {defect!r}: allowed are {', '.join(DEFECTS)}")
        if len(set(self.defects)) != len(self.defects):
            raise ConfigError("phantom.defects names a defect twice: each may be given once")
        if "repeat" in self.defects and self.people == 0:
            raise ConfigError(
                "phantom.defects holds 'repeat', which repeats P001: set phantom.people to 1 or more"
            )


@dataclass(frozen=True, kw_only=True)
class PhantomPerson:
    """A synthetic scan: its person and its defect, if any.

    `person_seed` draws the person's properties (shape, density, habitus), `scan_seed` those of the acquisition
    (position, noise, identifiers). A repeated scan has the same `person_seed` and a `scan_seed` of its own.
    """

    scan: str
    subject: str
    sex: str
    age: int
    variant: str
    defect: str
    side: str
    repeat_of: str
    labelled: bool
    person_seed: int
    scan_seed: int


def phantom_people(config: PhantomConfig) -> tuple[PhantomPerson, ...]:
    """Return all scans of the cohort; the k-th of a kind depends only on the seed and k."""
    people = [_person(config.seed, f"P{k:03d}", k) for k in range(1, config.people + 1)]
    hard = [_person(config.seed, f"H{k:02d}", k, variant="hard") for k in range(1, config.hard_people + 1)]
    new = [
        _person(config.seed, f"U{k:02d}", k, labelled=False) for k in range(1, config.unlabelled_people + 1)
    ]
    broken = [_defect_scan(config.seed, defect) for defect in DEFECTS if defect in config.defects]
    return (*people, *hard, *new, *broken)


def find_person(config: PhantomConfig, scan: str) -> PhantomPerson:
    """Return the scan named `scan`; raise `ConfigError` if the cohort has no such scan."""
    for person in phantom_people(config):
        if person.scan == scan:
            return person
    raise ConfigError(f"phantom: the configured cohort has no scan {scan!r}")


def phantom_table(config: PhantomConfig) -> list[dict[str, str]]:
    """Return the rows of the cohort table (`TABLE_COLUMNS`, all text, "" where not given).

    Paths are relative to the table's own folder.
    """
    return [_table_row(person) for person in phantom_people(config)]


def _table_row(person: PhantomPerson) -> dict[str, str]:
    row = dict.fromkeys(TABLE_COLUMNS, "")
    row.update(
        scan=person.scan,
        image=f"{person.scan}/dicom",
        subject=person.subject,
        sex=person.sex,
        age=printed_age(person.age),
        mask=f"{person.scan}/mask.nii.gz" if person.labelled else "",
        side=person.side,
        repeat_of=person.repeat_of,
        site="hard variant" if person.variant == "hard" else "",
        # hard and defective scans must not change the folds of the other people
        set="" if person.scan.startswith("P") else "external" if person.variant == "hard" else "apply",
    )
    return row


def _person(
    seed: int, scan: str, number: int, *, variant: str = "standard", labelled: bool = True
) -> PhantomPerson:
    """Return person `number` (from 1) of a kind; men and women alternate, ages are spread evenly."""
    kind = scan[0]
    sex = "MF"[number % 2]
    return PhantomPerson(
        scan=scan,
        subject=scan,
        sex=sex,
        age=_stratified_age(seed, kind + sex, (number - 1) // 2),
        variant=variant,
        defect="",
        side="left",
        repeat_of="",
        labelled=labelled,
        person_seed=derive_seed(seed, "phantom", "person", scan),
        scan_seed=derive_seed(seed, "phantom", "scan", scan),
    )


def _defect_scan(seed: int, defect: str) -> PhantomPerson:
    number = DEFECTS.index(defect) + 1
    scan = f"X{number:02d}-{defect.replace('_', '-')}"
    # a repeated scan shows P001 again; every other defect has its own person
    shown = _person(
        seed, "P001" if defect == "repeat" else f"X{number:02d}", 1 if defect == "repeat" else number
    )
    return PhantomPerson(
        scan=scan,
        subject=shown.subject,
        sex=shown.sex,
        age=shown.age,
        variant="standard",
        defect=defect,
        side="right" if defect == "right_side" else "left",
        repeat_of=shown.scan if defect == "repeat" else "",
        labelled=True,
        person_seed=shown.person_seed,
        scan_seed=derive_seed(seed, "phantom", "scan", scan),
    )


def _stratified_age(seed: int, group: str, index: int) -> int:
    """Return an age in years; successive people of a group fill 27-90 evenly (golden-ratio sequence)."""
    start = random.Random(derive_seed(seed, "phantom", "age", group)).random()
    share = (start + index * _GOLDEN_FRACTION) % 1.0
    return _YOUNGEST_YEARS + int(share * (_OLDEST_YEARS - _YOUNGEST_YEARS + 1))


def _require_integer(key: str, value: object, *, low: int, high: int | None = None) -> None:
    allowed = f"a whole number of {low} or more" if high is None else f"a whole number from {low} to {high}"
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= low
    if not fits or (high is not None and value > high):
        raise ConfigError(f"phantom.{key} is {value!r}: expected {allowed}")


def _require_number(key: str, value: object, *, low: float, high: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"phantom.{key} is {value!r}: expected a number from {low} to {high} (mm)")
