"""Networks of two and three dimensions are trained by one engine: they see the same people, windows and changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lib.learning.vnet as vnet
from lib.learning.architecture import VNetConfig, read_network, unet_config
from lib.learning.collapse import describe_warnings
from lib.learning.compute import choose_compute
from lib.learning.network_grid import GridConfig, expand_grid
from lib.learning.operations import gmac_per_voxel
from lib.learning.order import TrainingOrder
from lib.learning.predict import predict_volume
from lib.learning.scan_store import ScanStore
from lib.learning.tasks.segment import SegmentTask
from lib.learning.train import train_fold
from lib.learning.validation import Validation
from lib.learning.vnet import VNet
from lib.learning.windows import WindowLayout
from lib.seeding import derive_seed, fold_seed
from tests.unit.test_train import NETWORK, TRAINING, VALIDATION, Killed, kill_at, same_weights, settings

AUGMENT = {"probability": 0.7, "mirror_axes": ["x", "z"]}


def run_settings(dimensions, **train):
    given = {"samples_per_scan": 2, "augment": AUGMENT, "precision": "float32"} | train
    shape = {"dimensions": dimensions, "normalisation": "instance"}
    return replace(settings(**given), architecture=NETWORK | shape)


def watched(tmp_path, monkeypatch, dimensions):
    """Train a network; return every draw with what the network saw of it, and the updates, in order."""
    seen, updates, prepare = [], [], SegmentTask.prepare

    def record(task, draw, image, reference):
        given, target = prepare(task, draw, image, reference)
        seen.append((draw, given, target))
        return given, target

    with monkeypatch.context() as patch:
        patch.setattr(SegmentTask, "prepare", record)
        trained = train_fold(
            TRAINING,
            VALIDATION,
            run_settings(dimensions, schedule="cosine", accumulate=2),
            tmp_path / f"{dimensions}.pt",
            lambda *now: updates.append(now),
        )
    return trained, seen, updates


def test_networks_of_two_and_three_dimensions_see_the_same_stream(tmp_path, monkeypatch):
    flat, flat_seen, flat_updates = watched(tmp_path, monkeypatch, 2)
    deep, deep_seen, deep_updates = watched(tmp_path, monkeypatch, 3)
    assert flat_updates == deep_updates and len(flat_updates) == flat.facts["updates"] > 3
    # scans, first slices and transforms, in this order; the first draw sets the scales of a new network
    assert [draw for draw, *_ in flat_seen] == [draw for draw, *_ in deep_seen]
    assert [given.shape for _, given, _ in flat_seen] == [given.shape for _, given, _ in deep_seen]
    rotated = 0
    for (draw, *flat_pair), (_, *deep_pair) in zip(flat_seen, deep_seen, strict=True):
        for row, transform in enumerate(draw.transforms):
            for one, other in zip(flat_pair, deep_pair, strict=True):
                assert torch.equal(one[row], other[row]) != transform.rotates
            rotated += transform.rotates
    assert rotated
    facts = ("training", "validation", "updates", "voxels_seen", "seed", "precision", "train", "bone_weight")
    assert {name: flat.facts[name] for name in facts} == {name: deep.facts[name] for name in facts}
    assert [(record.epoch, record.learning_rate) for record in flat.history] == [
        (record.epoch, record.learning_rate) for record in deep.history
    ]
    assert [r.validation_dice is None for r in flat.history] == [
        r.validation_dice is None for r in deep.history
    ]


def test_a_rotation_out_of_the_plane_is_drawn_and_shows_a_2d_network_no_other_slice(tmp_path):
    run = run_settings(2, window_slices=6, validate_step=6)
    store = ScanStore(TRAINING, torch.device("cpu"), device_gb=1, host_gb=1, spill_folder=tmp_path)
    order = TrainingOrder(scans=store.scans, config=run.train, seed=7, dimensions=2)
    task = SegmentTask(store, store, order, run, choose_compute("cpu", "float32"))
    draw = next(
        draw
        for draws in order.draws_of_updates(0)
        for draw in draws
        if all(min(map(abs, transform.rotation_degrees_xyz)) > 1 for transform in draw.transforms)
    )
    assert order.slices == 6 < replace(order, dimensions=3).slices
    image, labels = store.windows(*order.place(draw), order.slices)
    given, target = task.prepare(draw, image, labels)
    changed, other = image.clone(), labels.clone()
    changed[:, :, 3], other[:, :, 3] = 1500, 1
    other_given, other_target = task.prepare(draw, changed, other)
    for row, transform in enumerate(draw.transforms):
        place = 2 if transform.mirrored_xyz[2] else 3
        rest = [slice_ for slice_ in range(6) if slice_ != place]
        torch.testing.assert_close(given[row, :, rest], other_given[row, :, rest], atol=1e-5, rtol=0)
        assert torch.equal(target[row, :, rest], other_target[row, :, rest])
        assert not torch.equal(given[row, :, place], other_given[row, :, place])


def test_every_network_of_a_group_has_the_seeds_of_its_folds():
    # the seed of the first studies, whose network was called vnet
    assert fold_seed(2020, "all", 3) == derive_seed(2020, "train", "all", "vnet", 3)
    seeds = {fold_seed(*parts) for parts in ((1, "all", 0), (1, "all", 1), (1, "male", 0), (2, "all", 0))}
    assert len(seeds) == 4


@pytest.mark.parametrize("normalisation", ["none", "batch", "instance", "group"])
@pytest.mark.parametrize("slices", [3, 8, 19])
def test_a_2d_network_predicts_each_slice_once_with_the_same_result(normalisation, slices, tmp_path):
    torch.manual_seed(0)
    network = VNet(unet_config(initial_maps=4, levels=2, dimensions=2, normalisation=normalisation)).eval()
    compute, volume = choose_compute("cpu", "float32"), torch.rand(slices, 16, 16)
    seen = []

    def counted(windows):
        seen.append(windows.shape[0] * windows.shape[2])
        return network(windows)

    found = {}
    for step in (1, 8):
        layout = WindowLayout(window=8, step=step, z_padding=0, batch=4)
        seen.clear()
        found[step] = predict_volume([counted], volume, layout, compute)
    assert sum(seen) <= max(8, slices + 7)
    torch.testing.assert_close(found[1], found[8], atol=1e-6, rtol=0)
    # in validation too
    image, labels = (np.repeat(array, 2, axis=0) for array in (TRAINING[0].image_zyx, TRAINING[0].labels_zyx))
    scans = [replace(TRAINING[0], image_zyx=image, labels_zyx=labels)]
    store = ScanStore(scans, torch.device("cpu"), device_gb=1, host_gb=1, spill_folder=tmp_path)
    seen.clear()
    run = run_settings(2, validate_step=1)
    Validation(scans=store, settings=run, compute=compute).validate(counted, lambda: None)
    assert sum(seen) == 24  # of 20 slices, in windows of 8


def test_operations_of_a_small_network_are_those_counted_by_hand():
    # 2 maps, then 4: levels of two 3x3 convolutions (1-2, 2-2; 2-4, 4-4; 4-2, 2-2), a 2x2 transposed one (4-2), 1x1
    flat = 9 * (2 + 4) + (9 * (8 + 16) + 4 * 8) / 4 + 9 * (8 + 4) + 2
    deep = 27 * (2 + 4) + (27 * (8 + 16) + 8 * 8) / 8 + 27 * (8 + 4) + 2
    for dimensions, by_hand in ((2, flat), (3, deep)):
        network = VNet(unet_config(initial_maps=2, levels=2, dimensions=dimensions))
        assert gmac_per_voxel(network) == pytest.approx(by_hand / 1e9, rel=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "shape",
    [
        VNetConfig(channels=(4, 8, 16, 16)),
        unet_config(initial_maps=4, levels=3, bottleneck_dilation=2),
        VNetConfig(
            channels=(4, 8, 16), encoder_convolutions=(1, 2, 2), decoder_convolutions=(2, 1), residual=True,
            skip="add", normalisation="group", transposed_kernel=2, classes=2,
        ),
    ],
    ids=["vnet", "unet", "residual"],
)  # fmt: skip
def test_operations_are_those_that_torch_counts(shape, dimensions):
    network = VNet(replace(shape, dimensions=dimensions)).eval()
    windows = torch.rand(2, 1, 8, 16, 16)  # of single windows torch does not know our convolutions
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(windows)
    counted = 2e9 * gmac_per_voxel(network) * windows.numel()  # two for each multiplication with addition
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-12)


def test_costs_of_a_training_are_told_and_go_on_counting_after_a_stop(tmp_path):
    run, state = run_settings(3, checkpoint_minutes=0), tmp_path / "state.pt"
    with pytest.raises(Killed):
        train_fold(TRAINING, VALIDATION, run, state, kill_at(2, 2))
    content = torch.load(state, weights_only=True)
    content["progress"]["seconds"] += 1000
    content["progress"]["history"][0]["seconds"] += 500
    content["progress"]["history"][0]["memory_mb"] = 1e6
    torch.save(content, state)
    resumed = train_fold(TRAINING, VALIDATION, run, state)
    whole = train_fold(TRAINING, VALIDATION, run, tmp_path / "whole.pt")
    assert resumed.facts["resumed"] and same_weights(resumed.last, whole.last)
    # 3 epochs, 3 scans twice each, windows of 8 x 16 x 16
    assert resumed.facts["voxels_seen"] == whole.facts["voxels_seen"] == 3 * 6 * 8 * 16 * 16
    assert resumed.facts["updates"] == whole.facts["updates"] == 3 * 3
    assert 1500 < resumed.facts["seconds"] < 1600 and 0 < whole.facts["seconds"] < 100
    assert resumed.facts["peak_memory_mb"] == 1e6
    assert 50 < whole.facts["peak_memory_mb"] < 1e5 and whole.facts["peak_memory_of"] == "process"
    network = VNet(VNetConfig(**whole.facts["architecture"]))
    assert whole.facts["parameters"] == sum(weights.numel() for weights in network.parameters())
    assert whole.facts["gmac_per_voxel"] == gmac_per_voxel(network)


@pytest.mark.parametrize(("dimensions", "name"), [(2, "unet2d-f4-l2"), (3, "unet3d-f4-l2")])
def test_a_network_of_a_grid_that_finds_no_bone_is_flagged(tmp_path, monkeypatch, dimensions, name):
    grid = GridConfig(dimensions=[2, 3], initial_maps=[4], levels=[2], normalisation="instance")
    shape = read_network(expand_grid(grid)[name], 1)
    run = replace(run_settings(dimensions, learning_rate=1e-9), architecture=shape)
    assert train_fold(TRAINING, VALIDATION, run, tmp_path / "s").facts["warnings"] == []
    monkeypatch.setattr(vnet, "START_LOGIT", -20.0)  # background everywhere
    facts = train_fold(TRAINING, VALIDATION, run, tmp_path / "t").facts
    assert facts["warnings"] == ["no_bone_in_validation", "loss_of_a_constant"]
    assert describe_warnings(facts).startswith("No bone was predicted")
