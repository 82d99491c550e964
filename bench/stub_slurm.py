#!/usr/bin/env python3
"""A SLURM that runs nothing, for bench/scale.py: under the names sbatch, squeue, scontrol, sinfo first on the PATH.

`sbatch` notes each call, makes empty outputs of the jobs that it was given, and has them ended at once. STUB_SLURM
names a folder with outputs.json: the patterns of outputs by rule.
"""

import base64
import json
import os
import re
import sys
import zlib
from pathlib import Path

FOLDER = Path(os.environ.get("STUB_SLURM", ""))
SETTINGS = "MaxArraySize = 1001\nMinJobAge = 600 sec"


def sbatch(arguments: list[str]) -> str:
    """Take in a job or an array; return its id."""
    call = " ".join(arguments)
    if arguments[-1] == "/dev/stdin":
        sys.exit(
            "an array that is too long for a command line: all of its tasks would run the first one's job"
        )
    commands = {1: call, **tasks_of(call)}
    jobs = [re.search(r"--target-jobs '([^']*)'", command)[1] for command in commands.values()]
    outputs = json.loads((FOLDER / "outputs.json").read_text())
    for job in jobs:
        make_outputs(job, outputs)
    number = str(len((FOLDER / "calls.jsonl").read_text().splitlines()) + 1 if calls_file().exists() else 1)
    size = max(len(zlib.compress(command.encode(), 9)) for command in commands.values())
    with calls_file().open("a") as calls:
        note = {"rule": jobs[0].split(":")[0], "jobs": len(jobs), "characters": len(call), "task_bytes": size}
        calls.write(json.dumps(note) + "\n")
    with (FOLDER / "ended").open("a") as ended:
        array = re.search(r"--array=(\d+)-(\d+)", call)
        ids = [f"{number}_{i}" for i in range(int(array[1]), int(array[2]) + 1)] if array else [number]
        ended.writelines(f"{one}|COMPLETED\n" for one in ids)
    return number


def calls_file() -> Path:
    """Return the file with a line for each call."""
    return FOLDER / "calls.jsonl"


def tasks_of(call: str) -> dict[str, str]:
    """Return the commands of an array's tasks after the first one, by number."""
    payload = re.search(r"--slurm-jobstep-array-execs[=\s]*'?([A-Za-z0-9+/=]+)", call)
    packed = json.loads(base64.b64decode(payload[1])) if payload else {}
    return {number: zlib.decompress(bytes.fromhex(text)).decode() for number, text in packed.items()}


def make_outputs(job: str, outputs: dict[str, list[str]]) -> None:
    """Make the outputs of a job `rule:name=value,name=value`; a pattern that ends with / is a folder's."""
    rule, _, values = job.partition(":")
    wildcards = dict(value.split("=", 1) for value in values.split(",") if value)
    for pattern in outputs[rule]:
        path = Path(pattern.format(**wildcards))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if pattern.endswith("/") else path.touch()


def main() -> None:
    """Answer as the program by whose name this was called."""
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if name == "sbatch":
        print(sbatch(arguments))
    elif name == "squeue":
        print((FOLDER / "ended").read_text() if (FOLDER / "ended").exists() else "", end="")
    elif name == "scontrol":
        print(SETTINGS)
    elif name == "sinfo":
        print("cpu*")


if __name__ == "__main__":
    main()
