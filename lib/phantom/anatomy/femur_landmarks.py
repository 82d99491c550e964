"""Landmarks of a femur's surface by which its density is divided: head, neck's axis, isthmus, planes, shaft's axis.

They are definitions on the exact surface and use nothing of the code that measures masks.
"""

from dataclasses import dataclass

import numpy as np

from lib.phantom.anatomy.shape import femur_axes
from lib.phantom.mesh import Mesh
from lib.phantom.sections import Outline, around_axis, outlines

NECK_AREA_FACTOR, BELOW_TROCHANTER_MM = 1.4, 10.0
"""The neck ends where its section exceeds this many isthmuses; the trochanteric region so far below the tip."""

_START_DOWN_DEGREES = 46.0
_SEARCH_RADII, _STEP_MM, _FINE_STEP_MM, _ROUNDS, _STILL_DEGREES = (0.75, 2.2), 1.0, 0.1, 8, 0.1
_FURTHEST_RADII = 3.2
_BESIDE_AXIS_MM = 30.0
_BISECTIONS = 7
# the tip of the lesser trochanter is the point furthest behind and towards the midline, so far below the head
_BEHIND_MEDIAL_DEGREES, _BELOW_CENTER_MM = 30.0, (33.0, 85.0)
_LEAST_SHAFT_MM, _SHAFT_STEP_MM, _TRUE_SHAFT_MM = 25.0, 2.5, 60.0


@dataclass(frozen=True, kw_only=True)
class FemurLandmarks:
    """Where the regions of a femur end (LPS mm).

    Attributes:
        center_xyz_mm, radius_mm: sphere of the head.
        neck: unit vector of the neck's axis, from the head's centre to the side.
        isthmus_mm, isthmus_mm2: place of the neck's smallest section along that axis from the centre, and its area.
        head_end_mm, neck_end_mm: planes between head and neck, and between neck and trochanter, along the axis.
        neck_outlines: sections of the neck each mm from `head_end_mm` to `neck_end_mm`: place, outline.
        tip_xyz_mm: tip of the lesser trochanter.
        shaft: unit vector of the shaft's axis, upward: the line of the axial sections' centroids from 10 mm below the
            tip to the scan's end, or z if that is less than 25 mm.
        shaft_assumed: whether it is z for that reason.
        true_shaft: the same axis of the whole bone, from 10 to 70 mm below the tip.
    """

    center_xyz_mm: np.ndarray
    radius_mm: float
    neck: np.ndarray
    isthmus_mm: float
    isthmus_mm2: float
    head_end_mm: float
    neck_end_mm: float
    neck_outlines: tuple[tuple[float, Outline], ...]
    tip_xyz_mm: np.ndarray
    shaft: np.ndarray
    shaft_assumed: bool
    true_shaft: np.ndarray

    def along_neck_mm(self, points_xyz_mm: np.ndarray) -> np.ndarray:
        """Return the places of points (n, 3) along the neck's axis from the head's centre, mm."""
        return (points_xyz_mm - self.center_xyz_mm) @ self.neck

    def above_distal_mm(self, points_xyz_mm: np.ndarray) -> np.ndarray:
        """Return the heights of points (n, 3) above the distal plane of the trochanteric region, mm."""
        return (points_xyz_mm - self.tip_xyz_mm) @ self.shaft + BELOW_TROCHANTER_MM

    def as_truth(self) -> dict:
        """Return the landmarks as plain values."""
        return {
            "neck_axis": [float(v) for v in self.neck],
            "isthmus_from_head_center_mm": self.isthmus_mm,
            "isthmus_mm2": self.isthmus_mm2,
            "head_neck_plane_mm": self.head_end_mm,
            "neck_trochanter_plane_mm": self.neck_end_mm,
            "lesser_trochanter_xyz_mm": [float(v) for v in self.tip_xyz_mm],
            "shaft_axis": [float(v) for v in self.shaft],
            "shaft_axis_assumed": self.shaft_assumed,
            "true_shaft_axis": [float(v) for v in self.true_shaft],
        }


