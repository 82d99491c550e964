"""Compare the masks of bf16 and float32: the ensemble of a finished study predicts its scans in both.

    python bench/mask_precision.py STUDY [--device cuda] [--quick]      (STUDY: the folder that holds results/)

The script prints the smallest and the mean Dice between the two masks of a scan (guarded Otsu, largest component)
and the largest difference of probability; the last line is one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.atomic import read_json
from lib.imaging.binarise import threshold_mask
from lib.imaging.grid import array_zyx
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image
from lib.intensity_scale import IntensityRange
from lib.learning.determinism import prepare_torch
from lib.learning.predict import load_models, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.mask_settings import MaskConfig


def main() -> None:
    """Predict every cropped scan twice and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="two scans")
    options = parser.parse_args()
    prepare_torch(reproducible=True, threads=torch.get_num_threads())
    models = sorted((options.study / "results/models/all/vnet").glob("fold-*/model.pt"))
    ensembles = {name: load_models(models, "best", options.device, name) for name in ("float32", "bf16")}
    scans = sorted((options.study / "results/cropped").iterdir())[: 2 if options.quick else None]
    dice, differences = {}, []
    for folder in scans:
        image = read_image(folder / "image.nii.gz")
        record = read_json(folder / "crop.json")
        image_zyx, scale = (
            ModelFrame(**record["frame"]).to_model(array_zyx(image)),
            IntensityRange(**record["intensity"]),
        )
        maps = {
            name: predict_scan(ensemble, image_zyx, scale, PredictConfig()).probability_zyx
            for name, ensemble in ensembles.items()
        }
        masks = [threshold_mask(probability, MaskConfig()).mask_zyx > 0 for probability in maps.values()]
        voxels = masks[0].sum() + masks[1].sum()
        dice[folder.name] = float(2 * (masks[0] & masks[1]).sum() / voxels) if voxels else 1.0
        differences.append(float(np.abs(maps["float32"] - maps["bf16"]).max()))
    lowest = min(dice, key=dice.get)
    print(f"{len(dice)} scans: Dice between the masks {dice[lowest]:.5f} ({lowest}) at least")
    result = {
        "what": "masks of bf16 and float32",
        "device": ensembles["bf16"].compute.describe(),
        "scans": len(dice),
        "scans_at_least_0.999": sum(value >= 0.999 for value in dice.values()),
        "dice_min": dice[lowest],
        "dice_mean": float(np.mean(list(dice.values()))),
        "largest_probability_difference": max(differences),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
