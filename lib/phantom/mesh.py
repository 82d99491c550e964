"""Closed triangle surfaces: volumes, normals, offsets, moves, cuts by a plane, tubes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A closed surface: vertices (n, 3) in LPS mm, faces (m, 3) counter-clockwise seen from outside."""

    vertices_xyz_mm: np.ndarray
    faces: np.ndarray


def mesh_volume_above_mm3(mesh: Mesh, z_mm: float) -> float:
    """Return the exact volume of the part of a closed surface above the plane z = `z_mm`, mm3.

    It uses the divergence theorem with the field (0, 0, z - z_mm), which is zero on the cap. So only the clipped
    triangles contribute, each with its area projected along z times its mean height.
    """
    corners = mesh.vertices_xyz_mm[mesh.faces] - [0.0, 0.0, z_mm]
    whole = _flux(corners)
    above = corners[:, :, 2] > 0
    number = above.sum(axis=1)
    one, two = corners[number == 1], corners[number == 2]
    top = _flux(_corner_triangles(one, np.argmax(above[number == 1], axis=1)))
    below = _flux(_corner_triangles(two, np.argmin(above[number == 2], axis=1)))
    return float(whole[number == 3].sum() + top.sum() + (whole[number == 2] - below).sum())


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """Return unit outward normals at the vertices, area-weighted over their triangles, (n, 3)."""
    a, b, c = (mesh.vertices_xyz_mm[mesh.faces[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(mesh.vertices_xyz_mm)
    for k in range(3):
        np.add.at(normals, mesh.faces[:, k], face_normals)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def offset(mesh: Mesh, distance_mm: float | np.ndarray) -> Mesh:
    """Return the surface moved along its normals by `distance_mm` (scalar or per vertex; positive = outward)."""
    distance = np.broadcast_to(distance_mm, len(mesh.vertices_xyz_mm))
    moved = mesh.vertices_xyz_mm + distance[:, None] * vertex_normals(mesh)
    return Mesh(vertices_xyz_mm=moved, faces=mesh.faces)


def mirror(mesh: Mesh) -> Mesh:
    """Return the surface mirrored at the plane x = 0, still with outward normals."""
    return Mesh(vertices_xyz_mm=mesh.vertices_xyz_mm * [-1.0, 1.0, 1.0], faces=mesh.faces[:, ::-1])


def move(
    mesh: Mesh, rotation: np.ndarray, shift_xyz_mm: np.ndarray, about_xyz_mm: np.ndarray | float = 0.0
) -> Mesh:
    """Return the surface rotated by a 3 x 3 matrix about a point and then shifted."""
    turned = (mesh.vertices_xyz_mm - about_xyz_mm) @ rotation.T + about_xyz_mm + shift_xyz_mm
    return Mesh(vertices_xyz_mm=turned, faces=mesh.faces)


def mesh_volume_mm3(mesh: Mesh) -> float:
    """Return the volume inside a closed surface, mm3."""
    return mesh_volume_above_mm3(mesh, float(mesh.vertices_xyz_mm[:, 2].min()) - 1.0)


def mesh_centroid_mm(mesh: Mesh) -> np.ndarray:
    """Return the centre of mass of the inside of a closed surface, (3,)."""
    about = mesh.vertices_xyz_mm.mean(axis=0)
    corners = mesh.vertices_xyz_mm[mesh.faces] - about
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    volumes = (a * np.cross(b, c)).sum(axis=1)
    return about + (volumes[:, None] * (a + b + c)).sum(axis=0) / (4 * volumes.sum())


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Return closed surfaces as one; `lib.phantom.voxelize.coverage` counts where they overlap once."""
    starts = np.cumsum([0, *(len(mesh.vertices_xyz_mm) for mesh in meshes)])
    return Mesh(
        vertices_xyz_mm=np.concatenate([mesh.vertices_xyz_mm for mesh in meshes]),
        faces=np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
    )


def cut_off(mesh: Mesh, point_xyz_mm: np.ndarray, normal: np.ndarray) -> Mesh:
    """Return the part of a closed surface behind a plane, closed by a flat cap.

    `normal` points to the part that is cut off. The cap is a fan of triangles; where the cut has several outlines
    they overlap with opposite signs, so that volumes and coverage stay exact.
    """
    height = (mesh.vertices_xyz_mm - point_xyz_mm) @ normal
    behind = height <= 0
    if behind.all():
        return mesh
    number = behind[mesh.faces].sum(axis=1)
    kept = [mesh.faces[number == 3]]
    crossed = mesh.faces[(number == 1) | (number == 2)]
    alone = np.where(behind[crossed].sum(axis=1) == 1, 1, 0)
    lone = np.argmax(behind[crossed] == alone[:, None].astype(bool), axis=1)
    rows = np.arange(len(crossed))
    a, b, c = (crossed[rows, (lone + k) % 3] for k in range(3))
    edges = np.sort(np.concatenate([np.stack([a, b], axis=1), np.stack([a, c], axis=1)]), axis=1)
    unique, place = np.unique(edges, axis=0, return_inverse=True)
    low, high = unique.T
    share = (height[low] / (height[low] - height[high]))[:, None]
    start, end = mesh.vertices_xyz_mm[low], mesh.vertices_xyz_mm[high]
    ab, ac = len(height) + place.reshape(2, -1)
    apex = np.full(len(crossed), len(height) + len(unique))
    one = alone == 1
    kept += [np.stack([a, ab, ac], axis=1)[one], np.stack([apex, ac, ab], axis=1)[one]]
    kept += [np.stack(part, axis=1)[~one] for part in ((ab, b, c), (ab, c, ac), (apex, ab, ac))]
    cut = start + share * (end - start)
    vertices = np.concatenate([mesh.vertices_xyz_mm, cut, cut.mean(axis=0, keepdims=True)])
    faces = np.concatenate(kept)
    used, faces = np.unique(faces, return_inverse=True)
    return Mesh(vertices_xyz_mm=vertices[used], faces=faces.reshape(-1, 3))


def loft(rings_xyz_mm: np.ndarray) -> Mesh:
    """Return the closed surface through rings of points (rings, points, 3), with fans as ends.

    Seen from the last ring, points run counter-clockwise.
    """
    number, points = rings_xyz_mm.shape[:2]
    start = points * np.arange(number - 1)[:, None]
    here, after = (start + np.roll(np.arange(points), -k) for k in (0, 1))
    sides = np.stack([here, after, after + points, here, after + points, here + points], axis=-1)
    first, last = number * points, number * points + 1
    ring, following = np.arange(points), np.roll(np.arange(points), -1)
    top = points * (number - 1)
    ends = [np.stack([np.full(points, first), following, ring], axis=1)]
    ends += [np.stack([np.full(points, last), top + ring, top + following], axis=1)]
    middles = rings_xyz_mm[[0, -1]].mean(axis=1)
    return Mesh(
        vertices_xyz_mm=np.concatenate([rings_xyz_mm.reshape(-1, 3), middles]),
        faces=np.concatenate([sides.reshape(-1, 3), *ends]),
    )


def tube(centers_xyz_mm: np.ndarray, half_axes_mm: np.ndarray, across: np.ndarray, points: int = 20) -> Mesh:
    """Return a closed tube along a line of centres (n, 3).

    Args:
        centers_xyz_mm: centres of its rings.
        half_axes_mm: of its elliptic section, (n, 2): along `across`, and at a right angle to it.
        across: direction that is not parallel to the line, (3,).
        points: on each ring.
    """
    along = np.gradient(centers_xyz_mm, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    first = across - (along @ across)[:, None] * along
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(along, first)
    angle = 2 * np.pi * np.arange(points) / points
    a, b = np.broadcast_to(half_axes_mm, (len(centers_xyz_mm), 2)).T[:, :, None, None]
    rings = a * np.cos(angle)[:, None] * first[:, None] + b * np.sin(angle)[:, None] * second[:, None]
    return loft(centers_xyz_mm[:, None] + rings)


def _flux(corners: np.ndarray) -> np.ndarray:
    """Return projected area times mean height of triangles (n, 3 corners, xyz), mm3."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) * corners[:, :, 2].mean(axis=1)


def _corner_triangles(corners: np.ndarray, lone: np.ndarray) -> np.ndarray:
    """Return the parts that the plane z = 0 cuts off at the corner `lone` of each triangle."""
    rows = np.arange(len(corners))
    a, b, c = (corners[rows, (lone + k) % 3] for k in range(3))
    to_b = (a[:, 2] / (a[:, 2] - b[:, 2]))[:, None]
    to_c = (a[:, 2] / (a[:, 2] - c[:, 2]))[:, None]
    return np.stack([a, a + to_b * (b - a), a + to_c * (c - a)], axis=1)
