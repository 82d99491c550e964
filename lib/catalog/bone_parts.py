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
# integral is the sum of the other three
COMPARTMENTS = ("integral", "trabecular", "cortical", "other")
# areal regions of interest -> whether the WHO's classes are defined for it
ROIS: Mapping[str, bool] = {"total": True, "neck": True, "trochanter": False}
