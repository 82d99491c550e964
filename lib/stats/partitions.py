"""The people of each partition: training, each fold of it, test, later, external, without a reference."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from lib.ages import age_years
from lib.catalog.protocols import SETS
from lib.stats.undefined import counted_reasons

PARTITION_COLUMNS = (
    *(
        "partition",
        "structure",
        "n",
        "scans",
        "women",
        "men",
        "sex_unknown",
        "age_n",
        "age_mean",
        "age_sd",
        "scanners",
    ),
    *("reference_scans", "reference_mean_mm3", "reference_sd_mm3", "not_scored", "not_scored_reason"),
)


def partition_table(
    folds: pd.DataFrame, tables: Mapping[str, pd.DataFrame], structures: Sequence[str]
) -> pd.DataFrame:
    """Return PARTITION_COLUMNS: a row for each set of people, and after the training set one for each fold.

    Each row is given once for each structure, whose references it summarizes.

    Args:
        folds: `folds/folds.csv`. The people of `fold-k` validate the model of fold k and train the others. Scans that
            were excluded or rejected after the draw are not counted.
        tables: tables by file name. `acquisition` gives the verdicts and scanners (`scanners` names each with its
            number of scans); `metrics` the reference volumes on the crop's grid, without repeated scans; `unscored`
            the scans that should have been scored but were not (`not_scored` is their number).
        structures: the study's structures.

    `n` counts people; sex and age are those of a person's first row, ages of 90 or more count as 90. SDs have
    ddof 1.
    """
    accepted = tables["acquisition"][tables["acquisition"]["verdict"] == "ok"]
    scanners = {row["scan"]: _scanner(row) for row in accepted.to_dict("records")}
    scored = tables["metrics"][tables["metrics"]["repeat_of"] == ""].drop_duplicates(["scan", "structure"])
    unscored = tables["unscored"].drop_duplicates(["scan", "structure"])
    rows = []
    for name, scans in _partitions(folds[folds["scan"].isin(scanners)]):
        for structure in structures:
            references = scored[scored["structure"] == structure].set_index("scan")["reference_mm3"]
            lost = unscored[unscored["structure"] == structure].set_index("scan")["without_reason"]
            told = _scans(scans, scanners, references.astype(float).dropna()) | _not_scored(scans, lost)
            rows.append({"partition": name, "structure": structure} | _people(scans) | told)
    return pd.DataFrame(rows, columns=list(PARTITION_COLUMNS))


def _partitions(folds: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    further = sorted(set(folds["set"]) - set(SETS))
    for name in (*SETS, *further):
        scans = folds[folds["set"] == name]
        if len(scans):
            yield name, scans
        if name == "train":
            for fold, part in scans.groupby("fold"):
                yield f"fold-{fold}", part


def _people(scans: pd.DataFrame) -> dict:
    people = scans.drop_duplicates("subject")
    women, men = (int((people["sex"] == sex).sum()) for sex in "FM")
    ages = pd.Series([age_years(age) for age in people["age"]], dtype=float).dropna()
    return {
        "n": len(people),
        "scans": len(scans),
        **{"women": women, "men": men, "sex_unknown": len(people) - women - men},
        **{"age_n": len(ages), "age_mean": ages.mean(), "age_sd": ages.std(ddof=1)},
    }


def _scans(scans: pd.DataFrame, scanners: dict[str, str], volumes: pd.Series) -> dict:
    counts = Counter(scanners.get(scan, "not stated") for scan in scans["scan"])
    known = volumes[volumes.index.isin(scans["scan"])]
    return {
        "scanners": "; ".join(f"{name}: {count}" for name, count in counts.most_common()),
        "reference_scans": len(known),
        **{"reference_mean_mm3": known.mean(), "reference_sd_mm3": known.std(ddof=1)},
    }


def _not_scored(scans: pd.DataFrame, lost: pd.Series) -> dict:
    reasons = lost[lost.index.isin(scans["scan"])]
    return {"not_scored": len(reasons), "not_scored_reason": counted_reasons(reasons)}


def _scanner(row: dict) -> str:
    return " ".join(filter(None, (row["manufacturer"], row["model"]))) or "not stated"
