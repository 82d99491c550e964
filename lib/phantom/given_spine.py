"""A spine of given surfaces, such as one of another origin than the synthetic people, in the same scanner."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lib.phantom.anatomy.spine import SpineSpecimen, covered_mm
from lib.phantom.anatomy.spine_bone import draw_spine_state
from lib.phantom.anatomy.spine_parts import rib_meshes
from lib.phantom.anatomy.spine_shape import SpineShape, given_vertebra, plate_below, vertebra_above
from lib.phantom.anatomy.spine_soft_tissue import draw_trunk
from lib.phantom.densities import LEVELS
from lib.phantom.mesh import Mesh
from lib.phantom.scan import PhantomScan
from lib.phantom.scanner.ct import CtExam, CtImages, draw_range, image_ct
from lib.phantom.scanner.machines import CtScanner

_BELOW_PLATE_MM, _SKIN_BEHIND_MM = 20.0, 10.0


@dataclass(frozen=True, kw_only=True)
class GivenSpine:
    """Closed surfaces with x = left, y = posterior, z = up, mm, and K2HPO4-equivalent densities, mg/cm3.

    `whole` and `bodies` are vertebrae and their bodies by level, L1 to L5; `others` are further bones, such as hips.
    """

    whole: Mapping[str, Mesh]
    bodies: Mapping[str, Mesh]
    sacrum: Mesh
    others: tuple[Mesh, ...]
    densities_mg_cm3: Mapping[str, float]


def scan_given_spine(
    spine: GivenSpine, images: CtImages, scanner: CtScanner, seed: int, *, supersampling: int = 3
) -> PhantomScan:
    """Return the CT of a given spine in a drawn trunk, with its label map and its truth.

    T12 and the last ribs, by which levels are told, are those of a synthetic person: the given spine begins with L1.
    The same spine, settings and seed give the same voxels.
    """
    place_rng, body_rng, noise_rng = (np.random.default_rng([seed, purpose]) for purpose in range(3))
    lumbar = tuple(given_vertebra(level, spine.whole[level], spine.bodies[level]) for level in LEVELS)
    vertebrae = (vertebra_above(lumbar[0], "T12"), *lumbar)
    plate, axes = plate_below(vertebrae[-1], spine.sacrum)
    shape = SpineShape(
        vertebrae=vertebrae,
        sacrum=spine.sacrum,
        hips=spine.others,
        ribs=None,
        plate_xyz_mm=plate,
        plate_axes=axes,
        size=1.0,
        has_canal=True,
    )
    shape = shape.moved(np.eye(3), -shape["L3"].center_xyz_mm)
    top_mm, reach_mm = covered_mm(shape, _BELOW_PLATE_MM)
    scanned = draw_range(images, top_mm, reach_mm, place_rng)
    shape = shape.moved(np.eye(3), np.array([0.0, 0.0, scanned.shift_mm]))
    habitus = draw_trunk(place_rng, "M", 40, 1.0)
    shape = replace(shape, ribs=rib_meshes(shape, *habitus.ribs_mm))
    densities = {"T12": spine.densities_mg_cm3["L1"], **spine.densities_mg_cm3}
    bones = np.concatenate(
        [shape.sacrum.vertices_xyz_mm, *(v.whole.vertices_xyz_mm for v in shape.vertebrae)]
    )
    behind_mm = float(bones[bones[:, 2] > scanned.grid.bottom_mm, 1].max()) + _SKIN_BEHIND_MM
    specimen = SpineSpecimen(
        shape=shape,
        state=draw_spine_state(place_rng, densities, habitus.ribs_mm),
        habitus=replace(habitus, back_mm=max(habitus.back_mm, behind_mm)),
        implanted=None,
        reach_mm=reach_mm,
        top_mm=top_mm + scanned.shift_mm,
    )
    exam = CtExam(
        grid=scanned.grid,
        supersampling=supersampling,
        scanner=scanner,
        years=0.0,
        variant="standard",
        has_metal=False,
        rods=None,
    )
    taken = image_ct(specimen, exam, body_rng, noise_rng)
    return PhantomScan(
        hu_zyx=taken.hu_zyx, mask_zyx=taken.mask_zyx, grid=scanned.grid, truth=specimen.truth(scanned.grid)
    )
