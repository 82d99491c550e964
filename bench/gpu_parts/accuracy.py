"""Compare the accuracy of both recipes after the same wall time, on held-out simulated people at full size.

The people are made on all cores and prepared by the functions that the rules call. The recipe of studies/fast.yaml
and the paper's train one after the other on the same people, each for half of the time that is left. Held-out people
are used only for the curve and for scoring the last weights, never for a choice. All files are written after each
recipe.
"""

import logging
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import BENCH, Options, result_row
from gpu_part import Request
from matplotlib.figure import Figure
from recipes import read_scan, recipe

from gpu_parts.people import prepare_person, score_person, stay_on_one_core
from lib.atomic import read_json, whole_file, write_json
from lib.errors import OsteoflowError, TrainingError
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image, write_probability
from lib.intensity_scale import IntensityConfig
from lib.learning.checkpoint import write_model
from lib.learning.compute import choose_compute
from lib.learning.determinism import prepare_torch
from lib.learning.engine import TrainedFold
from lib.learning.predict import Ensemble, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import TrainingScan
from lib.learning.train import train_fold
from lib.learning.vnet import VNet
from lib.report_settings import AgreementConfig
from lib.stats.agreement import summarize_agreement

RECIPES = ("fast", "paper")  # the less tested one first: the time may run out
PEOPLE, HELD_OUT, LEAST_TRAINING = 72, 16, 2
QUICK_PEOPLE, QUICK_HELD_OUT = 4, 2
QUICK_SECTIONS = {  # a coarse grid: seconds a person, as in studies/ci.yaml
    "phantom": {"matrix": 128, "slice_mm": 3.0, "supersampling": 1},
    "resample": {"inplane_mm": 4.8},
    "crop": {"size": [32, 32]},
}
QUICK_TRAINING_S = 2.0
PEOPLE_SHARE = 0.3  # of the whole time: no further person is begun after it
SCORING_SHARE = 0.1  # of the rest, reserved in each recipe to predict, score and draw held-out people
SAFETY = 0.92  # of the time planned for updates, whose measured pace may vary
POINTS = 12  # of a curve, at most
VALIDATION_SHARE = 0.2  # of a training's seconds, at most
THREADS_OF_ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
MOST_BYTES = 15_000_000  # of a file of the model, because some ways to copy it take no larger files


@dataclass(frozen=True, kw_only=True)
class People:
    """Scans in the model's orientation, folders of the held-out people, and the configuration that made them."""

    training: Sequence[TrainingScan]
    held_out: Sequence[TrainingScan]
    homes: Sequence[Path]
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of an epoch's updates, and of a validation of all held-out people."""

    epoch_s: float
    validation_s: float

    def plan(self, seconds: float) -> tuple[int, int]:
        """Return how many epochs fit into `seconds`, and after how many of them to validate."""
        points = int(VALIDATION_SHARE * seconds / max(self.validation_s, 1e-3))
        points = max(1, min(POINTS, points))
        epochs = max(2, int((SAFETY * seconds - points * self.validation_s) / self.epoch_s))
        return epochs, math.ceil(epochs / points)


def measure(options: Options, request: Request) -> Iterator[dict[str, Any]]:
    """Yield the people, then each recipe with its scores; write accuracy.json, accuracy.png and the model."""
    end = time.monotonic() + request.seconds
    prepare_torch(reproducible=False, threads=options.threads)
    with tempfile.TemporaryDirectory() as name, one_core_each(request.cores) as pool:
        people = make_people(options, request, pool, Path(name))
        yield people_row(options, people, time.monotonic() - (end - request.seconds))
        parts = {kind: recipe_parts(kind, options) for kind in RECIPES}
        paces = {kind: measure_pace(parts[kind], people) for kind in RECIPES}
        left = end - time.monotonic()
        seconds = QUICK_TRAINING_S if options.quick else left * (0.5 - SCORING_SHARE)
        found: dict[str, Any] = {}
        for kind in RECIPES:
            try:
                trained, curve = train(parts[kind], people, *paces[kind].plan(seconds))
            except OsteoflowError as error:
                yield result_row(options, what_of(kind), options.size.window, None, failed=str(error))
                continue
            if kind == RECIPES[0]:
                write_weights(trained, people, request.out)
            scores = score(pool, trained, people, options, Path(name, kind))
            found[kind] = {"curve": curve, "people": scores, **summary(trained, curve, scores)}
            write_json(request.out / "accuracy.json", described(people, found))
            draw(found, request.out / "accuracy.png")
            yield recipe_row(options, kind, people, found[kind])


