"""Why a scan or a fold has no result: the error in the log of the failed job. Standard library only.

The logs are written by `lib.joblog`, which keeps identifying data out of them.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from lib.catalog.stages import PARTS, STAGES, stages_of
from lib.cohort.placement import Placement
from lib.cohort.predictions import Prediction

# parts of `lib.catalog.stages` that explain_failures reports besides each prediction
EXTRAS = ("second reader", "corrected mask")
NOT_TRIED = "not tried yet"
NOT_PREDICTED = f"{PARTS['prediction']}: {NOT_TRIED}"
LONGEST = 300  # maximum number of characters of an explanation
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ", re.MULTILINE)


def job_failure(
    job: str,
    results: str | Path,
    *,
    scan: str = "",
    folder: str = "",
    batch: int = -1,
    certain: bool = False,
) -> str:
    """Return in words why a job failed; empty if it succeeded or never started (it then has no log).

    Args:
        job: name of its rule, one of `lib.catalog.stages`.
        results: the folder results/ of the study.
        scan: the job's scan.
        folder: `{group}/{network}/{members}` of a job that belongs to a prediction.
        batch: batch of a prediction job.
        certain: consider only jobs whose log holds an error, as in `log_failure`.
    """
    file = STAGES[job].file
    name = f"batch-{batch}" if "{batch}" in file else scan
    log = Path(results, "logs", job, folder if "{folder}" in file else "", f"{name}.log")
    made = Path(results, file.format(scan=scan, folder=folder, batch=batch))
    return log_failure(log, made, certain=certain)


def log_failure(log: Path, made: Path, *, certain: bool = False) -> str:
    """Return in words why the job with this `log` did not write the file `made`; empty if it did or never started.

    A deliberate error is quoted as it is; of an unexpected one the last line, which names it, is quoted. A job whose
    log holds no error was killed (memory, time, a lost node) or is still running. If later files exist, it may also
    have succeeded and its file may have been removed since: with `certain` it is not reported.
    """
    if made.exists() or not log.exists():
        return ""
    # the split gives the text before the first record, then level and message of each record in turn
    parts = _RECORD.split(log.read_text(encoding="utf-8", errors="replace"))
    records = list(zip(parts[1::2], parts[2::2], strict=True))
    errors = [words for level, words in records if level == "ERROR"]
    if errors:
        return _shortened(_told(errors[-1]))
    if certain:
        return ""
    last = f"; its last words: {' '.join(records[-1][1].split())}" if records else ""
    return _shortened(f"its job {log.parts[log.parts.index('logs') + 1]} was killed or still runs{last}")


def prediction_failure(
    row: Prediction,
    parts: Iterable[str],
    results: str | Path,
    *,
    certain: bool = False,
    unused: Collection[str] = (),
) -> str:
    """Return why a job of the given parts of a prediction (PARTS) failed; empty if none did.

    `certain` is that of `job_failure`, `unused` that of `stages_of`.
    """
    jobs = (job for part in parts for job in stages_of(part, unused))
    where = {"scan": row.placement.scan, "folder": row.folder, "batch": row.placement.batch}
    return _first(job_failure(job, results, **where, certain=certain) for job in jobs)


def is_measurable(
    row: Prediction, folds: Collection[str], results: str | Path, unused: Collection[str] = ()
) -> bool:
    """Return whether a prediction's numbers exist, or can be computed from an existing probability map.

    Files of an earlier run do not count if the model has been removed or an earlier job has failed: they were made
    from other input.

    Args:
        row: the prediction.
        folds: `{group}/{network}/fold-{fold}` of the folds that have no model.
        results: the folder results/ of the study.
        unused: stages that never run with the study's settings.
    """
    parts = ("crop", "prediction")
    if _lacking(row, folds) or prediction_failure(row, parts, results, certain=True, unused=unused):
        return False
    measured, batch = (
        Path(
            results,
            STAGES[rule].file.format(folder=row.folder, scan=row.placement.scan, batch=row.placement.batch),
        )
        for rule in ("measure_prediction", "predict_scans")
    )
    return measured.exists() or (batch.exists() and not prediction_failure(row, ("prediction",), results))


def explain_failures(
    placements: Iterable[Placement],
    missing: Iterable[Prediction],
    extras: tuple[Iterable[Prediction], Iterable[str]],
    folds: Mapping[str, str],
    results: str | Path,
    unused: Collection[str] = (),
) -> dict[str, str]:
    """Return in words which results of each accepted scan are missing, and why; complete scans are left out.

    Args:
        placements: the accepted scans.
        missing: those of their predictions that are not measured.
        extras: the predictions to compare with a second reader, and the scans with a corrected mask.
        folds: why each fold without a model has none, by `{group}/{network}/fold-{fold}`.
        results: the folder results/ of the study.
        unused: stages that never run with the study's settings.
    """
    stopped: dict[str, str] = {}
    waits: dict[int, list[str]] = defaultdict(list)
    for row in placements:
        if why := _not_cropped(row.scan, results, unused):
            stopped[row.scan] = why
            waits[row.batch].append(row.scan)
    told: dict[str, dict[str, list[str]]] = {}
    for row in missing:
        why = _not_predicted(row, folds, results)
        if why == NOT_PREDICTED and row.placement.batch in waits:
            why = f"{PARTS['prediction']}: its batch waits for {', '.join(waits[row.placement.batch])}"
        name = f"{row.protocol} ({row.folder})"
        told.setdefault(row.placement.scan, {}).setdefault(why, []).append(name)
    for scan, name, why in _extras_missing(extras, results):
        told.setdefault(scan, {}).setdefault(why, []).append(name)
    return {
        scan: " | ".join(f"{', '.join(names)} {why}" for why, names in reasons.items())
        for scan, reasons in told.items()
    } | stopped


def explain_fold(folder: str, results: str | Path) -> str:
    """Return why a fold `{group}/{network}/fold-{fold}` has no model."""
    log, model = (
        Path(results, "logs/train_fold", f"{folder}.log"),
        Path(results, STAGES["train_fold"].file.format(folder=folder)),
    )
    return log_failure(log, model) or NOT_TRIED


def _not_cropped(scan: str, results: str | Path, unused: Collection[str]) -> str:
    """Return why a scan could not be prepared for the models, even if a crop of an earlier run still exists."""
    there = Path(results, f"cropped/{scan}/image.nii.gz").exists()
    jobs = stages_of("crop", unused)
    failure = _first(job_failure(job, results, scan=scan, certain=there) for job in jobs)
    return failure or ("" if there else NOT_TRIED)


def _extras_missing(
    extras: tuple[Iterable[Prediction], Iterable[str]], results: str | Path
) -> Iterator[tuple[str, str, str]]:
    """Yield (scan, part, reason) where a second reader's or a corrected mask could not be measured."""
    (reader, mask), (read, corrected) = EXTRAS, extras
    for row in read:
        if why := prediction_failure(row, (reader,), results):
            told = f"{PARTS[reader]}: {why}"
            yield row.placement.scan, f"{row.protocol} ({row.folder})", told
    for scan in corrected:
        if why := _first(job_failure(job, results, scan=scan) for job in stages_of(mask)):
            yield scan, mask, f"{PARTS[mask]}: {why}"


def _not_predicted(row: Prediction, folds: Mapping[str, str], results: str | Path) -> str:
    failure = _no_model(row, folds) or prediction_failure(row, ("prediction",), results)
    return f"{PARTS['prediction']}: {failure}" if failure else NOT_PREDICTED


def _no_model(row: Prediction, folds: Mapping[str, str]) -> str:
    untrained = _lacking(row, folds)
    return f"no model of {', '.join(untrained)} ({folds[untrained[0]]})" if untrained else ""


def _lacking(row: Prediction, folds: Collection[str]) -> list[str]:
    """Return the folds without a model that a prediction needs."""
    own = f"{row.group}/{row.network}/"
    needed = [row.folder] if row.members.startswith("fold-") else folds
    return [fold for fold in needed if fold in folds and fold.startswith(own)]


def _first(failures: Iterable[str]) -> str:
    return next(filter(None, failures), "")


def _told(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if lines[0] == "unexpected failure":
        return f"unexpected failure: {lines[-1]}"
    return " ".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
