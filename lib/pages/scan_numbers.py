"""Numbers and flags of all predictions of a scan, as its page shows them; a dash and a reason where there is none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase

import numpy as np
import pandas as pd

from lib.pages.wording import FLAG_MEANINGS
from lib.stats.formats import DASH, show_number, show_text
from lib.stats.scores import bound_to_grid

# name in the overlap or volume file, what it is, unit, digits
MEASURES = (
    (
        "Overlap with the reference",
        (
            ("dsc", "Dice coefficient (DSC)", "", 4),
            ("dsc_head", "DSC of the head", "", 4),
            ("dsc_neck", "DSC of the neck", "", 4),
            ("dsc_trochanter", "DSC of the trochanters", "", 4),
            ("dsc_shaft", "DSC of the shaft", "", 4),
            ("dsc_native", "DSC on the reference's own grid", "", 4),
            ("sensitivity", "Sensitivity", "", 4),
            ("specificity", "Specificity over the voxels of the crop", "", 5),
            ("specificity_voxels", "Voxels that specificity counts", "", 0),
            ("precision", "Precision", "", 4),
        ),
    ),
    (
        "Distance of the surfaces",
        (
            ("hd_mm", "Hausdorff distance (HD)", "mm", 2),
            ("hd_reference_to_predicted_mm", "HD, reference to predicted", "mm", 2),
            ("hd_predicted_to_reference_mm", "HD, predicted to reference", "mm", 2),
            ("hd95_mm", "95th percentile (HD95)", "mm", 2),
            ("hd95_reference_to_predicted_mm", "HD95, reference to predicted", "mm", 2),
            ("hd95_predicted_to_reference_mm", "HD95, predicted to reference", "mm", 2),
            ("assd_mm", "Mean (ASSD)", "mm", 3),
            ("nsd", "Share of the surface within the tolerance (NSD)", "", 4),
        ),
    ),
    (
        "Volume",
        (
            ("predicted_mm3", "Predicted", "mm³", 0),
            ("interval_low_mm3", "Interval of the predicted volume, from", "mm³", 0),
            ("interval_high_mm3", "Interval of the predicted volume, to", "mm³", 0),
            ("interval_percent", "Half of this interval", "%", 2),
            ("reference_mm3", "Reference", "mm³", 0),
            ("volume_error_mm3", "Predicted − reference", "mm³", 0),
            ("re_percent", "Predicted − reference", "%", 2),
            ("predicted_cut_mm3", "Predicted, above the distal cut", "mm³", 0),
            ("reference_cut_mm3", "Reference, above the distal cut", "mm³", 0),
            ("predicted_full_mm3", "Predicted, on the scan's own grid", "mm³", 0),
            ("reference_native_mm3", "Reference, on its own grid", "mm³", 0),
            ("predicted_at_half_mm3", "Predicted, at a threshold of one half", "mm³", 0),
        ),
    ),
    (
        "Bone",
        (
            ("hu_mean", "Mean intensity", "HU", 1),
            ("hu_sd", "SD of intensities", "HU", 1),
            ("length_mm", "Length along the scan", "mm", 0),
            ("truncated_distally", "Cut by the scan's distal end", "", 0),
            ("lesser_trochanter_mm", "Lesser trochanter, above the distal end", "mm", 1),
            ("reference_lesser_trochanter_mm", "The same in the reference", "mm", 1),
            ("shaft_below_trochanter_mm", "Shaft below the lesser trochanter", "mm", 1),
            ("density_phantom_in_view", "Density phantom in view", "", 0),
        ),
    ),
    (
        "Doubt",
        (
            ("otsu_threshold", "Otsu's threshold of the probability", "", 3),
            ("member_dice", "DSC between the fold models (member DSC)", "", 4),
            ("mean_entropy_bits", "Mean entropy at the bone", "bits", 3),
            ("member_range_percent", "Volumes of the fold models, largest − smallest", "%", 2),
        ),
    ),
)
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class ShownPrediction:
    """One prediction of a scan.

    Attributes:
        plan: group, network, members, protocol, weights and seen_in_training by name.
        mask_zyx: predicted mask on the grid of the scan.
        volume: content of the volume file; empty if there is none.
        overlap: content of the overlap file; empty if there is none.
    """

    plan: Mapping
    mask_zyx: np.ndarray
    volume: Mapping = field(default_factory=dict)
    overlap: Mapping = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return which models predicted, as they are called on the page."""
        return "{group} / {network} / {members}".format_map(self.plan)

    @property
    def numbers(self) -> dict:
        """Return all that was measured, by name."""
        return {**self.volume, **self.overlap}

    @property
    def within_voxel(self) -> set[str]:
        """Return the names of the numbers that the grid decides."""
        bound = bound_to_grid(pd.DataFrame([dict(self.overlap)]))
        return {name for name, found in bound.items() if found.all()}

    @property
    def told(self) -> set[str]:
        """Return the names of the numbers that there are, and of those that are missing for a reason."""
        return {name for name, value in self.numbers.items() if value is not None} | self.reasons.keys()

    @property
    def reasons(self) -> dict[str, str]:
        """Return why a number is not defined, by its name."""
        return {**self.overlap.get("undefined", {}), **self.volume.get("undefined", {})}


