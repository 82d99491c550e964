"""The anatomies that a study can measure, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.catalog.level_flags import LEVEL_FLAGS

# structures of a lumbar spine, from head to feet
VERTEBRAE, SACRUM = ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "L6"), "sacrum"
# regions of the proximal femur, from proximal to distal
LEVELS = ("head", "neck", "trochanter", "shaft")


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What a study looks at.

    Attributes:
        structures: names of the bones that a study may segment; empty: the study names them.
        regions: parts of a structure that are measured apart.
        region_meanings: where they begin and end, by region, in words; {section[key]} stands for a setting.
        has_sides: it exists on the left and on the right; networks see all scans as left ones.
        helpers: structures that only help to tell the others apart; a window may cut them.
        has_bone_regions: the density of its regions and compartments is measured (`lib.catalog.bone_parts`).
        has_levels: its structures are levels, which are judged together (`lib.catalog.level_flags`).
        part: what of the body a window shows, in words.
        bone: what a mask shows, and its regions are parts of, in words.
        cut_below: landmark below which `measure.distal_cut_mm` cuts, in words; empty: nothing is cut.
        flag_meanings: flags that only this anatomy has, or that have words of their own in it;
            {section[key]} stands for a setting.
        crop_methods: its searches for the window, `centre` (the middle of the image) and `none` (the whole image).
        subject: what a study segments, in words; empty: its structures.
        planes_below_top_mm: distance of the three planes of a scan's page from the top of the bone; None: they cross
            in the middle of its height.
        planes_through: where they cross, in words.
    """

    structures: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    region_meanings: Mapping[str, str] = field(default_factory=dict)
    has_sides: bool = False
    helpers: tuple[str, ...] = ()
    has_bone_regions: bool = False
    has_levels: bool = False
    part: str = "region"
    bone: str = "bone"
    cut_below: str = ""
    flag_meanings: Mapping[str, str] = field(default_factory=dict)
    crop_methods: tuple[str, ...] = ("centre", "none")
    subject: str = ""
    planes_below_top_mm: float | None = None
    planes_through: str = "the middle of the bone"


ANATOMIES = {
    "proximal-femur": Anatomy(
        structures=("femur",),
        regions=LEVELS,
        # `lib.anatomy.femur.landmarks.femur_levels`
        region_meanings={
            "above_cut": "all slices above the plane {measure[distal_cut_mm]:g} mm below the lesser trochanter",
            "head": "slices down to the lower border of the femoral head",
            "neck": "from there to the upper base of the lesser trochanter",
            "trochanter": "from there to the lower base of the lesser trochanter",
            "shaft": "all slices below, to the end of the mask",
        },
        has_sides=True,
        has_bone_regions=True,
        part="hip",
        bone="femur",
        cut_below="the lesser trochanter",
        flag_meanings={
            "crop_uncertain": "the position of the hip is uncertain. Check its crop; if the window is wrong, read "
            "the right centre off the scales and enter it in the table (crop_x_mm, crop_y_mm).",
            "cut_not_reached": "the mask ends above the plane {measure[distal_cut_mm]} mm below the lesser "
            "trochanter.",
            "no_bone": "the window holds no bone of a femur.",
            "no_lesser_trochanter": "the lesser trochanter was not found in the mask, so there is no volume above "
            "the cut.",
        },
        crop_methods=("hip", "centre", "none"),
        subject="the proximal femur",
        # the centre of the femoral head lies about one radius below the top of the bone
        planes_below_top_mm=25.0,
        planes_through="the femoral head, about 25 mm below the top of the bone",
    ),
    "lumbar-spine": Anatomy(
        structures=(*VERTEBRAE, SACRUM),
        helpers=(SACRUM,),
        has_levels=True,
        part="spine",
        bone="vertebra",
        crop_methods=("spine", "centre", "none"),
        subject="lumbar vertebrae",
        flag_meanings={
            "bone_at_border": "the column comes closer to a border of the window than crop.min_margin_mm; "
            "the window may cut off a vertebra.",
            "crop_uncertain": "the position of the spine is uncertain. Check its crop; if the window is wrong, read "
            "the right centre off the scales and enter it in the table (crop_x_mm, crop_y_mm).",
            "no_bone": "the window holds no bone of a spine.",
        }
        | {flag: told.meaning for flag, told in LEVEL_FLAGS.items()},
        planes_through="the middle of the vertebrae",
    ),
    "generic": Anatomy(),
}

# regions of all anatomies: tables and figures have columns for each, and show those that a study has
REGIONS = tuple(dict.fromkeys(region for known in ANATOMIES.values() for region in known.regions))

# where the centre of a window comes from, in words
SOURCES = {
    "automatic": "found automatically",
    "middle": "the middle of the image",
    "override": "given in the cohort table",
}


def part_in_words(anatomy: str, side: str) -> str:
    """Return what a window shows, such as "left hip"; `side` is empty for an anatomy without sides."""
    return f"{side} {ANATOMIES[anatomy].part}".strip()


def usual_side(anatomy: str) -> str:
    """Return the side that a scan shows if the cohort table gives none; empty for an anatomy without sides."""
    return "left" if ANATOMIES[anatomy].has_sides else ""
