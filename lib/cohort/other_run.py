"""Another run of a study, to compare with. Standard library only (read at each parse)."""

from pathlib import Path

from lib.errors import ConfigError

_PREDICTION = ("scan", "structure", "group", "network", "members", "protocol")
# the tables that a comparison reads, with the required columns of each
NEEDED = {
    "tables/volumes.csv": (*_PREDICTION, "predicted_mm3", "otsu_threshold", "flags"),
    "tables/metrics.csv": (*_PREDICTION, "reference_mm3", "dsc", "hd95_mm"),
    "tables/flow.csv": ("scan", "subject", "set", "fold", "verdict"),
}


def find_results(other: str, own: str | Path) -> str:
    """Return the results folder of another run.

    Args:
        other: its study's folder, or the results folder itself.
        own: results folder of this study.

    Raises:
        ConfigError: the folder does not exist, is this study's, or does not hold the tables and columns needed.
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
    lacking = [f"{name}: {', '.join(columns)}" for name in NEEDED if (columns := _lacking(results, name))]
    if lacking:
        raise ConfigError(
            f"other: tables of {other} lack columns ({'; '.join(lacking)}); the version that wrote them is too old "
            "to be compared. Run that study again with this version, in a copy of its folder"
        )
    return str(results)


def _lacking(results: Path, name: str) -> list[str]:
    with open(results / name, encoding="utf-8") as table:
        header = table.readline().strip().split(",")
    return [column for column in NEEDED[name] if column not in header]