def find_landmarks(femur: Mesh, side: str, scan_end_mm: float) -> FemurLandmarks:
    """Return the landmarks of a femur (`left` or `right`) in a scan that ends at the height `scan_end_mm` (z).

    The neck's axis is found from a start 46 degrees below the lateral direction: its new direction leads from the
    head's centre to the centroid of the smallest section between 0.75 and 2.2 head radii. The head ends where a
    cylinder of the isthmus' area leaves the sphere.
    """
    lateral = 1.0 if side == "left" else -1.0
    axes = femur_axes(femur)
    center, radius = axes.head_center_xyz_mm, axes.head_radius_mm
    near = _part_near(femur, center, _FURTHEST_RADII * radius)
    down = np.radians(_START_DOWN_DEGREES)
    neck = np.array([lateral * np.cos(down), 0.0, -np.sin(down)])
    places = np.arange(_SEARCH_RADII[0] * radius, _SEARCH_RADII[1] * radius, _STEP_MM)
    for _ in range(_ROUNDS):
        _, isthmus = _smallest_section(near, center, neck, places)
        found = isthmus.centroid_xyz_mm - center
        found /= np.linalg.norm(found)
        turned = np.degrees(np.arccos(min(found @ neck, 1.0)))
        neck = found
        if turned < _STILL_DEGREES:
            break
    place, _ = _smallest_section(near, center, neck, places)
    around = np.arange(place - _STEP_MM, place + _STEP_MM, _FINE_STEP_MM)
    place, isthmus = _smallest_section(near, center, neck, around)
    area = isthmus.area_mm2
    head_end = float(np.sqrt(radius**2 - area / np.pi))
    neck_end = _neck_end(near, center, neck, (place, NECK_AREA_FACTOR * area))
    tip = _lesser_trochanter(femur, center, lateral)
    true_shaft = _shaft_axis(femur, tip, tip[2] - BELOW_TROCHANTER_MM - _TRUE_SHAFT_MM)
    in_view_mm = tip[2] - BELOW_TROCHANTER_MM - scan_end_mm
    assumed = bool(in_view_mm < _LEAST_SHAFT_MM)
    middles = np.linspace(head_end, neck_end - 0.01, max(int(np.ceil(neck_end - head_end)), 1) + 1)
    rings = [(float(s), _neck_section(near, center, neck, s)) for s in middles]
    return FemurLandmarks(
        center_xyz_mm=center,
        radius_mm=radius,
        neck=neck,
        isthmus_mm=float(place),
        isthmus_mm2=area,
        head_end_mm=head_end,
        neck_end_mm=neck_end,
        neck_outlines=tuple((s, ring) for s, ring in rings if ring is not None),
        tip_xyz_mm=tip,
        shaft=np.array([0.0, 0.0, 1.0]) if assumed else _shaft_axis(femur, tip, scan_end_mm),
        shaft_assumed=assumed,
        true_shaft=true_shaft,
    )


def _part_near(femur: Mesh, center: np.ndarray, within_mm: float) -> Mesh:
    """Return the triangles within a distance; the surface is open there, so only sections inside are whole."""
    distance = np.linalg.norm(femur.vertices_xyz_mm - center, axis=1)
    kept = (distance[femur.faces] < within_mm).any(axis=1)
    return Mesh(vertices_xyz_mm=femur.vertices_xyz_mm, faces=femur.faces[kept])


def _neck_section(femur: Mesh, center: np.ndarray, neck: np.ndarray, place_mm: float) -> Outline | None:
    point = center + place_mm * neck
    return around_axis(outlines(femur, point, neck), point, _BESIDE_AXIS_MM)


def _smallest_section(
    femur: Mesh, center: np.ndarray, neck: np.ndarray, places: np.ndarray
) -> tuple[float, Outline]:
    """Return place and outline of the smallest of the neck's sections at some places along its axis."""
    found = [(place, _neck_section(femur, center, neck, place)) for place in places]
    return min(
        ((place, ring) for place, ring in found if ring is not None), key=lambda pair: pair[1].area_mm2
    )


def _neck_end(
    femur: Mesh, center: np.ndarray, neck: np.ndarray, isthmus_and_limit: tuple[float, float]
) -> float:
    """Return the first place beyond the isthmus where the section exceeds the limit (mm2), by bisection in a step."""
    low, limit = isthmus_and_limit

    def exceeds(place: float) -> bool:
        ring = _neck_section(femur, center, neck, place)
        return ring is None or ring.area_mm2 > limit

    while not exceeds(low + _STEP_MM):
        low += _STEP_MM
    high = low + _STEP_MM
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if exceeds(middle) else (middle, high)
    return float(high)


def _lesser_trochanter(femur: Mesh, center: np.ndarray, lateral: float) -> np.ndarray:
    """Return the corner of the surface that stands out most behind and towards the midline, below the head."""
    behind = np.radians(_BEHIND_MEDIAL_DEGREES)
    reach = femur.vertices_xyz_mm @ np.array([-lateral * np.cos(behind), np.sin(behind), 0.0])
    below = center[2] - femur.vertices_xyz_mm[:, 2]
    highest_around = reach.copy()
    for a, b in ((0, 1), (1, 2), (2, 0)):
        for here, other in ((a, b), (b, a)):
            np.maximum.at(highest_around, femur.faces[:, here], reach[femur.faces[:, other]])
    stands_out = (highest_around <= reach) & (below > _BELOW_CENTER_MM[0]) & (below < _BELOW_CENTER_MM[1])
    candidates = np.flatnonzero(stands_out)
    return femur.vertices_xyz_mm[candidates[np.argmax(reach[candidates])]]


def _shaft_axis(femur: Mesh, tip: np.ndarray, end_mm: float) -> np.ndarray:
    """Return the line (total least squares) of the centroids of axial sections from below the tip to a height."""
    up = np.array([0.0, 0.0, 1.0])
    heights = np.arange(end_mm + 0.5, tip[2] - BELOW_TROCHANTER_MM, _SHAFT_STEP_MM)
    rings = [outlines(femur, np.array([0.0, 0.0, z]), up) for z in heights]
    middles = np.array([max(ring, key=lambda one: one.area_mm2).centroid_xyz_mm for ring in rings if ring])
    axis = np.linalg.svd(middles - middles.mean(axis=0))[2][0]
    return axis * np.sign(axis[2])
