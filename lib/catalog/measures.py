"""The measures, each defined once: name, labels, unit, digits, and where it is shown.

MEASURES are numbers of one prediction of a scan: columns of tables/metrics.csv or tables/volumes.csv. SUMMARIES are
numbers of a group of people: columns of tables such as tables/readers.csv. QUANTITIES are the rows of
tables/measurements.csv. Tables, pages and figures use them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

from lib.catalog.anatomies import REGIONS
from lib.catalog.bone_parts import (
    COMPARTMENTS,
    GEOMETRY,
    PREDICTED,
    PROJECTED,
    REFERENCE,
    ROIS,
    TABLE_REGIONS,
    table_name,
)
from lib.catalog.scales import CALIBRATED_SCALES

WHOLE, ABOVE_CUT = "whole", "above_cut"  # regions of every structure
# fewest degrees of freedom of a precision error (ISCD Official Positions, Adult, 2019)
ENOUGH_FREEDOM = 30

# sections of the numbers on the page of a scan, in order
SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "overlap": "Overlap with the reference",
        "distance": "Distance of the surfaces",
        "choices": "Other thresholds, all components",
        "volume": "Volume",
        "bone": "Bone",
        "doubt": "Uncertainty",
    }
)


CM3 = 0.001  # cm³ of one mm³
G = 0.001  # g of one mg


class Form(NamedTuple):
    """How a number is printed: decimal places, and the factor from the unit of tables to that of pages."""

    digits: int
    factor: float = 1.0

    def finer(self) -> "Form":
        """Return the form with one decimal place more."""
        return self._replace(digits=self.digits + 1)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure and how it is shown.

    Attributes:
        short: name in the heading of a column.
        label: name on the page of a scan, below the title of its section; empty: `short`.
        title: full name for the middle of a sentence; empty: `short`.
        unit: printed unit; empty for a share, a factor or a count.
        factor: factor from the value in a table's file to the value in the printed unit: volumes are mm3 in files
            and cm³ on pages and figures.
        digits: decimal places in tables and figures.
        page_digits: decimal places on the page of a scan; None: `digits`.
        head: heading of a column, with the unit; empty: `short` and `unit`.
        axis: axis label in figures of volumes or scores, with the unit; empty: `title` and `unit`.
        columns: tables with a column of the measure, each with the file of a prediction that holds it: `overlap` or
            `volume`; `review` if a person gave it; empty if it is computed from other columns.
        section: section of the page of a scan (a key of SECTIONS); empty: not shown there.
        listed: whether the report's table of scans shows it at once or on demand; empty: not at all.
        better: whether higher or lower values are better; empty: neither.
        scale: scale of the jackknife interval of its mean (`lib.stats.jackknife`).
        is_score: whether tables/scores.csv and the report's tables of scores summarize it.
        worst: heading of the column of the worst scan in the report's tables of scores; empty: no such column.
        grid_limit: the measure that is compared with a voxel's longest side: the measure itself, or its tolerance;
            empty: the grid does not determine it.
        is_repeated: whether tables/precision.csv gives its precision from repeated scans.
        is_value: whether its unit is that of the modality's values (`lib.catalog.modalities`), see `in_unit`.
    """

    short: str
    label: str = ""
    title: str = ""
    unit: str = ""
    factor: float = 1.0
    digits: int = 0
    page_digits: int | None = None
    head: str = ""
    axis: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    section: str = ""
    listed: Literal["", "at once", "on demand"] = ""
    better: Literal["", "more", "less"] = ""
    scale: Literal["plain", "log", "complement"] = "plain"
    is_score: bool = False
    worst: str = ""
    grid_limit: str = ""
    is_repeated: bool = False
    is_value: bool = False

    def in_unit(self, value_unit: str) -> "Measure":
        """Return the measure with its unit in a study whose values have the unit `value_unit`."""
        return replace(self, unit=value_unit) if self.is_value else self

    @property
    def form(self) -> Form:
        """Return how tables and cards of the report print its numbers."""
        return Form(self.digits, self.factor)

    @property
    def page_form(self) -> Form:
        """Return how the page of a scan prints its number."""
        return Form(self.digits if self.page_digits is None else self.page_digits, self.factor)

    @property
    def heading(self) -> str:
        """Return the heading of a column, with the unit."""
        return self.head or _with_unit(self.short, self.unit)

    @property
    def in_words(self) -> str:
        """Return the name for the middle of a sentence."""
        return self.title or self.short

    @property
    def phrase(self) -> str:
        """Return the name for the middle of a sentence, with the unit."""
        return _with_unit(self.in_words, self.unit)

    @property
    def row_name(self) -> str:
        """Return the name of a table row, with the unit."""
        return self.phrase[:1].upper() + self.phrase[1:]

    @property
    def axis_label(self) -> str:
        """Return the label of an axis of a figure, with the unit."""
        return self.axis or self.phrase


