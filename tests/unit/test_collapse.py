"""Detection of collapsed trainings, as distinct from slow ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.cohort.failures import explain_fold
from lib.errors import TrainingError
from lib.joblog import job_log
from lib.learning.collapse import (
    WARNINGS,
    Yardstick,
    constant_loss,
    describe_collapse,
    describe_warnings,
    find_warnings,
    remedies,
)
from lib.learning.history import EpochRecord
from lib.learning.losses import segmentation_loss
from lib.learning.train_settings import LOSSES

# 30 epochs are 300 updates; a constant prediction has a loss of 0.9
MEASURE = Yardstick(constant_loss=0.9, updates_per_epoch=10, warm_up_epochs=0)
NONE, ALL, FEMUR = 0.0, 1.0, 0.04
TRAIN = {"learning_rate": 0.01, "warm_up": 0.0}


def course(losses, found=(), every=10, dice=0.0):
    """Return a history whose validations, one in `every` epochs, predicted the shares `found` as bone."""
    shares = {every * number: share for number, share in enumerate(found, start=1)}
    return [
        EpochRecord(
            epoch=epoch,
            loss=float(loss),
            validation_dice=dice if epoch in shares else None,
            validation_bone=shares.get(epoch),
            learning_rate=1e-2,
            seconds=1.5,
            samples_per_second=4.0,
            memory_mb=900.0,
        )
        for epoch, loss in enumerate(losses, start=1)
    ]


def flat(loss, epochs=30):
    return [loss] * epochs


def test_a_constant_has_the_loss_that_can_be_derived():
    assert constant_loss([[0.2]], "dice") == pytest.approx(
        0.8 / 1.2, abs=1e-3
    )  # all bone is best: (1 - s) / (1 + s)
    assert constant_loss([[0.2], [0.2]], "cross_entropy") == pytest.approx(
        -0.2 * math.log(0.2) - 0.8 * math.log(0.8), abs=1e-3
    )
    assert constant_loss([[0.2]], "cross_entropy", bone_weight=4.0) == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("bone_weight", [1.0, 5.0])
def test_no_constant_prediction_has_a_lower_loss(kind, bone_weight):
    shares = (0.05, 0.2)
    mask = torch.zeros(2, 1, 10, 100, 100)
    for scan, share in zip(mask, shares, strict=True):
        scan.view(-1)[: round(share * scan.numel())] = 1
    losses = [
        segmentation_loss(torch.full_like(mask, logit), mask, kind=kind, bone_weight=bone_weight).item()
        for logit in np.linspace(-6, 6, 49)
    ]
    assert constant_loss([[share] for share in shares], kind, bone_weight) == pytest.approx(
        min(losses), abs=3e-3
    )


@pytest.mark.parametrize(
    ("losses", "found", "words"),
    [
        (
            flat(0.95),
            (NONE, NONE, NONE),
            "no bone in 3 validations running (epochs 10 to 30), with a loss of 0.9500",
        ),
        (
            flat(0.82),
            (ALL, ALL, ALL),
            "all bone in 3 validations running (epochs 10 to 30), with a loss of 0.8200",
        ),
        (flat(0.95), (1e-4, NONE, 1e-4), "no bone in 3 "),
        (flat(0.95), (0.99, ALL, 0.99), "all bone in 3 "),
        # earlier epochs do not count: the network had learnt, then collapsed
        (
            [*flat(0.1, 20), *flat(0.99)],
            (FEMUR, FEMUR, NONE, NONE, NONE),
            "3 validations running (epochs 30 to 50)",
        ),
        ([1e7, 1e6, *flat(0.95, 28)], (NONE, NONE, NONE), "with a loss of 0.9500"),
        (
            np.linspace(0.95, 0.947, 30),
            (NONE, NONE, NONE),
            "no bone in 3 ",
        ),  # falls by 0.2 % from half to half
        (
            flat(0.95, 35),
            (NONE, NONE, NONE),
            "no bone in 3 ",
        ),  # between two validations, where a retry may start
    ],
)
def test_a_collapse_is_detected_from_validations_and_loss(losses, found, words):
    told = describe_collapse(course(losses, found), MEASURE)
    assert told.startswith("has collapsed: ") and words in told
    assert told.endswith(", where a constant prediction has 0.9000")


@pytest.mark.parametrize(
    ("losses", "found", "every"),
    [
        pytest.param(flat(0.95), (NONE, NONE), 15, id="two in a row are too few"),
        pytest.param(flat(0.95, 36), (FEMUR, NONE, NONE, NONE), 9, id="270 updates since it found bone"),
        pytest.param(flat(0.95, 50), (NONE, NONE, FEMUR, NONE, NONE), 10, id="four, but not in a row"),
        pytest.param(flat(0.95, 50), (NONE, NONE, ALL, ALL, NONE), 10, id="now nothing, now everything"),
        pytest.param(flat(0.95), (NONE, 2e-4, NONE), 10, id="a little bone"),
        pytest.param(flat(0.95), (ALL, 0.98, ALL), 10, id="not quite everything"),
        pytest.param(flat(0.95, 29), (NONE,) * 29, 1, id="290 updates are too few"),
        pytest.param(np.linspace(0.95, 0.92, 30), (NONE,) * 3, 10, id="slow, but falling by 1.6 %"),
        pytest.param(flat(0.8), (NONE,) * 3, 10, id="something has been learnt"),
        pytest.param(flat(0.03, 150), (FEMUR,) * 15, 10, id="converged"),
        pytest.param(flat(0.95, 199), (), 10, id="nobody validates, 1,990 updates"),
        pytest.param([], (), 10, id="nothing done yet"),
    ],
)
def test_an_uncertain_collapse_does_not_end_a_training(losses, found, every):
    assert describe_collapse(course(losses, found, every), MEASURE) == ""


def test_a_slow_training_with_a_noisy_loss_is_left_alone():
    slow = np.linspace(0.97, 0.87, 150)
    for seed in range(20):
        noisy = course(slow + np.random.default_rng(seed).normal(0, 0.02, 150), (NONE,) * 15)
        assert not any(describe_collapse(noisy[:epochs], MEASURE) for epochs in range(70, 151))


def test_nothing_is_judged_while_the_learning_rate_rises():
    collapsed = course(flat(0.95, 40), (NONE,) * 4)
    rising = replace(MEASURE, warm_up_epochs=10)
    assert describe_collapse(collapsed[:30], rising) == ""
    assert "epochs 20 to 40" in describe_collapse(collapsed, rising)


@pytest.mark.parametrize("found", [(), (FEMUR,) * 20])
def test_a_loss_that_does_not_move_for_long_is_enough(found):
    told = describe_collapse(course(flat(0.95, 200), found), MEASURE)
    assert (
        told
        == "does not learn: epochs 1 to 200 stood at a loss of 0.9500, where a constant prediction has 0.9000"
    )
    assert describe_collapse(course(np.linspace(0.98, 0.93, 200), found), MEASURE) == ""


def test_a_network_that_finds_the_bone_has_learnt_whatever_its_loss():
    for dice, wrong in ((0.5, True), (0.51, False)):
        history = course(flat(0.95, 200), (FEMUR,) * 20, dice=dice)
        assert bool(describe_collapse(history, MEASURE)) is wrong
        assert find_warnings(history, MEASURE) == ["loss_of_a_constant"] * wrong


def test_few_long_epochs_are_compared_too():
    long = replace(MEASURE, updates_per_epoch=5000)
    assert describe_collapse(course(flat(0.95, 3)), long) == ""
    assert describe_collapse(course(flat(0.95, 4)), long).startswith("does not learn: epochs 1 to 4 ")
    assert [find_warnings(course(flat(0.95, epochs)), long) for epochs in (3, 4)] == [
        [],
        ["loss_of_a_constant"],
    ]


@pytest.mark.parametrize(
    ("losses", "found", "codes"),
    [
        (np.linspace(0.9, 0.02, 30), (NONE, FEMUR, FEMUR), []),
        (np.linspace(0.9, 0.02, 30), (), []),
        (flat(0.03), (FEMUR, FEMUR, NONE), ["no_bone_in_validation"]),
        (flat(0.03), (FEMUR, FEMUR, ALL), ["all_bone_in_validation"]),
        (
            [*flat(0.1, 27), *flat(0.99, 3)],
            (FEMUR, FEMUR, NONE),
            ["no_bone_in_validation", "loss_of_a_constant"],
        ),
        (flat(0.82), (), ["loss_of_a_constant"]),
        (flat(0.80), (), []),
        (np.linspace(0.98, 0.9, 30), (FEMUR,) * 3, []),  # slow, but it falls
        (np.linspace(0.98, 0.9, 10), (NONE,), ["no_bone_in_validation", "loss_of_a_constant"]),
        (flat(0.95, 29), (FEMUR,), []),  # 290 updates are too few for a decision
        ([0.95], (), []),
    ],
)
def test_a_training_that_has_ended_is_judged_by_its_last_validation_and_its_last_losses(losses, found, codes):
    warnings = find_warnings(course(losses, found), MEASURE)
    assert warnings == codes
    assert set(warnings) <= set(WARNINGS)


def test_remedies_are_those_that_were_not_tried_yet():
    plain, settled = {"normalisation": "none"}, {"normalisation": "instance"}
    assert remedies(TRAIN, plain) == (
        "Lower train.learning_rate (0.01), or set train.warm_up above 0, "
        "or set normalisation: instance for the model."
    )
    assert remedies(TRAIN | {"warm_up": 0.1}, settled) == "Lower train.learning_rate (0.01)."
    assert remedies(TRAIN | {"learning_rate": 1e-6}, plain) == "Raise train.learning_rate (1e-06)."


def test_a_finished_fold_says_what_is_wrong_with_it():
    run = {"train": TRAIN | {"warm_up": 0.1}, "architecture": {"normalisation": "instance"}}
    assert describe_warnings(run) == describe_warnings(run | {"warnings": []}) == ""
    assert describe_warnings(run | {"warnings": ["all_bone_in_validation", "loss_of_a_constant"]}) == (
        "Everything was predicted as bone in the scans of the last validation and the loss ended no better than "
        "about a constant prediction's. Lower train.learning_rate (0.01). "
        "If it still fell (history.csv), raise train.epochs instead."
    )
    assert "Look at these scans and their references." in describe_warnings(
        run | {"warnings": list(WARNINGS)[:1]}
    )
    assert describe_warnings(run | {"warnings": ["of_a_later_version"]}).startswith("Of_a_later_version. ")


def test_the_error_reaches_the_report_whole(tmp_path):
    words = describe_collapse(course(flat(0.95, 1000), (NONE,) * 100), MEASURE)
    text = f"female/unet-residual fold 9 {words}. {remedies(TRAIN, {'normalisation': 'batch'})}"
    with pytest.raises(SystemExit), job_log(tmp_path / "logs/train_fold/female/unet-residual/fold-9.log"):
        raise TrainingError(text)
    assert explain_fold("female/unet-residual/fold-9", tmp_path) == text
