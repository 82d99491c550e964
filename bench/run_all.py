"""Run all benchmarks of a device, one after another, and print their table.

    python bench/run_all.py [--device cuda] [--quick] [--only SCRIPT ...] [--out bench/results/cuda.jsonl]

`table.py` puts the files of --out into README.md.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import BENCH, Options, machine_facts, options_parser, read_options
from table import render

SCRIPTS = {
    "cpu": ("train_step", "predict_scan", "forward_share", "engine_settings", "cohort_memory"),
    "cuda": (
        "train_epoch",
        "predict_scan",
        "forward_share",
        "training_memory",
        "engine_settings",
        "cohort_memory",
    ),
}


def main() -> None:
    """Run the scripts; the rows of a script that fails are missing, and the exit code is not 0."""
    parser = options_parser(__doc__)
    parser.add_argument("--only", nargs="+", metavar="SCRIPT", help="only these, without .py")
    parser.add_argument("--out", type=Path, help="write the results there, JSON lines")
    given = parser.parse_args()
    options = read_options(given)
    facts, rows, failed = machine_facts(options), [], []
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.unlink(missing_ok=True)
    for script in given.only or SCRIPTS[options.device]:
        print(f"-- {script}", file=sys.stderr)
        done = run(script, options)
        found = [row | facts for row in result_lines(done.stdout)]
        rows += found
        if done.returncode:
            failed.append(script)
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:  # at once, because a run may be interrupted
                file.writelines(json.dumps(row) + "\n" for row in found)
    print(render(rows))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(script: str, options: Options) -> subprocess.CompletedProcess:
    """Run one script with the shared options."""
    command = [sys.executable, str(BENCH / f"{script}.py")]
    command += ["--device", options.device, "--threads", str(options.threads)]
    return subprocess.run(
        command + ["--quick"] * options.quick, check=False, stdout=subprocess.PIPE, text=True
    )


def result_lines(printed: str) -> Iterator[dict]:
    """Yield the result lines of a script's output."""
    for line in printed.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


if __name__ == "__main__":
    main()
