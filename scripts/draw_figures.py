"""Job script of rule draw_figures: every figure of the study as SVG and PNG.

input: metrics, agreement (tables); histories, overlaps (lists of .csv, .json); for possible examples the lists
    images, references (.../{scan}/*.nii.gz) and masks (.../{cohort}/{model}/{members}/{scan}/mask.nii.gz), crop grid
output: figures (directory, with figures.json); params: synthetic
"""

from pathlib import Path

from lib.atomic import read_json, whole_folder
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.imaging.nifti import read_image, read_mask
from lib.joblog import job_log
from lib.stats.figures import Example, StudyResults, draw_figures, example_scans, example_title, history_key
from lib.stats.tables import by_scan, path_key, prediction_key, read_table

with job_log(snakemake.log[0]) as logger:
    given, metrics, examples = snakemake.input, read_table(snakemake.input.metrics), []
    images, references = by_scan(given.images), by_scan(given.references)
    masks = {path_key(Path(path).parent): path for path in given.masks}
    for row in example_scans(metrics, masks):
        image = read_image(images[row["scan"]])
        pair = [array_zyx(read_mask(path)) for path in (references[row["scan"]], masks[prediction_key(row)])]
        examples.append(Example(example_title(row), array_zyx(image), *pair, spacing_zyx(image)))
    histories = {history_key(path): read_table(path) for path in given.histories}
    slices = {path_key(path): read_json(path)["by_slice"] for path in given.overlaps}
    tables = metrics, read_table(given.agreement)
    results = StudyResults(*tables, histories, slices, examples, snakemake.params.synthetic)
    with whole_folder(snakemake.output.figures) as folder:
        logger.info("%d figures", len(draw_figures(results, folder)))
