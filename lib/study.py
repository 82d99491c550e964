"""Which study a folder of results belongs to: another study in the same folder is refused."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from lib.atomic import read_json, write_json
from lib.errors import ConfigError


def study_identity(*, study: str, table: str, synthetic: bool, model: str) -> dict:
    """Return what makes a study this study.

    Args:
        study: its name; empty: the file name of the cohort table.
        table: path of the cohort table.
        synthetic: True for a cohort that the workflow itself makes.
        model: folder of finished models, empty where the study trains its own.

    Paths enter as digests of where they stand seen from the study's folder, so that a study may be moved as a
    whole and no path of the source appears in the results.
    """
    return {
        "study": study or Path(table).stem,
        "synthetic": synthetic,
        "table": _path_digest(table),
        "model": _path_digest(model) if model else "trained here",
    }


def check_study(path: str | Path, identity: Mapping) -> None:
    """Return if the folder is new or belongs to this study.

    Raises:
        ConfigError: `path` (study.json) names another study.
    """
    if not Path(path).exists():
        return
    former = read_json(path)
    differing = [key for key, value in identity.items() if former.get(key) != value]
    if differing:
        raise ConfigError(
            f"results/ belongs to the study {former.get('study')!r}, not to {identity['study']!r} "
            f"(different: {', '.join(differing)}). Nothing was run. Give each study its own folder with "
            "--directory STUDY; to give this one up, remove its results/ first"
        )


def write_study(path: str | Path, identity: Mapping) -> None:
    """Write study.json unless it is there already."""
    if not Path(path).exists():
        write_json(path, identity)


def _path_digest(path: str) -> str:
    return hashlib.sha256(os.path.relpath(path).encode()).hexdigest()[:16]
