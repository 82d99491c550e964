"""The log of one job: facts go to the file, progress and errors also to the terminal; neither identifies a person."""

import atexit
import gc
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from lib.errors import OsteoflowError, TableError

# no collection at the end of a job, which takes a fifth of a short one that has loaded torch
atexit.register(gc.freeze)

# attribute that holds the call stack of an exception from a child process (a list of traceback.FrameSummary)
CALLS_OF_CHILD = "calls_of_child"

_TABLE_CHANGED = (
    "the cohort table was changed during the run and now has problems; start the run again: they are listed before "
    "anything runs"
)


@contextmanager
def job_log(path: str | Path, *, hide: Iterable[str | Path] = ()) -> Iterator[logging.Logger]:
    """Yield the logger "osteoflow" that writes to `path`; end the job with status 1 when the block fails.

    An `OsteoflowError` is logged as its text alone; any other exception as a traceback: file, line, function and
    code of each call, and the type of the exception. Loggers of `lib` (`logging.getLogger("osteoflow.…")`) propagate
    here.

    Args:
        path: The log file; it is overwritten.
        hide: Paths of source data that the job reads. They are replaced in everything that is written, and texts of
            unexpected exceptions are withheld, because a library may quote a path or a header in them.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sources = [str(source) for source in hide if str(source)]
    logger = logging.getLogger("osteoflow")
    logger.setLevel(logging.INFO)
    handlers = _handlers(Path(path), sources)
    logger.handlers = handlers
    try:
        yield logger
    except TableError:
        logger.error(_TABLE_CHANGED)
        raise SystemExit(1) from None
    except OsteoflowError as error:
        logger.error("%s", error)
        raise SystemExit(1) from None
    except Exception as error:
        logger.error("unexpected failure\n%s", _describe_failure(error, with_texts=not sources))
        raise SystemExit(1) from None
    finally:
        for handler in handlers:
            handler.close()
        logger.handlers = []


def progress(message: str, *values: object) -> None:
    """Log a fact that is also shown on the terminal."""
    logging.getLogger("osteoflow").info(message, *values, extra={"show": True})


def notice(message: str, *values: object) -> None:
    """Log a line `notice: …`, which the logger plugin stages shows when the job has ended. It identifies nobody."""
    logging.getLogger("osteoflow").info(message, *values, extra={"label": "notice"})


def report_done(done: int, total: int) -> None:
    """Log a line `progress: N of M`, from which the logger plugin stages computes the time left."""
    logging.getLogger("osteoflow").info("%d of %d", done, total, extra={"label": "progress"})


def _describe_failure(error: BaseException, *, with_texts: bool) -> str:
    """Return a traceback like Python's, first cause first; it holds the exceptions' texts only if `with_texts`."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and all(cause is not known for known in chain):
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\nwhile this was handled, or because of it:\n".join(
        _describe_calls(one) + _describe_exception(one, with_text=with_texts) for one in reversed(chain)
    )


def _describe_calls(error: BaseException) -> str:
    calls = [
        traceback.FrameSummary(_place(call.filename), call.lineno, call.name, line=call.line)
        for call in [*traceback.extract_tb(error.__traceback__), *getattr(error, CALLS_OF_CHILD, ())]
    ]
    return "".join(traceback.format_list(calls))


def _place(filename: str) -> str:
    """Return a code file's path relative to the project or packages folder: the rest of it may name a user."""
    folders = (f"{folder.rstrip(os.sep)}{os.sep}" for folder in sys.path if folder)
    below = [filename.removeprefix(folder) for folder in folders if filename.startswith(folder)]
    return min(below, key=len, default=os.path.basename(filename))


def _describe_exception(error: BaseException, *, with_text: bool) -> str:
    if with_text:
        return "".join(traceback.format_exception_only(error)).rstrip()
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and error.errno:
        return f"{name}: {os.strerror(error.errno)} (path withheld)"
    return f"{name} (text withheld: it may quote the source)"


def _handlers(path: Path, sources: list[str]) -> list[logging.Handler]:
    # a file name may hold bytes that are not text: without escaping the record would be lost
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8", errors="backslashreplace")
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.addFilter(lambda record: record.levelno >= logging.ERROR or getattr(record, "show", False))
    to_file.setFormatter(_HidingFormatter(sources, "%(asctime)s %(levelname)s %(message)s"))
    to_terminal.setFormatter(_HidingFormatter(sources, "%(message)s"))
    return [to_file, to_terminal]


class _HidingFormatter(logging.Formatter):
    """Replace the paths of source data in each formatted record; a record with a `label` is one line with it."""

    def __init__(self, sources: Iterable[str], pattern: str) -> None:
        super().__init__(pattern)
        # the longest first, so that a relative path does not uncover the rest of the absolute one
        forms = sorted({form for source in sources for form in _spellings(source)}, key=len, reverse=True)
        self._hidden = re.compile(
            # not within a word, because a folder may be called `ct`; below a source, everything up to the end of
            # the line is removed, because names may contain blanks
            rf"(?<![\w.-])(?:{'|'.join(re.escape(form) for form in forms) or '(?!)'})(?:[/\\].*|(?![\w-]))",
            re.IGNORECASE,
        )

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if label := getattr(record, "label", ""):
            text = f"{label}: {' '.join(record.message.split())}"
        return self._hidden.sub("<source>", text)


def _spellings(source: str) -> set[str]:
    """Return the forms that a path may take in a text: relative, absolute, without links; plain and escaped."""
    paths = {source, os.path.abspath(source), os.path.realpath(source), os.path.relpath(source)}
    return {
        spelling
        for path in paths
        for spelling in (
            path,
            ascii(path)[1:-1],
            json.dumps(path)[1:-1],
            repr(path)[1:-1],
            repr(os.fsencode(path))[2:-1],
            quote(os.fsencode(path)),
        )
    }
