"""The command `osteoflow`: begin, check, run and share a study.

Each of its commands prints the command of Snakemake or Python that it runs, and ends with its exit status.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.commands.shown_commands import (
    PROJECT,
    WORKSTATION,
    Asked,
    module,
    program,
    run_shown,
    snakemake_arguments,
    typed,
)
from lib.errors import ConfigError, OsteoflowError

REPORT = "results/report/index.html"
_STUDY = "the study's folder (default: here)"


def main(arguments: Sequence[str], *, has_display: bool) -> int:
    """Run a command; return the exit status of what it ran.

    Args:
        arguments: what was typed after `osteoflow`.
        has_display: whether a window can be opened.
    """
    parser = _parser()
    options, further = parser.parse_known_args(arguments)
    if further and not options.takes_further:
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    try:
        if options.command is open_report:
            return open_report(options.study.absolute(), has_display)
        return options.command(options, further)
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1


def begin(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Write settings and table of a new study."""
    study = options.study.absolute()
    if study == PROJECT:
        raise ConfigError(
            "a study has a folder of its own, apart from the code: name one with --study, such as --study /data/hips"
        )
    chosen = ["--modality", options.modality] if options.modality else []
    return run_shown(module("init", str(options.folder.absolute()), "--study", str(study), *chosen))


def check(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Check machine, settings and table, then estimate hours and disk."""
    words = snakemake_arguments(_asked(options, further))
    gpus = ["--gpus", str(options.gpus)] if options.gpus else []
    return run_shown(module("doctor", *words), module("estimate", *gpus, *words))


def run(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Run the workflow."""
    return run_shown([program("snakemake"), *snakemake_arguments(_asked(options, further))])


def show_status(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Tell how far each stage is."""
    return run_shown(module("status", *snakemake_arguments(_asked(options, further))))


def recover_run(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Continue a run that was killed."""
    words = snakemake_arguments(_asked(options, further))
    snakemake = program("snakemake")
    return run_shown(module("recover", *words), [snakemake, *words, "--unlock"], [snakemake, *words])


def rerun_from(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Compute one subject or scan again from a stage on."""
    words = snakemake_arguments(_asked(options, further))
    find = module("rerun", "--", options.subject, options.stage, str(options.study.absolute()))
    print(typed(find), flush=True)
    found = subprocess.run(find, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        return found.returncode
    return run_shown([program("snakemake"), *words, "--forcerun", *found.stdout.split()])


def open_report(study: Path, has_display: bool) -> int:
    """Print the path of the report, and open it where there is a display."""
    report = study / REPORT
    if not report.is_file():
        raise ConfigError(
            f"{report} does not exist yet: `osteoflow run` makes it, `osteoflow status` tells how far it is"
        )
    print(report)
    if not has_display:
        return 0
    if shutil.which("xdg-open"):
        return run_shown(["xdg-open", str(report)])
    return run_shown([program("python"), "-m", "webbrowser", "-t", report.as_uri()])


def share(options: argparse.Namespace, further: Sequence[str]) -> int:
    """Pack the report into a zip file."""
    study = options.study.absolute()
    name = options.file or Path(f"{study.name or 'study'}-report.zip")
    table = ["--table", str(options.table.absolute())] if options.table else []
    return run_shown(module("share", str(study), str(name.absolute()), *table))


def _asked(options: argparse.Namespace, further: Sequence[str]) -> Asked:
    return Asked(
        folder=options.study.absolute(),
        overlays=options.configfile,
        profile=options.profile,
        cores=options.cores,
        further=further,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="osteoflow",
        description="Begin, check, run and share a study. Each command prints what it runs: Snakemake, or a program "
        "of lib.commands. docs/command.md has examples.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable, *, takes_further: bool = False) -> argparse.ArgumentParser:
        words = command.__doc__.split("\n")[0].rstrip(".")
        end = (
            "All further arguments are those of snakemake, such as --dry-run or a target."
            if takes_further
            else ""
        )
        one = commands.add_parser(
            name, help=words, description=f"{words}. {end}", allow_abbrev=False, conflict_handler="resolve"
        )
        one.set_defaults(command=command, takes_further=takes_further)
        if takes_further:
            _add_study(one)
        else:
            one.add_argument("--study", type=Path, default=Path(), metavar="DIR", help=_STUDY)
        return one

    new = add("init", begin)
    new.add_argument(
        "folder", type=Path, metavar="FOLDER", help="the scans: DICOM series, archives or image files"
    )
    new.add_argument(
        "--modality", choices=("CT", "MR"), help="which scans to take (default: the most frequent)"
    )
    add("check", check, takes_further=True).add_argument(
        "--gpus", type=int, default=0, help="GPUs that the estimate counts on (default: 0)"
    )
    add("run", run, takes_further=True)
    add("status", show_status, takes_further=True)
    add("recover", recover_run, takes_further=True)
    again = add("rerun", rerun_from, takes_further=True)
    again.add_argument("subject", metavar="SUBJECT", help="a subject or a scan of the cohort table")
    again.add_argument("stage", metavar="FROM", help="the first rule to run again, such as crop_image")
    add("open", open_report)
    packed = add("share", share)
    packed.add_argument(
        "--table", type=Path, help="the cohort table (default: the one that study.yaml names)"
    )
    packed.add_argument(
        "file", nargs="?", type=Path, metavar="FILE.zip", help="default: STUDY-report.zip, here"
    )
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which study, and where it runs."""
    parser.add_argument("--study", "--directory", "-d", type=Path, default=Path(), metavar="DIR", help=_STUDY)
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="settings (default: study.yaml in the study's folder)",
    )
    parser.add_argument(
        "--profile", default=WORKSTATION, help="where jobs run, such as slurm (default: this machine)"
    )
    parser.add_argument(
        "--cores", "-c", default="", metavar="N", help="cores of this machine to use (default: all)"
    )
