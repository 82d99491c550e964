"""How far a study is: of each stage how many jobs are done, running, failed and left.

python -m lib.commands.status [the arguments that snakemake will get]

Only files, logs and locks are looked at, so that the answer takes seconds for a large cohort, too. A job counts as
done if its files exist; what would be made again because something has changed is told by `snakemake --dry-run`.
"""

import sys
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.cohort.failures import log_failure
from lib.commands.planning.jobs import Job, is_done, plan_jobs
from lib.commands.planning.workflow import Rule, Workflow, read_workflow
from lib.errors import OsteoflowError
from lib.study import active_run

MOST_REASONS = 5
UNSCREENED = "No verdict exists yet: every scan of the table that is not excluded is assumed to be accepted."
CHANGED = (
    "Done means that the files exist. With --dry-run, `osteoflow run` tells what changes would make again."
)


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """The jobs of one rule; those in `failures` (log -> reason) are neither done nor left."""

    rule: str
    jobs: int
    done: int
    running: int
    failures: Mapping[str, str]

    @property
    def left(self) -> int:
        """Return how many jobs have not been tried."""
        return self.jobs - self.done - self.running - len(self.failures)


def stage_statuses(workflow: Workflow) -> list[StageStatus]:
    """Return the status of each rule that has jobs, in the order of the workflow.

    Raises:
        ConfigError: the people cannot be split as configured.
    """
    folder = workflow.study.folder
    started = started_files(folder) if active_run(folder / "results") else frozenset()
    plan = plan_jobs(workflow.study, workflow.rules)
    return [rule_status(workflow.rules[name], jobs, folder, started) for name, jobs in plan.items() if jobs]


def started_files(folder: Path) -> frozenset[str]:
    """Return the files that Snakemake has marked as being written, relative to the study's folder."""
    marks, names = folder / ".snakemake/incomplete", set()
    for path in marks.rglob("*") if marks.is_dir() else ():
        if path.is_file():
            # a long name is cut into folders that begin with @
            packed = "".join(part.removeprefix("@") for part in path.relative_to(marks).parts)
            try:
                names.add(urlsafe_b64decode(packed).decode())
            except ValueError:
                continue
    return frozenset(names)


def rule_status(rule: Rule, jobs: Sequence[Job], folder: Path, started: Collection[str]) -> StageStatus:
    """Return how many jobs of a rule are done, running (they write a file of `started`) and failed."""
    done, running, failures = 0, 0, {}
    for job in jobs:
        made = rule.outputs[0].format_map(job.wildcards)
        log = rule.log.format_map(job.wildcards)
        if made in started:
            running += 1
        elif is_done(job, rule, folder):
            done += 1
        elif why := log_failure(folder / log, folder / made, certain=True):
            failures[log] = why
    return StageStatus(rule=rule.name, jobs=len(jobs), done=done, running=running, failures=failures)


def status_text(workflow: Workflow) -> str:
    """Return the status as a table, with reasons of failures and what runs."""
    statuses, folder = stage_statuses(workflow), workflow.study.folder
    rows = [(row.rule, row.done, row.running, len(row.failures), row.left) for row in statuses]
    total = ("total", *(sum(row[column] for row in rows) for column in range(1, 5)))
    lines = [_line("stage", "done", "running", "failed", "left"), *(_line(*row) for row in (*rows, total))]
    failures = [(log, why) for row in statuses for log, why in row.failures.items()]
    lines += ["", *(f"failed: {log}: {why}" for log, why in failures[:MOST_REASONS])]
    if len(failures) > MOST_REASONS:
        lines.append(f"and {len(failures) - MOST_REASONS} more: results/logs/RULE/ has a log of each job")
    run = active_run(folder / "results")
    lines.append(f"A run works here: {run}." if run else "No run works here.")
    lines += [] if (folder / "results/cohort/scans.csv").exists() else [UNSCREENED]
    return "\n".join([*lines, CHANGED])


def _line(stage: str, *numbers: object) -> str:
    return f"{stage:<22}" + "".join(f"{number:>9}" for number in numbers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    try:
        print(status_text(read_workflow(words)))
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
