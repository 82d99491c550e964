"""What all rules share: checked settings, the cohort, who is predicted by what. Parsed again in every cluster job."""

import atexit
import gc
import os
import sys
from datetime import datetime
from functools import cache

import yaml
from lib.atomic import forbid_world_writing
from lib.cohort.acquisitions import read_protocol
from lib.cohort.failures import explain_failures, explain_fold, is_measurable, job_failure, prediction_failure
from lib.cohort.folds import CROPS_NEED_NO_FOLDS
from lib.cohort.placement import trains_fold, validates_fold
from lib.cohort.protocols import plan_predictions, weights_of
from lib.cohort.review import in_words, read_review, rejected
from lib.cohort.other_run import NEEDED, find_results
from lib.cohort.scans import accepted_scans, read_digests, read_folds, read_records
from lib.cohort.table import planned_cohort, read_cohort
from lib.errors import ConfigError, OsteoflowError
from lib.learning.architecture import read_network
from lib.learning.finished import check_preprocessing, read_finished
from lib.model_record import model_digests
from lib.phantom.people import PhantomConfig, phantom_table
from lib.provenance import code_digest, describe_software
from lib.pseudonyms import write_secret
from lib.leftover_jobs import check_none_left
from lib.settings import (
    check_rules,
    check_settings,
    check_texts,
    check_words,
    in_order_of,
    in_use,
    keep_names,
    read_words,
)
from lib.study import (
    check_executor,
    check_paths,
    check_study,
    check_submitted,
    lock_study,
    study_identity,
    write_study,
)
from snakemake.exceptions import WorkflowError

PHANTOM_TABLE = "results/phantom/cohort.csv"
STUDY_FILE = "results/study.json"
SECRET_FILE = "study.secret"  # beside results/, which can be passed on without it
NO_COHORT = """there is no cohort to work on. Either
  set `cohort` to your cohort table:  snakemake --cores 4 --config cohort=cohort.csv
  or try the synthetic demo:          make demo   (snakemake --cores 2 --configfile studies/demo.yaml)
docs/cohort.md explains the table."""

forbid_world_writing()
# a graph of a hundred thousand jobs lives to the end: there is little garbage in it, and much to look through
gc.set_threshold(100_000, 20, 20)
atexit.register(gc.freeze)  # nor is it looked through when Python ends: a fifth of a dry run


wildcard_constraints:
    scan="[A-Za-z0-9-]+",
    group="[a-z0-9-]+",
    network="[A-Za-z0-9-]+",
    fold="[0-9]+",
    members="ensemble|single|fold-[0-9]+",
    batch="[0-9]+",


def read_yaml(name):
    """Return the content of a YAML file of the project."""
    return yaml.load(Path(workflow.basedir, name).read_text(encoding="utf-8"), yaml.CSafeLoader)


def checked_study():
    """Return the cohort by scan, the path of its table and the finished models to use (None: train here)."""
    words = workflow.config_settings.config_args or []
    check_texts(workflow.overwrite_configfiles)
    check_words(words)
    # targets come to the workflow only after it was read; rules of --set-threads may stand in a profile
    asked = workflow.resource_settings
    check_rules([*sys.argv[1:], *asked.overwrite_threads, *asked.overwrite_resources])
    schema = read_yaml("schemas/config.schema.yaml")
    named = keep_names(config, schema, words)
    settings = in_order_of(read_words(named, schema), read_yaml("config.yaml"))
    config.clear()
    config.update(settings)
    check_settings(config, schema)
    check_paths(
        os.getcwd(), sys.executable, {key: config[key] for key in ("cohort", "model", "review", "other")}
    )
    for name in ("groups", "networks"):
        config[name] = in_use(config[name], workflow.config_settings.overwrite_config.get(name))
    for entry in config["networks"].values():
        read_network(entry)  # refuses what the schema cannot tell, such as levels that do not fit together
    read_protocol(config["acquisition_protocol"])
    if config["partial"] and not os.path.exists("results/folds/folds.csv"):
        raise ConfigError(
            "partial=true makes a report from what is there, but people have not been split yet; "
            f"run once without it. {CROPS_NEED_NO_FOLDS}"
        )
    finished = read_finished(config["model"]) if config["model"] else None
    groups = [finished.takes] if finished else config["groups"].values()
    synthetic = not config["cohort"]
    table = config["cohort"] or PHANTOM_TABLE
    if synthetic:
        phantom = PhantomConfig(**config["phantom"])
        if not phantom.people:
            raise ConfigError(NO_COHORT)
        cohort = planned_cohort(phantom_table(phantom), table)
    else:
        cohort = read_cohort(
            table,
            extra_columns=config["cohort_columns"],
            sex_required=any("sex" in takes for takes in groups),
        )
    return cohort, table, finished


