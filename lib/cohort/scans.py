"""The screening of each scan: the table `cohort/scans.csv` between the cohort table and the split."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType

from lib.acquired_slices import PLANES, usual_axes
from lib.ages import age_years, printed_age
from lib.atomic import whole_file
from lib.cohort.placement import Placement
from lib.cohort.stated import with_stated
from lib.cohort.table import ScanRow, first_scan
from lib.errors import ConfigError

SCAN_COLUMNS = (
    "scan", "subject", "sex", "age", "site", "vendor", "contrast", "kvp", "side", "set", "repeat_of", "has_mask",
    "structures", "verdict", "reason", "warnings", "explanation",
)  # fmt: skip
REJECTED_IN_REVIEW = "rejected_in_review"  # reason code
SAME_VOXELS = "same_voxels"  # reason codes, found between scans
OTHER_SLICE_AXIS = "other_slice_axis"
VENDOR_DIFFERS = "vendor_differs"
DIGEST_COLUMNS = ("scan", "voxels")
NOBODY: Mapping = MappingProxyType({})
FOLD_COLUMNS = tuple(field.name for field in fields(Placement))


def gather_screening(
    cohort: Mapping[str, ScanRow],
    screened: Mapping[str, Mapping],
    rejected: Mapping[str, str] = NOBODY,
    slice_axis: str = "",
) -> list[dict[str, str]]:
    """Return one record for each row of the cohort table.

    Args:
        cohort: the rows of the cohort table by scan id.
        screened: the output of `screen_scan`, by scan id; excluded scans have none.
        rejected: comments on the scans rejected in review, by scan id; these are excluded too.
        slice_axis: patient axis along which all slices must have been acquired; `acquired`: that of most scans;
            empty: any.

    Returns:
        Records with the columns SCAN_COLUMNS. `vendor` and `contrast` are the table's, else the header's. `verdict`
        is ok, rejected, excluded or missing (not screened yet); `structures` names those in the mask; `reason` and
        `warnings` hold reason codes, `explanation` what was found and what to do. Scans with the same voxels are
        refused, all of them if they belong to different subjects, and so are scans whose slices were acquired along
        another axis than `slice_axis`. If `acquired` is not decided, because equally many scans were acquired along
        two axes, none is refused for its axis.
    """
    records = [_scan_record(row, screened.get(scan), rejected.get(scan)) for scan, row in cohort.items()]
    digests = voxel_digests(screened)
    repeated = {record["scan"]: record["repeat_of"] for record in records}
    alike: dict[str, list[dict[str, str]]] = defaultdict(list)
    for record in records:
        if record["verdict"] == "ok" and record["scan"] in digests:
            alike[digests[record["scan"]]].append(record)
    for several in alike.values():
        _judge_same_voxels(several, repeated)
    if slice_axis:
        _judge_slice_axes(records, screened, slice_axis)
    _judge_vendors(records, screened)
    return records


def refused_between(records: Iterable[Mapping[str, str]], screened: Mapping[str, Mapping]) -> Iterator[str]:
    """Yield a line on each scan that is refused because of other scans, with what to do.

    Args:
        records: the result of `gather_screening`.
        screened: the output of `screen_scan`, by scan id, which refuses scans for what is in them.
    """
    for record in records:
        if record["verdict"] == "rejected" and screened[record["scan"]]["verdict"] == "ok":
            yield f"Refused: {record['scan']}, {record['reason']}: {record['explanation'].split(' | ')[-1]}"


def require_slice_axis(records: Sequence[Mapping[str, str]], screened: Mapping[str, Mapping]) -> None:
    """Check that the accepted scans decide along which axis slices run, for `model_frame.slice_axis: acquired`.

    Args:
        records: rows of `cohort/scans.csv`.
        screened: the output of `screen_scan`, by scan id; empty if the scans do not decide.

    Raises:
        ConfigError: equally many scans were acquired along two or three axes.
    """
    axes = _acquired_axes(records, screened) if screened else {}
    usual = usual_axes(axes.values())
    if len(usual) < 2:
        return
    scans = list(axes.values()).count(usual[0])
    found = " and ".join(f"{scans} along {axis} ({PLANES[axis]} slices)" for axis in usual)
    raise ConfigError(
        f"model_frame.slice_axis: acquired takes the axis of most accepted scans, and no axis has most: {found}. Set "
        f"model_frame.slice_axis to {' or '.join(usual)}, which then holds for all scans, or leave out the scans of "
        f"{'the other axes' if len(usual) > 2 else 'one axis'} (`exclude` in the cohort table)"
    )


def voxel_digests(screened: Mapping[str, Mapping]) -> dict[str, str]:
    """Return the digest of each scan's voxels, by scan; a scan that could not be read has none."""
    return {scan: found["voxels"] for scan, found in screened.items() if found.get("voxels")}


