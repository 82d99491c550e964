"""Pairs of reference and predicted volumes with their people and folds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of volumes (scans,) with people and folds (scans,) numbered from 0; no folds without cross-validation."""

    x: np.ndarray
    y: np.ndarray
    people: np.ndarray
    folds: np.ndarray | None

    @property
    def relative(self) -> tuple[np.ndarray, np.ndarray]:
        """Relative errors in percent of scans with a reference above 0, and the mask (scans,) of these."""
        some = self.x > 0
        return 100 * (self.y[some] - self.x[some]) / self.x[some], some

    @property
    def count(self) -> int:
        """Number of people."""
        return int(self.people.max()) + 1 if len(self.people) else 0


def finite_pairs(
    reference_mm3: Sequence[float],
    predicted_mm3: Sequence[float],
    subjects: Sequence[str],
    folds: Sequence[int] | None = None,
) -> Pairs:
    """Return the pairs (n,) in which both volumes are numbers, with people and folds numbered from 0.

    Raises:
        ValueError: the lengths differ.
    """
    x, y = np.asarray(reference_mm3, float), np.asarray(predicted_mm3, float)
    lengths = [len(x), len(y), len(subjects), len(subjects if folds is None else folds)]
    if len(set(lengths)) > 1:
        names = ("reference", "predicted", "subjects", "folds")
        told = ", ".join(f"{length} {name}" for length, name in zip(lengths, names, strict=True))
        raise ValueError(f"lengths differ: {told}")
    known = np.isfinite(x) & np.isfinite(y)
    _, people = np.unique(np.asarray(subjects, str)[known], return_inverse=True)
    numbered = None
    if folds is not None:
        _, numbered = np.unique(np.asarray(folds, int)[known], return_inverse=True)
    return Pairs(x=x[known], y=y[known], people=people, folds=numbered)
