"""A study whose images are scaled by percentiles of each scan's body, from crops to a measured prediction."""

import json

import pytest
import yaml

from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow

PERCENTILES = {"scale": "percentile", "low": 0.5, "high": 99.5}


def test_percentiles_of_each_scan_reach_training_and_prediction(study, tmp_path):
    settings = yaml.safe_load((ROOT / study.overlay).read_text()) | {"intensity": PERCENTILES}
    settings["train"] |= {"epochs": 4, "validate_every": 2}
    (tmp_path / "percentile.yaml").write_text(yaml.safe_dump(settings))
    scaled = Study(study.folder, str(tmp_path / "percentile.yaml"), study.settings)
    assert "intensity.scale: the models need 'range'" in scaled.refuse("--dry-run")

    fold = "results/models/all/vnet/fold-1"
    scaled.run("results/measured/all/vnet/fold-1/P001.json", settings=("retrain=true",))
    crops = [json.loads(path.read_text()) for path in study.folder.glob("results/cropped/*/crop.json")]
    ranges = {(crop["intensity"]["low"], crop["intensity"]["high"]) for crop in crops}
    assert len(ranges) > 5 and all(-1024 <= low < high < 3072 for low, high in ranges)
    run = json.loads((study.folder / fold / "run.json").read_text())
    assert run["intensity"] == run["preprocessing"]["intensity"] == PERCENTILES
    assert (
        "percentiles 0.5 to 99.5 of each scan's body" in (study.folder / fold / "MODEL_CARD.md").read_text()
    )
