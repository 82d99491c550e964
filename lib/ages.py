"""Ages as they may be printed: people of 90 and more are not told apart. Standard library only."""

OLDEST_PRINTED_AGE = 90


def printed_age(age: float | None) -> str:
    """Return an age for tables and pages: whole years, `90+` from 90 on, empty if unknown."""
    if age is None:
        return ""
    return f"{OLDEST_PRINTED_AGE}+" if age >= OLDEST_PRINTED_AGE else f"{int(age)}"


def age_years(text: str) -> float | None:
    """Return the age that `printed_age` wrote, or a person typed; None for an empty text.

    Raises:
        ValueError: the text is not an age between 0 and 120 years.
    """
    text = text.strip().removesuffix("+")
    if not text:
        return None
    age = float(text)
    if not 0 <= age <= 120:
        raise ValueError(text)
    return min(age, float(OLDEST_PRINTED_AGE))
