"""A regression is trained by the engine that trains segmentations."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.errors import TrainingError
from lib.learning.collapse import describe_warnings
from lib.learning.compute import choose_compute
from lib.learning.crop_augment import CropTransform, apply_crop_transforms, draw_crop_transform, network_input
from lib.learning.crop_store import CropStore
from lib.learning.densenet import gmac_per_crop_voxel
from lib.learning.regression_recipe import PRECISION, RegressionRecipe
from lib.learning.scan_store import Allowance
from lib.learning.tasks.regress import CropOrder, RegressTask, correlation
from lib.learning.train_regression import train_regression
from lib.regression_settings import RegressionCropConfig, RegressionTrainConfig
from tests.unit.regression_crops import EDGE, crop, crops, settings
from tests.unit.test_train import Killed, kill_at, same_weights

TRAINING, VALIDATION = crops(0, 32), crops(100, 16)
CPU = torch.device("cpu")


def store(given, config=None, tmp_path="."):
    config = config or settings().crop
    return CropStore(given, config, CPU, Allowance(device_gb=1, host_gb=1, spill_folder=tmp_path))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_regression(TRAINING, VALIDATION, settings(), tmp_path_factory.mktemp("fold") / "state.pt")


def test_it_learns_a_density_from_hu(trained):
    last = trained.history[-1]
    assert last.validation_r > 0.98 and last.validation_rmse < 15
    assert trained.best_score == -min(record.validation_rmse or math.inf for record in trained.history)
    assert trained.facts["best_validation_rmse"] == -trained.best_score
    assert trained.facts["warnings"] == []
    assert [record.epoch for record in trained.history if record.validation_rmse] == [5, 10, 15, 20]
    assert all(record.validation_dice is None for record in trained.history)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"dimensions": 2}},
        {"crop": {"mask_channel": False}},
        {"loss": "mse"},
        {"weight_average": 0.8, "schedule": "constant"},
    ],
    ids=str,
)
def test_it_learns_with_other_settings_too(changes, tmp_path):
    found = train_regression(TRAINING, VALIDATION, settings(**changes), tmp_path / "state.pt")
    assert found.history[-1].validation_r > 0.9
    channels = found.last["features.conv0.weight"].shape[1]
    assert channels == (1 if "crop" in changes else 2)


def test_facts_are_plain_and_complete(trained):
    facts = json.loads(json.dumps(trained.facts, allow_nan=False))
    assert facts["task"] == "regress" and facts["target"]["scale"] == "k2hpo4"
    targets = [each.target for each in TRAINING]
    assert facts["target"]["mean"] == pytest.approx(np.mean(targets))
    assert facts["target"]["sd"] == pytest.approx(np.std(targets))
    assert (len(facts["training"]), len(facts["validation"])) == (32, 16)
    assert facts["crops"] == {"training": {"L1": 32}, "validation": {"L1": 16}}
    assert facts["voxels_seen"] == 20 * 32 * EDGE**3 and facts["updates"] == 20 * 4
    task = RegressTask(store(TRAINING), store(VALIDATION), settings(), choose_compute("cpu"))
    assert facts["gmac_per_voxel"] == gmac_per_crop_voxel(task.build(), (EDGE,) * 3)
    assert facts["peak_memory_mb"] > 10 and facts["precision"] == "float32"


def test_the_same_seed_gives_the_same_bits(trained, tmp_path):
    again = train_regression(TRAINING, VALIDATION, settings(), tmp_path / "a.pt")
    other = train_regression(TRAINING, VALIDATION, replace(settings(), seed=8), tmp_path / "b.pt")
    assert same_weights(trained.last, again.last) and same_weights(trained.best, again.best)
    assert not same_weights(trained.last, other.last)


def test_small_feature_maps_give_the_same_gradients_each_time():
    """In bf16 they do not: see `lib.learning.regression_recipe.PRECISION`."""
    task = RegressTask(store(TRAINING), store(VALIDATION), settings(), choose_compute("cpu", PRECISION))
    network = task.compute.place(task.build())
    torch.nn.init.ones_(network.class_layers.out.weight)
    seen = set()
    for _ in range(20):
        left = [torch.full((size,), torch.nan) for size in (1000, 50_000, 200_000)]  # what memory may hold
        del left
        network.zero_grad()
        network(torch.ones(4, 2, EDGE, EDGE, EDGE)).sum().backward()
        seen.add(b"".join(weight.grad.numpy().tobytes() for weight in network.parameters()))
    assert len(seen) == 1


def test_no_operation_is_without_a_reproducible_kernel(trained, tmp_path):
    torch.use_deterministic_algorithms(True)
    try:
        strict = train_regression(TRAINING, VALIDATION, settings(), tmp_path / "a.pt")
    finally:
        torch.use_deterministic_algorithms(False)
    assert strict.facts["reproducible"] and same_weights(strict.last, trained.last)


@pytest.mark.parametrize("moment", [(1, 1), (2, 4), (5, 2)])
def test_a_killed_training_continues_to_the_same_bits(tmp_path, moment):
    often = settings(epochs=6, checkpoint_minutes=0, weight_average=0.9)
    whole = train_regression(TRAINING, VALIDATION, often, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train_regression(TRAINING, VALIDATION, often, tmp_path / "state.pt", kill_at(*moment))
    resumed = train_regression(TRAINING, VALIDATION, often, tmp_path / "state.pt")
    assert resumed.facts["resumed"] and not whole.facts["resumed"]
    assert same_weights(whole.last, resumed.last) and same_weights(whole.best, resumed.best)
    assert [(r.loss, r.validation_rmse) for r in whole.history] == [
        (r.loss, r.validation_rmse) for r in resumed.history
    ]


def test_a_state_of_other_settings_or_targets_is_not_continued(tmp_path):
    def key(training, how):
        return train_regression(training, VALIDATION, how, tmp_path / "state.pt").facts["state_key"]

    base = settings(epochs=1)
    other_target = [replace(TRAINING[0], target=99.0), *TRAINING[1:]]
    others = [
        key(other_target, base),
        key(TRAINING, settings(epochs=1, noise_hu=1.0)),
        key(TRAINING, settings(epochs=1, crop={"low_hu": -100.0})),
        key(TRAINING, replace(base, targets={"L1": "bmd_l1_caha_mg_cm3"})),
    ]
    assert len({key(TRAINING, base), *others}) == 5
    assert key(TRAINING, settings(epochs=1, device_cache_gb=0, host_cache_gb=0)) == key(TRAINING, base)


def test_an_untrained_network_tells_nothing(tmp_path):
    found = train_regression(TRAINING, VALIDATION, settings(epochs=0), tmp_path / "state.pt")
    assert found.history == [] and found.best_score is None and found.facts["warnings"] == ["not_trained"]
    assert "epochs: 0" in describe_warnings(found.facts)
    task = RegressTask(store(TRAINING), store(VALIDATION), settings(), choose_compute("cpu"))
    network = task.build()
    network.load_state_dict(found.last)
    score = task.validate(network.eval(), lambda: None)
    references = np.array([each.target for each in VALIDATION])
    expected = np.sqrt(np.mean((references - task.mean) ** 2))
    assert score.columns["validation_r"] is None and score.columns["validation_sd"] == 0
    assert score.columns["validation_rmse"] == pytest.approx(expected)


def test_targets_without_a_relation_to_the_crops_are_not_learned(tmp_path):
    mixed = [replace(each, target=other.target) for each, other in zip(crops(200, 32), TRAINING, strict=True)]
    unlike = [
        replace(each, target=other.target) for each, other in zip(crops(300, 16), VALIDATION, strict=True)
    ]
    found = train_regression(mixed, unlike, settings(learning_rate=1e-3), tmp_path / "state.pt")
    assert abs(found.history[-1].validation_r) < 0.6
    assert found.history[-1].validation_rmse > 0.9 * np.std([each.target for each in VALIDATION])
    assert found.facts["warnings"]
    assert "history.csv" in describe_warnings(found.facts)


def test_a_constant_estimate_is_warned_of(tmp_path):
    still = settings(learning_rate=1e-12, epochs=5)
    found = train_regression(TRAINING, VALIDATION, still, tmp_path / "state.pt")
    assert "constant_estimate" in found.facts["warnings"]


def test_an_order_shows_each_crop_once_and_never_one_alone():
    for count, size in [(2, 8), (9, 8), (17, 8), (3, 2), (33, 8), (8, 8)]:
        order = CropOrder(crops=count, config=RegressionRecipe(batch_size=size), seed=3)
        for epoch in (0, 1):
            updates = order.samples_of_updates(epoch)
            assert len(updates) == order.updates_per_epoch
            assert sorted(np.concatenate(updates)) == list(range(count))
            assert min(map(len, updates)) >= 2 and max(map(len, updates)) <= max(size, 3)
            assert [len(draws) for draws in order.draws_of_updates(epoch)] == [1] * len(updates)
    assert any(
        (a != b).any() for a, b in zip(order.samples_of_updates(0), order.samples_of_updates(1), strict=True)
    )


def test_the_last_epochs_learn_as_the_network_predicts():
    config = settings(epochs=10, settle=0.3)
    order = CropOrder(crops=8, config=config.train, seed=3)
    assert [order.is_settled(epoch) for epoch in range(10)] == [False] * 7 + [True] * 3
    transforms = [
        [transform for (draw,) in order.draws_of_updates(epoch) for transform in draw.transforms]
        for epoch in range(10)
    ]
    assert [any(any(each.rotation_degrees_xyz) for each in drawn) for drawn in transforms] == [True] * 7 + [
        False
    ] * 3
    assert all(any(each.noise_hu for each in drawn) for drawn in transforms)
    assert any(each.mirrored_xyz[0] for each in transforms[-1])

    task = RegressTask(store(TRAINING), store(VALIDATION), config, choose_compute("cpu", PRECISION))
    network = task.build()
    follows = {}
    for epoch in (6, 7):
        task.set_mode(network, epoch)
        before = network.features.norm0.running_mean.clone()
        network(torch.rand(4, 2, EDGE, EDGE, EDGE))
        follows[epoch] = not torch.equal(before, network.features.norm0.running_mean)
        assert network.training and network.features.norm0.weight.requires_grad
    assert follows == {6: True, 7: False}


def test_settled_epochs_mend_the_scale_of_the_estimates(tmp_path):
    errors = {}
    for settle in (0.0, 0.4):
        few = settings(settle=settle, batch_size=4, learning_rate=3e-3)
        found = train_regression(TRAINING, TRAINING, few, tmp_path / "state.pt")
        errors[settle] = found.history[-1].validation_rmse
    assert errors[0.4] < 0.75 * errors[0.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "0 crops with a reference value to train on"),
        (crops(0, 1), "1 crops"),
        ([crop(1, density=80.0), crop(2, density=80.0)], "of all 2 training crops are 80"),
        ([replace(crop(1), target=math.nan), crop(2)], "scan s1, L1: its reference value is nan"),
        (
            [replace(crop(1), image_zyx=crop(1).image_zyx[:8])],
            r"\(8, 16, 16\) voxels .* expected \(16, 16, 16\)",
        ),
    ],
    ids=str,
)
def test_crops_that_cannot_be_used_are_refused(given, words, tmp_path):
    with pytest.raises(TrainingError, match=words):
        train_regression(given, [], settings(), tmp_path / "state.pt")


def test_without_validation_the_last_weights_are_the_best(tmp_path):
    found = train_regression(TRAINING, [], settings(epochs=2), tmp_path / "state.pt")
    assert same_weights(found.last, found.best) and found.best_epoch == 2
    assert found.facts["best_validation_rmse"] is None and found.facts["warnings"] == []


def test_training_is_the_same_wherever_the_crops_lie(tmp_path):
    few = settings(epochs=2)
    kept = train_regression(TRAINING, VALIDATION, few, tmp_path / "a.pt")
    spilled = settings(epochs=2, device_cache_gb=0, host_cache_gb=0)
    elsewhere = train_regression(TRAINING, VALIDATION, spilled, tmp_path / "b.pt")
    assert same_weights(kept.last, elsewhere.last) and kept.best_score == elsewhere.best_score


def test_the_hu_window_is_fixed():
    config = RegressionCropConfig()
    hu = torch.tensor([-1024.0, -200.0, 300.0, 800.0, 3000.0]).view(1, 1, 1, 1, 5)
    mask = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 1, 5)
    seen = network_input(hu, mask, config)
    assert seen[0, 0].flatten().tolist() == [0, 0, 0.5, 1, 1] and torch.equal(seen[:, 1:], mask)
    # no scale of a crop's own: the same HU are the same input beside any other
    alone = network_input(hu[..., 2:3], mask[..., 2:3], replace(config, mask_channel=False))
    assert alone.shape == (1, 1, 1, 1, 1) and alone.item() == 0.5


def batch(*given):
    return tuple(
        torch.from_numpy(np.stack([getattr(each, name) for each in given])[:, None])
        for name in ("image_zyx", "mask_zyx")
    )


def test_a_crop_that_is_not_changed_stays_as_it_is():
    image, mask = batch(*TRAINING[:2])
    hu, same = apply_crop_transforms(image, mask, [CropTransform()] * 2, 3.0)
    assert torch.equal(hu, image.float()) and torch.equal(same, mask.float())


def test_mirroring_and_shifts_move_a_crop_in_the_patients_axes():
    image, mask = batch(*TRAINING[:3])
    mirror = CropTransform(mirrored_xyz=(True, False, False))
    shift = CropTransform(shift_mm_xyz=(0.0, 3.0, 0.0))  # one voxel to lower y
    turn = CropTransform(rotation_degrees_xyz=(0.0, 0.0, 90.0))
    hu, moved = apply_crop_transforms(image, mask, [mirror, shift, turn], 3.0)
    torch.testing.assert_close(hu[0], image[0].float().flip(-1), atol=0.05, rtol=0)
    assert torch.equal(moved[0], mask[0].float().flip(-1))
    torch.testing.assert_close(hu[1, :, :, :-1], image[1, :, :, 1:].float(), atol=0.05, rtol=0)
    turned = image[2].float().rot90(1, (-2, -1))
    other = image[2].float().rot90(-1, (-2, -1))
    assert min((hu[2] - turned).abs().max(), (hu[2] - other).abs().max()) < 0.1


def test_no_augmentation_changes_the_hu_inside():
    image, mask = batch(*TRAINING[:8])
    generator = np.random.default_rng(5)
    config = RegressionTrainConfig()
    drawn = [draw_crop_transform(config, generator) for _ in range(8)]
    hu, moved = apply_crop_transforms(image, mask, drawn, 3.0)
    for each, seen, inside in zip(TRAINING, hu, moved, strict=False):
        core = torch.nn.functional.avg_pool3d(inside, 3, 1, 1) > 0.999  # without partial volume
        assert seen[core].mean() == pytest.approx(each.target + 10, abs=3)
    assert (hu - image).abs().max() > 20


def test_draws_lie_within_their_limits_and_follow_the_seed():
    config = RegressionTrainConfig(rotation_degrees=7, shift_mm=2, mirror_axes=("x",), noise_hu=5)
    drawn = [draw_crop_transform(config, np.random.default_rng(seed)) for seed in range(200)]
    again = draw_crop_transform(config, np.random.default_rng(199))
    assert drawn[-1] == again
    assert 6 < max(abs(angle) for each in drawn for angle in each.rotation_degrees_xyz) <= 7
    assert 1.8 < max(abs(shift) for each in drawn for shift in each.shift_mm_xyz) <= 2
    assert 4.5 < max(each.noise_hu for each in drawn) <= 5
    assert 60 < sum(each.mirrored_xyz[0] for each in drawn) < 140
    assert not any(each.mirrored_xyz[1] or each.mirrored_xyz[2] for each in drawn)


def test_correlation_needs_values_that_differ():
    x = np.array([1.0, 2.0, 4.0])
    assert correlation(x, 3 - 2 * x) == pytest.approx(-1)
    assert correlation(x, np.full(3, 0.1)) is None and correlation(np.full(3, 0.1), x) is None
    assert correlation(x[:1], x[:1]) is None
