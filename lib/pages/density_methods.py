"""What the methods paragraphs say of densities: how scans were calibrated, and which second network reads them."""

from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from lib.catalog.calibration import ASYNCHRONOUS, METHODS, MICHALSKI, NONE, PHANTOM, REFERENCED, REFUSED
from lib.catalog.scales import CALIBRATED_SCALES
from lib.pages.wording import joined
from lib.stats.formats import records

_LINE_FROM: Mapping[str, str] = {
    PHANTOM: "the rods of the density phantom in the scan",
    ASYNCHRONOUS: "another scan, of the phantom, on the same scanner with the same tube voltage",
    REFERENCED: "the person’s air, fat and muscle, which a line brings to those of the cohort’s scans with a phantom",
    MICHALSKI: "the person’s own tissues and tables of X-ray attenuation",
}


def calibration_methods(tables: Mapping[str, pd.DataFrame]) -> dict:
    """Return how the scans of a study were calibrated; empty if none was, or without `calibration.csv`.

    Returns:
        `by_method`: method, number of scans, what its line comes from and its scale, of each method and scale in use;
        `has_rods`, `has_water` (a certificate gives water); `is_regional`: whether regions of a bone were measured.
    """
    if "calibration" not in tables:
        return {}
    used = [
        row for row in records(tables["calibration"]) if row["verdict"] != REFUSED and row["method"] != NONE
    ]
    counts = Counter((row["method"], row["scale"]) for row in used)
    rods = tables.get("calibration_rods", pd.DataFrame(columns=["water_mg_cm3"]))
    return {
        "by_method": [
            {"method": method, "scans": counts[method, scale], "source": _LINE_FROM[method], "scale": words}
            for method in METHODS
            for scale, words in CALIBRATED_SCALES.items()
            if counts[method, scale]
        ],
        "has_rods": any(row["method"] in (PHANTOM, ASYNCHRONOUS) for row in used),
        "has_water": bool(rods["water_mg_cm3"].notna().any()),
        "is_regional": "density_by_age" in tables,
    }


def regression_methods(runs: Iterable[Mapping]) -> dict:
    """Return how densities were read by a second network, from the records of its models; empty without any.

    Returns:
        `networks`: the shape of each network in words; `structures`: those it was trained for, in words; `crop` and
        `train`: the settings of the models.
    """
    runs = list(runs)
    if not runs:
        return {}
    shapes = {run["network"]: (run["architecture"], run.get("parameters")) for run in runs}
    return {
        "networks": {name: densenet_text(*shape) for name, shape in shapes.items()},
        "structures": joined(runs[0]["structures"]),
        "crop": runs[0]["crop"],
        "train": runs[0]["train"],
    }


def densenet_text(architecture: Mapping, parameters: int | None) -> str:
    """Return the shape of a DenseNet in words, without its name."""
    blocks = joined(map(str, architecture["blocks"]))
    size = f"{parameters:,} parameters; " if parameters else ""
    slices = "" if architecture["dimensions"] == 3 else ", each slice by itself, averaged over slices"
    return (
        f"{architecture['dimensions']}-D, {size}dense blocks of {blocks} layers, {architecture['growth']} feature "
        f"maps a layer after {architecture['initial_maps']} of the first convolution{slices}"
    )
