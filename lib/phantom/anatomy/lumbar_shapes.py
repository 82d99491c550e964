"""Generic lumbar vertebrae with the size and the proportions of people.

A vertebra is drawn in a frame of its own: origin in the middle of the body, x = left, y = posterior, z along the
normal of the endplates. The generic shapes (`lumbar_shapes.npz`) are symmetric, flat at the endplates, and a quarter
smaller than those of people; bodies are scaled by width, depth and height, and the arch behind them is stretched so
that canal and spinous process get their own sizes.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lib.phantom.mesh import Mesh, vertex_normals
from lib.rotations import rotation_matrix

SHAPES_FILE = Path(__file__).with_name("lumbar_shapes.npz")
# the generic T12 has no transverse process to take apart; that of L1 is drawn, with short ones
_SHAPE_OF = {"T12": "L1", "L6": "L5"}
_MEDIAN_MM, _FLAT = 2.0, 0.85
# behind the wall of the body the arch's own scales take over within some mm
_BLEND_MM = (-1.0, 5.0)
# half width of the generic spinous processes, which stay slender
_SPINOUS_MM = 4.0
# the spinous process is lower by this share than the generic one, around this height below the body's middle
_SPINOUS_LOWER, _SPINOUS_AT_MM = 0.2, -8.0
_RIM_FROM, _RIM_HEIGHT = 0.72, 0.55


@dataclass(frozen=True, kw_only=True)
class VertebraSize:
    """Sizes of a vertebra, mm and degrees.

    `height_mm` is that of the body's rim in the middle between front and back. `wedge_degrees` is the angle between
    the endplates, positive where the front is higher. `spinous_mm` reaches from the body's back wall to the tip, and
    `spread_mm` from tip to tip of the transverse processes. `hollow_mm` is the depth of the endplates, `spurs_mm` the
    length of osteophytes at the rims, and `spurs_turn` where around the body they grow (radians). `crush` lowers the
    body in front, in the middle and behind to these shares.
    """

    width_mm: float
    depth_mm: float
    height_mm: float
    wedge_degrees: float
    canal_depth_mm: float
    canal_width_mm: float
    spinous_mm: float
    spread_mm: float
    hollow_mm: float = 0.0
    spurs_mm: float = 0.0
    spurs_turn: float = 0.0
    crush: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Generic:
    """A generic vertebra in its own frame, and its sizes (mm).

    `wedge` is the difference of the endplates' slopes. `half_canal_mm` and `half_spread_mm` are half widths of canal
    and transverse processes; `arch_mm` is where the canal ends behind, and `tip_mm` where the spinous process does.
    """

    vertices_xyz_mm: np.ndarray
    faces: np.ndarray
    half_width_mm: float
    half_depth_mm: float
    height_mm: float
    wedge: float
    half_canal_mm: float
    arch_mm: float
    tip_mm: float
    half_spread_mm: float


def vertebra_mesh(level: str, size: VertebraSize) -> Mesh:
    """Return the surface of a vertebra ("T12", "L1" to "L6") of a size, in its own frame."""
    generic = _generic(_SHAPE_OF.get(level, level))
    x, y, z = generic.vertices_xyz_mm.T
    wall = generic.half_depth_mm
    behind = _smoothstep(y - wall, *_BLEND_MM)
    half_width, half_depth = 0.5 * size.width_mm, 0.5 * size.depth_mm
    arch_x = np.interp(
        np.abs(x),
        [0, _SPINOUS_MM, generic.half_canal_mm, generic.half_spread_mm],
        [0, 1.1 * _SPINOUS_MM, 0.5 * size.canal_width_mm, 0.5 * size.spread_mm],
    )
    new_x = (1 - behind) * x * (half_width / generic.half_width_mm) + behind * np.sign(x) * arch_x
    new_y = np.interp(
        y,
        [-wall, wall, generic.arch_mm, generic.tip_mm],
        [-half_depth, half_depth, half_depth + size.canal_depth_mm, half_depth + size.spinous_mm],
    )
    # in front of the arch the slope of the endplates becomes that of the wedge
    along = np.clip(y, -wall, wall) * (half_depth / wall)
    slope = np.tan(np.radians(size.wedge_degrees)) - generic.wedge * (size.height_mm / generic.height_mm) * (
        wall / half_depth
    )
    level_share = z / (0.5 * generic.height_mm)
    new_z = z * (size.height_mm / generic.height_mm) - level_share * slope * along / 2
    # spinous processes that lean down by as much would touch the next ones
    lean = _smoothstep(y, generic.arch_mm, generic.arch_mm + 8.0)
    new_z += lean * _SPINOUS_LOWER * (_SPINOUS_AT_MM - new_z)
    vertices = np.stack([new_x, new_y, new_z], axis=1)
    return Mesh(vertices_xyz_mm=_worn(vertices, level_share, 1 - behind, size), faces=generic.faces)


def _worn(
    vertices: np.ndarray, level_share: np.ndarray, on_body: np.ndarray, size: VertebraSize
) -> np.ndarray:
    """Return the vertices with hollow endplates, osteophytes at the rims, and the body crushed."""
    x, y, z = vertices.T
    u, v = x / (0.5 * size.width_mm), y / (0.5 * size.depth_mm)
    radius = np.hypot(u, v)
    plate = np.clip(level_share, -1, 1)
    hollow = size.hollow_mm * np.clip(1 - (radius / 0.9) ** 2, 0, None) * plate * np.abs(plate) ** 3
    # in front and at the sides, more on one side; the canal stays free
    angle = np.arctan2(u, -v)
    around = 0.6 + 0.4 * np.cos(3 * angle + size.spurs_turn)
    rim = _smoothstep(np.abs(plate), _RIM_HEIGHT, 1.0) * _smoothstep(radius, _RIM_FROM, 1.0)
    out = size.spurs_mm * around * rim * (1 - _smoothstep(v, 0.2, 0.7)) * on_body
    away = np.stack([u, v], axis=1) / np.maximum(radius, 1e-6)[:, None]
    front, middle, back = size.crush
    place = np.clip((v + 0.85) / 1.7, 0, 1)
    left = np.interp(place, [0, 0.5, 1], [front, middle, back])
    lowered = on_body * (1 - left) * size.height_mm * 0.5 * (plate + 1) * (np.abs(plate) <= 1)
    return np.stack([x + out * away[:, 0], y + out * away[:, 1], z - on_body * hollow - lowered], axis=1)


@cache
def _generic(name: str) -> _Generic:
    with np.load(SHAPES_FILE) as data:
        vertices, faces = data[f"{name}_vertices_mm"].astype(float), data[f"{name}_faces"]
    for _ in range(3):  # the wall is found better once the endplates lie level
        wall, arch = _canal_mm(vertices)
        upper, lower = _endplates(vertices, faces, wall)
        tilt = 0.5 * (upper[0] + lower[0])
        vertices = vertices @ rotation_matrix(np.array([-np.degrees(np.arctan(tilt)), 0.0, 0.0])).T
    wall, arch = _canal_mm(vertices)
    upper, lower = _endplates(vertices, faces, wall)
    body = vertices[:, 1] < wall
    front = vertices[body, 1].min()
    middle_mm = 0.5 * (front + wall)
    top_mm, bottom_mm = (slope * middle_mm + height for slope, height in (upper, lower))
    center = np.array([0.0, middle_mm, 0.5 * (top_mm + bottom_mm)])
    local = vertices - center
    # the canal is widest between the pedicles, in its front half
    into = (vertices[:, 1] - wall) / (arch - wall)
    beside = np.abs(local[(into > 0.25) & (into < 0.55), 0])
    return _Generic(
        vertices_xyz_mm=local,
        faces=faces,
        half_width_mm=float(np.abs(local[body, 0]).max()),
        half_depth_mm=float(wall - middle_mm),
        height_mm=float(top_mm - bottom_mm),
        wedge=float(lower[0] - upper[0]),
        half_canal_mm=float(beside.min()),
        arch_mm=float(arch - middle_mm),
        tip_mm=float(local[:, 1].max()),
        half_spread_mm=float(np.abs(local[:, 0]).max()),
    )


def _canal_mm(vertices: np.ndarray) -> tuple[float, float]:
    """Return y of the canal's front wall (the body's back) and of its back wall, at the midline."""
    y = np.sort(vertices[np.abs(vertices[:, 0]) < _MEDIAN_MM, 1])
    gap = int(np.argmax(np.diff(y)))
    return float(y[gap]), float(y[gap + 1])


def _endplates(
    vertices: np.ndarray, faces: np.ndarray, wall: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return slope along y and height at y = 0 of the upper and the lower endplate."""
    up = vertex_normals(Mesh(vertices_xyz_mm=vertices, faces=faces))[:, 2]
    front = vertices[:, 1].min()
    share = (vertices[:, 1] - front) / (wall - front)
    body = (share > 0.1) & (share < 0.9) & (np.abs(vertices[:, 0]) < 0.42 * (wall - front))
    planes = (np.polyfit(*vertices[body & (side * up > _FLAT)][:, 1:].T, 1) for side in (1, -1))
    upper, lower = ((float(slope), float(height)) for slope, height in planes)
    return upper, lower


def _smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
