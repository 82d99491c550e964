"""Ages as they may be printed: 90 and more are printed as `90+`. Standard library only."""

OLDEST_PRINTED_AGE = 90


def printed_age(age: float | str | None) -> str:
    """Return an age for tables and pages: whole years, `90+` from 90 on, empty if unknown."""
    years = age_years(age)
    if years is None:
        return ""
    return f"{OLDEST_PRINTED_AGE}+" if years >= OLDEST_PRINTED_AGE else f"{int(years)}"


def age_years(age: float | str | None) -> float | None:
    """Parse an age that a person typed or `printed_age` wrote; None if unknown, 90 from 90 on.

    Raises:
        ValueError: not an age between 0 and 120 years.
    """
    text = "" if age is None else str(age).strip().removesuffix("+")
    if text in ("", "nan"):
        return None
    years = float(text)
    # Python reads 6_1 as 61
    if "_" in text or not 0 <= years <= 120:
        raise ValueError(text)
    return min(years, float(OLDEST_PRINTED_AGE))
