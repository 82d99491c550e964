"""Job script of rule train_regression: train one fold of a regression, and write history, record, card and model.

The model is written last: a fold with a model.pt is finished.
"""

from hashlib import sha256
from pathlib import Path

from lib.atomic import write_json, write_text
from lib.cohort.scans import read_digests, read_folds
from lib.cohort.trained_people import describe_people
from lib.joblog import job_log
from lib.learning.checkpoint import write_model
from lib.learning.determinism import prepare_torch
from lib.learning.devices import own_device
from lib.learning.finished import describe_regression
from lib.learning.history import write_history
from lib.learning.regression_card import regression_card
from lib.learning.regression_recipe import RegressionSettings
from lib.learning.train_regression import train_regression
from lib.model_record import REGRESS
from lib.provenance import code_digest
from lib.pseudonyms import pseudonyms, read_secret
from lib.seeding import fold_seed
from lib.training_crops import read_target_crops

with job_log(snakemake.log[0]), own_device(snakemake.params.settings["train"]["device"]):
    given, params, made = snakemake.input, snakemake.params, snakemake.output
    fold, secret = params.fold, read_secret(params.secret)
    prepare_torch(reproducible=params.reproducible, threads=snakemake.threads)
    settings = RegressionSettings(
        **params.settings,
        name=f"{fold['group']}/{fold['network']} fold {fold['fold']}",
        seed=fold_seed(params.seed, fold["group"], fold["fold"]),
        code=code_digest("scripts/train_regression.py"),
    )
    training, validation = (
        read_target_crops(folders, params.references, settings.crop)
        for folders in (given.train_crops, given.validation_crops)
    )
    trained = train_regression(training, validation, settings, params.state)
    without = {Path(folder).name for folder in given.train_crops} - set(trained.facts["training"])
    metadata = describe_regression(
        fold | trained.facts | {"without_crops": pseudonyms(without, secret)},
        people=describe_people(read_folds(given.folds), trained.facts, secret, read_digests(given.digests)),
        folds_sha256=sha256(Path(given.folds).read_bytes()).hexdigest(),
    )
    write_history(made.history, trained.history, REGRESS)
    write_json(made.run, metadata)
    write_text(made.card, regression_card(metadata))
    write_model(made.model, metadata | {"last": trained.last, "best": trained.best})
    Path(params.state).unlink(missing_ok=True)
