"""How the scans of the cohort were acquired, and which of them deviate from the protocol. Standard library only.

The protocol is given by the configuration (`acquisition_protocol`) or, if it gives none, by what most of the
accepted scans share. Fields that depend on a person's size (mAs, table height, field of view, pixel) are judged only
if the configuration names them.
"""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.acquired_slices import pixel_of, plane_of
from lib.catalog.groups import SCREENED_STRATA, TABLE_STRATA
from lib.catalog.modalities import MODALITIES, TEXT_FIELDS
from lib.cohort.scans import read_records
from lib.errors import ConfigError

MAJORITY_SCANS = 5  # no majority is computed from fewer scans that state a field

# Numbers that differ by less than this fraction are the same setting: headers are rounded, distances are measured.
_SAME_NUMBER = 0.01

_CANDIDATES = (
    100  # number of most frequent values that are tried; measured distances may all differ in the last digit
)

_YES_NO = ("contrast", "fat_suppressed")

Value = str | float


def check_strata(strata: Sequence[str], cohort_columns: Sequence[str], modality: str) -> None:
    """Refuse strata that no table of the study has as a column.

    Raises:
        ConfigError: `report.strata` names a column that is neither one of every study nor in `cohort_columns`.
    """
    known = (*TABLE_STRATA, *SCREENED_STRATA, *MODALITIES[modality].fields, *cohort_columns)
    for name in strata:
        if name not in known:
            raise ConfigError(
                f"report.strata: no table has a column {name!r}; known are {', '.join(known)}. "
                "A further column of the cohort table must be listed in cohort_columns"
            )


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """The allowed values of a field: one of `values`, or a number from `low` to `high` (None: no limit)."""

    values: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None

    def __contains__(self, value: Value) -> bool:
        """Return whether a value is allowed; text in any case, numbers within 1 % of a single value."""
        if self.values:
            return any(_same(value, allowed) for allowed in self.values)
        low, high = self._ends()
        return low <= value <= high

    def __str__(self) -> str:
        """Return what is allowed in words, e.g. `120`, `B30s or B31s`, `100 to 130`, `at least 2`."""
        if self.values:
            return " or ".join(map(_text, self.values))
        if self.high is None:
            return f"at least {_text(self.low)}"
        return (
            f"at most {_text(self.high)}" if self.low is None else f"{_text(self.low)} to {_text(self.high)}"
        )

    def _ends(self) -> tuple[float, float]:
        return (
            -math.inf if self.low is None else self.low,
            math.inf if self.high is None else self.high,
        )


@dataclass(frozen=True, kw_only=True)
class AcquisitionProtocol:
    """How scans should have been acquired.

    Attributes:
        source: `configuration`, or `majority` of the cohort.
        allowed: allowed values of each judged field, by name.
    """

    source: str
    allowed: Mapping[str, Allowed]

    def differences(self, record: Mapping) -> list[str]:
        """Return in words how a record of `gather_acquisition` differs, e.g. `kvp 140 (protocol 120)`.

        A field that a scan does not state differs only from a configured protocol, and only if the scan is accepted.
        """
        strict = self.source == "configuration" and record["verdict"] == "ok"
        texts = []
        for name, allowed in self.allowed.items():
            value = _vote(record, name)
            if value is None and strict:
                texts.append(f"{name} not stated (protocol {allowed})")
            elif value is not None and value not in allowed:
                texts.append(f"{name} {_text(value)} (protocol {allowed})")
        return texts


def acquisition_columns(modality: str) -> tuple[str, ...]:
    """Return the columns of `tables/acquisition.csv` for a modality."""
    told = MODALITIES[modality].fields
    return ("scan", "subject", "site", "verdict", "modality", *told, "slices", "off_protocol")


def choose_protocol(settings: Mapping, records: Iterable[Mapping], modality: str) -> AcquisitionProtocol:
    """Return the protocol of the configuration or, if it gives none, that of the cohort's majority."""
    return read_protocol(settings, modality) if settings else majority_protocol(records, modality)


def read_protocol(settings: Mapping, modality: str) -> AcquisitionProtocol:
    """Return the protocol of the configuration's section `acquisition_protocol`.

    Args:
        modality: the study's; it decides which fields there are.
        settings: for each field a value, a list of allowed values or, for a number, {min: ..., max: ...}.

    Raises:
        ConfigError: a field is unknown or its value malformed; the text lists all of them.
    """
    allowed, problems = {}, []
    for name, setting in settings.items():
        try:
            allowed[name] = _read_allowed(name, setting, modality)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise _refusal(problems)
    return AcquisitionProtocol(source="configuration", allowed=allowed)


def majority_protocol(records: Iterable[Mapping], modality: str) -> AcquisitionProtocol:
    """Return the majority's protocol: fields that MAJORITY_SCANS state and on which more than half agree."""
    accepted = [record for record in records if record["verdict"] == "ok"]
    allowed = {}
    for names in MODALITIES[modality].judged:
        values = [tuple(_vote(record, name) for name in names) for record in accepted]
        shared = _majority([value for value in values if None not in value])
        allowed |= {name: Allowed(values=(value,)) for name, value in zip(names, shared, strict=False)}
    return AcquisitionProtocol(source="majority", allowed=allowed)


def _vote(record: Mapping, name: str) -> Value | None:
    """Return what a scan states or implies: a header without a contrast medium implies that none was given.

    The standard requires the medium in the header of an image that was made with one (PS3.3, A.3.3.1 and A.4.3). A
    header that states neither voltage nor repetition time was stripped, and implies nothing.
    """
    if name == "contrast" and (record.get("kvp") or record.get("tr_ms")) is not None:
        return record["contrast"] or "no"
    return record[name]


