"""Choosing the series of a source: the requested one, or the only one that can be the scan."""

from collections.abc import Mapping, Sequence

import numpy as np

from lib.catalog.reasons import Reason
from lib.reading.geometry import stack_slices
from lib.reading.headers import DicomObject
from lib.screening_settings import ScreeningConfig


def choose_series(
    objects: Sequence[DicomObject], series_uid: str, config: ScreeningConfig
) -> tuple[list[DicomObject], list[Reason]]:
    """Return the objects of the series that is the scan (none if there is no such series), and findings."""
    findings = _set_apart(objects)
    series: dict[str, list[DicomObject]] = {}
    for one in objects:
        if one.kind == "slice":
            series.setdefault(one.series_uid, []).append(one)
    if not series and objects:
        return [], [*findings, _nothing_but(objects)]
    if series_uid:
        if series_uid not in series:
            return [], [*findings, Reason("series_not_found", f"not among the {len(series)} series found")]
        return series[series_uid], findings
    chosen, more = _only_plausible(series, config)
    return chosen, findings + more


def _only_plausible(
    series: Mapping[str, list[DicomObject]], config: ScreeningConfig
) -> tuple[list[DicomObject], list[Reason]]:
    right_modality = [each for each in series.values() if each[0].modality == config.modality]
    plausible = [each for each in right_modality if may_be_scan(each, config)]
    # if none is suitable, the closest one is examined for reasons
    candidates = plausible or right_modality or list(series.values())
    if not candidates:
        return [], []
    if len(candidates) > 1 and plausible:
        return [], [Reason("several_series", f"{len(plausible)} series: {_describe(plausible)}")]
    chosen = max(candidates, key=_count)
    left_out = [each for each in series.values() if each is not chosen]
    if not left_out:
        return chosen, []
    return chosen, [Reason("series_ignored", f"{len(left_out)} series: {_describe(left_out)}")]


def may_be_scan(series: Sequence[DicomObject], config: ScreeningConfig) -> bool:
    """Return whether a series has enough slices and, of MR, shows the magnitude in slices of one orientation.

    Localizers of MR are often not declared, and hold slices of three orientations.
    """
    if _count(series) < config.min_slices:
        return False
    if config.modality != "MR":
        return True
    directions = {
        tuple(np.round((*one.row_direction, *one.column_direction), 3))
        for each in series
        for one in each.slices
    }
    return len(directions) == 1 and all(one.magnitude for one in series)


def _count(series: Sequence[DicomObject]) -> int:
    return sum(max(len(one.slices), 1) for one in series)


def _describe(series: Sequence[Sequence[DicomObject]]) -> str:
    """Describe series without description or UID: number, modality, slices, size, spacing."""
    texts = []
    for each in sorted(series, key=lambda one: (one[0].series_number or 0, _count(one))):
        slices = [one for member in each for one in member.slices]
        number = each[0].series_number
        text = "without number" if number is None else f"number {number}"
        text += f", {each[0].modality}, {_count(each)} slices"
        if slices:
            first = slices[0]
            step_mm = stack_slices(slices, ScreeningConfig())[0].step_mm
            text += f" of {first.columns}x{first.rows} pixels, "
            text += f"{first.pixel_mm_xy[0]:.3f}x{first.pixel_mm_xy[1]:.3f}x{step_mm:.3f} mm"
            text += _describe_mr(each[0]) if each[0].modality == "MR" else ""
        texts.append(text)
    return "; ".join(texts)


def _describe_mr(one: DicomObject) -> str:
    """Return plane, echo time and repetition time of an MR series, as far as they are stated."""
    plane = ("sagittal", "coronal", "axial")[int(np.abs(one.slices[0].normal).argmax())]
    times = (("TE", one.echo_ms), ("TR", one.repetition_ms))
    return f", {plane}" + "".join(f", {name} {ms:g} ms" for name, ms in times if ms is not None)


def _set_apart(objects: Sequence[DicomObject]) -> list[Reason]:
    """Return warnings on objects that are not slices."""
    findings = []
    for kind, code, words in (
        ("localizer", "localizer_ignored", "localizers"),
        ("capture", "secondary_capture", "captures"),
        ("other", "other_objects_ignored", "objects that are not slices"),
    ):
        count = sum(one.kind == kind for one in objects)
        if count and count < len(objects):
            findings.append(Reason(code, f"{words}: {count} of {len(objects)} DICOM files"))
    return findings


def _nothing_but(objects: Sequence[DicomObject]) -> Reason:
    if all(one.directory for one in objects):
        return Reason("dicomdir", "a DICOMDIR, which lists image files and holds none")
    localizers = sum(one.kind == "localizer" for one in objects)
    captures = sum(one.kind == "capture" for one in objects)
    others = len(objects) - localizers - captures
    code = "localizer_only" if localizers else "no_slices"
    found = (
        f"{localizers} localizers, {captures} secondary captures, {others} other DICOM objects and no slices"
    )
    return Reason(code, found)
