"""Job script of rule train_fold: train one fold and write its history, record, model card and model.

The model is written last: a fold with a model.pt is finished.
"""

from hashlib import sha256
from pathlib import Path

from lib.atomic import read_json, write_json, write_text
from lib.cohort.scans import read_digests, read_folds
from lib.cohort.trained_people import describe_people
from lib.imaging.model_frame import common_frame
from lib.joblog import job_log
from lib.learning.card import model_card
from lib.learning.checkpoint import write_model
from lib.learning.determinism import prepare_torch
from lib.learning.devices import own_device
from lib.learning.finished import describe_fold
from lib.learning.history import write_history
from lib.learning.recipe import FoldSettings
from lib.learning.train import train_fold
from lib.provenance import code_digest
from lib.pseudonyms import read_secret
from lib.seeding import fold_seed
from lib.training_scans import read_training_scans

with job_log(snakemake.log[0]), own_device(snakemake.params.fold["configured"]["train"]["device"]):
    given, params, made = snakemake.input, snakemake.params, snakemake.output
    fold, secret = params.fold, read_secret(params.secret)
    prepare_torch(reproducible=params.reproducible, threads=snakemake.threads)
    crops = [read_json(path) for path in given.train_records]
    settings = FoldSettings(
        **fold["configured"],
        **params.settings,
        name=f"{fold['group']}/{fold['network']} fold {fold['fold']}",
        seed=fold_seed(params.seed, fold["group"], fold["fold"]),
        code=code_digest("scripts/train_fold.py"),
        axes=common_frame(crops).axes,
    )
    training = read_training_scans(given.train_images, given.train_labels, given.train_records)
    validation = read_training_scans(
        given.validation_images, given.validation_labels, given.validation_records
    )
    trained = train_fold(training, validation, settings, params.state)
    metadata = describe_fold(
        fold | trained.facts,
        people=describe_people(read_folds(given.folds), trained.facts, secret, read_digests(given.digests)),
        crops=crops,
        folds_sha256=sha256(Path(given.folds).read_bytes()).hexdigest(),
    )
    write_history(made.history, trained.history)
    write_json(made.run, metadata)
    write_text(made.card, model_card(metadata))
    write_model(made.model, metadata | {"last": trained.last, "best": trained.best})
    Path(params.state).unlink(missing_ok=True)