def _with_unit(words: str, unit: str) -> str:
    return f"{words}, {unit}" if unit else words


_OVERLAP = {"metrics": "overlap"}
_VOLUME = {"volumes": "volume"}
_BOTH = {"metrics": "overlap", "volumes": "volume"}
_OF_VOLUME = {"metrics": "volume", "volumes": "volume"}
_REFERENCE = {"metrics": "volume"}


def _share(short: str, label: str = "", **known: object) -> Measure:
    """Return a measure of overlap between 0 and 1."""
    shown = {"digits": 4, "columns": _OVERLAP, "section": "overlap", "better": "more", "scale": "complement"}
    return Measure(short=short, label=label, **shown | known)


def _choice(short: str, label: str, **known: object) -> Measure:
    """Return a measure between 0 and 1 of a map, or of a mask with another threshold or with all components."""
    return _share(short, label, **{"title": label, "section": "choices", "is_score": True} | known)


def _distance(name: str, short: str, label: str, **known: object) -> Measure:
    """Return a measure of the distance between surfaces."""
    shown = {"unit": "mm", "digits": 2, "columns": _OVERLAP, "section": "distance", "grid_limit": name}
    return Measure(short=short, label=label, **shown | {"better": "less", "scale": "log"} | known)


def _volume(short: str, label: str = "", **known: object) -> Measure:
    shown = {"unit": "cm³", "factor": CM3, "digits": 2, "columns": _VOLUME, "section": "volume"}
    if known.get("unit") == "%":
        shown["factor"] = 1.0
    return Measure(short=short, label=label, **shown | known)


_BONES = {"trochanter": "trochanters"}  # regions with another name on the page of a scan

