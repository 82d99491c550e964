import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lib.errors import ConfigError, TrainingError
from lib.learning.augment import AugmentConfig
from lib.learning.checkpoint import read_model, write_model
from lib.learning.intensity import IntensityConfig
from lib.learning.predict import PredictConfig
from lib.learning.train import FoldSettings, TrainConfig, TrainingScan, state_key, train_fold, write_history
from lib.learning.vnet import VNetConfig

ROOT = Path(__file__).parents[2]
NETWORK = {
    "channels": (4, 4),
    "encoder_convolutions": (1, 1),
    "decoder_convolutions": (1,),
    "kernel": 3,
    "dropout": 0.2,
    "normalisation": "none",
}


def ball(scan, slices, seed=0):
    """Return a noisy ball of 1000 HU in tissue of 50 HU, its mask as reference."""
    z, y, x = np.meshgrid(np.arange(slices), np.arange(16), np.arange(16), indexing="ij")
    mask = (z - slices / 2) ** 2 + (y - 8) ** 2 + (x - 7) ** 2 < 25
    noise = np.random.default_rng(seed).normal(0, 30, mask.shape)
    image = (50 + 950 * mask + noise).astype(np.int16)
    return TrainingScan(scan, image, mask.astype(np.uint8), (3.0, 1.0, 1.0))


TRAINING = [ball("p1", 10, 1), ball("p2", 14, 2), ball("p3", 6, 3)]
VALIDATION = [ball("p4", 12, 4)]


def settings(**train):
    train = {
        "epochs": 3,
        "batch_size": 2,
        "window_slices": 8,
        "learning_rate": 1e-2,
        "validate_every": 2,
        "checkpoint_minutes": 60,
        "device": "cpu",
    } | train
    return FoldSettings(
        network=NETWORK, train=train, intensity={}, predict={}, name="all/vnet fold 0", seed=7, code="abc"
    )


OFTEN = settings(checkpoint_minutes=0, schedule="cosine")


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Killed(BaseException):
    """Stands for a process that ends at once."""


def kill_at(epoch, update):
    def watch(*now):
        if now == (epoch, update):
            raise Killed

    return watch


def test_training_learns_and_reports(tmp_path):
    trained = train_fold(TRAINING, VALIDATION, settings(epochs=40, learning_rate=2e-2), tmp_path / "state.pt")
    assert trained.best_validation_dice > 0.9
    assert trained.history[-1].loss < trained.history[0].loss / 2
    assert [record.epoch for record in trained.history if record.validation_dice is not None] == list(
        range(2, 41, 2)
    )
    assert trained.best_validation_dice == max(record.validation_dice or 0 for record in trained.history)
    assert trained.history[trained.best_epoch - 1].validation_dice == trained.best_validation_dice
    assert not (tmp_path / "state.pt").exists()


def test_facts_are_plain_and_complete(tmp_path):
    facts = train_fold(TRAINING, VALIDATION, settings(), tmp_path / "state.pt").facts
    again = json.loads(json.dumps(facts, allow_nan=False))
    assert (again["training"], again["validation"]) == (["p1", "p2", "p3"], ["p4"])
    assert (again["updates"], again["seed"], again["code"]) == (6, 7, "abc")
    assert again["train"]["augment"]["rotation_degrees"] == 15.0
    assert not again["resumed"]


