"""Why a scan or a fold came no further: the error in the log of the job that did not end. Standard library only.

Logs are those of `lib.joblog`, which keeps identity out of them.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from lib.cohort.placement import Placement
from lib.cohort.protocols import SCORED_PROTOCOLS, Prediction
from lib.cohort.rerun import STAGE_FILES

# jobs that bring a scan to the models, that make a mask, that measure it, that score it, each in their order
SCAN_JOBS = ("convert_dicom", "resample_ct", "crop_ct")
MASK_JOBS = ("predict_scans", "otsu_mask")
MEASURE_JOBS = ("resample_mask", "crop_mask", "measure_volume")
SCORE_JOBS = ("measure_overlap",)
NOT_TRIED = "not tried yet"
NOT_PREDICTED = f"not predicted: {NOT_TRIED}"
LONGEST = 300  # characters of an explanation
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ", re.MULTILINE)


def job_failure(job: str, results: str | Path, *, scan: str = "", folder: str = "", batch: int = -1) -> str:
    """Return in words why a job did not end; empty if it ended well or never began, for then it has no log.

    Args:
        job: name of its rule, one of STAGE_FILES.
        results: the folder results/ of the study.
        scan: the job's scan.
        folder: `{cohort}/{network}/{members}` of a job that belongs to a prediction.
        batch: of a job that predicts.
    """
    file = STAGE_FILES[job]
    name = f"batch-{batch}" if "{batch}" in file else scan
    log = Path(results, "logs", job, folder if "{folder}" in file else "", f"{name}.log")
    return log_failure(log, Path(results, file.format(scan=scan, folder=folder, batch=batch)))


def log_failure(log: Path, made: Path) -> str:
    """Return in words why a job that writes `log` has not left the file `made`; empty if it has, or never began.

    An error raised on purpose is told as it is; of an unexpected one the last line, which names it. A job whose log
    holds no error was killed (memory, time, a lost node) or still runs.
    """
    if made.exists() or not log.exists():
        return ""
    # split by a group: what stands before the first record, then level and words in turn
    parts = _RECORD.split(log.read_text(encoding="utf-8", errors="replace"))
    records = list(zip(parts[1::2], parts[2::2], strict=True))
    errors = [words for level, words in records if level == "ERROR"]
    if errors:
        return _shortened(_told(errors[-1]))
    last = f"; its last words: {' '.join(records[-1][1].split())}" if records else ""
    return _shortened(f"its job {log.parts[log.parts.index('logs') + 1]} was killed or still runs{last}")


def prediction_failure(row: Prediction, jobs: Iterable[str], results: str | Path) -> str:
    """Return why one of the jobs that belong to a prediction did not end; empty if none failed."""
    where = {"scan": row.placement.scan, "folder": row.folder, "batch": row.placement.batch}
    return _first(job_failure(job, results, **where) for job in jobs)


def explain_failures(
    placements: Iterable[Placement],
    planned: Iterable[Prediction],
    there: tuple[Collection[str], Collection[str]],
    folds: Mapping[str, str],
    results: str | Path,
) -> dict[str, str]:
    """Return in words what of each accepted scan is missing from the study, and why; nothing for complete ones.

    Args:
        placements: the accepted scans.
        planned: all their predictions.
        there: `{cohort}/{model}/{members}/{scan}` of the predictions that are measured, and of those scored.
        folds: why a fold has no model, by `{cohort}/{model}/fold-{fold}`; of the folds that have none.
        results: the folder results/ of the study.
    """
    placements = list(placements)
    uncropped = [row for row in placements if not Path(results, f"cropped/{row.scan}/image.nii.gz").exists()]
    stopped = {
        row.scan: _first(job_failure(job, results, scan=row.scan) for job in SCAN_JOBS) or NOT_TRIED
        for row in uncropped
    }
    waits: dict[int, list[str]] = {}
    for row in uncropped:
        waits.setdefault(row.batch, []).append(row.scan)
    told: dict[str, dict[str, list[str]]] = {}
    for row in planned:
        scan = row.placement.scan
        why = "" if scan in stopped else _missing(row, there, folds, results)
        if why == NOT_PREDICTED and row.placement.batch in waits:
            why = f"not predicted: its batch waits for {', '.join(waits[row.placement.batch])}"
        if why:
            told.setdefault(scan, {}).setdefault(why, []).append(f"{row.protocol} ({row.folder})")
    return stopped | {
        scan: " | ".join(f"{', '.join(names)} {why}" for why, names in reasons.items())
        for scan, reasons in told.items()
    }


def explain_fold(folder: str, results: str | Path) -> str:
    """Return why a fold `{cohort}/{network}/fold-{fold}` has no model."""
    log, model = (
        Path(results, "logs/train_fold", f"{folder}.log"),
        Path(results, "models", folder, "model.pt"),
    )
    return log_failure(log, model) or NOT_TRIED


def _missing(
    row: Prediction,
    there: tuple[Collection[str], Collection[str]],
    folds: Mapping[str, str],
    results: str | Path,
) -> str:
    """Return why a prediction is not measured or not scored; empty if it is there."""
    measured, scored = there
    path = f"{row.folder}/{row.placement.scan}"
    if path not in measured:
        jobs = (*MASK_JOBS, *MEASURE_JOBS)
        failure = _no_model(row, folds) or prediction_failure(row, jobs, results)
        return f"not predicted: {failure}" if failure else NOT_PREDICTED
    if row.protocol in SCORED_PROTOCOLS and path not in scored:
        return f"not scored: {prediction_failure(row, SCORE_JOBS, results) or NOT_TRIED}"
    return ""


def _no_model(row: Prediction, folds: Mapping[str, str]) -> str:
    own = f"{row.cohort}/{row.model}/"
    needed = [row.folder] if row.members.startswith("fold-") else folds
    untrained = [fold for fold in needed if fold in folds and fold.startswith(own)]
    return f"no model of {', '.join(untrained)} ({folds[untrained[0]]})" if untrained else ""


def _first(failures: Iterable[str]) -> str:
    return next(filter(None, failures), "")


def _told(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if lines[0] == "unexpected failure":
        return f"unexpected failure: {lines[-1]}"
    return " ".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
