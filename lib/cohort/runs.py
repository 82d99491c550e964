"""Another run of a study, to compare with. Standard library only (read at each parse)."""

from pathlib import Path

from lib.errors import ConfigError

NEEDED = ("tables/volumes.csv", "tables/metrics.csv", "tables/flow.csv")


def find_results(other: str, own: str | Path) -> str:
    """Return the results folder of another run.

    Args:
        other: its study's folder, or the results folder itself.
        own: results folder of this study.

    Raises:
        ConfigError: there is none, it is this one, or it holds no tables.
    """
    folder = Path(other)
    if not folder.is_dir():
        raise ConfigError(
            f"other: there is no folder {other}; give another study's folder or its results folder"
        )
    results = folder / "results" if (folder / "results").is_dir() else folder
    if Path(own).exists() and results.samefile(own):
        raise ConfigError(f"other: {other} is this study itself; give another one")
    missing = [name for name in NEEDED if not (results / name).is_file()]
    if missing:
        raise ConfigError(
            f"other: {other} holds no {', '.join(missing)}; run it to its end first (with --config partial=true if "
            "scans failed)"
        )
    return str(results)
