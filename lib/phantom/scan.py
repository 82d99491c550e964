"""A synthetic scan from seed to files: series, reference mask, exact volume."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.ages import printed_age
from lib.atomic import whole_file, write_json
from lib.phantom import scanner
from lib.phantom.bone import BoneState, draw_bone_state, image_bones
from lib.phantom.dicom_series import write_series
from lib.phantom.mesh import mesh_volume_above_mm3
from lib.phantom.people import PhantomConfig, PhantomPerson, find_person
from lib.phantom.shape import HipShape, draw_hip_shape, femur_axes, head_top_mm
from lib.phantom.soft_tissue import BodyFrame, Habitus, back_depth_mm, draw_habitus, image_soft_tissue
from lib.phantom.voxelize import VoxelGrid, coverage
from lib.rotations import rotation_matrix

logger = logging.getLogger("osteoflow.phantom")

_SCAN_END_BELOW_TOP_MM = (85.0, 120.0)
_SCAN_START_ABOVE_TOP_MM = (15.0, 30.0)
# the body lies anterior to the middle of the field of view, which also holds density phantom and table
_BODY_BEFORE_MIDDLE_MM = 30.0
_FIELD_MARGIN_MM = 12.0
_BONE_MARGIN_MM = 6.0


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The position of a person in the scanner: turns (degrees), origin of the person frame, and the image's grid."""

    turns_xyz_degrees: tuple[float, float, float]
    origin_xyz_mm: tuple[float, float, float]
    grid: VoxelGrid
    scan_end_mm: float


@dataclass(frozen=True, kw_only=True)
class PhantomScan:
    """A finished scan: int16 HU and uint8 reference mask (both zyx on `grid`) and the exact truth."""

    hu_zyx: np.ndarray
    mask_zyx: np.ndarray
    grid: VoxelGrid
    truth: dict


def make_phantom_scan(
    config: PhantomConfig, scan: str, series_dir: str | Path, mask_path: str | Path, truth_path: str | Path
) -> None:
    """Write one scan of the synthetic cohort: DICOM folder, reference mask (NIfTI), truth (JSON).

    The mask lies on the grid of the complete series, even if the series has a deliberate defect. The same config
    and scan give the same bytes. Raises `ConfigError` if the cohort has no such scan.
    """
    person = find_person(config, scan)
    made = simulate_scan(config, person)
    write_series(made.hu_zyx, made.grid, person, Path(series_dir), _rng(person.scan_seed, 3))
    _write_mask(made.mask_zyx, made.grid, Path(mask_path))
    write_json(truth_path, made.truth)
    logger.info("scan %s: %d slices, femur %.0f mm3", scan, len(made.hu_zyx), made.truth["exact_mm3"])


def simulate_scan(config: PhantomConfig, person: PhantomPerson) -> PhantomScan:
    """Return the scan of a person: supersampled partial volumes, then blur, then noise."""
    body_rng = _rng(person.person_seed, 1)
    place_rng, noise_rng = (_rng(person.scan_seed, purpose) for purpose in (1, 2))
    shape = draw_hip_shape(body_rng, person.sex)
    state = draw_bone_state(body_rng, person.sex, person.age, person.variant)
    scan_end_mm = float(body_rng.uniform(*_SCAN_END_BELOW_TOP_MM)) * shape.size
    placed, placement = _place(shape, person.side, scan_end_mm, config, place_rng)
    grid = placement.grid
    half_field_mm = 0.5 * grid.size_xyz[0] * grid.spacing_xyz_mm[0]
    widest_mm = half_field_mm - _FIELD_MARGIN_MM - abs(placement.origin_xyz_mm[0])
    habitus = draw_habitus(body_rng, widest_mm, shape.size)
    hu, body, femurs = _draw_body(placed, placement, habitus, config.supersampling, state, body_rng)
    axes = tuple(femur_axes(femur) for femur in placed.femurs)
    side = 0 if person.side == "left" else 1
    if person.defect == "metal_nail":
        metal = coverage(scanner.nail_mesh(axes[side]), grid, config.supersampling)
        hu += metal * (scanner.METAL_HU - hu)
        scanner.add_metal_streaks(hu, metal, grid, noise_rng)
    scanner.blur(hu, grid)
    scanner.add_artefacts(hu, body, grid, axes, scanner.draw_scanner(noise_rng, person.variant), noise_rng)
    return PhantomScan(
        hu_zyx=scanner.to_stored_hu(hu),
        mask_zyx=femurs[side],
        grid=grid,
        truth=_truth(person, placed, placement),
    )


