"""A real MR of six series, predicted by a model that knows two structures."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from ball import OVERLAY
from pydicom import dcmread

from lib.cohort.trained_people import describe_people
from lib.imaging.grid import same_grid
from lib.imaging.nifti import read_image
from lib.learning.architecture import VNetConfig
from lib.learning.checkpoint import weights_on_host, write_model
from lib.learning.vnet import VNet
from lib.reading.image_files import read_values
from tests.study import ROOT, Study, read_rows

pytestmark = pytest.mark.workflow

REAL = ROOT.parent / "shared/data/real/mri2psm"


def untrained_model(folder: Path) -> Path:
    """Write a finished fold with random weights for axial MR of two structures; return the folder of the models."""
    torch.manual_seed(0)
    shape = {"channels": [2, 4], "encoder_convolutions": [1, 1], "decoder_convolutions": [1], "kernel": 3}
    network = VNet(VNetConfig(**shape, transposed_kernel=2, skip="concat", dropout=0.0, classes=2))
    run = {
        "format": 3,
        "group": "all",
        "takes": {},
        "network": "vnet",
        "structures": ["right", "left"],
        "architecture": {key: getattr(network.config, key) for key in VNetConfig.__dataclass_fields__},
        "preprocessing": {
            "resample": {
                "method": "none",
                "thickness_mm": 3.0,
                "group_start": "distal",
                "inplane_mm": "native",
            },
            "crop": {"method": "none", "size": [192, 192]},
            "intensity": {"scale": "percentile", "low": 0.5, "high": 99.5},
        },
        "intensity": {"scale": "percentile", "low": 0.5, "high": 99.5},
        "slice_axis": "z",
        "window_slices": 8,
        "fold": 0,
        "seed": 0,
        "code": "",
        "best_epoch": 1,
        "task": "segment",
        "best_validation_dice": 0.5,
        **describe_people([], {"training": [], "validation": []}, bytes(32), {}),
    }
    weights = weights_on_host(network)
    (folder / "fold-0").mkdir(parents=True)
    (folder / "fold-0/run.json").write_text(json.dumps(run))
    write_model(folder / "fold-0/model.pt", run | {"last": weights, "best": weights})
    return folder


@pytest.mark.skipif(not REAL.exists(), reason="shared/data is not beside this project")
def test_a_real_mr_of_six_series_is_predicted_in_its_place(tmp_path):
    headers = [dcmread(path, stop_before_pixels=True) for path in (REAL / "dicom").iterdir()]
    by_number = {int(header.SeriesNumber): header.SeriesInstanceUID for header in headers}
    reference = REAL / "pelvis_t1_tse_ax_bones_label.nii.gz"
    with open(tmp_path / "cohort.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "image", "series_uid", "mask"])
        writer.writerow(["M1", REAL / "dicom", by_number[6], reference])
        writer.writerow(["M2", REAL / "dicom", "", ""])
    overlay = {key: OVERLAY[key] for key in ("anatomy", "screening", "intensity", "mask", "resample")} | {
        "structures": {"right": [1], "left": [2]},
        "crop": {"method": "none"},
        "train": {"window_slices": 8},
        "predict": {"step": 4},
    }
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay, sort_keys=False))
    model = untrained_model(tmp_path / "models/all/vnet")
    settings = ("cohort=cohort.csv", f"model={model}")
    study = Study(tmp_path, overlay=str(tmp_path / "overlay.yaml"), settings=settings)
    study.run("measured")
    verdicts = {row["scan"]: row for row in read_rows(tmp_path / "results/cohort/scans.csv")}
    assert verdicts["M1"]["verdict"] == "ok" and "coarse_slices" in verdicts["M1"]["warnings"]
    assert verdicts["M2"]["reason"] == "several_series"
    assert (
        "number 6, MR, 17 slices" in verdicts["M2"]["explanation"]
        and "axial" in verdicts["M2"]["explanation"]
    )
    full = read_image(tmp_path / "results/masks/all/vnet/ensemble/M1/labels_full.nii.gz")
    converted = read_image(tmp_path / "results/converted/M1/image.nii.gz")
    assert same_grid(full, converted) and same_grid(converted, read_values(reference))
    measured = json.loads((tmp_path / "results/measured/all/vnet/ensemble/M1.json").read_text())
    assert set(measured["volume"]) == {"right", "left"}
