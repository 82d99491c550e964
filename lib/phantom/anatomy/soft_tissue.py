"""The body around the bones: outline, subcutaneous fat, muscles with fat between them, pelvic organs.

Everything is defined in the person frame (see `lib.phantom.anatomy.shape`) for a person of the model's mean size,
drawn slice by slice on a coarse grid, and interpolated to the image's pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lib.phantom.anatomy.drawing import (
    CT_PENCIL,
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
from lib.phantom.voxelize import VoxelGrid

# half axes of a trunk without subcutaneous fat
_BARE_HALF_WIDTH_MM, _BARE_HALF_DEPTH_MM = 149.0, 88.0
_SKIN_MM = 1.8
_FOLD_MM = 3.0
_FASCIA_MM = 0.8
_BELLY_SLACK_MM = 8.0
_FRONT_BACK_CENTER_MM = 12.0
_TAPER_MM = 12.0
# half the thickness of the fascia of the thigh in front, and what the iliotibial tract at the side adds
_FASCIA_LATA_MM, _TRACT_MM, _TRACT_FROM_MM = 0.15, 0.2, (112.0, 140.0)

# level z -> centre x, y, half axes a, b (mm) and turn (degrees) of the left muscles in an axial slice
_MUSCLES = {
    "gluteus maximus": {
        45: (76, 71, 52, 18, -16),
        0: (88, 67, 57, 21, -22),
        -45: (100, 61, 51, 19, -25),
        -100: (114, 50, 32, 11, -35),
    },
    "gluteus medius": {45: (120, 4, 15, 38, -12), 0: (133, 6, 11, 27, 0), -30: (142, 8, 5, 12, 0)},
    "gluteus minimus": {45: (105, -8, 9, 25, -10), 0: (119, -14, 8, 18, 0), -22: (128, -14, 4, 9, 0)},
    "tensor fasciae latae": {
        45: (122, -50, 9, 11, 0),
        0: (136, -42, 9, 15, 0),
        -45: (145, -28, 7, 18, 0),
        -100: (148, -22, 3, 17, 0),
    },
    "sartorius": {
        45: (110, -66, 9, 8, 0),
        0: (102, -66, 12, 7, 20),
        -45: (88, -68, 12, 6, 10),
        -100: (70, -64, 12, 7, 0),
    },
    "rectus femoris": {12: (107, -42, 6, 6, 0), -20: (111, -46, 11, 9, 0), -100: (113, -53, 19, 13, 0)},
    "iliopsoas": {
        45: (80, -34, 22, 15, 20),
        0: (84, -42, 20, 12, 10),
        -30: (92, -30, 15, 12, 0),
        -62: (101, -6, 6, 6, 0),
    },
    "pectineus": {0: (60, -46, 9, 4, 25), -30: (66, -38, 18, 8, 25), -65: (84, -20, 10, 7, 25)},
    "obturator internus": {
        40: (64, 22, 4, 18, 15),
        0: (56, 20, 8, 26, 10),
        -35: (46, 14, 8, 20, 5),
        -55: (42, 14, 3, 8, 0),
    },
    "obturator externus": {-18: (60, -12, 12, 7, 25), -40: (72, 0, 22, 9, 25), -58: (92, 14, 10, 6, 25)},
    "piriformis and gemelli": {45: (62, 60, 32, 8, -15), 0: (96, 36, 27, 8, -10), -22: (101, 35, 20, 6, -10)},
    "quadratus femoris": {-24: (96, 37, 20, 7, -5), -50: (96, 36, 24, 9, -5), -72: (98, 34, 16, 6, -5)},
    "short adductors": {-36: (38, -42, 10, 6, 35), -60: (46, -38, 25, 14, 25), -100: (58, -38, 27, 18, 20)},
    "gracilis": {-58: (16, -18, 4, 13, 0), -100: (22, -10, 6, 17, 0)},
    "adductor magnus": {-50: (44, 14, 13, 10, 0), -70: (50, 10, 34, 20, 0), -110: (56, 14, 42, 25, 0)},
    "hamstrings": {-42: (70, 46, 8, 7, 0), -70: (78, 48, 15, 12, 0), -110: (82, 50, 21, 16, 0)},
    "vastus lateralis": {-38: (150, 6, 4, 10, 0), -60: (146, 6, 10, 26, 0), -110: (138, 4, 19, 36, 0)},
    "vastus intermedius": {-58: (122, -20, 14, 6, 10), -110: (116, -20, 24, 15, 0)},
    "vastus medialis": {-78: (94, -18, 6, 8, 0), -110: (90, -20, 15, 16, 0)},
    "levator ani": {0: (34, 38, 3, 24, -12), -40: (22, 36, 3, 20, -15), -62: (10, 36, 4, 12, 0)},
    "perineum": {-42: (13, -8, 8, 14, 0), -75: (13, -6, 11, 18, 0)},
}
_VESSELS = {
    Tissue.ARTERY: {
        45: (64, -40, 5, 5, 0),
        0: (72, -60, 5, 5, 0),
        -50: (72, -56, 4.5, 4.5, 0),
        -110: (77, -42, 4, 4, 0),
    },
    Tissue.VEIN: {
        45: (56, -32, 6, 6, 0),
        0: (60, -57, 6.5, 6.5, 0),
        -50: (63, -50, 5.5, 5.5, 0),
        -110: (69, -36, 5, 5, 0),
    },
}
# tendons that lie within or beside the muscles above
_TENDONS = {
    "iliopsoas": {
        45: (78, -27, 4, 1.2, 20),
        0: (82, -34, 4, 1.2, 15),
        -30: (92, -23, 3, 1.3, 0),
        -64: (101, -4, 2.5, 2, 0),
    },
    "gluteus medius": {10: (134, 8, 0.6, 10, 0), -10: (139, 8, 1.0, 15, 0), -34: (143, 8, 1.6, 11, 0)},
    "gluteus minimus": {4: (119, -14, 0.6, 8, 0), -12: (124, -14, 1.0, 9, 0), -28: (130, -14, 1.6, 8, 0)},
    "rectus femoris": {22: (103, -38, 3, 2.2, 0), 0: (108, -45, 3, 1.5, 0), -50: (112, -50, 6, 0.9, 0)},
    "hamstrings": {-30: (72, 42, 7, 2.5, 0), -55: (76, 46, 6, 2, 0), -110: (82, 50, 3, 1.2, 0)},
    "obturator internus": {6: (70, 38, 9, 1.6, -10), -10: (92, 36, 9, 1.6, -10), -18: (104, 30, 6, 1.6, -20)},
}
# regions of fat between the muscles: around the vessels, beside the rectum, under gluteus maximus, in the pelvis
_FAT_SPACES = {
    "femoral triangle": {
        45: (66, -40, 14, 9, 0),
        0: (68, -60, 18, 8, -10),
        -50: (68, -55, 13, 9, 0),
        -110: (73, -40, 8, 8, 0),
    },
    "ischiorectal": {
        0: (32, 52, 8, 16, 0),
        -30: (30, 48, 15, 20, 0),
        -65: (26, 44, 14, 18, 0),
        -80: (20, 44, 6, 10, 0),
    },
    "under the gluteus": {45: (70, 56, 30, 2, -15), 0: (92, 49, 30, 3, -22), -50: (92, 47, 24, 3, -25)},
    "pelvis": {60: (16, 10, 44, 62, 0), 0: (16, 5, 31, 52, 0), -28: (8, 0, 18, 46, 0)},
}
# centre and half axes (mm): uterus or prostate with the vesicles, pelvic floor, loops of bowel
_PELVIC_ORGANS = (
    ((0, 20, 4), (30, 14, 24)),
    ((0, 6, -40), (18, 28, 36)),
    ((-44, 8, 58), (24, 20, 24)),
    ((40, -8, 66), (22, 26, 22)),
    ((4, 22, 62), (30, 15, 20)),
    ((-30, -48, 78), (30, 18, 22)),
)


@dataclass(frozen=True, kw_only=True)
class Habitus:
    """Body habitus: fat at the sides and at front and back (mm), bladder, rectum, muscle bulk, fat in muscle (HU)."""

    side_fat_mm: float
    front_fat_mm: float
    bladder: float
    rectum_shift_mm: float
    muscle: float
    marbling: float


@dataclass(frozen=True, kw_only=True)
class BodyFrame:
    """Position of the person: size, rotation about z (degrees), image position of the frame's origin (mm)."""

    size: float
    turn_degrees: float
    origin_xyz_mm: tuple[float, float, float]
    back_mm: float


