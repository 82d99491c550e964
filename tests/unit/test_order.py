from dataclasses import replace

import numpy as np
import pytest

from lib.intensity_scale import IntensityConfig, fixed_range
from lib.learning.order import TrainingOrder
from lib.learning.scan_store import StoredScan
from lib.learning.train_settings import TrainConfig

SCANS = [
    StoredScan(f"p{i}", (slices, 16, 16), (3.0, 1.0, 1.0), fixed_range(IntensityConfig()))
    for i, slices in enumerate((10, 14, 6), 1)
]
CONFIG = TrainConfig(epochs=3, samples_per_scan=2, batch_size=2, accumulate=2, window_slices=8)
ORDER = TrainingOrder(scans=SCANS, config=CONFIG, seed=7)


def test_a_seed_gives_this_order_on_every_machine():
    # the order of version 0.1; another order would change the training of every existing model
    assert [scans.tolist() for scans in ORDER.samples_of_updates(0)] == [[0, 2, 2, 1], [0, 1]]
    first, second = ORDER.draws_of_updates(0)
    assert [(draw.indices, draw.starts) for draw in first] == [([0, 2], [1, 0]), ([2, 1], [0, 5])]
    assert [(draw.indices, draw.starts) for draw in second] == [([0, 1], [1, 6])]
    assert first[0].transforms[0].noise_seed == 3336927465086707004
    assert ORDER.update_seed(0, 0) == 909704517971214415 != ORDER.update_seed(1, 0)
    initial = ORDER.initial_draw()
    assert (initial.indices, initial.starts) == ([2, 0, 1], [0, 1, 3])


def test_every_scan_comes_as_often_as_asked_in_each_epoch():
    for epoch in range(4):
        scans = np.concatenate(ORDER.samples_of_updates(epoch))
        assert sorted(scans) == [0, 0, 1, 1, 2, 2]
    assert len({str(ORDER.samples_of_updates(epoch)) for epoch in range(4)}) > 1
    assert (ORDER.samples_per_epoch, ORDER.updates_per_epoch) == (6, 2)


def test_cutting_an_update_into_batches_does_not_change_what_is_drawn():
    def drawn(**sizes):
        order = TrainingOrder(scans=SCANS, config=replace(CONFIG, **sizes), seed=7)
        return [
            [
                window
                for draw in draws
                for window in zip(draw.indices, draw.starts, draw.transforms, strict=True)
            ]
            for draws in order.draws_of_updates(1)
        ]

    assert drawn(batch_size=4, accumulate=1) == drawn(batch_size=1, accumulate=4) == drawn()


def test_windows_are_read_with_the_margin_that_rotation_needs():
    still = TrainingOrder(scans=SCANS, config=replace(CONFIG, augment={"probability": 0.0}), seed=7)
    draw = ORDER.initial_draw()
    assert ORDER.slices == 8 + 2 * ORDER.margin and ORDER.margin >= still.margin
    assert ORDER.place(draw) == (draw.indices, [start - ORDER.margin for start in draw.starts])


def test_the_learning_rate_follows_the_updates_done():
    cosine = TrainingOrder(scans=SCANS, config=replace(CONFIG, schedule="cosine"), seed=7)
    rates = [cosine.learning_rate(epoch, update) for epoch in range(3) for update in range(2)]
    steps = np.arange(6)
    assert rates == pytest.approx(CONFIG.learning_rate * (1 + np.cos(np.pi * steps / 6)) / 2)
    assert [cosine.done(epoch, update) for epoch in range(3) for update in range(2)] == steps.tolist()
