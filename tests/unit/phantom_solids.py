"""Closed surfaces with known volumes, for the tests of the phantom's geometry."""

import numpy as np

from lib.phantom.mesh import Mesh

_CUBE_FACES = [
    (0, 2, 1), (1, 2, 3), (4, 5, 6), (5, 7, 6), (0, 1, 4), (1, 5, 4),
    (2, 6, 3), (3, 6, 7), (0, 4, 2), (2, 4, 6), (1, 3, 5), (3, 7, 5),
]  # fmt: skip


def box(low, high):
    """An axis-aligned box between two corners (xyz, mm)."""
    corners = [
        [(low, high)[k][0], (low, high)[j][1], (low, high)[i][2]]
        for i in (0, 1)
        for j in (0, 1)
        for k in (0, 1)
    ]
    return Mesh(vertices_xyz_mm=np.array(corners, float), faces=np.array(_CUBE_FACES))


def ball(radius_mm, center=(0.0, 0.0, 0.0), rings=48):
    """A sphere of latitude rings; the volume of its polyhedron approximates that of the sphere."""
    polar, around = np.linspace(0, np.pi, rings + 1)[1:-1], 2 * np.pi * np.arange(2 * rings) / (2 * rings)
    ring = np.stack(
        [np.outer(np.sin(polar), np.cos(around)), np.outer(np.sin(polar), np.sin(around)),
         np.outer(np.cos(polar), np.ones_like(around))], axis=-1,
    ).reshape(-1, 3)  # fmt: skip
    n = len(around)
    here, after = np.arange(n), (np.arange(n) + 1) % n
    north, south = len(ring), len(ring) + 1
    faces = [np.stack([np.full(n, north), here, after], 1)]
    for k in range(len(polar) - 1):
        a, b = k * n, (k + 1) * n
        faces += [np.stack([a + here, b + here, a + after], 1), np.stack([a + after, b + here, b + after], 1)]
    last = (len(polar) - 1) * n
    faces.append(np.stack([np.full(n, south), last + after, last + here], 1))
    vertices = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]]) * radius_mm + np.array(center)
    return Mesh(vertices_xyz_mm=vertices, faces=np.concatenate(faces))


def both(a, b):
    """Two surfaces as one mesh."""
    return Mesh(
        vertices_xyz_mm=np.concatenate([a.vertices_xyz_mm, b.vertices_xyz_mm]),
        faces=np.concatenate([a.faces, b.faces + len(a.vertices_xyz_mm)]),
    )
