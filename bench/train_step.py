"""Time one training update, ours against MONAI's, in one run. See README.md."""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.learning.determinism import choose_compute, prepare_torch
from lib.learning.scans import TrainingScan
from lib.learning.train import FoldSettings, train_fold
from lib.learning.vnet import VNet, VNetConfig


def synthetic_scans(count: int, slices: int, inplane: int) -> list[TrainingScan]:
    """Return scans of noise with a box as reference; the time of an update does not depend on what is seen."""
    generator = np.random.default_rng(0)
    shape = (slices, inplane, inplane)
    mask = np.zeros(shape, np.uint8)
    mask[:, inplane // 3 : inplane // 2, inplane // 3 : inplane // 2] = 1
    return [
        TrainingScan(f"p{i}", generator.integers(-1000, 1500, shape).astype(np.int16), mask, (3.0, 0.8, 0.8))
        for i in range(count)
    ]


def time_ours(scans: list[TrainingScan], options: argparse.Namespace) -> list[float]:
    """Return the seconds of each update of `train_fold`, windows and augmentation included."""
    moments = []

    def watch(epoch: int, update: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        moments.append(time.perf_counter())

    settings = FoldSettings(
        network={"channels": options.channels},
        train={
            "epochs": 1,
            "samples_per_scan": -(-options.updates * options.batch_size // len(scans)),
            "batch_size": options.batch_size,
            "device": options.device,
            "precision": options.precision,
        },
        intensity={},
        predict={},
        name="bench",
        seed=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        train_fold(scans, [], settings, Path(folder, "state.pt"), watch)
    return list(np.diff(moments))


def time_peer(scans: list[TrainingScan], options: argparse.Namespace) -> list[float]:
    """Return the seconds of each update of the MONAI pipeline."""
    import peer

    compute = choose_compute(options.device, options.precision)
    network = VNet(VNetConfig(channels=options.channels)).to(compute.device)
    batches = peer.loader(scans, 32, options.batch_size, options.peer_workers)
    moments = []
    for _, _ in zip(
        range(options.updates), peer.updates(network, batches, compute.device, compute.bf16), strict=False
    ):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        moments.append(time.perf_counter())
    return list(np.diff(moments))


def main() -> None:
    """Print seconds per update (median) of both, their ratio, and the peak memory of this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--inplane", type=int, default=192)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--scans", type=int, default=4)
    parser.add_argument("--peer-workers", type=int, default=2, help="loader processes of the peer; try 0 too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--alone", action="store_true", help="do not time the peer")
    options = parser.parse_args()
    prepare_torch(reproducible=False, threads=options.threads)
    scans = synthetic_scans(options.scans, options.slices, options.inplane)
    ours = np.median(time_ours(scans, options))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"ours {ours:.3f} s/update, peak memory of the process {peak_gb:.2f} GB")
    if torch.cuda.is_available():
        print(f"peak memory of the device {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
    if not options.alone:
        theirs = np.median(time_peer(scans, options))
        print(f"MONAI {theirs:.3f} s/update, MONAI / ours = {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
