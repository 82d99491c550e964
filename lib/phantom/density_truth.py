"""The density phantom in a synthetic CT, and what is true of densities: the scanner's line, and the bone of a hip."""

import numpy as np

from lib.phantom.anatomy.femur_density import BEYOND_CUT, TROCHANTER_CUT, DensityTruth, DrawnFemur
from lib.phantom.anatomy.femur_landmarks import find_landmarks
from lib.phantom.anatomy.hip import HipSpecimen
from lib.phantom.density_phantoms import LINES, DensityLine, DensityPhantom
from lib.phantom.people import MISSING_RODS, PhantomConfig, PhantomPerson, density_phantom
from lib.phantom.scanner.ct import CtExam, CtTaken, bone_hu
from lib.phantom.scanner.ct_effects import LyingRods, rods_back_mm
from lib.phantom.voxelize import VoxelGrid

METAL = "metal"
"""Why densities are missing: there is metal in the bone."""

_SECTIONS = ("density", "density_in_mask", "areal", "areal_in_mask")


def lying_rods(
    config: PhantomConfig, person: PhantomPerson, grid: VoxelGrid, middle_mm: float
) -> LyingRods | None:
    """Return the rods of the phantom beneath a person whose midline is at x = `middle_mm`; None: there is none.

    With the defect rods_cut or rods_lost the phantom lies so far to the side that the edge of the image runs through
    a rod's centre.
    """
    phantom = density_phantom(config, person)
    if phantom is None:
        return None
    scanner = config.scanner(person.scanner)
    gain = scanner.gain(person.scanner_years, person.scan_order)
    # what the whole image is multiplied with and shifted by later
    hu = [(shown - scanner.offset_hu) / gain for shown in _shown_hu(config, person, phantom)]
    rods = LyingRods(
        hu=tuple(hu[::-1] if person.defect == "rods_reversed" else hu),
        radius_mm=phantom.rod_radius_mm,
        distance_mm=phantom.rod_distance_mm,
    )
    if person.defect not in MISSING_RODS:
        return rods
    first_missing = len(hu) - MISSING_RODS[person.defect]
    edge_mm = grid.origin_xyz_mm[0] + (grid.size_xyz[0] - 0.5) * grid.spacing_xyz_mm[0]
    shift_mm = edge_mm - middle_mm - rods.places_mm()[first_missing]
    return LyingRods(hu=rods.hu, radius_mm=rods.radius_mm, distance_mm=rods.distance_mm, shift_mm=shift_mm)


def calibration_truth(
    config: PhantomConfig, person: PhantomPerson, exam: CtExam, middle_mm: float, back_mm: float
) -> dict:
    """Return the section `calibration` of truth.json: the line that the scanner shows, and the rods.

    The scale is that of the phantom, K2HPO4 without one. `rods` are in the certificate's order, with the HU that they
    show, their centres (LPS mm), and the share of their width that lies in the image.
    """
    phantom = density_phantom(config, person)
    line = _shown_line(config, person, phantom)
    truth = {
        "scale": line.scale,
        "slope_hu_per_mg_cm3": line.slope_hu_per_mg_cm3,
        "intercept_hu": line.intercept_hu,
        "phantom": phantom.name if phantom else "",
        "reversed": person.defect == "rods_reversed",
        "rods_hu_shown": _shown_hu(config, person, phantom) if phantom else [],
        "rods": [],
    }
    if exam.rods:
        places = exam.rods.places_mm()
        truth["rods"] = [
            {
                "rod": number,
                "x_mm": middle_mm + x_mm,
                "y_mm": rods_back_mm(back_mm),
                "share_in_view": _share_in_view(middle_mm + x_mm, exam.rods.radius_mm, exam.grid),
            }
            for number, x_mm in enumerate(places[::-1] if truth["reversed"] else places, start=1)
        ]
    return {"scan_order": person.scan_order, "calibration": truth}


def bone_truth(
    config: PhantomConfig,
    person: PhantomPerson,
    exam: CtExam,
    specimen: HipSpecimen,
    taken: CtTaken,
) -> dict:
    """Return the sections of truth.json on density: as drawn, in the mask, areal, landmarks, why values are missing.

    Densities are on the scale of the phantom in the scan (K2HPO4 without one), by the scale's own line: density =
    (HU - intercept) / slope, of the HU that are drawn, before the scanner changes them.
    """
    if exam.has_metal:
        return {section: {} for section in _SECTIONS} | {"density_undefined": dict.fromkeys(_SECTIONS, METAL)}
    phantom = density_phantom(config, person)
    line = phantom.line if phantom else LINES["k2hpo4"]
    bone = taken.bone
    inside_hu, cortical_hu = bone_hu(bone, exam.tissues)
    trabecular = np.zeros(bone.outer.shape)
    trabecular[bone.voxels] = line.density(inside_hu)
    femur = DrawnFemur(
        mesh=specimen.reference_mesh,
        grid=specimen.bone_grid(exam.grid),
        outer=bone.outer,
        inner=bone.inner,
        trabecular_mg_cm3=trabecular,
        cortical_mg_cm3=line.density(cortical_hu),
        blurred_mg_cm3=line.density(taken.blurred_hu),
    )
    landmarks = find_landmarks(specimen.reference_mesh, specimen.side, exam.grid.bottom_mm)
    truth = DensityTruth(femur, landmarks, exam.supersampling)
    found = (truth.density(), truth.density_in_mask(), truth.areal(), truth.areal_in_mask())
    return dict(zip(_SECTIONS, found, strict=True)) | {
        "density_undefined": dict.fromkeys(BEYOND_CUT, TROCHANTER_CUT) if truth.is_cut else {},
        "femur_landmarks": landmarks.as_truth(),
    }


def _shown_line(config: PhantomConfig, person: PhantomPerson, phantom: DensityPhantom | None) -> DensityLine:
    scanner = config.scanner(person.scanner)
    line = phantom.line if phantom else LINES["k2hpo4"]
    return line.shown(scanner.gain(person.scanner_years, person.scan_order), scanner.offset_hu)


def _shown_hu(config: PhantomConfig, person: PhantomPerson, phantom: DensityPhantom) -> list[float]:
    scanner = config.scanner(person.scanner)
    gain = scanner.gain(person.scanner_years, person.scan_order)
    return [rod.shown_hu(phantom.line, gain, scanner.offset_hu) for rod in phantom.rods]


def _share_in_view(x_mm: float, radius_mm: float, grid: VoxelGrid) -> float:
    """Return the share of a rod's diameter within the image."""
    left_mm = grid.origin_xyz_mm[0] - 0.5 * grid.spacing_xyz_mm[0]
    right_mm = left_mm + grid.size_xyz[0] * grid.spacing_xyz_mm[0]
    inside_mm = min(x_mm + radius_mm, right_mm) - max(x_mm - radius_mm, left_mm)
    return round(float(np.clip(inside_mm / (2 * radius_mm), 0.0, 1.0)), 6)
