"""Checks of the configuration: first its files as typed, then the merged settings against the schema.

Errors name the file and line, or the key, and what is allowed.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError

from lib.catalog import renamed
from lib.errors import ConfigError

# numbers that YAML reads in an unexpected base: octal, and sexagesimal (1:30)
_ODD_NUMBER = re.compile(r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_TEXT_STYLES = ("'", '"', "|", ">")
_MERGE_KEY = "<<"


def check_texts(paths: Iterable[str | Path]) -> None:
    """Check that configuration files mean what they appear to mean.

    Raises:
        ConfigError: a file is missing or not YAML; a key appears twice, of which YAML keeps the last; or YAML reads a
            number as another one. The text lists all with file and line.
    """
    _raise_all([f"{Path(path).name}, {found}" for path in paths for found in _misread(_read_file(path))])


def check_words(entries: Iterable[str]) -> None:
    """Check that no word after --config overrides another: a section given twice, or a key twice in one section.

    Raises:
        ConfigError: one does; the text lists all.
    """
    lines, given = [], set()
    for name, text in (entry.split("=", 1) for entry in entries if "=" in entry):
        if not text.lstrip().startswith("{"):
            continue
        if name in given:
            lines.append(f"--config: {name} is given twice, and the first value would be lost; give it once")
        given.add(name)
        with suppress(yaml.YAMLError):  # reported by the schema check
            node = yaml.compose(text, yaml.CSafeLoader)
            # numbers are read as typed there, see `_as_yaml`
            lines += [f"--config, {found}" for found in _misread_node(node, (name,), {}, numbers=False)]
    _raise_all(lines)


def check_rules(typed: Iterable[str]) -> None:
    """Check that no rule is called by its former name.

    Args:
        typed: words of Snakemake's command line, as `name` or `--option=name`, and rules that options name.

    Raises:
        ConfigError: with the new name of each.
    """
    names = dict.fromkeys(word.partition("=")[2] if word.startswith("--") else word for word in typed)
    _raise_all(
        [
            f"rule {name} is now called {renamed.RULES[name]}; write {renamed.RULES[name]}"
            for name in names
            if name in renamed.RULES
        ]
    )


def _read_file(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"the configuration file {path} does not exist (it was looked for at {Path(path).absolute()}); nothing "
            "was run. All words after --configfile are read as files: put targets before it, or after --"
        ) from None
    except (OSError, ValueError):
        raise ConfigError(
            f"the configuration file {path} cannot be read as UTF-8 text; save it as UTF-8"
        ) from None


def _misread(text: str) -> Iterator[str]:
    """Yield what YAML would drop, or read differently from how it is written."""
    try:
        root = yaml.compose(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        with suppress(ValueError):
            json.loads(text)  # which Snakemake accepts, too
            return
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        yield f"{where}this is not YAML ({getattr(error, 'problem', None) or 'damaged'}); indent with spaces"
        return
    if root is not None and not isinstance(root, yaml.MappingNode):
        yield "line 1: no keys found; write `key: value`"
    elif root is not None:
        yield from _misread_node(root, (), {})


def _misread_node(
    node: yaml.Node, keys: tuple[str, ...], seen: dict[int, bool], *, numbers: bool = True
) -> Iterator[str]:
    """Yield the problems of a node.

    Args:
        node: the node, which is checked with everything in it.
        keys: the keys that lead to it.
        seen: whether each node met so far has been read completely.
        numbers: check numbers, too.
    """
    if id(node) in seen:  # an alias
        if not seen[id(node)]:
            yield f"line {node.start_mark.line + 1}: {'.'.join(keys)} contains itself (*); write out its content"
        return
    seen[id(node)] = False
    yield from _misread_parts(node, keys, seen, numbers)
    seen[id(node)] = True


def _misread_parts(
    node: yaml.Node, keys: tuple[str, ...], seen: dict[int, bool], numbers: bool
) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _misread_node(item, keys, seen, numbers=numbers)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            within = (*keys, name)
            if name in lines and name != _MERGE_KEY:
                yield (
                    f"line {line}: {'.'.join(within)} is already in line {lines[name]}, whose value would be lost; "
                    "write it once"
                )
            lines.setdefault(name, line)
            yield from _misread_node(value, within, seen, numbers=numbers)
    elif numbers and node.style not in _TEXT_STYLES and _ODD_NUMBER.fullmatch(node.value):
        read = yaml.safe_load(node.value)
        if not isinstance(read, str):
            yield (
                f"line {node.start_mark.line + 1}: {'.'.join(keys)}: YAML reads {node.value} as {read}; write the "
                "number plainly, or in quotes if it is a name"
            )


def read_words(settings: Mapping, schema: Mapping) -> dict:
    """Return settings with the words of a command line converted to the types of the schema.

    Snakemake passes `--config partial=true` as the text "true", `--config model=` as None, and all values in
    `--config "dicom={correct_tilt: true}"` as texts. Values that the schema accepts are not changed, except whole
    numbers written as 3e2.
    """
    parts, definitions = schema.get("properties", {}), {"$defs": schema.get("$defs", {})}
    return {key: _read(value, parts.get(key, {}) | definitions) for key, value in settings.items()}


def _read(value: object, schema: Mapping) -> object:
    if isinstance(value, Mapping) and "properties" in schema:
        return read_words(value, schema)
    valid = Draft202012Validator(schema).is_valid
    meant = "" if value is None else _as_yaml(value)
    read = meant if not valid(value) and valid(meant) else value
    is_whole = schema.get("type") == "integer" and isinstance(read, float) and read.is_integer()
    return int(read) if is_whole else read


def keep_names(settings: Mapping, schema: Mapping, entries: Iterable[str]) -> dict:
    """Return settings in which names from the command line are as typed: `study=001` is not a number.

    Args:
        settings: as Snakemake has read them.
        schema: of the settings.
        entries: words after --config, KEY=VALUE.
    """
    typed = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    names = {key for key, part in schema["properties"].items() if part.get("type") == "string"}
    return {
        key: typed[key] if key in names & typed.keys() and not isinstance(value, str) else value
        for key, value in settings.items()
    }


def in_order_of(settings: Mapping, defaults: Mapping) -> dict:
    """Return the settings with keys in the order of `defaults` at every level; further keys come last.

    Snakemake treats two mappings as different if the order of their keys differs.
    """
    keys = sorted(settings, key=lambda key: list(defaults).index(key) if key in defaults else len(defaults))
    return {
        key: in_order_of(settings[key], defaults[key])
        if isinstance(settings[key], Mapping) and isinstance(defaults.get(key), Mapping)
        else settings[key]
        for key in keys
    }


def in_use(entries: Mapping, overlay: Mapping | None) -> dict:
    """Return the entries of `groups` or `networks` that a study uses.

    Args:
        entries: all entries by name, merged from config.yaml and the overlays.
        overlay: the entries of overlays and command line. If they name any, only these are used; an entry that is
            null is left out.
    """
    named = set(overlay) if overlay else set(entries)
    return {name: entry for name, entry in entries.items() if name in named and entry is not None}


def _as_yaml(value: object) -> object:
    """Return texts as YAML reads them, in lists and mappings too."""
    if isinstance(value, Mapping):
        return {key: _as_yaml(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_as_yaml(part) for part in value]
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return float(value) if "e" in value.lower() else int(value)
    with suppress(yaml.YAMLError):
        return yaml.safe_load(value)
    return value


def check_settings(settings: Mapping, schema: Mapping) -> None:
    """Check `settings` against `schema`.

    Raises:
        ConfigError: they do not conform; the text lists every key that is unknown, of the wrong type or out of range.
    """
    errors = Draft202012Validator(schema).iter_errors(settings)
    ordered = sorted(errors, key=lambda error: [str(part) for part in error.path])
    endless = [f"{key}: {value}; expected a finite number" for key, value in _endless(settings)]
    _raise_all([line for error in ordered for line in _explain(error, schema)] + endless)


def _endless(settings: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield name and value of settings that are NaN or infinite, which the limits of a schema do not refuse."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _endless(value, f"{prefix}{key}.")
        else:
            numbers = value if isinstance(value, list) else [value]
            yield from (
                (prefix + str(key), number)
                for number in numbers
                if isinstance(number, float) and not math.isfinite(number)
            )


def _raise_all(lines: list[str]) -> None:
    if lines:
        text = "\n".join(f"  {line}" for line in lines)
        count = f"{len(lines)} problem" + ("s" if len(lines) > 1 else "")
        raise ConfigError(f"configuration: {count}; nothing was run.\n{text}")


def _explain(error: ValidationError, schema: Mapping) -> Iterable[str]:
    key = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for name in sorted(set(error.instance) - set(known), key=str):
            yield f"{key}: unknown key {name!r}; {_advice_on_key(name, error.instance[name], known, schema)}"
    elif error.validator == "required":
        described = f" ({error.schema['description']})" if "description" in error.schema else ""
        yield f"{key}: {error.message}{described}"
    else:
        yield f"{key}: {_shown(error.instance)}; {_allowed(error)}{_advice_on_type(error)}"


def _shown(value: object) -> str:
    try:
        return json.dumps(value, default=str)
    except TypeError:  # keys that are not texts
        return str(value)


def _advice_on_key(name: object, value: object, known: Mapping, schema: Mapping) -> str:
    """Return a hint on what an unknown key may have meant."""
    if name in renamed.SETTINGS:
        return f"it is now {renamed.SETTINGS[name]}"
    if isinstance(name, bool):
        return "YAML reads yes, no, on and off as true and false; write such a name in quotes"
    if re.fullmatch(r"\d+", str(name)) and value is None:
        return "decimals are written with a point, such as 60.5"
    if not isinstance(name, str):
        return f"keys are names; known keys: {', '.join(sorted(known))}"
    near = difflib.get_close_matches(re.sub(r"[\s-]", "_", name.lower()), known, n=1)
    elsewhere = [path for path in _paths(schema) if path.split(".")[-1] == name]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    if near:
        return f"did you mean {near[0]}?"
    return f"known keys: {', '.join(sorted(known))}"


def _paths(schema: Mapping, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of each setting."""
    for name, part in schema.get("properties", {}).items():
        yield prefix + name
        yield from _paths(part, f"{prefix}{name}.")


