"""What is told of a run: stages, progress, notices, failures and the end."""

from collections.abc import Iterable, Mapping

from snakemake_logger_plugin_stages.job_logs import fraction_done, last_lines, notices
from snakemake_logger_plugin_stages.screen import GREEN, RED, YELLOW, Screen
from snakemake_logger_plugin_stages.stages import Job, Stage, Stages
from snakemake_logger_plugin_stages.time_left import Priors, TimeLeft, in_words

_LISTED = 20  # most failures that are listed at the end
_ASKED = 16  # most running jobs that are asked how far they are
_NAMED = 3  # most rules that are named in the status


class Report:
    """Counts the jobs of a run and writes about them to a screen. `now` is a time of a monotonic clock (s)."""

    def __init__(self, screen: Screen, *, log_lines: int, with_stages: bool, with_progress: bool) -> None:
        self.screen, self.log_lines = screen, log_lines
        self.with_stages, self.with_progress = with_stages, with_progress
        self.done, self.total, self.cores = 0, 0, None
        self._stages, self._time = Stages(), TimeLeft()
        self._grows, self._since = False, 0.0
        self._is_stopping, self._is_finished = False, False

    @property
    def is_complete(self) -> bool:
        """Whether all jobs are done."""
        return 0 < self.total == self.done

    def begin(self, priors: Priors, now: float) -> None:
        """Begin a run."""
        self._time, self._since = TimeLeft(priors), now
        self.screen.begin(now)

    def count(self, by_rule: Mapping[str, int], total: int | None, *, grows: bool = False) -> None:
        """Take the number of jobs of each rule, and whether a checkpoint will add others."""
        self._stages.expect(by_rule)
        self._grows = grows
        self.total = total or sum(by_rule.values())

    def tell_size(self) -> None:
        """Write how much there is to do."""
        if self.with_stages and not self.done:
            rules = sum(stage.expected > 0 for stage in self._stages.stages.values())
            cores = f", {self.cores} cores" if self.cores else ""
            self.screen.line(f"{self._jobs(self.total)} ({_plural(rules, 'rule')}){cores}")

    def job_begins(self, number: int, job: Job, now: float) -> None:
        """Count a job that begins, and write that its stage begins with it."""
        stage = self._stages.begin(number, job, now)
        self._time.start(number, job.rule, now)
        if stage and stage.shown and self.with_stages:
            jobs = f": {_plural(stage.left, 'job')}" if stage.jobs > 1 else ""
            self.screen.line(f"{stage.rule}{jobs}")

    def job_ends(self, number: int, now: float) -> None:
        """Count a job that has ended well, and write the notices in its logs."""
        self._time.end(number, now)
        job = self._stages.end(number)
        for text in notices(job.logs) if job else ():
            self.screen.line(text, YELLOW)
        self._close_stages(now)

    def job_fails(self, number: int, job: Job, causes: Iterable[str], now: float) -> None:
        """Count a failed job, and write what it was, why it failed and the end of its log."""
        self._time.end(number, now, well=False)
        known = self._stages.jobs.get(number)
        job = Job(rule=job.rule, wildcards=known.wildcards if known else {}, logs=job.logs)
        self._stages.fail(number, job, now)
        if self._is_stopping:
            self.screen.line(f"Stopped: {job.name}", RED)
            return
        self.screen.line(f"FAILED {job.name}", RED)
        for cause in causes:
            self._indented(cause)
        for log in job.logs:
            self._indented(f"log: {log}")
            for line in last_lines(log, self.log_lines) if self.log_lines else ():
                self._indented(f"  {line}")

    def stop(self) -> None:
        """Note that the user has stopped the run: jobs that end from now on have not failed."""
        self._is_stopping = True

    def retry(self, number: int) -> None:
        """Write that a failed job is started again."""
        if job := self._stages.retry(number):
            self.screen.line(f"{job.name} is started again", YELLOW)

    def failures(self) -> None:
        """List the failed jobs, if there are several."""
        failed = list(self._stages.failures.values())
        if len(failed) < 2:
            return
        self.screen.line(f"{len(failed)} jobs failed:", RED)
        for job in failed[:_LISTED]:
            self._indented(" ".join([job.name, *job.logs]))
        if len(failed) > _LISTED:
            self._indented(f"and {len(failed) - _LISTED} others")

    def progress(self, now: float) -> None:
        """Write how far the run is, if it is time to, and which stages are done."""
        self._close_stages(now)
        if not self.with_progress or not self.total or self.is_complete or self._is_finished:
            return
        percent = 100 * self.done / self.total
        if self.screen.is_due(percent, now):
            status = f"{self.done} of {self._jobs(self.total)}, {self._left(now)}"
            self.screen.status(status, percent, now)

    def finish(self, logs: str, now: float) -> None:
        """Write how the run ended, once. `logs` names the log file."""
        if self._is_finished:
            return
        self._is_finished = True
        self.screen.end()
        for stage in self._stages.stages.values():
            stage.last_failure = float("-inf")
        self._close_stages(now)
        if logs:
            self.screen.line(logs, timed=False)
        if not self.total or not self.with_progress:  # with --quiet progress Snakemake tells no job's end
            return
        took = _duration(now - self._since)
        if self.is_complete:
            self.screen.line(f"{_plural(self.done, 'job')} done in {took}", GREEN)
            return
        failed = len(self._stages.failures)
        rest = self.total - self.done - failed
        parts = [f"{self.done} of {self._jobs(self.total)} done in {took}"]
        parts += [f"{failed} {'stopped' if self._is_stopping else 'failed'}"] if failed else []
        parts += [f"{rest} not run or not completed"] if rest > 0 else []
        self.screen.line(", ".join(parts), RED)

    def _jobs(self, count: int) -> str:
        return _plural(count, "job") + (" so far" if self._grows else "")

    def _left(self, now: float) -> str:
        fractions = {
            number: fraction_done(self._stages.jobs[number].logs)
            for number in self._time.running[:_ASKED]
            if number in self._stages.jobs
        }
        estimate = self._time.estimate(self._stages.left(), now, fractions)
        if not estimate.without:
            return in_words(estimate.seconds)
        named = ", ".join(estimate.without[:_NAMED])
        return f"{in_words(estimate.seconds)}, not counting {named}"

    def _close_stages(self, now: float) -> None:
        for stage in self._stages.close(now):
            if stage.shown and self.with_stages and not self._is_stopping:
                self.screen.line(_closing(stage, now))

    def _indented(self, text: str) -> None:
        for line in text.splitlines():
            self.screen.line(f"    {line}", timed=False)


def _closing(stage: Stage, now: float) -> str:
    jobs = f": {_plural(stage.ended, 'job')}" if stage.jobs > 1 else ""
    took = _duration(now - stage.since)
    if stage.failed:
        done = f"{stage.ended} of {_plural(stage.jobs, 'job')} done in {took}"
        return f"{stage.rule}: {done}, {len(stage.failed)} failed"
    return f"{stage.rule} done{jobs} in {took}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def _duration(seconds: float) -> str:
    """Return a duration in words, such as "8 s", "3 min 20 s" or "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
