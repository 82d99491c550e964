"""The workflow as Snakemake reads it: its rules with their requests, and the study. Nothing is run or written.

Snakemake documents no way to ask a workflow what its rules request: all that goes beyond its documented interface
stands in `read_workflow` and `_rule`, and a test holds them to the installed version.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lib.errors import ConfigError
from lib.study import SLURM_EXECUTOR

if TYPE_CHECKING:  # it needs packages that `make doctor` must be able to miss
    from lib.checked_study import Study

ROOT = Path(__file__).parents[3]
CACHE_ADVICE = (
    "export XDG_CACHE_HOME=FOLDER, one that you and the jobs of a cluster may write to, then start snakemake"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job of a rule asks for: cores, and resources by name (`mem_mb`, `runtime` in minutes, `gpu`, ...)."""

    threads: int
    resources: Mapping[str, object]

    @property
    def mem_mb(self) -> int:
        """Return the memory, MB; 0: none is asked for."""
        return int(self.resources.get("mem_mb", 0))

    @property
    def runtime_min(self) -> int:
        """Return the time limit, minutes; 0: none is asked for."""
        return int(self.resources.get("runtime", 0))

    @property
    def gpus(self) -> int:
        """Return the number of GPUs, however they are asked for."""
        gres = str(self.resources.get("gres", ""))
        if gres.split(":")[0] == "gpu":
            count = gres.split(":")[-1]
            return int(count) if count.isdigit() else 1
        return int(self.resources.get("gpu", 0))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule that makes files. Patterns hold its wildcards as `{name}`, relative to the study's folder."""

    name: str
    wildcards: frozenset[str]
    outputs: tuple[str, ...]
    benchmark: str
    log: str
    is_local: bool  # Snakemake runs it itself, not a job of a cluster
    first: Request
    last: Request  # of the last attempt


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A study, the rules that work on it, and how Snakemake was asked to run them."""

    study: "Study"
    rules: Mapping[str, Rule]
    executor: str
    cores: int | None
    executor_settings: object = field(repr=False)  # of Snakemake's plugin
    # what stands on the command lines of jobs that are sent away, by what it is
    words: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def on_slurm(self) -> bool:
        """Return whether jobs are sent to SLURM."""
        return self.executor in ("slurm", SLURM_EXECUTOR)


def read_workflow(arguments: Sequence[str]) -> Workflow:
    """Return the workflow that `snakemake` with these arguments would run.

    Raises:
        ConfigError: an argument, the configuration or the cohort table is wrong; the text is the workflow's own and
            lists every problem.
        ImportError: a package is missing.
    """
    from snakemake import api, cli
    from snakemake.settings import types
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    from lib.checked_study import words_of_jobs
    from lib.settings import check_texts

    args = _parsed(cli, arguments)
    check_texts(args.configfile or ())
    executor = args.executor or "local"
    plugin = ExecutorPluginRegistry().get_plugin(executor)
    if executor == SLURM_EXECUTOR:
        _refuse_options_of(ExecutorPluginRegistry().get_plugin("slurm"), args)
    quiet = types.OutputSettings(quiet={types.Quietness.ALL}, enable_file_logging=False)
    with _where(args.directory) as folder, _refusals(), api.SnakemakeApi(quiet) as snakemake:
        opened = snakemake.workflow(
            resource_settings=types.ResourceSettings(
                cores=args.cores,
                max_threads=args.max_threads,
                overwrite_threads=args.set_threads,
                overwrite_resources=args.set_resources,
                default_resources=args.default_resources,
            ),
            config_settings=types.ConfigSettings(
                config=_given(cli, args.config),
                configfiles=args.configfile,
                config_args=args.config,
                replace_workflow_config=args.replace_workflow_config,
            ),
            snakefile=args.snakefile or ROOT / "Snakefile",
            workdir=folder,
        )
        read = opened._workflow
        read._executor_plugin = plugin  # it tells which rules are jobs of the cluster
        attempts = 1 + (args.retries or 0)
        study = _study(read, Path(args.directory or Path.cwd()).absolute())
        return Workflow(
            study=study,
            rules={
                rule.name: _rule(read, rule, attempts)
                for rule in read.rules
                if rule.output and rule.benchmark
            },
            executor=executor,
            cores=args.cores,
            executor_settings=plugin.get_settings(args),
            words=words_of_jobs(study, read.basedir),
        )


def _parsed(cli: object, arguments: Sequence[str]) -> object:
    """Return the parsed arguments, those of profiles included."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        try:
            return cli.parse_args(list(arguments))[1]
        except SystemExit:
            said = printed.getvalue().strip().splitlines() or ["no such option"]
        except cli.CliException as error:
            said = [str(error)]
    raise ConfigError(f"snakemake does not take these arguments: {said[-1]}")


