"""Write settings (study.yaml) and cohort table (cohort.csv) of a new study from a folder of scans.

python -m lib.commands.init FOLDER --study STUDY
"""

import argparse
import random
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.commands.shown_commands import PROJECT
from lib.errors import OsteoflowError

NEXT = """
Written: {study}/study.yaml and {study}/cohort.csv
Next:
  1. read both files: correct what was guessed, and fill in what is missing (docs/cohort.md)
  2. {osteoflow} check --study {quoted}
  3. {osteoflow} run --study {quoted}"""


def next_steps(study: Path) -> str:
    """Return in words what to do with a new study, with commands that can be pasted."""
    osteoflow = "osteoflow" if shutil.which("osteoflow") else shlex.quote(str(PROJECT / "osteoflow"))
    return NEXT.format(study=study, quoted=shlex.quote(str(study)), osteoflow=osteoflow)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found and what to do next; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.commands.init", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the scans: DICOM series, archives or image files")
    parser.add_argument("--study", type=Path, default=Path(), help="the study's folder (default: here)")
    parser.add_argument("--modality", choices=("CT", "MR"), default="", help="which scans to take")
    options = parser.parse_args(arguments)
    # after parsing: it loads numpy, pydicom and SimpleITK
    from lib.commands.beginning.begin_study import begin_study

    try:
        told = begin_study(options.folder, options.study, options.modality, random.SystemRandom())
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"{options.study} cannot be written ({error.strerror}); give another folder with --study",
            file=sys.stderr,
        )
        return 1
    print(*told, next_steps(options.study), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
