"""Measure the coverage of the intervals of single volumes in simulated studies, each with new people.

    python bench/volume_intervals.py [--studies 400] [--confidence 0.95] [--out RESULTS.jsonl]

A volume that model k predicts for person i is truth * (1 + bias_k + own_i + both_ik): an error of the model, one of
the person that all models share, and one of this model with this person. All are normal, or their sizes vary between
people with a log-normal distribution (heavy). Each of n people is predicted by the model that did not train on them,
each of 10 new people by all models. The script prints, for each kind and n: the share of new people whose true volume
lies in the interval, half its median width in percent, and the share with the flag interval_wide. A dash means that n
people allow no interval of this level.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.stats.intervals import FoldErrors, fewest_people, volume_interval

PEOPLE, NEW = (10, 20, 40, 100), 10


@dataclass(frozen=True, kw_only=True)
class Kind:
    """SDs of relative errors and number of folds; for new people, a bias and a factor for the spread of members."""

    own: float = 0.015
    both: float = 0.0
    model: float = 0.0
    folds: int = 10
    heavy: bool = False
    shift: float = 0.0
    apart: float = 1.0


KINDS = {
    "people alone, 10 folds": Kind(),
    "people alone, heavy": Kind(heavy=True),
    "models differ, 3 folds": Kind(model=0.005, folds=3),
    "models differ, 10 folds": Kind(model=0.005),
    "models differ with people": Kind(model=0.005, both=0.007),
    "the same, heavy": Kind(model=0.005, both=0.007, heavy=True),
    "errors of single models alone": Kind(own=0.0, both=0.015),
    "shift: all models 5 % too small": Kind(model=0.005, both=0.007, shift=-0.05),
    "shift: 5 %, models 5 times as far apart": Kind(model=0.005, both=0.007, shift=-0.05, apart=5.0),
}


def main() -> None:
    """Print a table, and write a JSON line for each kind and number of people."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--out", type=Path, metavar="RESULTS.jsonl")
    options = parser.parse_args()
    rows = []
    print("| errors | " + " | ".join(f"n = {people}" for people in PEOPLE) + " |")
    print("| --- " * (len(PEOPLE) + 1) + "|")
    for name, kind in KINDS.items():
        cells = []
        for people in PEOPLE:
            row = {"errors": name, "people": people, "confidence": options.confidence}
            if people >= fewest_people(options.confidence):
                row |= simulate(kind, people, options.studies, options.confidence)
                cells.append("{coverage:.1f} % (± {half_width:.1f} %, {wide:.1f} %)".format_map(row))
            else:
                cells.append("–")
            rows.append(row)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if options.out:
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def simulate(kind: Kind, people: int, studies: int, confidence: float) -> dict[str, float]:
    """Return coverage, median half width and share of flagged people over `studies` studies, in percent."""
    generator, found = np.random.default_rng(0), []
    fold_of = np.arange(people) % kind.folds
    names = np.array([f"fold-{fold}" for fold in range(kind.folds)])
    for _ in range(studies):
        model = generator.normal(0, kind.model, kind.folds)
        volumes = 1 + model + person_errors(kind, people, generator)
        out_of_fold = volumes[np.arange(people), fold_of]
        errors = FoldErrors(
            folds=names[fold_of].tolist(),
            relative=np.abs(1 - out_of_fold) / out_of_fold,
            weights=np.ones(people),
        )
        for members in 1 + kind.shift + model + person_errors(kind, NEW, generator, kind.apart):
            ensemble = members.mean()
            interval = volume_interval(
                ensemble, dict(zip(names, members / ensemble, strict=True)), errors, confidence
            )
            held = interval.low_mm3 <= 1 <= interval.high_mm3
            found.append((100 * held, interval.percent, 100 * interval.wide))
    held, half_width, wide = np.array(found, float).T
    return {
        "coverage": float(held.mean()),
        "half_width": float(np.median(half_width)),
        "wide": float(wide.mean()),
    }


def person_errors(kind: Kind, people: int, generator: np.random.Generator, apart: float = 1.0) -> np.ndarray:
    """Return relative errors (people, folds) that all models share, and those of a person with each model."""
    size = generator.lognormal(0, 0.5, (people, 1)) if kind.heavy else np.ones((people, 1))
    own = generator.normal(0, kind.own, (people, 1))
    return size * (own + apart * generator.normal(0, kind.both, (people, kind.folds)))


if __name__ == "__main__":
    main()
