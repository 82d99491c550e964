"""A real SLURM for tests on one machine: a controller and nodes with fake GPUs, all files below one folder.

Debian's packages slurm-wlm and munge suffice; nothing of the machine's own configuration is read or changed. Without
systemd and cgroups a job that takes too much memory is killed by polling, and its state is FAILED, not OUT_OF_MEMORY.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "sinfo", "scancel")
SECONDS = 60  # limit for starting, stopping and answering

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}
SlurmctldAddr=127.0.0.1
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
# no cgroups, no systemd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
PrologFlags=NoHold
MpiDefault=none
MailProg=/bin/true
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,defer_batch
# a node may claim more processors and memory than the machine has
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=2
KillOnBadExit=1
InactiveLimit=0
MinJobAge=600
MaxArraySize=1001
GresTypes=gpu
DefMemPerCPU=100
"""
NODE = "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={mem_mb} Gres=gpu:2"
PARTITIONS = """\
PartitionName=cpu Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={first} MaxTime=INFINITE State=UP
"""


def why_none(programs: Sequence[str] = PROGRAMS, packages: str = "slurm-wlm munge") -> str:
    """Return why no cluster can be started on this machine; empty if one can."""
    if missing := [name for name in programs if not shutil.which(name, path=search_path())]:
        return f"no {', '.join(missing)} on this machine (Debian: apt-get install {packages})"
    return "only root can start a SLURM with devices of its own" if os.geteuid() else ""


def search_path() -> str:
    """Return the search path of programs; it includes sbin, where daemons are and which a user's PATH may lack."""
    return f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"


class ClusterError(Exception):
    """Raised when a command of SLURM fails."""


class Cluster:
    """A cluster of `nodes` nodes below a folder; `start` and `stop` it, or use it in a `with` statement.

    Clients need `environment`.
    """

    def __init__(self, folder: Path, *, nodes: int = 2, cpus: int = 2, mem_mb: int = 16000) -> None:
        self.folder = folder
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self.daemons = [*(f"slurmd-{node}" for node in self.nodes), "slurmctld", "munged"]
        self._write(cpus, mem_mb)
        self.environment = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(folder / "etc/slurm.conf")}

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all daemons; return when all nodes are idle."""
        self.start_services()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        wait_until(lambda: len(self.states()) == len(self.nodes) and set(self.states().values()) == {"idle"})

    def start_services(self) -> None:
        """Start what the controller needs: munge."""
        munge = {"socket": "run/munge.sock", "key-file": "munge/key", "pid-file": "run/munged.pid"}
        munge |= {"log-file": "log/munged.log", "seed-file": "munge/seed"}
        options = [f"--{name}={self.folder / file}" for name, file in munge.items()]
        # --force: munge expects folders that other users can enter, but folders of tests are private
        self.call("munged", "--force", "--num-threads=2", *options)

    def start_controller(self) -> None:
        """Start slurmctld; it continues from its saved state."""
        self.call("slurmctld")

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self.call("slurmd", "-N", node)

    def stop(self) -> None:
        """End all jobs, then the `daemons` in their order; those that do not end in time are killed."""
        with contextlib.suppress(ClusterError, subprocess.TimeoutExpired, TimeoutError):
            self.call("scancel", "--user", str(os.getuid()))
            wait_until(lambda: not self.call("squeue", "--noheader"), seconds=15)
        for daemon in self.daemons:
            self.kill(daemon)

    def kill(self, daemon: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one of the `daemons` and wait until it is gone."""
        file = self.folder / f"run/{daemon}.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            pid = int(file.read_text())
            os.kill(pid, how)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not Path(f"/proc/{pid}").exists(), seconds=5)
            os.kill(pid, signal.SIGKILL)

    def lose_node(self, node: str) -> None:
        """Stop a node as in a power cut: its slurmd, its jobs and all their processes are killed at once."""
        jobs = self.call("squeue", "--noheader", "--format=%A", f"--nodelist={node}").split()
        lost = [
            *processes(f"slurmd -N {node}"),
            *(p for job in jobs for p in processes(f"slurmstepd: [{job}.")),
        ]
        below = [process for one in lost for process in one.children(recursive=True)]
        for process in [*lost, *below]:  # the process that reports a job's end is killed before the job
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def call(self, *command: str) -> str:
        """Run a command of SLURM with a time limit; return its output."""
        ended = subprocess.run(
            command, env=self.environment, text=True, capture_output=True, timeout=SECONDS, check=False
        )
        if ended.returncode:
            raise ClusterError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr}")
        return ended.stdout

    def states(self) -> dict[str, str]:
        """Return the state of each node."""
        lines = self.call("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T").split("\n")
        return dict(line.split() for line in lines if line)

    def jobs(self, *options: str) -> list[list[str]]:
        """Return id, state and comment of the queued jobs."""
        lines = self.call("squeue", "--noheader", "--array", "--format=%i|%T|%k", *options).split("\n")
        return [line.strip().split("|") for line in lines if line]

    def accounting(self) -> str:
        """Return the lines of slurm.conf for a cluster without accounting."""
        return "AccountingStorageType=accounting_storage/none\n"

    def _write(self, cpus: int, mem_mb: int) -> None:
        for name in ("etc", "state", "log", "run", "munge", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o700)
        key = self.folder / "munge/key"
        key.touch(0o400)
        key.chmod(0o600)
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host, ports = socket.gethostname().split(".")[0], free_ports(len(self.nodes) + 1)
        text = CONFIGURATION.format(folder=self.folder, host=host, port=ports[0], user=user_name())
        for node, port in zip(self.nodes, ports[1:], strict=True):
            text += NODE.format(node=node, host=host, port=port, cpus=cpus, mem_mb=mem_mb) + "\n"
        text += PARTITIONS.format(nodes=",".join(self.nodes), first=self.nodes[0]) + self.accounting()
        (self.folder / "etc/slurm.conf").write_text(text)
        for number in range(2):
            # a clone of /dev/null: SLURM would allocate a plain file too, but not name it to the job
            os.mknod(self.folder / f"dev/nvidia{number}", 0o20666, os.makedev(1, 3))
        devices = [f"NodeName={node} Name=gpu File={self.folder}/dev/nvidia[0-1]" for node in self.nodes]
        (self.folder / "etc/gres.conf").write_text("\n".join(devices) + "\n")
        (self.folder / "etc/cgroup.conf").touch()


def processes(beginning: str) -> list[psutil.Process]:
    """Return the processes whose command line, without the folder of the program, begins with the given words."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words and " ".join([Path(words[0]).name, *words[1:]]).startswith(beginning):
                found.append(process)
    return found


def user_name() -> str:
    """Return the name of the user who runs this."""
    return subprocess.run(["id", "-un"], text=True, capture_output=True, check=True).stdout.strip()


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(reached: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """Wait until `reached()` is true; raise TimeoutError if it takes too long."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"not reached within {seconds} s")
        time.sleep(0.1)
