"""The Python of docs/other-programs.md runs in the folder of a finished study, block after block."""

import re
import subprocess
import sys

import pandas as pd
import pytest

from tests.study import ROOT

pytestmark = pytest.mark.workflow

BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/other-programs.md").read_text(encoding="utf-8"), re.S
)


def test_documented_python_runs_in_a_study(finished):
    assert len(BLOCKS) == 4
    told = "print('JOINED', len(joined), joined['height_cm'].notna().all(), joined['scan'].is_unique)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([*BLOCKS, told])],
        cwd=finished.folder, text=True, capture_output=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    volumes = pd.read_csv(finished.folder / "results/tables/volumes.csv")
    people = volumes[(volumes["group"] == "all") & volumes["repeat_of"].isna()]["scan"].nunique()
    assert f"JOINED {people} True True" in run.stdout
    first = re.search(r"^(\d+) mm3, mean -?\d+ HU$", run.stdout, re.M)
    # the volume of the mask on the converted scan's grid stands in the table, too
    assert int(first[1]) == pytest.approx(volumes["predicted_full_mm3"].iloc[0], rel=1e-3)