@pytest.mark.parametrize("moment", [(1, 1), (2, 2), (3, 1)])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, moment):
    whole = train_fold(TRAINING, VALIDATION, OFTEN, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train_fold(TRAINING, VALIDATION, OFTEN, tmp_path / "state.pt", kill_at(*moment))
    resumed = train_fold(TRAINING, VALIDATION, OFTEN, tmp_path / "state.pt")
    assert resumed.facts["resumed"] and not whole.facts["resumed"]
    assert same_weights(whole.last, resumed.last)
    assert same_weights(whole.best, resumed.best)
    for a, b in zip(whole.history, resumed.history, strict=True):
        assert (a.epoch, a.loss, a.validation_dice, a.learning_rate) == (
            b.epoch,
            b.loss,
            b.validation_dice,
            b.learning_rate,
        )


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [
        (signal.SIGTERM, 1, "told to stop in epoch 2, update 2; the next start goes on there"),
        (signal.SIGKILL, -signal.SIGKILL, ""),
    ],
)
def test_a_process_that_is_ended_leaves_a_state_to_go_on_from(tmp_path, number, status, text):
    program = (
        "import os, sys, tests.unit.test_train as t\n"
        "def watch(epoch, update):\n"
        f"    if (epoch, update) == (2, 1): os.kill(os.getpid(), {int(number)})\n"
        "try: t.train_fold(t.TRAINING, t.VALIDATION, t.OFTEN, sys.argv[1], watch)\n"
        "except t.TrainingError as error: sys.exit(str(error))\n"
    )
    state = tmp_path / "state.pt"
    command = [sys.executable, "-c", program, str(state)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == status
    assert text in run.stderr
    resumed = train_fold(TRAINING, VALIDATION, OFTEN, state)
    assert resumed.facts["resumed"]
    whole = train_fold(TRAINING, VALIDATION, OFTEN, tmp_path / "other.pt")
    assert same_weights(whole.last, resumed.last)


def test_former_signal_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train_fold(TRAINING, [], settings(epochs=1), tmp_path / "state.pt")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_state_of_other_settings_or_data_is_not_continued(tmp_path):
    with pytest.raises(Killed):
        train_fold(TRAINING, VALIDATION, settings(checkpoint_minutes=0), tmp_path / "state.pt", kill_at(2, 1))
    other = train_fold(TRAINING, VALIDATION, settings(learning_rate=5e-3), tmp_path / "state.pt")
    assert not other.facts["resumed"]


def test_the_key_follows_settings_code_and_every_voxel():
    base = settings()
    changed = TRAINING[0].mask_zyx.copy()
    changed[0, 0, 0] ^= 1
    others = [
        state_key(TRAINING, VALIDATION, replace(base, code="abd")),
        state_key(TRAINING, VALIDATION, replace(base, seed=8)),
        state_key(TRAINING, VALIDATION, settings(epochs=4)),
        state_key(TRAINING[::-1], VALIDATION, base),
        state_key([replace(TRAINING[0], mask_zyx=changed), *TRAINING[1:]], VALIDATION, base),
        state_key(TRAINING + VALIDATION, [], base),
    ]
    assert len({state_key(TRAINING, VALIDATION, base), *others}) == 7
    assert state_key(TRAINING, VALIDATION, settings()) == state_key(TRAINING, VALIDATION, base)


def test_seeds_decide_the_weights(tmp_path):
    first, again = (train_fold(TRAINING, [], settings(), tmp_path / name) for name in "ab")
    other = train_fold(TRAINING, [], replace(settings(), seed=8), tmp_path / "c")
    assert same_weights(first.last, again.last)
    assert not same_weights(first.last, other.last)


def test_host_memory_gives_the_same_training_as_the_cache(tmp_path):
    cached = train_fold(TRAINING, [], settings(), tmp_path / "a")
    streamed = train_fold(TRAINING, [], settings(device_cache_gb=0), tmp_path / "b")
    assert same_weights(cached.last, streamed.last)


def test_without_validation_the_last_weights_are_the_best(tmp_path):
    trained = train_fold(TRAINING, [], settings(), tmp_path / "state.pt")
    assert trained.best_validation_dice is None
    assert trained.best_epoch == 3
    assert same_weights(trained.best, trained.last)
    assert all(record.validation_dice is None for record in trained.history)


def test_a_loss_that_is_not_finite_names_epoch_and_scans(tmp_path):
    wild = settings(learning_rate=1e30, batch_size=1)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch \d, update \d \(scans p[123]\)"):
        train_fold(TRAINING, [], wild, tmp_path / "state.pt")


@pytest.mark.parametrize(
    ("scans", "text"),
    [
        ([], "nothing to train on"),
        ([TRAINING[0], replace(TRAINING[1], mask_zyx=TRAINING[0].mask_zyx)], "scan p2: expected slices"),
        ([replace(TRAINING[0], image_zyx=TRAINING[0].image_zyx.astype(float))], "scan p1: expected an int16"),
    ],
)
def test_scans_that_cannot_be_used_are_refused_by_name(tmp_path, scans, text):
    with pytest.raises(TrainingError, match=text):
        train_fold(scans, [], settings(), tmp_path / "state.pt")


def rates(tmp_path, schedule):
    run = settings(epochs=50, batch_size=3, schedule=schedule)
    return [record.learning_rate for record in train_fold(TRAINING, [], run, tmp_path / "s").history]


def test_constant_schedule(tmp_path):
    assert rates(tmp_path, "constant") == [1e-2] * 50


def test_cosine_schedule_rises_first_and_falls_to_zero(tmp_path):
    # 8 % of 50 updates: the first four are a quarter, a half, three quarters and the whole of the cosine
    cosine = [1e-2 * (1 + np.cos(np.pi * epoch / 50)) / 2 for epoch in range(50)]
    expected = [rate * min(1, (epoch + 1) / 4) for epoch, rate in enumerate(cosine)]
    assert rates(tmp_path, "cosine") == pytest.approx(expected)


def test_history_file(tmp_path):
    trained = train_fold(TRAINING, VALIDATION, settings(), tmp_path / "state.pt")
    write_history(tmp_path / "history.csv", trained.history)
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "loss",
        "validation_dice",
        "learning_rate",
        "seconds",
        "samples_per_second",
        "memory_mb",
    ]
    assert [row["validation_dice"] == "" for row in rows] == [True, False, False]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]


def test_the_model_file_holds_what_the_training_made(tmp_path):
    trained = train_fold(TRAINING, VALIDATION, settings(), tmp_path / "state.pt")
    write_model(tmp_path / "model.pt", trained.model_content({"resample": {"method": "fourier"}}))
    model = read_model(tmp_path / "model.pt")
    assert model["network"] == NETWORK
    assert model["preprocessing"] == {"resample": {"method": "fourier"}}
    assert (model["window_slices"], model["best_epoch"]) == (8, trained.best_epoch)
    assert same_weights(model["last"], trained.last) and same_weights(model["best"], trained.best)


def test_defaults_are_those_of_the_configuration():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for section, kind in (
        ("train", TrainConfig),
        ("intensity", IntensityConfig),
        ("predict", PredictConfig),
    ):
        assert kind(**config[section]) == kind()
        assert config[section].keys() <= asdict(kind()).keys()
    assert VNetConfig(**config["models"]["vnet"]) == VNetConfig()
    assert TrainConfig(**config["train"]).augment == AugmentConfig()


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 1.5},
        {"validate_every": True},
        {"learning_rate": 0},
        {"schedule": "linear"},
        {"l2_alpha": -1},
        {"checkpoint_minutes": -1},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes):
    with pytest.raises(ConfigError, match=f"train.{next(iter(changes))}"):
        TrainConfig(**changes)
