"""Test people and cross-validation folds: drawn once, stratified, nested, then frozen.

The split is by person: all scans of a person share a set and a fold. Test people are drawn within each sex, so that
the sets are nested (everybody = men + women) and a person is a test person, or has the same fold index, in every
group (Zhao 2020, as decoded from its Table 1).
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from lib.cohort.placement import NO_FOLD, Placement, Takes, in_group
from lib.cohort.scans import accepted_scans, refused_references
from lib.errors import ConfigError
from lib.fold_settings import CROPS_NEED_NO_FOLDS, FoldsConfig
from lib.seeding import derive_seed

DRAWN = ("train", "test")


class TooFewPeopleError(ConfigError):
    """Too few people are left for the folds, possibly because scans were refused."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """How a study is split.

    Attributes:
        folds: settings of the draw.
        seed: the study's seed.
        batch_scans: maximum number of scans predicted by one job.
        draw: False if finished models are used: nobody trains a model, everybody is later, external or apply.
        groups: groups that have their own models, and who belongs to each.
        structures: names of the study's structures.
    """

    folds: FoldsConfig
    seed: int
    batch_scans: int
    draw: bool
    groups: Mapping[str, Takes] = field(default_factory=lambda: {"all": {}})
    structures: Sequence[str] = ()


def place_scans(
    records: Sequence[Mapping[str, str]], former: Sequence[Placement], split: Split
) -> list[Placement]:
    """Return the result of `split_folds` for the accepted scans of `records` (rows of `cohort/scans.csv`).

    Raises:
        ConfigError: as `split_folds`; if too few people are left, the text lists the refused references and why. Or
            there are several structures, and no reference for the training of some network holds one of them.
    """
    try:
        rows = split_folds(accepted_scans(records), former, split)
    except TooFewPeopleError as error:
        raise TooFewPeopleError(f"{error}{refused_references(records)}. {CROPS_NEED_NO_FOLDS}") from None
    if split.draw and len(split.structures) > 1:
        _check_structures(rows, {record["scan"]: record["structures"].split() for record in records}, split)
    return rows


def _check_structures(rows: Sequence[Placement], drawn: Mapping[str, Container[str]], split: Split) -> None:
    """Refuse structures that are in the references of fewer than two folds: some network would never see them.

    Args:
        rows: placement of every scan.
        drawn: structures in the reference of each scan.
        split: how the study is split.
    """
    unseen = []
    for group, takes in split.groups.items():
        training = [row for row in rows if row.trains and in_group(row, takes)]
        for name in split.structures:
            folds = {row.fold for row in training if name in drawn.get(row.scan, ())}
            if len(folds) < 2:
                where = f"only in fold {min(folds)}" if folds else "in no scan"
                unseen.append(f"{name} of group {group} is {where}")
    if unseen:
        raise ConfigError(
            f"networks cannot learn every structure from the references for training: {'; '.join(unseen)}. Each must "
            "be in two folds; the column structures of results/cohort/scans.csv lists what each reference holds. "
            "Correct the values in `structures`, leave the structure out, or add scans that show it. "
            f"{CROPS_NEED_NO_FOLDS}"
        )


def split_folds(scans: Sequence[Placement], former: Sequence[Placement], split: Split) -> list[Placement]:
    """Return a placement for every accepted scan, keeping all of `former`.

    Args:
        scans: accepted scans of the cohort table, with the table's `set`.
        former: result of the earlier call; empty at the first call or when the split is to be redrawn.
        split: how the study is split.

    Raises:
        ConfigError: a group has fewer people with a reference than folds, the number of folds is not that of
            the draw, or one person is on both sides of the split.
    """
    known = {placement.scan for placement in former}
    new = [scan for scan in scans if scan.scan not in known]
    people = {placement.subject: placement for placement in former if placement.set in DRAWN}
    if split.draw and not former:
        people = _draw_people(new, split.folds, split.seed)
    placed = [_place(scan, people.get(scan.subject), drawn=not former) for scan in new]
    rows = _refreshed(former, scans) + _into_batches(placed, former, split.batch_scans)
    rows = _others_named(rows, {scan.scan: scan.set for scan in scans})
    _check_people(rows)
    if split.draw:
        _check_folds(rows, split.folds.folds, split.groups)
    return rows


def _check_people(rows: Iterable[Placement]) -> None:
    """Refuse a person with two folds or sets, which happens if `subject` was corrected after the draw."""
    places: dict[str, set] = defaultdict(set)
    for row in rows:
        if row.set in DRAWN:
            places[row.subject].add((row.set, row.fold))
    torn = sorted(subject for subject, found in places.items() if len(found) > 1)
    if torn:
        raise ConfigError(
            f"the scans of {', '.join(torn)} are in different folds or sets, because `subject` was changed after "
            "the draw; redraw and retrain with --config redraw=true retrain=true, or exclude all scans but one"
        )


def _check_folds(rows: Iterable[Placement], folds: int, groups: Mapping[str, Takes]) -> None:
    """Refuse a number of folds that differs from the draw, and a group too small for its folds."""
    training = [row for row in rows if row.set == "train"]
    drawn = max((row.fold for row in training), default=NO_FOLD) + 1
    if drawn != folds:
        raise ConfigError(
            f"folds.folds is {folds}, but {drawn} folds were drawn; set it back, or redraw and retrain with "
            "--config redraw=true retrain=true"
        )
    for group, takes in groups.items():
        people = {row.subject for row in training if in_group(row, takes)}
        if len(people) < folds:
            raise TooFewPeopleError(
                f"group {group} has {len(people)} people for training, fewer than its {folds} folds; leave it "
                "out of `groups`, or lower folds.folds"
            )


def _refreshed(former: Iterable[Placement], scans: Iterable[Placement]) -> list[Placement]:
    """Return former rows with the table's current sex, age, site and reference; set and fold never change."""
    now = {scan.scan: scan for scan in scans}
    refreshed = []
    for row in former:
        scan = now.get(row.scan)
        if scan:
            trains = row.trains and scan.has_mask
            row = replace(scan, set=row.set, fold=row.fold, batch=row.batch, trains=trains)
        refreshed.append(row)
    return refreshed


