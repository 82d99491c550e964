"""The bones of a lumbar spine: shells, and trabecular bone of a known density.

CT shows trabecular bone of the K2HPO4-equivalent density rho as 1.385 rho - 0.6 HU at 120 kV; fat in the marrow is
part of rho. In each body rho is scaled so that its mean over the body eroded by 5 mm is the level's density exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from lib.phantom.anatomy.specimen import BonePart
from lib.phantom.anatomy.spine_parts import RIB_CORTEX_MM, discs, rib_meshes, sacral_canal
from lib.phantom.anatomy.spine_shape import SpineShape, Vertebra
from lib.phantom.mesh import Mesh, offset
from lib.phantom.voxelize import VoxelGrid, coverage

HU_PER_MG_CM3, HU_AT_ZERO = 1.385, -0.6
ERODED_MM = 5.0
LABELS = {"L1": 1, "L2": 2, "L3": 3, "L4": 4, "L5": 5, "sacrum": 6}
"""Values of the reference mask: the bodies of five vertebrae, and the sacrum."""

# `BonePart.trabecular` counts from the HU of the marrow of a hip
_MARROW_HU = -60.0
_DISC_HU = 75.0
_PLATE_MM, _WALL_MM, _ARCH_MM, _SACRUM_MM, _HIP_MM = 0.6, (0.3, 0.6), 1.3, 0.8, 1.2
_CANAL_WALL_MM, _HARD_WALL = 1.0, 0.6
_CORTICAL_HU = (900.0, 1200.0)
# density towards the endplates, and in the groove of the basivertebral vein; that of other bones relative to
# the bodies
_PLATES_ADD, _GROOVE_LEFT, _GROOVE_HALF_MM = 0.15, 0.55, 2.6
_ARCH_SHARE, _SACRUM_SHARE, _HIP_SHARE, _RIB_SHARE = 1.25, 0.8, 0.9, 0.9
_TEXTURE, _TEXTURE_SIGMA_MM = 0.12, 1.3
# the portal venous phase lifts the density that is read by some 8 mg/cm3
_CONTRAST_HU = 11.0
_MARGIN_MM = 3.0
_SURFACE_STEP_MM = 1.5
# the body of a given spine may bulge beyond its vertebra by more than this share of a voxel
_BEYOND = 0.01


@dataclass(frozen=True, kw_only=True)
class SpineState:
    """Bone of a person: densities by level (mg/cm3), thickness of the bodies' walls (mm), HU of cortex.

    `added_hu` is what contrast agent adds to the marrow. `trunk_mm` are half width and half depth of the trunk at the
    ribs.
    """

    densities_mg_cm3: Mapping[str, float]
    wall_mm: float
    cortical_hu: float
    added_hu: float
    trunk_mm: tuple[float, float]


def draw_spine_state(
    rng: np.random.Generator,
    densities_mg_cm3: Mapping[str, float],
    trunk_mm: tuple[float, float],
    *,
    variant: str = "standard",
    defect: str = "",
) -> SpineState:
    """Draw the bone of a person with these densities; "hard": thin walls. The defect `contrast` lifts the marrow."""
    wall, cortical = rng.uniform((_WALL_MM[0], _CORTICAL_HU[0]), (_WALL_MM[1], _CORTICAL_HU[1]))
    return SpineState(
        densities_mg_cm3=densities_mg_cm3,
        wall_mm=float(wall) * (_HARD_WALL if variant == "hard" else 1.0),
        cortical_hu=float(cortical),
        added_hu=_CONTRAST_HU if defect == "contrast" else 0.0,
        trunk_mm=trunk_mm,
    )


@dataclass(frozen=True, kw_only=True)
class SpineCanvas:
    """Where bones are drawn: grid, its sub-lines, the person's bone, the share that is drawn (zyx), randomness."""

    grid: VoxelGrid
    supersampling: int
    state: SpineState
    filled: np.ndarray
    rng: np.random.Generator

    def place(self, meshes: tuple[Mesh, ...]) -> tuple[VoxelGrid, tuple[slice, ...]] | None:
        """Return the part of the grid that holds surfaces; None if they lie outside."""
        low = np.min([mesh.vertices_xyz_mm.min(axis=0) for mesh in meshes], axis=0) - _MARGIN_MM
        high = np.max([mesh.vertices_xyz_mm.max(axis=0) for mesh in meshes], axis=0) + _MARGIN_MM
        first = np.array(self.grid.origin_xyz_mm)
        last = first + np.array(self.grid.spacing_xyz_mm) * (np.array(self.grid.size_xyz) - 1)
        if np.any(high < first) or np.any(low > last):
            return None
        return self.grid.crop_around(low, high)

    def part(
        self,
        name: str,
        place: tuple[VoxelGrid, tuple[slice, ...]],
        shares: tuple[np.ndarray, np.ndarray],
        density: np.ndarray | float,
        labelled: np.ndarray | None = None,
    ) -> BonePart:
        """Return a bone of its shares (outer, inner); `density` (mg/cm3) is zyx, or one for the whole bone."""
        _, where = place
        outer = np.minimum(shares[0], 1 - self.filled[where])
        inner = np.minimum(shares[1], outer)
        self.filled[where] += outer
        voxels = np.nonzero(inner)
        inside = np.broadcast_to(density, inner.shape)[voxels]
        hu = HU_PER_MG_CM3 * inside + HU_AT_ZERO + self.state.added_hu
        return BonePart(
            name=name,
            outer=outer,
            inner=inner,
            cartilage=np.broadcast_to(np.float32(0), outer.shape),
            voxels=voxels,
            trabecular=hu - _MARROW_HU,
            red_marrow=lambda: 1.0,
            cortical_hu=self.state.cortical_hu,
            where=where,
            labelled=labelled,
        )


