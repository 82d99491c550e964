"""The words of the report: what protocols, weights, flags, networks and losses are called and mean."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

PROTOCOLS = {
    "cv": (
        "Cross-validation",
        "out-of-fold people, each predicted by the one fold model that never saw them",
    ),
    "test": ("Test", "test people, predicted by the ensemble of all folds (mean probability)"),
    "test-single": (
        "Test, single model",
        "test people, predicted by the one fold model with the best validation Dice",
    ),
    "external": (
        "External",
        "people with a reference who played no part in training, predicted by the ensemble",
    ),
    "apply": (
        "Apply",
        "people without a reference, or whom the models were trained on: measured, not scored",
    ),
}
WEIGHTS = {
    "last": "last weights of the training (or their running average); nothing was chosen on validation people",
    "best": "weights with the best Dice on the fold's validation people",
}
# flags of crop.json, otsu.json and uncertainty.json, {section[key]} stands for a setting; those of screening bring
# their own words
FLAG_MEANINGS = {
    "bone_at_border": "bone lies nearer to the window's border than crop.min_margin_mm; the window may cut it.",
    "components_dropped": "parts that hang apart from the largest one were more than 1 % of it and were left out.",
    "crop_uncertain": "the hip was not found without doubt. Look at its crop; if the window is wrong, read its "
    "centre from the scales and give it in the table (crop_x_mm, crop_y_mm).",
    "corrected": "a mask corrected by hand was given in the review; its volume (corrected_mm3, final_mm3) stands "
    "beside the predicted one and enters no score and no agreement.",
    "cut_not_reached": "the mask ends above the plane {measure[distal_cut_mm]} mm below the lesser trochanter.",
    "empty_mask": "no bone was found at all.",
    "interval_wide": "the fold models' volumes lie so far apart that the interval of this volume is more than 1.5 "
    "times as wide as it would be if they agreed. Look at the mask before the volume is used. Members can also be "
    "wrong together: no flag is no proof.",
    "members_disagree": "the mean Dice between the fold models' masks (member DSC) is below "
    "{predict[review_member_dice]}. Often the image is unlike the training people, or damaged. Members can also be "
    "wrong together: no flag is no proof.",
    "needs_edit": "a reviewer found that this mask needs editing; its volume is shown as it was predicted.",
    "no_bone": "the window holds no bone of a femur.",
    "no_lesser_trochanter": "the lesser trochanter was not found in the mask, so there is no volume above the cut.",
    "off_protocol": "the scan was not made as the protocol says; the section Acquisition names the differences.",
    "otsu_out_of_range": "Otsu's threshold lay outside otsu.low to otsu.high; otsu.fallback was used.",
    "otsu_undefined": "the probability map holds one value only and has no Otsu threshold; otsu.fallback was used.",
    "override": "the centre of the window was given in the table, not found.",
    "padded": "the window reaches beyond the scan; it was filled with air there.",
    "seen_in_training": "a model that predicted this was trained on this person, or chosen by their score; the "
    "volume is measured and enters no score.",
}
# where the protocol of the section Acquisition comes from
PROTOCOL_SOURCES = {
    "configuration": "The protocol is the one that the configuration names (acquisition_protocol).",
    "majority": "The configuration names no protocol, so it is what most accepted scans share: a field is judged if "
    "at least five scans state it and more than half of these agree. A CT header that names no contrast medium "
    "counts as one without.",
}
SEX_NAMES = {"all": "everybody", "M": "men", "F": "women"}
# the network of Zhao et al. 2020: each choice but the channels, and the words for another one
NETWORK_CHOICES = {
    "dimensions": ("3", ""),  # always told
    "encoder_convolutions": ("1-2-3-3", "{} convolutions on the encoder's levels"),
    "decoder_convolutions": ("2-2-2", "{} convolutions on the decoder's levels"),
    "kernel": ("3", "kernels with an edge of {}"),
    "transposed_kernel": ("3", "transposed kernels with an edge of {}"),
    "skip": ("concat", "skip connections that add"),
    "residual": ("False", "residual shortcuts"),
    "normalisation": ("none", "{} normalisation"),
    "activation": ("relu", "{} activation"),
    "bottleneck_dilation": ("1", "a dilation of {} in the bottleneck"),
    "dropout": ("0.2", "a dropout of {}"),
    "classes": ("1", "{} kinds of bone"),
}


def counted(number: int, one: str, several: str) -> str:
    """Return a number with the word for what it counts."""
    return f"{number} {one if number == 1 else several}"


def people_text(count: int, women: int, men: int, ages: Sequence[str]) -> str:
    """Return who people are: women, men, how many of unstated sex, and the range of the `ages`, sorted, if any."""
    known = ((women, "woman", "women"), (men, "man", "men"))
    sexes = [counted(*words) for words in known if words[0]]
    if unstated := count - women - men:
        sexes.append(f"{unstated} of unstated sex" if sexes else "sex not stated")
    if not ages:
        return ", ".join(sexes)
    low, high = ages[0], ages[-1]
    years = f"{low} years" if low == high else f"{low} to {high} years"
    some = "" if len(ages) == count else f", age of {count - len(ages)} not stated"
    return f"{', '.join(sexes)}; {years}{some}"


def flag_meanings(
    volumes: pd.DataFrame, screened: Iterable[Mapping], settings: Mapping
) -> list[tuple[str, str]]:
    """Return the flags that occur, by name, each with what it means under `settings` (the configuration)."""
    raised = {flag for flags in volumes["flags"] for flag in flags.split()}
    reasons = (reason for record in screened for reason in record["reasons"])
    known = {reason["code"]: f"{reason['rule']} {reason['action']}" for reason in reasons}
    known |= {flag: FLAG_MEANINGS[flag].format_map(settings) for flag in raised & FLAG_MEANINGS.keys()}
    return [(flag, known[flag]) for flag in sorted(raised & known.keys())]


def network_texts(runs: Iterable[Mapping]) -> dict[str, str]:
    """Return for each model what its network is: dimensions, feature maps, and what the paper's has otherwise."""
    return {model: _network_text(network) for model, network in _networks(runs).items()}


