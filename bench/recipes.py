"""Compare the recipe `fast` with the paper's on a finished demo: Dice of test people against updates.

usage: python bench/recipes.py STUDY [--quick] [--out FOLDER]

STUDY is a folder with the results of studies/demo.yaml. Both recipes train the same network shape on the people
who train fold 0, one window at a time. The paper's learning rate is chosen on the people who validate fold 0. Then
each recipe is trained with every seed and scored on the test people, who are not used for any choice. See README.md.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.atomic import read_json, write_json
from lib.errors import TrainingError
from lib.learning.determinism import prepare_torch
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import TrainingScan
from lib.learning.train import train_fold
from lib.training_scans import read_training_scans

ROOT = Path(__file__).parents[1]
RATES = (1e-4, 3e-4, 1e-3, 2e-3, 3e-3)  # tried for the paper's recipe
CHANNELS = (8, 16, 32, 64)  # of the demo's network
FOLD = "0"


@dataclass(frozen=True)
class People:
    """Scans by their role in the comparison."""

    training: list[TrainingScan]
    choosing: list[TrainingScan]
    test: list[TrainingScan]


def read_people(results: Path) -> People:
    """Read the first cropped scan of each person of a finished demo, by its role."""
    with open(results / "folds/folds.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["scan"] == row["subject"]]
    choosing = [row["scan"] for row in rows if row["fold"] == FOLD]
    test = [row["scan"] for row in rows if row["set"] == "test"]
    training = [row["scan"] for row in rows if row["set"] == "train" and row["fold"] != FOLD]
    return People(
        *([read_scan(results / "cropped" / scan) for scan in group] for group in (training, choosing, test))
    )


def read_scan(folder: Path) -> TrainingScan:
    """Read one cropped scan with its mask in the model frame."""
    (scan,) = read_training_scans(
        *([folder / name] for name in ("image.nii.gz", "labels.nii.gz", "crop.json"))
    )
    return scan


def recipe(name: str, channels: Sequence[int] = CHANNELS) -> dict:
    """Return sections `network` and `train` of config.yaml (paper), or with the overlay studies/fast.yaml (fast).

    `channels` replace those of the network.
    """
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    parts = {"architecture": config["networks"]["vnet"], "train": config["train"]}
    if name == "fast":
        overlay = yaml.safe_load((ROOT / "studies/fast.yaml").read_text(encoding="utf-8"))
        parts["architecture"] |= overlay["networks"]["vnet"]
        augment = parts["train"]["augment"] | overlay["train"].pop("augment", {})
        parts["train"] |= overlay["train"] | {"augment": augment}
    parts["architecture"]["channels"] = list(channels)
    parts["train"] |= {"batch_size": 1, "samples_per_scan": 1, "accumulate": 1, "checkpoint_minutes": 1e6}
    return parts


def curve(parts: dict, people: People, watched: str, *, updates: int, every: int, seed: int) -> list[dict]:
    """Train and return the mean Dice of the watched people every `every` updates.

    Args:
        parts: sections `network` and `train`.
        people: all of them.
        watched: "choosing" or "test".
        updates: in all; the schedule ends there.
        every: updates between two points of the curve.
        seed: of weights, order, windows and augmentation.
    """
    scans = len(people.training)
    train = parts["train"] | {"epochs": updates // scans, "validate_every": max(every // scans, 1)}
    settings = FoldSettings(
        architecture=parts["architecture"],
        train=train,
        intensity={},
        predict={},
        structures=("femur",),
        name=f"seed {seed}",
        seed=seed,
    )
    points = []

    def note(epoch: int, dice: list[float]) -> None:
        points.append({"updates": epoch * scans, "dice": float(np.mean(dice))})

    with tempfile.TemporaryDirectory() as folder:
        try:
            train_fold(
                people.training,
                getattr(people, watched),
                settings,
                Path(folder, "state.pt"),
                after_validation=note,
            )
        except TrainingError as error:  # a learning rate at which the network collapses gives a result too
            print(error, file=sys.stderr)
    return points


def kept(path: Path, make: Callable[[], list[dict]]) -> list[dict]:
    """Return the curve at `path`, computed and written if it is missing, so that an interrupted run can continue."""
    if not path.exists():
        write_json(path, make())
        print(path.name, file=sys.stderr)
    return read_json(path)


def between(points: list[dict], start: float, end: float) -> list[float]:
    """Return the Dice of a curve's points between two shares of its updates."""
    last = points[-1]["updates"]
    return [point["dice"] for point in points if start * last < point["updates"] <= end * last]