def _draw_body(
    placed: HipShape,
    placement: Pose,
    habitus: Habitus,
    supersampling: int,
    state: BoneState,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return HU before blur, the body's share of each voxel and the femurs' masks, all zyx on the grid."""
    grid = placement.grid
    back_mm = placement.origin_xyz_mm[1] + back_depth_mm(habitus, placed.size)
    frame = BodyFrame(
        size=placed.size,
        turn_degrees=placement.turns_xyz_degrees[2],
        origin_xyz_mm=placement.origin_xyz_mm,
        back_mm=back_mm,
    )
    hu, body = image_soft_tissue(*(grid.centers_mm(axis) for axis in range(3)), habitus, frame, rng)
    box, where = _bone_box(placed, grid)
    bones = image_bones(placed, box, state, supersampling, rng)
    hu[where] = hu[where] * (1 - bones.share) + bones.hu_share
    hardware = scanner.image_hardware(grid, placement.origin_xyz_mm[0], back_mm)
    hu -= hardware
    hu *= body
    hu += hardware
    masks = np.zeros((2, *grid.shape_zyx), np.uint8)
    for mask, share in zip(masks, bones.femurs, strict=True):
        mask[where] = share >= 0.5
    return hu, body, masks


def _place(
    shape: HipShape, side: str, scan_end_mm: float, config: PhantomConfig, rng: np.random.Generator
) -> tuple[HipShape, Pose]:
    """Place a person in the scanner and choose the slices; return the bones in LPS mm and the pose."""
    turns = rng.uniform(-1, 1, 3) * [2.0, 2.0, 2.5]
    shift_x, shift_y = rng.uniform(-1, 1, 2) * [8.0, 5.0]
    pixel_mm = round(float(rng.uniform(*config.pixel_mm)), 4) * 512 / config.matrix
    above_mm = float(rng.uniform(*_SCAN_START_ABOVE_TOP_MM))
    first_mm = round(float(rng.uniform(-900, -600)), 1)
    repositioned_mm = float(rng.uniform(-1, 1))
    origin = np.array([shift_x, shift_y - _BODY_BEFORE_MIDDLE_MM, 0.0])
    rotation = rotation_matrix(turns)
    lying = shape.moved(rotation, origin)
    top_mm = head_top_mm(lying.femurs[0 if side == "left" else 1])
    scan_end_mm = scan_end_mm + repositioned_mm
    # the lowest slice's centre is `first_mm`, its lower face lies `scan_end_mm` below the head's top
    origin[2] = first_mm - 0.5 * config.slice_mm + scan_end_mm - top_mm
    slices = int(np.ceil((scan_end_mm + above_mm) / config.slice_mm))
    corner_mm = -0.5 * (config.matrix - 1) * pixel_mm
    grid = VoxelGrid(
        origin_xyz_mm=(corner_mm, corner_mm, first_mm),
        spacing_xyz_mm=(pixel_mm, pixel_mm, config.slice_mm),
        size_xyz=(config.matrix, config.matrix, slices),
    )
    placement = Pose(
        turns_xyz_degrees=tuple(float(v) for v in turns),
        origin_xyz_mm=tuple(float(v) for v in origin),
        grid=grid,
        scan_end_mm=scan_end_mm,
    )
    return shape.moved(rotation, origin), placement


def _bone_box(placed: HipShape, grid: VoxelGrid) -> tuple[VoxelGrid, tuple[slice, ...]]:
    """Return the part of the grid that holds all bone within the scan."""
    bones = np.concatenate([mesh.vertices_xyz_mm for mesh in (*placed.femurs, *placed.hips, placed.sacrum)])
    near = bones[bones[:, 2] > grid.bottom_mm - 40]
    return grid.crop_around(near.min(axis=0) - _BONE_MARGIN_MM, near.max(axis=0) + _BONE_MARGIN_MM)


def _truth(person: PhantomPerson, placed: HipShape, placement: Pose) -> dict:
    femur = placed.femurs[0 if person.side == "left" else 1]
    return {
        "scan": person.scan,
        "subject": person.subject,
        "sex": person.sex,
        "age": printed_age(person.age),
        "side": person.side,
        "variant": person.variant,
        "defect": person.defect,
        "exact_mm3": mesh_volume_above_mm3(femur, placement.grid.bottom_mm),
        "scan_end_mm_below_head_top": placement.scan_end_mm,
        "linear_size": placed.size,
        "head_center_xyz_mm": [float(v) for v in femur_axes(femur).head_center_xyz_mm],
        "head_radius_mm": femur_axes(femur).head_radius_mm,
        "mesh_vertices": len(femur.vertices_xyz_mm),
        "mesh_faces": len(femur.faces),
    }


def _write_mask(mask_zyx: np.ndarray, grid: VoxelGrid, path: Path) -> None:
    image = sitk.GetImageFromArray(mask_zyx)
    image.SetSpacing(grid.spacing_xyz_mm)
    image.SetOrigin(grid.origin_xyz_mm)
    with whole_file(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _rng(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])
