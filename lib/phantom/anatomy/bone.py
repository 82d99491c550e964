"""Bone: a cortex that varies by region and age, trabecular bone, red and yellow marrow, the joint space."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.phantom.anatomy.shape import FemurAxes, HipShape, femur_axes, head_top_mm
from lib.phantom.anatomy.specimen import BonePart, Tissue
from lib.phantom.mesh import Mesh, offset, vertex_normals
from lib.phantom.voxelize import VoxelGrid, coverage

# Density of trabecular bone of a 25-year-old, in units that add 1 HU to marrow in CT; marrow replaces lost bone. Bone
# without marrow would have SOLID_TRABECULAR, so that bone fills 0.28 of the head and 0.11 of the trochanter.
SOLID_TRABECULAR = 1375.0
_YOUNG_HEAD, _YOUNG_NECK, _YOUNG_TROCHANTER, _YOUNG_HIP, _YOUNG_SACRUM = 385, 225, 155, 275, 230
# share of bone lost between 25 and 85 years
_DENSITY_LOSS = {"F": 0.50, "M": 0.32}
# cortex of the neck at 25 and at 85 years, mm (Poole 2010, women; men lose half as much)
_SUPEROPOSTERIOR_MM, _INFEROANTERIOR_MM = (1.63, 0.33), (3.9, 3.3)
_CORTEX_LOSS = {"F": 1.0, "M": 0.5}
_TROCHANTER_CORTEX_MM, _HIP_CORTEX_MM, _SACRUM_CORTEX_MM, _ACETABULUM_CORTEX_MM = 1.2, 1.3, 0.9, 1.4
# depth below the top of the head, and cortex of the shaft there, for a person of the model's mean size, mm
_SHAFT_DEPTH_MM, _SHAFT_CORTEX_MM = (55.0, 75.0, 95.0, 125.0), (1.2, 2.6, 4.8, 6.4)
# density added in the roof of the socket; least distance of hip and femur away from the joint, mm
_ROOF, _LEAST_GAP_MM = 170.0, 0.3
# share of red marrow at 25 years, and the share of it lost at 85 years: epiphysis and trochanter turn yellow in
# childhood, neck and intertrochanteric region late, and the shaft in between (Vande Berg et al. 1998)
_RED_HEAD, _RED_NECK, _RED_TROCHANTER, _RED_SHAFT, _RED_PELVIS, _RED_LOSS = 0.12, 0.60, 0.10, 0.05, 0.55, 0.5
# the scar of the head's growth plate: place in head radii from the head's centre along the neck, how much further it
# reaches at its rim, its width (Gaussian sigma) and share of solid bone
_SCAR_AT, _SCAR_BEND, _SCAR_WIDTH, _SCAR_SHARE = 0.15, 0.35, 0.035, 0.45
# joint fluid between the cartilages and around the neck, and the capsule, thicker in front (iliofemoral ligament), mm
_FLUID_LINE_MM, _RECESS_MM, _CAPSULE_MM, _ILIOFEMORAL_MM = 0.5, 0.8, 1.4, 1.4
# depth below bone at which a layer that is absent lies hidden, mm
_HIDDEN_MM = 1.0
# (smoothing in mm, share): blurred trabeculae, and regions of higher and lower density
_TEXTURES = ((0.8, 0.13), (2.6, 0.12))


@dataclass(frozen=True, kw_only=True)
class BoneState:
    """The bone properties of a person.

    `density` is the trabecular bone relative to a young person's, `superoposterior_mm` and `inferoanterior_mm` are
    the cortex of the neck, `cortex` is a factor on all other cortices, `gap_mm` is the joint space, `cortical_hu` the
    HU of solid bone. `red_marrow` is a factor on the share of red marrow.
    """

    density: float
    superoposterior_mm: float
    inferoanterior_mm: float
    head_cortex_mm: float
    cortex: float
    gap_mm: float
    cortical_hu: float
    red_marrow: float


def draw_bone_state(rng: np.random.Generator, sex: str, age: int, variant: str) -> BoneState:
    """Draw the bone properties of a person of this sex and age (years); "hard": thin cortex and low density."""
    life = (age - 25) / 60
    density = 1 - _DENSITY_LOSS[sex] * life + 0.10 * rng.standard_normal()
    thin = float(np.exp(0.08 * rng.standard_normal()))
    lost = life * _CORTEX_LOSS[sex]
    superoposterior, inferoanterior = (
        a + (b - a) * lost for a, b in (_SUPEROPOSTERIOR_MM, _INFEROANTERIOR_MM)
    )
    head_cortex, gap, cortical = rng.uniform((0.5, 2.0, 1300.0), (1.0, 4.0, 1500.0))
    if variant == "hard":
        density, thin = 0.6 * density, 0.6 * thin
    return BoneState(
        density=float(np.clip(density, 0.2, 1.15)),
        superoposterior_mm=max(superoposterior, 0.3) * thin,
        inferoanterior_mm=inferoanterior * thin,
        head_cortex_mm=float(head_cortex) * thin,
        cortex=thin,
        gap_mm=float(gap),
        cortical_hu=float(cortical),
        red_marrow=1 - _RED_LOSS * life,
    )


@dataclass(frozen=True, kw_only=True)
class BoneCanvas:
    """Inputs shared by all bones: the grid, its sub-lines, the person's bone properties and a texture zyx."""

    grid: VoxelGrid
    supersampling: int
    state: BoneState
    texture: np.ndarray

    def share(self, mesh: Mesh) -> np.ndarray:
        """Return the share of each voxel inside a closed surface, float32 zyx."""
        return coverage(mesh, self.grid, self.supersampling)

    @property
    def nothing(self) -> np.ndarray:
        """Shares of a bone part that is absent, zyx; they take no memory."""
        return np.broadcast_to(np.float32(0), self.grid.shape_zyx)

    def part(
        self,
        name: str,
        shares: tuple[np.ndarray, np.ndarray, np.ndarray],
        density_at: Callable[[np.ndarray], np.ndarray],
        red_at: Callable[[np.ndarray], np.ndarray],
        scar_at: Callable[[np.ndarray], np.ndarray | float] = lambda points: 0.0,
    ) -> BonePart:
        """Return a bone of its shares (outer, inner, cartilage) and of functions of points (n, 3) inside.

        `density_at` gives the density of trabecular bone without texture, `red_at` the share of red marrow at 25,
        `scar_at` the share of solid bone in the scar of a growth plate.
        """
        outer, inner, cartilage = shares
        voxels = np.nonzero(inner)
        points = np.stack([self.grid.centers_mm(axis)[voxels[2 - axis]] for axis in range(3)], axis=1)
        return BonePart(
            name=name,
            outer=outer,
            inner=inner,
            cartilage=cartilage,
            voxels=voxels,
            trabecular=density_at(points) * self.texture[voxels],
            red_marrow=lambda: self.state.red_marrow * red_at(points),
            cortical_hu=self.state.cortical_hu,
            scar=lambda: scar_at(points),
        )


