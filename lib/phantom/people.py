"""The people of the synthetic cohort: ids, sex, age, scanner, and which scans have a deliberate defect.

Only the standard library is imported: the workflow reads this table while Snakemake parses.
"""

import datetime
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lib.ages import printed_age
from lib.errors import ConfigError
from lib.phantom.scanner.machines import (
    SCANNERS,
    MrProtocol,
    Scanner,
    known_settings,
    read_scanner,
    require_integer,
    require_number,
)
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

FIRST_DATE = datetime.date(1999, 1, 2)
"""Date of all scans of a cohort with one scanner, and of the calibration of several scanners."""

_SCANNING_YEARS = 5.0
_DAYS_A_YEAR = 365.25
_CT_ONLY = frozenset(["metal_nail"])
_OWN_MACHINE = {"CT": ("SIEMENS", "Sensation 64"), "MR": ("SIEMENS", "Skyra")}
_YOUNGEST_YEARS, _OLDEST_YEARS = 27, 90
_GOLDEN_FRACTION = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Section `phantom` of the config: size of the synthetic cohort and of its images.

    `pixel_mm` is the range of pixel sizes at 512 pixels per row; a smaller `matrix` has larger pixels and the same
    field of view. These three sizes are those of a CT; `mr` has those of an MR. `scanners` are settings by name (see
    `lib.phantom.scanner.machines`); without any, all scans come from one scanner. Raises `ConfigError` with the name
    of a wrong key.
    """

    modality: str = "CT"

    people: int = 0
    hard_people: int = 0
    unlabelled_people: int = 0
    defects: Sequence[str] = ()
    seed: int = 1
    matrix: int = 512
    pixel_mm: Sequence[float] = (0.742, 0.977)
    slice_mm: float = 2.0
    supersampling: int = 3
    mr: Mapping = field(default_factory=dict)
    scanners: Mapping = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every key, and that keys do not contradict each other."""
        if self.modality not in SCANNERS:
            raise ConfigError(f"phantom.modality is {self.modality!r}: expected {' or '.join(SCANNERS)}")
        for key in ("people", "hard_people", "unlabelled_people", "seed"):
            require_integer(key, getattr(self, key), low=0)
        require_integer("matrix", self.matrix, low=32, high=1024)
        require_integer("supersampling", self.supersampling, low=1, high=8)
        require_number("slice_mm", self.slice_mm, low=0.5, high=10.0)
        self._require_pixels()
        self._require_defects()
        self.protocol()
        self._require_scanners()

    def protocol(self) -> MrProtocol:
        """Return the MR protocol, section `phantom.mr`."""
        return MrProtocol(**known_settings("mr", self.mr, MrProtocol))

    def scanner(self, name: str) -> Scanner:
        """Return the scanner of a name, or the only one of a cohort without names ("")."""
        return read_scanner(name, self.scanners[name], self.modality) if name else SCANNERS[self.modality]()

    def _require_scanners(self) -> None:
        if not isinstance(self.scanners, Mapping):
            raise ConfigError(f"phantom.scanners is {self.scanners!r}: expected {{name: {{settings}}, ...}}")
        for name, settings in self.scanners.items():
            read_scanner(name, settings, self.modality)

    def _require_pixels(self) -> None:
        if not isinstance(self.pixel_mm, list | tuple) or len(self.pixel_mm) != 2:
            raise ConfigError(f"phantom.pixel_mm is {self.pixel_mm!r}: expected [smallest, largest] in mm")
        for size in self.pixel_mm:
            # below 0.7 mm a body does not fit into 512 pixels
            require_number("pixel_mm", size, low=0.7, high=1.5)
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
        impossible = sorted(_CT_ONLY.intersection(self.defects)) if self.modality != "CT" else []
        if impossible:
            raise ConfigError(
                f"phantom.defects holds {impossible[0]!r}, which only a CT cohort has: remove it, or set "
                "phantom.modality to CT"
            )
        if "repeat" in self.defects and self.people == 0:
            raise ConfigError(
                "phantom.defects holds 'repeat', which repeats P001: set phantom.people to 1 or more"
            )


