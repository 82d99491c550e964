"""The study: its settings, people, review and models, under the names that the rules know. Parsed in every job."""

import os
import sys
from datetime import datetime

from lib.catalog.stages import unused_stages
from lib.checked_study import Typed, read_study
from lib.cohort.review import in_words
from lib.errors import OsteoflowError
from lib.settings import check_rules
from snakemake.exceptions import WorkflowError


wildcard_constraints:
    scan="[A-Za-z0-9-]+",
    group="[a-z0-9-]+",
    network="[A-Za-z0-9-]+",
    fold="[0-9]+",
    members="ensemble|single|fold-[0-9]+",
    batch="[0-9]+",


# sys.argv, because targets are known to the workflow only after parsing; --set-threads may be in a profile
resources_asked = workflow.resource_settings
try:
    check_rules([*sys.argv[1:], *resources_asked.overwrite_threads, *resources_asked.overwrite_resources])
    STUDY = read_study(
        config,
        Typed(
            words=workflow.config_settings.config_args or (),
            overlays=workflow.overwrite_configfiles,
            settings=workflow.config_settings.overwrite_config,
        ),
        os.getcwd(),
    )
except OsteoflowError as error:
    raise WorkflowError(str(error)) from None
config.clear()
config.update(STUDY.config)

TABLE = STUDY.table
COHORT = STUDY.cohort
SCANS = STUDY.scans
SYNTHETIC = STUDY.synthetic
FINISHED = STUDY.finished
FINISHED_REGRESSION = STUDY.finished_regression
GROUPS = STUDY.groups
NETWORKS = STUDY.networks
REGRESSIONS = (
    STUDY.regression_networks
)  # networks that read a number from crops; empty without regression.targets
CROP_NETWORK = STUDY.crop_network  # the network whose masks these crops are cut around
FOLDS = STUDY.folds
OTHER = STUDY.other
REVIEWS = in_words(STUDY.review)
REJECTED = STUDY.rejected
CORRECTED = STUDY.corrected
UNUSED = unused_stages(config, calibrates=STUDY.calibrates)
NEEDS_EDIT = sorted(scan for scan, row in STUDY.review.items() if row.verdict == "needs-edit")
RETRAINED_AT = datetime.now().isoformat() if config["retrain"] else ""

# beside results/, so that results/ can be shared without it; the secret of the study that trained finished models is
# beside that study's results/ folder, if available
SECRET_FILE = "study.secret"
SECRETS = [SECRET_FILE, f"{FINISHED.folder}/../../../../{SECRET_FILE}"] if FINISHED else [SECRET_FILE]

# the part of the configuration that may be published: without paths of tables, models and other studies
SETTINGS = {
    key: value
    for key, value in config.items()
    if key not in ("cohort", "model", "review", "other", "compare")
}
