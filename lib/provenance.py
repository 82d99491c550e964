"""Provenance of a result: digests of code and settings, versions. Cheap to import: standard library only."""

import ast
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lib.atomic import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent


def code_digest(source: str | Path, texts: Iterable[str | Path] = ()) -> str:
    """Return a digest of all `lib` code that a script (path from the project's root) reaches through imports.

    Files that it reads as `texts`, such as the templates of a page, are included byte by byte.

    Code is included as syntax trees without docstrings: editing a comment, a docstring or the layout does not
    change the digest, any other edit does. The script itself is not included, because Snakemake watches it.
    """
    digest = hashlib.sha256()
    for module in sorted(_reachable(ROOT / source)):
        digest.update(f"{module.relative_to(ROOT)} {_read_module(module)['digest']}\n".encode())
    for text in sorted(texts):
        digest.update((ROOT / text).read_bytes())
    return digest.hexdigest()[:16]


def settings_digest(settings: Mapping) -> str:
    """Return a digest of plain settings that does not depend on the order of keys."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each distribution; "absent" for one that is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def describe_software() -> dict[str, str]:
    """Return the versions of Osteoflow, Python and the packages that results depend on."""
    packages = ("snakemake", "torch", "simpleitk", "pydicom", "numpy", "scipy", "scikit-learn", "statsmodels")
    return {"osteoflow": workflow_version(), "python": platform.python_version()} | versions(packages)


def workflow_version() -> str:
    """Return the version of Osteoflow as its pyproject.toml states it."""
    for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("version"):
            return line.split('"')[1]
    raise ValueError("pyproject.toml has no line `version = ...`")


def _reachable(script: Path) -> set[Path]:
    """Return the files of all `lib` modules that `script` imports, directly or through others."""
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        for name in _read_module(waiting.pop())["imports"]:
            module = ROOT / name
            if module not in found and module.is_file():
                found.add(module)
                waiting.append(module)
    return found


@cache
def _read_module(source: Path) -> dict:
    """Return the digest of a source file's syntax tree and the `lib` modules that it may import.

    Every cluster job needs it, so the result is cached beside the byte code and, like it, is valid for one
    modification time and size of the source.
    """
    status = source.stat()
    state = [status.st_mtime_ns, status.st_size, sys.implementation.cache_tag]
    kept = source.parent / "__pycache__" / f"{source.stem}.provenance.json"
    with suppress(OSError, ValueError, KeyError):
        known = read_json(kept)
        if known["state"] == state:
            return known
    tree = ast.parse(source.read_text(encoding="utf-8"))
    read = {"state": state, "imports": _imports(tree), "digest": _tree_digest(tree)}
    if not sys.dont_write_bytecode:
        with suppress(OSError):
            write_json(kept, read)
    return read


def _imports(tree: ast.Module) -> list[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return sorted(f"{name.replace('.', '/')}.py" for name in names if name.startswith("lib."))


def _tree_digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