def _refuse_options_of(plugin: object, args: object) -> None:
    """Refuse the options of the executor `slurm`: Snakemake takes them, and nothing reads them."""
    given, default = plugin.get_settings(args), plugin.settings_cls()
    for name, value in vars(given).items():
        if value != getattr(default, name):
            option = name.replace("_", "-")
            raise ConfigError(f"slurm-{option} has no effect: write {SLURM_EXECUTOR}-{option}")


def _given(cli: object, entries: Sequence[str] | None) -> dict:
    """Return the settings of --config."""
    try:
        return cli.parse_config(entries)
    except ValueError as error:
        advice = 'Write --config NAME=VALUE, and what stands in a section as "train={epochs: 3}"'
        raise ConfigError(f"{str(error).strip()} {advice}") from None


@contextlib.contextmanager
def _where(directory: str | None) -> Iterator[Path | None]:
    """Yield the study's folder, or an empty one in place of one that is not there: Snakemake would make it."""
    if directory is None or Path(directory).exists():
        yield None if directory is None else Path(directory)
        return
    with tempfile.TemporaryDirectory() as empty:
        yield Path(empty)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn what Snakemake refuses into a ConfigError, and keep its remarks from the terminal."""
    from snakemake_interface_common.exceptions import ApiError, WorkflowError

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except (WorkflowError, ApiError, OSError) as error:
        raise ConfigError(_blocked_cache(error) or str(error).strip()) from None


def _blocked_cache(error: Exception) -> str:
    """Return what to do where Snakemake could not make its cache; empty if an error is of something else."""
    from snakemake.common import get_appdirs

    cache = Path(get_appdirs().user_cache_dir)
    named = getattr(error, "filename", None)
    if not named or not (cache.is_relative_to(named) or Path(named).is_relative_to(cache)):
        return ""
    return f"Snakemake cannot write to its cache {cache}: {CACHE_ADVICE}"


def _study(read: object, folder: Path) -> "Study":
    """Return the study that Snakemake has read, `folder` being its own or one that is not there yet."""
    from lib.checked_study import Typed, read_study

    typed = Typed(
        words=read.config_settings.config_args or (),
        overlays=read.overwrite_configfiles,
        settings=read.config_settings.overwrite_config,
    )
    return read_study(read.config, typed, folder)


def _rule(read: object, rule: object, attempts: int) -> Rule:
    """Return one rule; its requests may be functions of the attempt."""
    from snakemake.io import strip_wildcard_constraints
    from snakemake.iocontainers import Wildcards

    def request(attempt: int) -> Request:
        found = dict(rule.expand_resources(Wildcards(fromdict={}), [], attempt).items())
        return Request(threads=found.pop("_cores"), resources=found)

    return Rule(
        name=rule.name,
        wildcards=frozenset(rule.wildcard_names),
        outputs=tuple(strip_wildcard_constraints(str(output)) for output in rule.output),
        benchmark=strip_wildcard_constraints(str(rule.benchmark)),
        log=strip_wildcard_constraints(str(rule.log[0])),
        is_local=read.is_local(rule),
        first=request(1),
        last=request(attempts),
    )
