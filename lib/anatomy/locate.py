"""Where the window of a scan lies: around its anatomy, in the middle of the image, or where the table says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.anatomy.methods import METHODS
from lib.anatomy.protocol import Location, Locator
from lib.catalog.anatomies import part_in_words
from lib.catalog.reasons import Reason
from lib.crop_settings import CropConfig
from lib.errors import ScanError
from lib.imaging.crop import CropCenter, FindMargins, middle_of
from lib.imaging.grid import column_index, column_mm, slice_index


@dataclass(frozen=True, kw_only=True)
class WindowRequest:
    """The window that a study and its cohort table ask for.

    Attributes:
        anatomy: a name of `lib.catalog.anatomies`.
        side: `left` or `right` of the patient; empty for an anatomy without sides.
        center_mm_xy: the table's centre, LPS mm; None: it gives none.
    """

    anatomy: str
    side: str
    center_mm_xy: Sequence[float] | None = None

    @property
    def part(self) -> str:
        """What the window shows, such as "left hip"."""
        return part_in_words(self.anatomy, self.side)


@dataclass(frozen=True, kw_only=True)
class Located:
    """The result of a search: the location, None if there is none, and findings on it."""

    location: Location | None = None
    reasons: tuple[Reason, ...] = ()


def locator_of(anatomy: str, config: CropConfig) -> Locator | None:
    """Return the search for an anatomy by the crop's method; None: the method needs no search."""
    return METHODS[anatomy].locators.get(config.method)


def locate_anatomy(image: sitk.Image, asked: WindowRequest, config: CropConfig) -> Located:
    """Return where the anatomy lies in a scan on patient axes, by the table or else by the anatomy's search.

    Without a search there is no location, and only the table's centre is judged. Numbers are rounded as the
    screening file holds them.

    Raises:
        ScanError: the search does not find the anatomy.
    """
    locator = locator_of(asked.anatomy, config)
    if asked.center_mm_xy is not None:
        outside = _judge_place(image, asked.center_mm_xy)
        if outside or locator is None:
            return Located(reasons=tuple(outside))
        center_mm_xy = tuple(asked.center_mm_xy)
        given = Location(side=asked.side, center_mm_xy=center_mm_xy, evidence={"given": 1.0})
        reasons = locator.judge_given(image, given, config)
        return Located(location=_as_recorded(given), reasons=tuple(reasons))
    if locator is None:
        return Located()
    found = locator.locate(image, asked.side, config)
    words = f"{asked.part} found, but {'; '.join(found.doubts)}"
    reasons = (Reason("crop_uncertain", words),) if found.uncertain else ()
    return Located(location=_as_recorded(found), reasons=reasons)


def window_center(
    image: sitk.Image, asked: WindowRequest, config: CropConfig, location: Location | None
) -> CropCenter:
    """Return the centre of a scan's window: the table's, else that of the search, else the middle of the image.

    Args:
        image: the scan, original or resampled.
        asked: what the study and the cohort table ask for.
        config: the crop.
        location: where screening has found the anatomy; None: nowhere.

    Raises:
        ScanError: `not_in_view`, the method needs a search, and there is neither its location nor the table's centre.
    """
    locator = locator_of(asked.anatomy, config)
    if locator is None or asked.center_mm_xy is not None:
        return middle_of(image, asked.side, asked.center_mm_xy)
    if location is None or location.side != asked.side:
        raise ScanError(
            "not_in_view", f"screening has not found the {asked.part}; rerun screen_scan for this side"
        )
    return CropCenter(
        side=location.side,
        center_mm_xy=location.center_mm_xy,
        uncertain=location.uncertain,
        upper_end=locator.find_upper_end(location, config),
    )


def margins_of(anatomy: str, config: CropConfig) -> FindMargins | None:
    """Return the function that measures the distances from the bone to the window's border; None: there is none."""
    locator = locator_of(anatomy, config)
    if locator is None:
        return None
    return lambda window, in_view, center: locator.measure_margins(window, in_view, center, config)


def shown_slice(
    image: sitk.Image, anatomy: str, config: CropConfig, location: Location | None
) -> float | None:
    """Return the (fractional) index of the slice of a scan that tells most of the anatomy; None if unknown.

    Args:
        image: the scan, original or resampled.
        anatomy: its name.
        config: the crop.
        location: where screening has found the anatomy; None: nowhere.
    """
    locator = locator_of(anatomy, config)
    end = locator.find_upper_end(location, config) if locator and location else None
    return None if end is None else slice_index(image, end.point_mm_xyz)


def _as_recorded(location: Location) -> Location:
    return Location.from_json(location.to_json())


def _judge_place(image: sitk.Image, center_mm_xy: Sequence[float]) -> list[Reason]:
    """Return `crop_center_outside` if a centre does not lie in the image."""
    inside = zip(column_index(image, center_mm_xy), image.GetSize(), strict=False)
    if all(0 <= index <= count - 1 for index, count in inside):
        return []
    corners_mm = np.array([column_mm(image, ij) for ij in _corner_columns(image)])
    low_mm, high_mm = corners_mm.min(axis=0), corners_mm.max(axis=0)
    found = (
        f"({center_mm_xy[0]:.1f}, {center_mm_xy[1]:.1f}) mm; the scan lies from ({low_mm[0]:.1f}, "
        f"{low_mm[1]:.1f}) to ({high_mm[0]:.1f}, {high_mm[1]:.1f}) mm"
    )
    return [Reason("crop_center_outside", found)]


def _corner_columns(image: sitk.Image) -> list[tuple[int, int]]:
    columns, rows, _ = image.GetSize()
    return [(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)]
