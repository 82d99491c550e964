"""The true density of a drawn femur: volume, vBMD and BMC by region and compartment, and the areal density.

Shares of voxels times density are added up before the scanner blurs them and adds noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.phantom.anatomy.femur_landmarks import BELOW_TROCHANTER_MM, FemurLandmarks
from lib.phantom.anatomy.femur_regions import (
    HEAD_RADII,
    REGIONS,
    VoxelPoints,
    region_shares,
    split,
    step_share,
    width_mm,
)
from lib.phantom.mesh import Mesh, offset
from lib.phantom.sections import outlines
from lib.phantom.voxelize import VoxelGrid, coverage

PEEL_MM, CORTICAL_DEPTH_MM, CORTICAL_MG_CM3 = 3.0, 7.0, 350.0
"""Compartments as a measurement defines them: depth of trabecular bone, largest depth and least density of cortex."""

COMPOSITES = {"total": ("neck", "trochanter"), "femur": ("head", "neck", "trochanter")}
"""Regions that others make up."""

NECK_BOX_MM = 15.0
"""Width of the neck's box of the areal projection along the neck's axis."""

TROCHANTER_CUT = "trochanter_cut"
"""Why a region is missing: the scan ends above the distal plane."""

BEYOND_CUT = ("trochanter", "shaft", *COMPOSITES)
"""Regions that are missing then."""

Compartments = dict[str, tuple[np.ndarray, np.ndarray]]
"""Name -> volume (mm3) and mineral (mg) of voxels, (n) each."""

_PIXEL_MM, _BOX_MARGIN_PIXELS = 0.5, 3
_SEEN_MM = 0.05


@dataclass(frozen=True, kw_only=True)
class DrawnFemur:
    """A femur as it was drawn on a grid: shares of voxels (zyx) and densities.

    Attributes:
        mesh: its surface.
        grid: the grid of the shares.
        outer, inner: shares inside the surface, and inside the cortex's inner surface.
        trabecular_mg_cm3: density within the cortex, zyx, with marrow; of voxels without `inner` nothing is used.
        cortical_mg_cm3: density of the cortex.
        blurred_mg_cm3: density after the scanner's blur, zyx, without noise and artefacts; also around the bone.
    """

    mesh: Mesh
    grid: VoxelGrid
    outer: np.ndarray
    inner: np.ndarray
    trabecular_mg_cm3: np.ndarray
    cortical_mg_cm3: float
    blurred_mg_cm3: np.ndarray

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.grid.spacing_xyz_mm))


class DensityTruth:
    """The regions and compartments of a drawn femur with the landmarks of its surface."""

    def __init__(self, femur: DrawnFemur, landmarks: FemurLandmarks, supersampling: int) -> None:
        """Divide the femur's voxels; `supersampling` is that of its shares."""
        self._femur, self._landmarks = femur, landmarks
        voxels = np.nonzero(femur.outer)
        self._points = VoxelPoints.of(voxels, femur.grid)
        self._regions = region_shares(self._points, landmarks)
        depths = tuple(
            coverage(offset(femur.mesh, -depth_mm), femur.grid, supersampling)[voxels].astype(float)
            for depth_mm in (PEEL_MM, CORTICAL_DEPTH_MM)
        )
        self._drawn = _drawn_compartments(femur, voxels, depths)
        self._masked = _masked_compartments(femur, voxels, depths)
        self.is_cut = _is_cut(femur, landmarks)

    def density(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Return volume (mm3), vBMD (mg/cm3) and BMC (mg) by region and compartment, as they were drawn.

        `trabecular` and `cortical` are within and outside the drawn inner surface of the cortex; they add up to
        `integral`. `cortical_350` is what a threshold calls cortical: bone of 350 mg/cm3 or more in a depth of less
        than 7 mm, with dense trabeculae. `trabecular_peeled` is bone of less than 350 mg/cm3 in a depth of 3 mm or
        more. A compartment without volume has no vBMD (None). If the scan ends above the distal plane, `trochanter`,
        `shaft`, `total` and `femur` are left out.
        """
        return self._by_region(self._drawn)

    def density_in_mask(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Return what the reference mask holds of the blurred image without noise and artefacts, as `density`.

        Blur takes mineral out of the mask, so BMC is less than in `density`. `integral`, `cortical_350` and
        `trabecular_peeled` are whole voxels.
        """
        return self._by_region(self._masked)

    def areal(self) -> dict[str, dict[str, float]]:
        """Return area (cm2), BMC (g) and areal density (g/cm2) of `total` and `neck`, see `areal_rois`.

        The bone is seen along the direction at a right angle to the axes of shaft and neck; so the shaft's axis
        points up and the neck's axis lies in the plane of the image. `total` is neck and trochanter, with the area of
        their outline; `neck` is a box of 15 mm along the neck's axis, centred on the isthmus, as wide as the bone.
        """
        return self._areal(self._drawn["integral"][1])

    def areal_in_mask(self) -> dict[str, dict[str, float]]:
        """Return `areal` with the mineral of `density_in_mask`; the areas are the same."""
        return self._areal(self._masked["integral"][1])

    def _by_region(self, compartments: Compartments) -> dict[str, dict[str, dict[str, float | None]]]:
        shares = dict(zip(REGIONS, self._regions.T, strict=True))
        shares |= {name: sum(shares[part] for part in parts) for name, parts in COMPOSITES.items()}
        for name in BEYOND_CUT if self.is_cut else ():
            del shares[name]
        return {
            region: {
                compartment: self._amount(share, volume, mass)
                for compartment, (volume, mass) in compartments.items()
            }
            for region, share in shares.items()
        }

    def _areal(self, mass_mg: np.ndarray) -> dict[str, dict[str, float]]:
        view, landmarks = _View.of(self._landmarks), self._landmarks
        bone, first = view.silhouette(self._femur.mesh)
        rois = view.areal_rois(bone, first, landmarks)
        masses = {
            "neck": mass_mg @ self._in_box(view, rois["neck"], first),
            "total": mass_mg @ (self._regions[:, 1] + self._regions[:, 2]),
        }
        found = {}
        for name in ("neck",) if self.is_cut else ("total", "neck"):
            area_cm2, bmc_g = float(rois[name].sum()) * _PIXEL_MM**2 / 100, float(masses[name]) / 1000
            found[name] = {"area_cm2": area_cm2, "bmc_g": bmc_g, "abmd_g_cm2": bmc_g / area_cm2}
        return found

    def _amount(self, share: np.ndarray, volume: np.ndarray, mass: np.ndarray) -> dict[str, float | None]:
        volume_mm3, bmc_mg = float(share @ volume), float(share @ mass)
        vbmd = 1000 * bmc_mg / volume_mm3 if volume_mm3 > 0 else None
        return {"volume_mm3": volume_mm3, "vbmd_mg_cm3": vbmd, "bmc_mg": bmc_mg}

    def _in_box(self, view: "_View", box_zx: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Return the share of each voxel in the neck's box."""
        around = np.pad(box_zx > 0, _BOX_MARGIN_PIXELS)
        for axis in (0, 1):
            shifts = range(-_BOX_MARGIN_PIXELS, _BOX_MARGIN_PIXELS + 1)
            around = np.any([np.roll(around, shift, axis) for shift in shifts], axis=0)
        around = around[_BOX_MARGIN_PIXELS:-_BOX_MARGIN_PIXELS, _BOX_MARGIN_PIXELS:-_BOX_MARGIN_PIXELS]

        def share_at(places: np.ndarray, size_xyz_mm: np.ndarray) -> np.ndarray:
            pixel = np.rint((view.turned(places)[:, 1:] - first) / _PIXEL_MM).astype(int)
            pixel = np.clip(pixel, 0, np.array(around.shape)[::-1] - 1)
            across = width_mm(self._landmarks.neck, size_xyz_mm)
            share = _box_share(self._landmarks.along_neck_mm(places), self._landmarks, across)
            return (share * around[pixel[:, 1], pixel[:, 0]])[:, None]

        along = self._landmarks.along_neck_mm(self._points.centers_xyz_mm)
        from_end = np.abs(along - self._landmarks.isthmus_mm) - NECK_BOX_MM / 2
        return split(self._points, np.abs(from_end) < self._points.reach_mm, share_at)[:, 0]


@dataclass(frozen=True, kw_only=True)
class _View:
    """The pose of the areal projection; rows of `turn` are the direction of view, then the image's axes."""

    turn: np.ndarray

    @classmethod
    def of(cls, landmarks: FemurLandmarks) -> "_View":
        up = landmarks.shaft
        along = np.cross(up, landmarks.neck)
        along /= np.linalg.norm(along)
        return cls(turn=np.stack([along, np.cross(up, along), up]))

    def turned(self, points_xyz_mm: np.ndarray) -> np.ndarray:
        """Return points (n, 3) along the direction of view, along the image's row, and upward."""
        return points_xyz_mm @ self.turn.T

    def silhouette(self, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels (z, x) in which a line of sight meets a surface, and the place of the first one, mm."""
        seen = Mesh(vertices_xyz_mm=self.turned(mesh.vertices_xyz_mm), faces=mesh.faces)
        low, high = seen.vertices_xyz_mm.min(axis=0), seen.vertices_xyz_mm.max(axis=0)
        size = np.ceil((high - low)[1:] / _PIXEL_MM).astype(int) + 2
        first = low[1:] - _PIXEL_MM
        depth_mm = float((high - low)[0]) + 2
        grid = VoxelGrid(
            origin_xyz_mm=(float(low[0] + high[0]) / 2, *map(float, first)),
            spacing_xyz_mm=(depth_mm, _PIXEL_MM, _PIXEL_MM),
            size_xyz=(1, *map(int, size)),
        )
        return coverage(seen, grid, 1)[:, :, 0] * depth_mm > _SEEN_MM, first

    def areal_rois(
        self, bone_zx: np.ndarray, first_mm: np.ndarray, landmarks: FemurLandmarks
    ) -> dict[str, np.ndarray]:
        """Return the share of each pixel (z, x) in `total` and in `neck`."""
        center, tip = self.turned(np.stack([landmarks.center_xyz_mm, landmarks.tip_xyz_mm]))[:, 1:]
        # the neck's axis has no part along the direction of view
        neck = self.turned(landmarks.neck[None])[0, 1:]
        z, x = (
            start + _PIXEL_MM * np.arange(size)
            for start, size in zip(first_mm[::-1], bone_zx.shape, strict=True)
        )
        from_center = np.stack(np.broadcast_arrays((x - center[0])[None, :], (z - center[1])[:, None]), -1)
        along, across = from_center @ neck, width_mm(neck, np.full(2, _PIXEL_MM))
        in_ball = np.linalg.norm(from_center, axis=-1) <= HEAD_RADII * landmarks.radius_mm
        head = step_share(landmarks.head_end_mm - along, across) * in_ball
        above = step_share(z - tip[1] + BELOW_TROCHANTER_MM, _PIXEL_MM)[:, None]
        box = bone_zx * _box_share(along, landmarks, across)
        on_axis = _piece_on_axis(box > 0, from_center, neck, landmarks)
        return {"total": bone_zx * (1 - head) * above, "neck": box * on_axis}


def _box_share(along_mm: np.ndarray, landmarks: FemurLandmarks, across_mm: float) -> np.ndarray:
    """Return the share of pixels or voxels within the neck's box, from their places along the neck's axis."""
    return step_share(NECK_BOX_MM / 2 - np.abs(along_mm - landmarks.isthmus_mm), across_mm)


def _piece_on_axis(
    box_zx: np.ndarray, from_center: np.ndarray, neck: np.ndarray, landmarks: FemurLandmarks
) -> np.ndarray:
    """Return the connected part of the neck's box in which the isthmus lies."""
    labels, _ = ndimage.label(box_zx)
    off = np.linalg.norm(from_center - landmarks.isthmus_mm * neck, axis=-1)
    return labels == labels[np.unravel_index(off.argmin(), off.shape)]


def _drawn_compartments(
    femur: DrawnFemur, voxels_zyx: tuple[np.ndarray, ...], depths: tuple[np.ndarray, np.ndarray]
) -> Compartments:
    """Return what was drawn; `depths` are the shares of the voxels 3 and 7 mm or more below the surface."""
    outer, inner = (share[voxels_zyx].astype(float) for share in (femur.outer, femur.inner))
    peeled, deep = depths
    density = np.where(inner > 0, femur.trabecular_mg_cm3[voxels_zyx], 0.0)
    is_dense = density >= CORTICAL_MG_CM3
    shell, none = outer - inner, np.zeros_like(outer)
    # shares of the shell and of what it encloses
    parts = {
        "integral": (shell, inner),
        "trabecular": (none, inner),
        "cortical": (shell, none),
        "trabecular_peeled": (none, np.where(is_dense, 0.0, np.minimum(inner, peeled))),
        "cortical_350": (
            np.minimum(shell, outer - np.minimum(outer, deep)),
            np.where(is_dense, inner - np.minimum(inner, deep), 0.0),
        ),
    }
    return {
        name: (
            (hard + soft) * femur.voxel_mm3,
            (hard * femur.cortical_mg_cm3 + soft * density) * femur.voxel_mm3 / 1000,
        )
        for name, (hard, soft) in parts.items()
    }


def _masked_compartments(
    femur: DrawnFemur, voxels_zyx: tuple[np.ndarray, ...], depths: tuple[np.ndarray, np.ndarray]
) -> Compartments:
    """Return what the mask holds of the blurred image, in voxels of which at least half is bone."""
    inside = femur.outer[voxels_zyx] >= 0.5
    peeled, deep = (share >= 0.5 for share in depths)
    density = femur.blurred_mg_cm3[voxels_zyx].astype(float)
    is_dense = density >= CORTICAL_MG_CM3
    parts = {
        "integral": inside,
        "trabecular_peeled": inside & peeled & ~is_dense,
        "cortical_350": inside & ~deep & is_dense,
    }
    return {
        name: (part * femur.voxel_mm3, part * density * femur.voxel_mm3 / 1000)
        for name, part in parts.items()
    }


def _is_cut(femur: DrawnFemur, landmarks: FemurLandmarks) -> bool:
    """Return whether the scan ends above the lowest bone of the distal plane."""
    below = landmarks.tip_xyz_mm - BELOW_TROCHANTER_MM * landmarks.shaft
    shaft = max(outlines(femur.mesh, below, landmarks.shaft), key=lambda outline: outline.area_mm2)
    return bool(shaft.pieces_xyz_mm[..., 2].min() < femur.grid.bottom_mm)
