"""Watch jobs for tests: record each run, detect jobs that run twice at once, make chosen jobs fail.

Python loads this module when it starts a process (PYTHONPATH). It affects only scripts of rules in a run with
TESTS_WATCH, a folder. A file `fault-JOB` in it names the kind of fault for a job; all but `memory` happen once.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path


def ancestors(pid):
    """Yield the process ids above `pid`, with their commands."""
    while pid > 1:
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(status.split("PPid:")[1].split()[0])
        if pid > 1:
            yield pid, Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def job_above():
    """Return the name of the job that this process works for: rule:wildcards, as a file name."""
    for _, command in ancestors(os.getpid()):
        if "--target-jobs" in command:
            return command[command.index("--target-jobs") + 1].replace("/", "_").rstrip(":")
    return ""


def kill_before_the_rename(*_, **__):
    """Kill this process when a file is written but not yet renamed to its final path."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_snakemake():
    """Kill the Snakemake processes above, the outermost first; this process continues until SLURM ends it."""
    above = [pid for pid, command in ancestors(os.getpid()) if "--target-jobs" in command]
    for pid in reversed(above):
        os.kill(pid, signal.SIGKILL)


def take_memory(mem_mb=1700):
    """Use more memory than the first attempt requests, long enough for SLURM to notice."""
    held = bytearray(mem_mb * 1_000_000)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(5)


def strike(fault):
    """Make this job fail or wait."""
    if fault == "killed":
        os.replace = kill_before_the_rename
    elif fault == "snakemake-killed":
        kill_snakemake()
    elif fault == "memory":
        take_memory()
    elif fault == "waits":
        time.sleep(3600)
    elif fault == "waits-a-little":
        time.sleep(20)


def slurm_job():
    """Return the id of the SLURM job as scancel knows it."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}" if task else os.environ.get("SLURM_JOB_ID", "")


def watch(folder):
    """Record this job, lock its name until its process ends in any way, and apply its fault if there is one."""
    job = job_above()
    if not job:
        return  # a job that Snakemake runs itself
    lock = os.open(folder / f"lock-{job}", os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        (folder / f"twice-{job}").touch()
    with open(folder / "jobs.log", "a") as log:
        log.write(f"{os.environ.get('SLURMD_NODENAME', '')} {slurm_job()} {job}\n")
    told = folder / f"fault-{job}"
    if told.exists():
        fault = told.read_text().strip()
        if fault != "memory":  # the memory fault happens at each attempt
            told.unlink()
        strike(fault)


if "TESTS_WATCH" in os.environ and any(".snakemake/scripts/" in word for word in sys.orig_argv):
    watch(Path(os.environ["TESTS_WATCH"]))
