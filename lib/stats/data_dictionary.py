"""The data dictionary of a study: every column of every table, with its type, unit and meaning.

Types, units and sentences stand in docs/columns.yaml, from which docs/results-columns.md is made, too. A unit that is
part of a column's name is read from it.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from lib.catalog.bone_parts import COMPARTMENTS, TABLE_REGIONS
from lib.catalog.scales import CALIBRATED_SCALES, SCALES
from lib.errors import ConfigError

DICTIONARY_COLUMNS = ("table", "column", "type", "unit", "meaning")
DICTIONARY = "tables/data-dictionary.csv"
TYPES = ("text", "integer", "number", "yes/no", "True/False", "1/0")
PAGE_SCALE = (
    "k2hpo4"  # of the densities in the names of columns.yaml; a study of the other scale has the other name
)
SENTENCES = Path(__file__).resolve().parents[2] / "docs/columns.yaml"
_END = re.compile(r"(?P<name>.+?)(?P<folds>_fold)?_ci_(?P<end>low|high)")
_PAPER = re.compile(r"paper_(?P<name>.+)")
# end of a column's name -> unit; the first that fits holds
_UNITS: Mapping[str, str] = {
    "hu_per_mg_cm3": "HU per mg/cm3",
    "mg_cm3": "mg/cm3",
    "g_cm2": "g/cm2",
    "mm3": "mm3",
    "mm2": "mm2",
    "mm": "mm",
    "cm2": "cm2",
    "mg": "mg",
    "g": "g",
    "hu": "HU",
    "percent": "%",
    "degrees": "degrees",
    "bits": "bits",
    "mb": "MB",
    "ms": "ms",
    "mas": "mAs",
    "kvp": "kV",
    "tesla": "T",
    "seconds": "s",
    "voxels": "voxels",
}
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """What columns.yaml says.

    Attributes:
        tables: what a row of each table is, by the table's path.
        shared: a sentence for each column that means the same in all tables.
        own: sentences of columns that mean something else in one table, by its path.
        types, units: type (one of TYPES) and unit of columns, by path of the table and column; path "" is all tables.
            A column without a type is a number.
    """

    tables: Mapping[str, str]
    shared: Mapping[str, str]
    own: Mapping[str, Mapping[str, str]]
    types: Mapping[tuple[str, str], str]
    units: Mapping[tuple[str, str], str]


def read_sentences(path: Path = SENTENCES) -> Sentences:
    """Read columns.yaml.

    Raises:
        ConfigError: there is no such file, or it names a type that is not one of TYPES.
    """
    if not path.is_file():
        raise ConfigError(f"docs/{path.name} is missing: restore it from the repository (git restore docs)")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    places = {"": content, **content["tables"]}
    types, units = ({}, {})
    for kind, found in (("types", types), ("units", units)):
        for table, place in places.items():
            for value, names in place.get(kind, {}).items():
                found |= {(table, name): value for name in names}
    if unknown := set(types.values()) - set(TYPES):
        raise ConfigError(
            f"docs/columns.yaml: types are {', '.join(TYPES)}; got {', '.join(sorted(unknown))}"
        )
    return Sentences(
        tables={name: " ".join(table["row"].split()) for name, table in content["tables"].items()},
        shared=content["columns"],
        own={name: table.get("columns", {}) for name, table in content["tables"].items()},
        types=types,
        units=units,
    )


def explain_column(table: str, column: str, sentences: Sentences) -> str:
    """Return what a column holds; "" where no sentence says it. Ends of intervals explain themselves."""
    if said := sentences.own.get(table, {}).get(column) or sentences.shared.get(column):
        return " ".join(said.split())
    if found := _END.fullmatch(column):
        end = "Lower" if found["end"] == "low" else "Upper"
        among = ", for models trained this way (folds left out)" if found["folds"] else ""
        return f"{end} end of the interval of `{found['name']}`{among}."
    if found := _PAPER.fullmatch(column):
        return f"`{found['name']}` as the article printed it; only beside a cohort of real people."
    return ""


def column_type(table: str, column: str, sentences: Sentences) -> str:
    """Return the type of a column, one of TYPES."""
    return sentences.types.get((table, column)) or sentences.types.get(("", column), "number")


def column_unit(table: str, column: str, sentences: Sentences) -> str:
    """Return the unit of a column; empty without one. The ends of an interval have the unit of its number."""
    name = found["name"] if (found := _END.fullmatch(column)) else column
    if told := sentences.units.get((table, name)) or sentences.units.get(("", name)):
        return "" if told == "none" else told
    if column_type(table, name, sentences) not in ("number", "integer"):
        return ""
    return next((unit for end, unit in _UNITS.items() if f"_{name}".endswith(f"_{end}")), "")


def data_dictionary(
    headers: Mapping[str, Iterable[str]],
    structures: Iterable[str],
    added: Collection[str],
    sentences: Sentences,
) -> pd.DataFrame:
    """Return DICTIONARY_COLUMNS: for each table a row on the table itself (without a column), and one a column.

    Args:
        headers: the columns of each table of the study, by its path below results/.
        structures: the study's structures.
        added: columns of the cohort table that the study carries along (`cohort_columns`).
        sentences: what columns.yaml says.

    Raises:
        ConfigError: columns.yaml does not explain a table or a column.
    """
    names, rows = [name.replace("-", "_") for name in structures], []
    for table, columns in headers.items():
        if table not in sentences.tables:
            raise ConfigError(
                f"docs/columns.yaml does not explain the table {table}; add what a row of it is"
            )
        patterns = _patterns(sentences.own[table], names)
        rows.append({"table": table, "meaning": _plain(sentences.tables[table])})
        rows += [
            {"table": table, "column": column} | _entry(table, column, patterns, added, sentences)
            for column in columns
        ]
    return pd.DataFrame(rows, columns=list(DICTIONARY_COLUMNS)).fillna("")


def _entry(
    table: str, column: str, patterns: Mapping[str, re.Pattern], added: Collection[str], sentences: Sentences
) -> dict:
    """Return type, unit and meaning of one column of a study."""
    name, told, scale = _named(column, patterns)
    meaning = explain_column(table, name, sentences).replace("{scale}", scale)
    kind, unit = (f(table, name, sentences) for f in (column_type, column_unit))
    if not meaning and column in added:
        meaning, kind, unit = "Column of the cohort table, carried along (`cohort_columns`).", "text", ""
    if not meaning:
        raise ConfigError(f"docs/columns.yaml does not explain column {column} of {table}; add a sentence")
    return {"type": kind, "unit": unit, "meaning": _plain(": ".join(filter(None, (told, meaning))))}


def _named(column: str, patterns: Mapping[str, re.Pattern]) -> tuple[str, str, str]:
    """Return a column's name in columns.yaml, in words what stands in place of its braces, and its scale."""
    for name, pattern in patterns.items():
        if found := pattern.fullmatch(column):
            parts = found.groupdict()
            words = [parts[part] for part in ("structure", "region") if parts.get(part)]
            if "compartment" in parts:
                words.append(parts["compartment"] or "integral")
            return name, ", ".join(word.replace("_", " ") for word in words), parts.get("scale") or ""
    for scale in SCALES:
        column = column.replace(f"_{scale}_mg_cm3", f"_{PAGE_SCALE}_mg_cm3")
    return column, "", ""


def _patterns(own: Mapping[str, str], structures: Iterable[str]) -> dict[str, re.Pattern]:
    """Return what fits each name with braces of a table, those with the fewest braces first."""
    parts = {
        "_{compartment}": rf"(?:_(?P<compartment>{'|'.join(COMPARTMENTS[1:])}))?",
        "{structure}": rf"(?P<structure>{_any(structures)})",
        "{region}": rf"(?P<region>{_any(TABLE_REGIONS.values())})",
        "{scale}": rf"(?P<scale>{_any(CALIBRATED_SCALES)})",
    }
    found = {}
    for name in sorted((name for name in own if "{" in name), key=lambda name: name.count("{")):
        text = name
        for part, pattern in parts.items():
            text = text.replace(part, pattern)
        found[name] = re.compile(text, re.IGNORECASE)
    return found


def _any(names: Iterable[str]) -> str:
    """Return a pattern of one of these names, long ones first."""
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


def _plain(text: str) -> str:
    """Return a sentence of the documentation without its marks."""
    return _LINK.sub(r"\1", text).replace("`", "")
