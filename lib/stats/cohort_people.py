"""The wide table `tables/people.csv`: one row for each scan of the cohort table, to be joined with other data."""

from collections.abc import Iterable, Mapping

import pandas as pd

from lib.ages import OLDEST_PRINTED_AGE, age_years
from lib.stats.measurements import CORRECTED, VALUE_KEYS
from lib.stats.undefined import undefined_text

# what the table says of a scan, its prediction and its mask, before the values
PEOPLE_KEYS = (
    *("scan", "subject", "sex", "age", "age_90_or_older", "site", "side", "set"),
    *("verdict", "reason", "review", "group", "network", "members", "protocol"),
    *("source", "final_mask", "final_mask_from", "flags", "repeat_of"),
)
FINAL_MASKS = "masks/final"  # folder of the final masks, below results/
_OF_SCANS = ("subject", "sex", "site", "side", "verdict", "reason", "repeat_of")


def all_people(
    values: pd.DataFrame,
    scans: Iterable[Mapping[str, str]],
    sets: Mapping[str, str],
    reviews: Mapping[str, str],
) -> pd.DataFrame:
    """Return one row for each scan of the cohort table, sorted by scan: PEOPLE_KEYS, values, and `undefined`.

    A scan without a prediction keeps its row: its values are empty, and `verdict`, `reason` and `undefined` say why.

    Args:
        values: the values of each predicted scan, a result of `lib.stats.measurements.people_table`.
        scans: the records of `cohort/scans.csv`.
        sets: `set` of each accepted scan after the draw.
        reviews: the reviewer's verdict, by scan; scans without one are left out.
    """
    columns = [name for name in values.columns if name not in (*VALUE_KEYS, "undefined")]
    known = {row["scan"]: row for row in values.to_dict("records")}
    rows = []
    for record in sorted(scans, key=lambda record: record["scan"]):
        scan = record["scan"]
        told = {name: record[name] for name in _OF_SCANS} | _age_of(record["age"])
        told |= {"scan": scan, "set": sets.get(scan, ""), "review": reviews.get(scan, "")}
        rows.append(told | _result_of(scan, known.get(scan), _why_none(record), columns))
    table = pd.DataFrame(rows, columns=[*PEOPLE_KEYS, *columns, "undefined"])
    # a whole number also where some ages are empty
    return table.astype({"age": "Int64"})


def final_mask_sources(people: pd.DataFrame) -> dict[str, str]:
    """Return the file of each final mask below results/, on the grid of the converted scan, by scan.

    Args:
        people: `tables/people.csv`.
    """
    masked = people[people["final_mask_from"] != ""]
    return {
        row["scan"]: f"corrected/{row['scan']}_labels_full.nii.gz"
        if row["final_mask_from"] == CORRECTED
        else f"masks/{row['group']}/{row['network']}/{row['members']}/{row['scan']}/labels_full.nii.gz"
        for row in masked.to_dict("records")
    }


def final_mask_name(scan: str) -> str:
    """Return the name of a scan's final mask in FINAL_MASKS."""
    return f"{scan}_labels.nii.gz"


def _age_of(printed: str) -> dict:
    """Return an age as a number, and whether it is 90 or more; both are empty if it is unknown."""
    years = age_years(printed)
    if years is None:
        return {"age": None, "age_90_or_older": ""}
    oldest = years >= OLDEST_PRINTED_AGE
    return {"age": None if oldest else int(years), "age_90_or_older": "yes" if oldest else "no"}


def _result_of(scan: str, found: Mapping | None, why: str, columns: Iterable[str]) -> dict:
    """Return the part of a row that a prediction or a corrected mask fills."""
    if found is None:
        return {"undefined": undefined_text(dict.fromkeys(columns, why))}
    return {
        **{name: found[name] for name in ("group", "network", "members", "protocol", "source")},
        **{name: found[name] for name in ("flags", "repeat_of", *columns, "undefined")},
        "final_mask": f"{FINAL_MASKS}/{final_mask_name(scan)}",
        "final_mask_from": CORRECTED if found["source"] == CORRECTED else found["members"],
    }


def _why_none(record: Mapping[str, str]) -> str:
    """Return why a scan has no values."""
    if record["verdict"] == "ok":
        return "no prediction of this scan succeeded, see tables/flow.csv"
    return f"the scan is not used ({record['verdict']}, {record['reason']}), see cohort/scans.csv"
