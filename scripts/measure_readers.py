"""Job script of rule measure_readers: compare two readers and the model on one scan.

input: mask (predicted), reference (reader 1) and second_reference (reader 2), all on the crop grid
output: json; params: measure (section of the configuration)
"""

from lib.atomic import write_json
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.nifti import read_mask
from lib.joblog import job_log
from lib.stats.overlap import OverlapConfig
from lib.stats.readers import compare_readers

with job_log(snakemake.log[0]) as logger:
    given = snakemake.input
    first, second, predicted = (
        read_mask(path) for path in (given.reference, given.second_reference, given.mask)
    )
    require_same_grid(first, second, "the first reader's mask", "the second reader's mask")
    require_same_grid(first, predicted, "the first reader's mask", "the predicted mask")
    masks_zyx = array_zyx(first), array_zyx(second), array_zyx(predicted)
    compared = compare_readers(masks_zyx, spacing_zyx(first), OverlapConfig(**snakemake.params.measure))
    logger.info("dsc of %s", {pair: overlap["dsc"] for pair, overlap in compared.items()})
    write_json(snakemake.output.json, compared)
