"""Groups of people with their own models, and strata for which scores are given: their order and names."""

ALL = "all"  # the group or stratum of everybody
SEX_NAMES = {"M": "men", "F": "women"}


# strata that every table of people has; others are looked up (`lib.stats.strata`)
TABLE_STRATA = ("sex", "site")
# strata that cohort/scans.csv has beside the table's; fields of tables/acquisition.csv are strata, too
SCREENED_STRATA = ("vendor",)


def stratum_column(name: str) -> str:
    """Return the column of a table of people that holds a stratum."""
    return name if name in TABLE_STRATA else f"stratum_{name}"


def group_position(name: str) -> tuple[int, str]:
    """Return the sorting key of groups in reading order: everybody, men, women, then further groups by name."""
    first = list(GROUP_NAMES)
    return (first.index(name), "") if name in first else (len(first), name)


def stratum_name(column: str, value: str) -> str:
    """Return the stratum of the people with a value in a column, such as `sex=M`."""
    return f"{column}={value}"


GROUP_NAMES = {ALL: "everybody", "male": SEX_NAMES["M"], "female": SEX_NAMES["F"]}
STRATUM_NAMES = {ALL: "everybody"} | {stratum_name("sex", sex): name for sex, name in SEX_NAMES.items()}
