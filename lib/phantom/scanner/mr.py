"""MR of a specimen: T1-weighted gradient echo, signal relative to fat, then the effects of the scanner."""

from dataclasses import dataclass

import numpy as np

from lib.errors import ConfigError
from lib.phantom.anatomy.bone import SOLID_TRABECULAR
from lib.phantom.anatomy.specimen import BonePart, SoftSlice, Specimen, Tissue
from lib.phantom.scanner import mr_effects
from lib.phantom.scanner.machines import MrProtocol, MrScanner
from lib.phantom.scanner.mr_effects import MrDraw
from lib.phantom.scanner.painting import Contrast, paint
from lib.phantom.voxelize import VoxelGrid

MUSCLE, CORTEX, CARTILAGE, FLUID = 0.40, 0.05, 0.55, 0.35
# (from fat, from water)
_YELLOW_MARROW, _RED_MARROW = (0.90, 0.05), (0.30, 0.32)
_LAYERS = {
    Tissue.SKIN: (0.10, 0.40),
    Tissue.VEIN: (0.0, mr_effects.SLOW_VESSEL),
    Tissue.URINE: (0.0, 0.25),
    Tissue.ORGAN: (0.0, 0.40),
    Tissue.GAS: (0.0, 0.02),
    Tissue.TENDON: (0.0, 0.05),
    Tissue.FLUID: (0.0, FLUID),
}
_FAT_GRAIN, _MUSCLE_GRAIN = 0.03, 0.06
# what marbling of 1 takes from muscle in CT is a 160th of the difference between fat and muscle
_FULL_MARBLING = 160.0
# share of the signal of fat that fat suppression leaves
_SUPPRESSED = 0.08
_ABOVE_TOP_MM, _EDGE_MM = 14.0, 0.5


@dataclass(frozen=True, kw_only=True)
class MrExam:
    """How a specimen is scanned: grid, sub-voxels, protocol, scanner, variant, and whether fat is suppressed too."""

    grid: VoxelGrid
    supersampling: int
    protocol: MrProtocol
    scanner: MrScanner
    variant: str
    has_suppressed: bool


@dataclass(frozen=True, kw_only=True)
class MrImages:
    """A T1-weighted image, the fat-suppressed one if wanted (uint16), and the reference mask (uint8), all zyx."""

    t1_zyx: np.ndarray
    suppressed_zyx: np.ndarray | None
    mask_zyx: np.ndarray


def place_field(specimen: Specimen, protocol: MrProtocol, rng: np.random.Generator) -> VoxelGrid:
    """Return the grid of coronal slices centred on the wanted bone, up to a few mm off; its shaft is cut off.

    Raises:
        ConfigError: The bone is larger than the field of view.
    """
    field_mm, depth_mm = protocol.field_of_view_mm, protocol.slices * protocol.slice_mm
    pixel_mm = round(field_mm / protocol.matrix, 6)
    spacing = (pixel_mm, protocol.slice_mm, pixel_mm)
    size = (protocol.matrix, protocol.slices, protocol.matrix)
    bottom_mm = specimen.top_mm + _ABOVE_TOP_MM + float(rng.uniform(-2, 2)) - field_mm
    seen = specimen.reference_mesh.vertices_xyz_mm
    seen = seen[seen[:, 2] > bottom_mm]
    middle_mm = (seen.min(axis=0) + seen.max(axis=0)) / 2
    width_mm, depth_of_bone_mm = np.ptp(seen, axis=0)[:2]
    if width_mm > field_mm - 2 * _EDGE_MM or depth_of_bone_mm > depth_mm - 2 * _EDGE_MM:
        raise ConfigError(
            f"phantom.mr: the field of view is {field_mm:g} mm and {depth_mm:g} mm from front to back, but a bone is "
            f"{width_mm:.0f} x {depth_of_bone_mm:.0f} mm; set a larger field_of_view_mm or more slices"
        )
    # as far off the middle as the bone stays inside, at most 3 mm
    room_mm = 0.5 * (np.array([field_mm - width_mm, depth_mm - depth_of_bone_mm]) - 2 * _EDGE_MM)
    off_mm = rng.uniform(-1, 1, 2) * np.minimum(room_mm, 3.0)
    corner_mm = np.array([*(middle_mm[:2] + off_mm - 0.5 * np.array([field_mm, depth_mm])), bottom_mm])
    first_mm = corner_mm + 0.5 * np.array(spacing)
    return VoxelGrid(
        origin_xyz_mm=tuple(round(float(v), 3) for v in first_mm), spacing_xyz_mm=spacing, size_xyz=size
    )


