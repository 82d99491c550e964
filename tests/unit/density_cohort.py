"""A simulated cohort of lumbar densities with known truth, as records or as files: masks measured, densities read.

A vendor shows a HU + b instead of HU. The network reads truth + bias of the vendor + noise. Nothing is trained.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from lib.classes_settings import ClassesConfig
from lib.cohort.placement import Placement
from lib.cohort.predictions import plan_predictions
from lib.cohort.scans import SCAN_COLUMNS, write_folds, write_records
from lib.stats.density_plan import DensityPlan
from lib.stats.density_rows import DensityInputs
from lib.stats.tables import flat_prediction

STRUCTURES = ("L1", "L2", "L3", "L4")
TARGETS = {name: f"bmd_{name.lower()}_k2hpo4_mg_cm3" for name in STRUCTURES}
MEANS = {"paper": STRUCTURES, "iscd": ("L1", "L2")}
# vendor -> gain and offset of HU; train: whether its people train
VENDORS = {"siemens": (1.0, 0.0), "ge": (1.03, 4.0), "philips": (0.965, -6.0)}
TRAINED = ("siemens", "ge")
SEGMENTATION, REGRESSOR, GROUP = "unet", "densenet", "all"


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A simulated cohort.

    Attributes:
        placed: the scans with set and fold.
        vendors: vendor by scan.
        references: reference density by scan and structure.
        levels: section `levels` of `measured/` by group/network/members/scan/structure.
        overlaps: section `overlap`, likewise.
        estimates: what the network read, likewise.
        absent: structures that do not count, by scan.
    """

    placed: Sequence[Placement]
    vendors: Mapping[str, str]
    references: Mapping[str, Mapping[str, float]]
    levels: dict[str, dict]
    overlaps: dict[str, dict]
    estimates: dict[str, dict]
    absent: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def inputs(self) -> DensityInputs:
        """Return the cohort as the tables take it."""
        names = ("levels", "overlaps", "estimates", "references", "absent", "vendors")
        return DensityInputs(**{name: getattr(self, name) for name in names}, repeats={})

    @property
    def planned(self) -> list[dict]:
        """Return the flat predictions of the segmentation network, with the fields of the placement."""
        plan = plan_predictions(self.placed, {GROUP: {}}, [SEGMENTATION], "best")
        return [flat_prediction(asdict(row)) for row in plan]

    def scans(self, set_name: str, vendor: str = "") -> list[str]:
        """Return the scans of a set, and of a vendor if one is given."""
        return [
            row.scan for row in self.placed if row.set == set_name and vendor in ("", self.vendors[row.scan])
        ]

    def members(self, scan: str) -> str:
        """Return the members that predict a scan."""
        (row,) = (row for row in self.placed if row.scan == scan)
        return f"fold-{row.fold}" if row.set == "train" else "ensemble"

    def key(self, network: str, scan: str, structure: str) -> str:
        """Return group/network/members/scan/structure."""
        return f"{GROUP}/{network}/{self.members(scan)}/{scan}/{structure}"

    def level(self, scan: str, structure: str) -> dict:
        """Return the record of a structure that was found."""
        return self.levels[self.key(SEGMENTATION, scan, structure)]

    def flag(self, scan: str, structure: str, flag: str, *, usable: bool = False, withheld: str = "") -> None:
        """Flag a structure, or the whole scan if it is `scan`; `withheld` is why the scan gets no class."""
        record = self.level(scan, structure)
        record["flags"] = [*record["flags"], flag]
        if structure == "scan":
            record["class_withheld"] = withheld
        else:
            record["usable"] = usable


def plan(**changes: object) -> DensityPlan:
    """Return the plan of the simulated cohort; few samples, to be quick."""
    known = {"targets": TARGETS, "segmentation": SEGMENTATION, "regressors": [REGRESSOR]}
    known["classes"] = ClassesConfig(means=MEANS)
    return DensityPlan(**known | {"samples": 400, "seed": 1} | changes)


def simulate(
    train: int = 12,
    test: int = 10,
    *,
    seed: int = 0,
    bias: Mapping[str, float] | None = None,
    noise: float = 3.0,
    vendors: Sequence[str] = tuple(VENDORS),
) -> Cohort:
    """Return a cohort with `train` training people of each trained vendor and `test` test people of every vendor.

    The network reads truth + `bias` of the vendor + N(0, `noise`), the reader truth + N(0, 2), the mean HU of the
    eroded body is gain (1.385 truth - 0.6) + offset + N(0, 1).
    """
    generator, bias = np.random.default_rng(seed), bias or {}
    placed, of_vendor, references = [], {}, {}
    levels, overlaps, estimates = {}, {}, {}
    cohort = Cohort(
        placed=placed, vendors=of_vendor, references=references, levels=levels, overlaps=overlaps,
        estimates=estimates,
    )  # fmt: skip
    for vendor in vendors:
        for number in range((train if vendor in TRAINED else 0) + test):
            trains = vendor in TRAINED and number < train
            person = _place(f"{vendor[:2].upper()}{number:03d}", trains, number, generator)
            placed.append(person)
            of_vendor[person.scan] = vendor
            _measure(cohort, person, (vendor, bias.get(vendor, 0.0), noise), generator)
    return cohort


