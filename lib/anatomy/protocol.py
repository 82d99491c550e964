"""What an anatomy offers beyond its entry in `lib.catalog.anatomies`: the protocol that each of them implements."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from lib.catalog.reasons import Reason
from lib.crop_settings import CropConfig
from lib.imaging.crop import CropCenter, UpperEnd


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Which voxels of a structure belong to which of its regions.

    Attributes:
        parts: region -> its slices along z, index 0 the most distal, or its voxels, bool (z, y, x); regions do not
            overlap.
        missing: region -> the reason why it is not in `parts`.
    """

    parts: Mapping[str, slice | np.ndarray] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where the anatomy lies in a scan: the entry `location` of the screening file.

    Attributes:
        side: `left` or `right` of the patient; empty for an anatomy without sides.
        center_mm_xy: centre for the window, LPS mm at the height of the image's centre.
        evidence: measurements behind it, by names that the anatomy gives them; only `given` for the table's centre.
        doubts: why the location may be wrong, in words.
    """

    side: str
    center_mm_xy: tuple[float, float]
    evidence: Mapping[str, float | None] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def uncertain(self) -> bool:
        """Whether there are doubts."""
        return bool(self.doubts)

    def to_json(self) -> dict:
        """Return the location as a JSON object with six digits a number; None: not a number (JSON has no NaN)."""
        return {
            "side": self.side,
            "center_mm_xy": [_rounded(position) for position in self.center_mm_xy],
            "uncertain": self.uncertain,
            "doubts": list(self.doubts),
            "evidence": {name: _rounded(value) for name, value in sorted(self.evidence.items())},
        }

    @classmethod
    def from_json(cls, found: Mapping | None) -> "Location | None":
        """Return the location that a screening file holds; None if it holds none."""
        if found is None:
            return None
        return cls(
            side=found["side"],
            center_mm_xy=tuple(found["center_mm_xy"]),
            evidence=found["evidence"],
            doubts=tuple(found["doubts"]),
        )


def _rounded(value: float) -> float | None:
    number = float(value)
    return float(f"{number:.6g}") if math.isfinite(number) else None


class Locator(Protocol):
    """A search for the anatomy in scans: one of the crop's methods.

    Attributes:
        near_mm: what lies within this distance of the centre, along x and y, belongs to the bone that was searched
            for, and not to its counterpart on the other side or to another bone.
    """

    near_mm: float

    def locate(self, image: sitk.Image, side: str, config: CropConfig) -> Location:
        """Find the anatomy in a scan on patient axes.

        Raises:
            ScanError: it is not in view.
        """

    def judge_given(self, image: sitk.Image, given: Location, config: CropConfig) -> list[Reason]:
        """Return what speaks against the centre that the cohort table gives; it lies in the image."""

    def find_upper_end(self, location: Location, config: CropConfig) -> UpperEnd | None:
        """Return where the window ends above, None if with the image; pictures show the slice of its point."""

    def measure_margins(
        self, window: sitk.Image, in_view: tuple[slice, slice], center: CropCenter, config: CropConfig
    ) -> Mapping[str, float]:
        """Return the distances in mm from the bone to borders of the window, by border; empty if there is no bone.

        Args:
            window: the cropped scan.
            in_view: its index ranges (x, y) that lie in the scan.
            center: the window's centre.
            config: the crop.
        """


@dataclass(frozen=True, kw_only=True)
class JudgedLabels:
    """The structures of a prediction, to be judged together.

    Attributes:
        structures: their names; number n (from 1) has the value n in the label maps.
        labels: label map on the grid of the crop.
        raw_zyx: by structure its mask (z, y, x) on that grid before its largest piece was chosen.
        full: label map on the grid of the converted scan.
        image: the converted scan, HU.
        erode_mm: how deep below the surface the inner part of a structure begins, mm.
        metal_hu: intensity above which a voxel is metal, HU.
        contrast: whether it was made with contrast medium, `yes` or `no`; empty: not known.
        kvp: tube voltage, kV; None: not known.
    """

    structures: Sequence[str]
    labels: sitk.Image
    raw_zyx: Sequence[np.ndarray]
    full: sitk.Image
    image: sitk.Image
    erode_mm: float
    metal_hu: float
    contrast: str = ""
    kvp: float | None = None


class AnatomyMethods(Protocol):
    """How the scans and masks of an anatomy are searched, judged and divided.

    Masks are binary images on patient axes; `side` is left, right, or empty for an anatomy without sides.

    Attributes:
        locators: its searches by the crop's method; the methods `centre` and `none` need no search.
    """

    locators: Mapping[str, Locator]

    def judge_reference(
        self, labels: sitk.Image, image: sitk.Image | None, structures: Iterable[str], acquired_axis: str
    ) -> list[Reason]:
        """Return the reasons why a label map cannot be a reference, and warnings.

        Args:
            labels: values 1 to n in the order of `structures`; not empty.
            image: the scan in HU on its grid; None if its values are not HU.
            structures: their names.
            acquired_axis: patient axis along which the slices of the scan were acquired.
        """

    def find_regions(self, mask: sitk.Image, side: str) -> Regions:
        """Return the regions of a structure, none if the anatomy has none."""

    def measure_end(
        self, mask: sitk.Image, reference: sitk.Image | None, side: str, settings: Mapping
    ) -> dict:
        """Return what is measured at the end of a structure where the scan may cut it, with `flags` and `undefined`.

        `settings` are the section `measure` of the configuration.
        """

    def find_levels(self, judged: JudgedLabels) -> dict[str, dict]:
        """Return what was found of each level, by its name, and of all of them with the key `scan`.

        Only for an anatomy with levels. Flags are keys of `lib.catalog.level_flags.LEVEL_FLAGS`.
        """