def hip_bones(shape: HipShape, canvas: BoneCanvas) -> Iterator[BonePart]:
    """Yield femur and hip bone of the left and the right side, then the sacrum, of `shape` in the scanner's frame.

    The cortex is the space between the outer surface and an inner surface, which is the outer one moved inward by the
    cortex's thickness; so a cortex thinner than a voxel has its exact share. Where femur and hip overlap, the femur
    is kept, and the hip leaves a joint space. Where the sacrum overlaps a hip bone, the hip bone is kept.
    """
    filled = np.zeros(canvas.grid.shape_zyx, np.float32)
    for side, femur, hip in zip(("left", "right"), shape.femurs, shape.hips, strict=True):
        thigh = _femur_part(femur, canvas, f"{side} femur")
        yield thigh
        socket = _hip_part(hip, femur, thigh.outer, canvas, f"{side} hip bone")
        filled += thigh.outer + (socket.outer + socket.cartilage)
        yield socket
    np.clip(filled, 0, 1, out=filled)
    outer = np.minimum(canvas.share(shape.sacrum), 1 - filled)
    inset = offset(shape.sacrum, -_SACRUM_CORTEX_MM * canvas.state.cortex)
    inner = np.minimum(canvas.share(inset), outer)
    yield canvas.part(
        "sacrum",
        (outer, inner, canvas.nothing),
        lambda points: np.full(len(points), canvas.state.density * _YOUNG_SACRUM),
        _red_pelvis,
    )


