"""Job script of rule crop_labels: cut the window of the cropped scan out of its label map.

input: labels (on the grid of the resampled scan), record (crop.json); output: labels; params: structures (names)
"""

from lib.atomic import read_json
from lib.imaging.crop import crop_labels
from lib.imaging.grid import volumes_mm3
from lib.imaging.nifti import read_label_map, write_image
from lib.joblog import job_log

with job_log(snakemake.log[0]) as logger:
    structures = snakemake.params.structures
    labels = read_label_map(snakemake.input.labels, structures)
    cropped = crop_labels(labels, read_json(snakemake.input.record))
    before, after = (volumes_mm3(image, structures) for image in (labels, cropped))
    for name in structures:
        logger.info("%s: volume %.1f mm3 -> %.1f mm3", name, before[name], after[name])
    write_image(cropped, snakemake.output.labels)