def _place(scan: Placement, person: Placement | None, *, drawn: bool) -> Placement:
    """Return the set of a new scan, given its person's set (None: not part of the draw, see below)."""
    if person is None:
        return replace(scan, set="apply")
    trains = drawn and person.set == "train" and scan.has_mask and scan.set in ("auto", "train")
    return replace(scan, set=person.set, fold=person.fold, trains=trains)


def _others_named(rows: Sequence[Placement], wishes: Mapping[str, str]) -> list[Placement]:
    """Return the rows with people who were not part of the draw set to later, external or apply.

    A person is from another institution if the table says so (`set` external), or if nobody in the draw has their
    site and every site is stated. `wishes`: the table's `set` by scan; rows of other scans are not changed.
    """
    own = {row.site for row in rows if row.set in DRAWN}
    external, sites = set(), defaultdict(set)
    for row in rows:
        sites[row.subject].add(row.site)
        if wishes.get(row.scan) == "external":
            external.add(row.subject)
    if own:
        external |= {name for name, found in sites.items() if "" not in own | found and not own & found}
    return [
        replace(row, set=_other_set(row, external)) if row.set not in DRAWN and row.scan in wishes else row
        for row in rows
    ]


def _other_set(row: Placement, external: Container[str]) -> str:
    if not row.has_mask:
        return "apply"
    return "external" if row.subject in external else "later"


