"""The model card of a trained fold (Mitchell et al. 2019): Markdown made from the model's metadata alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.acquired_slices import PLANES
from lib.catalog.anatomies import ANATOMIES
from lib.catalog.groups import SEX_NAMES
from lib.crop_settings import CENTRE, WHOLE
from lib.learning.collapse import describe_warnings
from lib.learning.finished import RUNTIME_KEYS, flat

TEMPLATE = """\
# {group}/{network}, fold {fold}
{warning}
One fold model of a cross-validation, trained with Osteoflow {osteoflow}: a network that finds bone ({structures}) in
{modality} scans. The people of fold {fold} were held out. The training job wrote this page from the metadata in
`run.json` and `model.pt`.

## Input and output

| | |
| --- | --- |
| input | {modality}, {view} |
| slices | {slices} |
| pixels | {pixels} |
| window | {window}, all slices; the network sees {window_slices} slices at once |
| intensity | {intensity_words}, clipped, mapped to 0 to 1 |
| voxels in training | {spacing} |
| structures | {structures} |
| output | for each voxel, {output} as outlined in the reference masks of its study |

## Network

{parameters:,} parameters.

{network_table}

## People

| | people | scans | sex | age in years |
| --- | --- | --- | --- | --- |
{people_rows}

This page names no one. `run.json` uses keyed pseudonyms, which only the holder of the study's secret can link.

## Training

{updates:,} updates, {duration} on {device} in {precision}; CPU threads: {threads}; seed: {seed};
reproducible kernels: {reproducible}.

{train_table}

## Validation

{validation}

## Intended use, and limits

- For research. **Not a medical device**: do not base a diagnosis or a treatment on it.
- For scans prepared like its training scans: Osteoflow does so, and refuses the model if settings differ.
- For people like those in the table above. Its accuracy for other ages, scanners, protocols or diseases is not known.
- Do not evaluate it on people who were used to train or validate it.
- Check the masks. The report lists the scans to review first.

## Predict with it

Put the fold folders of this model (`fold-0`, `fold-1`, ...) into one folder, then, with the settings of the study:

```
snakemake --cores 4 --configfile STUDY.yaml --directory NEW --config cohort=new.csv model=FOLDER
```

{made_with}"""

MADE_WITH = """\
## Made with

| | |
| --- | --- |
| software | {software} |
| training code | {code} (digest of the syntax trees of the code that trains) |
| split | {folds_sha256} (SHA-256 of the bytes of `results/folds/folds.csv` at the training) |
| format | {format} (of `model.pt` and `run.json`) |
"""

SYNTHETIC_WARNING = """
> **Trained on a synthetic cohort.** Its scans were simulated, not acquired from people. The model shows that the
> workflow works; it must not be used on scans of people.
"""
FAILED_WARNING = """
> **This training failed.** {words}
"""


def model_card(metadata: Mapping[str, Any]) -> str:
    """Return the model card of a fold as Markdown.

    Args:
        metadata: content of run.json, or what `read_model` returns. The card contains no ids or pseudonyms.
    """
    preprocessing = metadata["preprocessing"]
    return TEMPLATE.format_map(
        {
            **metadata,
            **shared_words(metadata),
            "output": _output(metadata["structures"]),
            "slices": _slices(preprocessing["resample"]),
            "pixels": _pixels(preprocessing["resample"]["inplane_mm"]),
            "view": _view(metadata["anatomy"], metadata["slice_axis"]),
            "window": _window(preprocessing["crop"], metadata["anatomy"], metadata["slice_axis"]),
            "intensity_words": _bias_field(preprocessing["bias_field"]) + _intensity(metadata["intensity"]),
            "spacing": _spacing(metadata["spacing_mm_zyx"]),
            "validation": _validation(metadata["best_validation_dice"], metadata["best_epoch"]),
        }
    )


def shared_words(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what the cards of all tasks tell, by the names in their templates."""
    installed = [f"{name} {version}" for name, version in metadata["software"].items() if version != "absent"]
    recipe = {key: value for key, value in metadata["train"].items() if key not in RUNTIME_KEYS}
    return {
        "warning": _warning(metadata),
        "structures": ", ".join(metadata["structures"]),
        "osteoflow": metadata["software"]["osteoflow"],
        "network_table": _table(metadata["architecture"]),
        "people_rows": "\n".join(_people_row(role, group) for role, group in metadata["people"].items()),
        "duration": _time_text(metadata["seconds"]),
        "reproducible": "yes" if metadata["reproducible"] else "no",
        "train_table": _table(recipe),
        "made_with": MADE_WITH.format_map(metadata | {"software": ", ".join(installed)}),
    }


