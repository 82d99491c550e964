"""The time left of a run, from the mean durations of its rules and the number of jobs that run at once.

While n jobs run, each of them is charged 1/n of the time that passes. So the charges of all jobs add up to the time
of the run, and the mean charge of a rule's jobs times the jobs that it has left is the time that they will take,
however many jobs run at once and whatever limits that number. A rule without an ended job is charged by its prior.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GENERIC_SECONDS = 10.0  # of a job about which nothing is known, before any job has ended
_LEAST_SHARE = 0.1  # of a running job's charge that is assumed to be left when it takes longer than expected


@dataclass(frozen=True, kw_only=True)
class Priors:
    """The seconds that a job of a rule is expected to take, and the rules whose jobs are of unknown length."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The seconds left, and rules that these leave out because nothing is known about them yet."""

    seconds: float
    without: tuple[str, ...] = ()


def read_priors(path: str | Path) -> Priors:
    """Read a table of unit costs (see the setting `costs`).

    Raises:
        ValueError: the file is not such a table; the text says what is missing.
    """
    seconds, unknown = {}, set()
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        name = next((name for name in ("cpu_seconds", "seconds") if name in (rows.fieldnames or ())), None)
        if name is None or "rule" not in rows.fieldnames:
            raise ValueError("expected the columns rule and cpu_seconds (or seconds)")
        for row in rows:
            if (row.get("per") or "job") == "job":
                seconds[row["rule"]] = float(row[name])
            else:
                unknown.add(row["rule"])
    return Priors(seconds=seconds, unknown=frozenset(unknown))


@dataclass
class _Ended:
    """Jobs of a rule that have ended well: their number, their seconds, and what they were charged."""

    jobs: int = 0
    seconds: float = 0.0
    charge: float = 0.0


@dataclass(frozen=True)
class _Running:
    rule: str
    since: float
    charge: float  # the charge of a job that runs all the time, when this one began


class TimeLeft:
    """Keeps account of the jobs of a run. Times are seconds of one clock that never runs backwards."""

    def __init__(self, priors: Priors = Priors()) -> None:
        self.priors = priors
        self._running: dict[int, _Running] = {}
        self._ended: defaultdict[str, _Ended] = defaultdict(_Ended)
        self._charge, self._now = 0.0, 0.0

    @property
    def running(self) -> list[int]:
        """The jobs that run."""
        return list(self._running)

    def start(self, job: int, rule: str, now: float) -> None:
        """Count a job that begins."""
        self._pass(now)
        self._running[job] = _Running(rule, now, self._charge)

    def end(self, job: int, now: float, *, well: bool = True) -> None:
        """Count a job that ends; one that failed tells nothing about its rule."""
        self._pass(now)
        ran = self._running.pop(job, None)
        if ran and well:
            ended = self._ended[ran.rule]
            ended.jobs += 1
            ended.seconds += now - ran.since
            ended.charge += self._charge - ran.charge

    def estimate(
        self, jobs: Mapping[str, int], now: float, fractions: Mapping[int, float | None] | None = None
    ) -> Estimate:
        """Return the time left.

        Args:
            jobs: number of jobs that have not ended, running ones included, by rule.
            now: the time.
            fractions: how much of its work a running job has done, by job, if it says so.
        """
        self._pass(now)
        stated = {job: part for job, part in (fractions or {}).items() if part and job in self._running}
        running = Counter(job.rule for job in self._running.values())
        seconds, without = 0.0, []
        for rule in jobs.keys() | running.keys():
            count = max(jobs.get(rule, 0), running[rule])
            if not count:
                continue
            charge = self._expected(rule, count, stated)
            if charge is None:
                without.append(rule)
                continue
            of_running = sum(
                self._left_of(job, charge, stated) for job, one in self._running.items() if one.rule == rule
            )
            seconds += of_running + (count - running[rule]) * charge
        return Estimate(seconds=seconds, without=tuple(sorted(without)))

    def _pass(self, now: float) -> None:
        if self._running:
            self._charge += (now - self._now) / len(self._running)
        self._now = now

    def _left_of(self, job: int, expected: float, stated: Mapping[int, float]) -> float:
        so_far = self._charge - self._running[job].charge
        if job in stated:
            return so_far / stated[job] - so_far
        return max(expected - so_far, _LEAST_SHARE * so_far)

    def _expected(self, rule: str, count: int, stated: Mapping[int, float]) -> float | None:
        """Return the charge of a job of a rule; None if nothing is known."""
        ended = self._ended.get(rule)
        if ended:
            return ended.charge / ended.jobs
        told = [
            (self._charge - self._running[job].charge) / part
            for job, part in stated.items()
            if self._running[job].rule == rule
        ]
        if told:
            return sum(told) / len(told)
        if rule in self.priors.unknown:
            return None
        return self._expected_before(rule) / max(min(self._at_once(), count), 1.0)

    def _expected_before(self, rule: str) -> float:
        """Return the seconds of a job of a rule that has not run, corrected by how long others took."""
        prior = self.priors.seconds.get(rule)
        if prior is not None:
            known = [(one, self.priors.seconds.get(name)) for name, one in self._ended.items()]
            assumed = sum(one.jobs * seconds for one, seconds in known if seconds is not None)
            took = sum(one.seconds for one, seconds in known if seconds is not None)
            return prior * (took / assumed if assumed and took else 1.0)
        jobs = sum(one.jobs for one in self._ended.values())
        return sum(one.seconds for one in self._ended.values()) / jobs if jobs else GENERIC_SECONDS

    def _at_once(self) -> float:
        """Return how many jobs ran at once while those ran that have ended; before any has, how many run."""
        charge = sum(one.charge for one in self._ended.values())
        if not charge:
            return float(len(self._running))
        return sum(one.seconds for one in self._ended.values()) / charge


def in_words(seconds: float) -> str:
    """Return a time that is left in words: the less certain, the coarser."""
    minutes = round(seconds / 60)
    if seconds < 45:
        return "less than a minute left"
    if minutes < 90:
        return f"about {max(minutes, 1)} min left"
    hours = round(seconds / 3600)
    return f"about {hours} h left" if hours < 48 else f"about {round(seconds / 86400)} days left"
