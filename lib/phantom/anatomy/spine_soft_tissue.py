"""The trunk around a lumbar spine: outline, fat, muscles along the vertebral column, organs, vessels and bowel gas.

Muscles and vessels follow the column: their places are given from the middle of the body at the same height, by
level.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lib.phantom.anatomy.drawing import (
    Pencil,
    bends_of,
    depth_in_ball,
    depth_in_ellipse,
    depth_in_superellipse,
    grain_of,
    interpolation,
    resize,
)
from lib.phantom.anatomy.specimen import SoftSlice, Tissue
from lib.phantom.anatomy.spine_parts import canal_course_mm
from lib.phantom.anatomy.spine_shape import SpineShape
from lib.phantom.voxelize import VoxelGrid

_PENCIL = Pencil(step_mm=1.8)
_SKIN_MM, _OUTLINE_POWER, _FLATTENED = 1.8, 2.3, 0.94
_LEVELS = {"T12": 3.0, "L1": 2.0, "L2": 1.0, "L3": 0.0, "L4": -1.0, "L5": -2.0, "L6": -2.5}
_PLATE_LEVEL, _SACRUM_LEVEL, _SACRUM_BELOW_MM = -2.6, -4.2, 58.0
_WALL_MM, _RECTUS_MM, _GLUTEAL_MM = 15.0, 9.0, 42.0
# distance of the front of the abdomen from the column in the trunk that organs are given for, mm
_FRONT_MM = 118.0

# level -> from the column to the left and backward, half axes (mm) and turn (degrees) of the left muscles
_MUSCLES = {
    "psoas": {
        2.3: (26, 8, 6, 9, 0),
        1.0: (33, 8, 12, 16, 0),
        0.0: (38, 5, 17, 22, 0),
        -1.0: (43, 0, 20, 25, 0),
        -2.0: (48, -8, 21, 24, 0),
        -3.0: (53, -22, 18, 18, 0),
        -4.4: (58, -40, 18, 17, 0),
    },
    "longissimus and iliocostalis": {
        3.6: (34, 54, 25, 17, -12),
        1.0: (38, 56, 31, 22, -12),
        0.0: (39, 58, 33, 25, -10),
        -1.0: (38, 58, 32, 24, -8),
        -2.0: (35, 52, 27, 20, -5),
        -3.4: (30, 42, 16, 10, 0),
    },
    "multifidus": {
        3.6: (10, 48, 8, 12, 0),
        0.0: (14, 54, 11, 18, 0),
        -1.0: (15, 52, 13, 19, 0),
        -2.0: (18, 48, 15, 18, 0),
        -3.6: (16, 46, 15, 11, 0),
    },
    "quadratus lumborum": {
        2.4: (46, 32, 8, 5, -30),
        1.0: (62, 30, 15, 7, -25),
        0.0: (70, 26, 18, 9, -25),
        -1.0: (76, 20, 18, 9, -30),
        -1.9: (80, 10, 12, 5, -40),
    },
    "crura": {3.6: (14, -24, 5, 9, 0), 1.2: (15, -24, 3, 5, 0)},
    "iliacus": {-2.3: (88, 2, 10, 8, -40), -3.0: (88, -14, 13, 22, -35), -4.4: (84, -26, 14, 26, -30)},
}
# of both vessels on the midline, then of the pairs below their division
_AORTA = {4.0: (4, -31, 11, 11, 0), 1.0: (9, -32, 9.5, 9.5, 0), -1.0: (7, -32, 9, 9, 0)}
_CAVA = {4.0: (-20, -36, 12, 9, 0), 1.0: (-18, -29, 12, 9, 0), -1.4: (-13, -28, 12.5, 9, 0)}
_ILIAC_ARTERIES = {-1.1: (9, -32, 6, 6, 0), -2.4: (25, -40, 6, 6, 0), -4.4: (42, -58, 5.5, 5.5, 0)}
_ILIAC_VEINS = {-1.5: (11, -27, 7, 6, 0), -2.4: (24, -31, 7.5, 6.5, 0), -4.4: (37, -50, 7, 7, 0)}
# centre (from the middle of L3: left, back, up) and half axes, mm
_LIVER = (((-72, -52, 112), (66, 72, 96)), ((-8, -78, 122), (62, 34, 52)))
_SPLEEN = ((100, 2, 112), (26, 46, 58))
_KIDNEYS = (((66, 10, 50), (27, 25, 54)), ((-64, 10, 40), (27, 25, 54)))
_SINUSES = (((50, 2, 48), (16, 9, 26)), ((-48, 2, 38), (16, 9, 26)))
_STOMACH = ((48, -74, 100), (50, 30, 36))
_COLON = (((-98, -30, -42), (21, 23, 82)), ((102, -20, -20), (14, 15, 108)), ((0, -96, 22), (98, 15, 16)))
_COLON_GAS = (
    ((-98, -38, -26), (13, 13, 30)),
    ((-95, -40, -88), (12, 11, 18)),
    ((101, -24, 20), (7, 8, 34)),
    ((22, -100, 24), (34, 9, 10)),
    ((-58, -100, 20), (22, 8, 9)),
    ((44, -92, 98), (30, 11, 24)),
)
_LOOPS, _GASSY, _MOST_PLAQUES = 44, 0.22, 26


@dataclass(frozen=True, kw_only=True)
class TrunkHabitus:
    """Body habitus: half axes of the trunk and layers of fat (mm), muscle bulk, fat in muscle (HU), bowel, plaques.

    `back_mm` is the distance of the back behind the middle of L3. `loops` are centre, half axes (mm) and whether
    there is gas in them. `plaques` are level, angle around the aorta (radians) and radius (mm).
    """

    half_width_mm: float
    half_depth_mm: float
    back_mm: float
    side_fat_mm: float
    front_fat_mm: float
    back_fat_mm: float
    muscle: float
    marbling: float
    loops: tuple[tuple[tuple, tuple, bool], ...]
    plaques: tuple[tuple[float, float, float], ...]

    @property
    def ribs_mm(self) -> tuple[float, float]:
        """Half axes of the trunk along the middle of the ribs, mm."""
        wall_mm = self.side_fat_mm + 9.0
        return self.half_width_mm - wall_mm, 0.72 * self.half_depth_mm


@dataclass(frozen=True, kw_only=True)
class _Column:
    """The vertebral column by height: heights of known levels, middle of the bodies and of the canal (mm)."""

    z_mm: np.ndarray
    levels: np.ndarray
    middle_xy_mm: np.ndarray
    canal_xyz_mm: np.ndarray

    def at(self, z: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Return level, middle of the body and middle of the canal (x, y) at a height."""
        middle, canal = (
            np.array([np.interp(z, known[:, -1], known[:, k]) for k in range(2)])
            for known in (np.column_stack([self.middle_xy_mm, self.z_mm]), self.canal_xyz_mm)
        )
        return float(np.interp(z, self.z_mm, self.levels)), middle, canal