def _majority(values: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    """Return the value of more than half of the scans, in its most frequent spelling; empty if there is none."""
    if len(values) < MAJORITY_SCANS:
        return ()
    counts = Counter(values)
    support = {
        value: sum(count for other, count in counts.items() if all(map(_same, value, other)))
        for value, _ in counts.most_common(_CANDIDATES)
    }
    best = max(support, key=lambda value: (support[value], counts[value]))
    return best if support[best] > len(values) / 2 else ()


def _read_allowed(name: str, setting: object, modality: str) -> Allowed:
    """Return the values that a setting allows for a field; a ValueError says what is wrong with it."""
    known = MODALITIES[modality].fields
    if name not in known:
        raise ValueError(_unknown(name, known))
    if isinstance(setting, Mapping) and name not in TEXT_FIELDS:
        ends = {key: _read_value(name, value, setting) for key, value in setting.items()}
        low, high = ends.get("min"), ends.get("max")
        if not ends or not ends.keys() <= {"min", "max"} or (len(ends) == 2 and low > high):
            raise ValueError(_malformed(name, setting))
        return Allowed(low=low, high=high)
    items = setting if isinstance(setting, list | tuple) else [setting]
    if not items:
        raise ValueError(_malformed(name, setting))
    return Allowed(values=tuple(_read_value(name, item, setting) for item in items))


def _read_value(name: str, value: object, setting: object) -> Value:
    if name in _YES_NO and isinstance(value, bool):
        return "yes" if value else "no"  # YAML reads a bare yes or no as true or false
    if name in _YES_NO:
        valid = value in ("yes", "no")
    elif name in TEXT_FIELDS:
        valid = isinstance(value, str) and bool(value.strip())
    else:
        valid = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not valid:
        raise ValueError(_malformed(name, setting))
    return value.strip() if isinstance(value, str) else value


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"acquisition_protocol: unknown key {name!r}; {hint}"


def _malformed(name: str, setting: object) -> str:
    if name in _YES_NO:
        expected = "yes or no"
    elif name in TEXT_FIELDS:
        expected = "a text, or a list of texts"
    else:
        expected = "a number, a list of numbers, or a range {min: ..., max: ...} with at least one end"
    return f"acquisition_protocol.{name}: {setting!r}; expected {expected}"


def _refusal(problems: Sequence[str]) -> ConfigError:
    lines = "\n".join(f"  {problem}" for problem in problems)
    count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
    return ConfigError(f"configuration: {count}; nothing was run.\n{lines}")


def _same(value: Value, other: Value) -> bool:
    if isinstance(value, str) or isinstance(other, str):
        return str(value).casefold() == str(other).casefold()
    return math.isclose(value, other, rel_tol=_SAME_NUMBER)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def gather_acquisition(
    scans: Iterable[Mapping[str, str]], screened: Mapping[str, Mapping], modality: str
) -> list[dict]:
    """Return one record for each scan that was screened: `acquisition_columns` without `off_protocol`.

    Args:
        scans: the records of `cohort/scans.csv`.
        screened: what `screen_scan` wrote, by scan id.
        modality: the study's.

    Returns:
        Records with None for each field that is not stated; what is `unknown` counts as not stated.
    """
    return [_record(scan, screened[scan["scan"]], modality) for scan in scans if scan["scan"] in screened]


def judge_acquisition(records: Iterable[Mapping], protocol: AcquisitionProtocol) -> list[dict]:
    """Return the records with `off_protocol`: deviations from the protocol in words, empty if there are none."""
    return [dict(record) | {"off_protocol": "; ".join(protocol.differences(record))} for record in records]


def describe_protocol(records: Iterable[Mapping], protocol: AcquisitionProtocol) -> dict:
    """Return the protocol for the report, as a JSON object.

    Returns:
        `source`; `fields`: a list of `field`, `protocol` (in words), and the numbers of accepted scans that
        `agree`, `differ` and are `not_stated`.
    """
    accepted = [record for record in records if record["verdict"] == "ok"]
    return {
        "source": protocol.source,
        "fields": [
            {"field": name, "protocol": str(allowed)}
            | _counts([_vote(record, name) for record in accepted], allowed)
            for name, allowed in protocol.allowed.items()
        ],
    }


def off_protocol_scans(path: str | Path) -> set[str]:
    """Return the scans that deviate from the protocol according to `tables/acquisition.csv`."""
    return {record["scan"] for record in read_records(path) if record["off_protocol"]}


def _counts(values: Sequence[Value | None], allowed: Allowed) -> dict[str, int]:
    stated = [value for value in values if value is not None]
    agree = sum(value in allowed for value in stated)
    return {"agree": agree, "differ": len(stated) - agree, "not_stated": len(values) - len(stated)}


def _record(scan: Mapping[str, str], screening: Mapping, modality: str) -> dict:
    stated = screening["acquisition"] or {}
    geometry = screening["geometry"] or {}
    record = {name: scan[name] for name in ("scan", "subject", "site", "verdict")}
    record["modality"] = modality
    measured = {"pixel_mm": pixel_of(geometry), "plane": plane_of(geometry)}
    for name in MODALITIES[modality].fields:
        value = measured[name] if name in measured else stated.get(name)
        record[name] = None if name in _YES_NO and value == "unknown" else _tidy(value)
    return record | {"slices": geometry.get("slices_read")}


def _tidy(value: Value | None) -> Value | None:
    """Return a number without needless decimals: 120, not 120.0."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() else round(value, 6)
