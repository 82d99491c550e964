"""Studies that run on a real SLURM of two nodes with the project's profile; every job is watched."""

import hashlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cluster import Cluster, wait_until, why_none

from tests.study import ROOT, Study

WATCHER = Path(__file__).with_name("watch")
# the project's profile for jobs of seconds; one processor a training, because the machine has two
OPTIONS = (
    *("--profile", "slurm", "--slurm-arrays-init-seconds-before-status-checks", "5", "--latency-wait", "5"),
    *("--set-threads", "train_fold=1", "predict_scans=1"),
)
# these may differ between two runs: times of jobs and the state of an unfinished training
UNCOMPARED = ("logs", "benchmarks", "state")


@dataclass(frozen=True)
class Watched:
    """A study on a cluster, and the folder in which its jobs are recorded (see watch/sitecustomize.py)."""

    study: Study
    cluster: Cluster
    watch: Path

    @property
    def folder(self) -> Path:
        """Return the study's folder."""
        return self.study.folder

    @property
    def results(self) -> Path:
        """Return the folder of results."""
        return self.study.folder / "results"

    def elsewhere(self, folder: Path, **changes: object) -> "Watched":
        """Return the same study in another folder, with a watch folder of its own; the folder is not made."""
        watch = Path(tempfile.mkdtemp(prefix="watch-", dir=self.watch.parent))
        one = Watched(replace(self.study, folder=folder, **changes), self.cluster, watch)
        return one.on(self.cluster)

    def on(self, cluster: Cluster) -> "Watched":
        """Return the same study on another cluster."""
        environment = watched_environment(cluster, self.watch)
        return replace(self, study=replace(self.study, environment=environment), cluster=cluster)

    def tell(self, job: str, fault: str) -> None:
        """Make a job fail: `job` is rule:wildcards, `fault` a kind of fault of watch/sitecustomize.py."""
        (self.watch / f"fault-{job}").write_text(fault)

    def lose_pictures(self) -> None:
        """Remove the report and the pictures of crops, which are made by a short job for each scan."""
        shutil.rmtree(self.results / "crops")
        (self.results / "report/index.html").unlink()

    def started(self, job: str) -> int:
        """Return how often a job was started."""
        log = self.watch / "jobs.log"
        return sum(line.split()[-1] == job for line in log.read_text().splitlines()) if log.exists() else 0

    def slurm_job(self, job: str) -> tuple[str, str]:
        """Return node and id of the SLURM job that last started a job."""
        lines = (self.watch / "jobs.log").read_text().splitlines()
        return next(tuple(line.split()[:2]) for line in reversed(lines) if line.split()[-1] == job)

    def begin(self, *targets: str) -> subprocess.Popen:
        """Start a run and return it; its output goes to the file `said.txt` of the study."""
        return subprocess.Popen(
            self.study.command(*targets), cwd=ROOT, env=self.study.environment, start_new_session=True,
            stdout=open(self.folder / "said.txt", "w"), stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def when_started(self, job: str, act: Callable[[], object]) -> str:
        """Run to the report and call `act` once `job` has started; the run must succeed. Return its output."""
        running, before = self.begin(), self.started(job)
        try:
            wait_until(lambda: self.started(job) > before or running.poll() is not None, seconds=120)
            assert running.poll() is None, self.said()[-6000:]
            act()
            assert running.wait(timeout=self.study.seconds) == 0, self.said()[-6000:]
        finally:
            running.kill()
        return self.said()

    def said(self) -> str:
        """Return the output of the run that `begin` started."""
        return (self.folder / "said.txt").read_text()

    def sums(self) -> dict[str, str]:
        """Return the checksum of every result by its path, without hidden files."""
        files = (path for path in sorted(self.results.rglob("*")) if path.is_file())
        named = ((path.relative_to(self.results), path) for path in files)
        return {
            str(name): hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in named
            if name.parts[0] not in UNCOMPARED and not path.name.startswith(".")
        }

    def check(self, reference: dict[str, str]) -> None:
        """Check that results equal those of an undisturbed run, no job ran twice at once and no job is left."""
        assert self.sums() == reference
        self.check_once()
        assert self.study.planned() == {}
        assert not self.cluster.jobs()

    def check_once(self) -> None:
        """Check that no job was run by two processes at once."""
        assert [path.name for path in self.watch.glob("twice-*")] == []


def watched_environment(cluster: Cluster, watch: Path) -> dict[str, str]:
    """Return the environment of a study on `cluster` whose jobs are recorded in the folder `watch`."""
    return cluster.environment | {"TESTS_WATCH": str(watch), "PYTHONPATH": str(WATCHER)}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Return a running cluster of two nodes."""
    if reason := why_none():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def sent(cluster, tmp_path_factory) -> tuple[Watched, str, list[str]]:
    """Return the small study, run on the cluster to its report, with Snakemake's output and SLURM's job records."""
    watch = tmp_path_factory.mktemp("watch")
    study = Study(
        tmp_path_factory.mktemp("study"),
        options=OPTIONS,
        environment=watched_environment(cluster, watch),
        seconds=1800,  # a job that fits no node would wait without end
    )
    said = study.run()
    return (
        Watched(study, cluster, watch),
        said,
        cluster.call("scontrol", "--oneliner", "show", "jobs").splitlines(),
    )


@pytest.fixture(scope="session")
def reference(sent) -> dict[str, str]:
    """Return the checksums of the results of an undisturbed run."""
    return sent[0].sums()


@pytest.fixture
def again(sent, tmp_path) -> Watched:
    """Return a copy of the small study that lacks its report and its pictures of crops."""
    one = sent[0].elsewhere(tmp_path / "study")
    shutil.copytree(sent[0].folder, one.folder, symlinks=True)
    one.lose_pictures()
    return one
