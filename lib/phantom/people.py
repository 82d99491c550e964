"""The people of the synthetic cohort: ids, sex, age, scanner, and which scans have a deliberate defect.

Only the standard library is imported: the workflow reads this table while Snakemake parses.
"""

import datetime
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lib.ages import printed_age
from lib.catalog.vendors import vendor_of
from lib.errors import ConfigError
from lib.phantom.densities import READ_LEVELS, level_densities, read_densities
from lib.phantom.density_phantoms import CAHA_PHANTOM, DENSITY_PHANTOMS, DensityPhantom
from lib.phantom.scanner.machines import (
    SCANNERS,
    MrProtocol,
    Scanner,
    known_settings,
    read_scanner,
    require_integer,
    require_number,
    require_phantom,
    require_pixels,
    require_text,
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

SPINE_DEFECTS = (
    "six_lumbar",
    "no_sacrum",
    "fracture",
    "cement",
    "screws",
    "contrast",
    "scoliosis",
    "mirrored_labels",
)
"""Those that only a lumbar spine can have; their numbers follow on."""

TRAINING_DEFECTS = tuple(defect for defect in SPINE_DEFECTS if defect != "mirrored_labels")
"""Those that people who train may have; a reference numbered from below would be refused."""

DEFECT_LEVELS = {"fracture": ("L2",), "cement": ("L3",), "screws": ("L4", "L5")}
"""Levels that a defect changes; a reader leaves them out, because they do not hold the person's own bone alone."""

DENSITY_DEFECTS = (
    "rods_reversed",
    "rods_cut",
    "rods_lost",
    "caha_phantom",
    "phantom_only",
    "no_phantom",
)
"""Those that only a cohort of hips with a density phantom beneath everybody can have; their numbers follow on."""

MISSING_RODS = {"rods_cut": 2, "rods_lost": 3}
"""How many rods do not lie wholly in the field of view; the innermost of them is cut by its edge."""

HIP, SPINE = "proximal-femur", "lumbar-spine"
"""What a synthetic scan shows."""

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

SPINE_COLUMNS = (
    "vendor",
    *(f"bmd_{level.lower()}_k2hpo4_mg_cm3" for level in READ_LEVELS),
    "contrast",
    "levels_absent",
)
"""Further columns of a cohort of lumbar spines."""

DENSITY_COLUMNS = ("phantom", "calibration", "calibration_scan", "scanner", "scan_order")
"""Further columns of a cohort with a density phantom."""

FIRST_DATE = datetime.date(1999, 1, 2)
"""Date of all scans of a cohort with one scanner, and of the calibration of several scanners."""

_PREFIX = re.compile(r"[A-Za-z]{0,8}")
_EVERY_DEFECT = (*DEFECTS, *SPINE_DEFECTS, *DENSITY_DEFECTS)
# a person without a density phantom is calibrated by a scan of the phantom alone, which the same scanner makes
_WITHOUT_PERSON, _WITHOUT_PHANTOM = "phantom_only", "no_phantom"
_SCANNING_YEARS = 5.0
_DAYS_A_YEAR = 365.25
_CT_ONLY = frozenset(["metal_nail"])
_HIP_ONLY = {"metal_nail": "give screws", "right_side": "a spine has no side: leave it out"}
# pixel sizes of 512 pixels a row, mm: below the least, a body does not fit, of which a spine's image may show a part
_LEAST_PIXEL_MM = {HIP: 0.7, SPINE: 0.5}
_OWN_MACHINE = {"CT": ("SIEMENS", "Sensation 64"), "MR": ("SIEMENS", "Skyra")}
_YOUNGEST_YEARS, _OLDEST_YEARS = 27, 90
_GOLDEN_FRACTION = 0.6180339887498949


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Section `phantom` of the config: what the synthetic cohort shows, its size and that of its images.

    All ids begin with `prefix`: another cohort, of another seed, is of other people and needs other ids.
    `pixel_mm` is the range of pixel sizes at 512 pixels per row; a smaller `matrix` has larger pixels and the same
    field of view. These three sizes are those of a CT; `mr` has those of an MR. `training_defects` says how many of
    the `people` have a defect, by its name. `density_phantom` is the phantom beneath people in CT, of which
    certificates, table and truth tell then; a scanner may have another one. Without any, the usual rods lie beneath
    hips, and nobody tells of them. `physical_tissues` gives tissues the HU of their attenuation. `scanners` are
    settings by name (see `lib.phantom.scanner.machines`); without any, all scans come from one scanner. Raises
    `ConfigError` with the name of a wrong key.
    """

    modality: str = "CT"
    anatomy: str = HIP
    people: int = 0
    hard_people: int = 0
    unlabelled_people: int = 0
    defects: Sequence[str] = ()
    training_defects: Mapping[str, int] = field(default_factory=dict)
    seed: int = 1
    prefix: str = ""
    matrix: int = 512
    pixel_mm: Sequence[float] = (0.742, 0.977)
    slice_mm: float = 2.0
    supersampling: int = 3
    mr: Mapping = field(default_factory=dict)
    scanners: Mapping = field(default_factory=dict)
    density_phantom: str = ""
    physical_tissues: bool = False

    def __post_init__(self) -> None:
        """Check every key, and that keys do not contradict each other."""
        if self.modality not in SCANNERS:
            raise ConfigError(f"phantom.modality is {self.modality!r}: expected {' or '.join(SCANNERS)}")
        if self.anatomy not in (HIP, SPINE):
            raise ConfigError(f"phantom.anatomy is {self.anatomy!r}: expected {HIP} or {SPINE}")
        if self.anatomy == SPINE and self.modality != "CT":
            raise ConfigError(
                f"phantom.anatomy: {SPINE} is drawn for CT only, and phantom.modality is {self.modality}; set one of "
                "the two"
            )
        for key in ("people", "hard_people", "unlabelled_people", "seed"):
            require_integer(key, getattr(self, key), low=0)
        require_text("prefix", self.prefix, _PREFIX)
        require_integer("matrix", self.matrix, low=32, high=1024)
        require_integer("supersampling", self.supersampling, low=1, high=8)
        require_number("slice_mm", self.slice_mm, low=0.5, high=10.0)
        require_pixels("pixel_mm", self.pixel_mm, least_mm=_LEAST_PIXEL_MM[self.anatomy])
        require_phantom("density_phantom", self.density_phantom)
        self._require_scanners()
        self._require_defects()
        self._require_training_defects()
        self.protocol()
        self._require_density()

    def protocol(self) -> MrProtocol:
        """Return the MR protocol, section `phantom.mr`."""
        return MrProtocol(**known_settings("mr", self.mr, MrProtocol))

    def scanner(self, name: str) -> Scanner:
        """Return the scanner of a name, or the only one of a cohort without names ("")."""
        return read_scanner(name, self.scanners[name], self.modality) if name else SCANNERS[self.modality]()

    def pixel_range_mm(self, scanner: str) -> Sequence[float]:
        """Return the smallest and the largest pixel size of a CT scanner at 512 pixels per row."""
        return getattr(self.scanner(scanner), "pixel_mm", ()) or self.pixel_mm

    def _require_scanners(self) -> None:
        if not isinstance(self.scanners, Mapping):
            raise ConfigError(f"phantom.scanners is {self.scanners!r}: expected {{name: {{settings}}, ...}}")
        for name, settings in self.scanners.items():
            scanner = read_scanner(name, settings, self.modality)
            if pixel_mm := getattr(scanner, "pixel_mm", ()):
                require_pixels(f"scanners.{name}.pixel_mm", pixel_mm, least_mm=_LEAST_PIXEL_MM[self.anatomy])
        if len({name.lower() for name in self.scanners}) < len(self.scanners) and self.has_test_people:
            raise ConfigError(
                "phantom.scanners holds names that differ in case only: scans of test people need others"
            )
        if self.scanners and self.people and not self.training_scanners:
            raise ConfigError(
                "phantom.scanners: no scanner trains; set trains: true for one, or phantom.people: 0"
            )

    def _require_density(self) -> None:
        """Refuse a density phantom and physical tissues where they are not drawn."""
        if not isinstance(self.physical_tissues, bool):
            raise ConfigError(
                f"phantom.physical_tissues is {self.physical_tissues!r}: expected true or false"
            )
        if self.density_phantom and self.modality != "CT":
            raise ConfigError(
                "phantom.density_phantom is drawn in CT only; remove it, or set phantom.modality to CT"
            )
        if self.physical_tissues and (self.modality != "CT" or self.anatomy != HIP):
            raise ConfigError(
                f"phantom.physical_tissues is drawn for {HIP} in CT only; remove it, or set phantom.modality and "
                "phantom.anatomy"
            )

    @property
    def has_density_phantom(self) -> bool:
        """Whether a density phantom of which everything is known lies beneath people, on one scanner at least."""
        return bool(self.density_phantom) or any(
            getattr(self.scanner(name), "density_phantom", "") for name in self.scanners
        )

    @property
    def training_scanners(self) -> list[str]:
        """Names of the scanners that see the people of `people`, sorted."""
        return [name for name in sorted(self.scanners) if getattr(self.scanner(name), "trains", True)]

    @property
    def has_test_people(self) -> bool:
        """Whether a scanner has people of its own for the test."""
        return any(getattr(self.scanner(name), "test_people", 0) for name in self.scanners)

    def _require_defects(self) -> None:
        known = self._known_defects()
        if not isinstance(self.defects, list | tuple):
            raise ConfigError(f"phantom.defects is {self.defects!r}: expected a list of {', '.join(known)}")
        for defect in self.defects:
            if defect in known:
                continue
            if defect in _HIP_ONLY:
                raise ConfigError(
                    f"phantom.defects holds {defect!r}, which only a hip has: {_HIP_ONLY[defect]}"
                )
            if defect in DENSITY_DEFECTS:
                raise ConfigError(
                    f"phantom.defects holds {defect!r}, which needs a density phantom: remove it, or set "
                    f"phantom.density_phantom, such as {next(iter(DENSITY_PHANTOMS))}, in a cohort of hips in CT"
                )
            if defect in SPINE_DEFECTS:
                raise ConfigError(
                    f"phantom.defects holds {defect!r}, which only a spine has: remove it, or set phantom.anatomy to "
                    f"{SPINE}"
                )
            raise ConfigError(f"phantom.defects holds {defect!r}: allowed are {', '.join(known)}")
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

    def _require_training_defects(self) -> None:
        given = self.training_defects
        known = TRAINING_DEFECTS if self.anatomy == SPINE else ()
        if not isinstance(given, Mapping) or any(defect not in known for defect in given):
            allowed = f"{{defect: people}} with {', '.join(known)}" if known else "{}: a hip has none"
            raise ConfigError(f"phantom.training_defects is {given!r}: expected {allowed}")
        for defect, count in given.items():
            require_integer(f"training_defects.{defect}", count, low=0)
        if sum(given.values()) > self.people:
            raise ConfigError(
                f"phantom.training_defects gives a defect to {sum(given.values())} people, and phantom.people is "
                f"{self.people}: lower the counts"
            )

    def training_defect(self, number: int) -> str:
        """Return the defect of the k-th of `people` (from 1), or ""; those with one are spread evenly over all."""
        drawn = [defect for defect, count in self.training_defects.items() for _ in range(count)]
        places = {
            int((index + 0.5) * self.people / len(drawn)) + 1: defect for index, defect in enumerate(drawn)
        }
        return places.get(number, "")

    def _all_lie_on_phantoms(self) -> bool:
        """Return whether scans with a defect, which those scanners make that train, show a density phantom."""
        names = self.training_scanners or sorted(self.scanners)
        own = [getattr(self.scanner(name), "density_phantom", "") for name in names]
        return bool(self.density_phantom) or (bool(own) and all(own))

    def _known_defects(self) -> tuple[str, ...]:
        if self.anatomy == HIP:
            return (*DEFECTS, *(DENSITY_DEFECTS if self._all_lie_on_phantoms() else ()))
        return (*(defect for defect in DEFECTS if defect not in _HIP_ONLY), *SPINE_DEFECTS)


@dataclass(frozen=True, kw_only=True)
class PhantomPerson:
    """A synthetic scan: its person and its defect, if any.

    `person_seed` draws the person's properties (shape, density, habitus), `scan_seed` those of the acquisition
    (position, noise, identifiers). A repeated scan has the same `person_seed` and a `scan_seed` of its own. `scanner`
    is the name of the scanner, "" if the cohort has only one. `scan_order` counts the scans of a scanner by date
    from 1, in a cohort with a density phantom; 0 elsewhere.
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
    anatomy: str = HIP
    set: str = ""
    scan_order: int = 0

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
    people = [
        replace(_person(config, f"P{k:03d}", k), defect=config.training_defect(k))
        for k in range(1, config.people + 1)
    ]
    hard = [_person(config, f"H{k:02d}", k, variant="hard") for k in range(1, config.hard_people + 1)]
    new = [_person(config, f"U{k:02d}", k, labelled=False) for k in range(1, config.unlabelled_people + 1)]
    broken = [_defect_scan(config, defect) for defect in _EVERY_DEFECT if defect in config.defects]
    scans = (*people, *_test_people(config), *hard, *new, *broken)
    scans = _in_order(scans) if config.has_density_phantom else scans
    return tuple(_named(person, config.prefix) for person in scans) if config.prefix else scans


def _named(person: PhantomPerson, prefix: str) -> PhantomPerson:
    """Return a scan whose ids begin with a prefix."""
    ids = {name: getattr(person, name) for name in ("scan", "subject", "repeat_of")}
    return replace(person, **{name: f"{prefix}{one}" for name, one in ids.items() if one})


def _in_order(scans: Sequence[PhantomPerson]) -> tuple[PhantomPerson, ...]:
    """Return the scans numbered by date on their scanner; those of one day in the table's order."""
    numbers: dict[str, int] = {}
    orders = {}
    for place in sorted(range(len(scans)), key=lambda k: (scans[k].scan_date, k)):
        scanner = scans[place].scanner
        orders[place] = numbers[scanner] = numbers.get(scanner, 0) + 1
    return tuple(replace(scan, scan_order=orders[place]) for place, scan in enumerate(scans))


def density_phantom(config: PhantomConfig, person: PhantomPerson) -> DensityPhantom | None:
    """Return the density phantom in a scan, None if there is none of which anything is known."""
    if person.defect == "caha_phantom":
        return DENSITY_PHANTOMS[CAHA_PHANTOM]
    own = getattr(config.scanner(person.scanner), "density_phantom", "")
    return None if person.defect == _WITHOUT_PHANTOM else DENSITY_PHANTOMS.get(own or config.density_phantom)


def _test_people(config: PhantomConfig) -> list[PhantomPerson]:
    """Return the people that scanners have for the test; those of a scanner depend only on the seed and its name."""
    return [
        _person(config, f"T{name}-{k:02d}", k, scanner=name)
        for name in sorted(config.scanners)
        for k in range(1, getattr(config.scanner(name), "test_people", 0) + 1)
    ]


def find_person(config: PhantomConfig, scan: str) -> PhantomPerson:
    """Return the scan named `scan`; raise `ConfigError` if the cohort has no such scan."""
    for person in phantom_people(config):
        if person.scan == scan:
            return person
    raise ConfigError(f"phantom: the configured cohort has no scan {scan!r}")


def phantom_table(config: PhantomConfig) -> list[dict[str, str]]:
    """Return the rows of the cohort table (`TABLE_COLUMNS`, all text, "" where not given).

    Those of lumbar spines also have `SPINE_COLUMNS`, those of a cohort with a density phantom `DENSITY_COLUMNS`.
    Paths are relative to the table's own folder.
    """
    people = phantom_people(config)
    rows = [_table_row(person) for person in people]
    if config.anatomy == SPINE:
        rows = [row | _spine_cells(config, person) for row, person in zip(rows, people, strict=True)]
    if config.has_density_phantom:
        scan_alone = next((person.scan for person in people if person.defect == _WITHOUT_PERSON), "")
        cells = [_density_cells(config, person, scan_alone) for person in people]
        rows = [row | further for row, further in zip(rows, cells, strict=True)]
    return rows


def _density_cells(config: PhantomConfig, person: PhantomPerson, scan_alone: str) -> dict[str, str]:
    """Return how a scan is calibrated; `scan_alone` is the scan of the phantom without a person, if there is one."""
    phantom, scanner = density_phantom(config, person), config.scanner(person.scanner)
    own_tissues = getattr(scanner, "calibration", "")
    without = own_tissues or ("asynchronous" if scan_alone else "none")
    values = (
        phantom.name if phantom else "",
        "phantom" if phantom else without,
        scan_alone if not phantom and without == "asynchronous" else "",
        person.machine(scanner)[1],
        str(person.scan_order),
    )
    return dict(zip(DENSITY_COLUMNS, values, strict=True))


def _spine_cells(config: PhantomConfig, person: PhantomPerson) -> dict[str, str]:
    """Return what the table says of a spine: vendor, densities as a reader measures them, contrast, absent levels."""
    absent = DEFECT_LEVELS.get(person.defect, ())
    true = level_densities(person.person_seed, person.sex, person.age, person.variant)
    read = read_densities(true, person.scan_seed) if person.labelled else {}
    manufacturer, _ = person.machine(config.scanner(person.scanner))
    densities = [
        f"{read[level]:.1f}" if level in read and level not in absent else "" for level in READ_LEVELS
    ]
    contrast = "yes" if person.defect == "contrast" else "no"
    values = (vendor_of(manufacturer), *densities, contrast, " ".join(absent))
    return dict(zip(SPINE_COLUMNS, values, strict=True))


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
        set=person.set,
    )
    return row


