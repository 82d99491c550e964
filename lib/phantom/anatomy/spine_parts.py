"""What belongs to a spine beside its bones: discs, canal, ribs, and what surgeons leave in it; surfaces in LPS mm."""

from collections.abc import Iterator

import numpy as np

from lib.phantom.anatomy.implant import rod_mesh
from lib.phantom.anatomy.spine_shape import SpineShape, Vertebra
from lib.phantom.mesh import Mesh, join, loft, tube

_DISC_CORNERS, _DISC_POWER = 48, 2.5
# discs reach this far into the bodies, which are hollow, and bulge by this share
_INTO_BODY_MM, _BULGE = 2.6, 1.04
# half axes of the sacral canal, and its course behind the sacrum's endplate (back, down)
_SACRAL_HALF_MM = ((10.5, 6.5), (9.5, 5.5), (8.0, 4.5), (6.0, 3.0))
_SACRAL_COURSE_MM = ((25.0, 6.0), (27.0, -8.0), (27.0, -26.0), (24.0, -46.0))
_RIB_HALF_MM, RIB_CORTEX_MM = (6.2, 3.4), 0.9
# of the 12th, 11th and 10th rib: angle at the trunk where it ends (degrees from behind), height of head and of end
# (mm above the middle of T12)
_RIBS = ((62.0, 4.0, -58.0), (100.0, 36.0, -62.0), (128.0, 68.0, -42.0))
_SCREWED = ("L4", "L5")
_SCREW_MM, _SCREW_RADIUS_MM, _ROD_RADIUS_MM = 46.0, 3.0, 2.8
_CEMENT_RADIUS_MM = 8.5
_CEMENT_BALLS = 5


def discs(shape: SpineShape) -> Iterator[tuple[str, Mesh]]:
    """Yield the disc below each vertebra, named after it, from the lowest up."""
    share = _disc_rim()
    width, depth, _ = shape.vertebrae[-1].size_xyz_mm
    flat = np.column_stack(
        [0.5 * width * share[:, 0], 0.5 * depth * share[:, 1], np.full(len(share), -_INTO_BODY_MM)]
    )
    upper = shape.plate_xyz_mm + flat @ shape.plate_axes.T
    for vertebra in reversed(shape.vertebrae):
        lower = vertebra.plate_rim(-1, share, _INTO_BODY_MM)
        between = 0.5 * (lower + upper)
        middle = between.mean(axis=0)
        yield vertebra.level, loft(np.stack([upper, middle + _BULGE * (between - middle), lower]))
        upper = vertebra.plate_rim(1, share, _INTO_BODY_MM)


def canal_course_mm(shape: SpineShape) -> np.ndarray:
    """Return points in the middle of the spinal canal, from T12 down into the sacrum, (n, 3)."""
    spine = [_canal(vertebra, share) for vertebra in shape.vertebrae for share in (0.5, -0.5)]
    return np.array([*spine, *_sacral_course(shape)])


def sacral_canal(shape: SpineShape, wall_mm: float = 0.0) -> Mesh:
    """Return the canal of the sacrum, or with `wall_mm` of bone around it."""
    lowest = shape.vertebrae[-1]
    course = np.array([_canal(lowest, -0.6), *_sacral_course(shape)])
    half = np.array([_SACRAL_HALF_MM[0], *_SACRAL_HALF_MM]) * shape.size + wall_mm
    return tube(course, half, shape.plate_axes[:, 0])


