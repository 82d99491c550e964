"""Job script of rule train_fold: the scans of a fold in; model, history and record out."""

from pathlib import Path

from lib.atomic import read_json, write_json
from lib.imaging.grid import array_zyx, mirror_for_model, spacing_zyx
from lib.imaging.nifti import read_image, read_mask
from lib.joblog import job_log
from lib.learning.checkpoint import write_model
from lib.learning.determinism import prepare_torch
from lib.learning.train import FoldSettings, TrainingScan, train_fold, write_history
from lib.provenance import code_digest
from lib.seeding import derive_seed


def read_scans(image_paths, mask_paths, record_paths):
    for image_path, mask_path, record_path in zip(image_paths, mask_paths, record_paths, strict=True):
        image, mask, side = read_image(image_path), read_mask(mask_path), read_json(record_path)["side"]
        arrays_zyx = [mirror_for_model(array_zyx(volume), side) for volume in (image, mask)]
        yield TrainingScan(Path(image_path).parent.name, *arrays_zyx, spacing_zyx(image))


with job_log(snakemake.log[0]):
    given, params, fold = snakemake.input, snakemake.params, dict(snakemake.wildcards)
    cohort, network, number = fold["cohort"], fold["network"], int(fold["fold"])
    prepare_torch(reproducible=params.reproducible, threads=snakemake.threads)
    trained = train_fold(
        list(read_scans(given.train_images, given.train_masks, given.train_records)),
        list(read_scans(given.validation_images, given.validation_masks, given.validation_records)),
        FoldSettings(
            **{key: params[key] for key in ("network", "train", "intensity", "predict")},
            name=f"{cohort}/{network} fold {number}",
            seed=derive_seed(params.seed, "train", cohort, network, number),
            code=code_digest("scripts/train_fold.py"),
        ),
        params.state,
    )
    identity = {"cohort": cohort, "model": network, "fold": number, "preprocessing": params.preprocessing}
    write_history(snakemake.output.history, trained.history)
    write_json(snakemake.output.run, identity | trained.facts)
    # last: a fold with a model.pt is a finished one
    write_model(snakemake.output.model, trained.model_content(params.preprocessing))
    Path(params.state).unlink(missing_ok=True)
