"""Checks that the slices of a series form one upright, evenly spaced volume, from their positions alone.

InstanceNumber, SliceLocation, SpacingBetweenSlices and SliceThickness are not used, because they are often wrong;
ImagePositionPatient and ImageOrientationPatient are what the scanner measured.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.catalog.reasons import Reason
from lib.errors import ScanError
from lib.imaging.grid import GRID_TOLERANCE_VOXELS, obliquity_degrees
from lib.reading.headers import SliceHeader
from lib.screening_settings import ScreeningConfig

_SAME_DIRECTION_DEGREES = 0.01
_LISTED = 5  # positions listed in a finding; the rest is counted

# The largest tilt of a CT gantry; a larger angle between stacking direction and normal is not a gantry tilt.
_MAX_GANTRY_DEGREES = 30.0
# Larger gaps are not interpolated: the lesser trochanter is about 15 mm high.
_MAX_BRIDGED_MM = 10.0

_OPPOSITES = ("LR", "PA", "SI")  # letters of the patient directions along x, y, z

# A volume rotated further than this against the patient's axes is flagged.
_OBLIQUE_DEGREES = 10.0


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The grid of a converted scan: index axes nearest to +L, +P, +S."""

    size_xyz: tuple[int, int, int]
    spacing_mm_xyz: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    direction: tuple[float, ...]  # ITK's nine numbers: columns are the index axes
    stored_axes: (
        str  # letters of the patient directions in which the stored axes (column, row, slice) count up
    )
    source: str  # dicom, or the kind of image file
    slices_read: int

    @property
    def acquired_axis(self) -> str:
        """Patient axis (x, y or z) along which the slices were acquired.

        Of DICOM the one nearest to the slice normal; an image file does not state it, so there it is the axis with
        the largest spacing, z if several are equal.
        """
        if self.source == "dicom":
            return "xyz"[
                next(axis for axis, letters in enumerate(_OPPOSITES) if self.stored_axes[2] in letters)
            ]
        return max("zyx", key=lambda axis: round(self.spacing_mm_xyz["xyz".index(axis)], 6))

    @property
    def length_mm(self) -> float:
        """Extent from feet to head, mm."""
        return self.size_xyz[2] * self.spacing_mm_xyz[2]

    def to_json(self) -> dict:
        """Return the geometry as a JSON object."""
        return {
            "size_xyz": list(self.size_xyz),
            "spacing_mm_xyz": [round(edge, 6) for edge in self.spacing_mm_xyz],
            "origin_mm_xyz": [round(position, 4) for position in self.origin_mm_xyz],
            "direction": [round(cosine, 8) for cosine in self.direction],
            "oblique_degrees": round(obliquity_degrees(self.direction), 3),
            "stored_axes": self.stored_axes,
            "acquired_axis": self.acquired_axis,
            "source": self.source,
            "slices_read": self.slices_read,
            "length_mm": round(self.length_mm, 4),
        }


def geometry_of(image: sitk.Image, *, stored_axes: str, source: str, slices_read: int) -> Geometry:
    """Return the geometry of `image`, whose index axes are nearest to the patient's."""
    return Geometry(
        size_xyz=image.GetSize(),
        spacing_mm_xyz=image.GetSpacing(),
        origin_mm_xyz=image.GetOrigin(),
        direction=image.GetDirection(),
        stored_axes=stored_axes,
        source=source,
        slices_read=slices_read,
    )


def require_same_geometry(geometry: Geometry, screened: Mapping) -> None:
    """Refuse a scan whose source has changed since screening, for example by losing an end slice.

    Raises:
        ScanError: `unreadable_file`.
    """
    if geometry.to_json() != dict(screened):
        raise ScanError(
            "unreadable_file",
            f"the source has changed since it was screened: it held {screened['slices_read']} slices over "
            f"{screened['length_mm']:g} mm then, and holds {geometry.slices_read} over {geometry.length_mm:g} mm; "
            "delete its file in results/screened/ and run again",
        )


def check_obliquity(geometry: Geometry) -> list[Reason]:
    """Return a warning if the volume is rotated noticeably against the patient's axes."""
    degrees = obliquity_degrees(geometry.direction)
    if degrees <= _OBLIQUE_DEGREES:
        return []
    return [
        Reason("oblique_orientation", f"volume turned by {degrees:.2f} degrees against the patient's axes")
    ]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Slices in the order of their positions, and the grid on which they are delivered.

    Attributes:
        slices: from the feet for axial slices, from the right for sagittal ones, from the front for coronal ones.
        normal: unit vector in which slice numbers increase.
        step_mm: distance of the delivered slices along the normal.
        corrected: whether slices are not on that grid (tilt, uneven distances) and must be interpolated onto it.
    """

    slices: tuple[SliceHeader, ...]
    normal: tuple[float, float, float]
    step_mm: float
    corrected: bool = False

    @property
    def direction(self) -> tuple[float, ...]:
        """ITK's direction of the stacked array: columns are the directions of x, y and slice index."""
        first = self.slices[0]
        columns = (first.row_direction, first.column_direction, self.normal)
        return tuple(np.stack(columns, axis=1).ravel().tolist())

    @property
    def offsets_mm(self) -> np.ndarray:
        """Offset of each slice from the first one (slices, 3): along rows, columns and the normal."""
        positions_mm = np.array([one.position_mm for one in self.slices])
        return (positions_mm - positions_mm[0]) @ np.reshape(self.direction, (3, 3))

    def image(self, volume: np.ndarray, first_mm: Sequence[float] = (0.0, 0.0, 0.0)) -> sitk.Image:
        """Return `volume` (slice, row, column) as an image at its position in the patient, axes as stored.

        Args:
            volume: Voxels on the delivered grid.
            first_mm: Offset of its first voxel from the first pixel of the first slice: along rows, columns, normal.
        """
        image = sitk.GetImageFromArray(volume)
        away_mm = np.reshape(self.direction, (3, 3)) @ np.asarray(first_mm)
        image.SetOrigin((np.array(self.slices[0].position_mm) + away_mm).tolist())
        image.SetSpacing((*self.slices[0].pixel_mm_xy, self.step_mm))
        image.SetDirection(self.direction)
        return image


