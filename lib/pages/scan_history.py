"""The history of a scan on its page: findings, processing and decisions from screening to review."""

from collections.abc import Mapping, Sequence

from lib.catalog.anatomies import SOURCES, part_in_words
from lib.catalog.protocols import PROTOCOLS
from lib.pages.scan_numbers import ShownPrediction
from lib.pages.wording import WEIGHTS
from lib.stats.formats import fixed, show_text


def decision_history(
    placement: Mapping,
    screened: Mapping,
    crop: Mapping,
    predictions: Sequence[ShownPrediction],
    review: Mapping[str, str],
    anatomy: str,
) -> list[dict]:
    """Return the steps in order, each with a title, facts, and the reasons given by screening.

    Args:
        placement: set and fold by name.
        screened: content of the screening file.
        crop: content of crop.json.
        predictions: all predictions of the scan.
        review: verdict and comment of an earlier review; empty if there was none.
        anatomy: the study's.
    """
    return [
        _screening_step(screened),
        _conversion_step(screened),
        _crop_step(crop, screened, anatomy),
        _split_step(placement, predictions),
        _review_step(review),
    ]


def _screening_step(screened: Mapping) -> dict:
    reasons = screened["reasons"]
    verdict = "accepted" if screened["verdict"] == "ok" else screened["verdict"]
    facts = [f"Verdict: {verdict}{'' if reasons else ', without remarks'}."]
    return {"title": "Screening", "facts": facts, "reasons": reasons}


def _conversion_step(screened: Mapping) -> dict:
    shape, values = screened["geometry"], screened.get("acquisition") or {}
    size, spacing = shape["size_xyz"], shape["spacing_mm_xyz"]
    scanner = " ".join(show_text(values[name]) for name in ("manufacturer", "model") if values.get(name))
    facts = [
        f"{size[0]} × {size[1]} × {size[2]} voxels of {spacing[0]:.3f} × {spacing[1]:.3f} × {spacing[2]:.2f} mm "
        f"({shape['source']}).",
        f"Scanner {scanner or 'not stated'}; "
        + "; ".join(
            f"{label} {show_text(values.get(name))}"
            for name, label in (("kvp", "kVp"), ("kernel", "kernel"), ("contrast", "contrast medium"))
        )
        + ".",
    ]
    return {"title": "Conversion to Hounsfield units", "facts": facts, "reasons": []}


def _crop_step(crop: Mapping, screened: Mapping, anatomy: str) -> dict:
    x_mm, y_mm = crop["center_mm_xy"]
    size_x, size_y, size_z = crop["size_xyz"]
    doubts = screened["hip"]["doubts"] if crop["source"] == "automatic" else []
    margins = ", ".join(f"{border} {margin:.0f} mm" for border, margin in crop["margins_mm"].items())
    margins = margins or ("no bone found" if "no_bone" in crop["flags"] else "")
    facts = [
        f"Slices resampled to a distance of {crop['spacing_mm_xyz'][2]:g} mm.",
        f"Window of the {part_in_words(anatomy, crop['side'])}: {size_x} × {size_y} × {size_z} voxels around "
        f"({fixed(x_mm, 1)}, {fixed(y_mm, 1)}) mm LPS, {SOURCES[crop['source']]}.",
        *([f"From the bone to the window's border: {margins}."] if margins else []),
        *(f"Doubt: {doubt}." for doubt in doubts),
    ]
    return {"title": "Resampling and crop", "facts": facts, "reasons": [], "crop": True}


def _split_step(placement: Mapping, predictions: Sequence[ShownPrediction]) -> dict:
    fold = f", fold {placement['fold']}" if placement["fold"] >= 0 else ""
    facts = [f"Set: {placement['set']}{fold}."]
    for prediction in predictions:
        title, who = PROTOCOLS[prediction.plan["protocol"]][:2]
        facts.append(f"{prediction.name}: {title}, {who}; {WEIGHTS[prediction.plan['weights']]}.")
    return {"title": "Split and prediction", "facts": facts, "reasons": []}


def _review_step(review: Mapping[str, str]) -> dict:
    facts = (
        [f"Verdict: {review['verdict'].replace('-', ' ') or 'none'}."] if review else ["Not reviewed yet."]
    )
    if review.get("comment"):
        facts.append(f"Comment: {review['comment']}")
    return {"title": "Review", "facts": facts, "reasons": []}
