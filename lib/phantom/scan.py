"""A synthetic scan from seed to files: series, reference mask, exact truth."""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.ages import printed_age
from lib.atomic import whole_file, write_json
from lib.phantom.anatomy.hip import draw_hip, draw_posture
from lib.phantom.anatomy.spine import draw_spine, draw_spine_posture
from lib.phantom.density_truth import bone_truth, calibration_truth, lying_rods
from lib.phantom.people import MISSING_RODS, SPINE, PhantomConfig, PhantomPerson, find_person
from lib.phantom.scanner.ct import (
    PHYSICAL_TISSUES,
    USUAL_TISSUES,
    CtExam,
    CtImages,
    draw_range,
    image_ct,
    image_rods,
    widest_body_mm,
)
from lib.phantom.scanner.ct_effects import USUAL_RODS
from lib.phantom.scanner.mr import MrExam, MrImages, image_mr, place_field
from lib.phantom.series.ct_series import CT_PLANE, ct_images
from lib.phantom.series.dicom_series import write_series
from lib.phantom.series.mr_series import MR_PLANE, mr_attributes, mr_images
from lib.phantom.series.planes import Plane, cut_slices
from lib.phantom.voxelize import VoxelGrid

# a spine's scan begins in the disc above L1, or above the whole of T12
_ABOVE_L1_MM = (5.0, 45.0)
# a density phantom alone: length scanned, and height of the top of the phantom's pad
_PHANTOM_ALONE_MM, _PHANTOM_ALONE_BACK_MM = 60.0, 60.0

logger = logging.getLogger("osteoflow.phantom")


@dataclass(frozen=True, kw_only=True)
class PhantomScan:
    """A finished CT: int16 HU and uint8 reference mask (both zyx on `grid`) and the exact truth."""

    hu_zyx: np.ndarray
    mask_zyx: np.ndarray
    grid: VoxelGrid
    truth: dict


@dataclass(frozen=True, kw_only=True)
class PhantomMrScan:
    """A finished MR: images and mask on `grid`, and the exact truth."""

    images: MrImages
    grid: VoxelGrid
    truth: dict


def make_phantom_scan(
    config: PhantomConfig, scan: str, series_dir: str | Path, mask_path: str | Path, truth_path: str | Path
) -> None:
    """Write one scan of the synthetic cohort: DICOM folder, reference mask (NIfTI), truth (JSON).

    The mask lies on the grid of the complete series, with its axes, even if the series has a deliberate defect. The
    same config and scan give the same bytes. Raises `ConfigError` if the cohort has no such scan.
    """
    person = find_person(config, scan)
    rng = _rng(person.scan_seed, 3)
    if config.modality == "MR":
        made = simulate_mr_scan(config, person)
        attributes = mr_attributes(person, config.scanner(person.scanner), config.protocol())
        images = mr_images(made.images, made.grid, person, attributes)
        mask_zyx, plane = made.images.mask_zyx, MR_PLANE
    else:
        made = simulate_scan(config, person)
        images = ct_images(made.hu_zyx, made.grid, person, config.scanner(person.scanner), rng)
        mask_zyx, plane = made.mask_zyx, CT_PLANE
    write_series(images, person, Path(series_dir), rng)
    _write_mask(mask_zyx, made.grid, plane, Path(mask_path))
    write_json(truth_path, made.truth)
    logger.info(
        "scan %s: %d images, reference mask of %d voxels", scan, len(images), np.count_nonzero(mask_zyx)
    )


def simulate_scan(config: PhantomConfig, person: PhantomPerson) -> PhantomScan:
    """Return the CT of a person."""
    return _simulate_spine(config, person) if config.anatomy == SPINE else _simulate_hip(config, person)


def _simulate_hip(config: PhantomConfig, person: PhantomPerson) -> PhantomScan:
    body_rng = _rng(person.person_seed, 1)
    place_rng, noise_rng = (_rng(person.scan_seed, purpose) for purpose in (1, 2))
    body = draw_hip(person, body_rng)
    posture = draw_posture(place_rng)
    images = _draw_images(config, person, place_rng)
    scanned = draw_range(images, body.lying(posture).top_mm, body.reach_mm, place_rng)
    grid = scanned.grid
    if person.defect == "phantom_only":
        return _simulate_phantom(config, person, grid, noise_rng)
    specimen = body.lying(posture, scanned.shift_mm, widest_body_mm(grid, posture.origin_xy_mm[0]))
    exam = _hip_exam(config, person, grid, specimen.middle_mm)
    taken = image_ct(specimen, exam, body_rng, noise_rng)
    truth = specimen.truth(grid)
    end = {"exact_mm3": truth["exact_mm3"], "scan_end_mm_below_head_top": scanned.below_top_mm}
    truth = _facts(person) | end | truth
    if config.has_density_phantom:
        truth |= calibration_truth(config, person, exam, specimen.middle_mm, specimen.back_mm)
        truth |= bone_truth(config, person, exam, specimen, taken)
    return PhantomScan(hu_zyx=taken.hu_zyx, mask_zyx=taken.mask_zyx, grid=grid, truth=truth)