def check_models():
    """Refuse models that were trained on other input than this configuration makes."""
    if FINISHED:
        check_preprocessing(FINISHED, PREPROCESSING, config["model"])
    elif not config["retrain"]:
        for folder in sorted(Path("results/models").glob("*/*")):
            if list(folder.glob("fold-*/run.json")) and list(folder.glob("fold-*/model.pt")):
                check_preprocessing(read_finished(folder), PREPROCESSING, str(folder))


# what finished models must find unchanged in the images that they are given
PREPROCESSING = {
    "resample": config["resample"],
    "crop": {"size_xy": config["crop"]["size_xy"]},
    "intensity": config["intensity"],
}
try:
    COHORT, TABLE, FINISHED = checked_study()
    REVIEW = read_review(config["review"], COHORT) if config["review"] else {}
    OTHER = find_results(config["other"], "results") if config["other"] else ""
    STUDY = study_identity(
        study=config["study"], table=TABLE, synthetic=not config["cohort"], model=config["model"]
    )
    check_study(STUDY_FILE, STUDY)
    check_models()
except OsteoflowError as error:
    raise WorkflowError(str(error)) from None

RETRAINED_AT = datetime.now().isoformat() if config["retrain"] else ""
SYNTHETIC = not config["cohort"]
REVIEWS = in_words(REVIEW)
REJECTED = rejected(REVIEW)
NEEDS_EDIT = sorted(scan for scan, row in REVIEW.items() if row.verdict == "needs-edit")
CORRECTED = {scan: row.corrected_mask for scan, row in REVIEW.items() if row.corrected_mask}
SCANS = {scan: row for scan, row in COHORT.items() if not row.exclude}
GROUPS = {FINISHED.group: FINISHED.takes} if FINISHED else config["groups"]
NETWORKS = [FINISHED.network] if FINISHED else list(config["networks"])
FOLDS = FINISHED.folds if FINISHED else tuple(range(config["folds"]["folds"]))

# the secret of the study that trained finished models lies beside its results/ folder, where that is at hand
SECRETS = [SECRET_FILE, f"{config['model']}/../../../../study.secret"] if FINISHED else [SECRET_FILE]


# what may be told of the configuration: where tables, models and other studies lie is the source's business
SETTINGS = {
    key: value
    for key, value in config.items()
    if key not in ("cohort", "model", "review", "other", "compare")
}


def begin_run():
    """Claim the study for this run, before its first job."""
    try:
        if workflow.non_local_exec:
            check_executor(workflow.executor_plugin.name)
            check_submitted(os.getcwd(), words_of_jobs())
        lock_study("results")
        check_none_left(Path())
        write_study(STUDY_FILE, STUDY)
        write_secret(SECRET_FILE)
    except OsteoflowError as error:
        raise WorkflowError(str(error)) from None
    rest_between_jobs()


def rest_between_jobs():
    """Let Snakemake sleep while jobs run, unless it was given a limit of jobs of its own.

    To keep to its limit (100 jobs a second as a default) Snakemake 9.27 looks for new jobs a second after each job that
    has ended, and from then on every second for each of them: after 200 jobs that alone keeps half a core busy.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and limit.max_jobs >= 100 * limit.timespan:
        workflow.scheduler.job_rate_limiter = None


def words_of_jobs():
    """Return what stands on the command lines of jobs that are sent away: paths and settings, by what they are."""
    tables = {
        column: [getattr(row, column) for row in SCANS.values()] for column in ("image", "mask", "mask2")
    }
    return {
        "the project's folder": [workflow.basedir],
        "--configfile": [str(path) for path in workflow.overwrite_configfiles],
        "--config": workflow.config_settings.config_args,
        "cohort": [TABLE],
        "model": [config["model"]],
        "other": [OTHER],
        "corrected_mask": CORRECTED.values(),
        **tables,
    }


def configured(network):
    """Return the settings that shape a training, as the configuration writes them."""
    return {
        "architecture": config["networks"][network],
        "train": config["train"],
        "intensity": config["intensity"],
    }


@cache
def code_of(rule, *texts):
    """Return a digest of all lib code that a rule's script reaches, and of texts. A change runs its jobs again."""
    return code_digest(f"scripts/{rule}.py", texts)


def page_files(*patterns):
    """Return the templates, styles and scripts of a page that match the patterns below report/."""
    folder = Path(workflow.basedir, "report")
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def optional(path, present):
    """Return an input that is there only for some scans."""
    return path if present else []


def window_pixel_mm():
    """Return the pixel size that the crop's window is counted in; None: the scan's own."""
    inplane_mm = config["resample"]["inplane_mm"]
    return None if inplane_mm == "native" else inplane_mm


def grow(first):
    """Return a request of memory (MB) or time (minutes) that doubles at each new attempt.

    First requests of memory are at least twice what was measured at full size (lib/commands/planning/unit_costs.csv).
    """
    return lambda wildcards, attempt: first * 2 ** (attempt - 1)
