"""The reader gives a verdict for any file, in bounded time and memory, and without quoting it."""

import subprocess
import sys
from pathlib import Path

import pytest
from hostile_input import CANARIES, DAMAGES, FOLDER_NAME, TRAPS, Damage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_series import tiny_scan, tiny_series, write_series

from lib.reading.dicom import survey_scan
from lib.screening_settings import ScreeningConfig

FUZZ = Path(__file__).parents[2] / "bench" / "fuzz.py"
CONFIG = ScreeningConfig(min_slices=2, max_gb=0.25)
damages = st.builds(
    Damage,
    kind=st.sampled_from(sorted(DAMAGES)),
    place=st.floats(0, 1),
    length=st.integers(1, 4096),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = write_series(tiny_series(tiny_scan()), tmp_path_factory.mktemp("whole"))
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@settings(
    max_examples=150,
    deadline=10_000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(spoilt=st.dictionaries(st.integers(0, 11), damages, min_size=1, max_size=3))
def test_damaged_series_gives_a_verdict(slices, tmp_path, spoilt):
    folder = tmp_path / FOLDER_NAME
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(slices):
        damaged = spoilt[number].apply(content) if number in spoilt else content
        (folder / f"{number:03d}.dcm").write_bytes(damaged)
    survey = survey_scan(folder, "", CONFIG)
    assert survey.scan is not None or survey.findings
    words = " ".join(reason.found for reason in survey.findings)
    assert not [canary for canary in CANARIES if canary in words]


def test_damage_changes_bytes():
    content = bytes(range(1, 201))
    for kind in sorted(set(DAMAGES) - {"field"}):
        damage = Damage(kind=kind, place=0.5, length=20, seed=3)
        assert damage.apply(content) != content
        assert damage.apply(content) == damage.apply(content)


def fuzz(*names):
    """Examine inputs like bench/fuzz.py: in a process of its own, with limits of time and memory."""
    done = subprocess.run(
        [sys.executable, FUZZ, "--only", *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_traps_are_seen_through():
    fuzz(*TRAPS)


def test_first_seeds_pass():
    fuzz(*map(str, range(60)))
