"""Resident memory that 400 cached scans add to an empty process, ours against MONAI's cache. See README.md.

Host memory is measured on every device: our cache is there when the device is a CPU or has too little memory.
"""

from dataclasses import asdict, replace

from common import Options, Side, in_turn, median_s, parse_options, print_rows, result_row

SCANS = 400
GOAL_GB = 2.9


def measure(options: Options) -> list[dict]:
    """Return one row: the peak memory of both sides and the time to load the cohort."""
    size = replace(options.size, scans=8 if options.quick else SCANS)
    arguments = {"size": asdict(size), "threads": options.threads}
    sides = {who: Side(call=f"{who}.cohort_memory", arguments=arguments) for who in ("ours", "peer")}
    reports = in_turn(sides, rounds=1)
    return [
        result_row(
            options,
            f"memory of {size.scans} cached scans (host)",
            f"{size.inplane} x {size.inplane} x {size.slices}",
            None,
            unit="gb",
            ours=reports["ours"][0]["added_peak_gb"],
            peer=reports["peer"][0]["added_peak_gb"],
            resident_gb=reports["ours"][0]["added_gb"],
            raw_gb=size.scans * size.slices * size.inplane**2 * 3 / 1e9,
            fill_s=median_s(reports["ours"]),
            peer_fill_s=median_s(reports["peer"]),
            goals=[("ours_gb", "<=", GOAL_GB)],
        )
    ]


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
