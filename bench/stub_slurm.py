#!/usr/bin/env python3
"""A SLURM stub that runs nothing, for bench/scale.py: first on the PATH under the names of SLURM's programs.

`sbatch` notes each call, makes empty outputs of the given jobs, and reports them as ended at once. STUB_SLURM names a
folder with outputs.json: the patterns of outputs by rule.
"""

import json
import os
import re
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("STUB_SLURM", ""))
SETTINGS = "MaxArraySize = 1001\nMinJobAge = 600 sec"


def sbatch(arguments: list[str]) -> str:
    """Accept a job or an array; return its id."""
    array = re.search(r"--array=1-(\d+)", " ".join(arguments))
    script = sys.stdin.read()
    commands = tasks_of(script) if array else [script]
    if array and len(commands) != int(array[1]):
        sys.exit(f"{array[1]} tasks, but {len(commands)} commands")
    jobs = [re.search(r"--target-jobs '([^']*)'", command)[1] for command in commands]
    outputs = json.loads((FOLDER / "outputs.json").read_text())
    for job in jobs:
        make_outputs(job, outputs)
    calls = FOLDER / "calls.jsonl"
    number = len(calls.read_text().splitlines()) + 1 if calls.exists() else 1
    with calls.open("a") as file:
        file.write(
            json.dumps({"rule": jobs[0].split(":")[0], "jobs": len(jobs), "bytes": sum(map(len, commands))})
            + "\n"
        )
    ids = [f"{number}_{task}" for task in range(1, len(jobs) + 1)] if array else [str(number)]
    with (FOLDER / "ended").open("a") as ended:
        ended.writelines(f"{one}|COMPLETED\n" for one in ids)
    return str(number)


def tasks_of(script: str) -> list[str]:
    """Return the command of each task of an array."""
    return re.findall(r"^\d+\)\n(.*)\n;;$", script, flags=re.MULTILINE)


def make_outputs(job: str, outputs: dict[str, list[str]]) -> None:
    """Make the outputs of a job `rule:name=value,name=value`; a pattern that ends with / is a folder."""
    rule, _, values = job.partition(":")
    wildcards = dict(value.split("=", 1) for value in values.split(",") if value)
    for pattern in outputs[rule]:
        path = Path(pattern.format(**wildcards))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if pattern.endswith("/") else path.touch()


def main() -> None:
    """Answer as the program under whose name this script was called."""
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if name == "sbatch":
        print(sbatch(arguments))
    elif name == "squeue":
        print((FOLDER / "ended").read_text() if (FOLDER / "ended").exists() else "", end="")
    elif name == "scontrol":
        print(SETTINGS)
    elif name == "sinfo":
        print("cpu*")
    else:  # sacct and sacctmgr, without accounting
        sys.exit(1)


if __name__ == "__main__":
    main()
