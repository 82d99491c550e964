"""A study's folder: which study it belongs to, which paths are allowed, and a lock for one run at a time."""

import fcntl
import hashlib
import logging
import os
import shlex
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from lib.atomic import read_json, write_json
from lib.errors import ConfigError

logger = logging.getLogger("osteoflow.study")

COMPARISON = "network_comparison"  # key of study.json
SLURM_EXECUTOR = "slurm-arrays"  # the plugin in plugins/
# what a shell interprets even between double quotes, and the quotes themselves
SHELL_SIGNS = frozenset("\"'$`\\")


def study_identity(*, study: str, table: str, synthetic: bool, model: str) -> dict:
    """Return the identity of a study.

    Args:
        study: its name; empty: the file name of the cohort table.
        table: path of the cohort table.
        synthetic: True for a cohort that the workflow itself makes.
        model: folder of finished models, empty if the study trains its own.

    Paths are replaced by digests of the path relative to the study's folder, so that a study may be moved as a whole
    and no path of the source appears in the results.
    """
    return {
        "study": study or Path(table).stem,
        "synthetic": synthetic,
        "table": _path_digest(table),
        "model": _path_digest(model) if model else "trained here",
    }


def check_study(path: str | Path, identity: Mapping) -> None:
    """Check that the folder is new or belongs to this study.

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
            "--directory STUDY; to discard this one, remove its results/ first"
        )


def write_study(path: str | Path, identity: Mapping, comparison: Mapping) -> None:
    """Write study.json: the identity of the study, and which comparison of its networks was stated when."""
    content = {**identity, COMPARISON: comparison}
    if not Path(path).exists() or read_json(path) != content:
        write_json(path, content)


def read_comparison(path: str | Path) -> dict | None:
    """Return the comparison of networks that study.json records; None if it does not."""
    return read_json(path).get(COMPARISON) if Path(path).exists() else None


def lock_study(results: str | Path) -> int:
    """Lock a folder of results against other runs until this process ends; return the lock's file descriptor.

    Snakemake's own lock holds for the files that a run knows of at its start, which with a checkpoint are not all.
    This one (flock) is given back by the system, also when the process is killed. It lies in the results themselves,
    so that two studies meet whose `results` are links to one place. A file system without locks is told of in a
    warning.

    Raises:
        ConfigError: another run works there, or this user may not write there.
    """
    path = Path(results, ".lock")
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise ConfigError(
            f"another run works in {path.parent}/ ({holder}); nothing was run. Wait for it, or stop it with Ctrl-C "
            "where it runs; to run at the same time, give this run its own folder with --directory STUDY"
        ) from None
    except OSError as error:
        logger.warning(
            "%s/ cannot be locked (%s): do not start a second run there", path.parent, error.strerror
        )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return descriptor


def active_run(results: str | Path) -> str:
    """Return in words which run works in a folder of results; empty if none does, or if it cannot be told."""
    try:
        descriptor = os.open(
            Path(results, ".lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return ""


def _open_lock(path: Path) -> int:
    """Open a regular file to lock; create it if it does not exist."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # for writing: network file systems require this for a lock
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o664)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be created or opened ({error.strerror}); nothing was run. Run as the user who made this "
            "study, or ask them to give your group write permission"
        ) from None


def _holder(descriptor: int) -> str:
    """Return the text that the holder of a lock wrote, if it contains no control characters."""
    text = os.pread(descriptor, 200, 0).decode(errors="replace")
    return text if text.isprintable() and text else "an unnamed process"


def check_paths(folder: str, python: str, settings: Mapping[str, str]) -> None:
    """Check that Snakemake can read all paths.

    Args:
        folder: the study's folder.
        python: the interpreter that runs, which Snakemake gives to a shell without quotes.
        settings: paths of the configuration, by key; empty ones are ignored.

    Raises:
        ConfigError: a path holds braces, which Snakemake reads as wildcards, or the interpreter's path holds
            special characters of the shell.
    """
    for name, path in {"the study's folder": folder, **settings}.items():
        if "{" in path or "}" in path:
            raise ConfigError(
                f"{name}: {path!r} holds a brace, which Snakemake reads as a wildcard; nothing was run. Rename it, "
                "or make a link without braces to it"
            )
    if shlex.quote(python) != python:
        raise ConfigError(
            f"Python is at {python!r}: jobs cannot be started from a path with blanks or special characters of "
            "the shell; nothing was run. Move the project to a path of letters, digits, '.', '_' and '-'"
        )


def check_executor(name: str) -> None:
    """Refuse the executor `slurm`, whose job arrays lose jobs.

    Args:
        name: Snakemake's executor.

    Raises:
        ConfigError: it is `slurm`; the text names the executor to use.
    """
    if name == "slurm":
        raise ConfigError(
            "executor: slurm can lose jobs of its job arrays and then wait forever; nothing was submitted. Write "
            f"`executor: {SLURM_EXECUTOR}` in the profile, and begin its options with `{SLURM_EXECUTOR}-` "
            "in place of `slurm-`, as profiles/slurm/config.yaml does"
        )


def check_submitted(folder: str, words: Mapping[str, Iterable[str]]) -> None:
    """Check that these words pass unchanged through the shells of a cluster.

    A job is sent as a command line that shells read up to three times, in double quotes without escaping. Special
    characters would break the job, or be run.

    Args:
        folder: the study's folder, in which SLURM also reads `%` (in names of logs).
        words: paths and settings on the command line of a job, by what they are.

    Raises:
        ConfigError: one of them holds a quote, a dollar sign, a backtick, a backslash or an unprintable character.
    """
    if "%" in folder:
        raise ConfigError(
            f"the study's folder: {folder!r} holds a %, which SLURM replaces; nothing was submitted. Rename it"
        )
    for name, several in {"the study's folder": [folder], **words}.items():
        for word in several:
            if not (SHELL_SIGNS.isdisjoint(word) and word.isprintable()):
                link = (
                    "" if word == folder else ", or make a link to it"
                )  # the folder's own path is read through one
                raise ConfigError(
                    f"{name}: {word!r} cannot be sent to the cluster, whose shells would misread it; nothing was "
                    "submitted. Quotes, $, `, \\ and unprintable characters work on one machine only: rename "
                    f"it{link}. A setting can be in the overlay (--configfile) instead of --config"
                )


def _path_digest(path: str) -> str:
    return hashlib.sha256(os.path.relpath(path).encode()).hexdigest()[:16]