def _advice_on_type(error: ValidationError) -> str:
    """Return a hint if YAML understood a value differently from what was probably meant."""
    if error.validator == "uniqueItems":
        return "; each of them once"
    if error.validator != "type":
        return ""
    if error.schema["type"] == "array" and isinstance(error.instance, str):
        return "; write a list: [one, two]"
    if error.schema["type"] == "string" and not isinstance(error.instance, list | Mapping):
        return "; put it in quotes"
    if error.schema["type"] == "object" and error.instance is None:
        return "; indent its keys below it"
    if error.schema["type"] in ("number", "integer") and re.fullmatch(r"[-+]?\d+,\d+", str(error.instance)):
        is_whole = error.schema["type"] == "integer"
        return "; write it without a comma" if is_whole else "; write decimals with a point"
    return ""


def _allowed(error: ValidationError) -> str:
    """Return in words what is allowed, with the schema's description of the key."""
    schema = error.schema
    parts = []
    if "enum" in schema:
        parts.append("expected one of " + ", ".join(json.dumps(value) for value in schema["enum"]))
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        parts.append("expected " + " or ".join(types))
    if "not" in schema:
        parts.append("not allowed here")
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts += [f"{sign} {schema[name]:g}" for name, sign in bounds.items() if name in schema]
    counts = {"minItems": "at least", "maxItems": "at most"}
    parts += [f"{words} {schema[name]} items" for name, words in counts.items() if name in schema]
    if error.validator == "anyOf" and "description" in schema:
        return f"expected {schema['description']}"
    allowed = ", ".join(parts) or error.message
    return f"{allowed} ({schema['description']})" if "description" in schema else allowed
