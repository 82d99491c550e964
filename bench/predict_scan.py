"""Time the prediction of one scan, ours against MONAI's sliding window with the same weights. See README.md."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from common import (
    WINDOW,
    Options,
    Side,
    compared_rows,
    in_turn,
    ours_and_peer,
    parse_options,
    print_rows,
    run_side,
)

GOALS = {
    "cpu": {"float32": [("ratio", ">=", 2.0)], "bf16": [("ratio", ">=", 2.5)]},
    "cuda": {"bf16": [("ours_s", "<=", 0.4), ("ratio", ">=", 2.0)]},
}
SLICES = {"cpu": 40, "cuda": 60}
REPEATS = {"cpu": 1, "cuda": 10}
PEER_WINDOWS = {"cpu": 1, "cuda": 4}  # windows that MONAI predicts at once


def measure(options: Options) -> list[dict]:
    """Return a row for each precision, with the largest difference from the peer's probability in float32."""
    device = options.device
    size = replace(options.size, slices=WINDOW + 2 if options.quick else SLICES[device])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = {"weights": str(folder / "weights.pt"), "scan": str(folder / "scan.npy")}
        run_side(Side(call="ours.write_case", arguments={"size": asdict(size), **case}))
        sides = ours_and_peer(
            "predict_seconds",
            options.child(size, repeats=REPEATS[device], **case),
            ours={},
            peer={"batch_windows": PEER_WINDOWS[device]},
        )
        results = {name: str(folder / f"{name}.npy") for name in sides}
        sides = {
            name: replace(side, arguments={**side.arguments, "result": results[name]})
            for name, side in sides.items()
        }
        reports = in_turn(sides, rounds=1 if options.quick else 2)
        maps = {name: np.load(path) for name, path in results.items()}
    text = f"{size.inplane} x {size.inplane} x {size.slices}, {size.slices - WINDOW + 1} windows"
    rows = compared_rows(options, "prediction of a scan", text, reports, GOALS[device])
    return [
        row
        | {"largest_difference": largest_difference(maps[f"ours {row['precision']}"], maps["peer float32"])}
        for row in rows
    ]


def largest_difference(ours_zyx: np.ndarray, peer_zyx: np.ndarray) -> float:
    """Return the largest difference of two probability maps."""
    return float(np.abs(ours_zyx - peer_zyx).max())


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