@dataclass(frozen=True, kw_only=True)
class PhantomPerson:
    """A synthetic scan: its person and its defect, if any.

    `person_seed` draws the person's properties (shape, density, habitus), `scan_seed` those of the acquisition
    (position, noise, identifiers). A repeated scan has the same `person_seed` and a `scan_seed` of its own. `scanner`
    is the name of the scanner, "" if the cohort has only one.
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
    modality: str
    scanner: str

    @property
    def scan_date(self) -> datetime.date:
        """The day of the scan: `FIRST_DATE`, or within five years from then where there are several scanners."""
        if not self.scanner:
            return FIRST_DATE
        share = random.Random(derive_seed(self.scan_seed, "date")).random()
        return FIRST_DATE + datetime.timedelta(days=int(share * _SCANNING_YEARS * _DAYS_A_YEAR))

    @property
    def scanner_years(self) -> float:
        """Years from the calibration of the scanner to the scan."""
        return (self.scan_date - FIRST_DATE).days / _DAYS_A_YEAR

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID that the cohort table names, "" where the folder holds one series that can be the scan.

        Each MR folder holds several. With the defect second_series nobody says which is wanted, and with localizer
        only one of the series can be the scan.
        """
        if self.modality != "MR" or self.defect in ("second_series", "localizer"):
            return ""
        return derive_uid(self, "series", "main")

    def machine(self, scanner: Scanner) -> tuple[str, str]:
        """Return manufacturer and model as a header states them: a scanner with a name is its own model."""
        if not self.scanner:
            return _OWN_MACHINE[self.modality]
        return scanner.manufacturer or self.scanner, self.scanner


def derive_uid(person: PhantomPerson, *purpose: str | int) -> str:
    """Return a UID of a scan for one purpose, such as "series", "main"."""
    # UIDs of the form 2.25 and an integer need no registration
    return f"2.25.{derive_seed(person.scan_seed, 'uid', *purpose)}"


def phantom_people(config: PhantomConfig) -> tuple[PhantomPerson, ...]:
    """Return all scans of the cohort; the k-th of a kind depends only on the seed and k."""
    people = [_person(config, f"P{k:03d}", k) for k in range(1, config.people + 1)]
    hard = [_person(config, f"H{k:02d}", k, variant="hard") for k in range(1, config.hard_people + 1)]
    new = [_person(config, f"U{k:02d}", k, labelled=False) for k in range(1, config.unlabelled_people + 1)]
    broken = [_defect_scan(config, defect) for defect in DEFECTS if defect in config.defects]
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
        series_uid=person.series_uid,
        mask=f"{person.scan}/mask.nii.gz" if person.labelled else "",
        side=person.side,
        repeat_of=person.repeat_of,
        site="hard variant" if person.variant == "hard" else person.scanner,
        # hard and defective scans must not change the folds of the other people
        set="" if person.scan.startswith("P") else "external" if person.variant == "hard" else "apply",
    )
    return row


def _person(
    config: PhantomConfig, scan: str, number: int, *, variant: str = "standard", labelled: bool = True
) -> PhantomPerson:
    """Return person `number` (from 1) of a kind; men and women alternate, ages and scanners are spread evenly."""
    seed = config.seed
    sex = "MF"[number % 2]
    group, index = scan[0] + sex, (number - 1) // 2
    return PhantomPerson(
        scan=scan,
        subject=scan,
        sex=sex,
        age=_stratified_age(seed, group, index),
        variant=variant,
        defect="",
        side="left",
        repeat_of="",
        labelled=labelled,
        person_seed=derive_seed(seed, "phantom", "person", scan),
        scan_seed=derive_seed(seed, "phantom", "scan", scan),
        modality=config.modality,
        scanner=_drawn_scanner(config, group, index),
    )


def _defect_scan(config: PhantomConfig, defect: str) -> PhantomPerson:
    number = DEFECTS.index(defect) + 1
    scan = f"X{number:02d}-{defect.replace('_', '-')}"
    # a repeated scan shows P001 again, on the same scanner; every other defect has its own person
    is_repeat = defect == "repeat"
    shown = _person(config, "P001" if is_repeat else f"X{number:02d}", 1 if is_repeat else number)
    return replace(
        shown,
        scan=scan,
        defect=defect,
        side="right" if defect == "right_side" else "left",
        repeat_of=shown.scan if is_repeat else "",
        scan_seed=derive_seed(config.seed, "phantom", "scan", scan),
    )


def _stratified_age(seed: int, group: str, index: int) -> int:
    """Return an age in years; successive people of a group fill 27-90 evenly (golden-ratio sequence)."""
    start = random.Random(derive_seed(seed, "phantom", "age", group)).random()
    share = (start + index * _GOLDEN_FRACTION) % 1.0
    return _YOUNGEST_YEARS + int(share * (_OLDEST_YEARS - _YOUNGEST_YEARS + 1))


def _drawn_scanner(config: PhantomConfig, group: str, index: int) -> str:
    """Return the scanner of a person of a group; as many people as there are scanners visit each of them once."""
    if not config.scanners:
        return ""
    turn, place = divmod(index, len(config.scanners))
    names = sorted(config.scanners)
    random.Random(derive_seed(config.seed, "phantom", "scanner", group, turn)).shuffle(names)
    return names[place]
