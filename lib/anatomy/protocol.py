"""What an anatomy offers beyond its entry in `lib.catalog.anatomies`: the protocol that each of them implements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import SimpleITK as sitk

from lib.catalog.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Which slices of a structure belong to which of its regions.

    Attributes:
        slices: region -> its slices along z, index 0 the most distal; regions do not overlap.
        missing: region -> the reason why it is not in `slices`.
    """

    slices: Mapping[str, slice] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


class AnatomyMethods(Protocol):
    """How the scans and masks of an anatomy are judged and divided.

    Masks are binary images on patient axes; `side` is left, right, or empty for an anatomy without sides.
    """

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
