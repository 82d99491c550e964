"""Checking the configuration against its schema, with errors that name the key and what is allowed."""

import difflib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress

import yaml
from jsonschema import Draft202012Validator, ValidationError

from lib.errors import ConfigError


def read_words(settings: Mapping, schema: Mapping) -> dict:
    """Return settings with the words of a command line read as the schema means them.

    Snakemake hands `--config partial=true` over as the text "true", `--config model=` as nothing at all, and all that
    stands in `--config "dicom={correct_tilt: true}"` as texts. What the schema takes as it is stays as it is.
    """
    parts, definitions = schema.get("properties", {}), {"$defs": schema.get("$defs", {})}
    return {key: _read(value, parts.get(key, {}) | definitions) for key, value in settings.items()}


def _read(value: object, schema: Mapping) -> object:
    if isinstance(value, Mapping) and "properties" in schema:
        return read_words(value, schema)
    valid = Draft202012Validator(schema).is_valid
    meant = "" if value is None else _as_yaml(value)
    return meant if not valid(value) and valid(meant) else value


def in_order_of(settings: Mapping, defaults: Mapping) -> dict:
    """Return the same settings with their keys in the order of `defaults`, at every level; further keys come last.

    Snakemake takes two mappings for different if their keys are written in another order.
    """
    keys = sorted(settings, key=lambda key: list(defaults).index(key) if key in defaults else len(defaults))
    return {
        key: in_order_of(settings[key], defaults[key])
        if isinstance(settings[key], Mapping) and isinstance(defaults.get(key), Mapping)
        else settings[key]
        for key in keys
    }


def _as_yaml(value: object) -> object:
    """Return what texts mean in a YAML file, in lists and mappings too."""
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
    """Return if `settings` follow `schema`.

    Raises:
        ConfigError: they do not; the text lists every key that is unknown, of the wrong type or out of range.
    """
    errors = sorted(Draft202012Validator(schema).iter_errors(settings), key=lambda error: list(error.path))
    lines = [line for error in errors for line in _explain(error)]
    if lines:
        text = "\n".join(f"  {line}" for line in lines)
        count = f"{len(lines)} problem" + ("s" if len(lines) > 1 else "")
        raise ConfigError(f"configuration: {count}; nothing was run.\n{text}")


def _explain(error: ValidationError) -> Iterable[str]:
    key = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for name in sorted(set(error.instance) - set(known)):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
            yield f"{key}: unknown key {name!r}; {hint}"
    elif error.validator == "required":
        described = f" ({error.schema['description']})" if "description" in error.schema else ""
        yield f"{key}: {error.message}{described}"
    else:
        yield f"{key}: {json.dumps(error.instance, default=str)}; {_allowed(error)}"


def _allowed(error: ValidationError) -> str:
    """Say what is allowed, in words, with the description that the schema gives for the key."""
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
