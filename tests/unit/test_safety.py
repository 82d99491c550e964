"""Protection against hostile names, cells and folders; and the lock that allows one run at a time in a study."""

import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_interface_executor_plugins.utils import format_cli_arg

from lib.atomic import forbid_world_writing, whole_folder, write_text
from lib.cohort.table import plain_text, read_cohort
from lib.errors import ConfigError, TableError
from lib.pseudonyms import write_secret
from lib.study import check_executor, check_paths, check_submitted, lock_study

ROOT = Path(__file__).parents[2]
PYTHON = "/home/anna/osteoflow/.venv/bin/python"
# names with characters of the shell, which are allowed without a cluster
HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "it's", 'a"b', "a\\b", "$HOME", "a\nb", "a\x1b[31mb", "a\u200bb", "a\u202eb",
]  # fmt: skip
HARMLESS = [
    "a b",
    "a;touch pwned;b",
    "-rf",
    "a&b|c",
    "*?[a]",
    "~",
    "#x",
    "härt-骨",
    "!!",
    "(a)",
    "<a>",
    "x" * 250,
]


def cohort(folder, header, *rows):
    (folder / "cohort.csv").write_text("\n".join((header, *rows)) + "\n")
    return folder / "cohort.csv"


@pytest.mark.parametrize("column", ["scan", "subject"])
@pytest.mark.parametrize(
    "name", [*HOSTILE[:6], "../x", "..", "/x", "-rf", "--help", "a b", "{scan}", "a\0b", "é", "x" * 65]
)
def test_an_id_that_is_more_than_an_id_is_refused(tmp_path, column, name):
    cells = {"scan": "A", "subject": "P", "image": "."} | {column: '"{}"'.format(name.replace('"', '""'))}
    with pytest.raises(TableError, match=f"column {column}: .* use letters, digits and '-' only"):
        read_cohort(cohort(tmp_path, ",".join(cells), ",".join(cells.values())))


@pytest.mark.parametrize("name", [name for name in (*HOSTILE, *HARMLESS) if "\n" not in name])
def test_an_image_may_have_any_name_that_a_file_can_have(tmp_path, name):
    (tmp_path / name).touch()
    quoted = name.replace('"', '""')
    (row,) = read_cohort(cohort(tmp_path, "scan,image", f'A,"{quoted}"')).values()
    assert row.image == str(tmp_path / name)


@pytest.mark.parametrize("column", ["image", "mask", "mask2"])
@pytest.mark.parametrize("name", ["{scan}", "a{0}b", "}"])
def test_braces_in_paths_are_refused_for_snakemake_fills_them_in(tmp_path, column, name):
    (tmp_path / name).touch()
    cells = {"scan": "A", "image": ".", "mask": "cohort.csv"} | {column: name}
    with pytest.raises(TableError, match=f"column {column}: .* braces"):
        read_cohort(cohort(tmp_path, ",".join(cells), ",".join(cells.values())))


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "x/" * 3000])
def test_what_no_file_can_be_called_is_a_problem_of_its_row(tmp_path, name):
    with pytest.raises(TableError, match="row 2, column mask: .* no such file"):
        read_cohort(cohort(tmp_path, "scan,image,mask", f"A,.,{name}"))


def test_what_is_no_table_is_said_to_be_none(tmp_path):
    with pytest.raises(TableError, match="cannot be read as CSV"):
        read_cohort(cohort(tmp_path, "scan,image", "A," + "x" * 200_000))
    with pytest.raises(TableError, match="cannot be read"):
        read_cohort("a\0b")


@pytest.mark.parametrize(
    "cell", ["=cmd|' /C calc'!A0", "=1+1", "@SUM(1)", "+1+cmd|x", "-2+3+cmd|x", "-A1", "+A1", "- moved"]
)
def test_a_formula_becomes_text(tmp_path, cell):
    assert plain_text(cell) == f"'{cell}"
    assert plain_text(plain_text(cell)) == plain_text(cell)
    table = cohort(tmp_path, "scan,image,site,exclude,rating", f'A,.,"{cell}","{cell}","{cell}"')
    (row,) = read_cohort(table, extra_columns=["rating"]).values()
    assert row.site == row.exclude == row.extra["rating"] == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "-3.5", "+2", "-1,5", "-12%", "++", "-", "North", "a=b", "1-2"])
def test_numbers_signs_and_words_stay_as_they_are(cell):
    assert plain_text(cell) == cell


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("what", ["folder", "image"])
def test_what_a_shell_of_the_cluster_would_read_is_not_submitted(name, what):
    folder, words = (f"/data/{name}", []) if what == "folder" else ("/data", ["fine", f"scans/{name}"])
    with pytest.raises(ConfigError, match=r"(study's folder|image): .*nothing was submitted"):
        check_submitted(folder, {"image": words})


def test_the_executor_of_upstream_is_refused_with_what_to_write():
    with pytest.raises(
        ConfigError, match="nothing was submitted. Write `executor: slurm-arrays` in the profile"
    ):
        check_executor("slurm")
    check_executor("slurm-arrays")


