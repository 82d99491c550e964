"""The log of one job: facts go to the file, progress and trouble also to the terminal."""

import logging
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.errors import OsteoflowError


@contextmanager
def job_log(path: str | Path, *, hide: Iterable[str | Path] = ()) -> Iterator[logging.Logger]:
    """Yield the logger "osteoflow" that writes to `path`; end the job with status 1 when the block fails.

    An `OsteoflowError` is logged as its text alone; any other exception with its traceback. `hide` lists
    paths of source data, whose names may identify a person: they are replaced in everything that is written.
    Loggers of `lib` (`logging.getLogger("osteoflow.…")`) propagate here.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("osteoflow")
    logger.setLevel(logging.INFO)
    handlers = _handlers(Path(path), [str(source) for source in hide if str(source)])
    logger.handlers = handlers
    try:
        yield logger
    except OsteoflowError as error:
        logger.error("%s", error)
        raise SystemExit(1) from None
    except Exception:
        logger.error("unexpected failure\n%s", traceback.format_exc())
        raise SystemExit(1) from None
    finally:
        for handler in handlers:
            handler.close()
        logger.handlers = []


def progress(message: str, *values: object) -> None:
    """Log a fact that a waiting person should also see on the terminal."""
    logging.getLogger("osteoflow").info(message, *values, extra={"show": True})


def _handlers(path: Path, hidden: list[str]) -> list[logging.Handler]:
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.addFilter(lambda record: record.levelno >= logging.ERROR or getattr(record, "show", False))
    to_file.setFormatter(_HidingFormatter(hidden, "%(asctime)s %(levelname)s %(message)s"))
    to_terminal.setFormatter(_HidingFormatter(hidden, "%(message)s"))
    return [to_file, to_terminal]


class _HidingFormatter(logging.Formatter):
    """Replace the paths of source data in each formatted record."""

    def __init__(self, hidden: list[str], pattern: str) -> None:
        super().__init__(pattern)
        # the longest first, so that a folder's name does not uncover the file's
        self._hidden = sorted(hidden, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for source in self._hidden:
            text = text.replace(source, "<source>")
        return text
