"""The workflow as Snakemake reads it: its rules with their requests, and the study. Nothing is run or written.

Snakemake has no documented way to read the resource requests of rules. Only `read_workflow` and `_rule` use
undocumented parts of Snakemake, and a test checks them against the installed version.
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

if TYPE_CHECKING:  # it imports packages that may be missing when `make doctor` runs
    from lib.checked_study import Study

ROOT = Path(__file__).parents[3]
CACHE_ADVICE = (
    "export XDG_CACHE_HOME=FOLDER, where you and the jobs of a cluster can write, then start snakemake"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The request of a rule's job: cores, and resources by name (`mem_mb`, `runtime` in minutes, `gpu`, ...)."""

    threads: int
    resources: Mapping[str, object]

    @property
    def mem_mb(self) -> int:
        """Return the requested memory, MB; 0 if none is requested."""
        return int(self.resources.get("mem_mb", 0))

    @property
    def runtime_min(self) -> int:
        """Return the requested time limit, minutes; 0 if none is requested."""
        return int(self.resources.get("runtime", 0))

    @property
    def gpus(self) -> int:
        """Return the number of requested GPUs, whether as `gpu` or as `gres`."""
        gres = str(self.resources.get("gres", ""))
        if gres.split(":")[0] == "gpu":
            count = gres.split(":")[-1]
            return int(count) if count.isdigit() else 1
        return int(self.resources.get("gpu", 0))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule that makes files. Paths are relative to the study's folder, with wildcards as `{name}`."""

    name: str
    wildcards: frozenset[str]
    outputs: tuple[str, ...]
    benchmark: str
    log: str
    is_local: bool  # Snakemake runs it on its own machine, not as a cluster job
    first: Request
    last: Request  # the request of the last attempt


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A study, its rules, and how Snakemake was asked to run them."""

    study: "Study"
    rules: Mapping[str, Rule]
    executor: str
    cores: int | None
    executor_settings: object = field(repr=False)  # settings of the executor plugin
    # words on the command lines of cluster jobs, by what they name
    words: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def on_slurm(self) -> bool:
        """Return whether jobs are sent to SLURM."""
        return self.executor in ("slurm", SLURM_EXECUTOR)


def read_workflow(arguments: Sequence[str]) -> Workflow:
    """Return the workflow that `snakemake` with these arguments would run.

    Raises:
        ConfigError: an argument, the configuration or the cohort table is wrong; the text is that of the workflow
            and lists every problem.
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
        read._executor_plugin = plugin  # the plugin decides which rules are local
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
    """Return the parsed arguments, including those of profiles."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        try:
            return cli.parse_args(list(arguments))[1]
        except SystemExit:
            said = printed.getvalue().strip().splitlines() or ["no such option"]
        except cli.CliException as error:
            said = [str(error)]
    raise ConfigError(f"snakemake refuses these arguments: {said[-1]}")


def _refuse_options_of(plugin: object, args: object) -> None:
    """Refuse the options of the executor `slurm`, which Snakemake accepts but does not use here."""
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
        advice = 'Write --config NAME=VALUE, and a setting in a section as "train={epochs: 3}"'
        raise ConfigError(f"{str(error).strip()} {advice}") from None


@contextlib.contextmanager
def _where(directory: str | None) -> Iterator[Path | None]:
    """Yield the study's folder, or a temporary one if it does not exist: Snakemake would create it."""
    if directory is None or Path(directory).exists():
        yield None if directory is None else Path(directory)
        return
    with tempfile.TemporaryDirectory() as empty:
        yield Path(empty)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn errors of Snakemake into a ConfigError, and hide what it prints to stderr."""
    from snakemake_interface_common.exceptions import ApiError, WorkflowError

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except (WorkflowError, ApiError, OSError) as error:
        raise ConfigError(_blocked_cache(error) or str(error).strip()) from None


def _blocked_cache(error: Exception) -> str:
    """Return the message for an error in writing Snakemake's cache; empty if the error has another cause."""
    from snakemake.common import get_appdirs

    cache = Path(get_appdirs().user_cache_dir)
    named = getattr(error, "filename", None)
    if not named or not (cache.is_relative_to(named) or Path(named).is_relative_to(cache)):
        return ""
    return f"Snakemake cannot write to its cache {cache}: {CACHE_ADVICE}"


def _study(read: object, folder: Path) -> "Study":
    """Return the study that Snakemake has read; its folder `folder` may not exist yet."""
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
