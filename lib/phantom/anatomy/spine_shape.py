"""The lumbar spine of a person as surfaces: T12 to L5 with lordosis, discs, canal, pelvis and the last ribs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.phantom.anatomy.lumbar_shapes import VertebraSize, vertebra_mesh
from lib.phantom.anatomy.shape import build_hip_shape, load_shape_model
from lib.phantom.densities import LEVELS
from lib.phantom.mesh import (
    Mesh,
    cut_off,
    move,
    vertex_normals,
)
from lib.rotations import rotation_matrix

# a man of mean size: width, depth and height of the body, its wedge (degrees), depth and width of the canal, length
# of the spinous process, spread of the transverse processes (mm)
_MEN = {
    "T12": (44.0, 32.8, 26.4, -2.2, 16.2, 24.0, 50.0, 50.0),
    "L1": (46.0, 34.4, 28.0, -1.8, 16.6, 25.6, 54.0, 80.0),
    "L2": (48.4, 35.5, 28.8, -0.8, 16.4, 26.2, 55.0, 86.0),
    "L3": (49.0, 35.6, 28.6, 1.0, 16.0, 26.4, 55.0, 92.0),
    "L4": (50.4, 36.0, 28.2, 2.6, 16.4, 27.4, 53.0, 88.0),
    "L5": (52.8, 36.2, 27.8, 6.0, 16.6, 30.4, 48.5, 93.0),
}
_MEN["L6"] = _MEN["L5"]
_WOMEN = 0.93
# so that drawn surfaces lie within the ranges of 87 patients (Clouthier et al., J Biomech 2023;146:111421), in the
# order of the sizes above; hollow endplates, roots of the pedicles and the roof of the canal take or add a little
_LEAST = (40.2, 29.8, 25.0, -3.0, 13.4, 24.2, 43.8)
_MOST = (56.0, 41.6, 32.6, 7.6, 20.0, 33.0, 60.4)
_DISC_RANGE_MM = (3.3, 11.2)
# disc below each vertebra (mm), and the tilt of each vertebra (degrees; positive: leans forward) of a mean person
_DISCS_MM = {"T12": 6.2, "L1": 7.4, "L2": 8.3, "L3": 9.2, "L4": 9.6, "L5": 8.6, "L6": 8.0}
_TILTS = {"T12": -12.0, "L1": -11.0, "L2": -8.0, "L3": -1.0, "L4": 8.0, "L5": 20.0, "L6": 24.0}
_SACRAL_SLOPE = 37.0
_SIZE_SD, _AXIS_SD, _LEVEL_SD, _DISC_SD, _TURN_SD = 0.045, 0.035, 0.02, 0.15, 1.5
_BOW_SD_MM, _LORDOSIS_SD, _SCOLIOSIS_MM = 4.0, 8.0, 26.0
_HOLLOW_MM, _LEAST_GAP_MM = (1.3, 0.5), 3.5
# body left of a fractured L2 in front, in the middle and behind; how far the spine above sinks (share of its height)
# and leans forward (degrees)
_FRACTURE, _SINKS, _KYPHOSIS = (0.55, 0.66, 0.93), 0.17, 8.0


@dataclass(frozen=True, kw_only=True)
class Vertebra:
    """A vertebra in the scanner (LPS mm): its surface, that of its body, and the body's frame.

    The columns of `axes` are the body's own x (left), y (posterior) and z. `body` is what lies in front of the
    canal's front wall, so it has no pedicles.
    """

    level: str
    whole: Mesh
    body: Mesh
    center_xyz_mm: np.ndarray
    axes: np.ndarray
    size_xyz_mm: tuple[float, float, float]

    def own_frame(self, points_xyz_mm: np.ndarray) -> np.ndarray:
        """Return points in the body's frame, mm."""
        return (points_xyz_mm - self.center_xyz_mm) @ self.axes

    def place(self, x_mm: float, y_mm: float, z_mm: float) -> np.ndarray:
        """Return the place in the scanner of a point of the body's frame."""
        return self.center_xyz_mm + self.axes @ np.array([x_mm, y_mm, z_mm])

    @property
    def wall_mm(self) -> float:
        """Height y of the canal's front wall in the body's frame."""
        return 0.5 * self.size_xyz_mm[1]

    def heights_mm(self) -> tuple[float, float, float]:
        """Return the height of the body in front, in the middle and behind, in the median plane."""
        local = self.own_frame(self.body.vertices_xyz_mm)
        median = local[np.abs(local[:, 0]) < 0.15 * self.size_xyz_mm[0]]
        share = median[:, 1] / self.size_xyz_mm[1]
        bands = ((-0.46, -0.34), (-0.06, 0.06), (0.3, 0.42))
        return tuple(float(np.ptp(median[(share > low) & (share < high), 2])) for low, high in bands)

    def plate_rim(self, side: int, share_xy: np.ndarray, into_mm: float) -> np.ndarray:
        """Return places (n, 3) on the upper (`side` 1) or lower (-1) endplate, moved by `into_mm` into the body.

        `share_xy` (n, 2) are half widths and half depths from the middle.
        """
        local = self.own_frame(self.body.vertices_xyz_mm)
        median = local[np.abs(local[:, 0]) < 0.3 * self.size_xyz_mm[0]]
        back = 2 * median[:, 1] / self.size_xyz_mm[1]
        edges = [
            side * (side * median[(back > low) & (back < high), 2]).max()
            for low, high in ((-0.95, -0.6), (0.6, 0.95))
        ]
        x, y = (0.5 * size * share for size, share in zip(self.size_xyz_mm, share_xy.T, strict=False))
        z = np.interp(share_xy[:, 1], [-0.8, 0.8], edges) - side * into_mm
        return self.center_xyz_mm + np.stack([x, y, z], axis=1) @ self.axes.T

    def moved(self, rotation: np.ndarray, shift_xyz_mm: np.ndarray) -> "Vertebra":
        """Return the vertebra turned about the origin and then shifted."""
        return replace(
            self,
            whole=move(self.whole, rotation, shift_xyz_mm),
            body=move(self.body, rotation, shift_xyz_mm),
            center_xyz_mm=rotation @ self.center_xyz_mm + shift_xyz_mm,
            axes=rotation @ self.axes,
        )


