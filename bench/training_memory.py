"""Peak memory of training at batch 1, ours against MONAI's: of the device on CUDA, of the process on a CPU.

On CUDA it is the memory that torch reserves, not only what tensors use, with four scans on the device; each further
scan of 192 x 192 x 60 adds 7 MB. Ours runs in reproducible mode, the default. See README.md.
"""

from common import PRECISIONS, Options, in_turn, ours_and_peer, parse_options, print_rows, result_row
from train_step import PEER_WORKERS

GOALS = {"cpu": [], "cuda": [("ours_gb", "<=", 8.0)]}


def measure(options: Options) -> list[dict]:
    """Return a row for each precision."""
    device = options.device
    arguments = options.child(options.size, warm_up=1, block=1, blocks=2)
    sides = ours_and_peer(
        "update_seconds", arguments, ours={"reproducible": True}, peer={"workers": PEER_WORKERS[device]}
    )
    reports = in_turn(sides, rounds=1)
    key = "device_gb" if device == "cuda" else "peak_gb"
    gb = {name: report[key] for name, [report] in reports.items()}
    return [
        result_row(
            options,
            f"peak memory of training ({device})",
            options.size.window,
            precision,
            unit="gb",
            ours=gb[f"ours {precision}"],
            peer=gb["peer float32"],
            goals=GOALS[device],
        )
        for precision in PRECISIONS
    ]


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
