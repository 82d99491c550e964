"""Numbers and flags of all predictions of a scan for its page; an undefined number is a dash with a reason."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase

import numpy as np
import pandas as pd

from lib.catalog.measures import MEASURES, SECTIONS, Measure
from lib.pages.wording import told_flags
from lib.stats.formats import DASH, show_number, show_text
from lib.stats.grid_limits import bound_to_grid
from lib.stats.tables import structure_key

NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class ShownPrediction:
    """A structure of a prediction of a scan.

    Attributes:
        plan: group, network, members, protocol, weights and seen_in_training by name.
        mask_zyx: predicted mask of the structure on the grid of the scan.
        structure: its name; empty if the study has one structure only.
        label: its value in label maps.
        volume: what was measured of the mask; empty if nothing was.
        overlap: its agreement with the reference; empty if it is not scored.
    """

    plan: Mapping
    mask_zyx: np.ndarray
    structure: str = ""
    label: int = 1
    volume: Mapping = field(default_factory=dict)
    overlap: Mapping = field(default_factory=dict)

    @property
    def models(self) -> str:
        """Return the name of the models on the page."""
        return "{group} / {network} / {members}".format_map(self.plan)

    @property
    def name(self) -> str:
        """Return the name of the models and, if the study has several, of the structure."""
        return f"{self.models} / {self.structure}" if self.structure else self.models

    @property
    def numbers(self) -> dict:
        """Return all that was measured, by name."""
        return {**self.volume, **self.overlap}

    @property
    def within_voxel(self) -> set[str]:
        """Return the names of the numbers that are determined by the voxel size."""
        bound = bound_to_grid(pd.DataFrame([dict(self.overlap)]))
        return {name for name, found in bound.items() if found.all()}

    @property
    def told(self) -> set[str]:
        """Return the names of the defined numbers and of those that are undefined for a stated reason."""
        return {name for name, value in self.numbers.items() if value is not None} | self.reasons.keys()

    @property
    def reasons(self) -> dict[str, str]:
        """Return the reasons for undefined numbers, by name."""
        return {**self.overlap.get("undefined", {}), **self.volume.get("undefined", {})}


def shown_predictions(
    plan: Mapping,
    labels_zyx: np.ndarray,
    structures: Sequence[str],
    measured: tuple[Mapping[str, Mapping], Mapping[str, Mapping]],
) -> list[ShownPrediction]:
    """Return each structure of a prediction.

    Args:
        plan: see `ShownPrediction`, with its scan.
        labels_zyx: predicted label map on the grid of the scan.
        structures: the study's structures, the values 1 to n of label maps.
        measured: what was measured of the masks, and their agreement with the references, by `structure_key`.
    """
    shown, (volumes, overlaps) = [], measured
    for label, structure in enumerate(structures, start=1):
        key = structure_key(plan | {"structure": structure})
        overlap = {} if plan["protocol"] == "apply" else overlaps.get(key, {})
        shown.append(
            ShownPrediction(
                plan=plan,
                mask_zyx=labels_zyx == label,
                structure=structure if len(structures) > 1 else "",
                label=label,
                volume=volumes.get(key, {}),
                overlap=overlap,
            )
        )
    return shown


def number_groups(predictions: Sequence[ShownPrediction], value_unit: str) -> list[dict]:
    """Return, by group, the measures with a value or reason in any prediction: label, unit, a value per prediction.

    `value_unit` is the unit of the modality's values. A value is its text, the letter of the note with the reason if
    undefined, and `within`: whether it is determined by the voxel size.
    """
    notes = {reason: note for note, reason in reason_notes(predictions).items()}
    within = [prediction.within_voxel for prediction in predictions]
    groups = []
    for section, title in SECTIONS.items():
        rows = [
            {
                "label": measure.label or measure.short,
                "unit": measure.in_unit(value_unit).unit,
                "values": [
                    _shown(prediction.numbers.get(name), measure, notes.get(_reason(prediction, name)))
                    | {"within": name in bound}
                    for prediction, bound in zip(predictions, within, strict=True)
                ],
            }
            for name, measure in _told(section, predictions)
        ]
        if rows:
            groups.append({"title": title, "rows": rows})
    return groups


def reason_notes(predictions: Sequence[ShownPrediction]) -> dict[str, str]:
    """Return the different reasons for undefined numbers of `number_groups`, by the letter of the note.

    Notes have letters because a digit after a dash would read as a negative number.
    """
    reasons = (
        _reason(prediction, name)
        for section in SECTIONS
        for name, _ in _told(section, predictions)
        for prediction in predictions
    )
    known = dict.fromkeys(reason for reason in reasons if reason)
    return {note_letters(position): reason for position, reason in enumerate(known)}


def note_letters(position: int) -> str:
    """Return the letters of a note, a, b, ... z, aa, ab, ... for 0, 1, ..."""
    before, letter = divmod(position, len(ascii_lowercase))
    return (note_letters(before - 1) if before else "") + ascii_lowercase[letter]


def flag_rows(
    predictions: Sequence[ShownPrediction], screened: Mapping, settings: Mapping
) -> list[dict[str, str]]:
    """Return the flags of all predictions, each with its meaning and the predictions that have it (if not all)."""
    meanings = {
        reason["code"]: f"{reason['found']}. {reason['rule']} What to do: {reason['action']}"
        for reason in screened["reasons"]
    }
    meanings |= told_flags(settings)
    carried: dict[str, list[str]] = {}
    for prediction in predictions:
        seen = ("seen_in_training",) if prediction.plan.get("seen_in_training") else ()
        for flag in (*prediction.volume.get("flags", ()), *seen):
            carried.setdefault(flag, []).append(prediction.name)
    return [
        {
            "flag": flag.replace("_", " "),
            "meaning": meanings.get(flag, ""),
            "where": "" if len(names) == len(predictions) else ", ".join(names),
        }
        for flag, names in sorted(carried.items())
    ]


def _told(section: str, predictions: Sequence[ShownPrediction]) -> Iterator[tuple[str, Measure]]:
    """Yield name and measure of a section for measures with a number or a reason in any prediction."""
    for name, measure in MEASURES.items():
        if measure.section == section and any(name in prediction.told for prediction in predictions):
            yield name, measure


def _reason(prediction: ShownPrediction, name: str) -> str:
    """Return the reason why a number of a prediction is undefined; empty if it is defined."""
    return "" if prediction.numbers.get(name) is not None else prediction.reasons.get(name, NOT_MEASURED)


def _shown(value: object, measure: Measure, note: str | None) -> dict:
    """Return a number as text, with the letter of the note that gives the reason if it is undefined."""
    if value is None:
        return {"text": DASH, "note": note}
    shown = show_text(value) if isinstance(value, bool) else show_number(value, measure.page_form)
    return {"text": shown, "note": None}
