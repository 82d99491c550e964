"""Time an epoch over the paper's 324 volumes, ours against MONAI's, and the share that the data cost. See README.md.

The share is (epoch - epoch that needs no data) / epoch. An epoch that needs no data makes the same updates from
scans in device memory without augmentation: all that is left of the data is a copy of 32 slices within the device.
Augmentation counts as data, so that the share is an upper bound of the time that the device waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from common import (
    Options,
    Side,
    Size,
    compared_rows,
    in_turn,
    median_s,
    ours_and_peer,
    parse_options,
    print_rows,
)
from train_step import PEER_WORKERS

VOLUMES = 324
GOALS = {"bf16": [("ours_s", "<=", 4.0), ("ratio", ">=", 3.0), ("data_share", "<=", 0.05)]}
SOURCES = {  # settings of config train
    "no data": {"augment": {"probability": 0.0, "rotation_degrees": 0.0}},
    "streamed": {"device_cache_gb": 0.0},
}


def measure(options: Options) -> list[dict]:
    """Return a row for each precision; the one of bf16 has the share of the data."""
    size = replace(options.size, scans=4 if options.quick else VOLUMES)
    reports = in_turn(epoch_sides(options, size), rounds=1 if options.quick else 2)
    what = f"epoch of {size.scans} volumes"
    float32, bf16 = compared_rows(options, what, size.window, reports, GOALS, times=size.scans)
    return [float32, bf16 | data_costs(reports, size.scans)]


def epoch_sides(options: Options, size: Size) -> dict[str, Side]:
    """Return ours and the peer's epochs, and ours in bf16 from each of SOURCES."""
    sides = ours_and_peer(
        "update_seconds",
        options.child(size, block=size.scans, blocks=1),
        ours={"warm_up": size.scans, "epochs": 2},  # the first epoch is the warm-up
        peer={"warm_up": 20, "workers": PEER_WORKERS[options.device]},
    )
    ours = sides["ours bf16"]
    for name, train in SOURCES.items():
        sides[name] = replace(ours, arguments={**ours.arguments, "train": train})
    return sides


def data_costs(reports: Mapping[str, Sequence[Mapping[str, Any]]], updates: int) -> dict[str, float]:
    """Return the share of an epoch that the data cost, with scans in device memory and in host memory."""
    ours, free, streamed = (median_s(reports[name]) for name in ("ours bf16", "no data", "streamed"))
    return {
        "data_share": (ours - free) / ours,
        "streamed_s": updates * streamed,
        "streamed_data_share": (streamed - free) / streamed,
    }


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