def _set_of(config: PhantomConfig, scan: str) -> str:
    """Return what a scan is for; hard and defective scans must not change the folds of the other people."""
    kind = scan[0]
    if kind == "P":
        # with people of their own for the test, none is drawn from the others
        return "train" if config.has_test_people else ""
    return {"T": "test", "H": "external"}.get(kind, "apply")


def _person(
    config: PhantomConfig,
    scan: str,
    number: int,
    *,
    variant: str = "standard",
    labelled: bool = True,
    scanner: str = "",
) -> PhantomPerson:
    """Return person `number` (from 1) of a kind; men and women alternate, ages and scanners are spread evenly.

    A named `scanner` has people of its own.
    """
    seed = config.seed
    sex = "MF"[number % 2]
    group, index = scan[0] + scanner + sex, (number - 1) // 2
    return PhantomPerson(
        scan=scan,
        subject=scan,
        sex=sex,
        age=_stratified_age(seed, group, index),
        variant=variant,
        defect="",
        side="left" if config.anatomy == HIP else "",
        repeat_of="",
        labelled=labelled,
        person_seed=derive_seed(seed, "phantom", "person", scan),
        scan_seed=derive_seed(seed, "phantom", "scan", scan),
        modality=config.modality,
        scanner=scanner or _drawn_scanner(config, group, index),
        anatomy=config.anatomy,
        set=_set_of(config, scan),
    )


def _defect_scan(config: PhantomConfig, defect: str) -> PhantomPerson:
    number = _EVERY_DEFECT.index(defect) + 1
    scan = f"X{number:02d}-{defect.replace('_', '-')}"
    # a repeated scan shows P001 again, on the same scanner; every other defect has its own person
    is_repeat = defect == "repeat"
    shown = _person(config, "P001" if is_repeat else f"X{number:02d}", 1 if is_repeat else number)
    same_scanner = (
        f"X{_EVERY_DEFECT.index(_WITHOUT_PERSON) + 1:02d}",
        _EVERY_DEFECT.index(_WITHOUT_PERSON) + 1,
    )
    return replace(
        shown,
        scanner=_person(config, *same_scanner).scanner if defect == _WITHOUT_PHANTOM else shown.scanner,
        labelled=defect != _WITHOUT_PERSON,
        scan=scan,
        defect=defect,
        side="right" if defect == "right_side" else shown.side,
        set=_set_of(config, scan),
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
    names = config.training_scanners or sorted(config.scanners)
    turn, place = divmod(index, len(names))
    random.Random(derive_seed(config.seed, "phantom", "scanner", group, turn)).shuffle(names)
    return names[place]
