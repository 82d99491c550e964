"""The trunk from T12 to the sacrum of a person who lies on the back."""

from dataclasses import dataclass, replace

import numpy as np

from lib.phantom.anatomy.hip import Posture
from lib.phantom.anatomy.specimen import TissueFields
from lib.phantom.anatomy.spine_bone import (
    LABELS,
    SpineCanvas,
    SpineState,
    draw_spine_state,
    eroded_mm3,
    spine_bones,
)
from lib.phantom.anatomy.spine_parts import cement, rib_meshes, screws
from lib.phantom.anatomy.spine_shape import SpineShape, build_spine, draw_spine_shape
from lib.phantom.anatomy.spine_soft_tissue import TrunkHabitus, draw_trunk, trunk_slices
from lib.phantom.densities import LEVELS, level_densities
from lib.phantom.mesh import Mesh, mesh_centroid_mm, mesh_volume_mm3
from lib.phantom.people import DEFECT_LEVELS, PhantomPerson
from lib.phantom.voxelize import VoxelGrid
from lib.rotations import rotation_matrix

_BELOW_PLATE_MM = (10.0, 20.0)
_ABOVE_SACRUM_MM = 3.0
# the column lies behind the middle of the field of view
_BEHIND_MIDDLE_MM = 12.0
_CEMENTED = "L3"


@dataclass(frozen=True, kw_only=True)
class SpineSpecimen:
    """The trunk of a person in the scanner, a `Specimen` (LPS mm), with its defect, if any."""

    shape: SpineShape
    state: SpineState
    habitus: TrunkHabitus
    implanted: Mesh | None
    reach_mm: float
    top_mm: float
    defect: str = ""

    @property
    def reference(self) -> dict[str, int]:
        """The bodies L1 to L5 and the sacrum with their values in the reference mask."""
        if self.defect != "mirrored_labels":
            return LABELS
        # numbered from below
        return LABELS | dict(
            zip(LEVELS, sorted((LABELS[level] for level in LEVELS), reverse=True), strict=True)
        )

    @property
    def middle_mm(self) -> float:
        """The body's midline, x."""
        return float(self.shape["L3"].center_xyz_mm[0])

    @property
    def back_mm(self) -> float:
        """The back on the table, y."""
        return float(self.shape["L3"].center_xyz_mm[1]) + self.habitus.back_mm

    @property
    def dense_xyz_mm(self) -> None:
        """No two dense places: beam hardening of a trunk is even, and scanners correct it."""
        return None

    def fields(
        self, grid: VoxelGrid, supersampling: int, rng: np.random.Generator, *, fine: bool = False
    ) -> TissueFields:
        """Return the tissues on a grid; `fine` changes nothing."""
        canvas = SpineCanvas(
            grid=grid,
            supersampling=supersampling,
            state=self.state,
            filled=np.zeros(grid.shape_zyx, np.float32),
            rng=rng,
        )
        return TissueFields(
            grid=grid,
            bone_box=(slice(None),) * 3,
            soft=trunk_slices(grid, self.shape, self.habitus, rng),
            bones=spine_bones(self.shape, canvas),
        )

    def implant(self) -> Mesh | None:
        """Return screws with rods, or bone cement; None for most people."""
        return self.implanted

    def truth(self, grid: VoxelGrid) -> dict:
        """Return density, volumes, centroid and heights of each lumbar body."""
        levels = {}
        for vertebra in self.shape.vertebrae:
            if vertebra.level not in LABELS and vertebra.level != "L6":
                continue
            anterior, middle, posterior = vertebra.heights_mm()
            low_mm = float(vertebra.body.vertices_xyz_mm[:, 2].min())
            levels[vertebra.level] = {
                "density_k2hpo4_mg_cm3": self.state.densities_mg_cm3[vertebra.level],
                "body_mm3": mesh_volume_mm3(vertebra.body),
                "eroded_5mm_mm3": eroded_mm3(vertebra),
                "centroid_xyz_mm": [float(v) for v in mesh_centroid_mm(vertebra.body)],
                "anterior_height_mm": anterior,
                "middle_height_mm": middle,
                "posterior_height_mm": posterior,
                "cut_by_scan": low_mm < grid.bottom_mm,
                "defect": self.defect if vertebra.level in DEFECT_LEVELS.get(self.defect, ()) else "",
            }
        return {"linear_size": self.shape.size, "levels": levels}


@dataclass(frozen=True, kw_only=True)
class SpineBody:
    """The trunk of a person before a scan: the middle of L3 is the origin."""

    shape: SpineShape
    state: SpineState
    habitus: TrunkHabitus
    defect: str
    below_mm: float
    cement_seed: int

    def lying(self, posture: Posture, z_mm: float = 0.0) -> SpineSpecimen:
        """Return the body in the scanner, the middle of L3 at height `z_mm`."""
        origin = np.array([*posture.origin_xy_mm, z_mm])
        turned = self.shape.moved(rotation_matrix(np.array(posture.turns_xyz_degrees)), origin)
        implanted = screws(turned) if self.defect == "screws" else None
        if self.defect == "cement":
            implanted = cement(turned[_CEMENTED], np.random.default_rng(self.cement_seed))
        top_mm, reach_mm = covered_mm(turned, self.below_mm, with_sacrum=self.defect != "no_sacrum")
        return SpineSpecimen(
            shape=turned if turned.ribs else replace(turned, ribs=rib_meshes(turned, *self.habitus.ribs_mm)),
            state=self.state,
            habitus=self.habitus,
            implanted=implanted,
            reach_mm=reach_mm,
            top_mm=top_mm,
            defect=self.defect,
        )


def covered_mm(shape: SpineShape, below_mm: float, *, with_sacrum: bool = True) -> tuple[float, float]:
    """Return the height of the upper end of L1, where the wanted part begins, and how far a CT reaches below it.

    It ends `below_mm` below the middle of the sacrum's endplate, or above the sacrum.
    """
    first = shape["L1"]
    top_mm = float(first.place(0.0, 0.0, 0.5 * first.size_xyz_mm[2])[2])
    if with_sacrum:
        return top_mm, top_mm - float(shape.plate_xyz_mm[2]) + below_mm
    return top_mm, top_mm - float(shape.sacrum.vertices_xyz_mm[:, 2].max()) - _ABOVE_SACRUM_MM


def draw_spine(person: PhantomPerson, rng: np.random.Generator) -> SpineBody:
    """Draw the trunk of a person: shape, bone, and habitus."""
    shape = build_spine(draw_spine_shape(rng, person.sex, person.age, person.defect))
    habitus = draw_trunk(rng, person.sex, person.age, shape.size)
    densities = level_densities(person.person_seed, person.sex, person.age, person.variant)
    return SpineBody(
        shape=shape,
        state=draw_spine_state(rng, densities, habitus.ribs_mm, variant=person.variant, defect=person.defect),
        habitus=habitus,
        defect=person.defect,
        below_mm=float(rng.uniform(*_BELOW_PLATE_MM)) * shape.size,
        cement_seed=int(rng.integers(2**32)),
    )


def draw_spine_posture(rng: np.random.Generator) -> Posture:
    """Draw how a person lies in the scanner."""
    turns = rng.uniform(-1, 1, 3) * [3.0, 2.0, 3.0]
    shift_x, shift_y = rng.uniform(-1, 1, 2) * [7.0, 5.0]
    return Posture(
        turns_xyz_degrees=tuple(float(v) for v in turns),
        origin_xy_mm=(float(shift_x), float(shift_y + _BEHIND_MIDDLE_MM)),
    )