def draw_trunk(rng: np.random.Generator, sex: str, age: int, size: float) -> TrunkHabitus:
    """Draw the trunk of a person; aortic plaques come with age."""
    low, high = (120, 100, 104, 7, 8, 7, 0.92, 10), (146, 122, 114, 30, 34, 16, 1.08, 30)
    width, depth, back, side, front, behind, muscle, marbling = rng.uniform(low, high)
    spots = rng.uniform(size=(_LOOPS, 7))
    loops = tuple(
        (
            (-80 + 160 * s[0], -104 + 66 * s[1], -118 + 176 * s[2]),
            (14 + 12 * s[3], 12 + 8 * s[4], 13 + 12 * s[5]),
            bool(s[6] < _GASSY),
        )
        for s in spots
    )
    count = int(_MOST_PLAQUES * np.clip((age - 45) / 45, 0, 1) * rng.uniform(0.3, 1.0))
    placed = rng.uniform((-1.0, 0.0, 1.0), (3.5, 2 * np.pi, 2.6), (_MOST_PLAQUES, 3))[:count]
    return TrunkHabitus(
        half_width_mm=float(width) * (0.5 + 0.5 * size),
        half_depth_mm=float(depth),
        back_mm=float(back) * size,
        side_fat_mm=float(side),
        front_fat_mm=float(front) * (1.15 if sex == "F" else 1.0),
        back_fat_mm=float(behind),
        muscle=float(muscle) * (1.0 - 0.16 * np.clip((age - 50) / 40, 0, 1)),
        marbling=float(marbling) + 35.0 * float(np.clip((age - 40) / 50, 0, 1)),
        loops=loops,
        plaques=tuple(tuple(float(v) for v in plaque) for plaque in placed),
    )


