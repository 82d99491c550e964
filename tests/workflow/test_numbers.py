"""The numbers of the small study agree with those kept in the repository."""

import pytest

from tests.golden.numbers import EXPECTED, moved, read_numbers, write_expected

pytestmark = pytest.mark.workflow
REFRESH = "make golden-numbers"


def test_the_numbers_of_the_small_study_have_not_moved(finished, pytestconfig):
    found = read_numbers(finished.folder / "results")
    if pytestconfig.getoption("--refresh-numbers", default=False):
        write_expected(found)
    told = "\n  ".join(moved(found))
    assert not told, f"numbers moved (where that is meant: {REFRESH} writes {EXPECTED.name}):\n  {told}"