def read_digests(path: str | Path) -> dict[str, str]:
    """Read `cohort/digests.csv`, digests by scan; empty if the table does not exist."""
    return {row["scan"]: row["voxels"] for row in read_records(path)} if Path(path).exists() else {}


def accepted_scans(records: Iterable[Mapping[str, str]]) -> list[Placement]:
    """Return the scans with verdict ok as placements before the draw."""
    return [_placement(record) for record in records if record["verdict"] == "ok"]


def refused_references(records: Iterable[Mapping[str, str]]) -> str:
    """Return as sentences how many scans with a reference were refused and why; "" if none were."""
    with_mask = [record for record in records if record["has_mask"] == "1"]
    refused = [record for record in with_mask if record["verdict"] != "ok"]
    if not refused:
        return ""
    reasons = Counter(reason for record in refused for reason in record["reason"].split())
    words = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return (
        f". Of {len(with_mask)} scans with a reference {len(refused)} were not accepted ({words}): see "
        "results/cohort/scans.csv for what to do"
    )


def read_records(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV table as a list of records of text."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_records(records: Iterable[Mapping], columns: Iterable[str], path: str | Path) -> None:
    """Write records as a CSV table, atomically."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def read_folds(path: str | Path) -> list[Placement]:
    """Read `folds/folds.csv`; empty if the table does not exist."""
    if not Path(path).exists():
        return []
    return [
        replace(
            _placement(record),
            fold=int(record["fold"]),
            batch=int(record["batch"]),
            trains=record["trains"] == "1",
        )
        for record in read_records(path)
    ]


def write_folds(placements: Iterable[Placement], path: str | Path) -> None:
    """Write `folds/folds.csv`, atomically."""
    write_records((_fold_record(placement) for placement in placements), FOLD_COLUMNS, path)


def _placement(record: Mapping[str, str]) -> Placement:
    return Placement(
        scan=record["scan"],
        subject=record["subject"],
        sex=record["sex"],
        age=age_years(record["age"]),
        site=record["site"],
        has_mask=record["has_mask"] == "1",
        set=record["set"],
    )


def _fold_record(placement: Placement) -> dict[str, object]:
    record = {name: getattr(placement, name) for name in FOLD_COLUMNS}
    return record | {
        "age": printed_age(placement.age),
        "has_mask": int(placement.has_mask),
        "trains": int(placement.trains),
    }


def _scan_record(row: ScanRow, screening: Mapping | None, rejection: str | None) -> dict[str, str]:
    found = with_stated(screening or {}, vendor=row.vendor, contrast=row.contrast)
    kvp = found.get("kvp")
    told = {
        "vendor": found["vendor"],
        "contrast": found["contrast"],
        "kvp": "" if kvp is None else f"{kvp:g}",
        "structures": " ".join(found.get("structures", ())),
    }
    return _listed(row) | told | _verdict(row, screening, rejection)


def _judge_same_voxels(records: list[dict[str, str]], repeated: Mapping[str, str]) -> None:
    """Refuse or flag scans with the same image, which could otherwise be in both training and test sets.

    Args:
        records: records of the scans, in the table's order; they are changed in place.
        repeated: `repeat_of` of each scan.
    """
    if len({record["subject"] for record in records}) > 1:
        for record in records:
            others = ", ".join(other["scan"] for other in records if other is not record)
            found = f"voxel by voxel the image of {others}, which belongs to another subject"
            todo = (
                "Correct `image`, give them one `subject` if it is one person, or exclude those that are wrong; "
                "until then none of them is used."
            )
            record |= {"verdict": "rejected"} | _with_reason(record, "reason", SAME_VOXELS, found, todo)
        return
    for number, record in enumerate(records):
        for first in records[:number]:
            if first["verdict"] != "ok" or first["side"] != record["side"]:
                continue
            found = f"voxel by voxel the image of {first['scan']}, of the same subject and side"
            if first_scan(first["scan"], repeated) == first_scan(record["scan"], repeated):
                todo = "Check `image`: a repeat that is the same image says nothing about precision."
                record |= _with_reason(record, "warnings", SAME_VOXELS, found, todo)
            else:
                todo = "Correct `image` or `side`, exclude it, or say `repeat_of`."
                record |= {"verdict": "rejected"} | _with_reason(record, "reason", SAME_VOXELS, found, todo)
            break


def _judge_slice_axes(
    records: Sequence[dict[str, str]], screened: Mapping[str, Mapping], slice_axis: str
) -> None:
    """Refuse accepted scans whose slices run along another axis than the study's; records are changed in place.

    None is refused if equally many scans were acquired along two axes: see `require_slice_axis`.
    """
    axes = _acquired_axes(records, screened)
    if slice_axis == "acquired":
        usual = usual_axes(axes.values())
        if len(usual) != 1:
            return
        slice_axis = usual[0]
    fitting = list(axes.values()).count(slice_axis)
    for record in records:
        if record["verdict"] == "ok" and axes[record["scan"]] != slice_axis:
            found = (
                f"slices acquired along {axes[record['scan']]}; the study's run along {slice_axis} "
                f"({fitting} of {len(axes)} scans)"
            )
            todo = "Leave it out, or set model_frame.slice_axis to one of z, y, x for all scans."
            record |= {"verdict": "rejected"} | _with_reason(record, "reason", OTHER_SLICE_AXIS, found, todo)


def _judge_vendors(records: Iterable[dict[str, str]], screened: Mapping[str, Mapping]) -> None:
    """Flag scans whose vendor in the table, which stays, is not that of the header; records are changed in place."""
    for record in records:
        stated = screened.get(record["scan"], {}).get("vendor", "")
        if stated and record["vendor"] != stated and record["verdict"] != "excluded":
            found = f"the cohort table says {record['vendor']}, the header {stated}"
            todo = "Correct `vendor`, or leave it empty; until then the table's is used. Check `image`, too."
            record |= _with_reason(record, "warnings", VENDOR_DIFFERS, found, todo)


def _acquired_axes(records: Iterable[Mapping[str, str]], screened: Mapping[str, Mapping]) -> dict[str, str]:
    """Return the axis along which the slices of each accepted scan were acquired, by scan."""
    accepted = [record["scan"] for record in records if record["verdict"] == "ok"]
    return {scan: screened[scan]["geometry"]["acquired_axis"] for scan in accepted}


def _with_reason(record: Mapping[str, str], column: str, code: str, found: str, todo: str) -> dict[str, str]:
    """Return the changes to a record caused by a finding between scans: its code in `column`, and the explanation."""
    return {
        column: f"{record[column]} {code}".strip(),
        "explanation": " | ".join(filter(None, (record["explanation"], f"{found}. {todo}"))),
    }


def _listed(row: ScanRow) -> dict[str, str]:
    return {
        "scan": row.scan,
        "subject": row.subject,
        "sex": row.sex,
        "age": printed_age(row.age),
        "site": row.site,
        "side": row.side,
        "set": row.set,
        "repeat_of": row.repeat_of,
        "has_mask": str(int(bool(row.mask))),
        **row.extra,
    }


def _verdict(row: ScanRow, screening: Mapping | None, rejection: str | None) -> dict[str, str]:
    if row.exclude:
        return _without_screening("excluded", "excluded", row.exclude)
    if rejection is not None:
        return _without_screening("excluded", REJECTED_IN_REVIEW, rejection or "rejected without a comment")
    if screening is None:
        text = "screening has not ended well; see results/logs/screen_scan/"
        return _without_screening("missing", "not_screened", text)
    reasons = screening["reasons"]
    return {
        "verdict": screening["verdict"],
        "reason": _codes(reasons, "rejected"),
        "warnings": _codes(reasons, "warning"),
        "explanation": " | ".join(
            f"{reason['found'].rstrip('.')}. What to do: {reason['action']}" for reason in reasons
        ),
    }


def _without_screening(verdict: str, reason: str, explanation: str) -> dict[str, str]:
    return {"verdict": verdict, "reason": reason, "warnings": "", "explanation": explanation}


def _codes(reasons: Iterable[Mapping[str, str]], severity: str) -> str:
    return " ".join(dict.fromkeys(reason["code"] for reason in reasons if reason["severity"] == severity))
