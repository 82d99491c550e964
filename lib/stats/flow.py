"""The flow of a study: the last stage of every scan of the cohort table, why it stopped there, and its review."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import pandas as pd

from lib.ages import printed_age
from lib.catalog.stages import flow_steps

FLOW_COLUMNS = (
    *("scan", "subject", "sex", "age", "site", "set", "fold", "has_mask", "verdict", "stage", "reason"),
    "explanation",
    *("review", "review_comment"),
)
# reason for a scan that was completed by only some of its models
PARTLY_MISSING = "partly_missing"
# flag of a prediction by models that were trained on this person or chosen by their score; reason for not scoring it
SEEN_IN_TRAINING = "seen_in_training"
NONE: Mapping = MappingProxyType({})


def flow_table(
    scans: pd.DataFrame,
    folds: pd.DataFrame,
    reached: Mapping[str, Iterable[str]],
    failures: Mapping[str, str] = NONE,
    reviews: Mapping[str, Mapping] = NONE,
    seen: Mapping[str, Iterable[str]] = NONE,
) -> pd.DataFrame:
    """Return FLOW_COLUMNS: for every scan of the cohort table the last stage it reached, and why it stopped there.

    Args:
        scans: `cohort/scans.csv`.
        folds: `folds/folds.csv`; a scan's set is taken from there, else from the cohort table.
        reached: ids of the scans that completed "converted", "cropped", "predicted", "scored".
        failures: descriptions of failed jobs, by scan (`lib.cohort.failures`).
        reviews: `verdict` and `comment` of the review, by scan.
        seen: the models trained on a scan's person, by scan (see `seen_in_training`).
    """
    placed = folds.set_index("scan")
    through = {stage: set(ids) for stage, ids in reached.items()}
    rows = [
        _flow_row(record, placed, through)
        | _why_no_further(
            record,
            _last_stage(record, through),
            failures.get(record["scan"], ""),
            _not_scored(seen.get(record["scan"], ())),
        )
        | _reviewed(reviews.get(record["scan"], {}))
        for record in scans.to_dict("records")
    ]
    return pd.DataFrame(rows, columns=list(FLOW_COLUMNS))


def seen_in_training(volumes: pd.DataFrame) -> dict[str, list[str]]:
    """Return `{group}/{network}/{members}` of the models that were trained on a scan's person, by scan.

    Args:
        volumes: `tables/volumes.csv`, in which predictions of such models have a flag.
    """
    flagged = volumes[[SEEN_IN_TRAINING in flags.split() for flags in volumes["flags"]]]
    seen: dict[str, dict[str, None]] = {}  # once for all structures
    for row in flagged.to_dict("records"):
        seen.setdefault(row["scan"], {})[f"{row['group']}/{row['network']}/{row['members']}"] = None
    return {scan: list(models) for scan, models in seen.items()}


def _flow_row(record: Mapping, placed: pd.DataFrame, through: Mapping[str, set[str]]) -> dict:
    scan, place = record["scan"], {}
    if scan in placed.index:
        place = placed.loc[scan].to_dict()
    return {
        **{name: record.get(name, "") for name in ("scan", "subject", "sex", "site", "has_mask", "verdict")},
        "age": printed_age(record.get("age")),
        "set": place.get("set", record.get("set", "")),
        "fold": int(place["fold"]) if place.get("fold", -1) >= 0 else "",
        "stage": _last_stage(record, through),
    }


def _last_stage(record: Mapping, through: Mapping[str, set[str]]) -> str:
    done = [stage for stage in flow_steps() if record["scan"] in through.get(stage, ())]
    # a scan that was excluded by hand is not part of the study, whatever stage it reached before
    if done and record["verdict"] == "ok":
        return done[-1]
    return "screened" if record["verdict"] in ("ok", "rejected") else "listed"


def _not_scored(models: Iterable[str]) -> str:
    models = ", ".join(models)
    return f"not scored by {models}: trained on this person, or chosen by their score" if models else ""


def _why_no_further(record: Mapping, stage: str, failure: str, seen: str) -> dict[str, str]:
    if record["verdict"] != "ok":
        told = record.get("explanation", "")
        return _because(record["reason"] or record["verdict"], f"{told}: {failure}" if failure else told)
    has_mask, steps = str(record["has_mask"]) == "1", flow_steps()
    if stage == steps[-1] or (stage == "predicted" and (seen or not has_mask)):
        if failure:
            return _because(PARTLY_MISSING, " | ".join(filter(None, (failure, has_mask and seen))))
        if seen and has_mask:
            return _because(SEEN_IN_TRAINING, seen)
        if stage == steps[-1]:
            return _because("", "")
        return _because("no_reference", "has no reference mask, so it is measured but not scored")
    following = steps[steps.index(stage) + 1]
    return _because(f"not_{following}", failure or f"has not been {following} yet; see results/logs/")


def _because(reason: str, explanation: str) -> dict[str, str]:
    return {"reason": reason, "explanation": explanation}


def _reviewed(review: Mapping) -> dict[str, str]:
    return {"review": review.get("verdict", ""), "review_comment": review.get("comment", "")}