def draw_habitus(rng: np.random.Generator) -> Habitus:
    """Draw the habitus of a person."""
    low, high = (6, 6, 0.7, -6, 0.94, 10), (46, 36, 1.15, 6, 1.08, 45)
    side, front, bladder, rectum, muscle, marbling = rng.uniform(low, high)
    return Habitus(
        side_fat_mm=float(side),
        front_fat_mm=float(front),
        bladder=float(bladder),
        rectum_shift_mm=float(rectum),
        muscle=float(muscle),
        marbling=float(marbling),
    )


def narrowed(habitus: Habitus, widest_mm: float, size: float) -> Habitus:
    """Return the habitus with so little fat at the sides that the body's half width stays below `widest_mm`."""
    room = widest_mm - _BARE_HALF_WIDTH_MM * size - _FOLD_MM
    return replace(habitus, side_fat_mm=float(max(min(habitus.side_fat_mm, room), 4.0)))


def back_depth_mm(habitus: Habitus, size: float) -> float:
    """Return the distance of the back, flattened by the table, behind the frame's origin, mm."""
    return _FRONT_BACK_CENTER_MM * size + 0.93 * (_BARE_HALF_DEPTH_MM * size + habitus.front_fat_mm)


def soft_slices(
    grid: VoxelGrid,
    habitus: Habitus,
    frame: BodyFrame,
    rng: np.random.Generator,
    pencil: Pencil = CT_PENCIL,
) -> Iterator[SoftSlice]:
    """Return the soft tissue of each axial slice of a grid, lowest first; the random texture is drawn at once."""
    x_mm, y_mm, z_mm = (grid.centers_mm(axis) for axis in range(3))
    step_mm = pencil.step_mm
    coarse_x, coarse_y = (np.arange(axis[0] - 2, axis[-1] + 2 + step_mm, step_mm) for axis in (x_mm, y_mm))
    grain = grain_of((len(z_mm), len(coarse_y), len(coarse_x)), grid.spacing_xyz_mm[2], rng, pencil)
    bends = bends_of(coarse_x, coarse_y, z_mm, rng)
    to_pixels = partial(resize, to_y=interpolation(coarse_y, y_mm), to_x=interpolation(coarse_x, x_mm))
    pixel_mm = float(x_mm[1] - x_mm[0])
    # float32 halves the time, with an error far below 1 HU
    x, y = (axis.astype(np.float32) for axis in _to_person(coarse_x, coarse_y, frame))
    above_table_mm = (frame.back_mm - coarse_y)[:, None].astype(np.float32)

    def draw(k: int, z: float) -> SoftSlice:
        inside_mm = np.minimum(_inside_skin(x, y, z, habitus, float(frame.size), step_mm), above_table_mm)
        bend_x, bend_y = bends(k)
        muscle, layers = _draw_slice(x + bend_x, y + bend_y, z, inside_mm, habitus, pencil)
        return SoftSlice(
            muscle=muscle,
            grain=grain[k],
            marbling=habitus.marbling * np.clip(grain[k] - 1.0, 0, None),
            layers=layers,
            to_pixels=to_pixels,
            body=np.clip(0.5 + to_pixels(inside_mm) / pixel_mm, 0, 1),
        )

    heights = (z_mm - frame.origin_xyz_mm[2]) / frame.size
    return (draw(k, float(z)) for k, z in enumerate(heights))


