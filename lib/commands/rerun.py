"""Print the files to make again so that one subject or scan is computed again from a stage on.

    snakemake ... --forcerun $(python -m lib.commands.rerun SUBJECT_OR_SCAN STAGE [STUDY_FOLDER])

Snakemake then makes everything that depends on these files again, except trained models.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.catalog.renamed import RULES
from lib.catalog.stages import STAGES, rerun_stages
from lib.cohort.scans import read_folds, read_records
from lib.errors import OsteoflowError


def files_to_rerun(name: str, stage: str, study: Path) -> list[str]:
    """Return the files of one subject or scan at a stage, relative to the study's folder.

    Raises:
        OsteoflowError: the study has no such subject or scan, or the stage has made no file for it yet.
    """
    records = _known_scans(study / "results/cohort/scans.csv")
    scans = [record["scan"] for record in records if name in (record["subject"], record["scan"])]
    if not scans:
        raise OsteoflowError(f"{name} is neither a subject nor a scan in results/cohort/scans.csv")
    batches = {row.scan: row.batch for row in read_folds(study / "results/folds/folds.csv")}
    file = STAGES[stage].file
    patterns = [file.format(scan=scan, batch=batches.get(scan, ""), folder="*/*/*") for scan in scans]
    files = [path for pattern in patterns for path in _existing(study, f"results/{pattern}")]
    if STAGES[stage].work == "batch":  # the batches of both kinds of networks lie side by side
        files = [path for path in files if _is_regression(study / path) == STAGES[stage].is_regression]
    if not files:
        raise OsteoflowError(f"{stage} has made nothing for {name} yet; run the workflow as usual")
    return files


def _known_scans(path: Path) -> Iterable[Mapping[str, str]]:
    if not path.exists():
        raise OsteoflowError(f"{path} does not exist: the study has not been screened in this folder yet")
    return read_records(path)


def _existing(study: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(study)) for path in study.glob(pattern))


def _is_regression(batch: Path) -> bool:
    """Return whether a batch was estimated by a regression."""
    return any(batch.glob("*/estimate.json"))


def _stage(name: str) -> str:
    """Return the name of a stage that can be rerun; the error for an old name gives the new one."""
    if name in RULES:
        raise argparse.ArgumentTypeError(f"{name} is now called {RULES[name]}")
    if name not in rerun_stages():
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(rerun_stages())}")
    return name


def main(arguments: list[str] | None = None) -> int:
    """Print the files, separated by spaces; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.commands.rerun", description=__doc__.split("\n")[0])
    parser.add_argument("name", help="a subject or a scan of the cohort table")
    parser.add_argument("stage", type=_stage, help=f"the first rule to rerun: {', '.join(rerun_stages())}")
    parser.add_argument("study", nargs="?", default=".", type=Path, help="the study's folder (default: here)")
    options = parser.parse_args(arguments)
    try:
        print(*files_to_rerun(options.name, options.stage, options.study))
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