def draw(curves: dict[str, list[list[dict]]], path: Path) -> None:
    """Draw the Dice of the test people against updates, a line a seed."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (name, runs), colour in zip(curves.items(), ("tab:blue", "tab:orange", "tab:green"), strict=False):
        for number, points in enumerate(runs):
            x, y = zip(*((point["updates"], point["dice"]) for point in points), strict=True)
            axes.plot(x, y, color=colour, lw=1, label=name if number == 0 else None)
    axes.set(
        xlabel="updates (1 window each)", ylabel="mean Dice of the test people", xscale="log", ylim=(0.9, 1.0)
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def summary(curves: dict[str, list[list[dict]]], fast_updates: int) -> dict:
    """Return the summary of the test people's curves, a value for each seed.

    The plateau is the median of the last fifth: at a constant learning rate without normalisation the Dice drops
    occasionally, and a mean would count that against the recipe.
    """
    paper, fast = curves["paper"], curves["fast"]
    late, before = (
        [float(np.median(between(run, *part))) for run in paper] for part in ((0.8, 1.0), (0.6, 0.8))
    )
    return {
        "paper_updates": paper[0][-1]["updates"],
        "paper_plateau": late,
        "paper_gain_over_last_fifth": [a - b for a, b in zip(late, before, strict=True)],
        "paper_highest_point": [max(between(run, 0.0, 1.0)) for run in paper],
        "paper_at_equal_updates": [
            float(np.interp(fast_updates, *zip(*(point.values() for point in run), strict=True)))
            for run in paper
        ],
        "fast_updates": fast_updates,
        "fast": [run[-1]["dice"] for run in fast],
    }


def main() -> None:
    """Tune, train, score, print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/recipes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--paper-updates", type=int, default=8400)
    parser.add_argument("--tuning-updates", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="a dry run of seconds")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.paper_updates, options.tuning_updates = [0], 120, 24
    fast_updates = options.paper_updates // 5
    every = max(fast_updates // 14, 1)
    prepare_torch(reproducible=True, threads=options.threads)
    people = read_people(options.study / "results")

    paper, rates = recipe("paper"), {}
    for rate in RATES:
        paper["train"]["learning_rate"] = rate
        tried = partial(curve, paper, people, "choosing", updates=options.tuning_updates, every=every, seed=0)
        rates[rate] = float(np.mean(between(kept(options.out / f"tuning-{rate:g}.json", tried), 0.7, 1.0)))
    paper["train"]["learning_rate"] = max(rates, key=rates.get)

    arms = {"paper": (paper, options.paper_updates), "fast": (recipe("fast"), fast_updates)}
    curves = {name: [] for name in arms}
    for name, (parts, updates) in arms.items():
        for seed in options.seeds:
            trained = partial(curve, parts, people, "test", updates=updates, every=every, seed=seed)
            curves[name].append(kept(options.out / f"{name}-seed-{seed}.json", trained))
    result = {
        "what": "recipes",
        "tuning_updates": options.tuning_updates,
        "tuning": {f"{rate:g}": dice for rate, dice in rates.items()},
        "paper_learning_rate": paper["train"]["learning_rate"],
        **summary(curves, fast_updates),
    }
    write_json(options.out / "summary.json", result)
    draw(curves, options.out / "recipes.png")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
