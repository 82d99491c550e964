"""Job script of rule predict_regression: estimate the crops of a batch of scans, into a folder for each scan.

output: batch, a folder with {scan}/estimate.json: by structure `value`, `sd` and `by_fold`, in the unit of the target
"""

import time

from lib.atomic import whole_folder, write_json
from lib.joblog import job_log
from lib.learning.compute import choose_compute
from lib.learning.determinism import prepare_torch
from lib.learning.devices import own_device
from lib.learning.predict_regression import estimate_crops, load_estimator
from lib.learning.regression_recipe import LAYOUT, PRECISION
from lib.training_crops import read_crops

with job_log(snakemake.log[0]) as logger, own_device(snakemake.params.device):
    given, params = snakemake.input, snakemake.params
    prepare_torch(reproducible=params.reproducible, threads=snakemake.threads)
    compute = choose_compute(params.device, PRECISION, LAYOUT)
    estimator = load_estimator(given.models, params.weights, compute, (params.targets, params.crop))
    logger.info("%d networks, %s weights, %s", len(given.models), params.weights, compute.describe())
    seconds = {}
    with whole_folder(snakemake.output.batch) as batch:
        for scan, folder in zip(params.scans, given.crops, strict=True):
            begin = time.monotonic()
            estimates = estimate_crops(estimator, read_crops(folder, params.targets, estimator.crop))
            write_json(batch / scan / "estimate.json", estimates)
            seconds[scan] = round(time.monotonic() - begin, 4)
            logger.info("%s: %d structures", scan, len(estimates))
        told = {"device": compute.describe(), "precision": compute.precision}
        write_json(batch / "timing.json", {"networks": len(given.models), **told, "predict_seconds": seconds})
