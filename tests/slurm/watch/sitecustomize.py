"""What tests do to jobs: note that each runs, see that none runs twice at once, let chosen ones fail.

Python loads this when it starts a process (PYTHONPATH). Only scripts of rules are touched, in a run with TESTS_WATCH:
a folder that holds for each job that is to fail a file `fault-JOB` with the kind of fault; it strikes once.
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
    """End this process when a file is written but not yet in its place."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_snakemake():
    """End the Snakemake processes above, the outermost first; this one goes on until SLURM ends it."""
    above = [pid for pid, command in ancestors(os.getpid()) if "--target-jobs" in command]
    for pid in reversed(above):
        os.kill(pid, signal.SIGKILL)


def take_memory(mem_mb=1700):
    """Hold more memory than the first attempt asks for, long enough to be seen."""
    held = bytearray(mem_mb * 1_000_000)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(5)


def strike(fault):
    """Let this job fail, or wait, as told."""
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
    """Note this job, lock its name until its process ends, however that is, and strike it if told."""
    job = job_above()
    if not job:
        return  # one that Snakemake runs itself
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
        if fault != "memory":  # that one strikes at each attempt
            told.unlink()
        strike(fault)


if "TESTS_WATCH" in os.environ and any(".snakemake/scripts/" in word for word in sys.orig_argv):
    watch(Path(os.environ["TESTS_WATCH"]))
