"""The stages of a run: which jobs of each rule have begun, ended and failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# a failed job may be started again; Snakemake says so within this time (s)
_UNTIL_SURE = 2.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that has begun. `shown`: it makes files, so its rule is a stage (a mere target is not)."""

    rule: str
    wildcards: Mapping[str, str] = field(default_factory=dict)
    logs: tuple[str, ...] = ()
    shown: bool = True

    @property
    def name(self) -> str:
        """The rule and the values of its wildcards."""
        values = ", ".join(f"{key}={value}" for key, value in self.wildcards.items())
        return f"{self.rule} ({values})" if values else self.rule


@dataclass
class Stage:
    """The jobs of a rule. Times in seconds."""

    rule: str
    expected: int = 0
    begun: set[int] = field(default_factory=set)
    ended: int = 0
    failed: set[int] = field(default_factory=set)
    since: float = 0.0
    last_failure: float = 0.0
    is_open: bool = False
    shown: bool = True

    @property
    def jobs(self) -> int:
        """The number of its jobs, as far as it is known."""
        return max(self.expected, len(self.begun))

    @property
    def left(self) -> int:
        """The number of its jobs that have not ended."""
        return max(self.jobs - self.ended - len(self.failed), 0)


class Stages:
    """All jobs of a run; `jobs` are those that have begun and not ended well, by Snakemake's number."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.jobs: dict[int, Job] = {}
        self.failures: dict[int, Job] = {}

    def expect(self, counts: Mapping[str, int]) -> None:
        """Set the number of jobs of each rule."""
        for rule, count in counts.items():
            self._stage(rule).expected = count

    def begin(self, number: int, job: Job, now: float) -> Stage | None:
        """Count a job that begins; return its stage if it begins with this job."""
        stage = self._stage(job.rule)
        self.jobs[number] = job
        stage.begun.add(number)
        stage.shown = job.shown
        if stage.is_open:
            return None
        stage.is_open, stage.since = True, now
        return stage

    def end(self, number: int) -> Job | None:
        """Count a job that has ended well; return it, None if it is not known."""
        job = self.jobs.pop(number, None)
        if job:
            self._stage(job.rule).ended += 1
            self.retry(number)
        return job

    def fail(self, number: int, job: Job, now: float) -> None:
        """Count a failed job."""
        stage = self._stage(job.rule)
        stage.failed.add(number)
        stage.last_failure = now
        self.failures[number] = job

    def retry(self, number: int) -> Job | None:
        """Count a failed job as not failed: it is started again; return it if it had failed."""
        job = self.failures.pop(number, None)
        if job:
            self._stage(job.rule).failed.discard(number)
        return job

    def close(self, now: float) -> list[Stage]:
        """Return the stages whose last job has ended since the last call."""
        done = [
            stage
            for stage in self.stages.values()
            if stage.is_open
            and not stage.left
            and (not stage.failed or now - stage.last_failure >= _UNTIL_SURE)
        ]
        for stage in done:
            stage.is_open = False
        return done

    def left(self) -> dict[str, int]:
        """Return the number of jobs that have not ended, by rule."""
        return {rule: stage.left for rule, stage in self.stages.items() if stage.left}

    def _stage(self, rule: str) -> Stage:
        return self.stages.setdefault(rule, Stage(rule))
