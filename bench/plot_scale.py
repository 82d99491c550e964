"""Draw the results of `scale.py`: seconds, memory and calls of sbatch by number of scans, on log-log axes."""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

SIZES = (400, 5000, 20000)

# field, title, label of the axis, and the limits that were set for 400, 5,000 and 20,000 scans
PANELS = (
    ("dry run", "seconds", "dry run, seconds", {400: 5, 5000: 60, 20000: 240}),
    ("dry run", "peak_gb", "dry run, peak memory (GB)", {20000: 4}),
    ("submissions", "calls", "calls of sbatch", {400: 60, 5000: 400, 20000: 1500}),
)


def draw(records: list[dict], path: Path) -> None:
    """Draw one panel for each of `PANELS` from the lines that scale.py printed."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.4), layout="constrained")
    for axis, (what, field, label, limits) in zip(axes, PANELS, strict=True):
        points = sorted((one["scans"], one[field]) for one in records if one["what"] == what)
        axis.loglog(*zip(*points, strict=True), "o-", color="#1f4e79", label="measured")
        axis.loglog(limits.keys(), limits.values(), "_", color="#b03a2e", markersize=18, label="limit")
        for scans, value in points:
            text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            axis.annotate(text, (scans, value), textcoords="offset points", xytext=(9, -8), fontsize=8)
        axis.set(xlabel="scans", title=label, xlim=(250, 60000))
        axis.margins(y=0.15)
        axis.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(visible=True, which="major", alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    """Draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, help="what scale.py printed")
    parser.add_argument("plot", type=Path, help="an image file, such as scale.svg")
    options = parser.parse_args()
    draw([json.loads(line) for line in options.records.read_text().splitlines()], options.plot)


if __name__ == "__main__":
    main()
