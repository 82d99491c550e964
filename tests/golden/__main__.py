"""Compare what two commits compute: make golden OLD=COMMIT [NEW=COMMIT]. See CONTRIBUTING.md."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.golden.compare import Comparison
from tests.golden.expected import read_expected
from tests.golden.study import STUDIES, StudyFailedError, make_studies
from tests.study import ROOT

WORKING_TREE = ""


def git(*arguments: str) -> str:
    """Return the output of a git command in this repository."""
    return subprocess.run(
        ("git", *arguments), cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def copy_tree(commit: str, folder: Path) -> str:
    """Copy the files of a commit, or those of the working tree, into a folder and return what was copied.

    It is a copy and not a worktree, so that git is unaffected and edits made while the studies run do not change it.

    Raises:
        subprocess.CalledProcessError: there is no such commit.
    """
    folder.mkdir(parents=True)
    if commit != WORKING_TREE:
        name = git("rev-parse", "--short", "--verify", f"{commit}^{{commit}}")
        archive = folder.with_suffix(".tar")
        git("archive", f"--output={archive}", name)
        shutil.unpack_archive(archive, folder)
        archive.unlink()
        return git("log", "-1", "--format=%h %s", name)
    for path in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / path).is_file():  # a removed file is still in the index
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
    changed = len(git("status", "--porcelain").splitlines())
    return f"the working tree: {git('log', '-1', '--format=%h %s')}, with {changed} changed or new files"


def compare(commits: dict[str, str], folder: Path, cores: int) -> Comparison:
    """Make the studies of both sides below a folder and compare them."""
    for side, commit in commits.items():
        copied = copy_tree(commit, folder / side / "tree")
        print(f"{side}: {copied}", flush=True)
    for side in commits:
        print(f"{side}: the studies run …", flush=True)
        make_studies(folder / side / "tree", folder / side, cores)
    return compare_sides(*(folder / side for side in commits))


def compare_sides(old: Path, new: Path) -> Comparison:
    """Compare the studies of two sides that have been made."""
    comparison = Comparison(read_expected())
    for study in STUDIES:
        comparison.folders(old / study / "results", new / study / "results", study)
    return comparison


def main() -> int:
    """Run the comparison; return 0 if both sides are equal, 1 if they differ, 2 if a side could not be made."""
    parser = argparse.ArgumentParser(prog="make golden", description=__doc__)
    parser.add_argument("old", help="commit to compare with")
    parser.add_argument("new", nargs="?", default=WORKING_TREE, help="commit; default: the working tree")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="golden-"))
    print(f"Both sides are made in {folder}; remove it if this program is killed by kill -9", flush=True)
    keep = True
    try:
        comparison = compare({"old": given.old, "new": given.new}, folder, given.cores)
        print(comparison.report())
        keep = not comparison.equal()
        if keep:
            print(f"Both sides are kept; remove them with: rm -r {folder}")
        return int(keep)
    except subprocess.CalledProcessError as error:
        print(f"git: {error.stderr.strip()}; name a commit: make golden OLD=COMMIT", file=sys.stderr)
        keep = False
    except StudyFailedError as error:
        print(f"{error}\nThe results are kept; remove them with: rm -r {folder}", file=sys.stderr)
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
