"""Memory of one update of a network, computed from shapes, checked against a measured smaller size on this CPU.

Full sizes are those of Deniz et al. 2018, with the kernels of a GPU. Beside what is counted (live_memory.py), a GPU
holds the CUDA context (about 0.5 GB), workspaces of cuDNN and the scans. The measurement is the resident memory that
an update adds to a process of its own. See README.md.
"""

import ctypes
import json
from pathlib import Path

import torch
from common import PRECISIONS, Side, resident_gb, run_side
from live_memory import Case, update_gb

from lib.learning.architecture import unet_config

MALLOPT_MMAP_THRESHOLD = -3  # of malloc.h
NETWORKS = {
    "unet3d-f32-l4": {"initial_maps": 32, "levels": 4, "dimensions": 3},
    "unet3d-f32-l5": {"initial_maps": 32, "levels": 5, "dimensions": 3},
    "unet2d-f64-l5": {"initial_maps": 64, "levels": 5, "dimensions": 2},
}
FULL = (48, 512, 512)
SMALL = {"unet3d-f32-l4": (16, 96, 96), "unet2d-f64-l5": (6, 160, 160)}  # measured
LIMIT_GB, TOLERANCE = 24.0, 0.15


def case_of(network: str, size_zyx: tuple[int, ...], precision: str, *, cuda: bool) -> Case:
    """Return an update of a network of NETWORKS."""
    return Case(shape=unet_config(**NETWORKS[network]), size_zyx=size_zyx, precision=precision, cuda=cuda)


def measured_gb(*, network: str, size_zyx: list[int], precision: str) -> dict[str, float]:
    """Make updates in this process and return the resident memory that they add at the peak, GB."""
    ctypes.CDLL(None).mallopt(MALLOPT_MMAP_THRESHOLD, 2**16)  # freed memory goes back at once
    torch.set_num_threads(1)
    small, case = (case_of(network, size, precision, cuda=False) for size in ((8, 32, 32), tuple(size_zyx)))
    small.update(small.new_network())  # loads the libraries
    before = resident_gb()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    case.update(case.new_network())
    return {"gb": resident_gb("VmHWM") - before}


def main() -> None:
    """Print a line of JSON for each check and each full size."""
    for network, size_zyx in SMALL.items():
        for precision in PRECISIONS:
            told = {"network": network, "size_zyx": size_zyx, "precision": precision}
            measured = run_side(Side(call="update_memory.measured_gb", arguments=told))["gb"]
            computed = update_gb(case_of(network, size_zyx, precision, cuda=False))
            agrees = abs(computed / measured - 1) <= TOLERANCE
            found = {"measured_gb": round(measured, 3), "computed_gb": round(computed, 3), "agrees": agrees}
            print(json.dumps(told | found), flush=True)
    for network in NETWORKS:
        for precision in PRECISIONS:
            gb = update_gb(case_of(network, FULL, precision, cuda=True))
            told = {"network": network, "size_zyx": FULL, "precision": precision, "computed_gb": round(gb, 2)}
            print(json.dumps(told | {"fits_24_gb": gb <= LIMIT_GB}), flush=True)


if __name__ == "__main__":
    main()
