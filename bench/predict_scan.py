"""Time the prediction of one scan, ours against MONAI's sliding window, in one run. See README.md."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from lib.learning.determinism import choose_compute, prepare_torch
from lib.learning.intensity import IntensityConfig, to_intensity
from lib.learning.predict import Ensemble, PredictConfig, predict_scan
from lib.learning.vnet import VNet, VNetConfig


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Return how long `work` takes, results on the host included, and what it returns."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def make_ways(options: argparse.Namespace) -> dict[str, Callable[[], np.ndarray]]:
    """Return the ways to predict the same scan with the same weights."""
    compute = choose_compute(options.device, options.precision)
    torch.manual_seed(0)
    network = VNet(VNetConfig(channels=options.channels)).eval()
    shape = (options.slices, options.inplane, options.inplane)
    image_zyx = np.random.default_rng(0).integers(-1000, 1500, shape).astype(np.int16)
    ours = VNet(network.config).eval()
    ours.load_state_dict(network.state_dict())
    ensemble = Ensemble(
        networks=(ours.to(compute.device, memory_format=compute.memory_format),),
        intensity=IntensityConfig(),
        window_slices=32,
        preprocessing={},
        compute=compute,
    )
    config = PredictConfig(batch_windows=options.batch_windows)
    ways = {"ours": lambda: predict_scan(ensemble, image_zyx, config)}
    if not options.alone:
        import peer

        network = network.to(compute.device)
        intensity = to_intensity(torch.from_numpy(image_zyx), IntensityConfig())[None, None].to(
            compute.device
        )
        ways["MONAI"] = lambda: peer.predict(network, intensity, 32, options.batch_windows, compute.bf16)
    return ways


def main() -> None:
    """Print seconds per scan (median, the ways taken in turn), their ratio, and how far the results differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--inplane", type=int, default=192)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--batch-windows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--alone", action="store_true", help="do not time the peer")
    options = parser.parse_args()
    prepare_torch(reproducible=False, threads=options.threads)
    ways = make_ways(options)
    results = {name: work() for name, work in ways.items()}  # first call: memory, kernels
    times = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, work in ways.items():
            times[name].append(seconds(work)[0])
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name} {median:.3f} s/scan of {options.slices} slices")
    if "MONAI" in medians:
        print(f"MONAI / ours = {medians['MONAI'] / medians['ours']:.2f}")
        print(f"largest difference of probability {np.abs(results['ours'] - results['MONAI']).max():.2e}")


if __name__ == "__main__":
    main()