@dataclass(frozen=True, kw_only=True)
class SpineShape:
    """The bones of a trunk, LPS mm, highest vertebra first; `ribs` is None where there are none.

    `plate_xyz_mm` is the middle of the sacrum's endplate and `plate_axes` its frame, as that of a vertebra.
    `has_canal`: the surface of the sacrum leaves its canal open; else one is cut through it.
    """

    vertebrae: tuple[Vertebra, ...]
    sacrum: Mesh
    hips: tuple[Mesh, ...]
    ribs: Mesh | None
    plate_xyz_mm: np.ndarray
    plate_axes: np.ndarray
    size: float
    has_canal: bool = False

    def __getitem__(self, level: str) -> Vertebra:
        """Return a vertebra by its name."""
        return next(vertebra for vertebra in self.vertebrae if vertebra.level == level)

    def moved(self, rotation: np.ndarray, shift_xyz_mm: np.ndarray) -> "SpineShape":
        """Return the bones turned about the origin and then shifted."""
        return replace(
            self,
            vertebrae=tuple(vertebra.moved(rotation, shift_xyz_mm) for vertebra in self.vertebrae),
            sacrum=move(self.sacrum, rotation, shift_xyz_mm),
            hips=tuple(move(hip, rotation, shift_xyz_mm) for hip in self.hips),
            ribs=move(self.ribs, rotation, shift_xyz_mm) if self.ribs else None,
            plate_xyz_mm=rotation @ self.plate_xyz_mm + shift_xyz_mm,
            plate_axes=rotation @ self.plate_axes,
        )