def _draw_slice(
    x: np.ndarray, y: np.ndarray, z: float, inside_mm: np.ndarray, habitus: Habitus, pencil: Pencil
) -> tuple[np.ndarray, tuple[tuple[np.ndarray, Tissue], ...]]:
    """Return muscle and the layers over it of one coarse slice; x, y (2-D) and z in mm of a mean-sized person."""
    deep_mm = np.minimum(_inside_fascia(x, y, z, habitus), inside_mm - 4.0)
    muscle = _muscles(np.abs(x), y, z, deep_mm, habitus, pencil)
    tendons = _tendons(np.abs(x), y, z, deep_mm, pencil) if pencil.fine else []
    organs = [(np.clip(share, 0, 1), tissue) for share, tissue in _organs(x, y, z, deep_mm, habitus, pencil)]
    return muscle, (*tendons, *organs, (pencil.edge(_SKIN_MM - inside_mm), Tissue.SKIN))


def _muscles(
    x: np.ndarray, y: np.ndarray, z: float, deep_mm: np.ndarray, habitus: Habitus, pencil: Pencil
) -> np.ndarray:
    """Return the share of muscle; each point belongs to the nearest muscle belly, with fat where two bellies meet."""
    first = np.full(x.shape, -1e3, x.dtype)
    second = first.copy()
    for levels in _MUSCLES.values():
        depth = _depth_in_tube(x, y, z, levels, habitus.muscle)
        if depth is not None:
            if pencil.fine:
                # else the slack is as wide in the last slice of a belly as in its middle
                depth = depth - _BELLY_SLACK_MM * (1 - _taper(z, levels))
            second = np.maximum(second, np.minimum(first, depth))
            first = np.maximum(first, depth)
    belly = pencil.edge(np.minimum(first + _BELLY_SLACK_MM, deep_mm))
    for levels in _FAT_SPACES.values():
        depth = _depth_in_tube(x, y, z, levels, 1.0)
        if depth is not None:
            belly = np.minimum(belly, 1 - pencil.edge(depth))
    septum = np.clip(1 - (first - second) / (2 * _FASCIA_MM), 0, 1) * (second > -1.5 * _BELLY_SLACK_MM)
    wall = _abdominal_wall(x, y, z, deep_mm, pencil)
    return np.maximum(belly * (1 - 0.75 * septum), wall)


