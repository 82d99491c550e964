import pytest
import torch

from lib.learning.compute import choose_compute
from lib.learning.recipe import FoldSettings, is_validated
from lib.learning.scan_store import ScanStore
from lib.learning.train_settings import TrainConfig
from lib.learning.validation import (
    Validated,
    Validation,
    bone_share,
    compare_scan,
    mean_dice,
    worst_scan,
)
from tests.unit.test_train import NETWORK, ball


def found(scan, dice, predicted, reference):
    shares = {"predicted_share": predicted, "reference_share": reference}
    return Validated(
        scan=scan, dice=dice, structure_dice=(None if predicted == reference == 0 else dice,), **shares
    )


def test_masks_are_compared_by_voxels():
    reference, predicted = torch.zeros(2, 2, 5, dtype=torch.uint8), torch.zeros(2, 2, 5, dtype=torch.uint8)
    assert compare_scan("p", reference, predicted, 1) == found("p", 1.0, 0.0, 0.0)
    reference[0, 0, :4] = 1
    assert compare_scan("p", reference, predicted, 1) == found("p", 0.0, 0.0, 0.2)
    predicted[0, 0, 2:5] = 1  # two shared of four and three
    assert compare_scan("p", reference, predicted, 1) == found("p", pytest.approx(4 / 7), 0.15, 0.2)


def test_whole_scans_are_predicted_at_one_half_and_told_before_each_window(tmp_path):
    settings = FoldSettings(
        architecture=NETWORK, intensity={}, predict={}, structures=("femur",), name="f", seed=1,
        train={"window_slices": 8, "validate_step": 4, "device": "cpu", "precision": "float32"},
    )  # fmt: skip
    scans = [ball("a", 12, 1), ball("b", 16, 2)]
    store = ScanStore(scans, torch.device("cpu"), device_gb=1, host_gb=1, spill_folder=tmp_path)
    validation = Validation(scans=store, settings=settings, compute=choose_compute("cpu", "float32"))
    told = []
    # 1000 HU of bone lie above the middle of 50 HU of tissue and 1050 of bone, whatever the normalisation
    results = validation.validate(lambda windows: windows - windows.mean(), lambda: told.append(1))
    assert [result.scan for result in results] == ["a", "b"]
    assert all(result.dice > 0.9 for result in results)
    assert told
    everywhere = validation.validate(lambda windows: torch.full_like(windows, 0.0), lambda: None)
    assert [result.predicted_share for result in everywhere] == [1.0, 1.0]  # a probability of 0.5 is bone


def test_scans_are_validated_every_few_epochs_and_after_the_last():
    config = TrainConfig(epochs=7, validate_every=3)
    assert [epoch for epoch in range(1, 8) if is_validated(config, epoch)] == [3, 6, 7]


def test_a_validation_is_told_by_means_and_its_worst_scan():
    scans = [found("a", 0.5, 0.25, 0.5), found("b", 0.25, 0.5, 0.0), found("c", 0.25, 0.75, 0.5)]
    assert mean_dice(scans) == pytest.approx(1 / 3)
    assert bone_share(scans) == 0.5  # of those with a reference
    assert worst_scan(scans).scan == "b"
    assert mean_dice([]) is None and bone_share([]) is None and bone_share(scans[1:2]) is None