def one_core_each(cores: int) -> ProcessPoolExecutor:
    """Return a pool of single-threaded processes, spawned because a CUDA context does not survive a fork."""
    os.environ.update(dict.fromkeys(THREADS_OF_ONE, "1"))
    return ProcessPoolExecutor(
        cores, mp_context=multiprocessing.get_context("spawn"), initializer=stay_on_one_core
    )


def make_people(options: Options, request: Request, pool: ProcessPoolExecutor, folder: Path) -> People:
    """Make people on all cores until all are made or the time is over; the first of them are held out.

    Raises:
        TrainingError: too few people were made.
    """
    config = configuration(options.quick)
    held_out = QUICK_HELD_OUT if options.quick else HELD_OUT
    end = time.monotonic() + PEOPLE_SHARE * request.seconds
    waiting = iter([f"P{number:03d}" for number in range(1, config["phantom"]["people"] + 1)])
    homes: list[Path] = []
    running: set[Future[Path]] = set()
    while True:
        if time.monotonic() < end or len(homes) < held_out + LEAST_TRAINING:
            free = request.cores - len(running)
            running |= {pool.submit(prepare_person, config, scan, folder) for scan in islice(waiting, free)}
        if not running:
            break
        done, running = wait(running, return_when=FIRST_COMPLETED)
        homes += [home for future in done if (home := home_of(future))]
    homes.sort()
    if len(homes) < held_out + LEAST_TRAINING:
        raise TrainingError(f"only {len(homes)} people could be made; see log.txt")
    read = [read_scan(home) for home in homes]
    return People(training=read[held_out:], held_out=read[:held_out], homes=homes[:held_out], config=config)


def home_of(future: Future[Path]) -> Path | None:
    """Return the folder of a person; None, with a line in the log, if the person could not be prepared."""
    try:
        return future.result()
    except OsteoflowError:
        logging.exception("a person was left out")
        return None


def configuration(quick: bool) -> dict[str, Any]:
    """Return config.yaml with the people of this part; tiny ones if `quick`."""
    config = yaml.safe_load((BENCH.parent / "config.yaml").read_text(encoding="utf-8"))
    config["phantom"]["people"] = QUICK_PEOPLE if quick else PEOPLE
    if quick:
        for section, values in QUICK_SECTIONS.items():
            config[section] |= values
    return config


def people_row(options: Options, people: People, seconds: float) -> dict[str, Any]:
    """Return the result of making people: their number and the time."""
    size = "{} x {}".format(*people.config["crop"]["size"])
    counts = {"training": len(people.training), "held_out": len(people.held_out)}
    return result_row(options, "people simulated and prepared", size, None, ours=seconds, **counts)


def recipe_parts(kind: str, options: Options) -> dict[str, Any]:
    """Return sections `network` and `train` of a recipe, on the device of this run."""
    parts = recipe(kind, list(options.size.channels))
    parts["train"] |= {"device": options.device, "early_stop_epochs": 0}
    return parts


def fold_settings(parts: Mapping[str, Any], epochs: int, validate_every: int) -> FoldSettings:
    """Return the settings of one training."""
    train = parts["train"] | {"epochs": epochs, "validate_every": validate_every}
    return FoldSettings(
        architecture=parts["architecture"],
        train=train,
        intensity={},
        predict={},
        structures=("femur",),
        name="accuracy",
        seed=0,
    )


def measure_pace(parts: Mapping[str, Any], people: People) -> Pace:
    """Train for three epochs with a validation each, and return the times of the last; the others warm up."""
    with tempfile.TemporaryDirectory() as folder:
        settings = fold_settings(parts, 3, 1)
        trained = train_fold(people.training, people.held_out, settings, Path(folder, "state.pt"))
    last = trained.history[-1]
    epoch_s = len(people.training) / last.samples_per_second
    return Pace(epoch_s=epoch_s, validation_s=max(last.seconds - epoch_s, 0.0))


def train(
    parts: Mapping[str, Any], people: People, epochs: int, validate_every: int
) -> tuple[TrainedFold, list[dict[str, float]]]:
    """Train; return the result and the mean Dice of the held-out people against seconds and updates."""
    settings = fold_settings(parts, epochs, validate_every)
    begin, curve = time.monotonic(), []

    def note(epoch: int, dice: Sequence[float]) -> None:
        at = {"seconds": time.monotonic() - begin, "updates": epoch * len(people.training)}
        curve.append(at | {"dice": float(np.mean(dice))})

    with tempfile.TemporaryDirectory() as folder:
        trained = train_fold(
            people.training, people.held_out, settings, Path(folder, "state.pt"), after_validation=note
        )
    return trained, curve