def _draw_people(scans: Iterable[Placement], config: FoldsConfig, seed: int) -> dict[str, Placement]:
    """Return set and fold of every person in the draw, one sex after the other."""
    wishes: dict[str, list[Placement]] = defaultdict(list)
    external = {scan.subject for scan in scans if scan.set == "external"}
    for scan in scans:
        if scan.has_mask and scan.set != "apply" and scan.subject not in external:
            wishes[scan.subject].append(scan)
    drawn: dict[str, Placement] = {}
    for sex in sorted({rows[0].sex for rows in wishes.values()}):
        members = sorted(
            (rows for rows in wishes.values() if rows[0].sex == sex), key=lambda rows: rows[0].subject
        )
        test, train = _draw_test(members, config, derive_seed(seed, "test people", sex))
        drawn |= {person.subject: replace(person, set="test") for person in test}
        folds = _draw_folds(train, config, derive_seed(seed, "folds", sex), offset=len(drawn))
        drawn |= {
            person.subject: replace(person, set="train", fold=fold)
            for person, fold in zip(train, folds, strict=True)
        }
    training = sum(person.set == "train" for person in drawn.values())
    if training < config.folds:
        fewer = "folds.folds or folds.test_fraction" if config.test_fraction else "folds.folds"
        raise TooFewPeopleError(
            f"{training} people with a usable reference are left for training, but folds.folds is "
            f"{config.folds}; lower {fewer}, give more people a mask, or predict with "
            "finished models (model=FOLDER)"
        )
    return drawn


def _draw_test(
    members: list[list[Placement]], config: FoldsConfig, seed: int
) -> tuple[list[Placement], list[Placement]]:
    """Split one sex into test and training people; a `set` of `test` or `train` in the table is respected."""
    people = [rows[0] for rows in members]
    wish = [next((row.set for row in rows if row.set != "auto"), "auto") for rows in members]
    free = [person for person, set_ in zip(people, wish, strict=True) if set_ == "auto"]
    test = [person for person, set_ in zip(people, wish, strict=True) if set_ == "test"]
    missing = min(round(config.test_fraction * len(people)) - len(test), len(free) - 1)
    if missing > 0:
        bands = _age_bands(
            free, config.age_bands, fits=lambda counts: min(counts) > 1 and len(counts) <= missing
        )
        _, chosen = train_test_split(free, test_size=missing, random_state=seed % 2**32, stratify=bands)
        test += chosen
    names = {person.subject for person in test}
    return test, [person for person in people if person.subject not in names]


def _draw_folds(people: list[Placement], config: FoldsConfig, seed: int, offset: int) -> list[int]:
    """Return a fold for each person of one sex, balanced over age bands."""
    if len(people) < config.folds:
        # too few for one in each fold: distribute them, starting at another fold for each sex
        order = np.random.default_rng(seed).permutation(len(people))
        return [int(position + offset) % config.folds for position in order]
    bands = _age_bands(people, config.age_bands, fits=lambda counts: min(counts) >= config.folds)
    splitter = StratifiedKFold(config.folds, shuffle=True, random_state=seed % 2**32)
    folds = [NO_FOLD] * len(people)
    for fold, (_, members) in enumerate(
        splitter.split(people, bands if bands is not None else [0] * len(people))
    ):
        for member in members:
            folds[member] = fold
    return folds


def _age_bands(people: Sequence[Placement], most: int, fits) -> list[int] | None:
    """Return an age band (quantile) for each person: as many bands as possible, None if two are not."""
    ages = np.array([np.nan if person.age is None else person.age for person in people], dtype=float)
    ages[np.isnan(ages)] = -1.0  # people of unknown age are sorted together, below the youngest
    ranks = np.argsort(np.argsort(ages, kind="stable"), kind="stable")
    for count in range(most, 1, -1):
        bands = (ranks * count // len(people)).astype(int)
        if fits(np.bincount(bands)):
            return bands.tolist()
    return None


def _into_batches(
    placed: Sequence[Placement], former: Sequence[Placement], batch_scans: int
) -> list[Placement]:
    """Assign new scans to new prediction batches; scans of one batch are predicted by the same models."""
    batch = max((row.batch for row in former), default=-1) + 1
    rows = []
    for fold in sorted({row.fold for row in placed}):
        group = [row for row in placed if row.fold == fold]
        for start in range(0, len(group), batch_scans):
            rows += [replace(row, batch=batch) for row in group[start : start + batch_scans]]
            batch += 1
    return rows
