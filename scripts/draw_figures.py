"""Job script of rule draw_figures: draw every figure of the study as SVG and PNG, with a table of its data.

input: the tables named in TABLES; histories, measured (lists of .csv, .json); for possible examples the lists images,
    references (.../{scan}/*.nii.gz), records (.../{scan}/crop.json) and masks
    (.../{group}/{network}/{members}/{scan}/labels.nii.gz), crop grid; networks (list of the tables NETWORK_TABLES,
    if the study has several networks); densities (list of the tables DENSITY_TABLES, if it has a regression);
    calibrations (list of the tables CALIBRATION_TABLES, if a scan is calibrated); measurements (list of this table,
    if densities are measured by region)
output: figures (directory, with figures.json)
params: structures (names), anatomy, modality, synthetic, pair (of networks, may be empty), detailed (networks with
    figures of their own; empty: all)
"""

from pathlib import Path

import pandas as pd

from lib.atomic import whole_folder
from lib.catalog.anatomies import ANATOMIES
from lib.catalog.modalities import MODALITIES
from lib.example_files import example_files
from lib.figures.examples import example_scans, example_title, extreme_scans, pair_title
from lib.figures.gallery import StudyResults, draw_figures
from lib.figures.learning_curves import history_key
from lib.joblog import job_log
from lib.measured import read_measured
from lib.stats.tables import read_table

TABLES = ("metrics", "volumes", "agreement", "paired", "spread", "precision", "readers", "acquisition")

with job_log(snakemake.log[0]) as logger:
    given, params = snakemake.input, snakemake.params
    tables = {name: read_table(given[name]) for name in TABLES}
    tables |= {Path(path).stem: read_table(path) for path in given.networks}
    files = example_files(given, params.structures, params.modality)
    tables |= {Path(path).stem: read_table(path) for path in (*given.calibrations, *given.measurements)}
    densities = {Path(path).stem: read_table(path) for path in given.densities}
    examples = example_scans(tables["metrics"], files.masks)
    extremes = extreme_scans(tables["metrics"], params.pair, files.masks)
    overlaps, curves = read_measured(given.measured, "overlap", "curves")
    results = StudyResults(
        **{
            name: tables.get(name, pd.DataFrame())
            for name in (*TABLES, "networks", "dimension_pair", "calibration", "measurements")
        },
        histories={history_key(path): read_table(path) for path in given.histories},
        slices={key: overlap["by_slice"] for key, overlap in overlaps.items()},
        curves=curves,
        densities=densities,
        examples=[files.read(row, example_title(row, several=bool(files.structures))) for row in examples],
        pair_examples=[(word, [files.read(row, pair_title(row)) for row in rows]) for word, rows in extremes],
        detailed=params.detailed,
        synthetic=params.synthetic,
        bone=f"the {ANATOMIES[params.anatomy].bone}",
        value_unit=MODALITIES[params.modality].unit,
    )
    with whole_folder(snakemake.output.figures) as folder:
        logger.info("%d figures", len(draw_figures(results, folder)))
