"""Pseudonyms of people and scans; only the holder of the study's secret can re-identify them. Standard library only.

A pseudonym is the HMAC-SHA256 (RFC 2104) of the id with the secret, cut to 16 hex digits. The probability that any
two of 20,000 people share one is 1 in 10^11.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.atomic import whole_file
from lib.errors import ConfigError, ModelError

SECRET_BYTES = 32
HEX_DIGITS = 16
KEY_TEXT = "name of the key"  # cannot be an id, because ids contain no blank


def write_secret(path: str | Path) -> None:
    """Write a new secret (32 random bytes, mode 0600), whole or not at all, unless there is one already."""
    if Path(path).exists():
        return
    with whole_file(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))


def read_secret(path: str | Path) -> bytes:
    """Read a secret written by `write_secret`.

    Raises:
        ConfigError: it is missing, may not be read, or was changed.
    """
    name = Path(path).name
    try:
        secret = Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{name} is missing; it is made at the start of a run (without --no-hooks): start the run again"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read ({error.strerror}); run as the user who made this study, or have "
            "them give you permission to read it"
        ) from None
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{name} is damaged: expected {SECRET_BYTES} bytes, got {len(secret)}; restore it from a "
            "copy. If there is none, remove it: a new one is made, which no finished model can be linked by"
        )
    return secret


def pseudonym(identifier: str, secret: bytes) -> str:
    """Return the pseudonym (16 hex digits) of a person's or a scan's id."""
    return hmac.new(secret, identifier.encode(), hashlib.sha256).hexdigest()[:HEX_DIGITS]


def pseudonyms(identifiers: Iterable[str], secret: bytes) -> list[str]:
    """Return the pseudonyms of different ids, sorted, so that they do not reveal the order of the ids."""
    return sorted({pseudonym(identifier, secret) for identifier in identifiers})


def key_of(secret: bytes) -> str:
    """Return a fingerprint that identifies a secret without revealing it."""
    return pseudonym(KEY_TEXT, secret)


def matching_secret(metadata: Mapping, paths: Iterable[str | Path]) -> bytes | None:
    """Return the secret that a model's pseudonyms were made with.

    Args:
        metadata: of the model, content of its run.json.
        paths: files that may hold it. Those that are missing, unreadable or damaged are skipped.

    Returns:
        The secret, or None if the secret of the study that trained the model is not among the files.
    """
    for path in paths:
        try:
            secret = read_secret(path)
        except ConfigError:
            continue
        if _is_key(metadata, secret):
            return secret
    return None


def trained_on(metadata: Mapping, subject: str, secret: bytes) -> bool:
    """Return whether a model was trained on a person.

    Args:
        metadata: of the model: content of its run.json, or what `read_model` returns.
        subject: id of the person in the study that trained the model.
        secret: of that study.

    Raises:
        ModelError: the model's pseudonyms were made with another secret, so nobody can be recognised.
    """
    if not _is_key(metadata, secret):
        raise ModelError(
            "this secret is not the one of the study that trained the model; give the study.secret beside its results"
        )
    return pseudonym(subject, secret) in metadata["people"]["training"]["pseudonyms"]


def _is_key(metadata: Mapping, secret: bytes) -> bool:
    return hmac.compare_digest(metadata["pseudonym_key"], key_of(secret))
