"""Whether the mask of a femoral head may hold bone of the socket: dense bone on the surface that faces it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.catalog.bone_parts import REGIONS
from lib.density.areal import Pose
from lib.density.bone_voxels import BoneVoxels

DENSE_MG_CM3 = 600.0
# The socket faces what lies at least this far medial of the head's centre along the neck's axis, in units of the
# distance from the centre.
_FACING = 0.3
FEWEST_FACING = 50

TOO_FEW_FACING = "fewer than {} voxels of the head's surface face the socket: {}"


@dataclass(frozen=True, kw_only=True)
class JointGap:
    """How dense the surface of the head is where it faces the socket.

    Attributes:
        facing_voxels: voxels of that surface.
        dense_share: share of them above 600 mg/cm3; None with `undefined`.
        undefined: why there is no share; empty if there is one.
    """

    facing_voxels: int
    dense_share: float | None
    undefined: str = ""


def measure_joint_gap(voxels: BoneVoxels, pose: Pose) -> JointGap:
    """Measure the share of dense voxels on the surface of the head that faces the socket.

    Cartilage and joint space separate head and socket by some millimetres, and the blur of a CT brings the
    subchondral plate of a head below the density of the socket's. A mask that leaks into the socket has dense bone at
    its border.

    Args:
        voxels: the bone with densities, divided into `REGIONS`.
        pose: its landmarks, with head and neck.
    """
    bone_zyx = voxels.labels_zyx > 0
    surface_zyx = bone_zyx & ~ndimage.binary_erosion(bone_zyx, border_value=1)
    chosen_zyx = surface_zyx & (voxels.labels_zyx == REGIONS["head"])
    away_mm = voxels.points_xyz_mm(chosen_zyx) - np.array(pose.head_center_xyz_mm)
    medial = -(away_mm @ np.array(pose.neck_axis_xyz))
    facing = medial >= _FACING * np.linalg.norm(away_mm, axis=1)
    count = int(np.count_nonzero(facing))
    if count < FEWEST_FACING:
        return JointGap(
            facing_voxels=count, dense_share=None, undefined=TOO_FEW_FACING.format(FEWEST_FACING, count)
        )
    dense = voxels.density_zyx[chosen_zyx][facing] > DENSE_MG_CM3
    return JointGap(facing_voxels=count, dense_share=float(dense.mean()))
