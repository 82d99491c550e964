"""What the cohort table states of the acquisition of a scan. Standard library only."""

from collections.abc import Mapping


def with_stated(screening: Mapping, *, vendor: str = "", contrast: str = "") -> dict:
    """Return the output of `screen_scan` with what the cohort table says in place of what the header states.

    Args:
        screening: with `vendor` and `contrast` of the header; empty: the scan is not screened yet.
        vendor: that of the table; empty: it says nothing.
        contrast: likewise.
    """
    header = {name: screening.get(name, "") for name in ("vendor", "contrast")}
    return dict(screening) | {
        "vendor": vendor or header["vendor"],
        "contrast": contrast or header["contrast"],
    }
