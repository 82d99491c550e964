"""The metadata of a fold, and the model card that is made from it."""

import json

import pytest

from lib.learning.card import model_card
from lib.learning.finished import describe_fold

FACTS = {
    "group": "all",
    "network": "vnet",
    "fold": 3,
    "structures": ["femur"],
    "synthetic": False,
    "anatomy": "proximal-femur",
    "modality": "CT",
    "slice_axis": "z",
    "preprocessing": {
        "bias_field": {"method": "none"},
        "resample": {"method": "fourier", "thickness_mm": 3.0, "inplane_mm": "native"},
        "crop": {"method": "hip", "size": [192, 160]},
    },
    "configured": {},
    "architecture": {"channels": (32, 64), "kernel": 3},
    "train": {"epochs": 1000, "window_slices": 32, "augment": {"gamma": [0.7, 1.5], "mirror_axes": []}},
    "intensity": {"scale": "range", "low": -1000.0, "high": 2000.0},
    "code": "35a0b08a81dbf3fe",
    "seed": 4788634786238415924,
    "training": ["Ann-1", "Bob-1"],
    "validation": ["Cid-1"],
    "best_epoch": 750,
    "best_validation_dice": 0.98069,
    "updates": 324000,
    "parameters": 8601409,
    "seconds": 129600.0,
    "device": "NVIDIA H200",
    "precision": "bf16",
    "threads": 8,
    "reproducible": True,
}
PEOPLE = {
    "training": ["0123456789abcdef", "1123456789abcdef"],
    "validation": ["2123456789abcdef"],
    "people": {
        "training": {
            "people": 2,
            "scans": 2,
            "sexes": {"F": 1, "M": 1},
            "ages": {"youngest": "20-29", "oldest": "90+"},
            "pseudonyms": ["3123456789abcdef", "4123456789abcdef"],
        },
        "validation": {
            "people": 1,
            "scans": 1,
            "sexes": {"unknown": 1},
            "ages": None,
            "pseudonyms": ["5123456789abcdef"],
        },
    },
    "pseudonym_key": "6123456789abcdef",
}
CROPS = [{"spacing_mm_xyz": xyz} for xyz in ([0.8, 0.7, 3.0], [0.9, 0.95, 3.0], [0.75, 0.9000000357, 2.0])]


@pytest.fixture
def metadata():
    return describe_fold(FACTS, people=PEOPLE, crops=CROPS, folds_sha256="ab" * 32)


def test_metadata_are_plain_values_without_an_id(metadata):
    text = json.dumps(metadata, allow_nan=False)
    assert not any(name in text for name in ("Ann", "Bob", "Cid"))
    assert metadata["window_slices"] == 32 and metadata["format"] == 3
    assert metadata["software"]["osteoflow"].count(".") == 2
    assert metadata["folds_sha256"] == "ab" * 32


def test_spacing_is_told_axis_by_axis_from_z_to_x(metadata):
    assert metadata["spacing_mm_zyx"] == {
        "median": [3.0, 0.9, 0.8],
        "smallest": [2.0, 0.7, 0.75],
        "largest": [3.0, 0.95, 0.9],
    }


@pytest.mark.parametrize(
    "text",
    [
        "# all/vnet, fold 3\n",
        "median 3 x 0.9 x 0.8 mm (z, y, x), smallest 2 x 0.7 x 0.75, largest 3 x 0.95 x 0.9",
        "| input | CT, one hip in axial slices; a right hip is mirrored to a left one first |",
        "| window | 192 x 160 voxels (x, y) around the hip, all slices; the network sees 32 slices at once |",
        "-1000 to 2000 HU",
        "3 mm thick, made by method `fourier`",
        "of the scan's own size",
        "8,601,409 parameters",
        "| channels | 32, 64 |",
        "| augment.gamma | 0.7, 1.5 |",
        "| augment.mirror_axes | none |",
        "| training | 2 | 2 | women 1, men 1 | 20-29 to 90+ |",
        "| validation | 1 | 1 | unknown 1 | unknown |",
        "324,000 updates, 36.0 hours on NVIDIA H200 in bf16",
        "seed: 4788634786238415924",
        "0.9807, in epoch 750. The weights `best`\nwere chosen by it, so it does not estimate accuracy",
        "Not a medical device",
        "model=FOLDER",
        "35a0b08a81dbf3fe",
        "ab" * 32,
    ],
)
def test_the_card_says(metadata, text):
    assert text in model_card(metadata)


