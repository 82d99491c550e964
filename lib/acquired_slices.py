"""How the slices of a scan lay when they were acquired, from the geometry that screening found."""

from collections import Counter
from collections.abc import Iterable, Mapping

_AXES = {"R": 0, "L": 0, "A": 1, "P": 1, "I": 2, "S": 2}
PLANES = {"x": "sagittal", "y": "coronal", "z": "axial"}


def plane_of(geometry: Mapping) -> str | None:
    """Return the plane of the acquired slices; None for a scan that was not read."""
    return PLANES[geometry["acquired_axis"]] if geometry else None


def pixel_of(geometry: Mapping) -> float | None:
    """Return the column spacing of the stored slices, mm, whatever their orientation in the body."""
    return geometry["spacing_mm_xyz"][_AXES[geometry["stored_axes"][0]]] if geometry else None


def slice_distance_of(geometry: Mapping) -> float:
    """Return the distance of the acquired slices, mm."""
    return geometry["spacing_mm_xyz"]["xyz".index(geometry["acquired_axis"])]


def usual_axes(axes: Iterable[str]) -> list[str]:
    """Return the axis along which most scans were acquired, or all that share the first place; none for no scans."""
    counts = Counter(axes)
    return sorted(axis for axis, scans in counts.items() if scans == max(counts.values()))