def write_weights(trained: TrainedFold, people: People, out: Path) -> None:
    """Write the model as files of at most MOST_BYTES that `cat` joins: cat model.pt.?-of-? > model.pt

    Its best weights are set to the last ones, because held-out people must not choose weights.
    """
    content = trained.facts | {
        "window_slices": trained.settings.train.window_slices,
        "slice_axis": trained.settings.axes[0],
        "preprocessing": {section: people.config[section] for section in ("resample", "crop")},
        "last": trained.last,
        "best": trained.last,
        "best_epoch": len(trained.history),
        "task": "segment",
        "best_validation_dice": None,
        "synthetic": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "model.pt")
        write_model(whole, content)
        data = whole.read_bytes()
    count = math.ceil(len(data) / MOST_BYTES)
    size = math.ceil(len(data) / count)
    for number in range(count):
        with whole_file(out / f"model.pt.{number + 1}-of-{count}") as temporary:
            temporary.write_bytes(data[number * size : (number + 1) * size])


def score(
    pool: ProcessPoolExecutor, trained: TrainedFold, people: People, options: Options, folder: Path
) -> list[dict[str, Any]]:
    """Predict the held-out people with the last weights, windows moved by one slice, and score them on all cores."""
    compute = choose_compute(options.device)
    network = VNet(trained.settings.architecture)
    network.load_state_dict(trained.last)
    ensemble = Ensemble(
        networks=(compute.place(network).eval(),),
        structures=trained.settings.structures,
        intensity=IntensityConfig(),
        window_slices=trained.settings.train.window_slices,
        slice_axis=trained.settings.axes[0],
        preprocessing={},
        compute=compute,
    )
    futures = []
    for scan, home in zip(people.held_out, people.homes, strict=True):
        path = folder / f"{scan.scan}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        predicted = predict_scan(ensemble, scan.image_zyx, scan.intensity, PredictConfig()).probability_zyx
        frame = ModelFrame(**read_json(home / "crop.json")["frame"])
        write_probability(frame.to_patient(predicted), read_image(home / "image.nii.gz"), path)
        futures.append(pool.submit(score_person, people.config, home, path))
    return [future.result() for future in futures]


def summary(
    trained: TrainedFold, curve: list[dict[str, float]], scores: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return time and accuracy of one recipe: means over the held-out people, and agreement of the volumes."""
    reference, predicted, scans = (
        [person[key] for person in scores] for key in ("reference_mm3", "predicted_mm3", "scan")
    )
    agreement = asdict(summarize_agreement(reference, predicted, scans, AgreementConfig()))
    errors = [abs(person["re_percent"]) for person in scores]
    values = {
        "dice": mean(person["dsc"] for person in scores),
        "dice_native": mean(person["dsc_native"] for person in scores),
        "dice_least": min(person["dsc"] for person in scores),
        "r2": agreement["r2"],
        "re_percent_mean": mean(errors),
        "re_percent_largest": max(errors),
        "bias_mm3": agreement["bias"],
    }
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return finite | {
        "training_s": curve[-1]["seconds"],
        "updates": trained.facts["updates"],
        "precision": trained.facts["precision"],
    }


def mean(values: Iterable[float]) -> float:
    """Return the mean of some values."""
    return float(np.mean(list(values)))


def recipe_row(options: Options, kind: str, people: People, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of one recipe."""
    values = {key: value for key, value in found.items() if key not in ("curve", "people", "precision")}
    counts = {"trained_on": len(people.training), "held_out": len(people.held_out)}
    return result_row(options, what_of(kind), options.size.window, found["precision"], **counts, **values)


def what_of(kind: str) -> str:
    """Return the name of a recipe's result."""
    return f"held-out people, recipe {'of the paper' if kind == 'paper' else kind}"


def described(people: People, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of accuracy.json."""
    return {
        "trained_on": [scan.scan for scan in people.training],
        "held_out": [scan.scan for scan in people.held_out],
        "phantom": people.config["phantom"],
        "recipes": dict(found),
    }


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw the held-out Dice against the seconds of training, and predicted against reference volume."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    course, volumes = figure.subplots(1, 2)
    for kind, marker in zip(found, "os", strict=False):
        curve, people = found[kind]["curve"], found[kind]["people"]
        seconds, dice = ([point[key] for point in curve] for key in ("seconds", "dice"))
        course.plot(seconds, dice, marker=marker, ms=3, label=kind)
        reference, predicted = (
            [person[key] / 1e3 for person in people] for key in ("reference_mm3", "predicted_mm3")
        )
        volumes.plot(reference, predicted, marker, ms=4, label=kind)
    course.set(xlabel="seconds of training", ylabel="mean Dice of the held-out people (probability 0.5)")
    volumes.axline((reference[0], reference[0]), slope=1, color="grey", lw=0.8)
    volumes.set(xlabel="reference volume (cm³)", ylabel="predicted volume (cm³)")
    for axes in (course, volumes):
        axes.grid(alpha=0.3)
        axes.legend()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
