"""The words of the report: names and meanings of protocols, weights, flags, networks and losses."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.modalities import MODALITIES
from lib.stats.formats import show_setting

WEIGHTS = {
    "last": "last weights of the training (or their running average), not selected on validation people",
    "best": "weights with the best Dice on the fold's validation people",
}
# flags of crop.json, masks, uncertainty.json and voxels in any study (`told_flags`); {section[key]} stands for a
# setting, {padding} for words of the modality. Screening explains its own flags.
FLAG_MEANINGS = {
    "bone_at_border": "bone lies closer to the window's border than crop.min_margin_mm; the window may cut it off.",
    "components_dropped": "components apart from the largest one held more than 1 % of its volume and were dropped.",
    "crop_uncertain": "the position of the window is uncertain. Check it; if it is wrong, read the right centre off "
    "the scales and enter it in the table (crop_x_mm, crop_y_mm).",
    "corrected": "a mask corrected by hand was given in the review; its volume (corrected_mm3, final_mm3) is shown "
    "beside the predicted one and is not part of any score or agreement.",
    "empty_mask": "no bone was found.",
    "interval_wide": "the fold models' volumes differ so much that the interval of this volume is more than 1.5 "
    "times as wide as it would be if they agreed. Check the mask before you use the volume. All members can make the "
    "same error, so a mask without this flag may still be wrong.",
    "members_disagree": "the mean Dice between the fold models' masks (member DSC) is below "
    "{predict[review_member_dice]}. Often the image is unlike those of training, or damaged. All members can make "
    "the same error, so a mask without this flag may still be wrong.",
    "needs_edit": "a reviewer found that this mask needs editing; its volume is shown as predicted.",
    "no_bone": "the window holds no bone.",
    "off_protocol": "the acquisition differs from the protocol; the section Acquisition lists the differences.",
    "otsu_out_of_range": "Otsu's threshold lay outside mask.low to mask.high; mask.fallback was used.",
    "otsu_undefined": "the probability map is constant and has no Otsu threshold; mask.fallback was used.",
    "override": "the centre of the window was taken from the table, not located automatically.",
    "padded": "the window extends beyond the scan and was padded with {padding} there.",
    "seen_in_training": "a model that predicted this was trained on this person, or selected by their score; the "
    "volume is measured but not scored.",
    "spacing_unusual": "along some axis the voxels of this scan are more than {predict[spacing_factor]} times "
    "shorter or longer than those of all scans that the models were trained on. Networks see voxels, not "
    "millimetres, so the bone has another size for them. Check the mask.",
}
# where the protocol of the section Acquisition comes from
PROTOCOL_SOURCES = {
    "configuration": "The protocol is set in the configuration (acquisition_protocol).",
    "majority": "The configuration sets no protocol, so each scan is compared with the values that most accepted "
    "scans share. A field is compared if at least five scans state it and more than half of these agree.",
}
NORMALISATIONS = {
    "none": "",
    "batch": "batch normalisation",
    "instance": "instance normalisation",
    "group": "group normalisation (8 groups at most)",
}
DEVICES = {"cpu": "CPUs"}
PRECISIONS = {"bf16": "bf16 (weights, loss and updates in float32)"}
# a page of more networks than this shows them in a table, and tells what they share once
FEW_NETWORKS = 3
# fields in which networks of one kind may differ
SIZES = ("channels", "encoder_convolutions", "decoder_convolutions", "bottleneck_dilation")
ACTIVATIONS = {"relu": "ReLU", "leaky_relu": "leaky ReLU (slope 0.01)", "elu": "ELU"}


def counted(number: int, one: str, several: str) -> str:
    """Return a number with the word for what it counts."""
    return f"{number} {one if number == 1 else several}"


def people_text(count: int, women: int, men: int, ages: Sequence[str]) -> str:
    """Describe people: numbers of women, men and unstated sex, and the range of the sorted `ages`, if any."""
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


def told_flags(settings: Mapping) -> dict[str, str]:
    """Return the meanings of flags, by name, in the words of the study's anatomy and modality.

    Args:
        settings: the sections of the configuration that the meanings quote, `anatomy` and `screening`.
    """
    words = {**settings, "padding": MODALITIES[settings["screening"]["modality"]].padding}
    meanings = {**FLAG_MEANINGS, **ANATOMIES[settings["anatomy"]].flag_meanings}
    return {flag: meaning.format_map(words) for flag, meaning in meanings.items()}


def flag_meanings(
    volumes: pd.DataFrame, screened: Iterable[Mapping], settings: Mapping
) -> list[tuple[str, str]]:
    """Return the flags that occur, by name, each with its meaning under `settings` (the configuration)."""
    raised = {flag for flags in volumes["flags"] for flag in flags.split()}
    reasons = (reason for record in screened for reason in record["reasons"])
    known = {reason["code"]: f"{reason['rule']} What to do: {reason['action']}" for reason in reasons}
    known |= told_flags(settings)
    return [(flag, known[flag]) for flag in sorted(raised & known.keys())]


def network_texts(runs: Iterable[Mapping]) -> dict[str, str]:
    """Return the description of each network, layer by layer; of many networks, the layers of each kind once."""
    shapes = {run["network"]: (run["architecture"], run.get("parameters")) for run in runs}
    first_of: dict[tuple, str] = {}
    texts = {}
    for name, (network, parameters) in shapes.items():
        first = first_of.setdefault(_kind_of(network), name)
        if first == name or len(shapes) <= FEW_NETWORKS:
            texts[name] = _network_text(network, parameters)
        else:
            texts[name] = _size_text(network, parameters, first)
    return texts


def training_text(runs: Iterable[Mapping]) -> str:
    """Return the sentence about the precision and the devices of the trainings; empty where no run records them."""
    told = [run for run in runs if run.get("precision")]
    if not told:
        return ""
    precisions = sorted({run["precision"] for run in told})
    devices = sorted({DEVICES.get(run["device"], run["device"]) for run in told if run.get("device")})
    words = [PRECISIONS.get(name, name) for name in precisions]
    on = f" on {joined(devices)}" if devices else ""
    return f"Networks were computed in {' or '.join(words)}{on}."


def loss_text(train: Mapping) -> str:
    """Return the words for the loss that the section `train` of the configuration chooses, without its L2 term."""
    weight = train["bone_weight"]
    if weight == "auto":
        weighted = " (bone and background of the training scans weighted alike)"
    else:
        weighted = "" if weight == 1 else f" (each voxel of bone counted {show_setting(weight)} times)"
    entropy = f"cross-entropy{weighted}"
    words = {"dice": "soft Dice", "cross_entropy": entropy}
    words["dice_cross_entropy"] = f"the sum of soft Dice and {entropy}"
    return words[train["loss"]]


def augmentation_text(augment: Mapping) -> str:
    """Return the sentence about how training windows were changed at random; only changes in use."""
    changes = []
    if augment["rotation_degrees"]:
        changes.append(f"rotation (up to {show_setting(augment['rotation_degrees'])}° about each axis)")
    if augment["mirror_axes"]:
        changes.append(f"mirroring ({', '.join(augment['mirror_axes'])})")
    if augment["brightness"]:
        changes.append(f"a change of brightness (up to ±{show_setting(augment['brightness'])})")
    if any(exponent != 1 for exponent in augment["gamma"]):
        low, high = augment["gamma"]
        changes.append(f"a change of gamma ({show_setting(low)} to {show_setting(high)})")
    if augment["noise_sd"]:
        changes.append(f"Gaussian noise (SD up to {show_setting(augment['noise_sd'])})")
    if not changes or not augment["probability"]:
        return "Training windows were not changed at random."
    chance = f"each with a probability of {show_setting(augment['probability'])}"
    return f"Training windows were changed at random by {joined(changes)}, {chance}."


def joined(words: Iterable[object]) -> str:
    """Return words as "a, b and c"."""
    words = list(words)
    return " and ".join(filter(None, (", ".join(map(str, words[:-1])), str(words[-1]))))


def _kind_of(network: Mapping) -> tuple:
    """Return what networks share that differ in size only: fields but for SIZES, and the convolutions of a level."""
    convolutions = (*network["encoder_convolutions"], *network["decoder_convolutions"])
    same_everywhere = len(set(convolutions)) == 1
    shared = sorted((name, value) for name, value in network.items() if name not in SIZES)
    return (*shared, convolutions[:1] if same_everywhere else convolutions)


def _size_text(network: Mapping, parameters: int | None, first: str) -> str:
    """Describe a network by its size; `first` is the name of a network of the same kind."""
    size = f", {parameters:,} parameters" if parameters else ""
    maps, dilation = joined(network["channels"]), network["bottleneck_dilation"]
    return (
        f"{network['dimensions']}-D{size}; layers as in {first}, with {maps} feature maps and a dilation of "
        f"{dilation} in the last level"
    )


def _network_text(network: Mapping, parameters: int | None) -> str:
    """Describe every layer of a network (keys of an entry of config `networks`)."""
    axes = network["dimensions"]
    edge, risen = ("×".join([str(network[name])] * axes) for name in ("kernel", "transposed_kernel"))
    maps = network["channels"]
    size = f", {parameters:,} parameters" if parameters else ""
    dilated = network["bottleneck_dilation"]
    spaced = f", those of the last level with a dilation of {dilated}" if dilated > 1 else ""
    activation = ACTIVATIONS[network["activation"]]
    normalised = NORMALISATIONS[network["normalisation"]]
    after = f"{normalised} and {activation}" if normalised else f"{activation}, without normalisation"
    shortcut = ", and a shortcut around the convolutions of each level" if network["residual"] else ""
    classes, dropout = network["classes"], network["dropout"]
    drop = f"dropout of {show_setting(100 * dropout)} % of the maps, " if dropout else ""
    head = "1 map and a sigmoid" if classes == 1 else f"{classes + 1} maps and a softmax"
    skip = "concatenated with" if network["skip"] == "concat" else "added to"
    return (
        f"{axes}-D{size}; encoder of {len(maps)} levels with {joined(maps)} feature maps and "
        f"{joined(network['encoder_convolutions'])} convolutions ({edge}, zero-padded{spaced}), each followed by "
        f"{after}{shortcut}; max-pooling by 2 between levels; decoder with a transposed convolution ({risen}, "
        f"stride 2) to each upper level, whose output is {skip} the encoder’s maps from before the pooling and "
        f"goes through {joined(network['decoder_convolutions'])} such convolutions, deepest level first; {drop}"
        f"{'×'.join(['1'] * axes)} convolution to {head}"
    )
