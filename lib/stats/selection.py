"""The best network, with its choice inside the resampling: what the best of several networks owes to being chosen.

The network with the highest mean score of n people scores lower, on average, on other people than on those by whom it
was chosen, and the more networks there are to choose from, the more. Here each of B bootstrap samples (n people drawn
with replacement) chooses the best network anew, which is then scored on the people who are not in the sample:

    optimism    mean over the samples of (mean score on the sample - mean score on the people left out)
    corrected   mean over the samples of the mean score on the people left out

of the network that the sample chose; likewise for the difference between the best networks of two kinds, each chosen
by the same sample (the leave-one-out bootstrap of Efron & Tibshirani, J Am Stat Assoc 1997;92:548). People in a
sample and people left out are different people, so that `corrected` is unbiased for the score of a network that is
chosen this way on about 0.63 n people; for networks of equal skill the corrected difference is centred on 0. The
percentile interval is that of means over the people left out, about 0.37 n: it is wider than the uncertainty of
`corrected`, and `bench/network_selection.py` measures by how much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.seeding import derive_seed
from lib.stats.network_plan import KEYS, NetworkPlan, person_values, subsets_of_networks
from lib.stats.undefined import NAN, NO_INTERVAL, Interval, explain, interval_columns

SELECTION_MEASURE = "dsc"
CHOSEN_BY = "mean DSC"
SELECTION_COLUMNS = (
    *(*KEYS, "best_of", "candidates", "n", "chosen_by", "chosen", "chosen_share"),
    *("dsc", "optimism", "dsc_corrected", "dsc_corrected_ci_low", "dsc_corrected_ci_high"),
    *("bootstrap", "undefined"),
)
TWO, THREE = "2-D", "3-D"
DIFFERENCE = "3-D against 2-D"
KINDS = {2: TWO, 3: THREE}


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """Mean scores by bootstrap sample (samples, networks): on the people of the sample, and on those left out."""

    inside: np.ndarray
    outside: np.ndarray


@dataclass(frozen=True, kw_only=True)
class BestNetwork:
    """The best of several networks.

    Attributes:
        best: its position among all networks.
        apparent: its mean score on all people.
        agrees: whether a sample chose it, too (samples,).
        inside: mean score of each sample's choice on the sample (samples,).
        outside: the same on the people left out.
    """

    best: int
    apparent: float
    agrees: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def resample_people(scores: np.ndarray, samples: int, generator: np.random.Generator) -> Resamples:
    """Draw bootstrap samples of n people and return the mean scores inside and outside them.

    Args:
        scores: (n, networks), one score a person and network.
        samples: number of draws; a sample that leaves nobody out is dropped.
        generator: of the draws.
    """
    n = len(scores)
    drawn = generator.multinomial(n, np.full(n, 1 / n), size=samples)
    drawn = drawn[(drawn == 0).any(axis=1)]
    out = (drawn == 0).astype(float)
    return Resamples(inside=drawn @ scores / n, outside=out @ scores / out.sum(axis=1, keepdims=True))


def choose_best(scores: np.ndarray, resamples: Resamples, candidates: Sequence[int]) -> BestNetwork:
    """Return the best of the candidates (positions of networks) on all people, and the choice of each sample.

    Of equally good ones the first is chosen.
    """
    places = np.asarray(candidates)
    means = scores.mean(axis=0)
    best = places[np.argmax(means[places])]
    chosen = places[np.argmax(resamples.inside[:, places], axis=1)]
    rows = np.arange(len(chosen))
    return BestNetwork(
        best=int(best),
        apparent=float(means[best]),
        agrees=chosen == best,
        inside=resamples.inside[rows, chosen],
        outside=resamples.outside[rows, chosen],
    )


def selection_table(metrics: pd.DataFrame, plan: NetworkPlan) -> pd.DataFrame:
    """Return SELECTION_COLUMNS: the best 2-D network, the best 3-D one and their difference (3-D - 2-D).

    Rows by group, protocol and structure. A person counts with the mean over their scans, and only if every network
    of known dimensions predicted them. Kinds with fewer than two networks have a row, too, if the other kind has
    several; where there is one network in all, nothing is chosen and there are no rows.
    """
    rows = []
    for key, subset in subsets_of_networks(metrics):
        values = person_values(subset, SELECTION_MEASURE)
        names = [name for name in plan.in_order(values) if plan.dimensions(name)]
        if len(names) > 1:
            scores = values[names].dropna().to_numpy(float)
            kinds = {
                kind: [place for place, name in enumerate(names) if plan.dimensions(name) == dimensions]
                for dimensions, kind in KINDS.items()
            }
            rows += _rows(key, names, kinds, scores, plan)
    return pd.DataFrame(rows, columns=list(SELECTION_COLUMNS))


def _rows(
    key: Mapping, names: Sequence[str], kinds: Mapping[str, list[int]], scores: np.ndarray, plan: NetworkPlan
) -> list[dict]:
    """Return the rows of one group, protocol and structure."""
    generator = np.random.default_rng(derive_seed(plan.seed, "selection", *key.values()))
    told = {"n": len(scores), "chosen_by": CHOSEN_BY, "bootstrap": plan.asked.bootstrap}
    if not len(scores):
        return []
    resamples = resample_people(scores, plan.asked.bootstrap, generator)
    choices = {kind: choose_best(scores, resamples, places) for kind, places in kinds.items() if places}
    rows = [
        {
            "best_of": kind,
            "candidates": len(kinds[kind]),
            "chosen": names[choice.best],
            "dsc": choice.apparent,
        }
        | _corrected(choice.inside, choice.outside, choice.agrees, plan, len(scores))
        for kind, choice in choices.items()
    ]
    if len(choices) == len(KINDS):
        two, three = choices[TWO], choices[THREE]
        difference = three.inside - two.inside, three.outside - two.outside, three.agrees & two.agrees
        rows.append(
            {"best_of": DIFFERENCE, "candidates": len(names), "dsc": three.apparent - two.apparent}
            | {"chosen": f"{names[three.best]} against {names[two.best]}"}
            | _corrected(*difference, plan, len(scores))
        )
    why = {"dsc_corrected_ci": f"fewer than {plan.asked.min_people} people"} if len(resamples.outside) else {}
    return [explain(dict(key) | told | row, why, "no sample leaves anybody out") for row in rows]


def _corrected(
    inside: np.ndarray, outside: np.ndarray, agrees: np.ndarray, plan: NetworkPlan, people: int
) -> dict[str, float]:
    """Return optimism, corrected score with its percentile interval, and stability of a choice (samples,)."""
    if not len(outside):
        numbers = dict.fromkeys(("chosen_share", "optimism", "dsc_corrected"), NAN)
        return numbers | interval_columns("dsc_corrected", NO_INTERVAL)
    interval: Interval = NO_INTERVAL
    if people >= plan.asked.min_people:
        tail = (1 - plan.confidence) / 2
        low, high = np.quantile(outside, [tail, 1 - tail])
        interval = float(low), float(high)
    return {
        "chosen_share": float(agrees.mean()),
        "optimism": float(np.mean(inside - outside)),
        "dsc_corrected": float(outside.mean()),
        **interval_columns("dsc_corrected", interval),
    }