def test_what_slurm_replaces_in_names_of_logs_is_refused_in_the_folder_alone():
    with pytest.raises(ConfigError, match="holds a %"):
        check_submitted("/data/%j", {})
    check_submitted("/data", {"--config": ["study=95%"]})


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_submitted_comes_whole_through_the_shells(tmp_path, name):
    """Names are quoted as in the plugin: by Snakemake, then in double quotes for the shell that calls sbatch."""
    check_submitted(f"/data/{name}", {"image": [name]})
    show = f"{sys.executable} -c 'import sys; print(ascii(sys.argv[1]))' {format_cli_arg('', [name]).strip()}"
    called = subprocess.run(["sh", "-c", f'printf %s "{show}"'], cwd=tmp_path, text=True, capture_output=True)
    ran = subprocess.run(["sh", "-c", called.stdout], cwd=tmp_path, text=True, capture_output=True)
    assert ran.stdout.strip() == ascii(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["the study's folder", "cohort", "review"])
def test_braces_are_refused_wherever_a_path_is_given(key):
    paths = {"the study's folder": "/data/a b$(x)", "cohort": "it's.csv", "review": ""}
    check_paths(paths.pop("the study's folder"), PYTHON, paths)
    paths = {"the study's folder": "/data", "cohort": "a.csv", "review": ""} | {key: "/data/{x}"}
    with pytest.raises(ConfigError, match=f"{key}: .* holds a brace"):
        check_paths(paths.pop("the study's folder"), PYTHON, paths)


@pytest.mark.parametrize("folder", ["my project", "$(touch pwned)", "a;b"])
def test_a_python_whose_path_a_shell_would_misread_is_refused(folder):
    with pytest.raises(ConfigError, match="Python is at .* Move the project"):
        check_paths("/data", f"/home/{folder}/.venv/bin/python", {})


HOLD = """
import sys, time
from lib.study import lock_study
lock_study(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def hold():
    """Return a function that locks a folder of results in a process of its own."""
    running = []

    def start(results):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(results)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_dead(tmp_path, hold):
    first = hold(tmp_path / "results")
    told = rf"another run works in .*results/ \(process {first.pid} on .*\); nothing was run. .*--directory"
    with pytest.raises(ConfigError, match=told):
        lock_study(tmp_path / "results")
    first.kill()
    first.wait()
    os.close(lock_study(tmp_path / "results"))


def test_two_studies_whose_results_are_links_to_one_place_meet(tmp_path, hold):
    (tmp_path / "disk").mkdir()
    for study in ("a", "b"):
        (tmp_path / study).mkdir()
        (tmp_path / study / "results").symlink_to(tmp_path / "disk")
    hold(tmp_path / "a/results")
    with pytest.raises(ConfigError, match="another run works in"):
        lock_study(tmp_path / "b/results")


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
    def knows_none(descriptor, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", knows_none)
    os.close(lock_study(tmp_path))
    assert "cannot be locked (no locks available): do not start a second run" in caplog.text


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError, match="cannot be created or opened"):
        lock_study(tmp_path)
    assert (tmp_path / "precious").read_text() == "kept"


def test_who_holds_the_lock_cannot_talk_to_the_terminal(tmp_path, hold):
    hold(tmp_path)
    (tmp_path / ".lock").write_text("\x1b]0;pwned\x07")
    with pytest.raises(ConfigError, match="an unnamed process"):
        lock_study(tmp_path)


@pytest.fixture
def umask():
    """Return a function that sets the umask until the test ends."""
    former = os.umask(0o022)
    yield os.umask
    os.umask(former)


@pytest.mark.parametrize(
    ("mask", "file", "folder"),
    [(0o000, 0o664, 0o775), (0o002, 0o664, 0o775), (0o022, 0o644, 0o755), (0o077, 0o600, 0o700)],
)
def test_the_group_reads_what_the_umask_allows_and_nobody_else_writes(tmp_path, umask, mask, file, folder):
    umask(mask)
    forbid_world_writing()
    write_text(tmp_path / "results/a.csv", "x")
    with whole_folder(tmp_path / "results/batch") as batch:
        write_text(batch / "b.csv", "x")
    write_secret(tmp_path / "study.secret")
    os.close(lock_study(tmp_path / "results"))
    modes = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*")
    }
    assert modes == {
        "results": folder, "results/a.csv": file, "results/batch": folder, "results/batch/b.csv": file,
        "results/.lock": file, "study.secret": 0o600,
    }  # fmt: skip


def test_nothing_in_the_project_makes_files_that_only_their_owner_reads():
    """mkstemp and similar functions make files of mode 0600, which a rename would keep."""
    for path in [*ROOT.glob("lib/**/*.py"), *ROOT.glob("scripts/*.py")]:
        assert not re.search(r"\b(mkstemp|NamedTemporaryFile)\b", path.read_text()), path