def test_the_card_needs_nothing_but_the_record_and_names_nobody(metadata):
    card = model_card(json.loads(json.dumps(metadata)))
    assert card == model_card(metadata)
    assert "123456789abcdef" not in card
    assert "{" not in card and "\n\n\n" not in card


def test_the_card_tells_the_intensity_scale(metadata):
    assert "| -1000 to 2000 HU, clipped, mapped to 0 to 1 |" in model_card(metadata)
    metadata["intensity"] = {"scale": "percentile", "low": 0.5, "high": 99.5}
    assert "| percentiles 0.5 to 99.5 of each scan's body, clipped" in model_card(metadata)


def test_the_card_tells_the_structures_in_the_order_of_their_labels(metadata):
    card = model_card(metadata)
    assert "finds bone (femur) in" in card and "| structures | femur |" in card
    assert "| output | for each voxel, the probability of femur as outlined" in card
    card = model_card(metadata | {"structures": ["L2", "L1"]})
    assert "| structures | L2, L1 |" in card
    assert "the probabilities of the background (label 0), L2 (1), L1 (2) as outlined" in card


def test_a_model_of_a_synthetic_cohort_is_marked_before_all_else(metadata):
    assert "synthetic" not in model_card(metadata)
    head = model_card(metadata | {"synthetic": True}).split("## Input")[0]
    assert "**Trained on a synthetic cohort.**" in head and "must not be used" in head


def test_a_training_that_failed_is_marked_with_what_to_do(metadata):
    metadata["train"] = metadata["train"] | {"learning_rate": 0.01, "warm_up": 0.1}
    metadata["architecture"] = metadata["architecture"] | {"normalisation": "instance"}
    assert "failed" not in model_card(metadata) + model_card(metadata | {"warnings": []})
    card = model_card(
        metadata | {"warnings": ["no_bone_in_validation", "loss_of_a_constant"], "synthetic": True}
    )
    head = card.split("## Input")[0]
    assert (
        "> **This training failed.** No bone was predicted in the scans of the last validation and the loss"
        in head
    )
    assert "Lower train.learning_rate (0.01). If it still fell" in head and "synthetic cohort" in head


def test_absent_packages_and_settings_without_effect_are_left_out(metadata):
    metadata["software"] = {"osteoflow": "9.8.7", "pydicom": "absent", "torch": "2.13.0"}
    metadata["train"] = metadata["train"] | {"device_cache_gb": 24.0}
    card = model_card(metadata)
    assert "| software | osteoflow 9.8.7, torch 2.13.0 |" in card and "device_cache_gb" not in card


def test_one_spacing_is_told_once(metadata):
    same = dict.fromkeys(("median", "smallest", "largest"), [3.0, 2.4, 2.4])
    card = model_card(metadata | {"spacing_mm_zyx": same})
    assert "| voxels in training | 3 x 2.4 x 2.4 mm (z, y, x), in all scans |" in card


def test_a_fold_without_validation_claims_no_dice(metadata):
    card = model_card(metadata | {"best_validation_dice": None, "best_epoch": 1000})
    assert "There were no validation scans" in card and "Mean Dice" not in card


@pytest.mark.parametrize(
    ("seconds", "text"), [(72.2, "72 seconds"), (600, "10 minutes"), (7200, "2.0 hours")]
)
def test_durations_are_told_in_the_unit_of_their_size(metadata, seconds, text):
    assert text in model_card(metadata | {"seconds": seconds})
