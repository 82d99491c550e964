"""The log of a job: progress for users, details for developers, and nothing that identifies a person."""

import json
import logging
import os
import pickle
import traceback
import zlib
from urllib.parse import quote

import pytest

from lib.errors import ConfigError, ModelError, OsteoflowError, ScanError, TableError, TrainingError
from lib.joblog import CALLS_OF_CHILD, job_log, notice, progress, report_done

FOLDER = "Doe, Jäne 'J' 19430217"


@pytest.fixture
def source(tmp_path):
    """A folder with an identifying name, reached through a link with an identifying name."""
    real = tmp_path / FOLDER / "ct"
    real.mkdir(parents=True)
    (tmp_path / "Doe-link").symlink_to(real)
    return tmp_path / "Doe-link"


@pytest.fixture
def failed(tmp_path, capsys):
    """Return a function that fails in a job and returns the output: log, terminal."""

    def fail(error, hide=()):
        log = tmp_path / "job.log"
        with pytest.raises(SystemExit) as ended, job_log(log, hide=hide):
            raise error
        assert ended.value.code == 1
        return log.read_text(encoding="utf-8"), capsys.readouterr().err

    return fail


def names_nobody(text):
    return not any(part in text.lower() for part in ("doe", "ne 'j", "j%c3", "19430217"))


def test_facts_go_to_the_log_and_progress_to_the_terminal_too(tmp_path, capsys):
    with job_log(tmp_path / "logs/job.log") as logger:
        logger.info("read %d slices", 60)
        logging.getLogger("osteoflow.phantom").info("from lib")
        progress("epoch %d", 3)
    text = (tmp_path / "logs/job.log").read_text()
    assert [line.split("INFO ")[1] for line in text.splitlines()] == ["read 60 slices", "from lib", "epoch 3"]
    assert capsys.readouterr().err == "epoch 3\n"


def test_lines_for_the_logger_plugin_begin_with_their_kind_and_name_no_source(tmp_path, capsys):
    with job_log(tmp_path / "job.log", hide=["Doe/ct"]):
        notice("Refused: %s, in %s\nof two lines", "P001", "Doe/ct/1.dcm")
        report_done(3, 50)
    refused, done = (tmp_path / "job.log").read_text().splitlines()
    assert refused == "notice: Refused: P001, in <source>" and done == "progress: 3 of 50"
    assert capsys.readouterr().err == ""


def test_own_errors_are_shown_as_their_text_alone(failed):
    text, shown = failed(ScanError("mask_empty", "mask has no voxel; draw one"), hide=["ct"])
    assert shown == "mask has no voxel; draw one\n"
    assert text.endswith("ERROR mask has no voxel; draw one\n")


def test_an_unexpected_failure_says_where_and_what_kind(failed):
    text, shown = failed(KeyError("epoch"))
    for words in ("test_joblog.py", "in fail", "raise error", "KeyError: 'epoch'"):
        assert words in text and words in shown
    assert str(os.getcwd()) not in text


# how libraries quote a folder and its files
QUOTED = {
    "as given": lambda path: str(path),
    "file inside": lambda path: f"No such file or directory: {str(path / 'IM Doe 1.dcm')!r}",
    "resolved": lambda path: f"cannot open {path.resolve() / 'IM Doe 1.dcm'}: damaged",
    "relative": lambda path: f"cannot open {os.path.relpath(path)}",
    "repr": lambda path: repr(str(path.resolve())),
    "ascii": lambda path: ascii(str(path.resolve())),
    "json": lambda path: json.dumps({"path": str(path.resolve())}),
    "bytes": lambda path: repr(os.fsencode(path.resolve())),
    "uri": lambda path: f"file://{quote(os.fsencode(path.resolve()))}",
    "small letters": lambda path: str(path.resolve()).lower(),
}
QUOTED_IN_PART = {
    "basename": lambda path: path.resolve().parent.name,
    "header": lambda path: "Invalid value for VR PN: 'Doe^Jane'",
}


@pytest.mark.parametrize("form", QUOTED)
def test_own_texts_have_source_paths_replaced_in_every_form(failed, source, form):
    text, shown = failed(OsteoflowError(f"before {QUOTED[form](source)}"), hide=[source])
    assert "before" in text and "<source>" in text and "<source>" in shown
    assert names_nobody(text) and names_nobody(shown)


@pytest.mark.parametrize("form", QUOTED | QUOTED_IN_PART)
def test_texts_of_other_software_are_withheld_where_a_source_is_read(failed, source, form):
    text, shown = failed(ValueError((QUOTED | QUOTED_IN_PART)[form](source)), hide=[source])
    assert "ValueError (text withheld" in text and "test_joblog.py" in text and "raise error" in text
    assert names_nobody(text) and names_nobody(shown)


def test_what_the_system_says_of_a_file_is_told_without_the_file(failed, source):
    text, _ = failed(FileNotFoundError(2, "Doe", str(source / "1.dcm")), hide=[source])
    assert f"FileNotFoundError: {os.strerror(2)} (path withheld)" in text and names_nobody(text)


def test_causes_and_notes_are_not_quoted_either(failed, source):
    cause, error = ValueError("could not convert string to float: 'Doe^Jane'"), zlib.error("19430217")
    error.__cause__ = cause
    error.add_note("Doe")
    text, shown = failed(error, hide=[source])
    first, last = (line for line in shown.splitlines() if "withheld" in line)
    assert first.startswith("ValueError (") and last.startswith("zlib.error (")
    assert names_nobody(text) and names_nobody(shown)


def test_an_exception_that_is_its_own_cause_ends(failed):
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    text, _ = failed(first)
    assert text.count("ValueError") == 2


def test_calls_of_a_child_process_follow_those_of_the_job(failed):
    try:
        json.loads("{")
    except ValueError as error:
        sent = KeyError("x")
        setattr(sent, CALLS_OF_CHILD, list(traceback.extract_tb(error.__traceback__)))
    text, _ = failed(pickle.loads(pickle.dumps(sent)), hide=["source"])
    assert text.index("in fail") < text.index("in raw_decode") < text.index("KeyError (text withheld")
    assert 'File "json/decoder.py"' in text


@pytest.mark.parametrize(
    "error", [ConfigError("m"), TableError("m"), ScanError("metal", "m"), ModelError("m"), TrainingError("m")]
)
def test_errors_pass_between_processes(error):
    passed = pickle.loads(pickle.dumps(error))
    assert (type(passed), str(passed)) == (type(error), "m") and vars(passed) == vars(error)


def test_a_table_is_not_quoted(failed, source):
    text, shown = failed(TableError(f"row 2, column image: '{source}'; there is no such file"))
    assert names_nobody(text) and names_nobody(shown) and "start the run again" in shown


def test_short_names_of_sources_leave_words_alone(tmp_path):
    with job_log(tmp_path / "job.log", hide=["ct", ""]) as logger:
        logger.info("verdict of a direct CT-scan in ct/P1 name.dcm")
        logger.info("read ct: done")
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert lines[0].endswith("verdict of a direct CT-scan in <source>")
    assert lines[1].endswith("read <source>: done")


def test_names_that_are_no_text_are_logged(tmp_path, monkeypatch):
    # pytest would capture the line, and its parallel workers cannot send a name that is no UTF-8
    monkeypatch.setattr(logging.getLogger("osteoflow"), "propagate", False)
    with job_log(tmp_path / "job.log") as logger:
        logger.info("file %s", os.fsdecode(b"a\xff"))
    assert "file a\\udcff" in (tmp_path / "job.log").read_text()