def joint_capsule(femur: Mesh, canvas: BoneCanvas) -> Iterator[tuple[np.ndarray, Tissue]]:
    """Yield the joint's capsule and the fluid in it (share, tissue), around head and neck of a femur.

    Both are surfaces at a distance from the bone and hold all that lies within; what is drawn later covers it. Beyond
    the capsule they lie hidden in the bone.
    """
    axes = femur_axes(femur)
    along, _ = _neck_coordinates(femur.vertices_xyz_mm, axes)
    aside = _beside_neck(femur.vertices_xyz_mm, axes, along)
    # the greater trochanter lies beside the neck's end, outside of the capsule
    within = (
        _smoothstep(along, 0.3, 0.8) * (1 - _smoothstep(along, 1.6, 2.0)) * (1 - _smoothstep(aside, 1.0, 1.2))
    )
    in_front = np.clip(-vertex_normals(femur)[:, 1], 0, 1)
    recess_mm = np.full(len(along), _RECESS_MM)
    for thickness_mm, tissue in (
        (recess_mm + _CAPSULE_MM + _ILIOFEMORAL_MM * in_front, Tissue.TENDON),
        (recess_mm, Tissue.FLUID),
    ):
        yield canvas.share(offset(femur, within * (thickness_mm + _HIDDEN_MM) - _HIDDEN_MM)), tissue


def bone_texture(grid: VoxelGrid, rng: np.random.Generator) -> np.ndarray:
    """Return a random factor around 1 on trabecular density, zyx: texture at the resolution of CT."""
    pattern = rng.standard_normal(grid.shape_zyx, dtype=np.float32)
    factor = np.ones(grid.shape_zyx, np.float32)
    for sigma_mm, share in _TEXTURES:
        sigma = [sigma_mm / step for step in grid.spacing_xyz_mm[::-1]]
        pattern = gaussian_filter(pattern, sigma, mode="nearest", truncate=2.5)
        factor += share / pattern.std() * pattern
    return np.clip(factor, 0.2, 2.0)


def seat_head(hip: Mesh, axes: FemurAxes, gap_mm: float) -> Mesh:
    """Return the hip bone with its socket at `gap_mm` from the head.

    The joint surfaces of the shape model overlap or are some mm apart. The nearby surface that faces the head is
    moved along the head's radius; the deep fossa and the rim keep their shape.
    """
    radial = hip.vertices_xyz_mm - axes.head_center_xyz_mm
    distance = np.linalg.norm(radial, axis=1)
    facing = -(vertex_normals(hip) * radial).sum(axis=1) / distance
    weight = _smoothstep(facing, 0.0, 0.5) * (1 - _smoothstep(distance - axes.head_radius_mm, 9.0, 15.0))
    change = weight * (axes.head_radius_mm + gap_mm - distance)
    return Mesh(vertices_xyz_mm=hip.vertices_xyz_mm + (change / distance)[:, None] * radial, faces=hip.faces)


def femur_cortex_mm(femur: Mesh, state: BoneState) -> np.ndarray:
    """Return the thickness of the cortex at each vertex of a femur, mm."""
    axes = femur_axes(femur)
    along, around = _neck_coordinates(femur.vertices_xyz_mm, axes)
    # squared, because the thick arch of the calcar is narrow and most of the neck's wall is thin
    arch = ((1 - around) / 2) ** 2
    neck = state.superoposterior_mm + (state.inferoanterior_mm - state.superoposterior_mm) * arch
    beyond = _smoothstep(along, 1.5, 2.1)
    head = 1 - _smoothstep(along, 0.55, 1.2)
    depth_mm = (head_top_mm(femur) - femur.vertices_xyz_mm[:, 2]) / _relative_size(axes)
    shaft = np.interp(depth_mm, _SHAFT_DEPTH_MM, _SHAFT_CORTEX_MM) * state.cortex
    return (1 - beyond) * (head * state.head_cortex_mm + (1 - head) * neck) + beyond * shaft