def _abdominal_wall(
    x: np.ndarray, y: np.ndarray, z: float, deep_mm: np.ndarray, pencil: Pencil
) -> np.ndarray:
    """Return the share of the thin muscle sheet in front of the pelvis, parted at the midline."""
    sheet = (
        pencil.edge(np.minimum(deep_mm, 9.0 - deep_mm)) * pencil.edge(-(y + 48.0)) * pencil.edge(105.0 - x)
    )
    parting = 1 - 0.8 * np.exp(-0.5 * (x / 3.0) ** 2)
    return sheet * parting * min(max((z + 32.0) / 20.0, 0.0), 1.0)


def _tendons(
    x: np.ndarray, y: np.ndarray, z: float, deep_mm: np.ndarray, pencil: Pencil
) -> list[tuple[np.ndarray, Tissue]]:
    """Return (share, tissue) of tendons and of the fascia around the muscles, which is thicker at the side."""
    low_mm, high_mm = _TRACT_FROM_MM
    half_mm = _FASCIA_LATA_MM + _TRACT_MM * np.clip((x - low_mm) / (high_mm - low_mm), 0, 1)
    parts = [(pencil.edge(half_mm - np.abs(deep_mm)), Tissue.TENDON)]
    for levels in _TENDONS.values():
        depth = _depth_in_tube(x, y, z, levels, 1.0)
        if depth is not None:
            parts.append((pencil.edge(np.minimum(depth, deep_mm)), Tissue.TENDON))
    return parts


def _organs(
    x: np.ndarray, y: np.ndarray, z: float, deep_mm: np.ndarray, habitus: Habitus, pencil: Pencil
) -> list[tuple[np.ndarray, Tissue]]:
    """Return (share, tissue) of vessels, bladder, bowel, rectum with gas, and the pelvic floor."""
    parts = []
    for vessel, levels in _VESSELS.items():
        depth = _depth_in_tube(np.abs(x), y, z, levels, 1.0)
        if depth is not None:
            parts.append((pencil.edge(np.minimum(depth, deep_mm)), vessel))
    size, lean = habitus.bladder, habitus.rectum_shift_mm
    wall = depth_in_ball(x, y, z, (0, -16, 28), (58 * size, 38 * size, 46 * size))
    balls = [
        (depth, Tissue.ORGAN) for depth in (wall, *(depth_in_ball(x, y, z, *ball) for ball in _PELVIC_ORGANS))
    ]
    balls.insert(1, (wall - 3.0, Tissue.URINE))
    rectum = (lean, 52, 0)
    balls.append((depth_in_ball(x, y, z, rectum, (20, 18, 85)), Tissue.ORGAN))
    balls.append((depth_in_ball(x, y, z, (lean + 2, 47, 18), (7, 6, 18)), Tissue.GAS))
    parts.extend((pencil.edge(depth), tissue) for depth, tissue in balls)
    return parts