def _simulate_phantom(
    config: PhantomConfig, person: PhantomPerson, grid: VoxelGrid, rng: np.random.Generator
) -> PhantomScan:
    """Return the CT of the density phantom without a person; its mask is empty."""
    x, y, _ = grid.size_xyz
    grid = replace(grid, size_xyz=(x, y, math.ceil(_PHANTOM_ALONE_MM / grid.spacing_xyz_mm[2])))
    exam = _hip_exam(config, person, grid, 0.0)
    taken = image_rods(exam, 0.0, _PHANTOM_ALONE_BACK_MM, rng)
    truth = _facts(person) | calibration_truth(config, person, exam, 0.0, _PHANTOM_ALONE_BACK_MM)
    return PhantomScan(hu_zyx=taken.hu_zyx, mask_zyx=taken.mask_zyx, grid=grid, truth=truth)


def _hip_exam(config: PhantomConfig, person: PhantomPerson, grid: VoxelGrid, middle_mm: float) -> CtExam:
    return CtExam(
        grid=grid,
        supersampling=config.supersampling,
        scanner=config.scanner(person.scanner),
        years=person.scanner_years,
        variant=person.variant,
        has_metal=person.defect == "metal_nail",
        # hips lie on rods even where nobody tells of them
        rods=lying_rods(config, person, grid, middle_mm) if config.has_density_phantom else USUAL_RODS,
        order=person.scan_order,
        tissues=PHYSICAL_TISSUES if config.physical_tissues else USUAL_TISSUES,
    )


def _simulate_spine(config: PhantomConfig, person: PhantomPerson) -> PhantomScan:
    body_rng = _rng(person.person_seed, 1)
    place_rng, noise_rng = (_rng(person.scan_seed, purpose) for purpose in (1, 2))
    body = draw_spine(person, body_rng)
    posture = draw_spine_posture(place_rng)
    images = _draw_images(config, person, place_rng)
    still = body.lying(posture)
    scanned = draw_range(images, still.top_mm, still.reach_mm, place_rng, _ABOVE_L1_MM)
    specimen = body.lying(posture, scanned.shift_mm)
    exam = CtExam(
        grid=scanned.grid,
        supersampling=config.supersampling,
        scanner=config.scanner(person.scanner),
        years=person.scanner_years,
        variant=person.variant,
        has_metal=person.defect == "screws",
        has_cement=person.defect == "cement",
        has_agent=person.defect == "contrast",
        rods=lying_rods(config, person, scanned.grid, specimen.middle_mm),
        order=person.scan_order,
    )
    taken = image_ct(specimen, exam, body_rng, noise_rng)
    truth = _facts(person) | specimen.truth(scanned.grid)
    if config.has_density_phantom:
        truth |= calibration_truth(config, person, exam, specimen.middle_mm, specimen.back_mm)
    return PhantomScan(hu_zyx=taken.hu_zyx, mask_zyx=taken.mask_zyx, grid=scanned.grid, truth=truth)


def _draw_images(config: PhantomConfig, person: PhantomPerson, rng: np.random.Generator) -> CtImages:
    """Draw the pixel size of a CT; the smallest is taken where rods of a density phantom are out of view."""
    smallest_mm, largest_mm = config.pixel_range_mm(person.scanner)
    drawn_mm = float(rng.uniform(smallest_mm, largest_mm))
    wanted_mm = smallest_mm if person.defect in MISSING_RODS else drawn_mm
    pixel_mm = round(wanted_mm, 4) * 512 / config.matrix
    return CtImages(matrix=config.matrix, pixel_mm=pixel_mm, slice_mm=config.slice_mm)


def simulate_mr_scan(config: PhantomConfig, person: PhantomPerson) -> PhantomMrScan:
    """Return the MR of a person, whose body is the same as in CT."""
    body_rng = _rng(person.person_seed, 1)
    place_rng, noise_rng = (_rng(person.scan_seed, purpose) for purpose in (1, 2))
    specimen = draw_hip(person, body_rng).lying(draw_posture(place_rng))
    protocol = config.protocol()
    grid = place_field(specimen, protocol, place_rng)
    exam = MrExam(
        grid=grid,
        supersampling=config.supersampling,
        protocol=protocol,
        scanner=config.scanner(person.scanner),
        variant=person.variant,
        has_suppressed=person.defect != "localizer",
    )
    images = image_mr(specimen, exam, body_rng, noise_rng)
    truth = _facts(person) | specimen.truth(grid) | {"cut_by_fov": ["distal"]}
    return PhantomMrScan(images=images, grid=grid, truth=truth)


def _facts(person: PhantomPerson) -> dict:
    facts = {
        "scan": person.scan,
        "subject": person.subject,
        "sex": person.sex,
        "age": printed_age(person.age),
        "side": person.side,
        "variant": person.variant,
        "defect": person.defect,
    }
    if person.scanner:
        facts |= {"scanner": person.scanner, "scanner_years": person.scanner_years}
    return facts


def _write_mask(mask_zyx: np.ndarray, grid: VoxelGrid, plane: Plane, path: Path) -> None:
    stack = cut_slices(mask_zyx, grid, plane)
    image = sitk.GetImageFromArray(stack.values)
    image.SetSpacing(stack.spacing_ijk_mm)
    image.SetOrigin(stack.first_xyz_mm)
    image.SetDirection(plane.direction)
    with whole_file(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)


def _rng(seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, purpose])
