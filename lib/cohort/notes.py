"""Notes at the top of the report: what a reader must know before any number."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lib.cohort.placement import Placement
from lib.cohort.scans import REJECTED_IN_REVIEW

SEEN_IN_TRAINING = "seen_in_training"
# reasons in flow.csv of accepted scans that are complete
_COMPLETE = ("", "no_reference", SEEN_IN_TRAINING)


FEW_TEST_PEOPLE = 10  # with fewer of a vendor the interval of their agreement is too wide to say anything
# at most this many reasons, and scans for each, are listed; the rest is counted
MOST_LISTED = 10


def missing_notes(flow: Iterable[Mapping[str, str]], *, partial: bool) -> list[str]:
    """Report which accepted scans have missing results, or not from all models, and why: a sentence for each reason.

    Args:
        flow: the records of `tables/flow.csv`.
        partial: the report was requested with partial=true.
    """
    flow = list(flow)
    lost = [
        record
        for record in flow
        if record["verdict"] == "missing" or (record["verdict"] == "ok" and record["reason"] not in _COMPLETE)
    ]
    if not lost and not partial:
        return []
    head = (
        "This report was made from what is there (partial=true)" if partial else "This report is not complete"
    )
    if not lost:
        return [f"{head}; every accepted scan is in it."]
    counts = Counter(record["reason"] for record in lost)
    words = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(counts.items()))
    verb = "is" if len(lost) == 1 else "are"
    note = f"{head}: {len(lost)} of {len(flow)} scans {verb} missing from its numbers, whole or in part ({words})."
    return [note, *_reasons(lost)]


def _reasons(lost: Iterable[Mapping[str, str]]) -> list[str]:
    """Return one sentence for each explanation, most frequent first."""
    scans = defaultdict(list)
    for record in lost:
        scans[record["reason"].replace("_", " "), record["explanation"]].append(record["scan"])
    groups = sorted(scans.items(), key=lambda group: -len(group[1]))
    notes = [f"{_listed(names)}: {reason}. {why}" for (reason, why), names in groups[:MOST_LISTED]]
    rest = sum(len(names) for _, names in groups[MOST_LISTED:])
    return [*notes, f"{rest} more scans for other reasons: see tables/flow.csv."] if rest else notes


def origin_notes(runs: Iterable[Mapping], *, synthetic: bool) -> list[str]:
    """Warn that models of synthetic people say nothing about real ones.

    Args:
        runs: records of the trained folds (run.json).
        synthetic: whether the people of this study are synthetic.
    """
    if synthetic or not any(run.get("synthetic") for run in runs):
        return []
    return [
        "The models were trained on synthetic people, and these scans are of real ones. Masks and numbers show that "
        "the workflow runs on these scans. They are not results: bone, scanner and population differ from all that "
        "the models have seen."
    ]


def fold_notes(untrained: Mapping[str, str], folds: int) -> list[str]:
    """Report which folds have no model and why, and who is missing because of that.

    Args:
        untrained: why each of them has none, by `{group}/{network}/fold-{fold}`.
        folds: number of all folds of all groups and networks.
    """
    if not untrained:
        return []
    reasons = "; ".join(f"{fold}: {why}" for fold, why in list(untrained.items())[:MOST_LISTED])
    rest = f"; and {len(untrained) - MOST_LISTED} more" if len(untrained) > MOST_LISTED else ""
    return [
        f"Folds without a model: {len(untrained)} of {folds} ({reasons}{rest}). The people whom they hold out, and "
        "everybody whom the ensemble of their network predicts, are missing."
    ]


def failed_notes(failures: Mapping[str, str]) -> list[str]:
    """Report which trained folds failed to learn, one sentence for each kind of failure.

    Args:
        failures: what is wrong with each trained fold and what to do, by the fold's name; empty for a good fold.
    """
    folds = defaultdict(list)
    for fold, words in failures.items():
        if words:
            folds[words].append(fold)
    return [
        f"Trainings that failed ({_names(names, len(failures))}). {words} Numbers that rest on these folds say "
        "nothing of the method."
        for words, names in folds.items()
    ]


def review_notes(flow: Iterable[Mapping[str, str]], scans: Sequence[str]) -> list[str]:
    """Report how many scans a review excluded, and which were reviewed on a mask that has changed since.

    Args:
        flow: the records of `tables/flow.csv`.
        scans: the scans reviewed on another mask (see `lib.cohort.review.other_masks`).
    """
    rejected = [
        row for row in flow if row["reason"].split()[:1] == [REJECTED_IN_REVIEW] and row["has_mask"] == "1"
    ]
    notes = []
    if rejected:
        notes.append(
            f"Scans with a reference that were rejected in review: {len(rejected)}. The scores are those of the "
            "others; a rejection because of the prediction itself flatters them."
        )
    if scans:
        notes.append(
            f"The review of {_listed(scans)} was of another mask: the predicted volume differs by more than 1 % from "
            "the one that was seen. Look again."
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def model_notes(changes: Mapping[str, Iterable[str]]) -> list[str]:
    """Report which trained folds are older than the study, one sentence for each kind of change.

    Args:
        changes: what has changed since each fold was trained, in words, by the fold's name.
    """
    folds = defaultdict(list)
    for fold, found in changes.items():
        for change in found:
            folds[change].append(fold)
    return [
        f"Models are older than this study ({_names(names, len(changes))}): {change}. "
        "They were not trained again; --config retrain=true does it."
        for change, names in folds.items()
    ]


def late_notes(placements: Iterable[Placement], wishes: Mapping[str, str]) -> list[str]:
    """Report how many people with a reference were added after the draw and so train no model.

    Args:
        placements: the accepted scans.
        wishes: `set` of the cohort table, by scan; `apply` and `external` people were never meant for training.
    """
    apart = [
        row
        for row in placements
        if row.set in ("later", "external") and wishes[row.scan] in ("auto", "train", "test")
    ]
    late = {row.subject for row in apart}
    if not late:
        return []
    names = " or ".join(sorted({row.set for row in apart}, reverse=True))
    return [
        f"Models are older than this cohort: {len(late)} people with a reference came after the draw. "
        f"They are scored as {names} and train no model; --config redraw=true retrain=true draws and "
        "trains anew with them."
    ]


def seen_notes(flow: Iterable[Mapping[str, str]], *, finished: bool) -> list[str]:
    """Report how many scans are not scored because models were trained on their people, and what to do.

    Args:
        flow: the records of `tables/flow.csv`.
        finished: the study predicts with finished models and trains none.
    """
    scans = [row["scan"] for row in flow if row["reason"] == SEEN_IN_TRAINING]
    if not scans:
        return []
    advice = (
        "If they are other people who happen to have the same ids, give them other ids; an image that trained one "
        "is known under any id."
        if finished
        else "--config retrain=true trains models that have not seen them; where scans became one person after the "
        "draw, --config redraw=true retrain=true."
    )
    return [
        f"Scans with a reference that are not scored, or not by all models, because models were trained on these "
        f"people or chosen by their score: {len(scans)} ({_listed(scans)}; {SEEN_IN_TRAINING} in tables/flow.csv). "
        f"They are measured. {advice}"
    ]


def secret_notes(secrets: Iterable[bytes | None]) -> list[str]:
    """Warn that leakage cannot be checked if the secret of a finished model is missing (None)."""
    if all(secret is not None for secret in secrets):
        return []
    return [
        "Whether people of this study trained the finished models cannot be told: the study.secret of "
        "the study that trained them is not at hand. Make sure that they did not."
    ]


@dataclass(frozen=True, kw_only=True)
class DensityScan:
    """A scan with reference densities: its person, vendor (empty: not known), whether it tests, and structures."""

    subject: str
    vendor: str
    is_test: bool
    structures: Collection[str]


def density_scans(
    placements: Iterable[Placement], vendors: Mapping[str, str], structures: Mapping[str, Collection[str]]
) -> list[DensityScan]:
    """Return the accepted scans that have reference densities.

    Args:
        placements: the accepted scans.
        vendors: maker of the scanner, by scan.
        structures: those with a reference density, by scan; scans without one are left out.
    """
    return [
        DensityScan(
            subject=row.subject,
            vendor=vendors[row.scan],
            is_test=row.set == "test",
            structures=structures[row.scan],
        )
        for row in placements
        if row.scan in structures
    ]


def vendor_notes(scans: Iterable[DensityScan], targets: Collection[str]) -> list[str]:
    """Report vendors with few test people, and those of whom nobody has the densities of all structures.

    Args:
        scans: the scans with a reference density.
        targets: the structures whose density is learned.
    """
    tested: dict[str, set[str]] = defaultdict(set)
    complete: dict[str, set[str]] = defaultdict(set)
    for scan in scans:
        vendor = scan.vendor or "vendor not known"
        tested[vendor] |= {scan.subject} if scan.is_test else set()
        complete[vendor] |= {scan.subject} if set(targets) <= set(scan.structures) else set()
    few = [
        f"{vendor} ({len(tested[vendor])})"
        for vendor in sorted(tested)
        if len(tested[vendor]) < FEW_TEST_PEOPLE
    ]
    partial = [vendor for vendor in sorted(complete) if not complete[vendor]]
    notes = []
    if few:
        notes.append(
            f"Vendors with fewer than {FEW_TEST_PEOPLE} test people who have a reference density: {', '.join(few)}. "
            "Their agreement is a hint only. To test a vendor, give more of its people `set: test`."
        )
    if partial:
        notes.append(
            f"Vendors of whom nobody has a reference density of each of {', '.join(targets)}: {', '.join(partial)}. "
            "Means over all of these structures are not compared there."
        )
    return notes


def _names(names: list[str], total: int) -> str:
    return "all folds" if len(names) == total else ", ".join(names)
