"""Simulate studies whose networks are equally good, and measure what the comparisons of networks find there.

    python bench/network_selection.py [--studies 400] [--people 62] [--samples 2000] [--seed 1]

A study has n people and eight networks; the Dice of person i by network m is 0.95 + person_i - loss_im, with an SD of
0.02 between people and losses of a gamma distribution of shape 2 and SD 0.01: no network is better than another. Two
designs: 2-D and 3-D networks are 2 and 6 (the larger kind has more to choose from), or 4 and 4.

For each design the script gives, over the studies, mean and standard error (SE) of the difference between the best
3-D and the best 2-D network: `naive`, each chosen and scored on all people; `nested`, chosen inside the resampling
(`lib.stats.selection`); and for both the share of studies in which 0 lies outside the 95 % interval (naive:
Wilcoxon's p < 0.05). `width_over_spread` is the mean width of the nested interval over 2 x 1.96 SD of the nested
difference between studies: 1 if the interval were as wide as that difference is uncertain.

`tests` are the shares of studies in which one test of two networks named beforehand rejects at 0.05 (`signed_rank`),
in which any of seven tests against a control does, before and after Holm's correction, and in which the
Hodges-Lehmann interval holds the true difference. Shares are percent. It prints one line of JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.stats.selection import choose_best, resample_people
from lib.stats.signed_rank import holm, signed_rank

NETWORKS, LEVEL = 8, 0.05
DESIGNS = {"2 against 6": 2, "4 against 4": 4}  # the number of 2-D networks, which come first
PERSON_SD, LOSS_SD = 0.02, 0.01


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--people", type=int, default=62)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    given, start = parser.parse_args(), time.process_time()
    generator = np.random.default_rng(given.seed)
    studies = [draw_scores(given.people, generator) for _ in range(given.studies)]
    found = {
        name: selections(studies, flat, given.samples, np.random.default_rng(given.seed + 1))
        for name, flat in DESIGNS.items()
    }
    figures = {"bench": "network_selection", **vars(given), **found, "tests": tests(studies)}
    print(json.dumps(figures | {"cpu_s": round(time.process_time() - start, 1)}))


def draw_scores(people: int, generator: np.random.Generator) -> np.ndarray:
    """Return the Dice (people, NETWORKS) of equally good networks."""
    losses = LOSS_SD / np.sqrt(2) * generator.gamma(2, 1, (people, NETWORKS))
    return 0.95 + PERSON_SD * generator.standard_normal((people, 1)) - losses


def selections(
    studies: list[np.ndarray], flat: int, samples: int, generator: np.random.Generator
) -> dict[str, Mapping]:
    """Return the naive and the nested comparison of the best of the first `flat` networks with that of the others."""
    rows = []
    for scores in studies:
        resamples = resample_people(scores, samples, generator)
        two, three = (choose_best(scores, resamples, range(*ends)) for ends in ((0, flat), (flat, NETWORKS)))
        outside, inside = three.outside - two.outside, three.inside - two.inside
        low, high = np.quantile(outside, [LEVEL / 2, 1 - LEVEL / 2])
        tested = signed_rank(scores[:, three.best], scores[:, two.best], 1 - LEVEL)
        naive = three.apparent - two.apparent, tested.p_value < LEVEL
        rows.append([*naive, outside.mean(), not low <= 0 <= high, (inside - outside).mean(), high - low])
    table = np.array(rows, float)
    width = table[:, 5].mean() / (2 * 1.96 * table[:, 2].std(ddof=1))
    more = {"optimism": float(f"{table[:, 4].mean():.3g}"), "width_over_spread": round(float(width), 2)}
    return {
        "naive": summary(table[:, 0], table[:, 1]),
        "nested": summary(table[:, 2], table[:, 3]) | more,
    }


def summary(differences: np.ndarray, beyond: np.ndarray) -> dict[str, float]:
    """Return mean, standard error and their ratio of differences (studies,), and how often 0 was excluded."""
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(len(differences))
    return {
        "mean": float(f"{mean:.3g}"),
        "se": float(f"{error:.3g}"),
        "mean_in_se": round(float(mean / error), 2),
        "zero_excluded_percent": round(100 * float(beyond.mean()), 1),
    }


def tests(studies: list[np.ndarray]) -> dict[str, float]:
    """Return how often tests reject although no network is better, and how often the interval holds 0, in percent."""
    found = []
    for scores in studies:
        control, *others = scores.T
        family = [signed_rank(other, control, 1 - LEVEL) for other in others]
        p_values = np.array([tested.p_value for tested in family])
        low, high = family[0].interval
        rejected = p_values[0] < LEVEL, (p_values < LEVEL).any(), min(holm(p_values)) < LEVEL
        found.append([*rejected, low <= 0 <= high])
    names = ("one_test", "any_of_seven", "any_of_seven_holm", "interval_holds_truth")
    return dict(zip(names, (100 * np.mean(found, axis=0)).round(2).tolist(), strict=True))


if __name__ == "__main__":
    main()
