"""Time one training update, everything included, ours against MONAI's in turn. See README.md."""

from common import Options, compared_rows, in_turn, ours_and_peer, parse_options, print_rows

GOALS = {
    "cpu": {"float32": [("ratio", ">=", 2.0)], "bf16": [("ratio", ">=", 2.2)]},
    "cuda": {},
}
PEER_WORKERS = {"cpu": 2, "cuda": 8}  # loader processes of MONAI
SCHEDULE = {
    "cpu": {"warm_up": 1, "block": 1, "blocks": 2},
    "cuda": {"warm_up": 20, "block": 20, "blocks": 3},  # only a block's end waits for the device
}


def measure(options: Options) -> list[dict]:
    """Return a row for each precision."""
    device = options.device
    arguments = options.child(options.size, **SCHEDULE[device])
    sides = ours_and_peer("update_seconds", arguments, ours={}, peer={"workers": PEER_WORKERS[device]})
    reports = in_turn(sides, rounds=1 if options.quick else 2)
    rows = compared_rows(options, "training update", options.size.window, reports, GOALS[device])
    return [
        row | {"host_peak_gb": max(report["peak_gb"] for report in reports[f"ours {row['precision']}"])}
        for row in rows
    ]


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
