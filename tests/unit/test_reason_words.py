"""Reasons and messages have the words of the study: no HU or CT in MR, no hip or femur in another anatomy."""

import ast
import re
from pathlib import Path

import pytest

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.modalities import MODALITIES
from lib.catalog.reasons import REASONS, Reason, refusal_notice

ROOT = Path(__file__).parents[2]
OF_CT = re.compile(r"\bHU\b|Hounsfield|\bCT\b|axial")
OF_FEMUR = re.compile(r"\b([Hh]ip|[Ff]emur|[Ff]emoral|[Tt]rochanter)\b")
# reasons that only the screening of a CT gives
ONLY_CT = ("no_rescale", "implausible_hu", "clipped_hu", "metal")
# the code that every anatomy and both modalities run through
FOLDERS = ("imaging", "screening", "reading", "measuring", "cohort")
SHARED = (
    *(path for folder in FOLDERS for path in (ROOT / "lib" / folder).glob("*.py")),
    *(
        ROOT / "lib/anatomy" / name
        for name in ("bodies.py", "generic.py", "locate.py", "methods.py", "protocol.py")
    ),
)
# texts that only a CT meets
ALLOWED = {
    "stored values that are not rescaled to HU (RescaleType)",
    " HU near the ",  # the amount of metal
}


def test_the_notice_of_a_refused_scan():
    made = (
        Reason("metal", "40 voxels"),
        Reason("too_short", "9 mm", "Take another."),
        Reason("not_in_view", "no femur"),
    )
    reasons = [reason.to_json("proximal-femur", "CT") for reason in made]
    assert refusal_notice("P001", reasons) == (
        "Refused: P001, too_short (9 mm). Take another. Also: not_in_view."
    )
    assert refusal_notice("P001", reasons[:1]) == ""


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_reasons_have_the_words_of_the_study(anatomy, modality):
    for code in REASONS:
        told = Reason(code, "").to_json(anatomy, modality)
        text = f"{told['rule']} {told['action']}"
        assert "{" not in text, code
        if modality != "CT" and code not in ONLY_CT:
            assert not OF_CT.search(text), (code, text)
        if anatomy != "proximal-femur":
            assert not OF_FEMUR.search(text), (code, text)


def test_reasons_name_the_part_of_the_body_and_the_modality():
    def told(code, anatomy, modality):
        return Reason(code, "").to_json(anatomy, modality)

    assert told("not_in_view", "proximal-femur", "CT")["rule"] == "The requested hip must be in the scan."
    assert told("not_in_view", "generic", "MR")["rule"] == "The requested region must be in the scan."
    rules = [
        told("crop_center_elsewhere", anatomy, "CT")["rule"] for anatomy in ("proximal-femur", "generic")
    ]
    assert rules == [
        "The given centre of the crop must lie at the requested hip, not at the other one or far from bone.",
        "The given centre of the crop must lie at the requested region, not far from bone.",
    ]
    actions = [told("unsupported_frames", "generic", modality)["action"] for modality in ("CT", "MR")]
    assert actions == [f"Export the series as single-frame {modality} images." for modality in ("CT", "MR")]
    actions = [told("no_slices", "generic", modality)["action"] for modality in ("CT", "MR")]
    archive = "Export the series again from the archive as original"
    assert actions == [f"{archive} axial slices.", f"{archive} slices."]


def test_advice_of_one_cause_stays_as_it_is():
    told = Reason("mask_gaps", "3 slices", "Draw {them}.").to_json("generic", "MR")
    assert (told["found"], told["action"]) == ("3 slices", "Draw {them}.")


@pytest.mark.parametrize("path", SHARED, ids=lambda path: str(path.relative_to(ROOT / "lib")))
def test_messages_name_neither_modality_nor_bone(path):
    """`hounsfield.py` judges HU, so only a CT comes there."""
    for text in messages_of(path):
        found = OF_FEMUR.search(text) or (path.name != "hounsfield.py" and OF_CT.search(text))
        assert not found or text in ALLOWED, text


def test_the_messages_are_seen():
    texts = {text for path in SHARED for text in messages_of(path)}
    assert texts >= ALLOWED
    assert len(texts) > 300


def messages_of(path):
    """Return the texts of several words that a module holds, without docstrings and lists of codes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node) is not None
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
        if " " in node.value.strip() and not node.value.isupper()
    ]
