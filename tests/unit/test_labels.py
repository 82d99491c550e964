"""Several structures from training to the stored prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from lib.errors import ModelError, TrainingError
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.learning.architecture import VNetConfig
from lib.learning.augment import Transform, apply_transforms
from lib.learning.checkpoint import write_model
from lib.learning.collapse import WARNINGS, Yardstick, constant_loss, find_warnings
from lib.learning.compute import choose_compute
from lib.learning.history import write_history
from lib.learning.labels import choose_labels, to_probabilities
from lib.learning.losses import segmentation_loss
from lib.learning.predict import Ensemble, load_models, predict_members, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import StoredScan, TrainingScan
from lib.learning.train import train_fold
from lib.learning.train_settings import LOSSES
from lib.learning.validation import compare_scan, mean_structure_dice
from lib.learning.vnet import VNet
from lib.learning.windows import WindowLayout
from lib.pages.wording import loss_text

CT = fixed_range(IntensityConfig())
NETWORK = {
    "channels": (6, 8),
    "encoder_convolutions": (1, 2),
    "decoder_convolutions": (1,),
    "normalisation": "instance",
    "dropout": 0.0,
}


def two_balls(scan, slices, seed):
    """Return a noisy scan of a ball of 400 HU (label 1) above one of 1000 HU (label 2), and its label map."""
    z, y, x = np.meshgrid(np.arange(slices), np.arange(20), np.arange(16), indexing="ij")
    inside = [(z - slices / 2) ** 2 + (y - middle) ** 2 + (x - 8) ** 2 < 16 for middle in (5, 14)]
    labels = np.select(inside, [1, 2]).astype(np.uint8)
    noise = np.random.default_rng(seed).normal(0, 30, labels.shape)
    image = (np.array([50, 400, 1000])[labels] + noise).astype(np.int16)
    return TrainingScan(scan, image, labels, (3.0, 1.0, 1.0), CT)


TRAINING = [two_balls("p1", 10, 1), two_balls("p2", 13, 2), two_balls("p3", 9, 3)]
VALIDATION = [two_balls("p4", 12, 4)]


def settings(dimensions=3, **train):
    train = {
        "epochs": 30,
        "window_slices": 8,
        "loss": "dice_cross_entropy",
        "learning_rate": 2e-2,
        "validate_every": 10,
        "checkpoint_minutes": 60,
        "device": "cpu",
        "precision": "float32",
    } | train
    return FoldSettings(
        architecture=NETWORK | {"dimensions": dimensions},
        train=train,
        intensity={},
        predict={},
        structures=("upper", "lower"),
        name="all/vnet fold 0",
        seed=3,
    )


def write_fold(trained, path):
    """Write the model of a trained fold."""
    model = trained.facts | {
        "preprocessing": {},
        "window_slices": 8,
        "last": trained.last,
        "best": trained.best,
    }
    write_model(path, model)


def dice_of(labels, reference, label):
    return (
        2
        * np.sum((labels == label) & (reference == label))
        / (np.sum(labels == label) + np.sum(reference == label))
    )


@pytest.mark.parametrize("dimensions", [2, 3])
def test_two_structures_are_learnt_stored_and_predicted(tmp_path, dimensions):
    trained = train_fold(TRAINING, VALIDATION, settings(dimensions), tmp_path / "state.pt")
    last = trained.history[-1]
    assert all(dice > 0.8 for dice in last.structure_dice.values()) and list(last.structure_dice) == [
        "upper",
        "lower",
    ]
    assert last.validation_dice == pytest.approx(np.mean(list(last.structure_dice.values())))
    assert trained.facts["structures"] == ["upper", "lower"] and trained.facts["warnings"] == []
    write_fold(trained, tmp_path / "model.pt")
    scan = VALIDATION[0]
    for members in (1, 2):
        ensemble = load_models([tmp_path / "model.pt"] * members, "last", "cpu", "float32")
        predicted = predict_scan(ensemble, scan.image_zyx, CT, PredictConfig())
        labels, confidence = predicted.maps["labels"], predicted.maps["confidence"]
        assert set(predicted.maps) == {"labels", "confidence"}
        assert (labels.dtype, confidence.dtype) == (np.uint8, np.float32)
        assert all(dice_of(labels, scan.labels_zyx, label) > 0.8 for label in (1, 2))
        assert confidence.min() > 1 / 3 and confidence.max() <= 1
    assert {name: found.member_dice for name, found in predicted.disagreements.items()} == {
        "upper": 1,
        "lower": 1,
    }
    assert predicted.disagreements["upper"].member_volume_ratios == (1.0, 1.0)


class Killed(BaseException):
    """Stand-in for a process that is killed."""


def test_a_killed_training_of_several_structures_continues_to_the_same_bits(tmp_path):
    def watch(epoch, update):
        if (epoch, update) == (3, 2):
            raise Killed

    run = settings(epochs=4, validate_every=2, checkpoint_minutes=0, weight_average=0.5)
    with pytest.raises(Killed):
        train_fold(TRAINING, VALIDATION, run, tmp_path / "state.pt", watch)
    resumed = train_fold(TRAINING, VALIDATION, run, tmp_path / "state.pt")
    whole = train_fold(TRAINING, VALIDATION, run, tmp_path / "whole.pt")
    assert resumed.facts["resumed"]
    assert all(torch.equal(weight, resumed.last[name]) for name, weight in whole.last.items())
    assert [r.structure_dice for r in whole.history] == [r.structure_dice for r in resumed.history]
    assert [bool(r.structure_dice) for r in whole.history] == [False, True, False, True]


def test_history_has_a_column_of_each_of_several_structures(tmp_path):
    run = settings(epochs=3, validate_every=2)
    write_history(tmp_path / "two.csv", train_fold(TRAINING, VALIDATION, run, tmp_path / "s").history)
    head, first, second, _ = (tmp_path / "two.csv").read_text().splitlines()
    assert head.endswith(",memory_mb,validation_dice_upper,validation_dice_lower")
    assert first.endswith(",,") and not second.endswith(",")


def test_a_label_that_is_no_structure_is_refused_by_scan(tmp_path):
    odd = replace(TRAINING[1], labels_zyx=np.where(TRAINING[1].labels_zyx == 2, 3, 0).astype(np.uint8))
    for training, validation in (([TRAINING[0], odd], []), (TRAINING[:1], [odd])):
        with pytest.raises(
            TrainingError, match="scan p2: its reference holds the label 3; expected at most 2"
        ):
            train_fold(training, validation, settings(epochs=1), tmp_path / "s")


def test_members_of_other_structures_do_not_predict_together(tmp_path):
    trained = train_fold(TRAINING, [], settings(epochs=1), tmp_path / "s")
    write_fold(trained, tmp_path / "a.pt")
    turned = {**trained.facts, "structures": ["lower", "upper"]}
    write_fold(replace(trained, facts=turned), tmp_path / "b.pt")
    with pytest.raises(ModelError, match="differ in `structures`"):
        load_models([tmp_path / "a.pt", tmp_path / "b.pt"], "last", "cpu", "float32")


def test_the_likeliest_label_wins_and_a_tie_goes_to_the_lower_number():
    maps = torch.tensor([[0.4, 0.3, 0.2, 0.25], [0.4, 0.3, 0.5, 0.375], [0.2, 0.4, 0.3, 0.375]])[
        :, None, None
    ]
    assert choose_labels(maps).flatten().tolist() == [0, 2, 1, 1]
    assert choose_labels(torch.tensor([0.5, 0.49]).reshape(1, 1, 1, 2)).flatten().tolist() == [1, 0]
    random = torch.rand(7, 5, 6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(choose_labels(random), random.argmax(0).to(torch.uint8))


def test_an_ensemble_is_the_mean_of_softmaxes_and_its_members_have_their_own_labels():
    def constant(*logits):
        return lambda windows: (
            torch.tensor(logits).view(1, -1, 1, 1, 1).expand(len(windows), -1, *windows.shape[2:])
        )

    networks = [constant(0.0, 3.0, 0.0), constant(2.0, 0.0, 2.1), constant(2.0, 0.0, 1.0)]
    layout = WindowLayout(window=8, step=3, z_padding=0, batch=2)
    maps, members = predict_members(
        networks, torch.zeros(13, 2, 2), layout, choose_compute("cpu", "float32"), 3
    )
    expected = torch.stack(
        [to_probabilities(network(torch.zeros(1, 1, 1, 1, 1))) for network in networks]
    ).mean(0)
    torch.testing.assert_close(maps, expected[0].expand(3, 13, 2, 2))
    assert [own.unique().tolist() for own in members] == [[1], [2], [0]] and members.dtype == torch.uint8


class HeldMaps(TorchDispatchMode):
    """Counts the bytes of tensors of at least so many elements that are held at once."""

    def __init__(self, elements):
        super().__init__()
        self.elements, self.held, self.most = elements, {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        if isinstance(made, torch.Tensor) and made.numel() >= self.elements:
            storage = made.untyped_storage()
            self.held[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {key: (kept, size) for key, (kept, size) in self.held.items() if not kept.expired()}
        self.most = max(self.most, sum(size for _, size in self.held.values()))
        return made


def held_maps(structures, members, *, whole):
    """Return the most float32 maps of a scan (400, 8, 8) that are held at once while it is predicted.

    `whole`: until the result, else without it and without the comparison of members.
    """
    shape = VNetConfig(
        channels=(2, 2), encoder_convolutions=(1, 1), decoder_convolutions=(1,), classes=structures
    )
    torch.manual_seed(0)
    ensemble = Ensemble(
        networks=tuple(VNet(shape).eval() for _ in range(members)),
        structures=tuple(f"L{number}" for number in range(structures)),
        intensity=IntensityConfig(),
        window_slices=8,
        slice_axis="z",
        preprocessing={},
        compute=choose_compute("cpu", "float32"),
    )
    image_zyx = np.random.default_rng(0).integers(-1000, 1500, (400, 8, 8)).astype(np.int16)
    layout = WindowLayout(window=8, step=8, z_padding=0, batch=1)
    with HeldMaps(image_zyx.size) as counted:
        if whole:
            predict_scan(ensemble, image_zyx, CT, PredictConfig(step=8, batch_windows=1))
        else:
            intensity = torch.from_numpy(image_zyx).float()
            predict_members(ensemble.networks, intensity, layout, ensemble.compute, shape.maps)
    return counted.most / (4 * image_zyx.size)


def test_each_further_structure_needs_memory_for_one_further_map():
    # intensity and sums; a byte for each member's labels
    for members in (1, 5):
        held = [held_maps(structures, members, whole=False) for structures in (1, 2, 4, 8)]
        assert held == [1 + maps + members / 4 for maps in (1, 3, 5, 9)]
    one, two, four, eight = (held_maps(structures, 1, whole=True) for structures in (1, 2, 4, 8))
    assert (four - two, eight - four) == (2, 4)
    assert two - one <= 3  # the maps of the structure and the background, the confidence


def test_labels_are_resampled_by_the_nearest_voxel_and_never_blended():
    scan = StoredScan("p", (24, 40, 40), (3.0, 0.8, 1.2), CT)
    labels = torch.zeros(1, 1, 24, 40, 40, dtype=torch.uint8)
    labels[..., :20, :], labels[..., 20:, :] = 1, 3  # a blend of 1 and 3 would be 2
    image = torch.zeros_like(labels, dtype=torch.int16)
    turned = Transform(rotation_degrees_xyz=(8.0, -6.0, 15.0), mirrored_xyz=(True, False, False))
    intensity, found = apply_transforms(image, labels, [turned], [scan], 16, 3)
    assert found.dtype == torch.float32 and set(found.unique().tolist()) == {0, 1, 3}
    # each label alone, resampled as one structure, is the same but where a voxel lies between two
    for label in (1, 3):
        alone, mask = apply_transforms(image, (labels == label).to(torch.uint8), [turned], [scan], 16, 1)
        assert torch.equal(alone, intensity)
        assert ((found == label) != (mask > 0)).float().mean() < 0.02
    quarter = Transform(rotation_degrees_xyz=(0.0, 0.0, 90.0))
    square = StoredScan("p", (1, 6, 6), (1.0, 1.0, 1.0), CT)
    numbers = torch.arange(36, dtype=torch.uint8).reshape(1, 1, 1, 6, 6)
    _, found = apply_transforms(numbers.to(torch.int16), numbers, [quarter], [square], 1, 35)
    # an output voxel (x, y) comes from (-y, x)
    assert torch.equal(found[0, 0, 0], numbers[0, 0, 0].T.flip(0).float())


def test_windows_that_are_not_rotated_keep_their_labels():
    scan = StoredScan("p", (8, 4, 4), (3.0, 1.0, 1.0), CT)
    labels = torch.randint(0, 5, (2, 1, 8, 4, 4), dtype=torch.uint8)
    mirrored = Transform(mirrored_xyz=(False, True, False))
    _, found = apply_transforms(labels.to(torch.int16), labels, [Transform(), mirrored], [scan] * 2, 4, 4)
    assert torch.equal(found[0], labels[0, :, 2:6].float())
    assert torch.equal(found[1], labels[1, :, 2:6].flip(2).float())


def test_a_scan_is_scored_by_the_structures_that_are_or_were_found():
    reference, predicted = torch.zeros(2, 1, 1, 10, dtype=torch.uint8)
    assert compare_scan("p", reference, predicted, 3).dice == 1.0
    reference[..., :4], predicted[..., 2:6] = 1, 1  # two shared of four and four
    found = compare_scan("p", reference, predicted, 3)
    assert (found.dice, found.structure_dice) == (0.5, (0.5, None, None))
    predicted[..., 9] = 2  # found, but not there
    missed = reference.clone()
    missed[..., 8] = 3  # there, but not found
    worse = compare_scan("q", missed, predicted, 3)
    assert (worse.dice, worse.structure_dice) == (pytest.approx(0.5 / 3), (0.5, 0.0, 0.0))
    assert (worse.predicted_share, worse.reference_share) == (0.5, 0.5)
    assert mean_structure_dice([found, worse]) == [0.5, 0.0, 0.0]
    assert mean_structure_dice([found]) == [0.5, None, None]


def softmax_by_hand(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("structures", [2, 4])
def test_losses_of_several_structures_are_those_by_hand(structures):
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3, structures + 1, 4, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(
        0, structures, (3, 1, 4, 5, 6), generator=generator
    )  # the last structure is nowhere
    probability, truth = softmax_by_hand(logits.numpy()), labels.numpy()[:, 0]
    dice = []
    for window in range(3):
        for label in range(1, structures + 1):
            p, g = probability[window, label], truth[window] == label
            dice.append((2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1))
    weight = np.where(truth > 0, 4.0, 1.0)
    surprise = -np.log(np.take_along_axis(probability, truth[:, None], 1))[:, 0]
    expected = {"dice": 1 - np.mean(dice), "cross_entropy": np.average(surprise, weights=weight)}
    expected["dice_cross_entropy"] = sum(expected.values())
    for kind, value in expected.items():
        # the labels of augmented windows are float32
        found = segmentation_loss(logits.float(), labels.float(), kind=kind, bone_weight=4.0)
        assert found.item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_no_constant_prediction_of_several_structures_has_a_lower_loss(kind):
    shares = np.array([[0.05, 0.1], [0.2, 0.0]])
    labels = torch.zeros(2, 1, 20, 20, 20)
    for scan, (first, second) in zip(labels, shares, strict=True):
        flat = scan.view(-1)
        flat[: round(first * len(flat))] = 1
        flat[len(flat) - round(second * len(flat)) :] = 2
    found = constant_loss(shares, kind)
    grid = np.arange(0.005, 1, 0.03)
    losses = []
    for p, q in ((p, q) for p in grid for q in grid if p + q < 0.995):
        logits = torch.log(torch.tensor([1 - p - q, p, q], dtype=torch.float32)).view(1, 3, 1, 1, 1)
        losses.append(segmentation_loss(logits.expand(2, 3, 20, 20, 20), labels, kind=kind).item())
    assert min(losses) - 0.01 < found < min(losses) + 3e-3


def test_auto_weighs_the_bone_of_all_training_scans_like_their_background(tmp_path):
    run = settings(epochs=1, bone_weight="auto")
    trained = train_fold(TRAINING, VALIDATION, run, tmp_path / "s")
    bone = sum(np.count_nonzero(scan.labels_zyx) for scan in TRAINING)
    voxels = sum(scan.labels_zyx.size for scan in TRAINING)
    assert trained.facts["bone_weight"] == pytest.approx((voxels - bone) / bone)
    assert trained.facts["train"]["bone_weight"] == "auto"
    alone = train_fold(TRAINING, [], run, tmp_path / "v")  # people of the fold itself have no part in it
    assert alone.facts["bone_weight"] == trained.facts["bone_weight"]
    fewer = train_fold(TRAINING[:1], TRAINING[1:], run, tmp_path / "w").facts["bone_weight"]
    assert fewer == pytest.approx(
        1 / np.count_nonzero(TRAINING[0].labels_zyx) * TRAINING[0].labels_zyx.size - 1
    )
    same = train_fold(
        TRAINING, VALIDATION, settings(epochs=1, bone_weight=trained.facts["bone_weight"]), tmp_path / "t"
    )
    assert all(torch.equal(weight, same.last[name]) for name, weight in trained.last.items())
    empty = [replace(scan, labels_zyx=np.zeros_like(scan.labels_zyx)) for scan in TRAINING]
    with pytest.raises(
        TrainingError, match="train.bone_weight: auto needs bone and background .* found no bone"
    ):
        train_fold(empty, [], run, tmp_path / "u")


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (1.0, "cross-entropy"),
        (4.0, "cross-entropy (each voxel of bone counted 4 times)"),
        ("auto", "cross-entropy (bone and background of the training scans weighted alike)"),
    ],
)
def test_the_report_tells_the_weight_of_bone(weight, words):
    assert loss_text({"loss": "cross_entropy", "bone_weight": weight}) == words


def test_a_structure_that_is_missed_is_a_warning_beside_one_that_is_found(tmp_path):
    trained = train_fold(TRAINING, VALIDATION, settings(epochs=3, validate_every=3), tmp_path / "s")
    yardstick = Yardstick(constant_loss=0.9, updates_per_epoch=3, warm_up_epochs=0)
    last = replace(trained.history[-1], loss=0.3, validation_bone=0.04)
    for found, codes in (({"a": 0.9, "b": 0.0}, ["structure_missed"]), ({"a": 0.9, "b": None}, []), ({}, [])):
        assert find_warnings([replace(last, structure_dice=found)], yardstick) == codes
    assert set(WARNINGS) >= {"structure_missed"}