def femur_trabecular(points_xyz_mm: np.ndarray, femur: Mesh, density: float) -> np.ndarray:
    """Return the density of trabecular bone at points (n, 3) inside a femur's cortex; there is none in the shaft.

    `density` is the share of a young person's bone that is left. Units: those that add 1 HU to marrow in CT.
    """
    axes = femur_axes(femur)
    along, _ = _neck_coordinates(points_xyz_mm, axes)
    to_neck, to_trochanter = _smoothstep(along, 0.45, 1.0), _smoothstep(along, 1.2, 1.9)
    young = _YOUNG_HEAD + to_neck * (_YOUNG_NECK - _YOUNG_HEAD)
    young = young + to_trochanter * (_YOUNG_TROCHANTER - young)
    young = young + _trabecular_groups(points_xyz_mm, axes)
    to_shaft = _smoothstep(_depth_mm(points_xyz_mm, femur), 62.0, 95.0)
    return (1 - to_shaft) * (density * young)


def femur_red_marrow(points_xyz_mm: np.ndarray, femur: Mesh) -> np.ndarray:
    """Return the share of red marrow at 25 years at points (n, 3) of a femur; most of it is in the neck."""
    along, _ = _neck_coordinates(points_xyz_mm, femur_axes(femur))
    red = _RED_HEAD + _smoothstep(along, 0.1, 0.6) * (_RED_NECK - _RED_HEAD)
    red = red + _smoothstep(along, 2.0, 2.7) * (_RED_TROCHANTER - red)
    return red + _smoothstep(_depth_mm(points_xyz_mm, femur), 55.0, 100.0) * (_RED_SHAFT - red)


def growth_scar(points_xyz_mm: np.ndarray, femur: Mesh) -> np.ndarray:
    """Return the share of solid bone in the scar of the head's growth plate at points (n, 3) of a femur.

    The scar is a cap that bulges toward the joint.
    """
    axes = femur_axes(femur)
    along, _ = _neck_coordinates(points_xyz_mm, axes)
    aside = _beside_neck(points_xyz_mm, axes, along)
    line = np.exp(-0.5 * ((along - _SCAR_AT - _SCAR_BEND * aside**2) / _SCAR_WIDTH) ** 2)
    return _SCAR_SHARE * line * (1 - _smoothstep(aside, 1.0, 1.2))


def _femur_part(femur: Mesh, canvas: BoneCanvas, name: str) -> BonePart:
    outer = canvas.share(femur)
    inner = np.minimum(canvas.share(offset(femur, -femur_cortex_mm(femur, canvas.state))), outer)
    return canvas.part(
        name,
        (outer, inner, canvas.nothing),
        lambda points: femur_trabecular(points, femur, canvas.state.density),
        lambda points: femur_red_marrow(points, femur),
        lambda points: growth_scar(points, femur),
    )


def _hip_part(hip: Mesh, femur: Mesh, femur_share: np.ndarray, canvas: BoneCanvas, name: str) -> BonePart:
    """Return the hip bone, with the cartilage between it and the femur."""
    state, axes = canvas.state, femur_axes(femur)
    along, _ = _neck_coordinates(femur.vertices_xyz_mm, axes)
    near_joint = 1 - _smoothstep(along, 0.9, 1.5)
    hip = seat_head(hip, axes, state.gap_mm)
    to_plate_mm = state.gap_mm + _ACETABULUM_CORTEX_MM * state.cortex
    around_head, around_plate = (
        canvas.share(offset(femur, _LEAST_GAP_MM + (distance - _LEAST_GAP_MM) * near_joint))
        for distance in (state.gap_mm, to_plate_mm)
    )
    outer = np.minimum(canvas.share(hip), 1 - np.maximum(around_head, femur_share))
    inner = canvas.share(offset(hip, -_HIP_CORTEX_MM * state.cortex))
    inner = np.minimum(inner, np.minimum(outer, 1 - around_plate))
    gap = np.clip(around_head - femur_share, 0, 1 - outer - femur_share)
    part = canvas.part(
        name, (outer, inner, gap), lambda points: _hip_trabecular(points, axes, state.density), _red_pelvis
    )

    def fluid() -> np.ndarray:
        """Return the line of joint fluid in the middle of the joint space, between the two cartilages."""
        middle_mm = 0.5 * (_LEAST_GAP_MM + (state.gap_mm - _LEAST_GAP_MM) * near_joint)
        inside, outside = (
            canvas.share(offset(femur, middle_mm + side * 0.5 * _FLUID_LINE_MM)) for side in (-1, 1)
        )
        return np.clip(outside - inside, 0, gap)

    return replace(part, fluid=fluid)


