"""The course of a training."""

import csv

import pytest

from lib.learning.history import EpochRecord, has_settled, write_history


def course(*losses):
    return [
        EpochRecord(
            epoch=number,
            loss=loss,
            validation_dice=0.9 if number % 2 == 0 else None,
            validation_bone=0.04 if number % 2 == 0 else None,
            learning_rate=1e-4,
            seconds=1.5,
            samples_per_second=4.0,
            memory_mb=900.0,
        )
        for number, loss in enumerate(losses, start=1)
    ]


def test_history_file(tmp_path):
    write_history(tmp_path / "history.csv", course(0.5, 0.4, 0.3))
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = "epoch loss validation_dice validation_bone learning_rate seconds samples_per_second memory_mb"
    assert list(rows[0]) == columns.split()
    assert [row["validation_dice"] for row in rows] == ["", "0.9", ""]
    assert [row["validation_bone"] for row in rows] == ["", "0.04", ""]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("losses", "epochs", "settled"),
    [
        ((0.9, 0.8, 0.7, 0.6), 2, False),
        ((0.9, 0.8, 0.7, 0.6, 0.7, 0.6), 2, True),  # the same mean as before
        ((0.5, 0.5, 0.5, 0.51), 2, True),
        ((0.5, 0.6, 0.7), 2, False),  # too short to decide
        ((0.5, 0.6, 0.7), 0, False),  # not requested
        ((0.9, 0.1, 0.5, 0.5), 1, True),
    ],
)
def test_a_loss_has_settled_when_it_is_no_lower_than_before(losses, epochs, settled):
    assert has_settled(course(*losses), epochs) is settled