@dataclass(frozen=True, kw_only=True)
class SpineDraw:
    """The shape of a person's spine in numbers: sizes and discs by level, curvature, pelvis."""

    sizes: dict[str, VertebraSize]
    discs_mm: dict[str, float]
    turns_degrees: dict[str, np.ndarray]
    slope_degrees: float
    size: float
    pelvis_weights: np.ndarray


def draw_spine_shape(rng: np.random.Generator, sex: str, age: int, defect: str = "") -> SpineDraw:
    """Draw the spine of a person; the defects `six_lumbar`, `fracture` and `scoliosis` change it."""
    size = float(np.clip(1 + _SIZE_SD * rng.standard_normal(), 0.9, 1.1)) * (_WOMEN if sex == "F" else 1.0)
    axes = size * np.exp(_AXIS_SD * np.clip(rng.standard_normal(3), -2, 2))
    levels = ["T12", *LEVELS, "L6"]
    own = 1 + _LEVEL_SD * rng.standard_normal(7)
    wedges, turns = rng.standard_normal(7), _TURN_SD * rng.standard_normal((7, 3))
    discs, hollow = (
        1 + _DISC_SD * rng.standard_normal(7),
        _HOLLOW_MM[0] + _HOLLOW_MM[1] * rng.standard_normal(7),
    )
    life = np.clip((age - 40) / 45, 0, 1)
    spurs, around = 4.0 * life * rng.uniform(0, 1, 7) ** 1.5, rng.uniform(0, 2 * np.pi, 7)
    lordosis, bow = rng.standard_normal(2) * (_LORDOSIS_SD, _BOW_SD_MM)
    weights = np.clip(rng.standard_normal(15), -2, 2)
    if defect == "scoliosis":
        bow = np.copysign(_SCOLIOSIS_MM, bow)
    turns = _turns(turns, float(lordosis), float(bow), levels)
    if defect == "fracture":
        for level in ("T12", "L1"):
            turns[level] = turns[level] + [_KYPHOSIS, 0.0, 0.0]
    sizes = {}
    for k, level in enumerate(levels):
        sizes[level] = replace(
            _clipped(level, axes * own[k], wedges[k]),
            hollow_mm=float(np.clip(hollow[k], 0.2, 2.3)),
            spurs_mm=float(spurs[k]),
            spurs_turn=float(around[k]),
            crush=_FRACTURE if (defect, level) == ("fracture", "L2") else (1.0, 1.0, 1.0),
        )
    return SpineDraw(
        sizes={level: sizes[level] for level in levels if level != "L6" or defect == "six_lumbar"},
        discs_mm={
            level: float(np.clip(_DISCS_MM[level] * size * discs[k], *_DISC_RANGE_MM))
            for k, level in enumerate(levels)
        },
        turns_degrees=turns,
        slope_degrees=_SACRAL_SLOPE + 0.6 * float(lordosis),
        size=size,
        pelvis_weights=weights,
    )


def _clipped(level: str, scale_xyz: np.ndarray, wedge: float) -> VertebraSize:
    width, depth, height, mean_wedge, canal_depth, canal_width, spinous, spread = _MEN[level]
    x, y, z = scale_xyz
    drawn = (
        width * x,
        depth * y,
        height * z,
        mean_wedge + wedge,
        canal_depth * y,
        canal_width * x,
        spinous * y,
    )
    values = np.clip(drawn, _LEAST, _MOST).tolist()
    return VertebraSize(
        width_mm=values[0],
        depth_mm=values[1],
        height_mm=values[2],
        wedge_degrees=values[3],
        canal_depth_mm=values[4],
        canal_width_mm=values[5],
        spinous_mm=values[6],
        spread_mm=spread * float(x),
    )