def _hip_trabecular(points: np.ndarray, axes: FemurAxes, density: float) -> np.ndarray:
    """Return the density at points (n, 3) inside the hip bone, denser in the weight-bearing roof of the socket."""
    radial = (points - axes.head_center_xyz_mm) / axes.head_radius_mm
    roof = np.exp(-0.5 * ((np.linalg.norm(radial, axis=1) - 1.2) / 0.3) ** 2)
    return density * (_YOUNG_HIP + _ROOF * roof * _smoothstep(radial[:, 2], -0.2, 0.8))


def _red_pelvis(points: np.ndarray) -> np.ndarray:
    return np.full(len(points), _RED_PELVIS)


def _depth_mm(points_xyz_mm: np.ndarray, femur: Mesh) -> np.ndarray:
    """Return the depth below the head's top of points (n, 3) in a femur of the model's mean size, mm."""
    return (head_top_mm(femur) - points_xyz_mm[:, 2]) / _relative_size(femur_axes(femur))


def _neck_coordinates(points: np.ndarray, axes: FemurAxes) -> tuple[np.ndarray, np.ndarray]:
    """Return distance along the neck's axis in head radii, and cosine of the angle to superoposterior."""
    along = axes.neck_base_xyz_mm - axes.head_center_xyz_mm
    along /= np.linalg.norm(along)
    up, back = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    up = up - (up @ along) * along
    back = back - (back @ along) * along
    back = back - (back @ up) / (up @ up) * up
    superoposterior = up / np.linalg.norm(up) + back / np.linalg.norm(back)
    off_axis = points - axes.head_center_xyz_mm
    distance = off_axis @ along
    radial = off_axis - distance[:, None] * along
    cosine = radial @ superoposterior / np.maximum(np.linalg.norm(radial, axis=1) * np.sqrt(2), 1e-9)
    return distance / axes.head_radius_mm, cosine


def _beside_neck(points: np.ndarray, axes: FemurAxes, along: np.ndarray) -> np.ndarray:
    """Return the distance from the neck's axis in head radii; `along` is the distance along it."""
    from_center = np.linalg.norm(points - axes.head_center_xyz_mm, axis=1) / axes.head_radius_mm
    return np.sqrt(np.clip(from_center**2 - along**2, 0, None))


def _trabecular_groups(points: np.ndarray, axes: FemurAxes) -> np.ndarray:
    """Return density to add: the compressive group from calcar to the top of the head, less in Ward's triangle."""
    radius, center = axes.head_radius_mm, axes.head_center_xyz_mm
    neck = (axes.neck_base_xyz_mm - center) / np.linalg.norm(axes.neck_base_xyz_mm - center)
    down = np.array([0.0, 0.0, -1.0])
    down = (down - (down @ neck) * neck) / np.linalg.norm(down - (down @ neck) * neck)
    top, calcar = center + radius * np.array([0, 0, 0.95]), center + radius * (1.15 * neck + 0.75 * down)
    line = (calcar - top) / np.linalg.norm(calcar - top)
    offset_mm = points - top
    distance = np.linalg.norm(offset_mm - (offset_mm @ line)[:, None] * line, axis=1)
    ends = _smoothstep(offset_mm @ line, -0.3 * radius, 0.3 * radius)
    ends *= 1 - _smoothstep(offset_mm @ line, 1.6 * radius, 2.2 * radius)
    ward = np.linalg.norm(points - (center + 1.55 * radius * neck), axis=1)
    return 80 * ends * np.exp(-0.5 * (distance / (0.35 * radius)) ** 2) - 75 * np.exp(
        -0.5 * (ward / (0.40 * radius)) ** 2
    )


def _relative_size(axes: FemurAxes) -> float:
    """Return the linear size of the femur relative to the model's mean, from the head (mean radius 22.8 mm)."""
    return axes.head_radius_mm / 22.8


def _smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