def rib_meshes(
    shape: SpineShape, half_width_mm: float, half_depth_mm: float, thinner_mm: float = 0.0
) -> Mesh:
    """Return the last three ribs of both sides along a trunk of these half axes (mm), inside the wall.

    With `thinner_mm` they are their own marrow spaces.
    """
    origin = shape["T12"]
    back = origin.wall_mm + 26.0
    half = np.array(_RIB_HALF_MM) * shape.size - thinner_mm
    meshes = []
    for end_degrees, head_mm, tip_mm in _RIBS:
        start = np.degrees(np.arcsin(24.0 * shape.size / half_width_mm))
        angle = np.radians(np.linspace(start, end_degrees, 24))
        share = (angle - angle[0]) / (angle[-1] - angle[0])
        x = half_width_mm * np.sin(angle)
        y = back - half_depth_mm * (1 - np.cos(angle))
        y[0] -= 8.0  # the head lies at the side of the body
        z = head_mm + (tip_mm - head_mm) * share**0.8
        for side in (1, -1):
            course = origin.center_xyz_mm + np.stack([side * x, y, z], axis=1)
            meshes.append(tube(course, half * _tapered(share), np.array([0.0, 0.0, 1.0]), points=14))
    return join(meshes)


def screws(shape: SpineShape) -> Mesh:
    """Return pedicle screws on both sides of two vertebrae, joined by rods behind them."""
    meshes = []
    for side in (1, -1):
        heads = []
        for level in _SCREWED:
            vertebra = shape[level]
            width, depth, height = vertebra.size_xyz_mm
            head = vertebra.place(side * 0.36 * width, 0.5 * depth + 24.0, 0.22 * height)
            along = vertebra.axes @ np.array([-0.14 * side, -1.0, -0.1])
            along /= np.linalg.norm(along)
            meshes.append(rod_mesh(head, _SCREW_MM * along, _SCREW_RADIUS_MM, vertebra.axes[:, 0]))
            meshes.append(rod_mesh(head - 6.0 * along, 11.0 * along, 6.0, vertebra.axes[:, 0]))
            heads.append(head)
        along = heads[1] - heads[0]
        beyond = 10.0 * along / np.linalg.norm(along)
        meshes.append(
            rod_mesh(heads[0] - beyond, along + 2 * beyond, _ROD_RADIUS_MM, np.array([0.0, 1.0, 0.0]))
        )
    return join(meshes)


def cement(vertebra: Vertebra, rng: np.random.Generator) -> Mesh:
    """Return bone cement in a body: some balls that flow into one another, nearer to the front."""
    width, depth, height = vertebra.size_xyz_mm
    balls = []
    for _ in range(_CEMENT_BALLS):
        x, y, z = rng.uniform((-0.22, -0.22, -0.12), (0.22, 0.12, 0.12)) * (width, depth, height)
        radius = _CEMENT_RADIUS_MM * rng.uniform(0.6, 1.0)
        angle = np.linspace(0, np.pi, 11)[1:-1]
        course = vertebra.place(x, y, z) - np.cos(angle)[:, None] * radius * vertebra.axes[:, 2]
        balls.append(tube(course, np.repeat(radius * np.sin(angle)[:, None], 2, axis=1), vertebra.axes[:, 0]))
    return join(balls)


def _tapered(share: np.ndarray) -> np.ndarray:
    return np.clip(6.0 * (1.02 - share), 0.35, 1.0)[:, None]


def _disc_rim() -> np.ndarray:
    """Return the rim of a disc in half widths and half depths, counter-clockwise seen from above, (n, 2)."""
    angle = 2 * np.pi * np.arange(_DISC_CORNERS) / _DISC_CORNERS
    c, s = np.cos(angle), np.sin(angle)
    radius = (np.abs(c) ** _DISC_POWER + np.abs(s) ** _DISC_POWER) ** (-1 / _DISC_POWER)
    return np.column_stack([radius * c, radius * s])


def _canal(vertebra: Vertebra, height_share: float) -> np.ndarray:
    _, depth, height = vertebra.size_xyz_mm
    return vertebra.place(0.0, 0.5 * depth + 0.23 * depth, height_share * height)


def _sacral_course(shape: SpineShape) -> list[np.ndarray]:
    course = np.array(_SACRAL_COURSE_MM) * shape.size
    return [shape.plate_xyz_mm + shape.plate_axes @ np.array([0.0, back, up]) for back, up in course]
