"""Measure the coverage of the tables' 95 % intervals in simulated studies whose true values are known.

    python bench/coverage.py [--studies 2000] [--seed 1] [--only folds]

A study has n people of two sexes with volumes as in Zhao et al. 2020, Table 1. The difference predicted - reference
of scan j of person i, predicted by the model of fold k, is

    300 mm3 + model_k + person_i + residual_ij

The residuals have an SD of 1,000 mm3 where people have one scan; with two scans person and residual have 707 mm3
each. Where folds are drawn, models have an SD of 500 mm3. "skewed": errors of a gamma distribution of shape 2
(skewness 1.4); "growing": errors in proportion to the volume. Scores are 1 - gamma (shape 2, mean 0.02); with folds
each model multiplies its people's losses by a lognormal factor (sigma 0.3).

The true value is that of very many people: in rows "these models" for one set of models, in rows "a model trained
this way" for very many models. "these models, asked of all": how often the intervals for these models contain the
true value for very many models. The script prints shares in percent; * marks those outside 92 to 97.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.figures.covariates import spearman_interval
from lib.report_settings import AgreementConfig
from lib.stats.agreement import agreement_row
from lib.stats.concordance import concordance, intraclass_correlation
from lib.stats.estimates import r_squared
from lib.stats.jackknife import mean_interval, median_interval
from lib.stats.lines import fit_line
from lib.stats.paired import compare_paired
from lib.stats.precision import measure_precision
from lib.stats.subgroups import welch_interval

CONFIG = AgreementConfig()
BIAS, SD, MODEL_SD, LOSS, FACTOR = 300.0, 1000.0, 500.0, 0.01, 0.3
SHOWN = {
    "bias": "bias",
    "loa_low": "lower limit",
    "loa_high": "upper limit",
    "mae": "MAE",
    "rmse": "RMSE",
    "re_mean_percent": "mean RE",
    "mape_percent": "MAPE",
    "r2": "R²",
    "pearson_r": "r",
    "ccc": "CCC",
    "icc": "ICC",
    "slope": "slope",
    "proportional_bias": "trend",
    "score": "mean score",
    "paired": "paired difference",
}
LEAST, MOST = 92.0, 97.0


@dataclass(frozen=True, kw_only=True)
class Design:
    """People, scans of each, folds (0: one set of models), and the kind of errors of a study."""

    people: int
    folds: int = 0
    scans: int = 1
    errors: str = "normal"


@dataclass(frozen=True, kw_only=True)
class Study:
    """The data of a study: volumes and scores (scans,), and the person and fold of each scan."""

    x: np.ndarray
    y: np.ndarray
    score: np.ndarray
    paired: np.ndarray
    people: np.ndarray
    folds: np.ndarray


DESIGNS = {
    "people": [Design(people=n, errors=e) for e in ("normal", "growing", "skewed") for n in (10, 20, 40)],
    "scans": [Design(people=n, scans=2, errors=e) for e in ("normal", "skewed") for n in (10, 20, 40)],
    "folds": [
        Design(people=n, folds=k, errors=e)
        for e in ("normal", "skewed")
        for n, k in ((10, 3), (10, 5), (20, 5), (20, 10), (40, 5), (40, 10))
    ],
}


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=(*DESIGNS, "others"))
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    if given.only != "others":
        print("| people, scans, folds | errors | interval for | " + " | ".join(SHOWN.values()) + " |")
        print("| --- " * (3 + len(SHOWN)) + "|")
    for name, designs in DESIGNS.items():
        for design in designs if given.only in (None, name) else ():
            for asked, shares in coverage(design, given.studies, generator).items():
                print(line(design, asked, shares), flush=True)
    if given.only in (None, "others"):
        print("\n| interval | sample | share |\n| --- | --- | --- |")
        for what, sample, share in others(given.studies, generator):
            print(f"| {what} | {sample} | {cell(share)} |", flush=True)


def line(design: Design, asked: str, shares: Mapping[str, float]) -> str:
    """Return a row of the table."""
    shape = f"{design.people}, {design.scans}, {design.folds or '–'}"
    cells = [cell(shares[name]) if name in shares else "–" for name in SHOWN]
    return f"| {shape} | {design.errors} | {asked} | " + " | ".join(cells) + " |"


def cell(share: float) -> str:
    """Return a share in percent, with a star if it is outside 92 to 97."""
    return f"{share:.1f}" + ("" if LEAST <= share <= MOST else "*")


def coverage(design: Design, studies: int, generator: np.random.Generator) -> dict[str, dict[str, float]]:
    """Return, for each true value asked for, how often the intervals of each name contained it, in percent."""
    truth = true_values(design, generator)
    kinds = {"these models": "_ci"}
    if design.folds:
        kinds = {"a model trained this way": "_fold_ci", "these models, asked of all": "_ci"}
    held: dict[str, dict[str, list[bool]]] = {asked: {} for asked in kinds}
    for _ in range(studies):
        row = intervals(make_study(design, generator), design)
        for asked, end in kinds.items():
            for name in SHOWN:
                low, high = (row.get(f"{name}{end}_{side}", np.nan) for side in ("low", "high"))
                if np.isfinite([low, high]).all():
                    held[asked].setdefault(name, []).append(low <= truth[name] <= high)
    return {
        asked: {name: 100 * float(np.mean(values)) for name, values in names.items()}
        for asked, names in held.items()
    }


def make_study(design: Design, generator: np.random.Generator, *, crowd: bool = False) -> Study:
    """Draw a study; `crowd`: each scan has a person and a model of its own, for the true values."""
    n = design.people * design.scans
    people = np.arange(n) if crowd else np.repeat(np.arange(design.people), design.scans)
    folds = np.arange(n) if crowd else people % max(design.folds, 1)
    women = generator.random(n)[people] < 0.5
    size = generator.standard_normal(n)[people]
    x = np.where(women, 76_833 + 13_341 * size, 105_490 + 18_344 * size)
    parts = np.sqrt([1 / design.scans * (design.scans - 1), 1 / design.scans])
    error = SD * (parts[0] * draw(design, n, generator)[people] + parts[1] * draw(design, n, generator))
    error *= x / 91_161 if design.errors == "growing" else 1
    model = MODEL_SD * generator.standard_normal(n)[folds] if design.folds else 0
    factor = np.exp(FACTOR * generator.standard_normal(n)[folds]) if design.folds else 1
    loss = LOSS * generator.gamma(2, 1, n)[people] * factor
    other = MODEL_SD * generator.standard_normal(n)[folds] if design.folds else 0
    other = BIAS + other + SD * draw(design, n, generator)
    difference = BIAS + model + error
    paired = np.abs(difference) - np.abs(other)
    return Study(x=x, y=x + difference, score=1 - loss, paired=paired, people=people, folds=folds)


def draw(design: Design, n: int, generator: np.random.Generator) -> np.ndarray:
    """Draw errors of mean 0 and SD 1."""
    if design.errors == "skewed":
        return (generator.gamma(2, 1, n) - 2) / np.sqrt(2)
    return generator.standard_normal(n)


def true_values(design: Design, generator: np.random.Generator) -> dict[str, float]:
    """Return the values in a study of very many people."""
    crowd = Design(people=2_000_000, folds=design.folds, scans=1, errors=design.errors)
    if design.scans > 1:  # for independent people person and residual add up, each with half the variance
        crowd = Design(people=1_000_000, folds=design.folds, scans=2, errors=design.errors)
    study = make_study(crowd, generator, crowd=True)
    x, y, difference = study.x, study.y, study.y - study.x
    relative, reach = 100 * difference / x, stats.norm.ppf(0.975) * difference.std()
    return {
        "bias": difference.mean(),
        "loa_low": difference.mean() - reach,
        "loa_high": difference.mean() + reach,
        "mae": np.abs(difference).mean(),
        "rmse": np.sqrt(np.mean(difference**2)),
        "re_mean_percent": relative.mean(),
        "mape_percent": np.abs(relative).mean(),
        "r2": r_squared(x, y),
        "pearson_r": np.corrcoef(x, y)[0, 1],
        "ccc": concordance(x, y),
        "icc": intraclass_correlation(np.column_stack([x, y]), 0.95)[0],
        "slope": np.polyfit(x, y, 1)[0],
        "proportional_bias": np.polyfit((x + y) / 2, difference, 1)[0],
        "score": study.score.mean(),
        "paired": study.paired.mean(),
    }


def intervals(study: Study, design: Design) -> dict[str, float]:
    """Return the ends of the intervals of a study by name."""
    folds = study.folds if design.folds else None
    row = agreement_row(study.x, study.y, study.people, CONFIG, folds)
    ends = {"_ci": study.people} | ({"_fold_ci": study.folds} if design.folds else {})
    for end, groups in ends.items():
        low, high = mean_interval(study.score, groups, CONFIG.confidence, "complement")
        row |= {f"score{end}_low": low, f"score{end}_high": high}
    if design.scans == 1:
        # compare_paired takes the errors of two models and uses only their difference
        base = np.abs(study.paired).max()
        compared = compare_paired(base + study.paired, np.full(len(study.x), base), CONFIG, folds)
        for end in ends:
            for side in ("low", "high"):
                row[f"paired{end}_{side}"] = getattr(compared, f"difference_mm3{end}_{side}")
    return row


def others(studies: int, generator: np.random.Generator) -> list[tuple[str, str, float]]:
    """Return the other 95 % intervals: name, sample, share in percent that contain the true value."""
    rows = []
    for people in (4, 10, 30):
        repeated = np.repeat(np.arange(people), 2)

        def precise(repeated: np.ndarray = repeated, people: int = people) -> list[bool]:
            means = 90_000 + 20_000 * generator.standard_normal(people)
            found = measure_precision(
                means[repeated] * (1 + 0.005 * generator.standard_normal(2 * people)), repeated, 0.95
            )
            of_cv = found.rms_cv_percent_ci_low <= 0.5 <= found.rms_cv_percent_ci_high
            same = found.lsc_percent_ci_low <= 0.5 * 2.77 <= found.lsc_percent_ci_high
            return [of_cv, same]

        shares = share(precise, studies)
        for name, value in zip(("RMS-CV", "LSC, %"), shares, strict=True):
            rows.append((name, f"{people} degrees of freedom", value))
    for n in (10, 20, 40):
        rho = 6 / np.pi * np.arcsin(0.4 / 2)

        def ranked(n: int = n, rho: float = rho) -> list[bool]:
            x = generator.standard_normal(n)
            y = 0.4 * x + np.sqrt(1 - 0.16) * generator.standard_normal(n)
            low, high = spearman_interval(x, y)
            return [low <= rho <= high]

        rows.append(("Spearman's ρ", f"{n} people", share(ranked, studies)[0]))

        def halves(n: int = n) -> list[bool]:
            first, second = generator.standard_normal(n // 2), 2 * generator.standard_normal(n - n // 2)
            low, high = welch_interval(first, second, 0.95)
            loss = generator.gamma(2, 1, n)
            below, above = median_interval(loss, 0.95)
            line = fit_line(np.arange(n, dtype=float), generator.standard_normal(n), 0.95)
            return [
                low <= 0 <= high,
                below <= stats.gamma.ppf(0.5, 2) <= above,
                line.slope_ci[0] <= 0 <= line.slope_ci[1],
            ]

        names = ("difference of subgroups", "median", "trend line in figures")
        rows += [
            (name, f"{n} people", value) for name, value in zip(names, share(halves, studies), strict=True)
        ]
    return rows


def share(test: Callable[[], list[bool]], studies: int) -> list[float]:
    """Return how often each answer of a trial is yes, in percent."""
    return [100 * float(value) for value in np.mean([test() for _ in range(studies)], axis=0)]


if __name__ == "__main__":
    main()
