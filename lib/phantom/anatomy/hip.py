"""The hip: both femurs, the pelvis and the soft tissue of a person who lies on the back."""

from dataclasses import dataclass

import numpy as np

from lib.phantom.anatomy.bone import (
    BoneCanvas,
    BoneState,
    bone_texture,
    draw_bone_state,
    hip_bones,
    joint_capsule,
)
from lib.phantom.anatomy.drawing import CT_PENCIL, MR_PENCIL
from lib.phantom.anatomy.implant import nail_mesh
from lib.phantom.anatomy.shape import FemurAxes, HipShape, draw_hip_shape, femur_axes, head_top_mm
from lib.phantom.anatomy.soft_tissue import (
    BodyFrame,
    Habitus,
    back_depth_mm,
    draw_habitus,
    narrowed,
    soft_slices,
)
from lib.phantom.anatomy.specimen import TissueFields
from lib.phantom.mesh import Mesh, mesh_volume_above_mm3
from lib.phantom.people import PhantomPerson
from lib.phantom.voxelize import VoxelGrid
from lib.rotations import rotation_matrix

_REACH_MM = (85.0, 120.0)
_BONE_MARGIN_MM = 6.0
_SIDES = ("left", "right")
# the body lies anterior to the middle of the field of view, which also holds density phantom and table
_BODY_BEFORE_MIDDLE_MM = 30.0


@dataclass(frozen=True, kw_only=True)
class Posture:
    """How a person lies: turns about x, y, z (degrees) and the midline's place in the axial plane (LPS mm)."""

    turns_xyz_degrees: tuple[float, float, float]
    origin_xy_mm: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class HipSpecimen:
    """The hip of a person in the scanner, a `Specimen`; `shape` and `origin_xyz_mm` are in LPS mm."""

    side: str
    shape: HipShape
    state: BoneState
    habitus: Habitus
    origin_xyz_mm: tuple[float, float, float]
    turn_degrees: float
    reach_mm: float

    @property
    def reference(self) -> str:
        """Name of the bone whose mask is the reference: the femur of the wanted side."""
        return f"{self.side} femur"

    @property
    def reference_mesh(self) -> Mesh:
        """The surface of the wanted femur."""
        return self.shape.femurs[_SIDES.index(self.side)]

    @property
    def top_mm(self) -> float:
        """Height of the wanted femoral head's top, z."""
        return head_top_mm(self.reference_mesh)

    @property
    def middle_mm(self) -> float:
        """The body's midline, x."""
        return self.origin_xyz_mm[0]

    @property
    def back_mm(self) -> float:
        """The back on the table, y."""
        return self.origin_xyz_mm[1] + back_depth_mm(self.habitus, self.shape.size)

    @property
    def dense_xyz_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """The centres of both femoral heads."""
        return tuple(femur_axes(femur).head_center_xyz_mm for femur in self.shape.femurs)

    def fields(
        self, grid: VoxelGrid, supersampling: int, rng: np.random.Generator, *, fine: bool = False
    ) -> TissueFields:
        """Return the tissues on a grid; those next to bones are of the wanted side."""
        frame = BodyFrame(
            size=self.shape.size,
            turn_degrees=self.turn_degrees,
            origin_xyz_mm=self.origin_xyz_mm,
            back_mm=self.back_mm,
        )
        soft = soft_slices(grid, self.habitus, frame, rng, MR_PENCIL if fine else CT_PENCIL)
        box, where = self._bone_box(grid)
        canvas = BoneCanvas(
            grid=box,
            supersampling=supersampling,
            state=self.state,
            texture=bone_texture(box, rng),
        )
        return TissueFields(
            grid=grid,
            bone_box=where,
            soft=soft,
            bones=hip_bones(self.shape, canvas),
            around=joint_capsule(self.reference_mesh, canvas),
        )

    def implant(self) -> Mesh:
        """Return a nail in the wanted femur."""
        return nail_mesh(self._axes())

    def truth(self, grid: VoxelGrid) -> dict:
        """Return the exact volume of the wanted femur above the lower end of a grid, and its landmarks."""
        axes = self._axes()
        return {
            "exact_mm3": mesh_volume_above_mm3(self.reference_mesh, grid.bottom_mm),
            "linear_size": self.shape.size,
            "head_center_xyz_mm": [float(v) for v in axes.head_center_xyz_mm],
            "head_radius_mm": axes.head_radius_mm,
            "mesh_vertices": len(self.reference_mesh.vertices_xyz_mm),
            "mesh_faces": len(self.reference_mesh.faces),
        }

    def bone_grid(self, grid: VoxelGrid) -> VoxelGrid:
        """Return the part of a grid in which bones are drawn."""
        return self._bone_box(grid)[0]

    def _axes(self) -> FemurAxes:
        return femur_axes(self.reference_mesh)

    def _bone_box(self, grid: VoxelGrid) -> tuple[VoxelGrid, tuple[slice, ...]]:
        """Return the part of the grid that holds all bone within the scan."""
        meshes = (*self.shape.femurs, *self.shape.hips, self.shape.sacrum)
        bones = np.concatenate([mesh.vertices_xyz_mm for mesh in meshes])
        near = bones[bones[:, 2] > grid.bottom_mm - 40]
        return grid.crop_around(near.min(axis=0) - _BONE_MARGIN_MM, near.max(axis=0) + _BONE_MARGIN_MM)


@dataclass(frozen=True, kw_only=True)
class HipBody:
    """The hip of a person before a scan, in the person frame; a CT reaches `reach_mm` below the head's top."""

    side: str
    shape: HipShape
    state: BoneState
    habitus: Habitus
    reach_mm: float

    def lying(self, posture: Posture, z_mm: float = 0.0, widest_mm: float = np.inf) -> HipSpecimen:
        """Return the body in the scanner: the frame's origin at height `z_mm`, its half width below `widest_mm`."""
        origin = np.array([*posture.origin_xy_mm, z_mm])
        return HipSpecimen(
            side=self.side,
            shape=self.shape.moved(rotation_matrix(np.array(posture.turns_xyz_degrees)), origin),
            state=self.state,
            habitus=narrowed(self.habitus, widest_mm, self.shape.size),
            origin_xyz_mm=tuple(float(v) for v in origin),
            turn_degrees=posture.turns_xyz_degrees[2],
            reach_mm=self.reach_mm,
        )


def draw_hip(person: PhantomPerson, rng: np.random.Generator) -> HipBody:
    """Draw the hip of a person: shape, bone, and habitus."""
    shape = draw_hip_shape(rng, person.sex)
    state = draw_bone_state(rng, person.sex, person.age, person.variant)
    reach_mm = float(rng.uniform(*_REACH_MM)) * shape.size
    return HipBody(side=person.side, shape=shape, state=state, habitus=draw_habitus(rng), reach_mm=reach_mm)


def draw_posture(rng: np.random.Generator) -> Posture:
    """Draw how a person lies in the scanner."""
    turns = rng.uniform(-1, 1, 3) * [2.0, 2.0, 2.5]
    shift_x, shift_y = rng.uniform(-1, 1, 2) * [8.0, 5.0]
    return Posture(
        turns_xyz_degrees=tuple(float(v) for v in turns),
        origin_xy_mm=(float(shift_x), float(shift_y - _BODY_BEFORE_MIDDLE_MM)),
    )