def stack_slices(slices: Sequence[SliceHeader], config: ScreeningConfig) -> tuple[Stack, list[Reason]]:
    """Order `slices` along their normal and return them with the findings on their geometry.

    Slices are numbered from 1 in that order. If a reason is a refusal, the stack only gives the order of reading.
    """
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda one: (float(np.dot(one.position_mm, normal)), one.file, one.frame))
    positions_mm = np.array([one.position_mm for one in ordered])
    along_mm = positions_mm @ normal
    reasons = _check_sizes(ordered)
    turned = _check_parallel(ordered)
    # positions along a normal are undefined if the slices have several normals
    reasons += turned or _check_positions(positions_mm, normal, config)
    codes = {reason.code for reason in reasons}
    # rounded to nine decimals: differences of decimal positions are not exact in binary
    step_mm = round(float((along_mm[-1] - along_mm[0]) / max(len(ordered) - 1, 1)), 9)
    if "slices_interpolated" in codes:
        step_mm = round(_even_step_mm(np.diff(along_mm)), 9)
    corrected = bool(codes & {"slices_interpolated", "tilt_corrected"})
    stack = Stack(slices=tuple(ordered), normal=tuple(normal.tolist()), step_mm=step_mm, corrected=corrected)
    return stack, reasons


def _check_sizes(slices: Sequence[SliceHeader]) -> list[Reason]:
    if all(_same_size(one, slices[0]) for one in slices):
        return []
    sizes = Counter(
        f"{one.columns}x{one.rows} pixels of {one.pixel_mm_xy[0]:.7g}x{one.pixel_mm_xy[1]:.7g} mm"
        for one in slices
    )
    listed = ", ".join(f"{count} slices with {size}" for size, count in sizes.most_common(_LISTED))
    return [Reason("mixed_size", listed)]


def _same_size(one: SliceHeader, other: SliceHeader) -> bool:
    """Return whether two slices have the same pixels, to GRID_TOLERANCE_VOXELS of an edge.

    Headers state sizes with few and varying digits.
    """
    counts = (one.columns, one.rows)
    return counts == (other.columns, other.rows) and all(
        count * abs(mine_mm - their_mm) <= GRID_TOLERANCE_VOXELS * min(one.pixel_mm_xy)
        for count, mine_mm, their_mm in zip(counts, one.pixel_mm_xy, other.pixel_mm_xy, strict=True)
    )


def _check_parallel(slices: Sequence[SliceHeader]) -> list[Reason]:
    axes = np.array([(*one.row_direction, *one.column_direction) for one in slices])
    # the angle of two unit vectors from their distance: accurate at small angles, where the cosine is flat
    chords = np.maximum(
        np.linalg.norm(axes[:, :3] - axes[0, :3], axis=1), np.linalg.norm(axes[:, 3:] - axes[0, 3:], axis=1)
    )
    degrees = np.degrees(2 * np.arcsin(np.clip(chords / 2, 0, 1)))
    turned = int((degrees > _SAME_DIRECTION_DEGREES).sum())
    if not turned:
        return []
    return [
        Reason(
            "mixed_orientation",
            f"{turned} of {len(slices)} slices turned by up to {degrees.max():.2f} degrees",
        )
    ]


def _check_positions(positions_mm: np.ndarray, normal: np.ndarray, config: ScreeningConfig) -> list[Reason]:
    """Check parallel slices, ordered along `normal`, for copies, gaps, tilt and shifts."""
    along_mm = positions_mm @ normal
    steps_mm = np.diff(along_mm)
    usual_mm = _usual_step_mm(steps_mm, config)
    reasons = _check_copies(steps_mm, config)
    if usual_mm == 0.0 or any(reason.code == "several_volumes" for reason in reasons):
        return reasons
    reasons += _check_steps(steps_mm, usual_mm, config)
    reasons += _check_tilt(positions_mm, normal, config)
    return reasons + _check_straight(positions_mm, normal, config.spacing_tolerance(usual_mm))


