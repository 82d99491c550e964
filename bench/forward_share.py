"""Measure the share of the device's matrix rate that the forward pass reaches, and where its time goes.

The rate is measured: a large product of random square matrices in the same precision. The forward pass counts the
multiplications of its convolutions (torch's FlopCounterMode). Times of the kinds of operation come from
torch.profiler: each kernel counts for the operation that launched it. See README.md.
"""

from common import PRECISIONS, Options, Side, in_turn, median_s, parse_options, print_rows, result_row

BATCHES = {"cpu": (1,), "cuda": (1, 4)}  # windows in one pass
MATRIX_EDGE = {"cpu": 4096, "cuda": 8192}


def measure(options: Options) -> list[dict]:
    """Return a row for each precision and number of windows."""
    edge = 256 if options.quick else MATRIX_EDGE[options.device]
    rows = []
    for precision in PRECISIONS:
        for batch in BATCHES[options.device]:
            arguments = options.child(options.size, precision=precision, batch=batch, edge=edge)
            side = Side(call="profiling.forward_pass", arguments=arguments)
            [report] = in_turn({f"{precision}, {batch} windows": side}, rounds=1).values()
            rows.append(forward_row(options, precision, batch, report[0]))
    return rows


def forward_row(options: Options, precision: str, batch: int, report: dict) -> dict:
    """Return the row of one pass: its time, both rates, and the share of each kind of operation."""
    values = {key: value for key, value in report.items() if key not in ("seconds", "peak_gb")}
    size = f"{options.size.window}, batch {batch}"
    return result_row(options, "forward pass", size, precision, ours=median_s([report]), **values)


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