def trunk_slices(
    grid: VoxelGrid, shape: SpineShape, habitus: TrunkHabitus, rng: np.random.Generator
) -> Iterator[SoftSlice]:
    """Return the soft tissue of each axial slice of a grid, lowest first; the random texture is drawn at once."""
    x_mm, y_mm, z_mm = (grid.centers_mm(axis) for axis in range(3))
    step = _PENCIL.step_mm
    coarse_x, coarse_y = (np.arange(axis[0] - 2, axis[-1] + 2 + step, step) for axis in (x_mm, y_mm))
    grain = grain_of((len(z_mm), len(coarse_y), len(coarse_x)), grid.spacing_xyz_mm[2], rng, _PENCIL)
    bends = bends_of(coarse_x, coarse_y, z_mm, rng)
    to_y, to_x = interpolation(coarse_y, y_mm), interpolation(coarse_x, x_mm)
    x, y = (axis.astype(np.float32) for axis in np.meshgrid(coarse_x, coarse_y))
    column, origin = _column(shape), shape["L3"].center_xyz_mm
    inside_mm, deep_mm, wall_mm = _outlines(x - origin[0], y - origin[1], habitus)
    body = np.clip(0.5 + resize(inside_mm, to_y, to_x) / float(x_mm[1] - x_mm[0]), 0, 1)

    def draw(k: int, z: float) -> SoftSlice:
        trunk = _Slice(x=x, y=y, z=z, origin=origin, column=column.at(z), deep_mm=deep_mm, wall_mm=wall_mm)
        muscle = _muscles(trunk, bends(k), habitus)
        layers = (*_organs(trunk, habitus, muscle), *_vessels(trunk, habitus))
        skin = (_PENCIL.edge(_SKIN_MM - inside_mm), Tissue.SKIN)
        return SoftSlice(
            muscle=muscle,
            grain=grain[k],
            marbling=habitus.marbling * np.clip(grain[k] - 0.6, 0, None),
            layers=(*layers, skin),
            to_pixels=lambda coarse: resize(coarse, to_y, to_x),
            body=body,
        )

    return (draw(k, float(z)) for k, z in enumerate(z_mm))


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """One coarse slice: places (LPS mm), middle of L3, the column there, depth below the muscles' fascia, wall."""

    x: np.ndarray
    y: np.ndarray
    z: float
    origin: np.ndarray
    column: tuple[float, np.ndarray, np.ndarray]
    deep_mm: np.ndarray
    wall_mm: np.ndarray

    def from_column(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance of each place from the middle of the body, to the left and backward."""
        return self.x - self.column[1][0], self.y - self.column[1][1]

    def ball(self, center: tuple, half_axes: tuple, deepen: float) -> np.ndarray | None:
        """Return the share in an ellipsoid given from L3 in a trunk of usual depth; None if it is elsewhere."""
        up = self.z - self.origin[2]
        if abs(up - center[2]) >= half_axes[2]:
            return None
        place = (center[0], center[1] * deepen, center[2])
        return _PENCIL.edge(
            depth_in_ball(self.x - self.origin[0], self.y - self.origin[1], up, place, half_axes)
        )


def _column(shape: SpineShape) -> _Column:
    known = [(_LEVELS[v.level], v.center_xyz_mm) for v in shape.vertebrae]
    known.insert(0, (known[0][0] + 1.2, known[0][1] + 40.0 * shape.vertebrae[0].axes[:, 2]))
    behind = shape.plate_axes @ np.array([0.0, 14.0, -_SACRUM_BELOW_MM])
    known += [(_PLATE_LEVEL, shape.plate_xyz_mm), (_SACRUM_LEVEL, shape.plate_xyz_mm + behind)]
    levels, middles = zip(*reversed(known), strict=True)
    middles = np.array(middles)
    return _Column(
        z_mm=middles[:, 2],
        levels=np.array(levels),
        middle_xy_mm=middles[:, :2],
        canal_xyz_mm=canal_course_mm(shape)[::-1],
    )


def _outlines(
    x: np.ndarray, y: np.ndarray, habitus: TrunkHabitus
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth below the skin, depth below the fascia, and thickness of the muscular wall there, mm."""
    half_width, half_depth = habitus.half_width_mm, habitus.half_depth_mm
    middle = habitus.back_mm - _FLATTENED * half_depth
    skin = depth_in_superellipse(x, y - middle, half_width, half_depth, _OUTLINE_POWER)
    slope_y, slope_x = np.gradient(skin, _PENCIL.step_mm)
    skin = skin / np.clip(np.hypot(slope_x, slope_y), 0.4, 3.0)
    inside = np.minimum(skin, habitus.back_mm - y)
    front, behind = habitus.front_fat_mm, habitus.back_fat_mm
    fascia = depth_in_superellipse(
        x,
        y - middle - 0.5 * (front - behind),
        half_width - habitus.side_fat_mm,
        half_depth - 0.5 * (front + behind),
        _OUTLINE_POWER,
    )
    deep = np.minimum(fascia, inside - 4.0)
    in_front = np.clip((middle - y) / 30.0, 0, 1) * np.clip((75.0 - np.abs(x)) / 20.0, 0, 1)
    wall = _WALL_MM + (_RECTUS_MM - _WALL_MM) * in_front
    return inside, deep, wall.astype(np.float32)


def _muscles(trunk: _Slice, bend: np.ndarray, habitus: TrunkHabitus) -> np.ndarray:
    """Return the share of muscle: those along the column, the wall of the abdomen, and the gluteal muscles."""
    x, y = trunk.from_column()
    x, y = x + bend[0], y + bend[1]
    level, _, canal = trunk.column
    share = np.zeros_like(x)
    for places in _MUSCLES.values():
        depth = _depth_along(np.abs(x), y, level, places, habitus.muscle)
        if depth is not None:
            # fat between neighbouring bellies
            share = np.maximum(share, _PENCIL.edge(np.minimum(depth, trunk.deep_mm)))
    from_midline = np.abs(trunk.x - trunk.origin[0])
    pelvic = np.clip((-2.0 - level) / 0.9, 0, 1) * np.clip((y + 35.0) / 40.0, 0, 1)
    pelvic = pelvic * np.clip((from_midline - 24.0) / 40.0, 0, 1)
    thick = habitus.muscle * (trunk.wall_mm + (_GLUTEAL_MM - trunk.wall_mm) * pelvic)
    wall = _PENCIL.edge(np.minimum(trunk.deep_mm, thick - trunk.deep_mm))
    in_front = y < -40
    # behind, the muscles along the column take its place
    ends = np.clip((58.0 - y) / 10.0, 0, 1) * np.clip(
        (from_midline - 52.0) / 12.0 - np.minimum(y, 0) / 10.0, 0, 1
    )
    wall = wall * np.maximum(ends, pelvic)
    wall = wall * np.where(in_front, 1 - np.exp(-0.5 * (from_midline / 4.0) ** 2), 1)
    # the groove between rectus and the lateral muscles; three lateral layers
    groove = np.exp(-0.5 * ((from_midline - 72.0) / 2.5) ** 2) * in_front
    layers = (
        0.55
        * np.exp(-0.5 * (((trunk.deep_mm - 0.45 * thick) / 0.9) ** 2))
        * (from_midline > 74)
        * (1 - pelvic)
    )
    share = np.maximum(share, wall * (1 - groove) * (1 - layers))
    return share * (1 - _PENCIL.edge(depth_in_ellipse(trunk.x - canal[0], trunk.y - canal[1], 12.0, 8.5)))


def _organs(trunk: _Slice, habitus: TrunkHabitus, muscle: np.ndarray) -> list[tuple[np.ndarray, Tissue]]:
    """Return (share, tissue) of the organs of the abdomen, in front of the muscles, then of gas in the bowel."""
    front_mm = _FLATTENED * habitus.half_depth_mm * 2 - habitus.back_mm - habitus.front_fat_mm - _RECTUS_MM
    deepen = front_mm / (_FRONT_MM - _RECTUS_MM)
    room = _PENCIL.edge(trunk.deep_mm - trunk.wall_mm - 2.0) * (1 - muscle)
    found = []

    def add(ball: tuple, tissue: Tissue, without: np.ndarray | float | None = 0.0) -> None:
        share = trunk.ball(*ball, deepen)
        if share is not None:
            found.append((share * room * (1 - (0.0 if without is None else without)), tissue))

    for center, half_axes, gassy in habitus.loops:
        add((center, half_axes), Tissue.BOWEL)
        if gassy:
            add(((center[0], center[1] - 3, center[2]), tuple(0.6 * half for half in half_axes)), Tissue.GAS)
    for ball in (*_COLON, _STOMACH):
        add(ball, Tissue.BOWEL)
    for ball in _COLON_GAS:
        add(ball, Tissue.GAS)
    # fat lies around the kidneys
    around = [trunk.ball(center, tuple(half + 7.0 for half in axes), deepen) for center, axes in _KIDNEYS]
    around = sum(share for share in around if share is not None)
    for ball in (*_LIVER, _SPLEEN):
        add(ball, Tissue.LIVER, around)
    for kidney, sinus in zip(_KIDNEYS, _SINUSES, strict=True):
        add(kidney, Tissue.KIDNEY, trunk.ball(*sinus, deepen))
    return found


def _vessels(trunk: _Slice, habitus: TrunkHabitus) -> list[tuple[np.ndarray, Tissue]]:
    """Return (share, tissue) of great vessels with plaques, and of the fluid in the spinal canal."""
    x, y = trunk.from_column()
    level, _, canal = trunk.column
    found = []
    for places, side, tissue in (
        (_CAVA, x, Tissue.VEIN),
        (_ILIAC_VEINS, np.abs(x), Tissue.VEIN),
        (_AORTA, x, Tissue.ARTERY),
        (_ILIAC_ARTERIES, np.abs(x), Tissue.ARTERY),
    ):
        depth = _depth_along(side, y, level, places, 1.0, taper=0.25)
        if depth is not None:
            found.append((_PENCIL.edge(depth), tissue))
    across, back, radius = _place(level, _AORTA)[:3]
    for at, angle, size in habitus.plaques:
        # a level is some 36 mm high
        left = size**2 - (36.0 * (at - level)) ** 2
        if left > 0 and level > -1.1:
            wall = (across + radius * np.cos(angle), back + radius * np.sin(angle))
            depth = np.sqrt(left) - np.hypot(x - wall[0], y - wall[1])
            found.append((_PENCIL.edge(depth), Tissue.PLAQUE))
    sac = float(np.interp(level, [-4.2, -2.0, 2.0], [0.35, 0.85, 1.0]))
    depth = depth_in_ellipse(trunk.x - canal[0], trunk.y - canal[1] + 0.5, 9.0 * sac, 6.8 * sac)
    found.append((_PENCIL.edge(depth), Tissue.LIQUOR))
    return found


def _place(level: float, places: Mapping[float, tuple]) -> tuple[float, ...]:
    known = sorted(places)
    return tuple(float(np.interp(level, known, [places[at][k] for at in known])) for k in range(5))


def _depth_along(
    x: np.ndarray,
    y: np.ndarray,
    level: float,
    places: Mapping[float, tuple],
    swell: float,
    taper: float = 0.4,
) -> np.ndarray | None:
    """Return the depth (mm) inside a tube given by ellipses at some levels; None beyond its tapered ends."""
    low, high = min(places), max(places)
    left = 1 - (max(level - high, 0.0) + max(low - level, 0.0)) / taper
    if left <= 0.2:
        return None
    across, back, a, b, turn = _place(level, places)
    return depth_in_ellipse(x - across, y - back, a * swell * left, b * swell * left, turn)