def spine_bones(shape: SpineShape, canvas: SpineCanvas) -> Iterator[BonePart]:
    """Yield vertebrae, sacrum, hip bones and ribs of `shape` in the scanner's frame, then the discs.

    A shell fills the space between a surface and the same one moved inward, so a shell thinner than a voxel has its
    exact share. Where two bones overlap, the one that is drawn first is kept.
    """
    for vertebra in shape.vertebrae:
        if place := canvas.place((vertebra.whole, vertebra.body)):
            yield _vertebra_part(vertebra, place, canvas)
    yield from _pelvis_parts(shape, canvas)
    if shape.ribs:
        yield from _solid(
            "ribs", shape.ribs, rib_meshes(shape, *canvas.state.trunk_mm, RIB_CORTEX_MM), _RIB_SHARE, canvas
        )
    for level, disc in discs(shape):
        if place := canvas.place((disc,)):
            yield _disc_part(level, disc, place, canvas)


def below_surface(vertebra: Vertebra, points_xyz_mm: np.ndarray, by_mm: float = ERODED_MM) -> np.ndarray:
    """Return which points inside a body lie more than `by_mm` below its surface."""
    tree = cKDTree(_dense_points(vertebra.body))
    return np.isinf(tree.query(points_xyz_mm, distance_upper_bound=by_mm)[0])


def eroded_mm3(vertebra: Vertebra, by_mm: float = ERODED_MM) -> float:
    """Return the volume of the part of a body that lies more than `by_mm` below its surface, mm3."""
    step = 1.25
    low, high = (find(vertebra.body.vertices_xyz_mm, axis=0) for find in (np.min, np.max))
    size = np.ceil((high - low) / step).astype(int) + 1
    grid = VoxelGrid(
        origin_xyz_mm=tuple(low), spacing_xyz_mm=(step,) * 3, size_xyz=tuple(int(n) for n in size)
    )
    inside = np.nonzero(coverage(vertebra.body, grid, 1) > 0.5)
    points = np.stack([grid.centers_mm(axis)[inside[2 - axis]] for axis in range(3)], axis=1)
    return float(below_surface(vertebra, points, by_mm).sum() * step**3)


