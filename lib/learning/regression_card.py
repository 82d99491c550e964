"""The model card of a trained fold of a regression (Mitchell et al. 2019): Markdown made from its metadata alone."""

from collections.abc import Mapping
from typing import Any

from lib.learning.card import shared_words
from lib.regression_settings import REFERENCE

TEMPLATE = """\
# {group}/{network}, fold {fold}
{warning}
One fold model of a cross-validation, trained with Osteoflow {osteoflow}: a network that estimates a density from
a crop of a CT around one structure (task `regress`). The people of fold {fold} were held out. The training job wrote
this page from the metadata in `run.json` and `model.pt`.

## Input and output

| | |
| --- | --- |
| input | {size} voxels (x, y, z) of {voxel_mm:g} mm around the centroid of a structure |
| centroid and mask | of {masks} |
| intensity | {low_hu:g} to {high_hu:g} HU, clipped, mapped to 0 to 1: the same for all crops |
| mask | {mask} |
| structures | {structures} |
| output | one number, {unit} |
| scale | {scale}; the model refuses to estimate columns of another scale or name |

| structure | learned from the column |
| --- | --- |
{columns}

## Network

DenseNet (Huang et al. 2017), built with MONAI {monai}. {parameters:,} parameters.

{network_table}

## People

| | people | scans | sex | age in years |
| --- | --- | --- | --- | --- |
{people_rows}

| | crops with a reference value |
| --- | --- |
{crop_rows}

Reference values of the training crops: {mean:.2f} ± {sd:.2f} {unit} (mean ± SD). The network learns them
standardised. This page names no one. `run.json` uses keyed pseudonyms, which only the holder of the study's secret
can link.

## Training

{updates:,} updates, {duration} on {device} in {precision}; CPU threads: {threads}; seed: {seed};
reproducible kernels: {reproducible}.

{train_table}

## Validation

{validation}

## Intended use, and limits

- For research. **Not a medical device**: do not base a diagnosis or a treatment on it.
- Its values follow the HU of its training scans. **A scanner, a tube voltage or a contrast medium that it has not
  seen changes them**: compare with reference values of such scans first.
- For people like those in the table above.
- Do not evaluate it on people who were used to train or validate it.
- Set the mean HU of the same structure beside it: a line through that may do as well.

## Estimate with it

Put the fold folders of this model into one folder, and those of the network that segments into another beside it.
FOLDER is the folder that holds both. Then, with the settings of the study:

```
snakemake --cores 4 --configfile STUDY.yaml --directory NEW --config cohort=new.csv model=FOLDER
```

{made_with}"""


def regression_card(metadata: Mapping[str, Any]) -> str:
    """Return the model card of a fold of a regression as Markdown.

    Args:
        metadata: content of run.json, or what `read_model` returns. The card contains no ids or pseudonyms.
    """
    crop, target = metadata["crop"], metadata["target"]
    return TEMPLATE.format_map(
        {
            **metadata,
            **shared_words(metadata),
            **{key: crop[key] for key in ("voxel_mm", "low_hu", "high_hu")},
            **{key: target[key] for key in ("unit", "scale", "mean", "sd")},
            "monai": metadata["software"]["monai"],
            "size": " x ".join(map(str, crop["size"])),
            "masks": _masks(crop["masks"], metadata["segmentation"]),
            "mask": "the second channel" if crop["mask_channel"] else "not seen by the network",
            "columns": "\n".join(f"| {name} | `{column}` |" for name, column in target["columns"].items()),
            "crop_rows": "\n".join(_crop_row(role, counts) for role, counts in metadata["crops"].items()),
            "validation": _validation(metadata),
        }
    )


def _masks(masks: str, segmentation: str) -> str:
    if masks == REFERENCE:
        return "the reference mask"
    return f"the mask of the network `{segmentation}`, by a fold that was not trained on the person"


def _crop_row(role: str, counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    return f"| {role} | {sum(counts.values())}{f' ({parts})' if parts else ''} |"


def _validation(metadata: Mapping[str, Any]) -> str:
    rmse, epoch, unit = metadata["best_validation_rmse"], metadata["best_epoch"], metadata["target"]["unit"]
    if not metadata["epochs"]:
        return "The network was not trained: it estimates the mean of its training crops for every crop."
    if rmse is None:
        return f"There were no validation crops: `best` and `last` are both the weights of the last epoch ({epoch})."
    return (
        f"Root mean square error of the validation crops: {rmse:.2f} {unit}, in epoch {epoch}. The weights `best`\n"
        "were chosen by it, so it does not estimate accuracy on new people. The study's tables have that estimate."
    )
