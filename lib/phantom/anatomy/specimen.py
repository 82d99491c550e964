"""What a scanner needs of a body: its tissues on the image's grid, and the truth about the wanted bone.

An anatomy is a class that follows `Specimen`. Scanners see nothing else of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import numpy as np

from lib.phantom.mesh import Mesh
from lib.phantom.voxelize import VoxelGrid


class Tissue(Enum):
    """Soft tissues that are drawn over fat and muscle; tendon also stands for ligament and fascia.

    Only CT shows those from liquor on: the fluid in the spinal canal, organs of the abdomen, calcified plaques.
    """

    SKIN = auto()
    ARTERY = auto()
    VEIN = auto()
    URINE = auto()
    ORGAN = auto()
    GAS = auto()
    TENDON = auto()
    FLUID = auto()
    LIQUOR = auto()
    LIVER = auto()
    KIDNEY = auto()
    BOWEL = auto()
    PLAQUE = auto()


@dataclass(frozen=True, kw_only=True)
class SoftSlice:
    """The soft tissue of one axial slice, on coarse pixels (y, x).

    Fat fills the slice, `muscle` is the share of muscle in it, and each of `layers` (share, tissue) covers what is
    drawn before it. `grain` is a texture of unit variance. `marbling` is the fat between the fibres, in HU by which
    it lowers muscle in CT. `to_pixels` interpolates coarse pixels onto those of the image. `body` is the share inside
    the skin, on the image's own pixels.
    """

    muscle: np.ndarray
    grain: np.ndarray
    marbling: np.ndarray
    layers: tuple[tuple[np.ndarray, Tissue], ...]
    to_pixels: Callable[[np.ndarray], np.ndarray]
    body: np.ndarray


@dataclass(frozen=True, kw_only=True)
class BonePart:
    """A bone with the cartilage that covers it (shares of voxels, float32 zyx).

    Cortex fills the space between `outer` and `inner`. `voxels` are the indices (zyx) where `inner` is not 0: there,
    `trabecular` is the density of trabecular bone (n), in units that add 1 HU to marrow in CT, and `red_marrow` gives
    the share of red marrow in the marrow (n). `cortical_hu` is the HU of solid bone. MR also shows `scar`, the
    share of solid bone in the scar of a growth plate (n), and `fluid`, that of joint fluid in the cartilage (zyx).

    The arrays lie in the part `where` (zyx) of `TissueFields.bone_box`; (): they fill it. `labelled` is the share
    that a map of several labels shows, None: `outer`.
    """

    name: str
    outer: np.ndarray
    inner: np.ndarray
    cartilage: np.ndarray
    voxels: tuple[np.ndarray, ...]
    trabecular: np.ndarray
    red_marrow: Callable[[], np.ndarray]
    cortical_hu: float
    scar: Callable[[], np.ndarray | float] = lambda: 0.0
    fluid: Callable[[], np.ndarray | float] = lambda: 0.0
    cartilage_hu: float = 70.0
    where: tuple[slice, ...] = ()
    labelled: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class TissueFields:
    """A body on a grid: soft tissue slice by slice (ascending z), then bone after bone. All can be read once.

    All bones lie in the part `bone_box` (zyx) of the grid. `around` are soft tissues next to them (share in that
    part, tissue), which lie over the others and beneath the bones; MR shows them.
    """

    grid: VoxelGrid
    bone_box: tuple[slice, ...]
    soft: Iterable[SoftSlice]
    bones: Iterable[BonePart]
    around: Iterable[tuple[np.ndarray, Tissue]] = ()


class Specimen(Protocol):
    """A body that lies in the scanner (LPS mm)."""

    @property
    def reference(self) -> str | Mapping[str, int]:
        """Name of the bone part whose mask is the reference; or the names of several with their values in it."""

    @property
    def top_mm(self) -> float:
        """Height at which the wanted part begins, z."""

    @property
    def reach_mm(self) -> float:
        """Length of the wanted part that a CT covers, downward from `top_mm`."""

    @property
    def middle_mm(self) -> float:
        """The body's midline, x."""

    @property
    def back_mm(self) -> float:
        """The back on the table, y."""

    @property
    def dense_xyz_mm(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Two dense places, between which beam hardening darkens a CT; None: there is none."""

    def fields(
        self, grid: VoxelGrid, supersampling: int, rng: np.random.Generator, *, fine: bool = False
    ) -> TissueFields:
        """Return the tissues on a grid; partial volumes of bone from `supersampling` sub-voxels along each axis.

        `fine` asks for what MR shows of soft tissue and CT does not.
        """

    def implant(self) -> Mesh:
        """Return what was implanted into bone: metal, or bone cement."""

    def truth(self, grid: VoxelGrid) -> dict:
        """Return what is exactly known of the reference bones above a grid's lower end."""