def _usual_step_mm(steps_mm: np.ndarray, config: ScreeningConfig) -> float:
    """Return the median distance of slices at different positions; 0 if all are at the same position."""
    apart_mm = steps_mm[steps_mm > config.spacing_tolerance_mm]
    return float(np.median(apart_mm)) if apart_mm.size else 0.0


def _check_copies(steps_mm: np.ndarray, config: ScreeningConfig) -> list[Reason]:
    copies = np.flatnonzero(steps_mm <= config.spacing_tolerance_mm)
    if not copies.size:
        return []
    counts = np.diff([0, *(np.flatnonzero(steps_mm > config.spacing_tolerance_mm) + 1), steps_mm.size + 1])
    if len(counts) > 1 and len(set(counts.tolist())) == 1:
        found = f"{counts[0]} slices at each of {len(counts)} positions"
        return [Reason("several_volumes", found)]
    places = _listed([f"{k + 1}-{k + 2}" for k in copies])
    return [
        Reason(
            "duplicate_positions",
            f"{copies.size} of {steps_mm.size + 1} slices repeat a position (slices {places})",
        )
    ]


def _check_steps(steps_mm: np.ndarray, usual_mm: float, config: ScreeningConfig) -> list[Reason]:
    uneven = (np.abs(steps_mm - usual_mm) > config.spacing_tolerance(usual_mm)) & (
        steps_mm > config.spacing_tolerance_mm
    )
    if not uneven.any():
        return _check_drift(steps_mm, config)
    multiples = steps_mm[uneven] / usual_mm
    gaps = np.rint(multiples)
    missing = bool((gaps >= 2).all() and (np.abs(multiples - gaps) < 0.05).all())
    distances = ", ".join(f"{step:.3f}" for step in np.unique(np.round(steps_mm[uneven], 3))[:_LISTED])
    places = _listed([f"{k + 1}-{k + 2}" for k in np.flatnonzero(uneven)])
    found = f"slice distances {usual_mm:.3f} and {distances} mm at slices {places} of {steps_mm.size + 1}"
    refusal = Reason("uneven_slices", found)
    if missing:
        refusal = Reason("missing_slices", f"{found}: {int((gaps - 1).sum())} slice(s) missing")
    return [_interpolated_or(refusal, steps_mm, config)]


def _check_drift(steps_mm: np.ndarray, config: ScreeningConfig) -> list[Reason]:
    """Check that small differences of the distances do not add up."""
    even_mm = steps_mm.mean()
    drift_mm = np.abs(np.cumsum(steps_mm - even_mm)).max()
    if drift_mm <= config.spacing_tolerance(even_mm):
        return []
    found = f"slices lie up to {drift_mm:.3f} mm from where an even distance of {even_mm:.3f} mm puts them"
    return [_interpolated_or(Reason("uneven_slices", found), steps_mm, config)]


def _interpolated_or(refusal: Reason, steps_mm: np.ndarray, config: ScreeningConfig) -> Reason:
    """Return the refusal, or a warning if the configuration asks for interpolation instead."""
    if not config.resample_uneven or steps_mm.max() > _MAX_BRIDGED_MM:
        return refusal
    return Reason(
        "slices_interpolated", f"{refusal.found}; interpolated every {_even_step_mm(steps_mm):.3f} mm"
    )


def _even_step_mm(steps_mm: np.ndarray) -> float:
    """Return the slice distance for interpolating uneven slices: the smallest one that is not rare.

    It is at least half the usual distance, so that a few close slices do not multiply the number of slices.
    """
    return float(max(np.quantile(steps_mm, 0.1, method="inverted_cdf"), 0.5 * np.median(steps_mm)))


def _check_tilt(positions_mm: np.ndarray, normal: np.ndarray, config: ScreeningConfig) -> list[Reason]:
    path_mm = positions_mm[-1] - positions_mm[0]
    degrees = float(np.degrees(np.arctan2(np.linalg.norm(np.cross(path_mm, normal)), path_mm @ normal)))
    if degrees <= config.max_tilt_degrees:
        return []
    found = f"slices are stacked at {degrees:.2f} degrees to their normal"
    if config.correct_tilt and degrees <= _MAX_GANTRY_DEGREES:
        return [
            Reason("tilt_corrected", f"{found}: they are shifted against each other until they stand upright")
        ]
    return [Reason("gantry_tilt", found)]


def _check_straight(positions_mm: np.ndarray, normal: np.ndarray, tolerance_mm: float) -> list[Reason]:
    """Check that all slices lie on the line from the first to the last one."""
    along_mm = (positions_mm - positions_mm[0]) @ normal
    path_mm = positions_mm[-1] - positions_mm[0]
    on_line_mm = positions_mm[0] + np.outer(along_mm / along_mm[-1], path_mm)
    aside_mm = np.linalg.norm(positions_mm - on_line_mm, axis=1)
    shifted = np.flatnonzero(aside_mm > tolerance_mm)
    if not shifted.size:
        return []
    places = _listed([str(k + 1) for k in shifted])
    return [Reason("shifted_slices", f"up to {aside_mm.max():.3f} mm beside the others (slices {places})")]


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    return ", ".join(places[:_LISTED]) + more
