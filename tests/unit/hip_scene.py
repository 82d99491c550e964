"""A hand-made pelvis of spheres, ellipsoids and cylinders, for tests of the search for the hip in any view."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

HEAD_X_MM = 85.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A pelvis with its heads at (+-85, 0, 0) mm, its position and the field of view."""

    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0)
    size_xy: tuple[int, int] = (210, 160)
    middle_mm: tuple[float, float] = (0.0, 20.0)  # centre of the field of view
    bottom_mm: float = -85.0
    top_mm: float = 60.0
    turn_degrees: float = 0.0  # about the z axis
    trabecular_hu: float = 220.0
    noise_hu: float = 15.0
    nail: str = ""  # side with a metal rod
    missing: str = ""  # side without a femur
    rods: bool = True
    seed: int = 3


def draw(scene: Scene):
    """Return the CT and the masks of the femurs by side (z, y, x)."""
    x, y, z = _coordinates(scene)
    hu = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), -1000.0, np.float32)
    hu[_ellipsoid(x, y, z, (0, 15, 0), (195, 115, np.inf))] = -100
    hu[_ellipsoid(x, y, z, (0, 15, 0), (175, 100, np.inf))] = 50
    hu[_ellipsoid(x, y, z, (0, 60, 45), (45, 22, 45))] = 250
    femurs = {}
    for side, sign in (("left", 1), ("right", -1)):
        _draw_hip_bone(hu, sign * x, y, z)
        femurs[side] = (
            _draw_femur(hu, sign * x, y, z, scene) if side != scene.missing else np.zeros(hu.shape, bool)
        )
        if side == scene.nail:
            hu[(sign * x - 122) ** 2 + (y - 10) ** 2 + 0 * z < 36] = 3500
    _draw_outside(hu, *_coordinates(scene, turned=False), scene)
    hu += scene.noise_hu * np.random.default_rng(scene.seed).standard_normal(hu.shape).astype(np.float32)
    image = sitk.GetImageFromArray(np.clip(hu, -1024, 3071).astype(np.int16))
    image.SetSpacing(scene.spacing_mm)
    image.SetOrigin(_origin(scene))
    return image, femurs


def turned(image, turns_xyz_degrees, origin_mm=(31.0, -57.0, 840.0)):
    """Return an oblique copy: the same voxels with turned axes and another origin."""
    copy = sitk.Image(image)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.radians(turns_xyz_degrees).tolist())
    copy.SetDirection(turn.GetMatrix())
    copy.SetOrigin(origin_mm)
    return copy


def margins_mm(image, femur_zyx, center_mm_xy, width_mm):
    """Return the free distances between a femur and a window: low x, high x, low y, high y."""
    _, y, x = np.nonzero(femur_zyx)
    half_mm, margins = 0.5 * width_mm, []
    for axis, index in ((0, x), (1, y)):
        position_mm = image.GetOrigin()[axis] + image.GetSpacing()[axis] * index
        low, high = center_mm_xy[axis] - half_mm, center_mm_xy[axis] + half_mm
        margins += [position_mm.min() - low, high - position_mm.max()]
    return np.array(margins)


def _origin(scene):
    low_xy = (
        m - 0.5 * (n - 1) * s
        for m, n, s in zip(scene.middle_mm, scene.size_xy, scene.spacing_mm, strict=False)
    )
    return (*low_xy, scene.bottom_mm)


def _coordinates(scene, turned=True):
    count_z = round((scene.top_mm - scene.bottom_mm) / scene.spacing_mm[2]) + 1
    sizes = (*scene.size_xy, count_z)
    lines = (o + s * np.arange(n) for o, s, n in zip(_origin(scene), scene.spacing_mm, sizes, strict=True))
    x, y, z = (line.astype(np.float32) for line in lines)
    x, y, z = x[None, None, :], y[None, :, None], z[:, None, None]
    angle = np.radians(scene.turn_degrees) if turned else 0.0
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x, z


def _ellipsoid(x, y, z, center, radii):
    (a, b, c), (u, v, w) = center, radii
    return ((x - a) / u) ** 2 + ((y - b) / v) ** 2 + ((z - c) / w) ** 2 < 1


def _draw_hip_bone(hu, x, y, z):
    for center, radii in (
        ((70, 10, 45), (32, 38, 40)),  # ilium above the socket
        ((62, 35, -35), (15, 18, 40)),  # ischium
        ((40, -35, -25), (38, 10, 12)),  # pubis
    ):
        hu[_ellipsoid(x, y, z, center, radii)] = 900
        hu[_ellipsoid(x, y, z, center, [r - 3 for r in radii])] = 150
    distance = np.sqrt((x - HEAD_X_MM) ** 2 + y**2 + z**2)
    hu[(distance < 32) & (x < HEAD_X_MM + 10) & (z > -15)] = 800
    hu[distance < 27] = 60


def _draw_femur(hu, x, y, z, scene):
    center, tip = np.array([HEAD_X_MM, 0.0, 0.0]), np.array([122.0, 10.0, -40.0])
    axis = tip - center
    along = ((x - center[0]) * axis[0] + (y - center[1]) * axis[1] + (z - center[2]) * axis[2]) / (
        axis @ axis
    )
    nearest = [c + np.clip(along, 0, 1) * a for c, a in zip(center, axis, strict=True)]
    to_axis = np.sqrt((x - nearest[0]) ** 2 + (y - nearest[1]) ** 2 + (z - nearest[2]) ** 2)
    shaft = np.sqrt((x - 122) ** 2 + (y - 10) ** 2) + 0 * z
    trochanter = _ellipsoid(x, y, z, (128, 16, -25), (18, 20, 25))
    head = _ellipsoid(x, y, z, center, (23, 23, 23))
    outer = head | (to_axis < 15) | trochanter | ((shaft < 15) & (z < -35))
    inner = _ellipsoid(x, y, z, center, (22, 22, 22)) | (to_axis < 13) | ((shaft < 9) & (z < -35))
    inner |= _ellipsoid(x, y, z, (128, 16, -25), (16.5, 18.5, 23.5))
    hu[outer] = 1100
    hu[inner] = 0.3 * scene.trabecular_hu
    hu[_ellipsoid(x, y, z, center, (22, 22, 22))] = scene.trabecular_hu
    return outer


def _draw_outside(hu, x, y, z, scene):
    """A table and, if wanted, a density phantom: the same on every slice."""
    everywhere = np.zeros_like(z, bool)
    hu[((np.abs(y - 175) < 3) & (np.abs(x) < 210)) | everywhere] = -150
    if scene.rods:
        slab = ((np.abs(y - 150) < 15) & (np.abs(x) < 110)) | everywhere
        hu[slab] = 20
        for k, rod_hu in enumerate((-70, -30, 200, 370, 525)):
            hu[((x - 40 * (k - 2)) ** 2 + (y - 150) ** 2 < 100) | everywhere] = rod_hu