def _output(structures: Sequence[str]) -> str:
    if len(structures) == 1:
        return f"the probability of {structures[0]}"
    labels = ", ".join(f"{name} ({label})" for label, name in enumerate(structures, start=1))
    return f"the probabilities of the background (label 0), {labels}"


def _bias_field(correction: Mapping[str, str]) -> str:
    return "" if correction["method"] == "none" else f"bias field corrected by `{correction['method']}`; "


def _view(anatomy: str, slice_axis: str) -> str:
    part, slices = ANATOMIES[anatomy].part, f"{PLANES[slice_axis]} slices"
    if not ANATOMIES[anatomy].has_sides:
        return slices
    return f"one {part} in {slices}; a right {part} is mirrored to a left one first"


def _window(crop: Mapping[str, Any], anatomy: str, slice_axis: str) -> str:
    """Return what a scan is cut to across the slice axis, such as "192 x 192 voxels (x, y) around the hip"."""
    if crop["method"] == WHOLE:
        return "none: whole slices"
    size, axes = " x ".join(map(str, crop["size"])), ", ".join(axis for axis in "xyz" if axis != slice_axis)
    centre = crop["method"] == CENTRE
    around = "the middle of the image or a given centre" if centre else f"the {ANATOMIES[anatomy].part}"
    return f"{size} voxels ({axes}) around {around}"


def _intensity(scale: Mapping[str, Any]) -> str:
    if scale["scale"] == "percentile":
        return f"percentiles {scale['low']:g} to {scale['high']:g} of each scan's body"
    return f"{scale['low']:g} to {scale['high']:g} HU"  # the scale `range` is refused for other modalities than CT


def _warning(metadata: Mapping[str, Any]) -> str:
    """Return the paragraphs about a failed training and a synthetic cohort; empty for neither."""
    words = describe_warnings(metadata)
    failed = FAILED_WARNING.format(words=words) if words else ""
    return failed + (SYNTHETIC_WARNING if metadata["synthetic"] else "")


def _slices(resample: Mapping[str, Any]) -> str:
    if resample["method"] == "none":
        return "as scanned"
    return f"{resample['thickness_mm']:g} mm thick, made by method `{resample['method']}`"


def _pixels(inplane_mm: str | float) -> str:
    return "of the scan's own size" if inplane_mm == "native" else f"{inplane_mm:g} mm"


def _spacing(spread: Mapping[str, Sequence[float]]) -> str:
    """Return e.g. "median 3 x 0.85 x 0.85 mm (z, y, x), smallest 3 x 0.74 x 0.74, largest 3 x 0.98 x 0.98"."""
    median, smallest, largest = (
        " x ".join(f"{value:g}" for value in spread[name]) for name in ("median", "smallest", "largest")
    )
    if smallest == largest:
        return f"{median} mm (z, y, x), in all scans"
    return f"median {median} mm (z, y, x), smallest {smallest}, largest {largest}"


def _people_row(role: str, group: Mapping[str, Any]) -> str:
    """Return a row of the table of people, for `training` or `validation`."""
    sexes = ", ".join(f"{SEX_NAMES.get(sex, sex)} {count}" for sex, count in group["sexes"].items())
    ages = group["ages"]
    span = "unknown" if ages is None else " to ".join(dict.fromkeys(ages.values()))
    return f"| {role} | {group['people']} | {group['scans']} | {sexes or '-'} | {span} |"


def _validation(dice: float | None, epoch: int) -> str:
    if dice is None:
        return f"There were no validation scans: `best` and `last` are both the weights of the last epoch ({epoch})."
    return (
        f"Mean Dice of the validation scans: {dice:.4f}, in epoch {epoch}. The weights `best`\n"
        "were chosen by it, so it does not estimate accuracy on new people. The study's report has that estimate."
    )


def _time_text(seconds: float) -> str:
    """Return the time of a training in words."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _table(settings: Mapping[str, Any]) -> str:
    """Return settings as a table; keys of a nested section are prefixed by its name, as in `augment.gamma`."""
    rows = [f"| {key} | {_text(value)} |" for key, value in flat(settings).items()]
    return "\n".join(["| setting | value |", "| --- | --- |", *rows])


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
