import pytest
import torch

from lib.learning.architecture import VNetConfig
from lib.learning.history import EpochRecord
from lib.learning.state import Progress, StateFile, TrainingState, all_finite
from lib.learning.vnet import VNet

SMALL = VNetConfig(channels=(2, 4), encoder_convolutions=(1, 1), decoder_convolutions=(1,))


def record(epoch, dice=None):
    numbers = dict.fromkeys(("loss", "learning_rate", "seconds", "samples_per_second", "memory_mb"), 1.0)
    return EpochRecord(epoch=epoch, validation_dice=dice, validation_bone=None, **numbers)


def begin(seed=0):
    torch.manual_seed(seed)
    network = VNet(SMALL)
    return TrainingState(network, torch.optim.Adam(network.parameters()), weight_average=0.9)


def make_update(state, seed):
    torch.manual_seed(seed)
    state.network(torch.rand(1, 1, 8, 8, 8)).square().mean().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.average.follow(state.progress.update)
    state.progress.update += 1


def test_a_state_read_back_goes_on_as_the_one_that_was_saved(tmp_path):
    state, other = begin(), begin(1)
    make_update(state, 1)
    file = StateFile(tmp_path / "state.pt", "key", minutes=5)
    file.write(state.content())
    assert set(torch.load(file.path, weights_only=True)) == {
        *("key", "network", "optimizer", "average", "best", "progress")
    }
    other.restore(file.read())
    for each in (state, other):
        make_update(each, 2)
    assert other.progress == state.progress == Progress(update=2)
    for mine, theirs in (
        (state.network.state_dict(), other.network.state_dict()),
        (state.average.weights(), other.average.weights()),
    ):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_state_of_another_key_is_not_read(tmp_path):
    StateFile(tmp_path / "state.pt", "key", minutes=5).write(begin().content())
    assert StateFile(tmp_path / "state.pt", "another", minutes=5).read() is None
    assert StateFile(tmp_path / "none.pt", "key", minutes=5).read() is None


def test_a_state_is_due_when_its_minutes_are_over(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lib.learning.state.time.monotonic", lambda: now[0])
    file = StateFile(tmp_path / "state.pt", "key", minutes=2)
    assert not file.is_due() and file.kept() == "no state was saved yet"
    now[0] += 120
    assert file.is_due()
    file.write({})
    assert not file.is_due() and file.kept() == "the last state saved before it is kept"


def test_a_closed_epoch_leaves_the_counters_of_the_next():
    progress = Progress(update=3, losses=[1.0], seconds=2.0)
    progress.close_epoch(record(1, 0.5))
    assert (progress.epoch, progress.update, progress.losses, progress.seconds) == (1, 0, [], 0.0)
    assert progress.records() == [record(1, 0.5)]


@pytest.mark.parametrize(
    ("dices", "best"), [([0.5, 0.7, 0.6], 2), ([0.5, 0.5], 1), ([None, 0.0], 2), ([None, None], 0)]
)
def test_the_first_epoch_with_the_highest_dice_is_the_best(dices, best):
    state = begin()
    kept = {}
    for epoch, dice in enumerate(dices, start=1):
        make_update(state, epoch)
        state.progress.close_epoch(record(epoch, dice))
        state.keep_best(dice)
        kept[epoch] = state.average.weights()
    assert state.progress.best_epoch == best
    assert state.progress.best_score == (dices[best - 1] if best else None)
    expected = kept.get(best, {})
    assert state.best.keys() == expected.keys()
    assert all(torch.equal(state.best[name], expected[name]) for name in expected)


def test_a_weight_that_is_no_number_is_found():
    weights = {"a": torch.ones(3), "b": torch.ones(2)}
    assert all_finite(weights)
    assert not all_finite(weights | {"b": torch.tensor([1.0, float("inf")])})
    assert not all_finite(weights | {"b": torch.tensor([float("nan"), 1.0])})
