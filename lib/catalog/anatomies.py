"""The anatomies that a study can measure, as data."""

from dataclasses import dataclass

# regions of the proximal femur, from proximal to distal
LEVELS = ("head", "neck", "trochanter", "shaft")


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What a study looks at.

    Attributes:
        structures: names of the bones that a study may segment; empty: the study names them.
        regions: parts of a structure that are measured apart.
        has_sides: it exists on the left and on the right; networks see all scans as left ones.
    """

    structures: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    has_sides: bool = False


ANATOMIES = {
    "proximal-femur": Anatomy(structures=("femur",), regions=LEVELS, has_sides=True),
    "generic": Anatomy(),
}