def _turns(drawn: np.ndarray, lordosis: float, bow_mm: float, levels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the turns about x, y, z of each vertebra; a bow to one side turns them about y, and a little about z.

    The bow is a half wave from T12 to the sacrum, so its slope is steepest at the ends.
    """
    share = {level: np.interp(k, [0, 5, 6], [1.0, 0.08, 0.0]) for k, level in enumerate(levels)}
    turns = {}
    for k, level in enumerate(levels):
        slope = -bow_mm * np.pi / 195 * np.cos(np.pi * share[level])
        twist = 0.35 * bow_mm * np.sin(np.pi * share[level])
        forward = _TILTS[level] + lordosis * np.interp(k, [0, 3, 6], [-0.4, 0.0, 0.5])
        turns[level] = drawn[k] + [forward, np.degrees(np.arctan(slope)), twist]
    return turns


def build_spine(draw: SpineDraw) -> SpineShape:
    """Return the surfaces of a drawn spine; the middle of L3 is the origin."""
    slope = rotation_matrix(np.array([draw.slope_degrees, 0.0, 0.0]))
    sacrum, hips = _pelvis(draw, slope)
    top, up = np.zeros(3), slope[:, 2]
    vertebrae = []
    for level in reversed(draw.sizes):
        size, axes = draw.sizes[level], rotation_matrix(draw.turns_degrees[level])
        between = up + axes[:, 2]
        bottom = top + draw.discs_mm[level] * between / np.linalg.norm(between)
        center = bottom + 0.5 * size.height_mm * axes[:, 2]
        vertebrae.append(_vertebra(level, size, center, axes))
        top, up = center + 0.5 * size.height_mm * axes[:, 2], axes[:, 2]
        if size.crush != (1.0, 1.0, 1.0):
            # what stands on a crushed body sinks and leans forward
            top = top - _SINKS * size.height_mm * up
    lower = -_missing_mm(vertebrae[0], sacrum) * vertebrae[0].axes[:, 2]
    shape = SpineShape(
        vertebrae=tuple(reversed(vertebrae)),
        sacrum=move(sacrum, np.eye(3), lower),
        hips=tuple(move(hip, np.eye(3), lower) for hip in hips),
        ribs=None,
        plate_xyz_mm=lower,
        plate_axes=slope,
        size=draw.size,
    )
    return shape.moved(np.eye(3), -shape["L3"].center_xyz_mm)


def _missing_mm(vertebra: Vertebra, sacrum: Mesh) -> float:
    """Return by how much a sacrum, whose rims differ between people, is too close below a vertebra, mm."""
    width, depth, _ = vertebra.size_xyz_mm
    local = vertebra.own_frame(sacrum.vertices_xyz_mm)
    below = local[(np.abs(local[:, 0]) < 0.4 * width) & (np.abs(local[:, 1]) < 0.5 * depth)]
    places = 2 * below[:, :2] / (width, depth)
    rim = vertebra.own_frame(vertebra.plate_rim(-1, places, 0.0))[:, 2]
    return max(_LEAST_GAP_MM - float((rim - below[:, 2]).min()), 0.0)


def _vertebra(level: str, size: VertebraSize, center: np.ndarray, axes: np.ndarray) -> Vertebra:
    mesh = vertebra_mesh(level, size)
    body = cut_off(mesh, np.array([0.0, 0.5 * size.depth_mm, 0.0]), np.array([0.0, 1.0, 0.0]))
    return Vertebra(
        level=level,
        whole=move(mesh, axes, center),
        body=move(body, axes, center),
        center_xyz_mm=center,
        axes=axes,
        size_xyz_mm=(size.width_mm, size.depth_mm, size.height_mm),
    )


def given_vertebra(level: str, whole: Mesh, body: Mesh) -> Vertebra:
    """Return a vertebra of given surfaces (x = left, y = posterior, z = up); its frame is found from the body."""
    up = vertex_normals(body)[:, 2]
    vertices = body.vertices_xyz_mm
    planes = [np.polyfit(*vertices[side * up > 0.85][:, 1:].T, 1)[0] for side in (1, -1)]
    axes = rotation_matrix(np.array([np.degrees(np.arctan(np.mean(planes))), 0.0, 0.0]))
    low, high = (vertices @ axes).min(axis=0), (vertices @ axes).max(axis=0)
    return Vertebra(
        level=level,
        whole=whole,
        body=body,
        center_xyz_mm=axes @ (0.5 * (low + high)),
        axes=axes,
        size_xyz_mm=tuple(float(v) for v in high - low),
    )


def vertebra_above(below: Vertebra, level: str) -> Vertebra:
    """Return the next vertebra above another one: a mean man's, in its size."""
    scale = below.size_xyz_mm[0] / _MEN[below.level][0]
    size = _clipped(level, np.full(3, scale), 0.0)
    turn = rotation_matrix(np.array([_TILTS[level] - _TILTS[below.level], 0.0, 0.0]))
    axes, up = below.axes @ turn, below.axes[:, 2]
    between = up + axes[:, 2]
    disc = _DISCS_MM[level] * scale * between / np.linalg.norm(between)
    bottom = below.place(0.0, 0.0, 0.5 * below.size_xyz_mm[2]) + disc
    return _vertebra(level, size, bottom + 0.5 * size.height_mm * axes[:, 2], axes)


def plate_below(vertebra: Vertebra, sacrum: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of the endplate of a sacrum below a vertebra, and its frame."""
    facing = vertex_normals(sacrum) @ vertebra.axes[:, 2] > 0.6
    local = vertebra.own_frame(sacrum.vertices_xyz_mm)
    width, depth, height = vertebra.size_xyz_mm
    plate = facing & (np.abs(local[:, 0]) < 0.3 * width) & (np.abs(local[:, 1]) < 0.5 * depth)
    plate &= local[:, 2] > -1.3 * height
    slope, at_middle = np.polyfit(local[plate, 1], local[plate, 2], 1)
    turn = rotation_matrix(np.array([np.degrees(np.arctan(slope)), 0.0, 0.0]))
    return vertebra.place(0.0, 0.0, float(at_middle)), vertebra.axes @ turn


def _pelvis(draw: SpineDraw, slope: np.ndarray) -> tuple[Mesh, tuple[Mesh, ...]]:
    """Return sacrum and hip bones of the hip shape model, with the sacrum's endplate at the origin."""
    shape = build_hip_shape(draw.pelvis_weights, draw.size, np.zeros((2, 3)))
    middle, tilt = _sacral_plate(shape.sacrum)
    turn = slope @ rotation_matrix(np.array([-tilt, 0.0, 0.0]))
    bones = (shape.sacrum, *shape.hips)
    sacrum, *hips = (move(bone, turn, -middle, middle) for bone in bones)
    return sacrum, tuple(hips)


def _sacral_plate(sacrum: Mesh) -> tuple[np.ndarray, float]:
    """Return the middle of a sacrum's endplate, and how far it leans forward (degrees)."""
    part = load_shape_model().parts[2]
    mean = load_shape_model().mean_xyz_mm[part]
    normal = vertex_normals(Mesh(vertices_xyz_mm=mean, faces=sacrum.faces))
    # in the mean sacrum the endplate rises from the promontory, its foremost point in the median plane, backward
    median = np.abs(mean[:, 0] - np.median(mean[:, 0])) < 14.0
    front = mean[median, 1].min()
    plate = median & (normal[:, 2] > 0.4) & (normal[:, 1] < -0.1) & (mean[:, 1] < front + 27.0)
    points = sacrum.vertices_xyz_mm[plate]
    rise = np.polyfit(points[:, 1], points[:, 2], 1)[0]
    y = 0.5 * (points[:, 1].min() + points[:, 1].max())
    at_middle = np.polyval(np.polyfit(points[:, 1], points[:, 2], 1), y)
    return np.array([points[:, 0].mean(), y, at_middle]), float(np.degrees(np.arctan(rise)))