def follows_paper(runs: Iterable[Mapping]) -> bool:
    """Return whether there are networks and all of them are the paper's, whatever their number of feature maps."""
    networks = _networks(runs).values()
    return bool(networks) and not any(_other_choices(network) for network in networks)


def loss_text(train: Mapping) -> str:
    """Return the words for the loss that the section `train` of the configuration chooses, without its L2 term."""
    weight = train["bone_weight"]
    entropy = "cross-entropy" + ("" if weight == 1 else f" (each voxel of bone counted {weight:g} times)")
    words = {"dice": "soft Dice", "cross_entropy": entropy}
    words["dice_cross_entropy"] = f"the sum of soft Dice and {entropy}"
    return words[train["loss"]]


def augmentation_text(augment: Mapping) -> str:
    """Return the sentence about how training windows were changed at random; those changes alone that are in use."""
    changes = []
    if augment["rotation_degrees"]:
        changes.append(f"rotation (up to {augment['rotation_degrees']:g}° about each axis)")
    if augment["mirror_axes"]:
        changes.append(f"mirroring ({', '.join(augment['mirror_axes'])})")
    if augment["brightness"]:
        changes.append("a change of brightness")
    if any(exponent != 1 for exponent in augment["gamma"]):
        changes.append("a change of gamma")
    if augment["noise_sd"]:
        changes.append("Gaussian noise")
    if not changes or not augment["probability"]:
        return "Training windows were not changed at random."
    listed = " and ".join(filter(None, (", ".join(changes[:-1]), changes[-1])))
    chance = f"each with a probability of {augment['probability']:g}"
    return f"Training windows were changed at random by {listed}, {chance}."


def _networks(runs: Iterable[Mapping]) -> dict[str, Mapping]:
    return {run["model"]: run["network"] for run in runs}


def _network_text(network: Mapping) -> str:
    others = _other_choices(network)
    dimensions = others.pop("dimensions", NETWORK_CHOICES["dimensions"][0])
    words = [NETWORK_CHOICES[name][1].format(value) for name, value in others.items()]
    return ", ".join([f"{dimensions}-D", f"{_choice_text(network['channels'])} feature maps", *words])


def _other_choices(network: Mapping) -> dict[str, str]:
    """Return the choices of a network, as text, that are not the paper's."""
    made = {name: _choice_text(network[name]) for name in NETWORK_CHOICES}
    return {name: value for name, value in made.items() if value != NETWORK_CHOICES[name][0]}


def _choice_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")
