"""The modalities that a study can work on, as data: the scale of their values, and what their headers state."""

from collections.abc import Mapping
from dataclasses import dataclass

# fields of acquisition.csv in words; all others are numbers
TEXT_FIELDS = (
    *("manufacturer", "model", "kernel", "contrast", "sequence", "variant", "fat_suppressed", "plane"),
)
FIELD_TITLES: Mapping[str, str] = {
    "manufacturer": "Manufacturer",
    "model": "Model",
    "kvp": "kVp",
    "kernel": "Kernel",
    "contrast": "Contrast",
    "field_tesla": "Field, T",
    "sequence": "Sequence",
    "variant": "Variant",
    "tr_ms": "TR, ms",
    "te_ms": "TE, ms",
    "fat_suppressed": "Fat suppressed",
    "plane": "Plane",
}
_SCANNER = ("manufacturer", "model")


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One modality.

    Attributes:
        unit: of the values; empty if scanners give every image a scale of its own.
        scale: name of the scale of the values, for the title of the conversion to it; empty: it has none.
        padding: what fills a window beyond the scan, in words.
        outside: value of what was not measured, such as the corners outside the scan circle.
        lowest: lower values become this one.
        grey_window: values drawn black and white in slices; None: the intensity range of the scan.
        projection_window: the same in projections.
        fields: what acquisition.csv tells of a scan, as the header states it (`plane` and `pixel_mm` are measured).
        judged: fields for which the majority of a cohort is the protocol; those of a group are judged together.
        shown: fields by which the report lists scans.
        counted: groups of fields by which the report counts scans, by title.
        slices: how its series leave an archive, in words.
        dependence: what a volume depends on, in a sentence.
        silence: what a header that does not state a field is taken to mean, in a sentence.
    """

    unit: str
    scale: str
    padding: str
    outside: int
    lowest: int
    grey_window: tuple[float, float] | None
    projection_window: tuple[float, float] | None
    fields: tuple[str, ...]
    judged: tuple[tuple[str, ...], ...]
    shown: tuple[str, ...]
    counted: Mapping[str, tuple[str, ...]]
    slices: str
    dependence: str
    silence: str = ""

    def window(self, intensity: Mapping[str, float]) -> tuple[float, float]:
        """Return the values drawn black and white in slices of a scan.

        Args:
            intensity: the scan's own range, `low` and `high` (crop.json).
        """
        return self.grey_window or (intensity["low"], intensity["high"])


MODALITIES = {
    "CT": Modality(
        unit="HU",
        scale="Hounsfield units",
        padding="air",
        outside=-1024,
        lowest=-1024,
        grey_window=(-250.0, 1000.0),
        projection_window=(-200.0, 1600.0),
        fields=(
            *(*_SCANNER, "kvp", "mas", "slice_thickness_mm", "slice_increment_mm", "kernel", "pitch"),
            *("table_height_mm", "field_of_view_mm", "contrast", "pixel_mm"),
        ),
        judged=(
            *(_SCANNER, ("kvp",), ("slice_thickness_mm",), ("slice_increment_mm",), ("kernel",)),
            ("contrast",),
        ),
        shown=(*_SCANNER, "kvp", "kernel", "contrast"),
        counted={"Scanner": _SCANNER, "Kernel": ("kernel",), "kVp": ("kvp",)},
        slices="axial slices",
        dependence="Intensities, and therefore volumes, depend on voltage, kernel and slice thickness.",
        silence="A CT header that names no contrast medium counts as a scan without contrast.",
    ),
    "MR": Modality(
        unit="",
        scale="",
        padding="zeros",
        outside=0,
        lowest=-32768,
        grey_window=None,
        projection_window=None,
        fields=(
            *(*_SCANNER, "field_tesla", "sequence", "variant", "tr_ms", "te_ms", "flip_degrees"),
            *("fat_suppressed", "contrast", "plane", "slice_thickness_mm", "slice_increment_mm", "pixel_mm"),
        ),
        judged=(
            *((*_SCANNER, "field_tesla"), ("sequence", "variant"), ("tr_ms",), ("te_ms",)),
            *(("fat_suppressed",), ("plane",), ("slice_thickness_mm",), ("slice_increment_mm",)),
        ),
        shown=(*_SCANNER, "field_tesla", "sequence", "variant", "tr_ms", "te_ms", "fat_suppressed", "plane"),
        counted={
            "Scanner, field in T": (*_SCANNER, "field_tesla"),
            "Sequence": ("sequence", "variant"),
            "TR and TE, ms": ("tr_ms", "te_ms"),
            "Plane": ("plane",),
        },
        slices="slices",
        dependence="Contrast, and therefore volumes, depend on sequence, echo and repetition time, slice thickness.",
    ),
}
