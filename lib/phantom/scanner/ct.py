"""CT of a specimen: HU of its tissues, then the effects of the scanner."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

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


@dataclass(frozen=True, kw_only=True)
class CtTissues:
    """HU of fat, muscle, solid bone (None: as drawn for the person) and air, and other ones of soft tissues."""

    fat_hu: float = FAT_HU
    muscle_hu: float = MUSCLE_HU
    cortical_hu: float | None = None
    air_hu: float = ct_effects.AIR_HU
    changed_hu: Mapping[Tissue, float] = field(default_factory=dict)

    def contrast(self, *, enhanced: bool) -> Contrast:
        """Return what CT shows without contrast agent, or with it."""
        tissue_hu = _TISSUE_HU | self.changed_hu | (_ENHANCED_HU if enhanced else {})
        return Contrast(
            channels=1,
            soft=partial(_soft_hu, tissues=self, tissue_hu=tissue_hu),
            bone=partial(_bone_hu, cortical_hu=self.cortical_hu),
        )


USUAL_TISSUES = CtTissues()
PHYSICAL_TISSUES = CtTissues(
    fat_hu=-79.0,
    muscle_hu=43.0,
    cortical_hu=1594.0,
    air_hu=-999.0,
    changed_hu={Tissue.ARTERY: 56.0, Tissue.VEIN: 56.0},
)
"""HU of adipose tissue, muscle, cortical bone, air and blood at 70 keV, from NIST's attenuation and densities."""

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
    `rods`: the density phantom on which it lies, None: there is none. `order` counts the scanner's scans from 1; 0:
    they are not counted.
    """

    grid: VoxelGrid
    supersampling: int
    scanner: CtScanner
    years: float
    variant: str
    has_metal: bool
    has_cement: bool = False
    has_agent: bool = False
    rods: ct_effects.LyingRods | None = ct_effects.USUAL_RODS
    order: int = 0
    tissues: CtTissues = USUAL_TISSUES


class CtTaken(NamedTuple):
    """A CT as it is stored: HU (int16) and the reference mask (uint8), zyx.

    `bone` is the reference bone as it was drawn, None if there are several; `blurred_hu` are HU in the part of the
    image with bones (`TissueFields.bone_box`) after the blur, before artefacts, noise and the scanner's line.
    """

    hu_zyx: np.ndarray
    mask_zyx: np.ndarray
    bone: BonePart | None = None
    blurred_hu: np.ndarray | None = None


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
) -> CtTaken:
    """Return the CT of a specimen: supersampled partial volumes, blur, then noise."""
    grid = exam.grid
    contrast = exam.tissues.contrast(enhanced=exam.has_agent)
    fields = specimen.fields(grid, exam.supersampling, body_rng)
    painted = paint(fields, contrast, specimen.reference)
    (hu,), body = painted.values, painted.body
    hardware = _hardware(exam, specimen.middle_mm, specimen.back_mm)
    hu -= hardware
    hu *= body
    hu += hardware
    if exam.has_metal:
        metal = coverage(specimen.implant(), grid, exam.supersampling)
        hu += metal * (ct_effects.METAL_HU - hu)
        ct_effects.add_metal_streaks(hu, metal, grid, noise_rng)
    elif exam.has_cement:
        hu += coverage(specimen.implant(), grid, exam.supersampling) * (ct_effects.CEMENT_HU - hu)
    ct_effects.blur(hu, grid, exam.scanner.kernel_mm)
    blurred = hu[fields.bone_box].copy() if painted.reference else None
    shown = _stored(hu, body, exam, specimen.dense_xyz_mm, noise_rng)
    return CtTaken(hu_zyx=shown, mask_zyx=painted.mask, bone=painted.reference, blurred_hu=blurred)


def image_rods(exam: CtExam, middle_mm: float, back_mm: float, noise_rng: np.random.Generator) -> CtTaken:
    """Return the CT of a density phantom alone, centred at x = `middle_mm` beneath the height y = `back_mm`."""
    shape = exam.grid.shape_zyx
    hu = np.broadcast_to(_hardware(exam, middle_mm, back_mm), shape).copy()
    ct_effects.blur(hu, exam.grid, exam.scanner.kernel_mm)
    shown = _stored(hu, np.zeros(shape, np.float32), exam, None, noise_rng)
    return CtTaken(hu_zyx=shown, mask_zyx=np.zeros(shape, np.uint8))


def bone_hu(part: BonePart, tissues: CtTissues) -> tuple[np.ndarray, float]:
    """Return HU before the scanner's effects: within the cortex (n, at `part.voxels`), and of the cortex."""
    return MARROW_HU + part.trabecular, _cortical_hu(part, tissues.cortical_hu)


def _hardware(exam: CtExam, middle_mm: float, back_mm: float) -> np.ndarray:
    return ct_effects.image_hardware(exam.grid, middle_mm, back_mm, exam.rods, exam.tissues.air_hu)


def _stored(
    hu: np.ndarray,
    body: np.ndarray,
    exam: CtExam,
    dense_xyz_mm: tuple[np.ndarray, np.ndarray] | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return what a scanner stores of blurred HU (changed in place): artefacts, noise, its line, rounding."""
    kernel_mm = exam.scanner.kernel_mm
    field = ct_effects.CtField(grid=exam.grid, kernel_mm=kernel_mm, dense_xyz_mm=dense_xyz_mm)
    draw = ct_effects.draw_ct(rng, exam.scanner, exam.variant)
    if dense_xyz_mm is None:
        draw = replace(draw, hardening_hu=0.0)
    ct_effects.add_artefacts(hu, body, field, draw, rng)
    return ct_effects.to_stored_hu(ct_effects.calibrated(hu, exam.scanner, exam.years, exam.order))


def _soft_hu(piece: SoftSlice, tissues: CtTissues, tissue_hu: Mapping[Tissue, float]) -> tuple[np.ndarray]:
    fat = tissues.fat_hu
    hu = fat + _GRAIN_HU * piece.grain + piece.muscle * (tissues.muscle_hu - fat - piece.marbling)
    for share, tissue in piece.layers:
        hu = hu + share * (tissue_hu[tissue] - hu)
    return (hu,)


def _bone_hu(part: BonePart, cortical_hu: float | None) -> tuple[np.ndarray]:
    hu_share = _cortical_hu(part, cortical_hu) * (part.outer - part.inner)
    hu_share[part.voxels] += (MARROW_HU + part.trabecular) * part.inner[part.voxels]
    return (hu_share + part.cartilage_hu * part.cartilage,)


def _cortical_hu(part: BonePart, cortical_hu: float | None) -> float:
    return part.cortical_hu if cortical_hu is None else cortical_hu
