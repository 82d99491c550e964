"""The plane of the slices that a page or figure shows one after another: how arrays are turned, and the words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.acquired_slices import PLANES

_AXES = "zyx"
EDGES = ("left", "right", "top", "bottom")


@dataclass(frozen=True, kw_only=True)
class SlicePlane:
    """Slices that follow one another along an axis of the patient.

    Attributes:
        axis: z, y or x of an array (z, y, x), z towards the head, y to the back, x to the patient's left.
        letters: at EDGES of a slice; empty where none is written.
        seen: from where a slice is seen, and what lies at its edges.
        start, stop: where the first and the last slice lie.
        beyond: where a slice lies, after its distance from the first one.
    """

    axis: str
    letters: tuple[str, str, str, str]
    seen: str
    start: str
    stop: str
    beyond: str

    @property
    def name(self) -> str:
        """Return axial, coronal or sagittal."""
        return PLANES[self.axis]

    def turn(self, array_zyx: np.ndarray) -> np.ndarray:
        """Return an array (z, y, x) as slices (slice, row, column), in the order and orientation of this plane."""
        if self.axis == "z":
            return array_zyx
        return np.ascontiguousarray(np.moveaxis(array_zyx, _AXES.index(self.axis), 0)[:, ::-1])

    def spacing(self, spacing_mm_zyx: Sequence[float]) -> tuple[float, float, float]:
        """Return the distance of slices, of rows and of columns, mm."""
        along = dict(zip(_AXES, spacing_mm_zyx, strict=True))
        return along.pop(self.axis), *along.values()


AXIAL = SlicePlane(
    axis="z",
    letters=("R", "L", "", ""),
    seen="Seen from the feet: the patient's left is on the right (L), anterior is at the top.",
    start="the lower end",
    stop="top",
    beyond="above the lower end",
)
_CORONAL = SlicePlane(
    axis="y",
    letters=("R", "L", "S", "I"),
    seen="Seen from the front: the patient's left is on the right (L), the head is at the top (S).",
    start="the front",
    stop="back",
    beyond="behind the front",
)
_SAGITTAL = SlicePlane(
    axis="x",
    letters=("A", "P", "S", "I"),
    seen="Seen from the patient's left: anterior is on the left (A), the head is at the top (S).",
    start="the right end",
    stop="left end",
    beyond="left of the right end",
)


def plane_along(axis: str) -> SlicePlane:
    """Return the plane of the slices that follow one another along an axis: z, y or x."""
    return {plane.axis: plane for plane in (AXIAL, _CORONAL, _SAGITTAL)}[axis]