def image_mr(
    specimen: Specimen, exam: MrExam, body_rng: np.random.Generator, noise_rng: np.random.Generator
) -> MrImages:
    """Return the images of a specimen as the scanner stores them."""
    draw = mr_effects.draw_mr(noise_rng, exam.scanner, exam.protocol, exam.variant)
    contrast = mr_contrast(draw.artery)
    fields = specimen.fields(exam.grid, exam.supersampling, body_rng, fine=True)
    painted = paint(fields, contrast, specimen.reference)
    painted.values[:] *= painted.body
    fat, water = painted.values
    fat = mr_effects.shift_fat(fat, draw.shift_pixels)
    field = mr_effects.bias_field(exam.grid, draw)
    pictures = [
        _acquired(np.float32(left) * fat + water, field, exam, draw, noise_rng)
        for left in ((1.0, _SUPPRESSED) if exam.has_suppressed else (1.0,))
    ]
    return MrImages(
        t1_zyx=pictures[0],
        suppressed_zyx=pictures[1] if exam.has_suppressed else None,
        mask_zyx=painted.mask,
    )


def _acquired(
    signal: np.ndarray, field: np.ndarray, exam: MrExam, draw: MrDraw, rng: np.random.Generator
) -> np.ndarray:
    """Return a signal zyx after blur, bias, ghost and noise, as stored numbers (uint16)."""
    mr_effects.blur_mr(signal, exam.grid, exam.scanner.kernel_mm)
    signal *= field
    if draw.ghost:
        mr_effects.add_ghost(signal, draw.ghost)
    magnitude = mr_effects.with_rician_noise(signal, MUSCLE / draw.snr, rng)
    return mr_effects.to_stored_signal(draw.gain / (exam.protocol.rescale_slope or 1.0) * magnitude)


def mr_contrast(artery: float) -> Contrast:
    """Return the contrast of a T1-weighted gradient echo in two channels, fat and water; fat has the signal 1.

    Trabecular bone takes the place of marrow, so it dims it. `artery` is the signal of arteries, due to inflow.
    """
    layers = _LAYERS | {Tissue.ARTERY: (0.0, artery)}

    def soft(piece: SoftSlice) -> tuple[np.ndarray, np.ndarray]:
        marbled = piece.muscle * np.clip(piece.marbling / _FULL_MARBLING, 0, 1)
        fat = (1 + _FAT_GRAIN * piece.grain) * (1 - piece.muscle + marbled)
        water = MUSCLE * (1 + _MUSCLE_GRAIN * piece.grain) * (piece.muscle - marbled)
        for share, tissue in piece.layers:
            fat, water = (
                drawn + share * (signal - drawn)
                for drawn, signal in zip((fat, water), layers[tissue], strict=True)
            )
        return fat, water

    return Contrast(channels=2, soft=soft, bone=_bone_signal, around=layers.__getitem__)


def _bone_signal(part: BonePart) -> tuple[np.ndarray, np.ndarray]:
    marrow = (1 - np.clip(part.trabecular / SOLID_TRABECULAR + part.scar(), 0, 1)) * part.inner[part.voxels]
    red = part.red_marrow()
    fat, water = (
        marrow * (yellow + red * (of_red - yellow))
        for yellow, of_red in zip(_YELLOW_MARROW, _RED_MARROW, strict=True)
    )
    drawn = np.zeros((2, *part.inner.shape), np.float32)
    drawn[1] = CORTEX * (part.outer - part.inner) + CARTILAGE * part.cartilage
    drawn[1] += (FLUID - CARTILAGE) * part.fluid()
    drawn[0][part.voxels] += fat
    drawn[1][part.voxels] += water
    return tuple(drawn)
