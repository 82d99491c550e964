"""Numbers as pages and the terminal print them."""

import pytest

from lib.stats.formats import volume_in_cm3


@pytest.mark.parametrize(
    ("volume_mm3", "text"), [(1300.0, "1.3"), (999.0, "1.00"), (84.0, "0.08"), (-2e3, "−2.0")]
)
def test_volumes_are_written_in_cm3(volume_mm3, text):
    assert volume_in_cm3(volume_mm3) == text
