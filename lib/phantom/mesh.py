"""Closed triangle surfaces: volumes, the volume above a plane, normals, offsets, moves."""

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