def number_groups(predictions: Sequence[ShownPrediction]) -> list[dict]:
    """Return the measures that say something of any prediction, group by group: label, unit, a value for each.

    A value is its text, the letter of the note that says why there is none, and `within`: the grid decides it.
    """
    notes = {reason: note for note, reason in reason_notes(predictions).items()}
    within = [prediction.within_voxel for prediction in predictions]
    groups = []
    for title, measures in MEASURES:
        rows = [
            {
                "label": label,
                "unit": unit,
                "values": [
                    _shown(prediction.numbers.get(name), digits, notes.get(_reason(prediction, name)))
                    | {"within": name in bound}
                    for prediction, bound in zip(predictions, within, strict=True)
                ],
            }
            for name, label, unit, digits in _told(measures, predictions)
        ]
        if rows:
            groups.append({"title": title, "rows": rows})
    return groups


def reason_notes(predictions: Sequence[ShownPrediction]) -> dict[str, str]:
    """Return the reasons for which numbers of `number_groups` are not defined, each once, by the letter of its note.

    A letter: a figure behind a dash reads as a negative number.
    """
    reasons = (
        _reason(prediction, name)
        for _, measures in MEASURES
        for name, *_ in _told(measures, predictions)
        for prediction in predictions
    )
    known = dict.fromkeys(reason for reason in reasons if reason)
    return {_letters(position): reason for position, reason in enumerate(known)}


def flag_rows(
    predictions: Sequence[ShownPrediction], screened: Mapping, settings: Mapping
) -> list[dict[str, str]]:
    """Return the flags of all predictions, each with its meaning and the predictions that carry it (if not all)."""
    meanings = {
        reason["code"]: f"{reason['found']}. {reason['rule']} What to do: {reason['action']}"
        for reason in screened["reasons"]
    }
    meanings |= FLAG_MEANINGS
    carried: dict[str, list[str]] = {}
    for prediction in predictions:
        seen = ("seen_in_training",) if prediction.plan.get("seen_in_training") else ()
        for flag in (*prediction.volume.get("flags", ()), *seen):
            carried.setdefault(flag, []).append(prediction.name)
    return [
        {
            "flag": flag.replace("_", " "),
            "meaning": meanings[flag].format_map(settings)
            if flag in FLAG_MEANINGS
            else meanings.get(flag, ""),
            "where": "" if len(names) == len(predictions) else ", ".join(names),
        }
        for flag, names in sorted(carried.items())
    ]


def _told(
    measures: Sequence[tuple[str, str, str, int]], predictions: Sequence[ShownPrediction]
) -> Iterator[tuple[str, str, str, int]]:
    """Yield the measures of which any prediction has a number, or a reason why there is none."""
    for measure in measures:
        if any(measure[0] in prediction.told for prediction in predictions):
            yield measure


def _reason(prediction: ShownPrediction, name: str) -> str:
    """Return why a prediction does not have a number; empty if it has."""
    return "" if prediction.numbers.get(name) is not None else prediction.reasons.get(name, NOT_MEASURED)


def _letters(position: int) -> str:
    """Return a, b, ... z, aa, ab, ... for 0, 1, ..."""
    before, letter = divmod(position, len(ascii_lowercase))
    return (_letters(before - 1) if before else "") + ascii_lowercase[letter]


def _shown(value: object, digits: int, note: str | None) -> dict:
    """Return a number as text with the letter of the note that says why there is none."""
    if value is None:
        return {"text": DASH, "note": note}
    return {"text": show_text(value) if isinstance(value, bool) else show_number(value, digits), "note": None}
