"""Regions, compartments and areal regions of a proximal femur whose density is measured. Standard library only."""

from collections.abc import Mapping

from lib.catalog.anatomies import LEVELS

# value of each region in the label map of `lib.anatomy.femur.bone_regions.divide`. Planes of the bone divide them,
# not axial slices as the levels of the same names
REGIONS: Mapping[str, int] = {name: value for value, name in enumerate(LEVELS, start=1)}
# regions made of others: the total hip of DXA, and all above the distal plane
COMPOSITES: Mapping[str, tuple[str, ...]] = {
    "total": ("neck", "trochanter"),
    "femur": ("head", "neck", "trochanter"),
}
# names of regions and composites in tables; those of levels by slices are head, neck, trochanter and shaft
TABLE_REGIONS: Mapping[str, str] = {
    "head": "femoral_head",
    "neck": "femoral_neck",
    "trochanter": "trochanteric",
    "shaft": "femoral_shaft",
    "total": "total_hip",
    "femur": "proximal_femur",
}
# compartment of a region of interest that is projected as by DXA
PROJECTED = "projected"
# integral is the sum of the other three
COMPARTMENTS = ("integral", "trabecular", "cortical", "other")
# areal regions of interest -> whether the WHO's classes are defined for it
ROIS: Mapping[str, bool] = {"total": True, "neck": True, "trochanter": False}
# measures of the geometry in tables: attribute of `lib.anatomy.femur.axes.FemurGeometry` -> region, measure and unit
GEOMETRY: Mapping[str, tuple[str, str, str]] = {
    "head_radius_mm": ("femoral_head", "radius", "mm"),
    "isthmus_mm2": ("femoral_neck", "isthmus_area", "mm2"),
    "neck_axis_length_mm": ("femoral_neck", "axis_length", "mm"),
    "neck_shaft_degrees": ("proximal_femur", "neck_shaft_angle", "degrees"),
}
# whose mask was measured
PREDICTED, REFERENCE = "predicted", "reference"


def table_name(whose: str, region: str, compartment: str, measure: str) -> str:
    """Return the flat name of a value, such as `predicted_femoral_neck_trabecular_vbmd_k2hpo4`."""
    return "_".join((whose, region, compartment, measure))
