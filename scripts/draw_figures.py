"""Job script of rule draw_figures: draw every figure of the study as SVG and PNG, with a table of its data.

input: the tables named in TABLES; histories, measured (lists of .csv, .json); for possible examples the lists images,
    references (.../{scan}/*.nii.gz), records (.../{scan}/crop.json) and masks
    (.../{group}/{network}/{members}/{scan}/labels.nii.gz), crop grid; networks (list of the tables NETWORK_TABLES,
    if the study has several networks)
output: figures (directory, with figures.json); params: structures (names), modality, synthetic
"""

from pathlib import Path

from lib.atomic import read_json, whole_folder
from lib.catalog.modalities import MODALITIES
from lib.figures.examples import Example, example_scans, example_title
from lib.figures.gallery import StudyResults, draw_figures
from lib.figures.learning_curves import history_key
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.imaging.nifti import read_image
from lib.joblog import job_log
from lib.measured import path_key, read_measured
from lib.stats.tables import by_scan, prediction_key, read_table

TABLES = ("metrics", "volumes", "agreement", "paired", "spread", "precision", "readers", "acquisition")

with job_log(snakemake.log[0]) as logger:
    given, params, examples = snakemake.input, snakemake.params, []
    tables = {name: read_table(given[name]) for name in TABLES}
    images, references, records = map(by_scan, (given.images, given.references, given.records))
    masks = {path_key(Path(path).parent): path for path in given.masks}
    several = params.structures if len(params.structures) > 1 else ()
    for row in example_scans(tables["metrics"], masks):
        image, scan = read_image(images[row["scan"]]), row["scan"]
        pair = [array_zyx(read_image(path)) for path in (references[scan], masks[prediction_key(row)])]
        title, grid = example_title(row, several=bool(several)), spacing_zyx(image)
        window = MODALITIES[params.modality].window(read_json(records[scan])["intensity"])
        examples.append(Example(scan, title, array_zyx(image), *pair, grid, window, several))
    (overlaps,) = read_measured(given.measured, "overlap")
    results = StudyResults(
        **tables,
        histories={history_key(path): read_table(path) for path in given.histories},
        slices={key: overlap["by_slice"] for key, overlap in overlaps.items()},
        examples=examples,
        synthetic=params.synthetic,
    )
    with whole_folder(snakemake.output.figures) as folder:
        logger.info("%d figures", len(draw_figures(results, folder)))