def body_density(
    vertebra: Vertebra, grid: VoxelGrid, body: np.ndarray, mean_mg_cm3: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the trabecular density on a grid (mg/cm3, zyx), whose mean over the eroded body is `mean_mg_cm3`.

    It is 15 % higher at the endplates, lower in the groove of the basivertebral vein, and has a texture. `body` is
    the share of each voxel in the body; other parts of the vertebra are denser.
    """
    local = vertebra.own_frame(_centers(grid).reshape(-1, 3)).T.reshape(3, *grid.shape_zyx)
    width, depth, height = vertebra.size_xyz_mm
    x, y, z = (local[k] / size for k, size in enumerate((width, depth, height)))
    plate = np.clip((np.abs(z) - 0.2) / 0.25, 0, 1)
    # a wedge from the middle of the body's back into its centre, between the endplates
    groove = np.clip((y - 0.02) / 0.25, 0, 1) * np.clip(1.6 * (y + 0.12) - 2.2 * np.abs(x), 0, 0.3) / 0.3
    groove *= np.exp(-0.5 * (local[2] / _GROOVE_HALF_MM) ** 2)
    profile = (1 + _PLATES_ADD * plate) * (1 - (1 - _GROOVE_LEFT) * groove)
    density = profile * _texture(grid, rng)
    inside = np.nonzero(body > 0.999)
    points = _centers(grid)[inside]
    if np.any(eroded := below_surface(vertebra, points)):
        density /= density[inside][eroded].mean()
    in_arch = np.clip((local[1] - vertebra.wall_mm) / 4.0, 0, 1)
    return mean_mg_cm3 * density * (1 + (_ARCH_SHARE - 1) * in_arch)


def _vertebra_part(
    vertebra: Vertebra, place: tuple[VoxelGrid, tuple[slice, ...]], canvas: SpineCanvas
) -> BonePart:
    grid, _ = place
    body = coverage(vertebra.body, grid, canvas.supersampling)
    whole = coverage(vertebra.whole, grid, canvas.supersampling)
    inner = _inner_share(vertebra, vertebra.whole, grid, canvas)
    if np.any(body > whole + _BEYOND):
        inner = np.maximum(inner, _inner_share(vertebra, vertebra.body, grid, canvas))
    outer = np.maximum(whole, body)
    mean = canvas.state.densities_mg_cm3[vertebra.level]
    density = body_density(vertebra, grid, body, mean, canvas.rng)
    return canvas.part(vertebra.level, place, (outer, inner), density, body)


def _inner_share(vertebra: Vertebra, surface: Mesh, grid: VoxelGrid, canvas: SpineCanvas) -> np.ndarray:
    """Return the share of each voxel that lies inside the shell below one of a vertebra's surfaces."""
    inset = offset(surface, -_shell_mm(vertebra, surface, canvas.state))
    return coverage(inset, grid, canvas.supersampling)


def _shell_mm(vertebra: Vertebra, surface: Mesh, state: SpineState) -> np.ndarray:
    """Return the thickness of the shell at each vertex of one of a vertebra's surfaces."""
    _, y, z = vertebra.own_frame(surface.vertices_xyz_mm).T
    plate = np.clip((np.abs(z) / vertebra.size_xyz_mm[2] - 0.38) / 0.06, 0, 1)
    on_body = state.wall_mm + (_PLATE_MM - state.wall_mm) * plate
    behind = np.clip((y - vertebra.wall_mm) / 6.0, 0, 1)
    return on_body + (_ARCH_MM - on_body) * behind


def _pelvis_parts(shape: SpineShape, canvas: SpineCanvas) -> Iterator[BonePart]:
    if place := canvas.place((shape.sacrum,)):
        grid, _ = place
        outer = coverage(shape.sacrum, grid, canvas.supersampling)
        inner = coverage(offset(shape.sacrum, -_SACRUM_MM), grid, canvas.supersampling)
        if not shape.has_canal:
            for share, wall_mm in ((outer, 0.0), (inner, _CANAL_WALL_MM)):
                np.minimum(
                    share, 1 - coverage(sacral_canal(shape, wall_mm), grid, canvas.supersampling), out=share
                )
        density = _share_of(canvas, _SACRUM_SHARE) * _texture(grid, canvas.rng)
        yield canvas.part("sacrum", place, (outer, inner), density, outer)
    for hip in shape.hips:
        yield from _solid("hip bone", hip, offset(hip, -_HIP_MM), _HIP_SHARE, canvas)


def _solid(name: str, surface: Mesh, inset: Mesh, share: float, canvas: SpineCanvas) -> Iterator[BonePart]:
    """Yield a bone between two surfaces with even trabecular bone, if it lies in the image."""
    if place := canvas.place((surface,)):
        shares = tuple(coverage(mesh, place[0], canvas.supersampling) for mesh in (surface, inset))
        yield canvas.part(name, place, shares, _share_of(canvas, share))


def _disc_part(
    level: str, disc: Mesh, place: tuple[VoxelGrid, tuple[slice, ...]], canvas: SpineCanvas
) -> BonePart:
    grid, where = place
    share = np.minimum(coverage(disc, grid, canvas.supersampling), 1 - np.clip(canvas.filled[where], 0, 1))
    nothing = np.broadcast_to(np.float32(0), share.shape)
    return BonePart(
        name=f"disc below {level}",
        outer=nothing,
        inner=nothing,
        cartilage=share,
        voxels=tuple(np.zeros(0, int) for _ in range(3)),
        trabecular=np.zeros(0),
        red_marrow=lambda: 0.0,
        cortical_hu=canvas.state.cortical_hu,
        cartilage_hu=_DISC_HU,
        where=where,
    )


def _share_of(canvas: SpineCanvas, share: float) -> float:
    return share * float(np.mean(list(canvas.state.densities_mg_cm3.values())))


def _texture(grid: VoxelGrid, rng: np.random.Generator) -> np.ndarray:
    """Return a factor of mean 1 and SD 0.12, zyx."""
    sigma = [_TEXTURE_SIGMA_MM / step for step in grid.spacing_xyz_mm[::-1]]
    pattern = gaussian_filter(rng.standard_normal(grid.shape_zyx, dtype=np.float32), sigma, truncate=2.5)
    return np.clip(1 + _TEXTURE / pattern.std() * pattern, 0.4, 1.6)


def _centers(grid: VoxelGrid) -> np.ndarray:
    """Return the centres of voxels, (z, y, x, 3)."""
    z, y, x = np.meshgrid(*(grid.centers_mm(axis) for axis in (2, 1, 0)), indexing="ij")
    return np.stack([x, y, z], axis=-1)


def _dense_points(mesh: Mesh) -> np.ndarray:
    """Return points on a surface, none much further than 1.5 mm from the next one."""
    a, b, c = (mesh.vertices_xyz_mm[mesh.faces[:, k]] for k in range(3))
    sides = np.stack([b - a, c - b, a - c])
    pieces = np.ceil(np.linalg.norm(sides, axis=2).max(axis=0) / _SURFACE_STEP_MM).astype(int)
    found = [mesh.vertices_xyz_mm]
    for number in np.unique(pieces):
        chosen = pieces == number
        i, j = np.nonzero(np.add.outer(np.arange(number), np.arange(number)) < number)
        u, v = ((k[:, None, None] + 1 / 3) / number for k in (i, j))
        found.append((a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]).reshape(-1, 3))
    return np.concatenate(found)