# in the order of the page of a scan
MEASURES: dict[str, Measure] = {
    "dsc": _share("DSC", "Dice coefficient (DSC)", listed="at once", is_score=True, worst="lowest DSC"),
    **{
        f"dsc_{region}": _share(f"DSC {region}", f"DSC of the {_BONES.get(region, region)}", listed="on demand")
        for region in REGIONS
    },
    "dsc_native": _share("DSC native", "DSC on the reference's own grid", listed="on demand", is_score=True),
    "sensitivity": _share("SN", "Sensitivity", listed="on demand", is_score=True),
    "specificity": _share(
        "SP", "Specificity over the voxels of the crop", page_digits=5, listed="on demand", is_score=True
    ),
    "specificity_voxels": Measure(
        short="Voxels that specificity counts", columns=_OVERLAP, section="overlap"
    ),
    "precision": _share("Precision", listed="on demand", is_score=True),
    **{
        f"{truth}_{sign}_voxels": Measure(short=f"{truth.capitalize()} {sign} voxels", columns=_OVERLAP)
        for truth in ("true", "false")
        for sign in ("positive", "negative")
    },
    "hd_mm": _distance(
        "hd_mm", "HD", "Hausdorff distance (HD)", listed="on demand", is_score=True, worst="largest HD, mm"
    ),
    "hd_reference_to_predicted_mm": _distance(
        "hd_reference_to_predicted_mm", "HD, reference to predicted", ""
    ),
    "hd_predicted_to_reference_mm": _distance(
        "hd_predicted_to_reference_mm", "HD, predicted to reference", ""
    ),
    "hd95_mm": _distance("hd95_mm", "HD95", "95th percentile (HD95)", listed="at once", is_score=True),
    "hd95_reference_to_predicted_mm": _distance(
        "hd95_reference_to_predicted_mm", "HD95, reference to predicted", ""
    ),
    "hd95_predicted_to_reference_mm": _distance(
        "hd95_predicted_to_reference_mm", "HD95, predicted to reference", ""
    ),
    "assd_mm": _distance(
        "assd_mm", "ASSD", "Mean (ASSD)", page_digits=3, listed="on demand", is_score=True
    ),
    "nsd": Measure(
        short="NSD", label="Share of the surface within the tolerance (NSD)", digits=3, page_digits=4,
        columns=_OVERLAP, section="distance", listed="on demand", better="more", scale="complement",
        is_score=True, grid_limit="nsd_tolerance_mm",
    ),
    # in a small field of view the area under the ROC curve is near 1 for any network: the other one comes first
    "auc_pr": _choice(
        "AUC-PR", "Area under the precision-recall curve (AUC-PR)", title="area under the precision-recall curve",
        listed="on demand",
    ),
    "auc_roc": _choice(
        "AUC-ROC", "Area under the ROC curve (AUC-ROC)", title="area under the ROC curve", listed="on demand"
    ),
    "dsc_half": _choice("DSC at 0.5", "DSC at a threshold of one half", listed="on demand"),
    "dsc_raw": _choice("DSC raw", "DSC before the largest component is chosen", listed="on demand"),
    "precision_raw": _choice("Precision raw", "Precision before the largest component is chosen"),
    "recall_raw": _choice("SN raw", "Sensitivity before the largest component is chosen"),
    "hd95_raw_mm": _distance(
        "hd95_raw_mm", "HD95 raw", "HD95 before the largest component is chosen",
        title="HD95 before the largest component is chosen", section="choices", listed="on demand", is_score=True,
    ),
    "predicted_mm3": _volume(
        "Predicted", title="predicted volume", columns=_BOTH, listed="at once", is_repeated=True
    ),
    "interval_low_mm3": _volume(
        "Interval from", "Interval of the predicted volume, from", columns=_OF_VOLUME, listed="on demand"
    ),
    "interval_high_mm3": _volume(
        "Interval to", "Interval of the predicted volume, to", columns=_OF_VOLUME, listed="on demand"
    ),
    "interval_percent": _volume(
        "Interval", "Half of this interval", head="Interval, ± %", unit="%", digits=2, columns=_OF_VOLUME,
        listed="on demand",
    ),
    "reference_mm3": _volume(
        "Reference", title="reference volume", columns=_OVERLAP, listed="on demand", is_repeated=True
    ),
    "volume_error_mm3": _volume("Error", "Predicted − reference", columns=_OVERLAP),
    "re_percent": _volume(
        "RE", "Predicted − reference", title="relative error of volume", axis="relative error, %", unit="%",
        digits=2, columns=_OVERLAP, listed="at once",
    ),
    "absolute_re_percent": Measure(
        short="|RE|", title="relative error without its sign", unit="%", digits=2, better="less"
    ),
    "predicted_cut_mm3": _volume(
        "Predicted above the cut", "Predicted, above the distal cut",
        title="predicted volume above the cut", columns=_OF_VOLUME, is_repeated=True,
    ),
    "reference_cut_mm3": _volume(
        "Reference above the cut", "Reference, above the distal cut",
        title="reference volume above the cut", columns=_REFERENCE, is_repeated=True,
    ),
    "predicted_full_mm3": _volume("Predicted, own grid", "Predicted, on the scan's own grid"),
    "reference_native_mm3": _volume("Reference, own grid", "Reference, on its own grid", columns=_OVERLAP),
    "predicted_at_half_mm3": _volume("at 0.5", "Predicted, at a threshold of one half"),
    "corrected_mm3": _volume("Corrected", columns={"volumes": "review"}, section=""),
    "final_mm3": _volume("Final", columns={"volumes": "review"}, section=""),
    "mean_value": Measure(
        short="Mean intensity", title="mean intensity in the mask", digits=1, columns=_VOLUME, section="bone",
        is_repeated=True, is_value=True,
    ),
    "sd_value": Measure(
        short="SD of intensities", digits=1, columns=_VOLUME, section="bone", is_value=True
    ),
    "length_mm": Measure(
        short="Length", label="Length along the scan", unit="mm", columns=_VOLUME, section="bone"
    ),
    "truncated_distally": Measure(
        short="Cut distally", label="Cut by the scan's lower end", columns=_VOLUME, section="bone"
    ),
    "lesser_trochanter_mm": Measure(
        short="Lesser trochanter", label="Lesser trochanter, above the distal end", unit="mm", digits=1,
        columns=_OF_VOLUME, section="bone",
    ),
    "reference_lesser_trochanter_mm": Measure(
        short="Lesser trochanter, reference", label="Lesser trochanter in the reference", unit="mm", digits=1,
        columns=_REFERENCE, section="bone",
    ),
    "shaft_below_trochanter_mm": Measure(
        short="Shaft", label="Shaft below the lesser trochanter", unit="mm", digits=1, columns=_VOLUME,
        section="bone",
    ),
    "density_phantom_in_view": Measure(
        short="Density phantom", label="Density phantom in view", columns=_VOLUME, section="bone"
    ),
    "otsu_threshold": Measure(
        short="Otsu threshold", label="Otsu's threshold of the probability", title="threshold", digits=3,
        columns=_OF_VOLUME, section="doubt", listed="on demand",
    ),
    "member_dice": Measure(
        short="Member DSC", label="DSC between the fold models (member DSC)", title="member DSC", digits=4,
        columns=_OF_VOLUME, section="doubt", listed="at once", better="more", scale="complement",
    ),
    "mean_entropy_bits": Measure(
        short="Mean entropy", label="Mean entropy at the bone", unit="bits", digits=3, columns=_OF_VOLUME,
        section="doubt",
    ),
    "member_range_percent": Measure(
        short="Member range", label="Volumes of the fold models, largest − smallest", unit="%", digits=2,
        columns=_OF_VOLUME, section="doubt",
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A measure of a region of a structure, a row of tables/measurements.csv.

    Attributes:
        measure: its name, without the unit.
        unit: as names of columns write it; None: that of the modality's values.
        region: part of the structure; `whole`: all of it.
        compartment: what is counted in the region; `integral`: every voxel.
        reference: name of the reference's value in `measured/`; empty: it is not measured.
        predicted: name of the predicted value in `measured/`.
        corrected: name of the value of a corrected mask in `corrected/`; empty: it is not measured.
    """

    measure: str
    unit: str | None
    region: str = WHOLE
    compartment: str = "integral"
    reference: str = ""
    predicted: str
    corrected: str = ""

    def unit_in(self, value_unit: str) -> str:
        """Return its unit in a study whose values have the unit `value_unit`."""
        return value_unit if self.unit is None else self.unit

    def column(self, value_unit: str) -> str:
        """Return the end of a column's name, such as `whole_volume_mm3`; `integral` and no unit are not named."""
        parts = [self.region, self.compartment, self.measure, self.unit_in(value_unit)]
        return "_".join(part.lower() for part in parts if part not in ("integral", ""))


def _bone_quantities() -> Iterator[Quantity]:
    """Yield what is measured of a calibrated femur (`lib.bone_densities`), by region and compartment."""

    def quantity(region: str, compartment: str, measure: str, unit: str | None) -> Quantity:
        reference, predicted = (
            table_name(whose, region, compartment, measure) for whose in (REFERENCE, PREDICTED)
        )
        return Quantity(
            measure=measure,
            unit=unit,
            region=region,
            compartment=compartment,
            reference=reference,
            predicted=predicted,
        )

    for region in TABLE_REGIONS.values():
        for compartment in COMPARTMENTS:
            yield quantity(region, compartment, "volume", "mm3")
            yield quantity(region, compartment, "mean_value", None)
            for scale in CALIBRATED_SCALES:
                yield quantity(region, compartment, f"vbmd_{scale}", "mg_cm3")
                yield quantity(region, compartment, f"bmc_{scale}", "mg")
    for region in map(TABLE_REGIONS.get, ROIS):
        yield quantity(region, PROJECTED, "area", "cm2")
        for scale in CALIBRATED_SCALES:
            yield quantity(region, PROJECTED, f"abmd_{scale}", "g_cm2")
            yield quantity(region, PROJECTED, f"bmc_{scale}", "g")
        yield quantity(region, PROJECTED, "abmd_dxa", "g_cm2")
        yield quantity(region, PROJECTED, "t_score", "")
    for region, measure, unit in GEOMETRY.values():
        yield quantity(region, "integral", measure, unit)


# columns that identify a quantity, and those that describe it
QUANTITY_KEYS = ["region", "compartment", "measure"]
QUANTITY_COLUMNS = [*QUANTITY_KEYS, "unit"]
QUANTITIES = (
    Quantity(
        measure="volume", unit="mm3", reference="reference_mm3", predicted="predicted_mm3", corrected="corrected_mm3"
    ),
    Quantity(
        measure="volume", unit="mm3", region=ABOVE_CUT, reference="reference_cut_mm3", predicted="predicted_cut_mm3"
    ),
    *(
        Quantity(
            measure="volume", unit="mm3", region=region, reference=f"reference_{region}_mm3",
            predicted=f"predicted_{region}_mm3",
        )
        for region in REGIONS
    ),
    Quantity(measure="mean_value", unit=None, predicted="mean_value", corrected="mean_value"),
    *_bone_quantities(),
)  # fmt: skip

# units of tables/measurements.csv and agreement.csv -> unit and form in which pages print it
_UNITS = {
    "mm3": ("cm³", Form(2, CM3)),
    "HU": ("HU", Form(1)),
    "": ("", Form(1)),
    "mg_cm3": ("mg/cm³", Form(1)),
    "mg": ("g", Form(2, G)),
    "cm2": ("cm²", Form(2)),
    "g_cm2": ("g/cm²", Form(3)),
    "g": ("g", Form(2)),
    "mm": ("mm", Form(1)),
    "mm2": ("mm²", Form(0)),
    "degrees": ("°", Form(1)),
}


def printed_unit(unit: str) -> str:
    """Return the unit in which pages print numbers that a tidy table has in `unit`; an unknown one unchanged."""
    return _UNITS.get(unit, (unit, 0))[0]


def unit_form(unit: str) -> Form:
    """Return how pages print numbers that a tidy table has in `unit`; two decimal places for an unknown unit."""
    return _UNITS.get(unit, (unit, Form(2)))[1]


def _summed(short: str) -> Measure:
    """Return a summary of volumes."""
    return Measure(short=short, unit="cm³", factor=CM3, digits=2)


SUMMARIES: Mapping[str, Measure] = MappingProxyType(
    {
        "reference_mean_mm3": _summed("Reference"),
        "mae_mm3": _summed("MAE"),
        "rmse_mm3": _summed("RMSE"),
        "mape_percent": Measure(short="MAPE", unit="%", digits=2),
        "bias_mm3": _summed("Bias"),
        "difference_sd_mm3": _summed("SD"),
        "loa_low_mm3": _summed("Lower limit"),
        "loa_high_mm3": _summed("Upper limit"),
        "re_min_percent": Measure(short="RE min", unit="%", digits=2),
        "re_max_percent": Measure(short="RE max", unit="%", digits=2),
        "re_mean_percent": Measure(short="Mean RE", unit="%", digits=2),
        "re_sd_percent": Measure(short="SD", unit="%", digits=2),
        "loa_low_percent": Measure(short="Lower limit", unit="%", digits=2),
        "loa_high_percent": Measure(short="Upper limit", unit="%", digits=2),
        "ccc": Measure(short="CCC", digits=4),
        "r2": Measure(short="R²", digits=4),
        "icc": Measure(short="ICC", digits=4),
        "pearson_r": Measure(short="Pearson r", digits=4),
        "slope": Measure(short="Slope", digits=3),
        "intercept_mm3": _summed("Intercept"),
        "proportional_bias": Measure(short="Trend", digits=3),
        "difference_mm3": _summed("Difference"),
        "rms_cv_percent": Measure(short="RMS-CV", unit="%", digits=2),
        "lsc_percent": Measure(short="LSC", unit="%", digits=2),
    }
)


def columns_of(table: str, file: str = "") -> list[str]:
    """Return the measures with a column in a table; with `file`, only those that come from that file."""
    return [
        name
        for name, measure in MEASURES.items()
        if table in measure.columns and file in ("", measure.columns[table])
    ]


def score_names() -> list[str]:
    """Return the measures that tables of scores summarize."""
    return [name for name, measure in MEASURES.items() if measure.is_score]


def followed(first: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return names in the fixed order `first`, followed by the names that are missing in it."""
    return tuple(dict.fromkeys((*first, *names)))
