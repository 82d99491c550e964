"""The history of a scan on its page: findings, processing and decisions from screening to review."""

from collections.abc import Mapping, Sequence

from lib.acquired_slices import plane_of
from lib.catalog.anatomies import SOURCES, part_in_words
from lib.catalog.modalities import FIELD_TITLES, MODALITIES
from lib.catalog.protocols import PROTOCOLS
from lib.pages.scan_numbers import ShownPrediction
from lib.pages.wording import WEIGHTS
from lib.stats.formats import fixed, show_text

_SCANNER = ("manufacturer", "model")
NOT_STATED = "not stated"


def decision_history(
    placement: Mapping,
    screened: Mapping,
    crop: Mapping,
    predictions: Sequence[ShownPrediction],
    review: Mapping[str, str],
    settings: Mapping,
) -> list[dict]:
    """Return the steps in order, each with a title, facts, and the reasons given by screening.

    Args:
        placement: set and fold by name.
        screened: content of the screening file.
        crop: content of crop.json.
        predictions: all predictions of the scan.
        review: verdict and comment of an earlier review; empty if there was none.
        settings: the configuration; `anatomy`, `screening` and `resample` are read.
    """
    modality = settings["screening"]["modality"]
    return [
        _screening_step(screened),
        _conversion_step(screened, modality),
        _crop_step(crop, screened, settings),
        _split_step(placement, predictions),
        _review_step(review),
    ]


def _screening_step(screened: Mapping) -> dict:
    reasons = screened["reasons"]
    verdict = "accepted" if screened["verdict"] == "ok" else screened["verdict"]
    facts = [f"Verdict: {verdict}{'' if reasons else ', without remarks'}."]
    return {"title": "Screening", "facts": facts, "reasons": reasons}


def _conversion_step(screened: Mapping, modality: str) -> dict:
    shape, values = screened["geometry"], screened.get("acquisition") or {}
    size, spacing = shape["size_xyz"], shape["spacing_mm_xyz"]
    scanner = " ".join(show_text(values[name]) for name in _SCANNER if values.get(name))
    facts = [
        f"{size[0]} × {size[1]} × {size[2]} voxels of {spacing[0]:.3f} × {spacing[1]:.3f} × {spacing[2]:.2f} mm "
        f"({shape['source']}).",
        f"{'; '.join([f'Scanner {scanner or NOT_STATED}', *_acquired(screened, modality)])}.",
    ]
    scale = MODALITIES[modality].scale
    title = f"Conversion to {scale}" if scale else "Conversion"
    return {"title": title, "facts": facts, "reasons": []}


def _acquired(screened: Mapping, modality: str) -> list[str]:
    """Return the fields by which the report lists scans, apart from the scanner, such as "TE 4.92 ms"."""
    values = screened.get("acquisition") or {}
    names = [name for name in MODALITIES[modality].shown if name not in _SCANNER]
    if "plane" in names:
        values = values | {"plane": plane_of(screened["geometry"])}
    titles = [FIELD_TITLES[name].partition(", ") for name in names]
    return [
        f"{title} {show_text(values.get(name))} {unit}".strip()
        for name, (title, _, unit) in zip(names, titles, strict=True)
    ]


def _crop_step(crop: Mapping, screened: Mapping, settings: Mapping) -> dict:
    (x_mm, y_mm), part = crop["center_mm_xy"], part_in_words(settings["anatomy"], crop["side"])
    size_x, size_y, size_z = crop["size_xyz"]
    doubts = screened["location"]["doubts"] if crop["source"] == "automatic" else []
    margins = ", ".join(f"{border} {margin:.0f} mm" for border, margin in crop["margins_mm"].items())
    margins = margins or ("no bone found" if "no_bone" in crop["flags"] else "")
    facts = [
        _resampled(crop["spacing_mm_xyz"], settings["resample"]["method"]),
        f"Window of the {part}: {size_x} × {size_y} × {size_z} voxels around "
        f"({fixed(x_mm, 1)}, {fixed(y_mm, 1)}) mm LPS, {SOURCES[crop['source']]}.",
        *([f"From the bone to the window's border: {margins}."] if margins else []),
        *(f"Doubt: {doubt}." for doubt in doubts),
    ]
    return {"title": "Resampling and crop", "facts": facts, "reasons": [], "crop": True}


def _resampled(spacing_mm_xyz: Sequence[float], method: str) -> str:
    if method == "none":
        return f"Voxels as scanned, {' × '.join(f'{step:g}' for step in spacing_mm_xyz)} mm (x, y, z)."
    return f"Slices resampled to a distance of {spacing_mm_xyz[2]:g} mm."


def _split_step(placement: Mapping, predictions: Sequence[ShownPrediction]) -> dict:
    fold = f", fold {placement['fold']}" if placement["fold"] >= 0 else ""
    facts = [f"Set: {placement['set']}{fold}."]
    for prediction in {shown.models: shown for shown in predictions}.values():
        title, who = PROTOCOLS[prediction.plan["protocol"]][:2]
        facts.append(f"{prediction.models}: {title}, {who}; {WEIGHTS[prediction.plan['weights']]}.")
    return {"title": "Split and prediction", "facts": facts, "reasons": []}


def _review_step(review: Mapping[str, str]) -> dict:
    facts = (
        [f"Verdict: {review['verdict'].replace('-', ' ') or 'none'}."] if review else ["Not reviewed yet."]
    )
    if review.get("comment"):
        facts.append(f"Comment: {review['comment']}")
    return {"title": "Review", "facts": facts, "reasons": []}
