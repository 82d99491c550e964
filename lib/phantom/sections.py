"""Exact plane sections of a closed triangle surface: the outlines, their areas and centroids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lib.phantom.mesh import Mesh


@dataclass(frozen=True, kw_only=True)
class Outline:
    """One outline of a section: its line pieces (n, 2 ends, xyz), the area in it (mm2) and that area's centroid."""

    pieces_xyz_mm: np.ndarray
    area_mm2: float
    centroid_xyz_mm: np.ndarray


def outlines(mesh: Mesh, point_xyz_mm: np.ndarray, normal: np.ndarray) -> list[Outline]:
    """Return the outlines in which a plane cuts a closed surface; areas of holes are negative.

    Args:
        mesh: The surface.
        point_xyz_mm: A point of the plane.
        normal: Unit vector at a right angle to the plane.
    """
    height = (mesh.vertices_xyz_mm - point_xyz_mm) @ normal
    ahead = height > 0
    number = ahead[mesh.faces].sum(axis=1)
    crossed = mesh.faces[(number == 1) | (number == 2)]
    if not len(crossed):
        return []
    lone_ahead = ahead[crossed].sum(axis=1) == 1
    lone = np.argmax(ahead[crossed] == lone_ahead[:, None], axis=1)
    rows = np.arange(len(crossed))
    a, b, c = (crossed[rows, (lone + k) % 3] for k in range(3))
    edges = np.sort(np.stack([np.stack([a, b], axis=1), np.stack([a, c], axis=1)]).reshape(-1, 2), axis=1)
    unique, place = np.unique(edges[:, 0] * len(height) + edges[:, 1], return_inverse=True)
    low, high = np.divmod(unique, len(height))
    share = (height[low] / (height[low] - height[high]))[:, None]
    corners = mesh.vertices_xyz_mm[low] + share * (mesh.vertices_xyz_mm[high] - mesh.vertices_xyz_mm[low])
    start, end = place.reshape(2, -1)
    # seen against the normal, outlines of the body run counter-clockwise
    start, end = np.where(lone_ahead, start, end), np.where(lone_ahead, end, start)
    links = coo_matrix((np.ones(len(start)), (start, end)), shape=(len(unique), len(unique)))
    count, outline_of = connected_components(links, directed=False)
    pieces = np.stack([corners[start], corners[end]], axis=1)
    return [_outline(pieces[outline_of[start] == k], normal) for k in range(count)]


def around_axis(found: Sequence[Outline], point_xyz_mm: np.ndarray, within_mm: float) -> Outline | None:
    """Return the outline of bone around a point; without one, that with the nearest centroid within a distance."""
    bodies = [outline for outline in found if outline.area_mm2 > 0]
    distances = [float(np.linalg.norm(outline.centroid_xyz_mm - point_xyz_mm)) for outline in bodies]
    near = [
        (0.0 if _encloses(outline, point_xyz_mm) else distance, number)
        for number, (outline, distance) in enumerate(zip(bodies, distances, strict=True))
    ]
    near = [pair for pair in near if pair[0] <= within_mm]
    return bodies[min(near)[1]] if near else None


def _outline(pieces: np.ndarray, normal: np.ndarray) -> Outline:
    about = pieces[0, 0]
    start, end = pieces[:, 0] - about, pieces[:, 1] - about
    doubled = np.cross(start, end) @ normal
    area = 0.5 * float(doubled.sum())
    centroid = about + ((start + end) * doubled[:, None]).sum(axis=0) / (6 * area if area else 1.0)
    return Outline(pieces_xyz_mm=pieces, area_mm2=area, centroid_xyz_mm=centroid)


def _encloses(outline: Outline, point_xyz_mm: np.ndarray) -> bool:
    """Return whether a point of the plane lies within an outline: the angles to its pieces add up to a full turn."""
    start, end = (outline.pieces_xyz_mm[:, k] - point_xyz_mm for k in (0, 1))
    across = np.cross(start, end)
    # the plane's normal, up to its sign
    normal = across[np.argmax((across**2).sum(axis=1))]
    normal = normal / max(np.linalg.norm(normal), 1e-12)
    angle = np.arctan2(across @ normal, (start * end).sum(axis=1))
    return bool(abs(angle.sum()) > np.pi)
