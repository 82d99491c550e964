"""Job script of rule predict_scans: predict a batch of cropped scans, into a folder of maps for each scan."""

from pathlib import Path

from lib.atomic import read_json, whole_folder, write_json
from lib.imaging.grid import array_zyx
from lib.imaging.model_frame import ModelFrame
from lib.imaging.nifti import read_image, write_map
from lib.intensity_scale import IntensityRange
from lib.joblog import job_log
from lib.learning.determinism import prepare_torch
from lib.learning.devices import own_device
from lib.learning.predict import choose_members, load_models, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.learning.uncertainty import describe_disagreement, disagreement_of_one

with job_log(snakemake.log[0]) as logger, own_device(snakemake.params.device):
    given, params, members = snakemake.input, snakemake.params, snakemake.wildcards.members
    prepare_torch(reproducible=params.reproducible, threads=snakemake.threads)
    paths = choose_members(given.models, members)
    folds = [Path(path).parent.name for path in paths]
    ensemble = load_models(paths, params.weights, params.device, params.precision)
    logger.info("%d networks, %s weights, %s", len(paths), params.weights, ensemble.compute.describe())
    config = PredictConfig(**params.predict)
    seconds = {}
    with whole_folder(snakemake.output.batch) as batch:
        for scan, image_path, record_path in zip(params.scans, given.images, given.records, strict=True):
            image, record = read_image(image_path), read_json(record_path)
            frame, scale = ModelFrame(**record["frame"]), IntensityRange(**record["intensity"])
            ensemble.require_slice_axis(frame.slice_axis)
            predicted = predict_scan(ensemble, frame.to_model(array_zyx(image)), scale, config)
            for name, voxels in predicted.maps.items():
                write_map(frame.to_patient(voxels), image, batch / scan / f"{name}.nii.gz")
            alone = dict.fromkeys(ensemble.structures, disagreement_of_one(members))
            disagreements = predicted.disagreements or alone
            told = {name: describe_disagreement(found, folds) for name, found in disagreements.items()}
            write_json(batch / scan / "uncertainty.json", told)
            seconds[scan] = predicted.seconds
            logger.info("%s: size (x, y, z) %s", scan, image.GetSize())
        compute = {"device": ensemble.compute.describe(), "precision": ensemble.compute.precision}
        write_json(batch / "timing.json", {"networks": len(paths), **compute, "predict_seconds": seconds})
