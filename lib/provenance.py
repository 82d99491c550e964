"""What a result was made with: code digests, settings digests, versions. Cheap to import: standard library only."""

import ast
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_digest(source: str | Path, texts: Iterable[str | Path] = ()) -> str:
    """Return a digest of all `lib` code that a script (path from the project's root) reaches through imports.

    Files that it reads as `texts`, such as the templates of a page, count with every byte.

    It is taken over syntax trees without docstrings: editing a comment, a docstring or the layout changes
    nothing, any other edit does. The script's own text is not in it, because Snakemake watches that itself.
    """
    digest = hashlib.sha256()
    for module in sorted(_reachable(ROOT / source)):
        digest.update(str(module.relative_to(ROOT)).encode())
        digest.update(_tree_text(module).encode())
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
    waiting = list(_imported(script))
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_imported(module))
    return found


@cache
def _imported(source: Path) -> tuple[Path, ...]:
    names = set()
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    files = (ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names if name.startswith("lib."))
    return tuple(file for file in files if file.is_file())


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


@cache
def _tree_text(source: Path) -> str:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]
    return ast.dump(tree)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