def write_cohort(cohort: Cohort, folder: Path) -> dict[str, list[str] | str]:
    """Write the files of a cohort below `folder`/results as the workflow does; return the inputs of gather_bmd."""
    results = folder / "results"
    scans = [
        dict.fromkeys(SCAN_COLUMNS, "")
        | {"scan": row.scan, "subject": row.subject, "sex": row.sex, "age": f"{row.age:.0f}"}
        | {"verdict": "ok", "has_mask": "1", "vendor": cohort.vendors[row.scan]}
        for row in cohort.placed
    ]
    for name in ("cohort", "folds", "tables"):
        (results / name).mkdir(parents=True, exist_ok=True)
    write_records(scans, SCAN_COLUMNS, results / "cohort/scans.csv")
    write_folds(cohort.placed, results / "folds/folds.csv")
    measured, batches = {}, {}
    for section in ("levels", "overlap"):
        for key, record in (cohort.levels if section == "levels" else cohort.overlaps).items():
            path, structure = key.rsplit("/", 1)
            measured.setdefault(f"measured/{path}.json", {}).setdefault(section, {})[structure] = record
    for key, record in cohort.estimates.items():
        group, network, members, scan, structure = key.split("/")
        (batch,) = (row.batch for row in cohort.placed if row.scan == scan)
        path = f"predictions/{group}/{network}/{members}/batch-{batch}/{scan}/estimate.json"
        batches.setdefault(path, {})[structure] = record
    for path, content in {**measured, **batches}.items():
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_text(json.dumps(content))
    return {
        "folds": str(results / "folds/folds.csv"),
        "scans": str(results / "cohort/scans.csv"),
        "measured": sorted(str(results / path) for path in measured),
        "estimates": sorted({str((results / path).parents[1]) for path in batches}),
        "calibrated": [],
    }


def _place(scan: str, trains: bool, number: int, generator: np.random.Generator) -> Placement:
    sex = "MF"[number % 2]
    age = float(generator.integers(25, 86))
    known = Placement(
        scan=scan, subject=f"P-{scan}", sex=sex, age=age, site="", has_mask=True, batch=number % 2
    )
    if not trains:
        return replace(known, set="test")
    return replace(known, set="train", fold=number % 4, trains=True)


def _measure(
    cohort: Cohort,
    person: Placement,
    shown: tuple[str, float, float],
    generator: np.random.Generator,
) -> None:
    """Add what is known of a person's scan to the cohort."""
    vendor, bias, noise = shown
    gain, offset = VENDORS[vendor]
    mean = (165 - 1.17 * (person.age - 25) if person.sex == "M" else 175 - 1.67 * (person.age - 25)) + 8
    mean += 24 * generator.standard_normal()
    truths = mean + np.array([4.0, 1.0, -2.0, -3.0]) + 5 * generator.standard_normal(4)
    cohort.references[person.scan] = {}
    for place, (structure, truth) in enumerate(zip(STRUCTURES, truths, strict=True)):
        hu = gain * (1.385 * truth - 0.6) + offset + generator.standard_normal()
        read = truth + bias + noise * generator.standard_normal()
        cohort.references[person.scan][structure] = round(float(truth + 2 * generator.standard_normal()), 1)
        cohort.levels[cohort.key(SEGMENTATION, person.scan, structure)] = {
            "found": True, "voxels_mm3": 44000.0 + 500 * place, "components": 1,
            "centroid_mm_xyz": [0.0, 10.0, -35.0 * place],
            "height_mm": {"anterior": 27.0, "middle": 26.0, "posterior": 27.5},
            "hu_mean": float(hu), "hu_sd": 30.0, "eroded_mm3": 15000.0, "flags": [], "usable": True, "undefined": {},
        }  # fmt: skip
        dsc = float(np.clip(0.93 - 0.01 * place + 0.012 * generator.standard_normal(), 0, 1))
        cohort.overlaps[cohort.key(SEGMENTATION, person.scan, structure)] = {"dsc": dsc, "undefined": {}}
        sd = None if person.set == "train" else 1.5
        cohort.estimates[cohort.key(REGRESSOR, person.scan, structure)] = {
            "value": float(read), "sd": sd, "by_fold": {"fold-0": float(read)},
        }  # fmt: skip
    cohort.levels[cohort.key(SEGMENTATION, person.scan, "scan")] = {"flags": [], "class_withheld": ""}