def _inside_skin(
    x: np.ndarray, y: np.ndarray, z: float, habitus: Habitus, size: float, step_mm: float
) -> np.ndarray:
    """Return the depth below the skin, mm (negative outside), exact to first order at the skin."""
    half_width = _BARE_HALF_WIDTH_MM + habitus.side_fat_mm / size
    half_depth = _BARE_HALF_DEPTH_MM + habitus.front_fat_mm / size
    depth = _outline(x, y, z, half_width, half_depth)
    # the cleft between the buttocks is pressed shut except for a thin wedge of air
    cleft = np.abs(x) + 1.5 - 0.12 * np.clip(y - (half_depth - 22) - 0.3 * abs(z + 35), 0, None)
    depth = np.minimum(depth, np.where(y > 60, cleft, depth)) if z < 20 else depth
    slope_y, slope_x = np.gradient(depth, step_mm / size)
    return size * depth / np.clip(np.hypot(slope_x, slope_y), 0.4, 3.0)


def _inside_fascia(x: np.ndarray, y: np.ndarray, z: float, habitus: Habitus) -> np.ndarray:
    """Return the depth below the deep fascia, the border between subcutaneous fat and muscle, mm."""
    return _outline(x, y, z, 151.0 - 0.06 * habitus.side_fat_mm, 85.0 - 0.1 * habitus.front_fat_mm)


def _outline(x: np.ndarray, y: np.ndarray, z: float, half_width: float, half_depth: float) -> np.ndarray:
    """Return the approximate depth in mm inside a trunk that divides into two thighs."""
    waist = half_width - 0.25 * max(z - 15, 0) - 0.06 * max(-60 - z, 0)
    fading = min(max((-z - 50) / 45, 0.0), 1.0)
    trunk = depth_in_superellipse(x, y - _FRONT_BACK_CENTER_MM, waist, half_depth * (1 - 0.55 * fading), 2.4)
    parting = min(max((-z - 35) / 30, 0.0), 1.0)
    if parting == 0:
        return trunk
    thigh_half = (waist - 1.5) / 2
    thigh = depth_in_superellipse(np.abs(x) - thigh_half - 1.5, y - 4, thigh_half, half_depth * 0.93, 2.1)
    # a smooth union makes the groin a fold instead of an edge, which bulges by up to _FOLD_MM
    blend = np.clip(0.5 + (trunk - thigh) / (8 * _FOLD_MM), 0, 1)
    union = thigh + blend * (trunk - thigh) + 4 * _FOLD_MM * blend * (1 - blend)
    return trunk + parting * (union - trunk)


def _depth_in_tube(x: np.ndarray, y: np.ndarray, z: float, levels: dict, swell: float) -> np.ndarray | None:
    """Return the approximate depth (mm) inside a tube given by ellipses at some levels; None beyond its ends."""
    heights = sorted(levels)
    taper = _taper(z, levels)
    if taper <= 0:
        return None
    center_x, center_y, a, b, turn = (
        float(np.interp(z, heights, [levels[h][i] for h in heights])) for i in range(5)
    )
    a, b = a * swell * taper, b * swell * taper
    return depth_in_ellipse(x - center_x, y - center_y, a, b, turn)


def _taper(z: float, levels: dict) -> float:
    """Return the size of a tube relative to its ends: 1 between them, falling to 0 beyond.

    A tube that continues beyond every scan has no end.
    """
    low, high = min(levels), max(levels)
    above = max(z - high, 0.0) if high < 45 else 0.0
    below = max(low - z, 0.0) if low > -100 else 0.0
    return 1 - (above + below) / _TAPER_MM


def _to_person(coarse_x: np.ndarray, coarse_y: np.ndarray, frame: BodyFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in the person frame of a mean-sized person for the coarse pixels, 2-D each."""
    x, y = np.meshgrid(coarse_x - frame.origin_xyz_mm[0], coarse_y - frame.origin_xyz_mm[1])
    c, s = np.cos(np.radians(frame.turn_degrees)), np.sin(np.radians(frame.turn_degrees))
    return (c * x + s * y) / frame.size, (c * y - s * x) / frame.size
