"""Conversion between errors and the findings of a verdict."""

from collections.abc import Iterable

from lib.catalog.reasons import REJECTED, Reason
from lib.errors import ScanError


def reason_of(error: ScanError) -> Reason:
    """Return the finding for a `ScanError`."""
    return Reason(error.code, str(error), error.action)


def raise_rejected(reasons: Iterable[Reason]) -> None:
    """Raise `ScanError` with the code of the first refusal and the texts of all, if there is one."""
    refusals = [reason for reason in reasons if reason.severity == REJECTED]
    if refusals:
        raise ScanError(refusals[0].code, "; ".join(f"{reason.code}: {reason.found}" for reason in refusals))
