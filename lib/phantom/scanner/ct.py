"""CT of a specimen: HU of its tissues, then the effects of the scanner."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lib.phantom.anatomy.specimen import BonePart, SoftSlice, Specimen, Tissue
from lib.phantom.scanner import ct_effects
from lib.phantom.scanner.machines import CtScanner
from lib.phantom.scanner.painting import Contrast, paint
from lib.phantom.voxelize import VoxelGrid, coverage

FAT_HU, MUSCLE_HU, MARROW_HU = -105.0, 55.0, -60.0
_GRAIN_HU = 6
_TISSUE_HU = {
    Tissue.SKIN: 10.0,
    Tissue.ARTERY: 42.0,
    Tissue.VEIN: 42.0,
    Tissue.URINE: 6.0,
    Tissue.ORGAN: 38.0,
    Tissue.GAS: -850.0,
    Tissue.TENDON: 75.0,
    Tissue.FLUID: 10.0,
    Tissue.LIQUOR: 15.0,
    Tissue.LIVER: 56.0,
    Tissue.KIDNEY: 34.0,
    Tissue.BOWEL: 32.0,
    Tissue.PLAQUE: 650.0,
}
# the portal venous phase after an iodinated agent
_ENHANCED_HU = {
    Tissue.ARTERY: 165.0,
    Tissue.VEIN: 150.0,
    Tissue.LIVER: 112.0,
    Tissue.KIDNEY: 185.0,
    Tissue.BOWEL: 62.0,
}
START_ABOVE_TOP_MM = (15.0, 30.0)
"""How far above the wanted part a scan begins, mm."""

_FIELD_MARGIN_MM = 12.0


@dataclass(frozen=True, kw_only=True)
class CtImages:
    """Sizes of a CT: pixels a row, pixel size, and distance of slices (mm)."""

    matrix: int
    pixel_mm: float
    slice_mm: float


@dataclass(frozen=True, kw_only=True)
class CtRange:
    """Slices of a CT: grid, shift of the body along z, and length scanned below the wanted part's top (mm)."""

    grid: VoxelGrid
    shift_mm: float
    below_top_mm: float


@dataclass(frozen=True, kw_only=True)
class CtExam:
    """How a specimen is scanned: slices, sub-voxels, scanner and its age (years), and the variant.

    `has_metal`: its implant is of metal; `has_cement`: of bone cement. `has_agent`: contrast agent is in its vessels.
    `has_rods`: it lies on a density phantom.
    """

    grid: VoxelGrid
    supersampling: int
    scanner: CtScanner
    years: float
    variant: str
    has_metal: bool
    has_cement: bool = False
    has_agent: bool = False
    has_rods: bool = True


def draw_range(
    images: CtImages,
    top_mm: float,
    reach_mm: float,
    rng: np.random.Generator,
    above_mm: tuple[float, float] = START_ABOVE_TOP_MM,
) -> CtRange:
    """Draw where the slices lie that show a body from `above_mm` above `top_mm` to about `reach_mm` below it."""
    drawn_mm = float(rng.uniform(*above_mm))
    first_mm = round(float(rng.uniform(-900, -600)), 1)
    below_top_mm = reach_mm + float(rng.uniform(-1, 1))
    slices = int(np.ceil((below_top_mm + drawn_mm) / images.slice_mm))
    corner_mm = -0.5 * (images.matrix - 1) * images.pixel_mm
    grid = VoxelGrid(
        origin_xyz_mm=(corner_mm, corner_mm, first_mm),
        spacing_xyz_mm=(images.pixel_mm, images.pixel_mm, images.slice_mm),
        size_xyz=(images.matrix, images.matrix, slices),
    )
    # the lowest slice's centre is `first_mm`, its lower face lies `below_top_mm` below the top
    shift_mm = first_mm - 0.5 * images.slice_mm + below_top_mm - top_mm
    return CtRange(grid=grid, shift_mm=shift_mm, below_top_mm=below_top_mm)


def widest_body_mm(grid: VoxelGrid, middle_mm: float) -> float:
    """Return the largest half width of a body with its midline at x = `middle_mm` that fits the field of view."""
    return 0.5 * grid.size_xyz[0] * grid.spacing_xyz_mm[0] - _FIELD_MARGIN_MM - abs(middle_mm)


def image_ct(
    specimen: Specimen, exam: CtExam, body_rng: np.random.Generator, noise_rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return HU (int16) and the reference mask (uint8), zyx: supersampled partial volumes, blur, then noise."""
    grid = exam.grid
    contrast = ENHANCED_CT_CONTRAST if exam.has_agent else CT_CONTRAST
    painted = paint(specimen.fields(grid, exam.supersampling, body_rng), contrast, specimen.reference)
    (hu,), body = painted.values, painted.body
    hardware = ct_effects.image_hardware(grid, specimen.middle_mm, specimen.back_mm, with_rods=exam.has_rods)
    hu -= hardware
    hu *= body
    hu += hardware
    if exam.has_metal:
        metal = coverage(specimen.implant(), grid, exam.supersampling)
        hu += metal * (ct_effects.METAL_HU - hu)
        ct_effects.add_metal_streaks(hu, metal, grid, noise_rng)
    elif exam.has_cement:
        hu += coverage(specimen.implant(), grid, exam.supersampling) * (ct_effects.CEMENT_HU - hu)
    kernel_mm = exam.scanner.kernel_mm
    ct_effects.blur(hu, grid, kernel_mm)
    field = ct_effects.CtField(grid=grid, kernel_mm=kernel_mm, dense_xyz_mm=specimen.dense_xyz_mm)
    draw = ct_effects.draw_ct(noise_rng, exam.scanner, exam.variant)
    if specimen.dense_xyz_mm is None:
        draw = replace(draw, hardening_hu=0.0)
    ct_effects.add_artefacts(hu, body, field, draw, noise_rng)
    shown = ct_effects.calibrated(hu, exam.scanner, exam.years)
    return ct_effects.to_stored_hu(shown), painted.mask


def _soft_hu(piece: SoftSlice, tissue_hu: Mapping[Tissue, float]) -> tuple[np.ndarray]:
    hu = FAT_HU + _GRAIN_HU * piece.grain + piece.muscle * (MUSCLE_HU - FAT_HU - piece.marbling)
    for share, tissue in piece.layers:
        hu = hu + share * (tissue_hu[tissue] - hu)
    return (hu,)


def _bone_hu(part: BonePart) -> tuple[np.ndarray]:
    hu_share = part.cortical_hu * (part.outer - part.inner)
    hu_share[part.voxels] += (MARROW_HU + part.trabecular) * part.inner[part.voxels]
    return (hu_share + part.cartilage_hu * part.cartilage,)


CT_CONTRAST, ENHANCED_CT_CONTRAST = (
    Contrast(channels=1, soft=partial(_soft_hu, tissue_hu=_TISSUE_HU | changed), bone=_bone_hu)
    for changed in ({}, _ENHANCED_HU)
)
"""What CT shows without contrast agent, and with it."""
