"""Functions that several files of rules share: digests of code, files of pages, memory and time."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from lib.provenance import code_digest
from snakemake.iocontainers import Wildcards


@cache
def code_of(rule: str, *texts: Path) -> str:
    """Return a digest of all lib code that a rule's script reaches, and of texts. A change reruns its jobs."""
    return code_digest(f"scripts/{rule}.py", texts)


def page_files(*patterns: str) -> list[Path]:
    """Return the templates, styles and scripts of a page that match the patterns below report/."""
    folder = Path(workflow.basedir, "report")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def configured(network: str) -> dict:
    """Return the settings that shape a training, as the configuration writes them."""
    return {
        "architecture": config["networks"][network],
        "train": config["train"],
        "intensity": config["intensity"],
    }


def configured_regression(network: str) -> dict:
    """Return the settings that shape a training of the regression, as the configuration writes them."""
    section = config["regression"]
    return {
        "architecture": section["networks"][network],
        **{key: section[key] for key in ("train", "crop", "targets")},
    }


def one_of(names: Iterable[str]) -> str:
    """Return the pattern of a wildcard that is one of these names; of no names, one that nothing fits."""
    return "|".join(names) or "(?!)"


def optional(path: str, present: object) -> str | list:
    """Return the input or output `path` if it is present, else none."""
    return path if present else []


def regression_of_crops() -> dict:
    """Return the settings of the regression by which crops are cut; nothing else of it changes them."""
    section = config["regression"]
    return {key: section[key] for key in ("targets", "crop")} | {"networks": {}} if REGRESSIONS else {}


def window_pixel_mm() -> float | None:
    """Return the pixel size (mm) in which the crop's window is counted; None: the scan's own."""
    inplane_mm = config["resample"]["inplane_mm"]
    return None if inplane_mm == "native" else inplane_mm


def grow(first: int) -> Callable[[Wildcards, int], int]:
    """Return a request of memory (MB) or time (minutes) that doubles at each new attempt.

    First requests of memory are at least twice what was measured at full size (lib/commands/planning/unit_costs.csv).
    """
    return lambda wildcards, attempt: first * 2 ** (attempt - 1)
